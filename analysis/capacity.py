"""Capacity at an objective: the load up to which a figure keeps its limit. Pure functions of arrays.

A figure that gets worse with load (the logarithm of p99, the share of failures) is measured at each step,
with noise. Its isotonic regression on load is the best fit that never gets better with more load; the
capacity is where that fit, interpolated, crosses the limit. "The highest step that passed" would be the step
below, and wrong by half a step on average. The interval is by a bootstrap that draws each step's figure anew
from its own error, and repeats the fit.

Sources: Barlow, Bartholomew, Bremner and Brunk, Statistical Inference under Order Restrictions (1972), for
the regression; Gasser, Sroka and Jennen-Steinmetz, Biometrika 73 (1986), for the noise of single points.
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
    loads: Sequence[float], bad: Sequence[float], errors: Sequence[float], limit: float, seed: int = SEED
) -> Capacity:
    """The load at which ``bad`` reaches ``limit``.

    Args:
        loads: one a step, positive; several steps may have the same.
        bad: each step's figure, such that more is worse and noise is even: latencies as logarithms.
        errors: each figure's standard error; NaN where it is not known, and then taken from how the figures
            of neighbouring steps scatter.
        limit: in terms of ``bad``.

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
    random = np.random.default_rng(seed)
    _, fits = isotonic(x, y + sd * random.standard_normal((DRAWS, len(y))))
    tail = 100 * (1 - CONFIDENCE) / 2
    # how a curve bends between two steps nobody has measured: the lower bound supposes the worst
    low = np.percentile(cautious(points, fits, limit), tail, method="inverted_cdf")
    high = np.percentile(crossing(points, fits, limit), 100 - tail, method="inverted_cdf")
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


def cautious(points: Array, fitted: Array, limit: float) -> Array:
    """As ``crossing``, on a straight line; where a fit jumps across the limit, at the step before it."""
    beyond = _beyond(fitted, limit)
    ends = np.clip(beyond, 1, len(points) - 1)
    below, above = _at(fitted, ends - 1), _at(fitted, ends)
    share = (limit - below) / np.where(above > below, above - below, 1.0)
    share = np.where(_jumps(fitted, limit), 0.0, share)
    return _outside(points, beyond, points[ends - 1] + share * (points[ends] - points[ends - 1]))


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
    means = np.bincount(inverse, bad) / np.bincount(inverse)
    if len(points) < 3:
        return 0.0
    left, middle, right = points[:-2], points[1:-1], points[2:]
    share = (middle - left) / (right - left)
    off = means[1:-1] - (means[:-2] * (1 - share) + means[2:] * share)
    return float(np.sqrt(np.mean(off**2 / (1 + share**2 + (1 - share) ** 2))))


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
