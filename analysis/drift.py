"""Drift: does a series grow over a long run, by how much, and since when? Pure functions of arrays.

Readings under load are correlated: a trend test that takes them for independent cries wolf in more than half
of steady runs. So the series is cut into blocks that are long against its own memory, and the slope is
Theil and Sen's, the median of the slopes between all pairs of block medians, with Sen's interval from
Kendall's statistic.

    τ      = 1 + 2 Σ ρ_k                  autocorrelation time, in readings
    block  ≥ 3 τ,  blocks ≥ 10            else nothing is said
    change = slope × length               over the window, with its interval
    seen   = change that would be found four times in five: the interval's half × (1.96 + 0.84) / 1.96

What accumulates, such as memory, remembers for ever: its levels are never independent, but what is added to
it is. Where too few blocks can be made for the above, its change is the sum of the increments from block to
block, with the interval of their t-test. Of a series that only fluctuates that interval is too wide, never
too narrow, as such increments take each other back.

How it changed is told by the best of three courses: a line, a knee between two lines, steps between levels.

    ────╱╱╱╱  knee: it began to grow        ╱╱╱╱────  knee: it stood still from then on
    ────┌───  steps: its level changed

Sources: P. K. Sen, J. Am. Stat. Assoc. 63 (1968); A. Sokal, Monte Carlo Methods in Statistical Mechanics
(1996), section 3, for τ and its window; A. J. Scott and M. Knott, Biometrics 30 (1974), for binary
segmentation; R. E. Kass and A. E. Raftery, J. Am. Stat. Assoc. 90 (1995), for what a difference of the
Bayesian information criterion means.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import t as t_distribution
from scipy.stats import theilslopes

from analysis.estimate import CONFIDENCE, Estimate
from wsoak.judge.words import counted

LEAST_BLOCKS: Final = 10
MOST_BLOCKS: Final = 60
"""More blocks say little more, and all their pairs are looked at."""
BLOCK_TIMES: Final = 3.0
"""A block is as long as so many autocorrelation times, or longer."""
WINDOW_TIMES: Final = 5.0
"""The autocorrelation is summed up to so many times the sum: further on it is noise."""
STEP_SHARE: Final = 0.35
"""A step that leaves less than this share of what a straight line leaves is plainly a step."""
INCREMENT_BLOCKS: Final = 20
INCREMENT_READINGS: Final = 3
"""A block of what accumulates has as many readings or more."""
WORKING: Final = 1.5
"""By what the variance of increments between a sum's block averages is short: two neighbours correlate by
1/4 (H. Working, Econometrica 28 (1960))."""
POWER: Final = (1.96 + 0.84) / 1.96

UP_SHARE: Final = 0.95
"""A load is up at this share of its level."""
STRETCH_S: Final = 120.0
"""A load's level is what it held for so long."""

CHANGES: Final = 5
"""At most so many change points are dated."""
SEGMENT: Final = 5
"""A part between two change points has as many blocks or more."""
SHUFFLES: Final = 999
CHANGE_LEVEL: Final = 0.01
STRONGLY: Final = 10.0
"""A course that is no line must be better than the line by this much: very strong evidence."""
KNEE_SHARE: Final = 0.5
"""The pace changes at a knee by more than this share of the greater of both, or it is none."""
SEED: Final = 20_260_102

Array = npt.NDArray[np.float64]
Verdict = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Trend:
    """How a series changes over its window.

    Attributes:
        change: last less first, in the series' unit, by the slope; with its interval.
        level: the median of the block medians.
        smallest: the change that this series would have shown four times in five.
        seconds: the window's length.
        block_s: the length of a block; ``blocks``: their number.
        times, medians: the middle of each block in seconds, and its figure.
    """

    change: Estimate
    level: float
    smallest: float
    seconds: float
    block_s: float
    blocks: int
    times: tuple[float, ...]
    medians: tuple[float, ...]

    @property
    def begin_s(self) -> float:
        """Where the window begins, in seconds as the series has them."""
        return self.times[0] - self.block_s / 2

    @property
    def end_s(self) -> float:
        """Where it ends."""
        return self.begin_s + self.seconds

    @property
    def an_hour(self) -> Estimate:
        """The change in an hour, at this slope."""
        return self.change.scaled(3600 / self.seconds)


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """A moment at which the course changed, in seconds as the series has them.

    ``before`` and ``after``: the levels around it; ``of`` a pace, the slopes in the series' unit a second.
    """

    at_s: float
    before: float
    after: float
    of: Literal["level", "pace"] = "level"


class TooShort(ValueError):
    """The series says nothing of drift; the message is one sentence for the user."""


def trend(
    times: Array,
    values: Array,
    summary: Callable[[Array], float] = np.median,
    *,
    accumulates: bool = False,
) -> Trend:
    """The trend of a series.

    Args:
        times, values: in seconds, and in any unit; rising times, what is NaN is left out.
        summary: what a block is summed up by; its least value for memory.
        accumulates: whether it is a sum of what came before, such as memory.

    Raises:
        TooShort: when it has too few readings for ``LEAST_BLOCKS`` blocks.
    """
    known = np.isfinite(values)
    t, y = times[known], values[known]
    slope_of = _slope
    try:
        size = block_size(t, y)
    except TooShort:
        size = len(y) // INCREMENT_BLOCKS
        if not accumulates or size < INCREMENT_READINGS:
            raise
        slope_of = _increments
    count = len(y) // size
    # of one size: the least value of a longer block is lower; what is left over is warm-up
    t, y = t[-count * size :], y[-count * size :]
    middles = t.reshape(count, size).mean(axis=1)
    figures = np.array([float(summary(part)) for part in y.reshape(count, size)])
    slope = slope_of(middles, figures)
    seconds = float(t[-1] - t[0])
    change = slope.scaled(seconds)
    return Trend(
        change=change,
        level=float(np.median(figures)),
        smallest=POWER * (change.high - change.low) / 2,
        seconds=seconds,
        block_s=seconds / count,
        blocks=count,
        times=tuple(map(float, middles)),
        medians=tuple(map(float, figures)),
    )


def block_size(times: Array, values: Array) -> int:
    """How many readings a block has.

    Raises:
        TooShort: when that would be fewer than ``LEAST_BLOCKS``.
    """
    memory = autocorrelation_time(times, values)
    needed = max(1, math.ceil(BLOCK_TIMES * memory))
    size = max(needed, math.ceil(len(values) / MOST_BLOCKS))
    count = len(values) // size
    if count < LEAST_BLOCKS:
        raise TooShort(
            f"{counted(len(values), 'reading')} make {count} blocks of {needed:,} that are independent of "
            f"each other, and {LEAST_BLOCKS} are needed: let the run last longer."
        )
    return size


def autocorrelation_time(times: Array, values: Array) -> float:
    """τ in readings: 1 for noise, (1 + ρ)/(1 − ρ) for an autoregression.

    A straight line is taken off first, or a step where the series plainly has one: drifts and jumps are no
    memory. The sum ends at ``WINDOW_TIMES`` τ.
    """
    n = len(values)
    if n < 4:
        return 1.0
    rest = _without_course(times, values)
    spread = float(rest @ rest)
    # what differs by no more than rounding has no memory
    if spread <= 1e-20 * max(1.0, float(values @ values)):
        return 1.0
    size = 1 << (2 * n - 1).bit_length()
    power = np.abs(np.fft.rfft(rest, size)) ** 2
    correlation = np.fft.irfft(power, size)[:n] / spread
    sums = 2 * np.cumsum(correlation) - 1
    lags = np.arange(n)
    far = np.flatnonzero(lags >= WINDOW_TIMES * np.maximum(1.0, sums))
    last = int(far[0]) if len(far) else n - 1
    # the line that was taken off took some of the memory with it
    return max(1.0, float(sums[last])) * n / max(1.0, n - 4 * float(max(1.0, sums[last])))


def _without_course(times: Array, values: Array) -> Array:
    slope, offset = np.polyfit(times - times[0], values, 1)
    off_line = values - (slope * (times - times[0]) + offset)
    n = len(values)
    places = np.arange(1, n)
    sums = np.cumsum(values - values.mean())[:-1]
    # what a step at each place takes of the variance
    at = int(places[np.argmax(sums**2 * n / (places * (n - places)))])
    off_step = np.concatenate([part - part.mean() for part in (values[:at], values[at:])])
    plain_step = float(off_step @ off_step) < STEP_SHARE * float(off_line @ off_line)
    return off_step if plain_step else np.asarray(off_line)


def _slope(times: Array, figures: Array) -> Estimate:
    slope, _, low, high = theilslopes(figures, times, CONFIDENCE)
    return Estimate(float(slope), float(low), float(high))


def _increments(times: Array, figures: Array) -> Estimate:
    """The slope of what accumulates: its mean increment, with Student's interval."""
    added = np.diff(figures)
    mean = float(added.mean())
    reach = float(t_distribution.ppf((1 + CONFIDENCE) / 2, len(added) - 1) * added.std(ddof=1))
    reach *= math.sqrt(WORKING / len(added))
    apart = float(times[-1] - times[0]) / len(added)
    return Estimate(mean / apart, (mean - reach) / apart, (mean + reach) / apart)


def judged(found: Trend, tolerance: float) -> Verdict:
    """The verdict on a growth, in the series' unit: more is worse.

    ``fail``: it grew for certain, and by more than ``tolerance``. ``pass``: this run would have seen as much,
    and the interval says that it is less; or it fell for certain. Else ``inconclusive``.
    """
    if found.change.low > 0 and found.change.value > tolerance:
        return "fail"
    if found.change.high < 0 or (found.smallest <= tolerance and found.change.high <= tolerance):
        return "pass"
    return "inconclusive"


def without(values: Array, regressor: Array, times: Array) -> Array:
    """The series less what a regressor explains of it, such as memory less that of open connections.

    The coefficient is that beside a straight line over time: a regressor that grows as the leak does must not
    explain the leak away. It is not negative, and 0 where the regressor hardly moves.
    """
    known = np.isfinite(values) & np.isfinite(regressor)
    x = regressor[known]
    if known.sum() < 8 or float(np.std(x)) <= 0.01 * max(1.0, abs(float(np.mean(x)))):
        return values
    t = times[known]
    columns = np.column_stack([np.ones_like(t), (t - t.mean()) / max(1.0, float(np.ptp(t))), x - x.mean()])
    (_, _, each), *_ = np.linalg.lstsq(columns, values[known], rcond=None)
    return values - max(0.0, float(each)) * (regressor - float(x.mean()))


def change_points(times: Array, figures: Array, seed: int = SEED) -> tuple[ChangePoint, ...]:
    """When and how the course changed; nothing where a straight line describes it as well.

    Args:
        times, figures: of blocks, which are independent of each other.
    """
    slope, offset, *_ = theilslopes(figures, times)
    best = _criterion(figures, slope * times + offset, 2) - STRONGLY
    found: tuple[ChangePoint, ...] = ()
    for fitted, parameters, points in (_knee(times, figures), _levels(times, figures, seed)):
        if points and (criterion := _criterion(figures, fitted, parameters)) < best:
            best, found = criterion, points
    return found


def _criterion(figures: Array, fitted: Array, parameters: int) -> float:
    """The Bayesian information criterion, less is better; of absolute residuals, as odd blocks happen."""
    n = len(figures)
    # what differs by no more than rounding is no evidence
    least = 1e-9 * max(1e-9, float(np.abs(figures).max()))
    mean = max(least, float(np.abs(figures - fitted).mean()))
    return 2 * n * math.log(mean) + parameters * math.log(n)


_Course = tuple[Array, int, tuple[ChangePoint, ...]]
"""What a course gives at the series' times, how many parameters it took, and its change points."""


def _knee(times: Array, figures: Array) -> _Course:
    """Two lines that meet at a block."""
    best: tuple[float, _Course] = (math.inf, (figures, 0, ()))
    for at in map(float, times[SEGMENT - 1 : -SEGMENT + 1]):
        columns = np.column_stack([np.ones_like(times), times - at, np.maximum(0.0, times - at)])
        (_, before, bend), *_ = factors = np.linalg.lstsq(columns, figures, rcond=None)
        fitted = columns @ factors[0]
        off = float(np.abs(figures - fitted).sum())
        if off < best[0]:
            point = ChangePoint(at, float(before), float(before + bend), "pace")
            bends = abs(bend) > KNEE_SHARE * max(abs(point.before), abs(point.after))
            best = off, (fitted, 4, (point,) if bends else ())
    return best[1]


def _levels(times: Array, figures: Array, seed: int) -> _Course:
    """Levels, by binary segmentation with a permutation test of each cut."""
    random = np.random.default_rng(seed)
    cuts: list[int] = []
    _cut(figures, 0, len(figures), cuts, random)
    bounds = [0, *sorted(cuts), len(figures)]
    parts = list(pairwise(bounds))
    levels = [float(np.median(figures[begin:end])) for begin, end in parts]
    fitted = np.repeat(levels, [end - begin for begin, end in parts])
    points = (
        ChangePoint(float((times[at - 1] + times[at]) / 2), before, after)
        for at, (before, after) in zip(bounds[1:-1], pairwise(levels), strict=True)
    )
    return fitted, 1 + 2 * len(cuts), tuple(points)


def _cut(figures: Array, begin: int, end: int, cuts: list[int], random: np.random.Generator) -> None:
    part = figures[begin:end]
    if len(cuts) >= CHANGES or len(part) < 2 * SEGMENT:
        return
    # ranks: one odd block is no change of level
    ranks = np.argsort(np.argsort(part, kind="stable"), kind="stable").astype(float)
    best, at = _strongest(ranks)
    if best <= 0:
        return
    shuffled = (_strongest(random.permutation(ranks))[0] for _ in range(SHUFFLES))
    beyond = sum(statistic >= best for statistic in shuffled)
    if (beyond + 1) / (SHUFFLES + 1) > CHANGE_LEVEL:
        return
    cuts.append(begin + at)
    _cut(figures, begin, begin + at, cuts, random)
    _cut(figures, begin + at, end, cuts, random)


def _strongest(ranks: Array) -> tuple[float, int]:
    """The greatest standardised difference of the means before and after a cut, and where that is."""
    n = len(ranks)
    places = np.arange(SEGMENT, n - SEGMENT + 1)
    sums = np.cumsum(ranks)
    left = sums[places - 1] / places
    right = (sums[-1] - sums[places - 1]) / (n - places)
    strength = np.abs(left - right) * np.sqrt(places * (n - places) / n)
    best = int(np.argmax(strength))
    return float(strength[best]), int(places[best])


def settled(times: Array, load: Array) -> tuple[float, float]:
    """When the load was up: from its first to its last reading at ``UP_SHARE`` of its level, in seconds.

    Nothing (two equal times) where there is no load. Times are evenly spaced; what is NaN is left out.

        most   ┤      ·     ·                  a few readings: no level
        level  ┤    ┌─·──·─··──·─·──┐          the greatest median of any ``STRETCH_S``
               ┤   ╱ · ·  · ·  ·· ·· ╲         sockets that come and go
               └──┴─────────────────┴─ seconds
                  up                down
    """
    known = np.isfinite(load)
    t, y = times[known], load[known]
    level = _level(t, y)
    if level <= 0:
        return (0.0, 0.0)
    up = np.flatnonzero(y >= UP_SHARE * level)
    return float(t[up[0]]), float(t[up[-1]])


def _level(times: Array, load: Array) -> float:
    """The most that the load held for a stretch: the greatest of the stretches' medians."""
    count = len(load)
    if not count:
        return 0.0
    apart = float(times[-1] - times[0]) / max(1, count - 1)
    size = min(count, max(1, round(STRETCH_S / apart))) if apart > 0 else count
    # stretches that begin an eighth of one apart; the last one ends with the load
    begins = np.arange(count - size, -1, -max(1, size // 8))
    stretches = np.lib.stride_tricks.sliding_window_view(load, size)[begins]
    return float(np.median(stretches, axis=1).max())


def warmed(begin_s: float, end_s: float, share: float = 0.1) -> float:
    """Where a window begins when its warm-up is dropped: a share of it."""
    return begin_s + share * (end_s - begin_s)
