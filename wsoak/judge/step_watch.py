"""Step watch: what the load that stands right now says of an objective; fed with deltas, as ``abort`` is."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from wsoak.judge.intervals import LEVEL, t_quantile
from wsoak.judge.slo import Slo
from wsoak.judge.steps import LEAST_S, Series, block_count, settled
from wsoak.judge.validity import GENERATOR
from wsoak.ledger.books import Books
from wsoak.ledger.delta import Delta

BUCKETS: Final = 64
"""A step is kept in at most about so many parts, however long it is."""
BLOCKS: Final = 8
"""Into how many blocks it is cut, whose spread says how sure its figure is; shorter ones than in the
analysis, as a step that goes on has fewer seconds."""
BLOCK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What a step says of an objective.

    Attributes:
        value: the figure; ``None`` where there was nothing to measure.
        beyond: how far it is beyond the limit, below 0 where it is kept; see ``Slo.beyond``.
        kept: whether the objective is; ``None`` where the figure is too near to its limit to say, for all
            that its blocks differ.
        seconds: of how many settled seconds it is.
    """

    value: float | None
    beyond: float | None
    kept: bool | None
    seconds: int


NOTHING: Final = Reading(None, None, None, 0)


def reading(slo: Slo, whole: Books, blocks: Sequence[Books], seconds: int) -> Reading:
    """The reading of a step's books, and of the same in blocks one after the other.

    The limit must lie outside Student's interval, whose error comes from how the blocks differ. With fewer
    than two blocks nothing says how sure it is, and the figure alone decides.
    """
    value = slo.figure(whole)
    if value is None:
        return NOTHING
    beyond = slo.beyond(value)
    figures = [figure for block in blocks if (figure := slo.figure(block)) is not None]
    reach = 0.0
    if len(figures) >= 2:
        error = float(np.std([slo.bad(figure) for figure in figures], ddof=1)) / math.sqrt(len(figures))
        reach = t_quantile(0.5 + LEVEL / 2, len(figures) - 1) * error
    kept = None if -reach < beyond <= reach and reach > 0 else slo.kept(value)
    return Reading(value, beyond, kept, seconds)


class StepWatch:
    """One step of a running load. Times in seconds after the run's start.

    Args:
        started_at: the run's start, Unix seconds.
        begin_s: the step's begin.
        hold_s: how long it is to last.
    """

    def __init__(self, slo: Slo, started_at: float, begin_s: float, hold_s: float) -> None:
        self._slo = slo
        self._started_at = started_at
        self._begin_s = begin_s
        self._width_s = max(1, math.ceil(hold_s / BUCKETS))
        self._buckets: dict[int, Books] = defaultdict(Books)
        """By the whole seconds after the step's begin, ``width_s`` of them each."""
        self._sockets: dict[int, dict[str, float]] = defaultdict(dict)
        """By the whole second after the start, and by worker."""

    def take(self, delta: Delta) -> None:
        """Take in what a delta holds of this step."""
        for (second, name), row in delta.timeline.items():
            if (bucket := self._bucket(second)) is not None:
                bucket.add_row(second, name, row)
        for (second, kind, name), durations in delta.latency.items():
            if kind == self._slo.kind and (bucket := self._bucket(second)) is not None:
                bucket.add_histogram(kind, name, durations)
        for gauge in delta.gauges:
            at_s = gauge.at - self._started_at
            if (
                gauge.source == GENERATOR
                and gauge.name == "open_sockets"
                and self._begin_s <= at_s < math.inf
            ):
                self._sockets[int(at_s)][gauge.worker] = gauge.value

    def read(self, now_s: float) -> Reading:
        """What the step says so far; its settling is left out."""
        from_s, to_s = settled(self._begin_s, now_s, self._open_sockets(now_s))
        return NOTHING if to_s - from_s < LEAST_S else self._reading(from_s, to_s)

    def read_last(self, now_s: float, seconds: int) -> Reading:
        """What the last whole seconds say, settled or not."""
        return self._reading(int(now_s) - seconds, int(now_s))

    def _reading(self, from_s: int, to_s: int) -> Reading:
        first, end = ((at_s - self._begin_s) / self._width_s for at_s in (from_s, to_s))
        count = block_count(to_s - from_s, max(BLOCK_S, self._width_s), BLOCKS)
        whole, blocks = Books(), [Books() for _ in range(count)]
        for number in sorted(self._buckets):
            # a bucket belongs where its middle lies
            into = (number + 0.5 - first) / (end - first)
            if 0 <= into < 1:
                whole.merge(self._buckets[number])
                if blocks:
                    blocks[int(into * count)].merge(self._buckets[number])
        return reading(self._slo, whole, blocks, to_s - from_s)

    def _bucket(self, second: int) -> Books | None:
        """Where a Unix second belongs, by its middle; ``None`` where it was before the step."""
        after_s = second + 0.5 - self._started_at - self._begin_s
        return self._buckets[int(after_s // self._width_s)] if after_s >= 0 else None

    def _open_sockets(self, now_s: float) -> Series:
        """By second after the start, all workers' added up; what a worker did not say is as it said last."""
        series = np.full(max(1, int(now_s) + 1), np.nan)
        last: dict[str, float] = {}
        for second in range(int(self._begin_s), len(series)):
            last.update(self._sockets.get(second, {}))
            if last:
                series[second] = sum(last.values())
        return series
