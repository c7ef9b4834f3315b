"""Steps: the parts of a run in which the load stood still, each with books of its own.

A run with a step or search shape says in its marks when each step began; of any other the plateaus of its
open sockets are taken. From each step its settling goes: the time until the sockets are there, and a fifth of
it at least.

    sockets
        ┤             ┌──────
        ┤           ╱ ┊settled┊
        ┤     ┌────┘
        ┤   ╱ ┊    ┊
        └──┬───────┬──────────┬─ seconds
           mark    mark       end
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np

from analysis.frames import Run
from analysis.marks import marks_of
from wsoak.judge.steps import LEAST_S, STILL_SHARE, Series, block_count, settled
from wsoak.judge.validity import GENERATOR
from wsoak.judge.words import counted
from wsoak.ledger.books import Books, GaugeSummary
from wsoak.ledger.units import NS_PER_S

PLATEAU_S: Final = 8
"""What stands still for less than this is no plateau."""
BLOCKS: Final = 8
"""Each step is cut into at most so many blocks, whose spread says how sure its figures are."""
BLOCK_S: Final = 2
STEP: Final = "step "
HOLD: Final = "hold"


@dataclass(frozen=True, slots=True)
class Window:
    """The settled part of a step, in seconds after the start: from ``begin_s`` up to ``end_s``."""

    text: str
    begin_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end_s - self.begin_s


@dataclass(frozen=True)
class Step:
    """A step: its window, what was recorded in it, and the same in blocks one after the other.

    ``service_s`` is the mean time from send to reply in seconds, ``None`` without replies.
    """

    number: int
    window: Window
    books: Books
    blocks: tuple[Books, ...] = field(repr=False)

    @property
    def users(self) -> float:
        """The mean number of users."""
        return self.gauge("users")

    @property
    def sockets(self) -> float:
        """The mean number of open sockets."""
        return self.gauge("open_sockets")

    @property
    def in_flight(self) -> float:
        """The mean number of requests that waited for their answer."""
        return self.gauge("in_flight")

    @property
    def throughput_per_s(self) -> float:
        """Replies a second; messages received where nothing was asked."""
        counter = "replies" if self.books.count("requests") else "received"
        return self.books.total(counter) / self.window.seconds

    @property
    def service_s(self) -> float | None:
        """See the class."""
        mean_ns = self.books.histogram("service").mean_ns
        return None if mean_ns is None else mean_ns / NS_PER_S

    def gauge(self, name: str, source: str = GENERATOR) -> float:
        """A gauge's mean: of the generator's all workers' added up; 0 without readings.

        A server that several workers watch is one server.
        """
        means = [summary.mean for summary in self.readings(name, source).values()]
        return sum(means) if source == GENERATOR else sum(means) / max(1, len(means))

    def readings(self, name: str, source: str = GENERATOR) -> Mapping[str, GaugeSummary]:
        """A gauge's readings by worker."""
        return {
            worker: summary
            for (worker, of_source, of_name), summary in self.books.gauges.items()
            if (of_source, of_name) == (source, name)
        }


def steps_of(run: Run) -> tuple[Step, ...]:
    """The run's steps by time; none where the load never stood still."""
    return tuple(
        Step(number, window, whole, blocks)
        for number, (window, whole, blocks) in enumerate(_filled(run, windows_of(run)), 1)
    )


def windows_of(run: Run) -> tuple[Window, ...]:
    """The settled parts of the run's steps."""
    sockets = by_second(run, "open_sockets")
    marks = [(mark.at_s, mark.text) for mark in marks_of(run.header)]
    if sum(text.startswith((STEP, HOLD)) for _, text in marks) >= 2:
        return tuple(marked(marks, sockets, run.seconds))
    return tuple(plateaus(sockets))


def by_second(run: Run, name: str, source: str = GENERATOR) -> Series:
    """A gauge by second of the run; what was not read is as it was last read, and NaN before it ever was.

    Of the generator's gauges all workers' are added up; a server that several workers watch is one server.
    """
    readings = run.gauges
    readings = readings[(readings["name"] == name) & (readings["source"] == source)]
    seconds = max(1, int(run.seconds) + 1)
    if readings.empty:
        return np.full(seconds, np.nan)
    at = (readings["at"] - run.started_at).astype("int64").clip(0, seconds - 1)
    table = readings.assign(second=at).pivot_table(
        index="second", columns="worker", values="value", aggfunc="last", observed=True
    )
    filled = table.reindex(range(seconds)).ffill()
    whole = filled.sum(axis=1, min_count=1) if source == GENERATOR else filled.mean(axis=1)
    return np.asarray(whole, dtype=float)


def marked(marks: Sequence[tuple[float, str]], sockets: Series, ends_s: float) -> Iterator[Window]:
    """The settled windows of steps that began at some of these marks, and ended at the next one.

    The last one is as long as the longest before it, unless the run ended sooner.
    """
    spans = [(begin, end_s, text) for (begin, text), (end_s, _) in pairwise(marks)]
    longest = max(
        (end_s - begin for begin, end_s, text in spans if text.startswith((STEP, HOLD))), default=ends_s
    )
    last_s, last = marks[-1]
    for begin_s, end_s, text in [*spans, (last_s, min(ends_s, last_s + longest), last)]:
        if text.startswith((STEP, HOLD)):
            window = _settled(text, begin_s, end_s, sockets)
            if window.seconds >= LEAST_S:
                yield window


def _settled(text: str, begin_s: float, end_s: float, sockets: Series) -> Window:
    from_s, to_s = settled(begin_s, end_s, sockets)
    return Window(text, float(from_s), float(to_s))


def plateaus(values: Series) -> Iterator[Window]:
    """The settled windows of the parts in which a series by second stands still above 0.

    It is gone through once: a part goes on as long as its greatest and least value differ by no more than
    ``STILL_SHARE``, or by two.
    """
    begin = 0
    while begin < len(values):
        least = greatest = values[begin]
        end = begin
        while end < len(values) and np.isfinite(values[end]):
            low, high = min(least, values[end]), max(greatest, values[end])
            if high - low > max(2.0, STILL_SHARE * high):
                break
            least, greatest = low, high
            end += 1
        if end - begin >= PLATEAU_S and greatest > 0:
            level = round(float(np.median(values[begin:end])))
            window = _settled(f"plateau: {counted(level, 'socket')}", begin, end, values)
            if window.seconds >= LEAST_S:
                yield window
        begin = max(end, begin + 1)


def _filled(run: Run, windows: Sequence[Window]) -> Iterator[tuple[Window, Books, tuple[Books, ...]]]:
    """Each window's books, whole and in blocks, in one pass over the run's files."""
    if not windows:
        return
    wholes = [Books() for _ in windows]
    parts = [[Books() for _ in range(block_count(window.seconds, BLOCK_S, BLOCKS))] for window in windows]
    starts = np.array([window.begin_s for window in windows])

    def books_at(unix_s: float) -> list[Books]:
        after_s = unix_s - run.started_at
        index = int(np.searchsorted(starts, after_s, side="right")) - 1
        if index < 0 or after_s >= windows[index].end_s:
            return []
        into = (after_s - windows[index].begin_s) / windows[index].seconds
        blocks = parts[index]
        return [wholes[index], *([blocks[int(into * len(blocks))]] if blocks else [])]

    # a whole second belongs where its middle lies
    for row in run.reader.timeline():
        for books in books_at(row.second + 0.5):
            books.add_row(row.second, row.name, row.counters)
    for interval in run.reader.latency():
        for books in books_at(interval.second + 0.5):
            books.add_histogram(interval.kind, interval.name, interval.histogram)
    for gauge in run.reader.gauges():
        for books in books_at(gauge.at):
            books.add_gauge(gauge)
    for record in run.reader.connections():
        for books in books_at(record.ended_at):
            books.add_connection(record)
    for observation in run.reader.observations():
        for books in books_at(observation.at):
            books.add_observation(observation)
    for window, whole, blocks in zip(windows, wholes, parts, strict=True):
        yield window, whole, tuple(blocks)
