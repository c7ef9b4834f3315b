"""Meters: what a gate needs of a run, taken in while the run is read, or while it goes on.

A meter is told every row, histogram, connection, gauge and observation, keeps what its figure needs by the
second, and gives a ``Measured``: the figure's value with its interval and samples, over a window of the run.
Its memory is bounded by the run's seconds (16 bytes each), but for ``RecoveryMeter``, which keeps 25 bytes a
connection.
"""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from wsoak.judge.drops import Drop, Lives, back_at, drops, ended_by_others
from wsoak.judge.findings import Finding
from wsoak.judge.intervals import LEVEL, Floats, ratio_interval, share_interval
from wsoak.judge.words import counted
from wsoak.ledger.books import Books
from wsoak.ledger.histogram import HIGHEST_NS, Histogram
from wsoak.ledger.outcomes import OPEN
from wsoak.ledger.records import ConnectionRecord, Gauge, Observation
from wsoak.ledger.rundir import RunReader
from wsoak.ledger.timeline import CounterRow, value
from wsoak.ledger.units import NS_PER_S

NO_DATA: Final = "no data"

Seconds = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a run, in Unix seconds: the whole seconds from ``begin`` on that end by ``end``."""

    begin: float = -math.inf
    end: float = math.inf

    def holds(self, second: float) -> bool:
        """Whether this moment lies in the window."""
        return self.begin <= second < self.end

    def holds_second(self, second: int) -> bool:
        """Whether this whole second lies in the window."""
        return second >= self.begin and second + 1 <= self.end


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure's value over a window of a run.

    ``value``, ``low`` and ``high`` are in base units (see ``quantity``); ``value`` is ``None`` without data,
    and infinite where it lies beyond what was measured. An interval of a share that speaks for a percentile
    has ``of`` say what it is a share of. ``effective`` is how many independent samples the ``samples`` are
    worth; ``None`` where that is not known, or the figure is no estimate but a count (``exact``). ``base`` is
    what the value would be a share of, where it can be asked for as one, too, with ``share_note`` for a note.
    """

    value: float | None
    low: float = -math.inf
    high: float = math.inf
    samples: int = 0
    effective: float | None = None
    exact: bool = False
    of: str = ""
    note: str = ""
    base: float | None = None
    share_note: str = ""

    def as_share(self) -> Measured:
        """The same as a share of ``base``."""
        if self.value is None:
            return self
        if self.base is None or not self.base > 0:
            return nothing("it has no level that it could be a share of")
        value, low, high = (number / self.base for number in (self.value, self.low, self.high))
        note = self.share_note or self.note
        return replace(self, value=value, low=low, high=high, note=note, base=None, share_note="")


def nothing(note: str = NO_DATA) -> Measured:
    """The measurement that could not be made."""
    return Measured(None, note=note)


def certain(number: float, samples: int, note: str = "") -> Measured:
    """A value that is what it is: a count, a greatest value."""
    return Measured(number, number, number, samples, exact=True, note=note)


@dataclass(frozen=True, slots=True)
class Material:
    """What a meter may look at besides what it was told.

    ``reader`` is ``None`` as long as the run goes on.
    """

    books: Books
    started_at: float
    findings: Callable[[], Sequence[Finding]]
    reader: RunReader | None = None


class Meter:
    """Takes in what concerns it; each method does nothing unless a kind of meter overrides it."""

    def take_row(self, second: int, name: str, row: CounterRow) -> None:
        """A second's counters of one name (and worker)."""

    def take_durations(self, second: int, kind: str, name: str, durations: Histogram) -> None:
        """A second's durations of one kind and name."""

    def take_connection(self, record: ConnectionRecord) -> None:
        """An attempt that has ended."""

    def take_gauge(self, gauge: Gauge) -> None:
        """A reading."""

    def take_observation(self, seen: Observation) -> None:
        """An observation."""

    def measure(self, window: Window, material: Material, level: float = LEVEL) -> Measured:
        """The figure over a window of what was taken in so far."""
        raise NotImplementedError


# --------------------------------------------------------------------------------------------- by second

_CHUNK: Final = 1024


class PerSecond:
    """Two sums for each second: of what is looked for, and of all that it is looked for in."""

    def __init__(self) -> None:
        self._chunks: dict[int, Floats] = {}

    def add(self, second: int, part: float, whole: float) -> None:
        """Add to a second's sums."""
        if part or whole:
            chunk = self._chunks.get(second // _CHUNK)
            if chunk is None:
                chunk = self._chunks[second // _CHUNK] = np.zeros((2, _CHUNK))
            chunk[:, second % _CHUNK] += (part, whole)

    def over(self, window: Window) -> tuple[Seconds, Floats, Floats]:
        """The seconds within the window that hold anything, sorted, and their two sums."""
        if not self._chunks:
            return np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0)
        numbers = sorted(self._chunks)
        seconds = np.concatenate([np.arange(n * _CHUNK, (n + 1) * _CHUNK) for n in numbers])
        part, whole = np.concatenate([self._chunks[n] for n in numbers], axis=1)
        kept = (seconds >= window.begin) & (seconds + 1 <= window.end) & ((part != 0) | (whole != 0))
        return seconds[kept].astype(np.int64), part[kept], whole[kept]


class _Summed(Meter):
    """A meter that keeps a ``PerSecond``."""

    def __init__(self) -> None:
        self.sums = PerSecond()


class _Share(_Summed):
    """A share: so many good ones of so many."""

    def measure(self, window: Window, material: Material, level: float = LEVEL) -> Measured:
        del material
        seconds, good, whole = self.sums.over(window)
        if whole.sum() <= 0:
            return nothing()
        interval = share_interval(seconds, good, whole, level)
        # a record's moment and its counter's can lie on both sides of the window's edge
        share = min(1.0, float(good.sum() / whole.sum()))
        note = "" if interval.effective is not None else "all within one second: how much it says is unknown"
        samples = round(float(whole.sum()))
        return Measured(share, interval.low, interval.high, samples, interval.effective, note=note)


Admits = Callable[[str], bool]
"""Whether a name is one of those asked for."""

Pair = Callable[[CounterRow], tuple[float, float]]
"""From a row: what is looked for, and all that it is looked for in."""


class RowShare(_Share):
    """A share of the timeline's counters."""

    def __init__(self, admits: Admits, pair: Pair) -> None:
        super().__init__()
        self._admits, self._pair = admits, pair

    def take_row(self, second: int, name: str, row: CounterRow) -> None:
        if self._admits(name):
            self.sums.add(second, *self._pair(row))


class UsableShare(RowShare):
    """The sockets that became usable, of those of which it is known; see ``ConnectionRecord.usable``."""

    def __init__(self, admits: Admits) -> None:
        super().__init__(admits, lambda row: (value(row, "usable"), value(row, "usable")))

    def take_connection(self, record: ConnectionRecord) -> None:
        if record.usable is False and self._admits(record.name) and math.isfinite(record.ended_at):
            self.sums.add(int(record.ended_at), 0.0, 1.0)


class OpeningShare(RowShare):
    """The openings with certain outcomes, of all that are in the rates."""

    def __init__(self, admits: Admits, wanted: Callable[[ConnectionRecord], bool], opened: bool) -> None:
        def pair(row: CounterRow) -> tuple[float, float]:
            succeeded = value(row, "opened")
            return succeeded if opened else 0.0, succeeded + value(row, "failed")

        super().__init__(admits, pair)
        self._wanted = wanted

    def take_connection(self, record: ConnectionRecord) -> None:
        if (
            record.outcome != OPEN
            and self._admits(record.name)
            and self._wanted(record)
            and math.isfinite(record.ended_at)
        ):
            self.sums.add(int(record.ended_at), 1.0, 0.0)


class CloseShare(_Share):
    """The opened sockets that ended in a certain way, of all that ended, at the time of their ends."""

    def __init__(self, admits: Admits, wanted: Callable[[ConnectionRecord], bool]) -> None:
        super().__init__()
        self._admits, self._wanted = admits, wanted

    def take_connection(self, record: ConnectionRecord) -> None:
        if record.outcome == OPEN and self._admits(record.name) and math.isfinite(record.ended_at):
            self.sums.add(int(record.ended_at), float(self._wanted(record)), 1.0)


class ObservedShare(_Share):
    """The things that were wrong, of those that a scenario looked at."""

    def __init__(self, wanted: Callable[[Observation], bool]) -> None:
        super().__init__()
        self._wanted = wanted

    def take_observation(self, seen: Observation) -> None:
        if self._wanted(seen) and math.isfinite(seen.at):
            self.sums.add(int(seen.at), min(seen.count, seen.of), seen.of)


# --------------------------------------------------------------------------------------------- durations


class _Durations(_Summed):
    """Durations of one kind. A request whose socket closed first took longer than any limit."""

    def __init__(self, kind: str, admits: Admits, window: Window) -> None:
        super().__init__()
        self._kind, self._admits, self._window = kind, admits, window
        self.durations = Histogram()

    def take_row(self, second: int, name: str, row: CounterRow) -> None:
        if self._kind in ("response", "service") and self._admits(name):
            lost = value(row, "reply_lost")
            if lost:
                self.take_lost(second, lost)

    def take_durations(self, second: int, kind: str, name: str, durations: Histogram) -> None:
        if kind == self._kind and self._admits(name):
            self.take_histogram(second, durations)
            if self._window.holds_second(second):
                self.durations.add(durations)

    def take_lost(self, second: int, lost: float) -> None:
        """Requests that will never have a duration."""

    def take_histogram(self, second: int, durations: Histogram) -> None:
        """Durations of this kind and of a name asked for."""
        raise NotImplementedError


class WithinShare(_Share, _Durations):
    """The share of durations within a limit; its value is the percentile, where one was asked for."""

    def __init__(
        self, kind: str, admits: Admits, window: Window, limit_ns: int, percent: float | None = None
    ) -> None:
        _Durations.__init__(self, kind, admits, window)
        self._limit_ns, self._percent = limit_ns, percent

    def take_lost(self, second: int, lost: float) -> None:
        self.sums.add(second, 0.0, lost)
        if self._window.holds_second(second):
            # beyond what the histogram can hold: a percentile among them is not known
            self.durations.count_beyond(int(lost))

    def take_histogram(self, second: int, durations: Histogram) -> None:
        self.sums.add(second, durations.count_within(self._limit_ns), durations.total)

    def measure(self, window: Window, material: Material, level: float = LEVEL) -> Measured:
        found = _Share.measure(self, window, material, level)
        if self._percent is None or found.value is None:
            return found
        percentile_ns = self.durations.percentile_ns(self._percent)
        beyond = percentile_ns is None or self.durations.saturated_at(self._percent)
        shown = math.inf if beyond or percentile_ns is None else percentile_ns / NS_PER_S
        return Measured(
            shown,
            found.low,
            found.high,
            found.samples,
            found.effective,
            of="within the limit",
            note=found.note,
        )


class MeanDuration(_Durations):
    """The mean of durations that have one, in seconds."""

    def take_histogram(self, second: int, durations: Histogram) -> None:
        self.sums.add(second, durations.sum_ns / NS_PER_S, durations.total)

    def measure(self, window: Window, material: Material, level: float = LEVEL) -> Measured:
        del material
        return _mean(self.sums, window, level)


class GreatestDuration(_Durations):
    """The longest duration, in seconds."""

    def take_histogram(self, second: int, durations: Histogram) -> None:
        """Nothing: they are kept added up."""

    def measure(self, window: Window, material: Material, level: float = LEVEL) -> Measured:
        del window, material, level
        longest_ns = self.durations.max_ns
        if longest_ns is None:
            return nothing()
        longest = math.inf if self.durations.over else longest_ns / NS_PER_S
        note = f"longer than {HIGHEST_NS // NS_PER_S} s" if self.durations.over else ""
        return certain(longest, self.durations.total, note)


def _mean(sums: PerSecond, window: Window, level: float) -> Measured:
    seconds, summed, whole = sums.over(window)
    if whole.sum() <= 0:
        return nothing()
    interval = ratio_interval(seconds, summed, whole, level)
    samples = round(float(whole.sum()))
    return Measured(float(summed.sum() / whole.sum()), interval.low, interval.high, samples)


# ------------------------------------------------------------------------------------------------- counts


class _Counted(_Summed):
    """An exact count, of so many that there were to count."""

    def measure(self, window: Window, material: Material, level: float = LEVEL) -> Measured:
        del material, level
        _, counted_, exposed = self.sums.over(window)
        if exposed.sum() <= 0:
            return nothing()
        return certain(float(counted_.sum()), round(float(exposed.sum())))


class RowCount(_Counted):
    """A sum of a counter; ``exposure`` are the counters that say that there was something to count."""

    def __init__(self, admits: Admits, counters: Sequence[str], exposure: Sequence[str]) -> None:
        super().__init__()
        self._admits, self._counters, self._exposure = admits, counters, exposure

    def take_row(self, second: int, name: str, row: CounterRow) -> None:
        if self._admits(name):
            counted_ = sum(value(row, counter) for counter in self._counters)
            self.sums.add(second, counted_, sum(value(row, counter) for counter in self._exposure))


class ConnectionCount(_Counted):
    """How many attempts ended in a certain way, of those that could have; at the time of their ends."""

    def __init__(
        self,
        admits: Admits,
        wanted: Callable[[ConnectionRecord], bool],
        exposed: Callable[[ConnectionRecord], bool],
    ) -> None:
        super().__init__()
        self._admits, self._wanted, self._exposed = admits, wanted, exposed

    def take_connection(self, record: ConnectionRecord) -> None:
        if self._admits(record.name) and self._exposed(record) and math.isfinite(record.ended_at):
            self.sums.add(int(record.ended_at), float(self._wanted(record)), 1.0)


class ObservedCount(ObservedShare):
    """How many things were wrong."""

    def take_observation(self, seen: Observation) -> None:
        if self._wanted(seen) and math.isfinite(seen.at):
            self.sums.add(int(seen.at), seen.count, max(1, seen.of))

    def measure(self, window: Window, material: Material, level: float = LEVEL) -> Measured:
        del material, level
        _, wrong, looked_at = self.sums.over(window)
        if looked_at.sum() <= 0:
            return nothing()
        return certain(float(wrong.sum()), round(float(looked_at.sum())))


class Rate(Meter):
    """A count a second, over the whole seconds between the first and the last in which anything happened."""

    def __init__(self, count: RowCount | ConnectionCount) -> None:
        self._count = count
        self._any = PerSecond()

    def take_row(self, second: int, name: str, row: CounterRow) -> None:
        self._any.add(second, 0.0, 1.0)
        self._count.take_row(second, name, row)

    def take_connection(self, record: ConnectionRecord) -> None:
        self._count.take_connection(record)

    def measure(self, window: Window, material: Material, level: float = LEVEL) -> Measured:
        whole = self._count.measure(window, material)
        if whole.value is None:
            return whole
        spanned, _, _ = self._any.over(window)
        # the first and the last second of the run are parts of one
        if len(spanned) < 3 or spanned[-1] - spanned[0] < 2:
            return nothing("less than three seconds: no rate")
        seconds = np.arange(spanned[0] + 1, spanned[-1])
        at, counted_, _ = self._count.sums.over(window)
        inside = (at >= seconds[0]) & (at <= seconds[-1])
        sums = np.zeros(len(seconds))
        sums[at[inside] - seconds[0]] = counted_[inside]
        interval = ratio_interval(seconds, sums, np.ones(len(seconds)), level)
        return Measured(float(sums.mean()), max(0.0, interval.low), interval.high, round(float(sums.sum())))


# ------------------------------------------------------------------------------------------------- others


class GaugeReadings(_Summed):
    """The least, greatest, last or mean reading of a gauge, over all workers."""

    def __init__(self, wanted: Callable[[Gauge], bool], statistic: str) -> None:
        super().__init__()
        self._wanted, self._statistic = wanted, statistic
        self._seconds: dict[int, tuple[float, float]] = {}
        """Of each second the reading that counts, with its time."""

    def take_gauge(self, gauge: Gauge) -> None:
        if not self._wanted(gauge) or not math.isfinite(gauge.at):
            return
        second = int(gauge.at)
        self.sums.add(second, gauge.value, 1.0)
        known = self._seconds.get(second)
        if known is None or self._better(gauge, known):
            self._seconds[second] = (gauge.at, gauge.value)

    def _better(self, gauge: Gauge, known: tuple[float, float]) -> bool:
        if self._statistic == "last":
            return gauge.at >= known[0]
        return gauge.value < known[1] if self._statistic == "min" else gauge.value > known[1]

    def measure(self, window: Window, material: Material, level: float = LEVEL) -> Measured:
        del material
        if self._statistic == "mean":
            return _mean(self.sums, window, level)
        kept = [reading for second, reading in self._seconds.items() if window.holds_second(second)]
        if not kept:
            return nothing()
        values = [number for _, number in kept]
        found = {"last": max(kept)[1], "min": min(values), "max": max(values)}[self._statistic]
        return certain(found, round(float(self.sums.over(window)[2].sum())))


class FindingCount(Meter):
    """How many findings there are, of those last seen from the window's begin on and first before its end.

    Args:
        knows: whether anything could have led to such a finding.
    """

    def __init__(self, wanted: Callable[[Finding], bool], knows: Callable[[Books], bool]) -> None:
        self._wanted, self._knows = wanted, knows

    def measure(self, window: Window, material: Material, level: float = LEVEL) -> Measured:
        del level
        books = material.books
        tried = books.count("opened") + books.count("failed")
        looked_at = sum(summary.of for summary in books.observations.values())
        if not self._knows(books) or not tried + looked_at:
            return nothing()
        found = [
            finding
            for finding in material.findings()
            if self._wanted(finding)
            and material.started_at + finding.last_seen_s >= window.begin
            and material.started_at + finding.first_seen_s < window.end
        ]
        return certain(float(len(found)), tried, ", ".join(f"{f.id} on {f.system}" for f in found[:5]))


@dataclass(slots=True)
class _Sockets:
    """Columns of the opened sockets of one name."""

    opened: array[float] = field(default_factory=lambda: array("d"))
    ended: array[float] = field(default_factory=lambda: array("d"))
    bad: bytearray = field(default_factory=bytearray)


class RecoveryMeter(Meter):
    """The longest time, in seconds, from a mass drop until 95 % as many sockets were open again.

    Of all sockets asked for together, and of each name alone; see ``drops``.
    """

    def __init__(self, admits: Admits) -> None:
        self._admits = admits
        self._sockets: dict[str, _Sockets] = defaultdict(_Sockets)
        self._last_s = -math.inf

    def take_row(self, second: int, name: str, row: CounterRow) -> None:
        del name, row
        self._last_s = max(self._last_s, second + 1)

    def take_connection(self, record: ConnectionRecord) -> None:
        if record.outcome != OPEN or record.age_s is None or not self._admits(record.name):
            return
        ended_at = record.ended_at
        if math.isfinite(ended_at):
            columns = self._sockets[record.name]
            columns.opened.append(ended_at - record.age_s)
            columns.ended.append(ended_at)
            columns.bad.append(ended_by_others(record))

    def measure(self, window: Window, material: Material, level: float = LEVEL) -> Measured:
        del material, level
        found = [
            (drop, lives)
            for group in self._groups()
            for lives in [_lives(group)]
            for drop in drops(lives)
            if window.holds(drop.at)
        ]
        if not found:
            return nothing("no mass drop, and so no recovery")
        times = [self._recovery_s(drop, lives) for drop, lives in found]
        worst = max(times)
        if math.isfinite(worst):
            return certain(worst, len(times), f"the worst of {counted(len(times), 'mass drop')}")
        # it was watched until the run's end, and took longer than that
        watched_s = max(
            self._last_s - drop.at for (drop, _), took_s in zip(found, times, strict=True) if took_s == worst
        )
        return Measured(
            math.inf,
            max([watched_s, *(took_s for took_s in times if math.isfinite(took_s))]),
            math.inf,
            len(times),
            exact=True,
            note=f"not recovered when the run ended, {watched_s:.0f} s after the drop",
        )

    def _groups(self) -> Iterator[list[_Sockets]]:
        columns = list(self._sockets.values())
        if columns:
            yield columns
        if len(columns) > 1:
            yield from ([each] for each in columns)

    @staticmethod
    def _recovery_s(drop: Drop, lives: Lives) -> float:
        back = back_at(lives, drop)
        return math.inf if back is None else back - drop.at


def _lives(columns: list[_Sockets]) -> Lives:
    opened = np.concatenate([np.array(each.opened) for each in columns])
    ended = np.concatenate([np.array(each.ended) for each in columns])
    bad = np.concatenate([np.frombuffer(bytes(each.bad), dtype=np.bool_) for each in columns])
    return Lives.of(opened, ended, bad, np.zeros(0))


Provider = Callable[[Material, Window], Measured]
"""Measures a figure from a run that is over: its value, interval and samples in base units (seconds, bytes,
things) an hour, with the ``base`` that a share would be of. It is not told the limit: an interval that says
less than the figure's own is how it says that the run can tell no better."""


class ProvidedMeter(Meter):
    """A figure that somebody else measures, once the run is over."""

    def __init__(self, provider: Callable[[], Provider | None], as_share: bool) -> None:
        self._provider, self._as_share = provider, as_share

    def measure(self, window: Window, material: Material, level: float = LEVEL) -> Measured:
        del level
        provider = self._provider()
        if provider is None or material.reader is None:
            return nothing("not measured")
        found = provider(material, window)
        return found.as_share() if self._as_share else found
