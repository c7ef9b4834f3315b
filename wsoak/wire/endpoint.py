"""Endpoint: where a WebSocket lives, and the names of what is asked of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

DEFAULT_PORTS: Final = {"ws": 80, "wss": 443}
_WEBSOCKET_SCHEME: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_HTTP_SCHEME: Final = {"ws": "http", "wss": "https"}


class BadUrl(ValueError):
    """A URL that cannot be loaded; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Scheme (``ws`` or ``wss``), host without brackets, port, and a path prefix without a last slash."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @classmethod
    def of(cls, url: str) -> Endpoint:
        """The endpoint of an http, https, ws or wss URL.

        Raises:
            BadUrl: for another scheme, no host, a port out of range, credentials or a fragment.
        """
        try:
            parts = urlsplit(url.strip())
            port = parts.port
        except ValueError as error:
            raise BadUrl(f"{_safe(url)} is not a URL: {error}.") from None
        scheme = _WEBSOCKET_SCHEME.get(parts.scheme.lower())
        if scheme is None or not parts.hostname:
            raise BadUrl(
                f"{_safe(url)} is not a host to load: write http(s)://HOST[:PORT] or ws(s)://HOST[:PORT]."
            )
        if parts.username is not None or parts.fragment or parts.query:
            raise BadUrl(
                "A host is given without credentials, query or fragment: http(s)://HOST[:PORT][/PREFIX]."
            )
        if port == 0:
            raise BadUrl("Port 0 cannot be loaded.")
        return cls(scheme, parts.hostname, port or DEFAULT_PORTS[scheme], parts.path.rstrip("/"))

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.scheme == "wss"

    @property
    def authority(self) -> str:
        """What the Host header says (RFC 6455 section 4.1, item 4)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def http_url(self) -> str:
        """The base URL for HTTP requests to the same host."""
        return f"{_HTTP_SCHEME[self.scheme]}://{self.authority}{self.prefix}"

    @property
    def ws_url(self) -> str:
        """The base URL for sockets."""
        return f"{self.scheme}://{self.authority}{self.prefix}"

    def resource(self, path: str) -> str:
        """The request target for ``path`` below the host's own path (RFC 6455 section 3).

        An empty path, or one that is only a query, is the host's own path.
        """
        if not path or path.startswith("?"):
            return (self.prefix or "/") + path
        return self.prefix + (path if path.startswith("/") else f"/{path}")


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
