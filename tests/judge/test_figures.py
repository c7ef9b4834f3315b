"""Figures: each is measured from what the ledger holds, over its window, by its labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.judge import booked
from tests.judge.booked import START_S, broken, closed, failed, healthy, row
from wsoak.judge import figures
from wsoak.judge.figures import FIGURES, PROVIDERS, provide
from wsoak.judge.findings import find
from wsoak.judge.gates import parse_gates
from wsoak.judge.meters import Material, Measured, PerSecond, Window, nothing
from wsoak.judge.verdict import Trial
from wsoak.ledger.books import Books
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.outcomes import CANCELLED
from wsoak.ledger.records import ConnectionRecord, Gauge, Observation
from wsoak.ledger.timeline import ARRIVALS
from wsoak.ledger.units import NS_PER_MS

Feed = Callable[["Run"], object]


class Run:
    """A run as a trial is told it: second by second from ``START_S`` on."""

    def __init__(self, expr: str, window: str = "") -> None:
        (gate,) = parse_gates(f"[[gates]]\nexpr = '''{expr}'''\n{window}".encode(), "gates.toml")
        self.trial = Trial([gate], START_S)
        self.books = Books()
        self.reader: Any = None

    def row(self, at_s: int, name: str = "dialogue", **counters: float) -> Run:
        self.trial.take_row(START_S + at_s, name, row(**counters))
        self.books.add_row(START_S + at_s, name, row(**counters))
        return self

    def durations(self, at_s: int, *values_ms: float, kind: str = "response", name: str = "ask") -> Run:
        durations = Histogram.of(round(each * NS_PER_MS) for each in values_ms)
        self.trial.take_durations(START_S + at_s, kind, name, durations)
        return self

    def connections(self, records: Iterable[ConnectionRecord]) -> Run:
        for record in records:
            self.trial.take_connection(record)
            self.books.merge(booked.books([record]))
            if record.outcome == "open":
                at_s = int(record.started_at)
                self.trial.take_row(at_s, record.name, row(opened=1, usable=int(record.usable is True)))
            elif record.outcome != CANCELLED:
                self.trial.take_row(int(record.started_at), record.name, row(failed=1))
        return self

    def gauge(self, at_s: float, value: float, name: str = "queue", source: str = "scenario") -> Run:
        self.trial.take_gauge(Gauge(START_S + at_s, "local", source, name, value))
        return self

    def observed(self, at_s: float, id_: str, count: int, of: int, name: str = "dialogue") -> Run:
        seen = Observation(START_S + at_s, "local", id_, name, count, of, "")
        self.trial.take_observation(seen)
        self.books.add_observation(seen)
        return self

    @property
    def measured(self) -> Measured:
        material = Material(self.books, START_S, lambda: find(self.books, START_S), self.reader)
        (result,) = self.trial.results(material)
        return result.measured

    @property
    def found(self) -> tuple[float | None, int]:
        """Value and samples."""
        return self.measured.value, self.measured.samples


SOCKETS = [
    *[healthy(0.1 * n) for n in range(10)],
    *[healthy(0.1 * n, name="echo") for n in range(10)],
    *[broken("reset", 5 + 0.1 * n, age_s=1.0) for n in range(4)],
    broken("eof", 5, age_s=1.0, name="echo"),
    closed(1008, 6, age_s=0.5, usable=False),
    closed(4401, 6, age_s=0.5, usable=False),
    closed(1000, 6, age_s=2.0, attempt=1),
]
FAILURES = [
    failed("refused", "tcp", 7),
    failed("rejected-503", at_s=7),
    failed("rejected-503", at_s=7, name="echo", attempt=1),
    failed("timeout-upgrade", at_s=8, attempt=2),
    failed(CANCELLED, at_s=9),
]
ALL = SOCKETS + FAILURES


@pytest.mark.parametrize(
    ("expr", "value", "samples"),
    [
        ("handshake.success >= 9%", 28 / 32, 32),
        ("handshake{name=echo}.success >= 9%", 11 / 12, 12),
        ("handshake{outcome=rejected-503}.rate < 9%", 2 / 32, 32),
        ("handshake{outcome=rejected-*,name=dialogue}.rate < 9%", 1 / 20, 20),
        ("handshake{outcome!=open}.rate < 9%", 4 / 32, 32),
        ("handshake{outcome=open}.rate > 9%", 28 / 32, 32),
        ("handshake{phase=tcp}.rate < 9%", 1 / 32, 32),
        ("handshake.count > 3", 32, 32),
        ("handshake{outcome=open}.count > 3", 28, 32),
        ("handshake{outcome=timeout-*}.count > 3", 1, 32),
        ("usable >= 9%", 26 / 28, 28),
        ("usable{name=echo} >= 9%", 1.0, 11),
        ("close{code=1006}.rate < 9%", 5 / 28, 28),
        ("close{code=1006,name=echo}.rate < 9%", 1 / 11, 11),
        ("close{code!=1000}.rate < 9%", 7 / 28, 28),
        ("close{class=policy}.count == 0", 2, 28),
        ("close{code=4*}.count == 0", 1, 28),
        ("close{detail=reset}.count == 0", 4, 28),
        ("close{initiator=server}.count == 0", 3, 28),
        ("close{clean=false}.count == 0", 5, 28),
        ("close{by_run=true}.count == 0", 20, 28),
        ("close{state=talking}.count == 0", 28, 28),
        ("reconnect.count < 9", 3, 32),
        ("reconnect{name=echo}.count < 9", 1, 12),
    ],
)
def test_sockets_are_counted_by_how_they_opened_and_ended(expr: str, value: float, samples: int) -> None:
    measured = Run(expr).connections(ALL).measured
    assert measured.value == pytest.approx(value)
    assert measured.samples == samples


def calls(run: Run) -> object:
    run.row(0, "POST /login", http_ok=1, http_failed=2).row(1, "GET /login", http_ok=1)
    run.row(1, "GET /rooms/{id}", http_ok=5, http_failed=1)
    # a socket of the same name is no call
    run.row(1, "/login", opened=7).durations(1, 900, kind="handshake", name="/login")
    return run.durations(0, 100, 300, kind="http", name="POST /login")


@pytest.mark.parametrize(
    ("expr", "feed", "value", "samples"),
    [
        ("request.success >= 9%", lambda r: r.row(0, replies=8, reply_timeouts=1, reply_lost=1), 0.8, 10),
        ("request.count > 1", lambda r: r.row(0, requests=7, replies=6), 7, 6),
        ("check >= 9%", lambda r: r.row(0, "a", check_passed=3).row(1, "b", check_failed=1), 0.75, 4),
        ("check{name=a} >= 9%", lambda r: r.row(0, "a", check_passed=3).row(1, "b", check_failed=1), 1.0, 3),
        ("check.failed == 0", lambda r: r.row(0, "a", check_passed=3).row(1, "b", check_failed=1), 1, 4),
        ("metric{name=hits}.count > 1", lambda r: r.row(0, "hits", metric_count=3, metric_sum=4.5), 3, 3),
        ("metric{name=hits}.sum > 1", lambda r: r.row(0, "hits", metric_count=3, metric_sum=4.5), 4.5, 3),
        (
            "arrivals.served >= 9%",
            lambda r: r.row(0, ARRIVALS, served=9, unserved=1).row(0, served=5),
            0.9,
            10,
        ),
        ("observed{id=history-lost}.rate < 9%", lambda r: r.observed(0, "history-lost", 2, 40), 0.05, 40),
        ("observed{id=history-lost}.count < 9", lambda r: r.observed(0, "history-lost", 2, 40), 2, 40),
        ("http.success >= 9%", calls, 0.7, 10),
        ("http{name=/login}.success >= 9%", calls, 0.5, 4),
        ("http{name='POST /login'}.success >= 9%", calls, 1 / 3, 3),
        ("http{name=/login, method=GET}.success >= 9%", calls, 1.0, 1),
        ("http{name!=/login}.count > 1", calls, 6, 6),
        ("http.failed == 0", calls, 3, 10),
        ("http{name=/login}.max < 1s", calls, pytest.approx(0.3, rel=1e-3), 2),
        ("http{method=P*} within 200ms >= 9%", calls, 0.5, 2),
        ("sent.count > 1", lambda r: r.row(0, sent=3).row(1, "echo", sent=4), 7, 7),
        ("received{name=echo}.count > 1", lambda r: r.row(1, "echo", received=4), 4, 4),
        ("gauge{name=queue}.max < 9", lambda r: r.gauge(0, 5).gauge(1.2, 7).gauge(1.3, 6), 7, 3),
        ("gauge{name=queue}.min < 9", lambda r: r.gauge(0, 5).gauge(1.2, 7).gauge(1.3, 6), 5, 3),
        ("gauge{name=queue}.last < 9", lambda r: r.gauge(0, 5).gauge(1.2, 7).gauge(1.3, 6), 6, 3),
        ("gauge{name=queue}.mean < 9", lambda r: r.gauge(0, 5).gauge(1.2, 7).gauge(1.3, 6), 6, 3),
        (
            "gauge{name=rss_bytes,source=target}.max < 9MB",
            lambda r: r.gauge(0, 8e6, "rss_bytes", "target").gauge(0, 9e9, "rss_bytes", "generator"),
            8e6,
            1,
        ),
        ("response.mean < 1s", lambda r: r.durations(0, 100, 300), pytest.approx(0.2, rel=1e-3), 2),
        ("response.max < 1s", lambda r: r.durations(0, 100, 300), pytest.approx(0.3, rel=1e-3), 2),
        ("response.max < 1s", lambda r: r.durations(0, 100, 61_000), math.inf, 2),
        ("response within 200ms >= 9%", lambda r: r.durations(0, 100, 300, 150), pytest.approx(2 / 3), 3),
        (
            "response{name=ask} within 200ms >= 9%",
            lambda r: r.durations(0, 100).durations(0, 500, name="tell").durations(0, 500, kind="service"),
            1.0,
            1,
        ),
        ("metric{name=think} p(50) < 1s", lambda r: r.durations(0, 100, kind="metric", name="think"), 0.1, 1),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_each_figure_is_what_it_says(expr: str, feed: Feed, value: Any, samples: int) -> None:
    run = Run(expr)
    feed(run)
    expected = pytest.approx(value, rel=1e-3) if isinstance(value, float) else value
    assert run.found == (expected, samples)


@pytest.mark.parametrize("name", sorted({*FIGURES} - {"findings"}))
def test_a_figure_without_data_has_no_value(name: str) -> None:
    base, _, statistic = name.partition(".")
    labels = "".join(f"{{{key}=open}}" for key in FIGURES[name].needs[:1])
    limit = {"share": "5%", "seconds": "5s", "bytes": "5MB", "number": "5"}[FIGURES[name].units[0][0]]
    per = FIGURES[name].units[0][1]
    expr = f"{base}{labels}{'.' + statistic if statistic else ''} < {limit}{'/' + per if per else ''}"
    measured = Run(expr).measured
    assert measured.value is None
    assert measured.note


def test_a_percentile_is_shown_and_judged_as_the_share_within_its_limit() -> None:
    run = Run("response p(90) < 250ms")
    for second in range(120):
        run.durations(second, *[100.0] * 9, 300.0 if second % 4 == 0 else 200.0)
    measured = run.measured
    assert measured.value == pytest.approx(0.1, rel=1e-3)
    assert measured.of == "within the limit"
    assert measured.low < 1 - 30 / 1200 < measured.high
    assert measured.samples == 1200


def test_a_request_that_lost_its_socket_took_longer_than_any_limit() -> None:
    run = Run("response p(50) < 250ms")
    for second in range(60):
        run.durations(second, *[10.0] * 50).row(second, "ask", reply_lost=100)
    measured = run.measured
    assert measured.value == math.inf
    assert measured.samples == 9_000
    assert measured.high < 0.5


def test_only_the_window_counts() -> None:
    run = Run("check >= 9%", 'after = "10s"\nuntil = "20s"')
    for second in range(30):
        run.row(second, "a", check_passed=int(10 <= second < 20), check_failed=int(not 10 <= second < 20))
    assert run.found == (1.0, 10)
    run = Run("response.max < 1s", 'after = "10s"')
    assert run.durations(9, 500.0).durations(10, 100.0).measured.value == pytest.approx(0.1, rel=1e-3)
    run = Run("gauge{name=queue}.max < 1", 'until = "10s"')
    assert run.gauge(9.5, 3).gauge(10.5, 9).found == (3, 1)


def test_a_rate_leaves_out_the_runs_first_and_last_second_and_counts_silent_ones() -> None:
    run = Run("sent.per_second >= 1")
    run.row(0, sent=3)
    for second in range(1, 41):
        run.row(second, "echo", sent=20 if second <= 20 else 0, received=1)
    run.row(41, sent=1)
    measured = run.measured
    assert measured.value == pytest.approx(10.0)
    assert measured.low < 10 < measured.high


def test_a_rate_of_two_seconds_is_none() -> None:
    assert Run("sent.per_second >= 1").row(0, sent=3).row(1, sent=3).measured.value is None


# ---------------------------------------------------------------------------------------------- findings

CRASH = [closed(1008, 0.5 * n, age_s=0.1, usable=False, messages_received=0) for n in range(20)]


@pytest.mark.parametrize(
    ("expr", "window", "value"),
    [
        ("findings == 0", "", 1),
        ("findings{severity=critical} == 0", "", 1),
        ("findings{severity=warning} == 0", "", 0),
        ("findings{id=closed-policy-silent} == 0", "", 1),
        ("findings{id!=closed-policy-silent} == 0", "", 0),
        ("findings{system=dialogue} == 0", "", 1),
        ("findings == 0", 'after = "30s"', 0),
        ("findings == 0", 'after = "5s"', 1),
    ],
)
def test_findings_are_counted_by_severity_id_and_system(expr: str, window: str, value: int) -> None:
    measured = Run(expr, window).connections(CRASH).measured
    assert (measured.value, measured.exact) == (value, True)


@pytest.mark.parametrize("expr", ["findings{system=dialoge} == 0", "findings{id=closed-policy-silnt} == 0"])
def test_a_finding_that_nothing_in_the_run_could_lead_to_is_no_data(expr: str) -> None:
    assert Run(expr).connections(CRASH).measured.value is None


def test_a_finding_of_the_scenarios_own_is_known_once_it_was_looked_for() -> None:
    run = Run("findings{id=my-own} == 0").observed(1, "my-own", 0, 10)
    assert run.measured.value == 0


# ---------------------------------------------------------------------------------------------- recovery


def dropped(recovered_s: float | None, until_s: float = 60.0, at_s: float = 20.0) -> list[ConnectionRecord]:
    """A hundred sockets that are reset at once, and opened again evenly until ``recovered_s`` later."""
    instant: dict[str, Any] = {"tcp_ms": 0.0, "upgrade_ms": 0.0}
    lost = [broken("reset", 0.01 * n, age_s=at_s - 0.01 * n, **instant) for n in range(100)]
    if recovered_s is None:
        return lost
    begin = [at_s + recovered_s * (n + 1) / 95 for n in range(100)]
    return lost + [healthy(at, age_s=until_s - at, attempt=1, **instant) for at in begin]


def test_a_recovery_is_the_time_until_95_percent_are_back() -> None:
    measured = Run("reconnect.recovery < 30s").connections(dropped(12.0)).measured
    assert measured.value == pytest.approx(12.0, abs=1e-6)
    assert (measured.samples, measured.exact) == (1, True)


def test_of_several_names_the_worst_recovery_counts_and_one_can_be_asked_for() -> None:
    two = dropped(5.0) + [
        each for each in map(renamed, dropped(15.0, at_s=40.0)) if each.started_at < START_S + 60
    ]
    assert Run("reconnect.recovery < 9s").connections(two).measured.value == pytest.approx(15.0, abs=0.2)
    only = Run("reconnect{name=dialogue}.recovery < 9s").connections(two).measured
    assert only.value == pytest.approx(5.0, abs=1e-6)


def renamed(record: ConnectionRecord) -> ConnectionRecord:
    fields = {column: getattr(record, column) for column in record.COLUMNS}
    return ConnectionRecord(**{**fields, "name": "echo"})


def test_a_drop_without_a_recovery_took_at_least_as_long_as_it_was_watched() -> None:
    run = Run("reconnect.recovery < 30s").connections(dropped(None)).row(39, sent=1)
    measured = run.measured
    assert measured.value == math.inf
    assert measured.low == pytest.approx(20.0)
    assert measured.high == math.inf
    assert "20 s after the drop" in measured.note


def test_a_run_without_a_drop_says_nothing_of_recovery() -> None:
    measured = Run("reconnect.recovery < 30s").connections([healthy(0.1 * n) for n in range(50)]).measured
    assert measured == nothing("no mass drop, and so no recovery")


# ---------------------------------------------------------------------------------------------- provided


def test_a_drift_is_not_measured_until_somebody_provides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "PROVIDERS", {})
    run = Run("drift.memory < 2%/h", 'after = "30s"')
    run.reader = object()
    assert run.measured == nothing("not measured")
    asked: list[tuple[Material, Window]] = []

    def provider(material: Material, window: Window) -> Measured:
        asked.append((material, window))
        return Measured(2e6, 1e6, 3e6, 40, 40.0, base=100e6)

    provide("drift.memory", provider)
    assert run.measured == Measured(0.02, 0.01, 0.03, 40, 40.0)
    ((material, window),) = asked
    assert material.reader is run.reader
    assert window == Window(START_S + 30.0)
    # as long as the run goes on there is no drift
    run.reader = None
    assert run.measured.value is None


def test_a_drift_is_measured_in_the_limits_unit_where_it_has_a_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "PROVIDERS", {})
    provide("drift.memory", lambda _material, _window: Measured(2e6, 1e6, 3e6))
    for expr, value in (("drift.memory < 3MB/h", 2e6), ("drift.memory < 3%/h", None)):
        run = Run(expr)
        run.reader = object()
        assert run.measured.value == value


@pytest.mark.parametrize("name", ["usable", "drift.moon"])
def test_what_is_measured_here_or_not_known_cannot_be_provided(name: str) -> None:
    with pytest.raises(KeyError):
        provide(name, lambda _material, _window: nothing())
    assert name not in PROVIDERS


# -------------------------------------------------------------------------------------------------- sums


def test_sums_by_second_hold_any_seconds_in_little_memory() -> None:
    sums = PerSecond()
    for second in (0, 1, 10**15, -5, 1_023, 1_024):
        sums.add(second, 1, 2)
    sums.add(7, 0, 0)
    seconds, part, whole = sums.over(Window())
    assert list(seconds) == [-5, 0, 1, 1_023, 1_024, 10**15]
    assert (part.sum(), whole.sum()) == (6, 12)
    assert list(sums.over(Window(1, 1_024))[0]) == [1, 1_023]
