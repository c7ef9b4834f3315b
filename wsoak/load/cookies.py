"""Cookies: one jar a user, for its HTTP calls and its sockets, as a browser has it (RFC 6455 section 4.1).

What a log-in sets goes with the upgrade, and what an answer to an upgrade sets, such as a balancer's sticky
cookie, goes with the next. Which cookie belongs to which host, path and scheme is ``http.cookiejar``'s affair
(RFC 6265); ``wss`` counts as ``https``, and ``ws`` as ``http``.
"""

from __future__ import annotations

from collections.abc import Sequence
from email.message import Message
from http.client import HTTPResponse
from http.cookiejar import CookieJar
from typing import cast
from urllib.request import Request

from wsoak.wire.endpoint import Endpoint
from wsoak.wire.headers import Headers

_SCHEMES = {"ws": "http", "wss": "https"}


class Cookies:
    """The cookies of one user.

    Attributes:
        jar: for an HTTP client; what it keeps there goes with the sockets too.
    """

    def __init__(self) -> None:
        self.jar = CookieJar()

    def of_upgrade(
        self, endpoint: Endpoint, path: str, headers: Sequence[tuple[str, str]]
    ) -> list[tuple[str, str]]:
        """The ``Cookie`` header for an upgrade; none where there is no cookie for it, or one is given."""
        if not len(self.jar) or any(name.lower() == "cookie" for name, _ in headers):
            return []
        asked = _request(endpoint, path)
        self.jar.add_cookie_header(asked)
        cookie = asked.get_header("Cookie")
        return [("Cookie", cookie)] if cookie else []

    def keep(self, endpoint: Endpoint, path: str, answer: Headers) -> None:
        """Keep what the answer to an upgrade sets, of whatever status it is."""
        lines = answer.all("set-cookie")
        if lines:
            self.jar.extract_cookies(cast("HTTPResponse", _Answered(lines)), _request(endpoint, path))


class _Answered:
    """What a jar asks of a response."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._message = Message()
        for line in lines:
            self._message["Set-Cookie"] = line

    def info(self) -> Message:
        return self._message


def _request(endpoint: Endpoint, path: str) -> Request:
    return Request(f"{_SCHEMES[endpoint.scheme]}://{endpoint.authority}{endpoint.resource(path)}")
