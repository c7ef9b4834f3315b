"""Capacity at an objective: the load up to which a figure keeps its limit. Pure functions of arrays.

A figure that gets worse with load (the logarithm of p99, the share of failures) is measured at each step,
with noise. Its isotonic regression on load is the best fit that never gets better with more load; the
capacity is where that fit, interpolated, crosses the limit. "The highest step that passed" would be the step
below, and wrong by half a step on average.

The interval is by a bootstrap that draws each step's figure anew, and repeats the fit. A figure is off by
its own error, which the step's blocks show, and by what makes two steps at one load differ, which they do
not: that is taken from repeated steps, and from how far the others lie off the lines of their neighbours,
with ``STEP_NOISE`` as a first guess. And how the figure bends between two steps nobody has measured: each fit
crosses the limit somewhere between where the straight line does and where the lines through the neighbouring
steps do; where it jumps, anywhere between both steps. ``python -m bench.capacity_coverage`` simulates how
often the interval holds the truth.

Sources: Barlow, Bartholomew, Bremner and Brunk, Statistical Inference under Order Restrictions (1972), for
the regression; Gasser, Sroka and Jennen-Steinmetz, Biometrika 73 (1986), for the noise of single points;
Smyth, Stat. Appl. Genet. Mol. Biol. 3 (2004), for variances that are pulled, and Student's draws with them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from analysis.estimate import CONFIDENCE, Estimate

DRAWS: Final = 2000
SEED: Final = 20_260_101
PRIOR_FREEDOM: Final = 4.0
"""A step's own spread is pulled towards that of all steps as if those were so many readings."""
MEDIAN_SQUARE: Final = 0.4549
"""The median of the square of a standard normal variable."""
LEAST_FREEDOM: Final = 3.0
"""A spread is worth so many readings at least: with fewer its tails would be without end."""
STEP_NOISE: Final = 0.05
"""By how much two steps' figures at one load differ, as logarithms, where nothing else is known: a 20th."""
LEAST_STEPS: Final = 3
SAME_SHARE: Final = 0.03
"""Loads that differ by no more than this share are one load that was tried more than once."""
BISECTIONS: Final = 40
JUMP_SHARE: Final = 0.5
"""A rise between two steps by more than this share of the fit's whole range is a jump."""

Array = npt.NDArray[np.float64]


class NoCapacity(ValueError):
    """The steps allow no statement; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """The load up to which the limit is kept, and the fit that says so.

    Attributes:
        estimate: the load with its interval. Where all steps keep the limit it is the highest load tried, and
            unbounded above; where none does it is 0, and bounded by the lowest.
        crossed: whether the steps lie on both sides of the limit.
        jump: the loads of the two steps between which the fit jumps across the limit, so that finer steps
            would tell more; ``None`` where it rises evenly enough.
        loads, fitted: the points of the isotonic fit, by load, in the figure's own terms (see ``bad``).
    """

    estimate: Estimate
    crossed: bool
    jump: tuple[float, float] | None
    loads: tuple[float, ...]
    fitted: tuple[float, ...]


def capacity_at(
    loads: Sequence[float],
    bad: Sequence[float],
    errors: Sequence[float],
    limit: float,
    step_noise: float | None = STEP_NOISE,
    seed: int = SEED,
) -> Capacity:
    """The load at which ``bad`` reaches ``limit``.

    Args:
        loads: one a step, positive; several steps may have the same.
        bad: each step's figure, such that more is worse and noise is even: latencies as logarithms.
        errors: each figure's standard error; NaN where it is not known, and then taken from how the figures
            of neighbouring steps scatter.
        limit: in terms of ``bad``.
        step_noise: the standard deviation between steps at one load, in terms of ``bad``, before the steps
            have said anything of it; their own errors' where it is not known.

    Raises:
        NoCapacity: when there are fewer than ``LEAST_STEPS`` loads, or figures that are no numbers.
    """
    order = np.argsort(np.asarray(loads, float), kind="stable")
    x, y, sd = (np.asarray(values, float)[order] for values in (loads, bad, errors))
    if (different := distinct(x)) < LEAST_STEPS:
        raise NoCapacity(f"{LEAST_STEPS} loads or more are needed, and there {_are(different)}.")
    if not (np.isfinite(x).all() and np.isfinite(y).all() and (x > 0).all()):
        raise NoCapacity("Loads must be positive, and every step must have its figure.")
    sd = np.where(np.isfinite(sd), sd, scatter(x, y))
    points, fitted = isotonic(x, y)
    between, freedom = noise_between(x, y, sd, float(np.median(sd)) if step_noise is None else step_noise)
    off = np.sqrt(sd**2 + between**2) * np.random.default_rng(seed).standard_t(freedom, (DRAWS, len(y)))
    _, fits = isotonic(x, y + off)
    least, most = bounds(points, fits, limit)
    tail = 100 * (1 - CONFIDENCE) / 2
    low = np.percentile(least, tail, method="inverted_cdf")
    high = np.percentile(most, 100 - tail, method="inverted_cdf")
    found = float(crossing(points, fitted, limit))
    value = min(found, float(points[-1]))
    estimate = Estimate(value, min(float(low), value), max(float(high), value))
    crossed = bool(fitted[0] <= limit < fitted[-1])
    if found == 0:
        estimate = Estimate(0.0, 0.0, max(float(high), float(points[0])))
    jump = None
    if crossed and _jumps(fitted, limit):
        beyond = int(np.searchsorted(fitted, limit, side="right"))
        jump = (float(points[beyond - 1]), float(points[beyond]))
    return Capacity(estimate, crossed, jump, tuple(map(float, points)), tuple(map(float, fitted)))


def distinct(loads: Array) -> int:
    """How many different loads there are; ``loads`` must be sorted."""
    found, last = 0, -math.inf
    for load in loads:
        if load - last > SAME_SHARE * load:
            found, last = found + 1, load
    return found


def _are(count: int) -> str:
    return "are none" if not count else "is one" if count == 1 else f"are {count}"


def isotonic(loads: Array, bad: Array) -> tuple[Array, Array]:
    """The different loads, sorted, and at each the fit that never falls; ``loads`` must be sorted.

    ``bad`` has a row a draw, or is one row; so has the fit. By the formula of Barlow and others (1972),
    fit_i = max over j ≤ i of min over k ≥ i of the mean of j … k.
    """
    points, inverse, counts = np.unique(loads, return_inverse=True, return_counts=True)
    n = len(points)
    sums = np.zeros((*bad.shape[:-1], n))
    for place, into in enumerate(inverse):
        sums[..., into] += bad[..., place]
    whole = np.concatenate([[0], np.cumsum(counts)])
    runs = np.concatenate([np.zeros((*bad.shape[:-1], 1)), np.cumsum(sums, axis=-1)], axis=-1)
    best = np.full(sums.shape, -np.inf)
    for j in range(n):
        means = (runs[..., j + 1 :] - runs[..., j : j + 1]) / (whole[j + 1 :] - whole[j])
        least = np.minimum.accumulate(means[..., ::-1], axis=-1)[..., ::-1]
        best[..., j:] = np.maximum(best[..., j:], least)
    return points, best


def crossing(points: Array, fitted: Array, limit: float) -> Array:
    """The load at which each fit that never falls passes the limit; see ``between``.

    Infinite where it never does; 0 where it is beyond from the first point on.
    """
    low = np.zeros(fitted.shape[:-1])
    high = np.ones(fitted.shape[:-1])
    beyond = _beyond(fitted, limit)
    ends = np.clip(beyond, 1, len(points) - 1)
    piece = _piece(points, fitted, ends)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        within = _rise(piece, middle) <= limit
        low, high = np.where(within, middle, low), np.where(within, high, middle)
    return _outside(points, beyond, points[ends - 1] + low * (points[ends] - points[ends - 1]))


def bounds(points: Array, fitted: Array, limit: float) -> tuple[Array, Array]:
    """The loads between which each fit passes the limit, however it bends between its points.

    A curve that bends one way lies, between two points, between the straight line through them and the lines
    through each of them and its other neighbour. Where a fit jumps across the limit, they are the two points.
    Infinite where it never passes; from 0 to the first point where it is beyond from there on.
    """
    beyond = _beyond(fitted, limit)
    last = len(points) - 1
    ends = np.clip(beyond, 1, last)
    left, right = points[ends - 1], points[ends]
    below, above = _at(fitted, ends - 1), _at(fitted, ends)
    chord = left + (limit - below) * _per(right - left, above - below)
    before, after = np.maximum(ends - 2, 0), np.minimum(ends + 1, last)
    from_left = left + (limit - below) * _per(left - points[before], below - _at(fitted, before))
    from_right = right - (above - limit) * _per(points[after] - right, _at(fitted, after) - above)
    guesses = np.stack(
        [
            chord,
            np.where(ends >= 2, from_left, chord),
            np.where(ends < last, from_right, chord),
        ]
    )
    jumps = _jumps(fitted, limit)
    least = np.where(jumps, left, np.clip(guesses.min(axis=0), left, right))
    most = np.where(jumps, right, np.clip(guesses.max(axis=0), left, right))
    return _outside(points, beyond, least), np.where(beyond == 0, points[0], _outside(points, beyond, most))


def _per(width: Array, rise: Array) -> Array:
    """How far a line goes for each unit that it rises; infinite where it does not."""
    return np.where(rise > 0, width / np.where(rise > 0, rise, 1.0), np.inf)


def noise_between(loads: Array, bad: Array, errors: Array, prior: float) -> tuple[float, float]:
    """The standard deviation between steps at one load, and of how many readings it is worth; sorted loads.

    From how far the figures lie off the lines of their neighbours, on logarithms of the load, and repeated
    ones off their mean, beyond what their own ``errors`` explain. Of the former a median is taken, without
    those beside a jump, as a bend is no noise. The ``prior`` counts as one reading.
    """
    points, inverse, counts = np.unique(loads, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, bad) / counts
    off = off_neighbours(np.log(points), means)
    rises = np.diff(isotonic(loads, bad)[1])
    if rises.max() > JUMP_SHARE * rises.sum():
        jump = int(np.argmax(rises))
        off = np.delete(off, [place for place in (jump - 1, jump) if 0 <= place < len(off)])
    own = float(np.mean(errors**2))
    # a median tells half as much as a mean
    worth, repeats = len(off) / 2, len(bad) - len(points)
    excess = worth * (float(np.median(off**2)) / MEDIAN_SQUARE - own) if len(off) else 0.0
    excess += float(((bad - means[inverse]) ** 2).sum()) - repeats * own
    spread = math.sqrt((prior**2 + max(0.0, excess)) / (1 + worth + repeats))
    return spread, max(LEAST_FREEDOM, 1 + worth + repeats)


def between(points: Array, fitted: Array, loads: Array) -> Array:
    """One fit between its points: cubic curves that never fall where the points do not.

    Straight lines would cut the bend of a latency that explodes, and give the capacity too low.
    (F. N. Fritsch and J. Butland, SIAM J. Sci. Stat. Comput. 5, 1984.)
    """
    ends = np.clip(np.searchsorted(points, loads, side="right"), 1, len(points) - 1)
    shares = (loads - points[ends - 1]) / (points[ends] - points[ends - 1])
    piece = _piece(points, np.broadcast_to(fitted, (len(loads), len(points))), ends)
    return _rise(piece, shares)


_Piece = tuple[Array, Array, Array, Array]
"""A cubic from 0 to 1: its values at both ends, then its slopes there."""


def _piece(points: Array, fitted: Array, ends: npt.NDArray[np.int64]) -> _Piece:
    width = points[ends] - points[ends - 1]
    slopes = _slopes(points, fitted)
    begin, end = width * _at(slopes, ends - 1), width * _at(slopes, ends)
    return _at(fitted, ends - 1), _at(fitted, ends), begin, end


def _rise(piece: _Piece, share: Array) -> Array:
    low, high, begin, end = piece
    rest = 1 - share
    return np.asarray(
        rest * rest * ((1 + 2 * share) * low + share * begin)
        + share * share * ((1 + 2 * rest) * high - rest * end)
    )


def _slopes(points: Array, fitted: Array) -> Array:
    """The slope at each point: between those on both sides, nearer to the flatter; at an end half as bent."""
    widths = np.diff(points)
    secants = np.diff(fitted, axis=-1) / widths
    slopes = np.zeros(fitted.shape)
    before, after = secants[..., :-1], secants[..., 1:]
    first, second = 2 * widths[1:] + widths[:-1], widths[1:] + 2 * widths[:-1]
    rising = (before > 0) & (after > 0)
    safe = np.where(rising, before, 1.0), np.where(rising, after, 1.0)
    slopes[..., 1:-1] = np.where(rising, (first + second) / (first / safe[0] + second / safe[1]), 0.0)
    for place, near, far in ((0, 0, 1), (-1, -1, -2)):
        turned = 1.5 * secants[..., near] - 0.5 * secants[..., far]
        slopes[..., place] = np.clip(turned, 0.0, 3 * secants[..., near])
    return slopes


def _beyond(fitted: Array, limit: float) -> npt.NDArray[np.int64]:
    """The number of points that keep the limit: the first beyond is that one."""
    return np.asarray((fitted <= limit).sum(axis=-1), np.int64)


def _outside(points: Array, beyond: npt.NDArray[np.int64], inside: Array) -> Array:
    return np.where(beyond == len(points), np.inf, np.where(beyond == 0, 0.0, inside))


def _jumps(fitted: Array, limit: float) -> npt.NDArray[np.bool_]:
    """Whether each fit jumps across the limit."""
    ends = np.clip(_beyond(fitted, limit), 1, fitted.shape[-1] - 1)
    rise = _at(fitted, ends) - _at(fitted, ends - 1)
    return np.asarray(rise > JUMP_SHARE * (fitted[..., -1] - fitted[..., 0]))


def _at(values: Array, places: npt.NDArray[np.int64]) -> Array:
    """Each row's value at its own place."""
    return np.take_along_axis(values, np.asarray(places)[..., None], axis=-1)[..., 0]


def scatter(loads: Array, bad: Array) -> float:
    """The standard deviation of single figures, from how far each lies off the line of its neighbours.

    A curve's own bend counts as noise, so that it errs on the wide side.
    """
    points, inverse = np.unique(loads, return_inverse=True)
    off = off_neighbours(points, np.bincount(inverse, bad) / np.bincount(inverse))
    return float(np.sqrt(np.mean(off**2))) if len(off) else 0.0


def off_neighbours(points: Array, means: Array) -> Array:
    """How far each point but the first and last lies off the line of its neighbours.

    Scaled so that on a straight line with noise their variance is that of single figures.
    """
    left, middle, right = points[:-2], points[1:-1], points[2:]
    share = (middle - left) / (right - left)
    off = means[1:-1] - (means[:-2] * (1 - share) + means[2:] * share)
    return np.asarray(off / np.sqrt(1 + share**2 + (1 - share) ** 2))


def standard_errors(blocks: Sequence[Sequence[float]]) -> list[float]:
    """Each step's standard error from its blocks' figures; NaN where no step has two blocks.

    A few blocks give a poor spread, so that each step's variance is pulled towards that of all steps
    (as G. K. Smyth does for genes; Stat. Appl. Genet. Mol. Biol. 3, 2004).
    """
    freedoms = np.array([max(0, len(values) - 1) for values in blocks], float)
    variances = np.array([float(np.var(values, ddof=1)) if len(values) > 1 else 0.0 for values in blocks])
    if not freedoms.sum():
        return [math.nan] * len(blocks)
    common = float((freedoms * variances).sum() / freedoms.sum())
    pulled = (PRIOR_FREEDOM * common + freedoms * variances) / (PRIOR_FREEDOM + freedoms)
    counts = np.maximum(1.0, freedoms + 1)
    return [float(error) for error in np.sqrt(pulled / counts)]


@dataclass(frozen=True, slots=True)
class Nodes:
    """How many nodes carry a forecast peak, and of what the number is made.

    ``for_load`` carry it at the target utilisation; ``spares`` more stand by.
    """

    forecast: float
    a_node: float
    utilisation: float
    for_load: int
    spares: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.for_load + self.spares


def nodes(forecast: float, capacity: Estimate, utilisation: float, spares: int) -> Nodes:
    """ceil(forecast / (lower bound of capacity × target utilisation)) + spares.

    Raises:
        NoCapacity: when the lower bound is 0: no number of nodes is enough.
    """
    if capacity.low <= 0:
        raise NoCapacity("The lower bound of one node's capacity is 0: no number of nodes follows from it.")
    # a quotient that is whole but for rounding is whole
    needed = math.ceil(forecast / (capacity.low * utilisation) - 1e-9)
    return Nodes(forecast, capacity.low, utilisation, max(1, needed), spares)
