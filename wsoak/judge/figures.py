"""Figures: what a gate can ask for, with its labels, forms and units; each a row of ``FIGURES``.

A row says how an expression is checked before a run (``sense``), and how to make the meter that measures it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

from wsoak.judge.expression import Expression, matches
from wsoak.judge.findings import Finding
from wsoak.judge.meters import (
    CloseShare,
    ConnectionCount,
    FindingCount,
    GaugeReadings,
    GreatestDuration,
    MeanDuration,
    Meter,
    ObservedCount,
    ObservedShare,
    OpeningShare,
    ProvidedMeter,
    Provider,
    Rate,
    RecoveryMeter,
    RowCount,
    RowShare,
    UsableShare,
    Window,
    WithinShare,
)
from wsoak.judge.observed_rules import OBSERVED
from wsoak.judge.quantity import Dimension, Per
from wsoak.judge.rules import RULES
from wsoak.ledger import outcomes
from wsoak.ledger.books import Books
from wsoak.ledger.outcomes import CANCELLED, OPEN, PHASES, is_failure
from wsoak.ledger.records import ConnectionRecord, Gauge, Observation
from wsoak.ledger.timeline import ARRIVALS, CounterRow, http_parts, value
from wsoak.ledger.units import NS_PER_S

SCENARIO: Final = "scenario"
"""The source of gauges that a gate means where it names none: the scenario's own metrics."""

HTTP: Final = "http"
"""The kind of duration of HTTP calls, and the first word of their figures."""

_CALL_LABELS: Final = ("name", "method")

Build = Callable[[Expression, Window], Meter]
Unit = tuple[Dimension, Per]

SHARE: Final[Unit] = ("share", "")
SECONDS: Final[Unit] = ("seconds", "")
BYTES: Final[Unit] = ("bytes", "")
NUMBER: Final[Unit] = ("number", "")
A_SECOND: Final[Unit] = ("number", "s")
SHARE_AN_HOUR: Final[Unit] = ("share", "h")
DRIFTS: Final[Mapping[str, Unit]] = MappingProxyType(
    {
        "latency": ("seconds", "h"),
        "memory": ("bytes", "h"),
        "descriptors": ("number", "h"),
        "connections": ("number", "h"),
    }
)
"""What may drift, and its unit; each may also be asked for as a share of its level."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that can be asked for.

    ``labels`` it can be told apart by, of which ``needs`` must be given; ``units`` that its limit may have;
    ``counts``: an exact number, which may be compared with ``==`` and only grows while a run goes on;
    ``live``: whether it can be judged while the run goes on.
    """

    name: str
    text: str
    units: tuple[Unit, ...]
    build: Build
    labels: tuple[str, ...] = ("name",)
    needs: tuple[str, ...] = ()
    counts: bool = False
    live: bool = True


# -------------------------------------------------------------------------------------------- the meters


def name_filter(expression: Expression) -> Callable[[str], bool]:
    """Whether a name in the books is one of those that the expression asks for."""
    if expression.figure.partition(".")[0] == HTTP:
        return partial(_is_call, expression)
    return partial(expression.admits, "name")


def _is_call(expression: Expression, counted: str) -> bool:
    """Of ``POST /login``, both ``/login`` and the whole are the name."""
    method, name = http_parts(counted)
    return expression.admits("method", method) and all(
        (matches(label.value, name) or matches(label.value, counted)) is not label.negated
        for label in expression.labels
        if label.key == "name"
    )


def _share(part: tuple[str, ...], whole: tuple[str, ...]) -> Build:
    def pair(row: CounterRow) -> tuple[float, float]:
        return sum(value(row, c) for c in part), sum(value(row, c) for c in whole)

    return lambda expression, _: RowShare(name_filter(expression), pair)


def _count(counters: tuple[str, ...], exposure: tuple[str, ...]) -> Build:
    return lambda expression, _: _row_count(expression, counters, exposure)


def _row_count(expression: Expression, counters: tuple[str, ...], exposure: tuple[str, ...]) -> RowCount:
    return RowCount(name_filter(expression), counters, exposure)


def _a_second(counters: tuple[str, ...], exposure: tuple[str, ...]) -> Build:
    return lambda expression, _: Rate(_row_count(expression, counters, exposure))


def _served(_: Expression, __: Window) -> Meter:
    def pair(row: CounterRow) -> tuple[float, float]:
        served = value(row, "served")
        return served, served + value(row, "unserved")

    return RowShare(lambda name: name == ARRIVALS, pair)


def _opening_wanted(expression: Expression) -> Callable[[ConnectionRecord], bool]:
    return lambda record: (
        is_failure(record.outcome)
        and expression.admits("outcome", record.outcome)
        and expression.admits("phase", record.phase)
    )


def _opened_wanted(expression: Expression) -> bool:
    return expression.admits("outcome", OPEN) and expression.admits("phase", "")


def _opening_share(expression: Expression, _: Window) -> Meter:
    return OpeningShare(name_filter(expression), _opening_wanted(expression), _opened_wanted(expression))


def _opening_count(expression: Expression, _: Window) -> Meter:
    if not expression.names("outcome") and not expression.names("phase"):
        return _row_count(expression, _HANDSHAKES, _HANDSHAKES)
    failed, opened = _opening_wanted(expression), _opened_wanted(expression)
    return ConnectionCount(
        name_filter(expression),
        lambda record: opened if record.outcome == OPEN else failed(record),
        lambda record: record.outcome == OPEN or is_failure(record.outcome),
    )


_CLOSE_TEXTS: Final[Mapping[str, Callable[[ConnectionRecord], str]]] = MappingProxyType(
    {
        "code": lambda record: str(record.code or ""),
        "class": lambda record: outcomes.close_class(record.code) if record.code is not None else "",
        "initiator": lambda record: record.initiator or "",
        "detail": lambda record: record.detail,
        "state": lambda record: record.state,
        "clean": lambda record: "true" if record.clean else "false",
        "by_run": lambda record: "true" if record.ended_by_run else "false",
    }
)


def _close_wanted(expression: Expression) -> Callable[[ConnectionRecord], bool]:
    asked = [(key, text) for key, text in _CLOSE_TEXTS.items() if expression.names(key)]
    return lambda record: (
        record.outcome == OPEN and all(expression.admits(key, text(record)) for key, text in asked)
    )


def _close_share(expression: Expression, _: Window) -> Meter:
    return CloseShare(name_filter(expression), _close_wanted(expression))


def _close_count(expression: Expression, _: Window) -> ConnectionCount:
    return ConnectionCount(
        name_filter(expression), _close_wanted(expression), lambda record: record.outcome == OPEN
    )


def _reconnect_count(expression: Expression, _: Window) -> ConnectionCount:
    return ConnectionCount(
        name_filter(expression),
        lambda record: record.attempt > 0,
        lambda record: record.outcome != CANCELLED,
    )


def _observed_wanted(expression: Expression) -> Callable[[Observation], bool]:
    return lambda seen: expression.admits("id", seen.id) and expression.admits("name", seen.name)


def _observed_share(expression: Expression, _: Window) -> Meter:
    return ObservedShare(_observed_wanted(expression))


def _observed_count(expression: Expression, _: Window) -> Meter:
    return ObservedCount(_observed_wanted(expression))


def _duration(kind: str) -> Build:
    def build(expression: Expression, window: Window) -> Meter:
        if expression.within is not None:
            return WithinShare(kind, name_filter(expression), window, _ns(expression.within.value))
        limit_ns = _ns(expression.limit.value)
        return WithinShare(kind, name_filter(expression), window, limit_ns, expression.percent)

    return build


def _ns(duration_s: float) -> int:
    return round(duration_s * NS_PER_S)


def _mean(kind: str) -> Build:
    return lambda expression, window: MeanDuration(kind, name_filter(expression), window)


def _greatest(kind: str) -> Build:
    return lambda expression, window: GreatestDuration(kind, name_filter(expression), window)


def _gauge(statistic: str) -> Build:
    def build(expression: Expression, _: Window) -> Meter:
        named = expression.names("source")

        def wanted(gauge: Gauge) -> bool:
            source = expression.admits("source", gauge.source) if named else gauge.source == SCENARIO
            return (
                source and expression.admits("name", gauge.name) and expression.admits("worker", gauge.worker)
            )

        return GaugeReadings(wanted, statistic)

    return build


def _findings(expression: Expression, _: Window) -> Meter:
    def wanted(finding: Finding) -> bool:
        texts = {"severity": finding.severity, "id": finding.id, "system": finding.system}
        return all(expression.admits(key, text) for key, text in texts.items())

    def knows(books: Books) -> bool:
        # a word that nothing in the run has to do with would give 0 for ever
        names = {name for _, name in books.observations} | set(books.totals)
        ids = {id_ for id_, _ in books.observations} | FINDING_IDS
        return all(
            any(matches(label.value, text) for text in (names if label.key == "system" else ids))
            for label in expression.labels
            if label.key in ("system", "id") and not label.negated
        )

    return FindingCount(wanted, knows)


def _recovery(expression: Expression, _: Window) -> Meter:
    return RecoveryMeter(name_filter(expression))


PROVIDERS: Final[dict[str, Provider]] = {}
"""Who measures a figure that is no business of this module, by its name, such as ``drift.memory``."""


def provide(name: str, provider: Provider) -> None:
    """Let ``provider`` measure a figure of the table; called when its module is imported.

    It is given what is known of the run once that is over, and the window; see ``meters.Provider``. It must
    say ``nothing(why)`` where it cannot tell.

    Raises:
        KeyError: when the table has no such figure, or one that is measured here.
    """
    if not is_provided(name):
        raise KeyError(f"{name} is measured by wsoak.judge.figures itself")
    PROVIDERS[name] = provider


def is_provided(name: str) -> bool:
    """Whether a figure is one that somebody else must measure, once the run is over."""
    return name in FIGURES and FIGURES[name].build in _PROVIDED


def lacks_provider(name: str) -> bool:
    """Whether a figure is one that nobody in this process can measure."""
    return is_provided(name) and name not in PROVIDERS


def _provided(name: str) -> Build:
    def build(expression: Expression, _: Window) -> Meter:
        return ProvidedMeter(lambda: PROVIDERS.get(name), as_share=expression.limit.dimension == "share")

    _PROVIDED.add(build)
    return build


_PROVIDED: Final[set[Build]] = set()

# --------------------------------------------------------------------------------------------- the table

DURATIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "response": "from the moment a request was meant to be sent to its answer, or its time-out",
        "service": "from the moment a request was sent to its answer, or its time-out",
        "lag": "between the moment a message was meant to be sent, and was",
        "ping": "a protocol ping's round trip",
        "delivery": "a push's way, by the server's stamp",
        "handshake": "a whole successful opening",
        "failed_handshake": "an opening that failed, until it had",
        **{phase: f"the {phase} phase of successful openings" for phase in PHASES},
        "usable": "from the start of an attempt to the first message that was expected",
        "closing": "from the first close frame, sent or received, to the connection's end",
        "hub": "how late the generator's own event loop was",
        "metric": "the scenario's own `metric(…, kind='trend')`",
        HTTP: "a whole HTTP call, whatever came of it",
    }
)
"""The kinds of duration; see ``ledger.delta.KINDS``."""

DURATION_LABELS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {kind: _CALL_LABELS if kind == HTTP else ("name",) for kind in DURATIONS}
)

_HANDSHAKES: Final = ("opened", "failed")
_REQUESTS: Final = ("replies", "reply_timeouts", "reply_lost")
_CALLS: Final = ("http_ok", "http_failed")
_CHECKS: Final = ("check_passed", "check_failed")
_OPENING_LABELS: Final = ("name", "outcome", "phase")
_CLOSE_LABELS: Final = ("name", *_CLOSE_TEXTS)
_METRIC: Final = ("metric_count",)
_ANY: Final = (*_HANDSHAKES, "closed", "sent", "received")


def _table() -> Iterator[Figure]:
    yield Figure(
        "handshake.success",
        "openings that succeeded, of all but the generator's own failures",
        (SHARE,),
        _share(("opened",), _HANDSHAKES),
    )
    yield Figure(
        "handshake.rate",
        "openings with an outcome, of all but the generator's own failures",
        (SHARE,),
        _opening_share,
        _OPENING_LABELS,
        needs=("outcome", "phase"),
    )
    yield Figure("handshake.count", "openings", (NUMBER,), _opening_count, _OPENING_LABELS, counts=True)
    yield Figure("handshake.per_second", "openings", (A_SECOND, NUMBER), _a_second(_HANDSHAKES, _HANDSHAKES))
    yield Figure(
        "usable",
        "sockets whose first expected message came, of the opened ones of which it is known",
        (SHARE,),
        lambda expression, _: UsableShare(name_filter(expression)),
    )
    yield Figure(
        "request.success", "requests that were answered in time", (SHARE,), _share(("replies",), _REQUESTS)
    )
    yield Figure("request.count", "requests", (NUMBER,), _count(("requests",), _REQUESTS), counts=True)
    yield Figure("request.per_second", "requests", (A_SECOND, NUMBER), _a_second(("requests",), _REQUESTS))
    yield Figure(
        "http.success",
        "HTTP calls that succeeded, as Locust counts them",
        (SHARE,),
        _share(_CALLS[:1], _CALLS),
        _CALL_LABELS,
    )
    for counted, counters, text in (
        ("count", _CALLS, "HTTP calls"),
        ("failed", _CALLS[1:], "HTTP calls that failed"),
    ):
        yield Figure(f"http.{counted}", text, (NUMBER,), _count(counters, _CALLS), _CALL_LABELS, counts=True)
    yield Figure("http.per_second", "HTTP calls", (A_SECOND, NUMBER), _a_second(_CALLS, _CALLS), _CALL_LABELS)
    for way in ("sent", "received"):
        yield Figure(f"{way}.count", f"messages {way}", (NUMBER,), _count((way,), _ANY), counts=True)
        yield Figure(f"{way}.per_second", f"messages {way}", (A_SECOND, NUMBER), _a_second((way,), _ANY))
    yield Figure(
        "close.rate", "sockets that ended so, of all that ended", (SHARE,), _close_share, _CLOSE_LABELS
    )
    yield Figure("close.count", "sockets that ended so", (NUMBER,), _close_count, _CLOSE_LABELS, counts=True)
    yield Figure(
        "close.per_second",
        "sockets that ended so",
        (A_SECOND, NUMBER),
        lambda expression, window: Rate(_close_count(expression, window)),
        _CLOSE_LABELS,
    )
    yield Figure("reconnect.count", "attempts after a failure", (NUMBER,), _reconnect_count, counts=True)
    yield Figure(
        "reconnect.per_second",
        "attempts after a failure",
        (A_SECOND, NUMBER),
        lambda expression, window: Rate(_reconnect_count(expression, window)),
    )
    yield Figure(
        "reconnect.recovery",
        "from a mass drop until 95 % as many sockets were open again; the worst",
        (SECONDS,),
        _recovery,
        live=False,
    )
    yield Figure("check", "the scenario's own checks that passed", (SHARE,), _share(_CHECKS[:1], _CHECKS))
    yield Figure(
        "check.failed",
        "the scenario's own checks that failed",
        (NUMBER,),
        _count(_CHECKS[1:], _CHECKS),
        counts=True,
    )
    for statistic, counters in (("count", _METRIC), ("sum", ("metric_sum",))):
        yield Figure(
            f"metric.{statistic}",
            f"the scenario's own `metric(…)`: the {statistic} of it",
            (NUMBER,) if statistic == "count" else (NUMBER, SECONDS, BYTES),
            _count(counters, _METRIC),
            needs=("name",),
            counts=True,
        )
    yield Figure(
        "metric.per_second",
        "the scenario's own `metric(…)`: how much of it",
        (A_SECOND, NUMBER),
        _a_second(("metric_sum",), _METRIC),
        needs=("name",),
    )
    for statistic in ("min", "mean", "max", "last"):
        yield Figure(
            f"gauge.{statistic}",
            f"the {statistic} of a gauge's readings: the scenario's own, or another source's",
            (NUMBER, SECONDS, BYTES, SHARE),
            _gauge(statistic),
            ("name", "source", "worker"),
            needs=("name",),
            live=statistic != "last",
        )
    for kind, text in DURATIONS.items():
        labels = DURATION_LABELS[kind]
        yield Figure(f"{kind}.mean", f"the mean: {text}", (SECONDS,), _mean(kind), labels)
        yield Figure(f"{kind}.max", f"the longest: {text}", (SECONDS,), _greatest(kind), labels)
    observed = ("id", "name")
    yield Figure(
        "observed.rate",
        "things that a scenario found wrong, of those that it looked at",
        (SHARE,),
        _observed_share,
        observed,
        needs=("id",),
    )
    yield Figure(
        "observed.count",
        "things that a scenario found wrong",
        (NUMBER,),
        _observed_count,
        observed,
        ("id",),
        True,
    )
    yield Figure(
        "arrivals.served",
        "sessions of the open model that somebody was free for",
        (SHARE,),
        _served,
        (),
    )
    yield Figure(
        "findings",
        "findings, as `analysis diagnose` has them",
        (NUMBER,),
        _findings,
        ("severity", "id", "system"),
        counts=True,
    )
    for drifting, unit in DRIFTS.items():
        name = f"drift.{drifting}"
        text = f"how much {drifting} grows in an hour"
        yield Figure(name, text, (SHARE_AN_HOUR, unit), _provided(name), (), live=False)


FIGURES: Final[Mapping[str, Figure]] = MappingProxyType({figure.name: figure for figure in _table()})
"""What stands before the comparison, by its name; besides these, durations have ``p(…)`` and ``within``."""

FINDING_IDS: Final = frozenset({*(rule.id for rule in RULES), *OBSERVED, "reconnect-storm"})


def meter(expression: Expression, window: Window) -> Meter:
    """The meter of a checked expression."""
    if expression.percent is not None or expression.within is not None:
        return _duration(expression.figure)(expression, window)
    return FIGURES[expression.figure].build(expression, window)
