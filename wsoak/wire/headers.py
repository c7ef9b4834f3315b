"""Headers: what a server's answer to an upgrade said besides its status, and what of it a record may hold.

A record holds no secret: of a cookie its name and attributes, of a URL neither credentials nor the values of
its query.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from wsoak.wire.endpoint import mask_query

Pairs = tuple[tuple[str, str], ...]
"""Names in lower case, and values; a name may be there more than once."""

MOST_CHARACTERS: Final = 512
MOST_LINES: Final = 12


class Headers(Mapping[str, str]):
    """The headers of one answer, by name in any case.

    ``headers["x"]`` is the first value of that name; ``all("x")`` has each of them.
    """

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs: Pairs = tuple((name.lower(), value) for name, value in pairs)

    def all(self, name: str) -> list[str]:
        """Each value of this name, in the order in which they came."""
        wanted = name.lower()
        return [value for known, value in self._pairs if known == wanted]

    def pairs(self) -> Pairs:
        """All of them, names in lower case, in the order in which they came."""
        return self._pairs

    def __getitem__(self, name: str) -> str:
        values = self.all(name) if isinstance(name, str) else []
        if not values:
            raise KeyError(name)
        return values[0]

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._pairs))

    def __len__(self) -> int:
        return len(dict(self._pairs))

    def __repr__(self) -> str:
        # their values may be secrets: a repr ends up in logs
        return f"<Headers {', '.join(self)}>"


def record_text(pairs: Iterable[tuple[str, str]]) -> str:
    """What a record keeps of a refusal's headers: lines ``Name: value``, masked; or nothing."""
    lines = [
        f"{_KEPT[name]}: {_MASKS.get(name, str)(value)[:MOST_CHARACTERS]}"
        for name, value in pairs
        if name in _KEPT
    ]
    return "\n".join(lines[:MOST_LINES])


def masked_url(url: str) -> str:
    """A URL, or a part of one, without credentials, fragment and the values of its query."""
    plain = re.sub(r"//[^/?#]*@", "//***@", url.partition("#")[0])
    return mask_query(plain)


def host_of(url: str) -> str | None:
    """The host that an absolute URL names; ``None`` for a relative one, or one that is damaged."""
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _masked_cookie(value: str) -> str:
    pair, semicolon, attributes = value.partition(";")
    name, equals, _ = pair.partition("=")
    return f"{name}=***{semicolon}{attributes}" if equals else f"***{semicolon}{attributes}"


def _masked_challenge(value: str) -> str:
    # of ``Negotiate TOKEN`` and the like (RFC 4559) the scheme alone; parameters name realm and error
    return re.sub(r"^(\S+) +[A-Za-z0-9+/._~-]{16,}=*$", r"\1 ***", value)


_KEPT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "location": "Location",
        "retry-after": "Retry-After",
        "www-authenticate": "WWW-Authenticate",
        "set-cookie": "Set-Cookie",
        "server": "Server",
        "via": "Via",
        "upgrade": "Upgrade",
        "sec-websocket-version": "Sec-WebSocket-Version",
    }
)
"""Headers of a refusal that say what it means, with their names as they are written."""

_MASKS: Final = MappingProxyType(
    {"location": masked_url, "set-cookie": _masked_cookie, "www-authenticate": _masked_challenge}
)
