"""Redirect: what it means that an upgrade was answered with another place to go. Pure.

WebSocket clients of browsers follow no redirect, and this one follows none either: it says what to change.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from wsoak.wire.endpoint import DEFAULT_PORTS, Endpoint

STATUSES: Final = frozenset({300, 301, 302, 303, 307, 308})

_SECURE: Final = {"http": False, "ws": False, "https": True, "wss": True}
_PORTS: Final = {"http": 80, "https": 443, **DEFAULT_PORTS}
_log_in_words = re.compile(
    r"(^|[/._-])(log-?_?in|sign-?_?in|sso|oauth2?|authorize|authenticate|auth|saml2?|openid(-connect)?|cas)"
    r"([/._-]|$)",
    re.IGNORECASE,
).finditer
_asks_back = re.compile(
    r"(^|&)(client_id|redirect_uri|response_type|next|rd|return_?(to|url)|goto|SAMLRequest)=", re.IGNORECASE
).search


def meaning(location: str | None, endpoint: Endpoint, resource: str) -> str:
    """What a redirect says, in a few stable words of our own.

    Args:
        location: the Location header; ``None`` where there was none.
        resource: the path and query that were asked for.
    """
    if not location:
        return "redirected without saying where to"
    base = f"{'https' if endpoint.secure else 'http'}://{endpoint.authority}{resource}"
    try:
        target = urlsplit(urljoin(base, location))
        host, port = target.hostname or "", target.port or _PORTS.get(target.scheme, 0)
    except ValueError:
        return "redirected to something that is no URL"
    if target.scheme not in _SECURE:
        return "redirected to something that is no URL of this kind"
    path = resource.partition("?")[0]
    same_host = host == endpoint.host.lower()
    same_path = (target.path or "/").rstrip("/") == path.rstrip("/")
    if same_host and same_path and _SECURE[target.scheme] != endpoint.secure:
        return "redirected to TLS" if not endpoint.secure else "redirected to plain text, without TLS"
    if _is_log_in_page(target, path):
        return "redirected to what looks like a log-in page"
    if not same_host or not same_path:
        return "redirected to another host" if not same_host else "redirected to another path"
    # before the port: behind a proxy, servers often name their own
    slashes = _SLASHES.get((path.endswith("/"), (target.path or "/").endswith("/")))
    if slashes is not None:
        return slashes
    return "redirected to another port" if port != endpoint.port else "redirected to the same place"


def _is_log_in_page(target: SplitResult, path: str) -> bool:
    words = {found[0].strip("/._-").lower() for found in _log_in_words(target.path)}
    asked = {found[0].strip("/._-").lower() for found in _log_in_words(path)}
    return bool(words - asked) or bool(_asks_back(target.query))


_SLASHES: Final = {
    (False, True): "redirected to the path with a last slash",
    (True, False): "redirected to the path without its last slash",
}
