"""Proxy: the HTTP proxy that the environment names for a host (``HTTP_PROXY`` and its like). Pure.

``ws`` goes by ``http_proxy``, ``wss`` by ``https_proxy``, either by ``all_proxy`` where that is not set;
``no_proxy`` lists the hosts that need none. The lower-case name goes before the upper-case one, as with curl.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import unquote, urlsplit

from wsoak.wire.endpoint import Endpoint

VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "ws": ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"),
    "wss": ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"),
}
NO_PROXY: Final = ("no_proxy", "NO_PROXY")
DEFAULT_PORT: Final = 80


class BadProxy(ValueError):
    """A proxy that cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy, by host and port.

    Attributes:
        variable: where it is from, such as ``HTTPS_PROXY``.
        user, password: for Basic authentication; ``None`` without.
    """

    host: str
    port: int
    variable: str
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


def variable_for(endpoint: Endpoint, environment: Mapping[str, str]) -> str | None:
    """The name of the variable that names a proxy for this host; ``None`` where it needs none."""
    if _is_exempt(endpoint, _first(NO_PROXY, environment)[1]):
        return None
    name, value = _first(VARIABLES[endpoint.scheme], environment)
    return name if value else None


def proxy_for(endpoint: Endpoint, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy for this host; ``None`` where it needs none.

    Raises:
        BadProxy: when what the environment names is no HTTP proxy. The sentence has no part of the value,
            which may hold a password.
    """
    variable = variable_for(endpoint, environment)
    if variable is None:
        return None
    value = environment[variable].strip()
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        port = parts.port
    except ValueError:
        raise BadProxy(f"{variable} is not the URL of a proxy: write http://HOST:PORT.") from None
    if parts.scheme.lower() != "http" or not parts.hostname:
        raise BadProxy(
            f"{variable} names no HTTP proxy: only http://HOST:PORT is spoken; list the host in NO_PROXY to "
            "go there directly."
        )
    return Proxy(
        parts.hostname,
        port or DEFAULT_PORT,
        variable,
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password else None,
    )


def passed_by(endpoint: Endpoint, environment: Mapping[str, str]) -> str:
    """What to say of a proxy for this host that a client does not use; empty where there is none."""
    variable = variable_for(endpoint, environment)
    if variable is None:
        return ""
    return (
        f"{variable} names a proxy for {endpoint.host}, and --client fast goes there directly; --client "
        "reference goes through the proxy, and NO_PROXY says that none is needed"
    )


def _first(names: tuple[str, ...], environment: Mapping[str, str]) -> tuple[str, str]:
    """The first of these variables that is set to something, and its value."""
    return next(
        ((name, value) for name in names if (value := environment.get(name, "").strip())), (names[0], "")
    )


def _is_exempt(endpoint: Endpoint, listed: str) -> bool:
    host = endpoint.server_name.lower()
    return any(_covers(entry.strip().lower(), host, endpoint.port) for entry in listed.split(","))


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether an entry of ``no_proxy`` is this host: ``*``, a domain with all below it, an address, a net."""
    if not entry:
        return False
    if entry == "*":
        return True
    name, colon, number = entry.rpartition(":")
    if colon and number.isdigit() and (":" not in name or name.endswith("]")):
        if int(number) != port:
            return False
        entry = name
    entry = entry.strip("[]")
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        domain = entry.removeprefix("*").strip(".")
        return bool(domain) and (host == domain or host.endswith(f".{domain}"))
