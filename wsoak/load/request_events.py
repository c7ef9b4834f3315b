"""Request events: Locust's ``request`` event for each event of a user's sockets (``--request-events``).

For listeners of others that want each request, such as exporters. It costs what ``stats_feed`` saves.
"""

from __future__ import annotations

import time
from typing import Any

from locust import User

from wsoak.ledger.units import NS_PER_S, ns_to_ms


class SocketFailure(Exception):
    """What went wrong, in a few stable words: Locust counts failures by their ``repr``."""


class RequestEvents:
    """The events of one socket of a user's; see ``wire.listener.Listener``.

    Args:
        url: the socket's, without what may be secret in it.
    """

    def __init__(self, user: User, url: str) -> None:
        self._user = user
        self._url = url

    def opening_ended(self, name: str, duration_ns: int, error: str) -> None:
        """See ``Listener``."""
        self._fire("WSOPEN", name, duration_ns, 0, error)

    def sent(self, name: str, size: int) -> None:  # noqa: ARG002 - Locust counts what came, not what went
        """See ``Listener``."""
        self._fire("WSSEND", name, None, 0, "")

    def received(self, name: str, size: int) -> None:
        """See ``Listener``."""
        self._fire("WSRECV", name, None, size, "")

    def request_ended(self, name: str, response_ns: int | None, size: int, error: str) -> None:
        """See ``Listener``."""
        self._fire("WSREQ", name, response_ns, size, error)

    def ponged(self, name: str, round_trip_ns: int) -> None:
        """See ``Listener``."""
        self._fire("WSPING", name, round_trip_ns, 0, "")

    def closed(self, name: str, closing_ns: int | None, error: str) -> None:
        """See ``Listener``."""
        self._fire("WSCLOSE", name, closing_ns, 0, error)

    def _fire(self, method: str, name: str, duration_ns: int | None, size: int, error: str) -> None:
        event: dict[str, Any] = {
            "request_type": method,
            "name": name,
            # None: what has no duration must not count as 0 ms
            "response_time": ns_to_ms(duration_ns),
            "response_length": size,
            "exception": SocketFailure(error) if error else None,
            "context": self._user.context(),
            # as Locust's HTTP users say it: Unix time in seconds
            "start_time": time.time() - (duration_ns or 0) / NS_PER_S,
            "url": self._url,
        }
        self._user.environment.events.request.fire(**event)
