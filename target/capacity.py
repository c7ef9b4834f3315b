"""Capacity: a server that can answer so many messages a second, and no more.

    messages ──▶ ▯▯▯▯▯▯▯▯ ──▶ one server, 1/per_s seconds each ──▶ the application, which answers
                 FIFO, at most ``queue`` messages and ``MOST_BYTES``; a socket whose message
                 finds no room is closed with 1013

It stands in front of the applications, for the fault ``server:capacity``: what an application answers is
late by the queue and its own service, and what it pushes by itself is not. Control frames do not wait. A
message of a socket that has ended meanwhile costs no service.
"""

import asyncio
from collections import deque
from typing import Any, Protocol

MOST_BYTES = 64 * 1024 * 1024
"""Payloads that wait hold at most so much."""

TRY_AGAIN_LATER = 1013


class Answerer(Protocol):
    """What the queue needs of a socket."""

    is_open: bool

    def deliver(self, payload: bytes, is_text: bool) -> None:
        """Give a message to the application."""

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Start the close handshake."""


class CapacityQueue:
    """The messages that wait for the one server. Times in seconds of the loop's clock."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Answerer, bytes, bool]] = deque()
        self._bytes = 0
        self._service_s = 0.0
        self._done_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, socket: Answerer, payload: bytes, is_text: bool, params: dict[str, Any]) -> None:
        """Queue a message, under the fault's parameters of now; or close the socket for want of room."""
        if len(self._waiting) >= params["queue"] or self._bytes + len(payload) > MOST_BYTES:
            socket.close(TRY_AGAIN_LATER, "over capacity")
            return
        self._service_s = 1.0 / params["per_s"]
        self._waiting.append((socket, payload, is_text))
        self._bytes += len(payload)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._done_at = loop.time() + self._service_s
            self._timer = loop.call_at(self._done_at, self._serve)

    def switched(self, params: dict[str, Any] | None) -> None:
        """The fault was switched, on with these parameters or off: then all that wait are answered now."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        if params is None:
            while self._waiting:
                self._answer_next()
            return
        loop = asyncio.get_running_loop()
        self._service_s = 1.0 / params["per_s"]
        self._done_at = min(self._done_at, loop.time() + self._service_s)
        self._timer = loop.call_at(self._done_at, self._serve)

    def _serve(self) -> None:
        """Answer what is done by now; late turns of the loop are made up for."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._skip_ended()
        while self._waiting and self._done_at <= now:
            self._answer_next()
            self._skip_ended()
            self._done_at += self._service_s
        self._timer = loop.call_at(self._done_at, self._serve) if self._waiting else None

    def _skip_ended(self) -> None:
        while self._waiting and not self._waiting[0][0].is_open:
            self._bytes -= len(self._waiting.popleft()[1])

    def _answer_next(self) -> None:
        socket, payload, is_text = self._waiting.popleft()
        self._bytes -= len(payload)
        if socket.is_open:
            socket.deliver(payload, is_text)
