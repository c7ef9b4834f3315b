"""Stats feed: the ledger's deltas, in bulk, into Locust's own tables.

One entry for each name and sort of event, under stable names:

======= ==================================== =====================================================
WSOPEN  an opening                           response time: the whole handshake, or until it failed
WSREQ   a request that was answered or not   response time; a time-out counts at the time-out
WSPING  a protocol ping that was answered    round trip
WSSEND  a message with no answer expected    none
WSRECV  a message that answered no request   none
WSCLOSE an opened socket that ended          the closing handshake, where there was one; a failure unless
                                             the close was in order
======= ==================================== =====================================================

Locust's ``request`` event costs two microseconds a call; adding a prepared entry costs a few a *second*. It
is how Locust's master adds its workers' figures, and passes the event's listeners by.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import Final, cast

import numpy as np
import numpy.typing as npt
from locust.stats import RequestStats, StatsEntry, StatsError, bucket_response_time

from wsoak.ledger.delta import Delta
from wsoak.ledger.histogram import MIDDLE, Histogram
from wsoak.ledger.outcomes import CANCELLED, OPEN, REPLY_LOST, REPLY_TIMEOUT, close_error
from wsoak.ledger.timeline import value
from wsoak.ledger.units import NS_PER_MS


@dataclass(slots=True)
class Events:
    """Events of one sort and name: how many in each Unix second, how long, how big, and what failed."""

    by_second: Counter[int] = field(default_factory=Counter)
    durations: Histogram = field(default_factory=Histogram)
    received_bytes: int = 0
    errors: Counter[str] = field(default_factory=Counter)


EventsByKey = dict[tuple[str, str], Events]
"""By Locust's method and name."""

# (method, counters that are added up, counters that are taken off)
_COUNTS: Final = (
    ("WSOPEN", ("opened", "failed", "generator_failed"), ()),
    ("WSREQ", ("replies", "reply_timeouts", "reply_lost"), ()),
    ("WSPING", ("pongs",), ()),
    ("WSSEND", ("sent",), ("requests_sent",)),
    ("WSRECV", ("received",), ("replies_received",)),
    ("WSCLOSE", ("closed",), ()),
)
_DURATIONS: Final = {
    "handshake": "WSOPEN",
    "failed_handshake": "WSOPEN",
    "response": "WSREQ",
    "ping": "WSPING",
    "closing": "WSCLOSE",
}
_FAILURES: Final = (("reply_timeouts", REPLY_TIMEOUT), ("reply_lost", REPLY_LOST))


def events_of(delta: Delta) -> EventsByKey:
    """The events in a delta, as Locust shows them."""
    found: EventsByKey = {}

    def events(method: str, name: str) -> Events:
        return found.setdefault((method, name), Events())

    for (second, name), row in delta.timeline.items():
        for method, plus, minus in _COUNTS:
            count = sum(int(value(row, counter)) for counter in plus)
            count -= sum(int(value(row, counter)) for counter in minus)
            if count > 0:
                events(method, name).by_second[second] += count
                if method == "WSRECV":
                    # of a second's bytes the messages' share: replies are no part of it
                    share = count * value(row, "bytes_received") / value(row, "received")
                    events(method, name).received_bytes += round(share)
                elif method == "WSREQ":
                    events(method, name).received_bytes += int(value(row, "reply_bytes"))
        for counter, error in _FAILURES:
            if value(row, counter):
                events("WSREQ", name).errors[error] += int(value(row, counter))
    for (_, kind, name), histogram in delta.latency.items():
        if kind in _DURATIONS:
            events(_DURATIONS[kind], name).durations.add(histogram)
    for record in delta.connections:
        if record.outcome not in (OPEN, CANCELLED):
            events("WSOPEN", record.name).errors[record.error or record.outcome] += 1
        elif record.code is not None and record.initiator is not None:
            error = close_error(record.code, record.initiator, record.detail, record.ended_by_run)
            if error:
                events("WSCLOSE", record.name).errors[error] += 1
    return found


def feed(stats: RequestStats, delta: Delta) -> None:
    """Add a delta's events to Locust's statistics."""
    for (method, name), events in events_of(delta).items():
        entry = _entry(stats, method, name, events)
        # both are looked up anew each time: a new test replaces them
        stats.entries[name, method].extend(entry)
        stats.total.extend(entry)
        for error, occurrences in events.errors.items():
            _add_error(stats, method, name, error, occurrences)


def _entry(stats: RequestStats, method: str, name: str, events: Events) -> StatsEntry:
    entry = StatsEntry(stats, name, method)
    count = events.by_second.total()
    timed = events.durations.total
    entry.num_requests = count
    entry.num_none_requests = max(0, count - timed)
    entry.num_failures = events.errors.total()
    entry.total_content_length = events.received_bytes
    entry.num_reqs_per_sec.update(events.by_second)
    now = time.time()
    last = max(events.by_second, default=int(now))
    if events.by_second:
        # a second's events end with it, and the first second of a test is not a whole one: else Locust's
        # requests a second, which it takes between these two moments, would be too many
        entry.start_time = max(float(min(events.by_second)), stats.total.start_time)
        entry.last_request_timestamp = min(float(last + 1), max(now, float(last)))
    if entry.num_failures:
        entry.num_fail_per_sec[last] = entry.num_failures
    if timed:
        durations = events.durations
        entry.total_response_time = round((durations.mean_ns or 0.0) * timed / NS_PER_MS)
        # Locust keeps floats here, whatever its annotations say
        entry.min_response_time = cast("int", (durations.min_ns or 0) / NS_PER_MS)
        entry.max_response_time = cast("int", (durations.max_ns or 0) / NS_PER_MS)
        buckets, counts = durations.filled()
        for rounded, number in zip(_rounded_ms()[buckets], counts, strict=True):
            entry.response_times[int(rounded)] += int(number)
    return entry


@cache
def _rounded_ms() -> npt.NDArray[np.int64]:
    """Locust's own rounding of each bucket's middle, in milliseconds."""
    return np.array([bucket_response_time(middle / NS_PER_MS) for middle in MIDDLE.tolist()], dtype=np.int64)


def _add_error(stats: RequestStats, method: str, name: str, error: str, occurrences: int) -> None:
    key = StatsError.create_key(method, name, error)
    found = stats.errors.get(key)
    now = time.time()
    if found is None:
        found = stats.errors[key] = StatsError(method, name, error, first_seen=now)
    found.occurrences += occurrences
    found.last_seen = now
