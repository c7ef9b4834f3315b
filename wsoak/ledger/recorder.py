"""Recorder: what the hot path writes to, once a message, and what hands out deltas, once a second.

A connection asks for its ``Series`` once and then adds to plain attributes; nothing is allocated for a
message but one int64 in a batch of durations. Whoever handles an event calls ``tick`` with its own
time-stamp first: that moves the counters of a past second out of the way, so that an event belongs to the
second in which it happened even when the event loop was late.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from operator import attrgetter
from typing import Final

import numpy as np

from wsoak.ledger.delta import KINDS, Delta
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.outcomes import OPEN, whose
from wsoak.ledger.raised import Raised
from wsoak.ledger.records import ConnectionRecord, Gauge, Observation, UserError
from wsoak.ledger.timeline import COUNTERS, NAMES_LIMIT, OTHER_NAMES, ZERO, plus
from wsoak.ledger.units import NS_PER_S, ns_to_s

_read_counters: Final = attrgetter(*COUNTERS)

_BATCHES: Final = tuple((kind, f"{kind}_ns") for kind in KINDS)

_OF_THE_END: Final = frozenset({"closing"})
"""Durations that are wanted after the end of the load too: the close handshakes of its sockets."""

_FAILURE_COUNTER: Final = {
    "server": "failed",
    "network": "failed",
    "generator": "generator_failed",
    "nobody": "cancelled",
}


USER_ERRORS_LIMIT: Final = 50
"""How many different exceptions of user code a process tells apart; what comes after counts together."""
OTHER_ERRORS: Final = "other exceptions"

READINGS: Final = 5
"""Of both clocks, to set one by the other."""


class Series:
    """The counters and duration batches of one name in the current second.

    ``series.sent += 1`` and ``series.response.append(latency_ns)`` are the whole interface: an attribute
    for each of ``timeline.COUNTERS``, and an ``array('q')`` of nanoseconds for each of ``delta.KINDS``. The
    arrays live as long as the series, so that a bound ``append`` may be kept.
    """

    __slots__ = (*COUNTERS, *(f"{kind}_ns" for kind in KINDS), "name")

    opened: int
    failed: int
    generator_failed: int
    cancelled: int
    usable: int
    closed: int
    sent: int
    received: int
    requests_sent: int
    replies_received: int
    bytes_sent: int
    bytes_received: int
    send_on_closed: int
    pings: int
    pongs: int
    requests: int
    replies: int
    reply_timeouts: int
    reply_lost: int
    late_replies: int
    reply_bytes: int
    unmatched: int
    dropped: int
    arrived: int
    served: int
    unserved: int
    check_passed: int
    check_failed: int
    metric_count: int
    metric_sum: float
    sent_early: int
    http_ok: int
    http_failed: int
    unanswered: int
    overrun: int
    response_ns: array[int]
    service_ns: array[int]
    lag_ns: array[int]
    ping_ns: array[int]
    delivery_ns: array[int]
    handshake_ns: array[int]
    failed_handshake_ns: array[int]
    resolve_ns: array[int]
    tcp_ns: array[int]
    tls_ns: array[int]
    upgrade_ns: array[int]
    hello_ns: array[int]
    usable_ns: array[int]
    closing_ns: array[int]
    hub_ns: array[int]
    metric_ns: array[int]
    http_ns: array[int]

    def __init__(self, name: str) -> None:
        self.name = name
        for _, batch in _BATCHES:
            setattr(self, batch, array("q"))
        self.reset()

    def reset(self) -> None:
        """Set every counter to zero; the batches are emptied by whoever reads them."""
        for counter in COUNTERS:
            setattr(self, counter, 0)


class Recorder:
    """The books of one process between two hand-outs.

    Args:
        worker: the name of this process in the run's records.
        clock_ns: a monotonic clock in nanoseconds; every time-stamp given to the recorder is read from it.
        wall_ns: Unix time in nanoseconds, read at the start: later wall-clock steps do not move the timeline.
    """

    def __init__(
        self,
        worker: str,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.worker = worker
        self.clock_ns = clock_ns
        self._wall_minus_clock_ns = _ahead_ns(clock_ns, wall_ns)
        # the process's own figures have their place, however many names come
        self._series: dict[str, Series] = {worker: Series(worker)}
        self._errors_known: set[tuple[str, str, str, str]] = set()
        self._errors: dict[tuple[str, str, str, str], list[float]] = {}
        self._sent_deltas = 0
        self._delta = Delta(worker, 0)
        self._kept = _BATCHES
        self._second = 0
        self.second_end_ns = 0
        """On ``clock_ns``: when the current second ends. An event at or after it must ``tick`` first."""
        self._enter_second(clock_ns())

    def series(self, name: str) -> Series:
        """The series of this name, the same object for the recorder's whole life.

        Beyond ``NAMES_LIMIT`` names, new ones share the series ``OTHER_NAMES``: ask ``Series.name``.
        """
        found = self._series.get(name)
        if found is not None:
            return found
        if len(self._series) >= NAMES_LIMIT and name != OTHER_NAMES:
            return self.series(OTHER_NAMES)
        found = self._series[name] = Series(name)
        return found

    def unix_s(self, at_ns: int) -> float:
        """Unix time in seconds, to the microsecond, of a time-stamp of ``clock_ns``."""
        return ns_to_s(at_ns + self._wall_minus_clock_ns)

    def unix_ns(self, at_ns: int) -> int:
        """Unix time in nanoseconds of a time-stamp of ``clock_ns``."""
        return at_ns + self._wall_minus_clock_ns

    def tick(self, now_ns: int) -> None:
        """Close the current second if ``now_ns`` lies beyond it."""
        if now_ns >= self.second_end_ns:
            self._close_second()
            self._enter_second(now_ns)

    def load_ended(self) -> None:
        """Take no more durations: what comes now meets a process that is busy with ending its users.

        All else is counted as before, and so are the close handshakes' durations.
        """
        self._close_second()
        self._kept = tuple(batch for batch in _BATCHES if batch[0] in _OF_THE_END)

    def opening_ended(self, series: Series, outcome: str) -> None:
        """Count the end of an opening, by its outcome."""
        if outcome == OPEN:
            series.opened += 1
        else:
            counter = _FAILURE_COUNTER[whose(outcome)]
            setattr(series, counter, getattr(series, counter) + 1)

    def connection_ended(self, record: ConnectionRecord) -> None:
        """Keep the record of an attempt that is over, whether it ever opened or not."""
        if record.outcome == OPEN:
            self.series(record.name).closed += 1
        self._delta.connections.append(record)

    def gauge(self, source: str, name: str, value: float, at_ns: int | None = None) -> None:
        """Keep a reading of ``name`` of ``source``."""
        at = self.unix_s(self.clock_ns() if at_ns is None else at_ns)
        self._delta.gauges.append(Gauge(at, self.worker, source, name, float(value)))

    def observe(
        self,
        id: str,  # noqa: A002
        name: str,
        count: int,
        of: int,
        text: str = "",
        at_ns: int | None = None,
    ) -> None:
        """Keep a fact that a scenario established, of now or ``at_ns``; see ``records.Observation``."""
        at = self.unix_s(self.clock_ns() if at_ns is None else at_ns)
        self._delta.observations.append(Observation(at, self.worker, id, name, count, of, text))

    def user_error(self, user: str, where: str, error: Raised) -> None:
        """Count an exception that the scenario's own code raised; see ``records.UserError``.

        Beyond ``USER_ERRORS_LIMIT`` different ones, new ones count as ``OTHER_ERRORS``.
        """
        key = (user, where, error.error, error.place)
        if key not in self._errors_known:
            if len(self._errors_known) >= USER_ERRORS_LIMIT:
                key = ("", where, OTHER_ERRORS, "")
            else:
                self._errors_known.add(key)
        counted = self._errors.get(key)
        if counted is None:
            counted = self._errors[key] = [self.unix_s(self.clock_ns()), 0]
        counted[1] += 1

    def take(self) -> Delta:
        """All that was recorded since the last ``take``; the recorder starts anew."""
        self._close_second()
        self._enter_second(self.clock_ns())
        delta = self._delta
        for (user, where, error, place), (at, count) in self._errors.items():
            delta.user_errors.append(UserError(at, self.worker, user, where, error, place, int(count)))
        self._errors.clear()
        self._sent_deltas += 1
        self._delta = Delta(self.worker, self._sent_deltas)
        return delta

    def _enter_second(self, now_ns: int) -> None:
        self._second = (now_ns + self._wall_minus_clock_ns) // NS_PER_S
        self.second_end_ns = (self._second + 1) * NS_PER_S - self._wall_minus_clock_ns

    def _close_second(self) -> None:
        second = self._second
        delta = self._delta
        for name, series in self._series.items():
            if series.lag_ns:
                # here, on the whole batch: a message costs nothing more
                series.sent_early += int(np.count_nonzero(np.array(series.lag_ns, dtype=np.int64) < 0))
            row = _read_counters(series)
            if row != ZERO:
                key = (second, name)
                delta.timeline[key] = plus(delta.timeline[key], row) if key in delta.timeline else row
                series.reset()
            for kind, attribute in _BATCHES:
                batch: array[int] = getattr(series, attribute)
                if batch:
                    if (kind, attribute) in self._kept:
                        self._histogram(second, kind, name).record(np.array(batch, dtype=np.int64))
                    del batch[:]

    def _histogram(self, second: int, kind: str, name: str) -> Histogram:
        key = (second, kind, name)
        found = self._delta.latency.get(key)
        if found is None:
            found = self._delta.latency[key] = Histogram()
        return found


def _ahead_ns(clock_ns: Callable[[], int], wall_ns: Callable[[], int]) -> int:
    """How far Unix time is ahead of the clock: by the closest of some readings, as one may be interrupted."""
    readings = []
    for _ in range(READINGS):
        before_ns, now_ns, after_ns = clock_ns(), wall_ns(), clock_ns()
        readings.append((after_ns - before_ns, now_ns - (before_ns + after_ns) // 2))
    return min(readings)[1]
