"""Endpoint: where a WebSocket lives, and the names of what is asked of it."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit

import idna

DEFAULT_PORTS: Final = {"ws": 80, "wss": 443}
_WEBSOCKET_SCHEME: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_HTTP_SCHEME: Final = {"ws": "http", "wss": "https"}

_is_absolute = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://").match
_has_controls = re.compile(r"[\x00-\x1f\x7f]").search
_is_printable_ascii = re.compile(r"[!-~]*").fullmatch
# not halves of surrogate pairs: they have no UTF-8, and the request refuses them
_not_in_a_target = re.compile(r"[ \xa0-\ud7ff\ue000-\U0010ffff]+")
# RFC 3986 section 3.2.2, with the colons and the zone of an IPv6 address
_is_host = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:%-]+").fullmatch


class BadUrl(ValueError):
    """A URL that cannot be loaded; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where sockets go: what a URL says but for its fragment.

    Attributes:
        scheme: ``ws`` or ``wss``.
        host: without brackets; of an international name the A-labels (RFC 5890 section 2.3.2.1).
        prefix: the path, percent-encoded, as it was written; empty for ``/``.
        query: without its ``?``; goes with every socket. May hold a token.
        authorization: the value of the Authorization header (Basic, RFC 7617) that the URL's user and
            password make.
    """

    scheme: str
    host: str
    port: int
    prefix: str = ""
    query: str = field(default="", repr=False)
    authorization: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str) -> Endpoint:
        """The endpoint of an http, https, ws or wss URL.

        Raises:
            BadUrl: for another scheme, no host or one that is no name, a port out of range, a control
                character or a fragment.
        """
        url = url.strip()
        if _has_controls(url):
            # urlsplit would drop some of them without a word
            raise BadUrl("A URL must not hold a line break, tab or other control character.")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise BadUrl(f"{_safe(url)} is not a URL: {error}.") from None
        scheme = _WEBSOCKET_SCHEME.get(parts.scheme.lower())
        if scheme is None or not parts.hostname:
            raise BadUrl(
                f"{_safe(url)} is not a host to load: write http(s)://HOST[:PORT] or ws(s)://HOST[:PORT]."
            )
        if parts.fragment:
            raise BadUrl("A URL to load has no fragment: write %23 for a # in its path, query or password.")
        if port == 0:
            raise BadUrl("Port 0 cannot be loaded.")
        prefix = "" if parts.path == "/" else encoded(parts.path)
        query = encoded(parts.query)
        if not _is_printable_ascii(prefix + query):
            raise BadUrl("The path or query of a URL holds a character that cannot be sent.")
        return cls(
            scheme,
            _a_labels(parts.hostname),
            port or DEFAULT_PORTS[scheme],
            prefix,
            query,
            _basic(parts),
        )

    def aim(self, path: str) -> tuple[Endpoint, str]:
        """Where ``path`` leads from here: below this endpoint, or to an absolute URL's own.

        Returns:
            the endpoint, and the path on it: for an absolute URL an empty one, as it is in the endpoint.

        Raises:
            BadUrl: for an absolute URL that cannot be loaded.
        """
        return (Endpoint.of(path), "") if _is_absolute(path) else (self, path)

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.scheme == "wss"

    @property
    def authority(self) -> str:
        """What the Host header says (RFC 6455 section 4.1, item 4); without a zone (RFC 6874 section 3)."""
        host = f"[{self.host.partition('%')[0]}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def server_name(self) -> str:
        """The name for SNI and the certificate check: without a last dot (RFC 6066 section 3) or zone."""
        return self.host.partition("%")[0].removesuffix(".")

    @property
    def http_url(self) -> str:
        """The base URL for HTTP requests to the same host: without query, credentials and last slash."""
        return f"{_HTTP_SCHEME[self.scheme]}://{self.authority}{self.http_path('')}"

    @property
    def ws_url(self) -> str:
        """The base URL for sockets, without query and credentials."""
        return f"{self.scheme}://{self.authority}{self.prefix}"

    def http_path(self, path: str) -> str:
        """The request target of an HTTP request; the query of the host is the sockets' alone."""
        return self.prefix.rstrip("/") + path

    def resource(self, path: str) -> str:
        """The request target for ``path`` below the host's own path (RFC 6455 section 3).

        An empty path, or one that is only a query, is the host's own path. The host's query goes first, but
        for parameters that ``path`` names too. Blanks and letters beyond ASCII are percent-encoded, and what
        is so encoded already stays as it is.
        """
        plain, mark, query = encoded(path).partition("?")
        if plain:
            plain = self.prefix.rstrip("/") + (plain if plain.startswith("/") else f"/{plain}")
        if self.query:
            mark, query = "?", _joined(self.query, query)
        return (plain or self.prefix or "/") + mark + query

    def headers(self, given: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
        """The headers of a request: those ``given``, and the URL's credentials where they name none."""
        if self.authorization is None or any(name.lower() == "authorization" for name, _ in given):
            return given
        return [*given, ("Authorization", self.authorization)]


def path_of(path: str) -> str:
    """The path alone of what ``connect`` takes: without scheme, host and query, which may hold secrets."""
    if not _is_absolute(path):
        return path.partition("?")[0]
    return "/" + path.partition("?")[0].partition("#")[0].partition("://")[2].partition("/")[2]


def encoded(target: str) -> str:
    """A path or query with its blanks, and letters beyond ASCII, percent-encoded in UTF-8 (RFC 3987)."""
    if _is_printable_ascii(target):
        return target
    return _not_in_a_target.sub(lambda found: quote(found[0], safe=""), target)


def _a_labels(host: str) -> str:
    """The host as it goes onto the wire: international labels by UTS 46, non-transitional, as browsers do.

    Raises:
        BadUrl: when it is no host name.
    """
    if not host.isascii():
        try:
            return _idna(host)
        except (idna.IDNAError, UnicodeError):
            raise BadUrl("The host of the URL is not a name that IDNA (RFC 5891) can encode.") from None
    if not _is_host(host):
        raise BadUrl("The host of the URL is neither a name nor an IP address.")
    return host


def _idna(host: str) -> str:
    try:
        return idna.encode(host, uts46=True).decode()
    except idna.IDNAError:
        # symbols, which registries do not give away any more, and which browsers still look up
        return host.encode("idna").decode()


def _basic(parts: SplitResult) -> str | None:
    """The Authorization header of a URL's user and password (RFC 7617 section 2)."""
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Basic {b64encode(pair.encode('utf-8', 'surrogatepass')).decode()}"


def _joined(base: str, more: str) -> str:
    """Two queries as one; a parameter that both name is the second's."""
    if not more:
        return base
    named = {_name(parameter) for parameter in more.split("&")}
    return "&".join([*(kept for kept in base.split("&") if _name(kept) not in named), more])


def _name(parameter: str) -> str:
    return parameter.partition("=")[0]


def mask_query(path: str) -> str:
    """``path`` with the value of each query parameter masked: tokens travel there, some without a name."""
    head, mark, query = path.partition("?")
    return head + mark + "&".join(map(_mask, query.split("&"))) if query else path


def _mask(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    return f"{name}=***" if equals else "***"


def _safe(url: str) -> str:
    """A URL as an error may show it: without credentials and query."""
    return repr(re.sub(r"//[^/]*@", "//***@", url.partition("?")[0])[:120])
