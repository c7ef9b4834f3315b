"""Deadlines: thousands of time-outs on one timer.

A gevent timer for each request would cost more than the request. Here a deadline is an entry in the bucket
of its 20 ms; one timer runs while there are entries, and looks only at buckets that are due. An entry is
removed when what it waits for has come, so memory is bounded by what is in flight.
"""

from __future__ import annotations

import sys
import time
from typing import Any, Final, Protocol

from gevent import get_hub

from wsoak.ledger.units import NS_PER_MS, NS_PER_S

TICK_NS: Final = 20 * NS_PER_MS


class Expirable(Protocol):
    """Something that can run out of time."""

    def expire(self) -> None:
        """Called on the hub, at the deadline or up to a tick after it; must not block."""


Bucket = set[Expirable]


class Deadlines:
    """The deadlines of one gevent hub."""

    def __init__(self) -> None:
        self._buckets: dict[int, Bucket] = {}
        self._done_tick = 0
        self._expiring: Bucket = set()
        self._timer: Any = None

    def add(self, entry: Expirable, at_ns: int) -> Bucket:
        """Have ``entry.expire`` called once ``at_ns`` (perf_counter_ns) is past.

        Returns:
            the bucket that holds the entry: ``bucket.discard(entry)`` takes the deadline back.
        """
        tick = at_ns // TICK_NS + 1
        bucket = self._buckets.get(tick)
        if bucket is None:
            if self._timer is None:
                self._start()
            # a deadline that is past already expires at the next tick
            tick = max(tick, self._done_tick + 1)
            bucket = self._buckets.setdefault(tick, set())
        bucket.add(entry)
        return bucket

    def stop(self) -> None:
        """Forget all deadlines, and give the timer back."""
        self._buckets.clear()
        self._expiring.clear()
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None

    def _start(self) -> None:
        self._done_tick = time.perf_counter_ns() // TICK_NS
        seconds = TICK_NS / NS_PER_S
        self._timer = get_hub().loop.timer(seconds, seconds)
        self._timer.start(self._turn)

    def _turn(self) -> None:
        # once what has come by now is read: after a stall of this process both are due, and an answer that is
        # here already is not late. What is due by now, and no later: this process can stall again before the
        # callback runs, and nothing is read between the two
        get_hub().loop.run_callback(self._expire, time.perf_counter_ns() // TICK_NS)

    def _expire(self, now_tick: int) -> None:
        if self._timer is None:
            return
        buckets = self._buckets
        for tick in range(self._done_tick + 1, now_tick + 1):
            # done first: what expires may set a deadline of its own
            self._done_tick = tick
            bucket = buckets.pop(tick, None)
            if bucket is None:
                continue
            self._expiring = bucket
            while bucket:
                entry = bucket.pop()
                try:
                    entry.expire()
                except Exception:  # noqa: BLE001 - the hub reports it
                    # one that fails must not take the others of its tick with it
                    get_hub().handle_error(entry, *sys.exc_info())
        if not buckets:
            self.stop()
