"""Soak: what drifts over a long run, and what is left behind by it.

Looked at is the time in which the load was up, less its first tenth, in which servers warm up. The load is
the users: their sockets, which come and go, stand in for them where nobody counted users. Memory is what a
block never falls below, less what open connections explain; descriptors are those beyond the connections;
connections are what the server holds beyond ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from analysis.drift import (
    INCREMENT_READINGS,
    LEAST_BLOCKS,
    Array,
    ChangePoint,
    TooShort,
    Trend,
    Verdict,
    change_points,
    judged,
    settled,
    trend,
    warmed,
    without,
)
from analysis.estimate import plain
from analysis.frames import Run, load, number
from analysis.steps import by_second
from analysis.tables import clock
from wsoak.judge.figures import provide
from wsoak.judge.meters import Material, Measured, Window, nothing
from wsoak.judge.quantity import Dimension, Quantity
from wsoak.judge.validity import LATENCY_LIMIT_MS
from wsoak.judge.words import counted, span
from wsoak.ledger.rundir import UnreadableRun

TARGET: Final = "target"
LEAST_S: Final = 120
"""A load that was up for less than this is no soak."""
DRAINED_SHARE: Final = 0.05
"""The load is drained when we hold no more than this share of the most sockets that we held."""
CONNECTIONS: Final = ("open_sockets", "open_connections", "connections_open", "websocket_connections")
"""A watched gauge whose name has one of these in it counts the server's connections."""


@dataclass(frozen=True)
class Soaked:
    """The part of a run that is looked at: ``seconds`` since the start at which the load was up."""

    run: Run
    seconds: Array
    begin_s: float
    end_s: float

    def gauge(self, name: str, source: str) -> Array:
        """A gauge by the second; NaN where it was never read."""
        values = by_second(self.run, name, source)
        found: Array = values[self.seconds.astype(int)]
        return found


@dataclass(frozen=True, slots=True)
class Subject:
    """What may drift: how it is read and judged.

    ``series`` gives times in seconds and values (more is worse), or nothing where the run has none of it.
    What it may grow over the window: the most of ``share`` of its level, ``least`` in its own unit, and
    ``of_limit`` of the run's latency limit.
    """

    name: str
    what: str
    dimension: Dimension
    series: Callable[[Soaked], tuple[Array, Array] | None]
    share: float
    least: float
    summary: Callable[[Array], Any] = np.median
    accumulates: bool = False
    of_limit: float = 0.0
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Drift:
    """One subject's drift: its verdict in a word and a sentence, and the trend behind it, if there is any.

    ``times`` and ``values`` are the readings that it was found in, in seconds after the start.
    """

    name: str
    what: str
    verdict: Verdict
    sentence: str
    trend: Trend | None = None
    tolerance: float | None = None
    changes: tuple[ChangePoint, ...] = ()
    dimension: Dimension = "number"
    times: Array = field(default_factory=lambda: np.empty(0), repr=False, compare=False)
    values: Array = field(default_factory=lambda: np.empty(0), repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """The drift as plain values, in base units; times in seconds after the start."""
        found = self.trend
        return {
            "name": self.name,
            "verdict": self.verdict,
            "sentence": self.sentence,
            "tolerance": plain(self.tolerance),
            "changes": [
                {"at_s": change.at_s, "of": change.of, "before": change.before, "after": change.after}
                for change in self.changes
            ],
            "trend": None
            if found is None
            else {
                "level": found.level,
                "change": found.change.to_json(),
                "an_hour": found.an_hour.to_json(),
                "smallest_seen": found.smallest,
                "seconds": found.seconds,
                "blocks": found.blocks,
                "block_s": found.block_s,
            },
        }


# ------------------------------------------------------------------------------------------ what may drift


def _latency(soaked: Soaked) -> tuple[Array, Array] | None:
    run = soaked.run
    return _binned(soaked, run.fine.percentiles("response", (99.0,)), run.fine_s, "p99", 1000.0)


def _lag(soaked: Soaked) -> tuple[Array, Array] | None:
    run = soaked.run
    return _binned(soaked, run.fine.percentiles("hub", (99.0,)), run.fine_s, "p99", 1000.0)


def _failures(soaked: Soaked) -> tuple[Array, Array] | None:
    totals = soaked.run.totals()
    bad = totals[["failed", "reply_timeouts", "reply_lost"]].sum(axis=1)
    tried = bad + totals[["opened", "replies"]].sum(axis=1)
    share = (bad / tried.where(tried > 0)).to_frame("share")
    return _binned(soaked, share, soaked.run.bin_s, "share", 1.0)


def _binned(
    soaked: Soaked, frame: Any, bin_s: int, column: str, per_unit: float
) -> tuple[Array, Array] | None:
    run = soaked.run
    if frame.empty:
        return None
    times = (frame.index.to_numpy(dtype=float) + 0.5) * bin_s - (run.started_at - run.start_s)
    inside = (times - bin_s / 2 >= soaked.begin_s) & (times + bin_s / 2 <= soaked.end_s)
    values = frame[column].astype("float64").to_numpy() / per_unit
    return (times[inside], values[inside]) if np.isfinite(values[inside]).any() else None


def _memory(soaked: Soaked) -> tuple[Array, Array] | None:
    values = soaked.gauge("rss_bytes", TARGET)
    if not np.isfinite(values).any():
        return None
    return soaked.seconds, without(values, _connections(soaked), soaked.seconds)


def _descriptors(soaked: Soaked) -> tuple[Array, Array] | None:
    values = soaked.gauge("fds", TARGET)
    return (soaked.seconds, values - _connections(soaked)) if np.isfinite(values).any() else None


def _beyond_ours(soaked: Soaked) -> tuple[Array, Array] | None:
    server = server_connections(soaked.run)
    if server is None:
        return None
    ours = soaked.gauge("open_sockets", "generator")
    return soaked.seconds, server[soaked.seconds.astype(int)] - ours


def _own(name: str) -> Callable[[Soaked], tuple[Array, Array] | None]:
    def series(soaked: Soaked) -> tuple[Array, Array] | None:
        values = soaked.gauge(name, "generator")
        return (soaked.seconds, values) if np.isfinite(values).any() else None

    return series


def _connections(soaked: Soaked) -> Array:
    server = server_connections(soaked.run)
    return soaked.gauge("open_sockets", "generator") if server is None else server[soaked.seconds.astype(int)]


def server_connections(run: Run) -> Array | None:
    """The server's own count of its open connections by second, as far as it was watched."""
    gauges = run.gauges
    names = gauges.loc[gauges["source"] == TARGET, "name"].unique()
    counts = [name for name in map(str, names) if any(word in name for word in CONNECTIONS)]
    if not counts:
        return None
    total: Array = np.sum([by_second(run, name, TARGET) for name in counts], axis=0)
    return total


SUBJECTS: Final[tuple[Subject, ...]] = (
    Subject("latency", "response time (p99)", "seconds", _latency, 0.2, 0.001, of_limit=0.01),
    Subject("failures", "share of failures", "share", _failures, 0.0, 0.001),
    Subject(
        "memory",
        "the server's memory",
        "bytes",
        _memory,
        0.05,
        # an allocator takes memory by the megabyte, and warms up for long
        4e6,
        np.min,
        True,
        advice="Look for what is kept a message or a connection: caches without bound, lists of subscribers, "
        "tasks.",
    ),
    Subject(
        "descriptors",
        "the server's descriptors beyond its connections",
        "number",
        _descriptors,
        0.02,
        3.0,
        accumulates=True,
        advice="Look for files, and database or HTTP connections, that are opened a request and not closed, "
        "and for sockets whose clients are gone.",
    ),
    Subject(
        "connections",
        "the server's connections beyond ours",
        "number",
        _beyond_ours,
        0.0,
        3.0,
        accumulates=True,
        advice="The server holds sockets whose clients are gone: look at its close handling and time-outs.",
    ),
    Subject(
        "generator.memory", "the generator's own memory", "bytes", _own("rss_bytes"), 0.1, 5e6, np.min, True
    ),
    Subject("generator.cpu", "the generator's own CPU", "share", _own("cpu_share"), 0.2, 0.05),
    Subject(
        "generator.lag",
        "the generator's own lag (p99)",
        "seconds",
        _lag,
        0.2,
        0.001,
        of_limit=0.01,
        advice="What response times grew by is partly the generator's own: leave the machine to it alone.",
    ),
)

FIGURES: Final[Mapping[str, Subject]] = {subject.name: subject for subject in SUBJECTS}


# -------------------------------------------------------------------------------------------------- drifts


def soaked_of(run: Run, begin_s: float = 0.0, end_s: float = math.inf) -> Soaked:
    """The part of the run between these seconds in which the load was up and warm.

    Raises:
        TooShort: when that is less than ``LEAST_S``, or nobody ever had a socket.
    """
    up_s, down_s = up(run)
    if down_s <= up_s:
        raise TooShort(f"No load was up: {_NO_SOAK}.")
    warm_s = max(begin_s, warmed(up_s, down_s))
    until_s = min(end_s, down_s)
    if until_s - warm_s < LEAST_S:
        left = span(max(0.0, until_s - warm_s))
        whole = begin_s <= warmed(up_s, down_s) and end_s >= down_s
        part = "" if whole else " and what the gate leaves out"
        raise TooShort(
            f"The load was up {_between(up_s, down_s)}. Less its warm-up{part}, {left} of it are left, and "
            f"{span(LEAST_S)} are needed: {_NO_SOAK}."
        )
    seconds = np.arange(len(by_second(run, "users")), dtype=float)
    inside = seconds[(seconds >= warm_s) & (seconds <= until_s)]
    return Soaked(run, inside, warm_s, until_s)


_NO_SOAK: Final = "this is no soak, and nothing can be said of drift"


def up(run: Run) -> tuple[float, float]:
    """When the run's load was up, in seconds since its start; two equal times where it never was.

    That is told by the users, of all workers together, or by their sockets where nobody counted users.
    """
    users, sockets = by_second(run, "users"), by_second(run, "open_sockets")
    opened = sockets[np.isfinite(sockets)]
    if len(opened) and opened.max() <= 0:
        return (0.0, 0.0)
    told = users if np.isfinite(users).any() else sockets
    return settled(np.arange(len(told), dtype=float), told)


def _between(begin_s: float, end_s: float) -> str:
    return f"from {span(begin_s)} to {span(end_s)} after the start"


def drifts(run: Run) -> list[Drift]:
    """The drift of each subject that the run has readings of, worst first; none where it is no soak."""
    try:
        soaked = soaked_of(run)
    except TooShort:
        return []
    found = [drift for subject in SUBJECTS if (drift := _drift(subject, soaked)) is not None]
    drain = [] if run.under_way else _drain(run)
    return sorted([*found, *drain], key=lambda drift: _WORST_FIRST.index(drift.verdict))


_WORST_FIRST: Final[tuple[Verdict, ...]] = ("fail", "inconclusive", "pass")


def no_soak(run: Run) -> str:
    """Why nothing can be said of the run's drift, in a sentence or two; empty where something can."""
    try:
        soaked_of(run)
    except TooShort as error:
        return str(error)
    return ""


def early(run: Run) -> str:
    """What an early verdict is worth, in a sentence; empty for a run that is over."""
    if not run.under_way:
        return ""
    return (
        "This is an early verdict, on what is on record so far. Who looks again and again will now and then "
        "see a steady run grow: the verdict at its end stands."
    )


def figure(run: Run, name: str, begin_s: float = 0.0, end_s: float = math.inf) -> Trend:
    """The trend of a subject of ``FIGURES``, for gates.

    Raises:
        KeyError: when there is no such subject.
        TooShort: when the run cannot say.
    """
    subject = FIGURES[name]
    soaked = soaked_of(run, begin_s, end_s)
    series = subject.series(soaked)
    if series is None:
        raise TooShort(f"The run has no readings of {subject.what}.")
    return trend(*series, subject.summary, accumulates=subject.accumulates)


def _drift(subject: Subject, soaked: Soaked) -> Drift | None:
    series = subject.series(soaked)
    if series is None:
        return None
    try:
        found = trend(*series, subject.summary, accumulates=subject.accumulates)
    except TooShort as error:
        within = _kept_within(subject, soaked, *series)
        return Drift(subject.name, subject.what, "pass" if within else "inconclusive", within or str(error))
    tolerance = _tolerance(subject, soaked.run, found.level)
    verdict = judged(found, tolerance)
    changes = tuple(_changes(found, verdict, tolerance))
    sentence = " ".join(_sentences(subject, found, tolerance, verdict, changes, soaked.run.started_at))
    return Drift(
        subject.name, subject.what, verdict, sentence, found, tolerance, changes, subject.dimension, *series
    )


def _tolerance(subject: Subject, run: Run, level: float) -> float:
    limit_s = (number(run.header.get("latency_limit_ms")) or LATENCY_LIMIT_MS) / 1000
    return max(subject.least, subject.share * abs(level), subject.of_limit * limit_s)


def _kept_within(subject: Subject, soaked: Soaked, times: Array, values: Array) -> str:
    """A sentence, where no part of the series differs from another by as much as it may grow; else nothing.

    That asks for no slope, so that the parts may well be alike.
    """
    known = np.isfinite(values)
    if known.sum() < LEAST_BLOCKS * INCREMENT_READINGS:
        return ""
    figures = [float(subject.summary(part)) for part in np.array_split(values[known], LEAST_BLOCKS)]
    between = max(figures) - min(figures)
    tolerance = _tolerance(subject, soaked.run, float(np.median(figures)))
    if between > tolerance:
        return ""
    show, over = _show(subject.dimension), _over(float(times[known][0]), float(times[known][-1]))
    return (
        f"{subject.what[0].upper()}{subject.what[1:]} kept within {show(between)} {over}: "
        f"{show(min(figures))} to {show(max(figures))} in {LEAST_BLOCKS} parts of it. Allowed is "
        f"{show(tolerance)}."
    )


def _over(begin_s: float, end_s: float) -> str:
    """How long a window is, and where it lies in the run."""
    return f"over {span(end_s - begin_s)}, {_between(begin_s, end_s)}"


def _changes(found: Trend, verdict: Verdict, tolerance: float) -> Iterator[ChangePoint]:
    """Where its course changed, by more than is allowed unless it failed."""
    failed = verdict == "fail"
    if failed or max(found.medians) - min(found.medians) > tolerance:
        for change in change_points(np.array(found.times), np.array(found.medians)):
            if failed or _amount(change, found.seconds) > tolerance:
                yield change


def _amount(change: ChangePoint, seconds: float) -> float:
    """By how much a change moves the series; one of its pace over the whole window."""
    return abs(change.after - change.before) * (1.0 if change.of == "level" else seconds)


def _sentences(
    subject: Subject,
    found: Trend,
    tolerance: float,
    verdict: Verdict,
    changes: tuple[ChangePoint, ...],
    started_at: float,
) -> Iterator[str]:
    show = _show(subject.dimension)
    what = subject.what[0].upper() + subject.what[1:]
    change = found.change
    yield (
        f"{what} {_moved(found, show)} (95 %: {show(change.low)} to {show(change.high)}), "
        f"from a level of {show(found.level)}; {show(found.an_hour.value)} an hour at that pace."
    )
    if verdict == "inconclusive" and found.smallest > tolerance:
        yield (
            f"The smallest growth that this run could have seen is {show(found.smallest)}, and "
            f"{show(tolerance)} is allowed: a longer run would tell."
        )
    else:
        blocks = f"{counted(found.blocks, 'block')} of {span(found.block_s)}"
        # of blocks that are alike nobody can say how small a growth they would have shown
        seen = f"a growth of {show(found.smallest)} would have been seen in {blocks}"
        yield f"Allowed is {show(tolerance)}; {seen if found.smallest else f'most of {blocks} are alike'}."
    for point in changes:
        at = f"at about {span(point.at_s)} ({clock(started_at + point.at_s)})"
        per, what = (1, "level") if point.of == "level" else (3600, "pace")
        hourly = "" if per == 1 else " an hour"
        yield f"Its {what} went from {show(per * point.before)} to {show(per * point.after)}{hourly} {at}."
    if verdict == "fail" and not changes:
        yield "It grew steadily."
    if verdict == "fail" and subject.advice:
        yield subject.advice


def _moved(found: Trend, show: Callable[[float], str]) -> str:
    """What a series did, and when."""
    over, by = _over(found.begin_s, found.end_s), show(abs(found.change.value))
    return f"did not change {over}" if by == show(0.0) else f"{_WAYS[found.change.value > 0]} by {by} {over}"


_WAYS: Final = {True: "grew", False: "fell"}


def _show(dimension: Dimension) -> Callable[[float], str]:
    return _show_share if dimension == "share" else Quantity(0.0, dimension).show


def _show_share(share: float) -> str:
    """A difference of shares, which may be negative."""
    text = f"{100 * share:.2f}".rstrip("0").rstrip(".")
    return f"{'0' if text == '-0' else text} %"


def _drain(run: Run) -> Iterator[Drift]:
    """Whether the server's count returns to zero when we hold nothing more."""
    ours = by_second(run, "open_sockets")
    server = server_connections(run)
    what, before = "connections left after the drain", 0.0
    if server is None:
        # a watched process has no count of its own: its descriptors, less those that it began with
        server = by_second(run, "fds", TARGET)
        first = np.flatnonzero(np.isfinite(server) & np.isfinite(ours))
        if not len(first):
            return
        what, before = "descriptors left after the drain", float(server[first[0]] - ours[first[0]])
    known = np.flatnonzero(np.isfinite(server) & np.isfinite(ours))
    if not len(known):
        return
    last = int(known[-1])
    # what a reading of the last second saw is what both held then, at moments less than a second apart
    held, most = float(ours[last]), float(np.nanmax(ours))
    if held > DRAINED_SHARE * most:
        yield Drift(
            "drain",
            what,
            "inconclusive",
            f"The load never went down while the server was watched ({held:,.0f} sockets were open at the "
            "last reading): take a shape that ends with nobody, such as --shape soak:…,down=30s.",
        )
        return
    left = float(server[last]) - held - before
    verdict: Verdict = "fail" if left > max(held, 0.0) + (3.0 if before else 0.0) else "pass"
    leaked = f"{max(0.0, left):,.0f}, where we held {most:,.0f} at most"
    yield Drift("drain", what, verdict, f"{what[0].upper()}{what[1:]}: {leaked}.")


# --------------------------------------------------------------------------------------------------- gates


def hourly(found: Trend, tolerance: float, dimension: Dimension = "number") -> Measured:
    """A trend as gates judge it: its change in an hour, in an interval that claims no more than ``judged``.

    What a short run shows of an hour is its few seconds many times over. So the interval also holds

    - every growth that the run could not have seen, of a number less than one, unless it fell for certain: no
      gate passes below that;
    - no growth at all, unless it grew for certain and by more than ``tolerance`` over the run, the series'
      unit: no gate fails by what ``judged`` does not fail.
    """
    change, seen = found.an_hour, max(found.smallest, _LEAST_SEEN[dimension]) * 3600 / found.seconds
    failed = judged(found, tolerance) == "fail"
    show = _show(dimension)
    note = (
        f"it {_moved(found, show)}, and {show(tolerance)} is allowed; the smallest growth that so long a run "
        "would have seen is "
    )
    return Measured(
        change.value,
        change.low if failed else min(change.low, 0.0),
        change.high if change.high < 0 else max(change.high, seen),
        found.blocks,
        float(found.blocks),
        note=f"{note}{Quantity(0.0, dimension, 'h').show(seen)}",
        base=found.level,
        share_note=f"{note}{Quantity(0.0, 'share', 'h').show(seen / found.level)}" if found.level > 0 else "",
    )


_LEAST_SEEN: Final[Mapping[Dimension, float]] = {"number": 1.0, "bytes": 0.0, "seconds": 0.0, "share": 0.0}
"""What a growth is at least, however alike the readings are."""


def _provider(name: str) -> Callable[[Material, Window], Measured]:
    def measure(material: Material, window: Window) -> Measured:
        if material.reader is None:
            return nothing("not measured while the run goes on")
        try:
            run = _run(material.reader.path)
            found = figure(run, name, window.begin - run.started_at, window.end - run.started_at)
        except (TooShort, UnreadableRun) as error:
            return nothing(str(error).rstrip("."))
        subject = FIGURES[name]
        return hourly(found, _tolerance(subject, run, found.level), subject.dimension)

    return measure


@lru_cache(maxsize=1)
def _run(path: Path) -> Run:
    return load(path)


for _name in ("latency", "memory", "descriptors", "connections"):
    provide(f"drift.{_name}", _provider(_name))
