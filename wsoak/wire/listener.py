"""Listener: someone who wants to hear of every single event of a socket, which the ledger only counts."""

from __future__ import annotations

from typing import Protocol


class Listener(Protocol):
    """Hears of a socket's events as they happen, on the hub or a greenlet; must not block.

    ``name`` is the socket's or the message's name, ``size`` the payload's bytes, durations are nanoseconds.
    ``error`` is empty where all went well, else a few stable words.
    """

    def opening_ended(self, name: str, duration_ns: int, error: str) -> None:
        """An opening succeeded, or had failed after so long."""

    def sent(self, name: str, size: int) -> None:
        """A message that expects no answer was sent."""

    def received(self, name: str, size: int) -> None:
        """A message came that answers no request in flight."""

    def request_ended(self, name: str, response_ns: int | None, size: int, error: str) -> None:
        """A request was answered, timed out, or lost with its socket (then without a duration)."""

    def ponged(self, name: str, round_trip_ns: int) -> None:
        """A ping was answered."""

    def closed(self, name: str, closing_ns: int | None, error: str) -> None:
        """An opened socket ended; without a duration where no close frame went either way."""
