"""Pings: protocol pings that wait for their pongs, and the heartbeat (RFC 6455 section 5.5.2)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from wsoak.ledger.recorder import Series
from wsoak.wire.listener import Listener
from wsoak.wire.waiting import Duty, Waiter

if TYPE_CHECKING:
    from wsoak.wire.connection import Connection

REMEMBERED_PINGS: Final = 64
"""A peer that sends, but never a pong, must not fill the memory."""

HEARTBEATS_MISSED: Final = 3
"""A peer from which no byte came for so many heartbeat intervals is lost."""


class Pings:
    """The pings of one connection, by their payloads."""

    __slots__ = ("_listener", "_sent", "_series")

    def __init__(self, series: Series, listener: Listener | None = None) -> None:
        self._series = series
        self._listener = listener
        self._sent: dict[bytes, tuple[int, Waiter | None]] = {}

    def add(self, payload: bytes, now_ns: int, waiter: Waiter | None = None) -> None:
        """A ping is being sent."""
        self._series.pings += 1
        self._sent[payload] = (now_ns, waiter)
        if waiter is None and len(self._sent) > REMEMBERED_PINGS:
            self._forget_oldest()

    def forget(self, payload: bytes) -> None:
        """Nobody waits for this one any more."""
        self._sent.pop(payload, None)

    def answer(self, payload: bytes, now_ns: int) -> None:
        """A pong came; one that answers no ping of ours means nothing (section 5.5.3)."""
        sent = self._sent.pop(payload, None)
        if sent is None:
            return
        sent_ns, waiter = sent
        self._series.pongs += 1
        self._series.ping_ns.append(now_ns - sent_ns)
        if self._listener is not None:
            self._listener.ponged(self._series.name, now_ns - sent_ns)
        if waiter is not None:
            waiter.wake(now_ns - sent_ns)

    def _forget_oldest(self) -> None:
        for payload, (_, waiter) in self._sent.items():
            if waiter is None:
                del self._sent[payload]
                return

    def waiters(self) -> list[Waiter]:
        """Those who wait, to be woken when the socket has closed."""
        return [waiter for _, waiter in self._sent.values() if waiter is not None]


class Heartbeat:
    """Pings at an interval, and the judgement that a silent peer is lost.

    It counts beats, and not the time: a process that stood still has neither asked nor listened meanwhile.
    """

    __slots__ = ("_connection", "_duty", "_interval_ns", "_missed", "_read_ns")

    def __init__(self, connection: Connection, interval_ns: int) -> None:
        self._connection = connection
        self._interval_ns = interval_ns
        self._missed = 0
        self._read_ns = connection.last_read_ns
        self._plan()

    def stop(self) -> None:
        """Beat no more."""
        self._duty.cancel()

    def _plan(self) -> None:
        at_ns = time.perf_counter_ns() + self._interval_ns
        self._duty = Duty(self._connection.client.deadlines, at_ns, self._beat)

    def _beat(self) -> None:
        read_ns = self._connection.last_read_ns
        self._missed = self._missed + 1 if read_ns == self._read_ns else 0
        self._read_ns = read_ns
        if self._missed >= HEARTBEATS_MISSED and not self._connection.client.load_ended:
            self._connection.on_heartbeat_lost()
        else:
            self._plan()
            self._connection.send_ping(None)
