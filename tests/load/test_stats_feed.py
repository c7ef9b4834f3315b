"""Stats feed: Locust's tables in bulk are those that its own request event would have filled."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from locust.stats import (
    PERCENTILES_TO_REPORT,
    RequestStats,
    StatsEntry,
    bucket_response_time,
    get_error_report_summary,
    get_percentile_stats_summary,
    get_stats_summary,
)

from tests.ledger.clock import Clock
from tests.ledger.samples import connection
from wsoak.ledger.delta import Delta
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.outcomes import REPLY_LOST, REPLY_TIMEOUT
from wsoak.ledger.recorder import Recorder
from wsoak.ledger.timeline import COUNTERS
from wsoak.load.stats_feed import events_of, feed

RESOLUTION: Final = 0.001
"""Three significant digits."""


@dataclass(frozen=True)
class Happening:
    """One event: as Locust would be told of it, and as a connection tells the recorder."""

    method: str
    name: str
    duration_ns: int | None = None
    error: str = ""


NAMES: Final = ("echo", "dialogue")
DURATIONS: Final = st.integers(1_000, 59_000_000_000) | st.integers(1_000, 200_000_000)


@st.composite
def happenings(draw: st.DrawFn) -> Happening:
    name = draw(st.sampled_from(NAMES))
    sort = draw(
        st.sampled_from(("open", "refused", "reply", "timeout", "lost", "ping", "send", "push", "closed"))
    )
    timed = draw(DURATIONS)
    return {
        "open": Happening("WSOPEN", name, timed),
        "refused": Happening("WSOPEN", name, None, draw(st.sampled_from(("refused", "rejected-503")))),
        "reply": Happening("WSREQ", name, timed),
        "timeout": Happening("WSREQ", name, timed, REPLY_TIMEOUT),
        "lost": Happening("WSREQ", name, None, REPLY_LOST),
        "ping": Happening("WSPING", name, timed),
        "send": Happening("WSSEND", name),
        "push": Happening("WSRECV", name),
        "closed": Happening(
            "WSCLOSE", name, None, draw(st.sampled_from(("", "1008 policy violation, by server")))
        ),
    }[sort]


def record(recorder: Recorder, event: Happening) -> None:
    """Tell the recorder, as the wire does."""
    series = recorder.series(event.name)
    if event.method == "WSOPEN":
        outcome = event.error or "open"
        recorder.opening_ended(series, outcome)
        if event.duration_ns is not None:
            series.handshake_ns.append(event.duration_ns)
        else:
            recorder.connection_ended(connection(name=event.name, outcome=outcome, error=event.error))
    elif event.method == "WSREQ":
        series.requests += 1
        counter = {"": "replies", REPLY_TIMEOUT: "reply_timeouts", REPLY_LOST: "reply_lost"}[event.error]
        setattr(series, counter, getattr(series, counter) + 1)
        if event.duration_ns is not None:
            series.response_ns.append(event.duration_ns)
        # a request is sent too, and its answer received; neither is an event of its own in Locust's tables
        series.sent += 1
        series.requests_sent += 1
        series.received += not event.error
        series.replies_received += not event.error
        series.bytes_received += 0 if event.error else 7
    elif event.method == "WSPING":
        series.pongs += 1
        assert event.duration_ns is not None
        series.ping_ns.append(event.duration_ns)
    elif event.method == "WSSEND":
        series.sent += 1
    elif event.method == "WSRECV":
        series.received += 1
        series.bytes_received += 7
    else:
        code = 1008 if event.error else 1000
        recorder.connection_ended(connection(name=event.name, code=code, received_code=code))


def tell_locust(stats: RequestStats, event: Happening) -> None:
    """What the listener of Locust's request event does."""
    duration_ms = None if event.duration_ns is None else event.duration_ns / 1e6
    length = 7 if event.method == "WSRECV" else 0
    # Locust calls this int, and takes floats and None
    stats.log_request(event.method, event.name, duration_ms, length)  # type: ignore[arg-type]
    if event.error:
        stats.log_error(event.method, event.name, event.error)


def both(events: list[Happening], parts: int = 3) -> tuple[RequestStats, RequestStats]:
    """Locust's tables filled by bulk, in some parts, and by its own listener."""
    clock = Clock()
    recorder = clock.recorder()
    bulk, plain = RequestStats(), RequestStats()
    for index, event in enumerate(events):
        recorder.tick(clock.advance(0.1))
        record(recorder, event)
        tell_locust(plain, event)
        if index % (len(events) // parts + 1) == 0:
            feed(bulk, recorder.take())
    feed(bulk, recorder.take())
    return bulk, plain


def buckets_near(ms: float) -> set[int]:
    """The keys under which Locust may file a duration that is known to three digits."""
    half_ns_bucket_ms = 0.001
    edges = (ms * (1 - RESOLUTION) - half_ns_bucket_ms, ms, ms * (1 + RESOLUTION) + half_ns_bucket_ms)
    return {bucket_response_time(edge) for edge in edges}


def assert_alike(bulk: StatsEntry, plain: StatsEntry, durations_ms: list[float]) -> None:
    for counter in ("num_requests", "num_none_requests", "num_failures", "total_content_length"):
        assert getattr(bulk, counter) == getattr(plain, counter), counter
    assert bulk.fail_ratio == plain.fail_ratio
    near: dict[str, Any] = {"rel": RESOLUTION, "abs": 0.001}
    assert bulk.min_response_time == (
        None if plain.min_response_time is None else pytest.approx(plain.min_response_time, **near)
    )
    assert bulk.max_response_time == pytest.approx(plain.max_response_time, **near)
    # the sum is kept in whole milliseconds
    assert bulk.avg_response_time == pytest.approx(plain.avg_response_time, rel=RESOLUTION, abs=1)
    assert sum(bulk.response_times.values()) == len(durations_ms)
    # each duration can be given a key of its own that it may be filed under
    left = Counter(bulk.response_times)
    for ms in sorted(durations_ms):
        key = min(key for key in buckets_near(ms) if left[key])
        left[key] -= 1
    for percentile in PERCENTILES_TO_REPORT:
        theirs = plain.get_response_time_percentile(percentile)
        # one step of Locust's own rounding, where a duration lies on the edge of two
        assert bulk.get_response_time_percentile(percentile) == pytest.approx(theirs, rel=0.1, abs=1)


@settings(max_examples=150, deadline=None)
@given(st.lists(happenings(), max_size=60))
def test_bulk_and_event_fill_the_tables_alike(events: list[Happening]) -> None:
    bulk, plain = both(events)
    assert bulk.entries.keys() == plain.entries.keys()
    for key, entry in plain.entries.items():
        of_entry = [event for event in events if (event.name, event.method) == key]
        durations = [event.duration_ns / 1e6 for event in of_entry if event.duration_ns is not None]
        assert_alike(bulk.entries[key], entry, durations)
    every = [event.duration_ns / 1e6 for event in events if event.duration_ns is not None]
    assert_alike(bulk.total, plain.total, every)
    assert bulk.errors.keys() == plain.errors.keys()
    for error_key, error in plain.errors.items():
        assert bulk.errors[error_key].occurrences == error.occurrences
        assert bulk.errors[error_key].error == error.error


def test_locusts_percentiles_are_those_of_ten_thousand_responses() -> None:
    source = random.Random(11)
    events = [Happening("WSREQ", "echo", round(source.lognormvariate(16, 1))) for _ in range(10_000)]
    bulk, plain = both(events)
    mine, theirs = bulk.get("echo", "WSREQ"), plain.get("echo", "WSREQ")
    for percentile in (0.5, 0.9, 0.95, 0.99, 0.999):
        assert mine.get_response_time_percentile(percentile) == pytest.approx(
            theirs.get_response_time_percentile(percentile), rel=0.03, abs=1
        )
    assert mine.median_response_time == pytest.approx(theirs.median_response_time, abs=1)


def row(**counters: float) -> tuple[float, ...]:
    return tuple(counters.pop(name, 0) for name in COUNTERS)


def delta_of(second: int, **counters: float) -> Delta:
    delta = Delta("local", 0)
    delta.timeline[second, "echo"] = row(**counters)
    return delta


def test_locusts_reports_can_be_printed_from_it() -> None:
    bulk, _ = both([Happening("WSREQ", "echo", 5_000_000), Happening("WSREQ", "echo", None, REPLY_LOST)])
    text = "\n".join(
        [
            *get_stats_summary(bulk, False),
            *get_percentile_stats_summary(bulk),
            *get_error_report_summary(bulk),
        ]
    )
    assert "WSREQ" in text
    assert REPLY_LOST in text
    assert bulk.serialize_stats()
    assert bulk.total.to_dict()["num_requests"] == 2


def test_requests_a_second_are_those_of_the_time_that_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.7
    monkeypatch.setattr("time.time", lambda: now)
    stats = RequestStats()
    for second in range(1000, 1010):
        now = second + 1.05
        feed(stats, delta_of(second, sent=30 if second == 1000 else 100))
    entry = stats.get("echo", "WSSEND")
    assert entry.total_rps == stats.total.total_rps == pytest.approx(930 / 9.3, rel=0.01)
    # Locust leaves out the two newest seconds
    assert entry.current_rps == pytest.approx(100, rel=0.11)


def test_the_current_percentile_moves_with_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    recorder = clock.recorder()
    monkeypatch.setattr("time.time", lambda: recorder.unix_s(clock.now_ns))
    stats = RequestStats()
    for second in range(40):
        recorder.tick(clock.advance(1))
        for _ in range(10):
            record(recorder, Happening("WSREQ", "echo", 5_000_000 if second < 20 else 50_000_000))
        feed(stats, recorder.take())
    assert stats.total.get_current_response_time_percentile(0.5) == 50
    assert stats.total.get_response_time_percentile(0.4) == 5


def test_failures_a_second_are_kept_though_their_opening_was_counted_before() -> None:
    delta = Delta(
        "local", 0, connections=[connection(name="echo", outcome="timeout-hello", error="timeout-hello")]
    )
    stats = RequestStats()
    feed(stats, delta)
    entry = stats.get("echo", "WSOPEN")
    assert (entry.num_requests, entry.num_failures) == (0, 1)
    assert sum(entry.num_fail_per_sec.values()) == 1


@pytest.mark.parametrize("again", ["clear_all", "reset_all"])
def test_a_new_test_begins_at_zero_and_goes_on(again: str) -> None:
    stats = RequestStats()
    feed(stats, delta_of(1000, sent=5, reply_lost=1))
    getattr(stats, again)()
    assert (stats.total.num_requests, stats.total.num_failures, stats.errors) == (0, 0, {})
    feed(stats, delta_of(1001, sent=3, reply_lost=2))
    assert stats.get("echo", "WSSEND").num_requests == 3
    assert stats.total.num_requests == 5
    assert [error.occurrences for error in stats.errors.values()] == [2]


def test_errors_of_many_sockets_are_few_rows() -> None:
    stats = RequestStats()
    for number in range(50):
        records = [
            connection(id=f"0.{number}", name="echo", outcome="reset", error="reset", errno=104),
            connection(
                id=f"1.{number}", name="echo", code=1011, reason=f"trace {number}", initiator="server"
            ),
        ]
        feed(stats, Delta("local", number, connections=records))
    assert sorted((error.method, error.error, error.occurrences) for error in stats.errors.values()) == [
        ("WSCLOSE", "1011 internal error, by server", 50),
        ("WSOPEN", "reset", 50),
    ]


@pytest.mark.parametrize(
    "ended",
    [
        {"code": 1000, "initiator": "server"},
        {"code": 1000, "initiator": "client", "reason": "run ended"},
        {"code": 1006, "initiator": "client", "reason": "run ended", "detail": "close-timeout"},
        {"outcome": "cancelled", "error": "cancelled", "code": None, "initiator": None},
    ],
)
def test_an_end_in_order_is_no_failure(ended: dict[str, Any]) -> None:
    stats = RequestStats()
    feed(stats, Delta("local", 0, connections=[connection(**ended)]))
    assert stats.total.num_failures == 0
    assert stats.errors == {}


def test_the_bytes_of_replies_are_not_those_of_pushes() -> None:
    (events,) = events_of(delta_of(1000, received=100, replies_received=99, bytes_received=6_400)).values()
    assert events.received_bytes == 64


def test_answers_have_sizes_and_what_was_measured_of_failures_and_closes_has_times() -> None:
    stats = RequestStats()
    delta = delta_of(1000, failed=2, closed=2, replies=4, replies_received=4, received=4, reply_bytes=1_000)
    name = next(iter(delta.timeline))[1]
    for kind in ("failed_handshake", "closing"):
        delta.latency[1000, kind, name] = Histogram.of([5_000_000, 7_000_000])
    feed(stats, delta)
    assert stats.get(name, "WSREQ").avg_content_length == 250
    for method in ("WSOPEN", "WSCLOSE"):
        entry = stats.get(name, method)
        assert (entry.num_requests, entry.num_none_requests) == (2, 0)
        assert entry.min_response_time == pytest.approx(5, rel=1e-2)
        assert entry.avg_response_time == pytest.approx(6, rel=1e-2)


def test_an_empty_delta_adds_no_row() -> None:
    stats = RequestStats()
    feed(stats, Delta("local", 0))
    assert not stats.entries
