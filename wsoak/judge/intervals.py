"""Intervals: what a figure's value may be, given that load is correlated over time.

A slow second is followed by a slow second, so that ten thousand responses say less than ten thousand coin
tosses: a plain 95 % Wilson interval over them covers the truth in 12-51 % of runs. How much less they say is
measured by the run itself, from batches of time:

    p   = Σ x_j / Σ n_j                               x_j good ones of n_j in batch j of b
    V   = b/(b−1) · Σ (x_j − p·n_j)² / (Σ n_j)²       variance of the ratio, from the batches
    DEFF = max(1, V / (p(1−p) / Σ n_j))               the design effect (Kish)
    n_eff = Σ n_j / DEFF                              effective samples

and Wilson's interval is taken of n_eff, with Student's t of b−1 degrees of freedom in place of z. Where all
are good (or none is) the batches cannot differ, and the interval is Clopper-Pearson's, one-sided: no failure
in 59, 299 or 2,995 samples shows 95 %, 99 % or 99.9 %.

Batches are ``BATCH_S`` long or longer, at most ``BATCHES`` of them. Data over less than two of them is cut in
two halves: t of one degree of freedom (12.7) makes the interval as wide as so little time deserves. Data
within one single second gives no batches, and the interval is everything. Coverage by simulation at AR(1)
with φ = 0.9 is in ``tests/judge/test_intervals.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

LEVEL: Final = 0.95
"""The confidence of every interval."""
BATCH_S: Final = 30
BATCHES: Final = 20
"""Where the data would fill more batches of ``BATCH_S``, the batches are longer: longer is less biased."""

Floats = npt.NDArray[np.float64]

_TINY: Final = 1e-300
_CONVERGED: Final = 1e-15


@dataclass(frozen=True, slots=True)
class Interval:
    """From ``low`` to ``high``; ``effective`` samples, ``None`` where time gives no batches to tell."""

    low: float
    high: float
    effective: float | None


EVERYTHING: Final = Interval(-math.inf, math.inf, None)


# --------------------------------------------------------------------------------------------- quantiles


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by Lentz's continued fraction (DLMF 8.17.22)."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    # the fraction converges fast on this side of the mean only
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - beta_cdf(1.0 - x, b, a)
    log_front = (
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    ) - math.log(a)
    c, d = 1.0, 1.0 / _not_zero(1.0 - (a + b) * x / (a + 1.0))
    fraction = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1.0 / _not_zero(1.0 + even * d), _not_zero(1.0 + even / c)
        fraction *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1.0 / _not_zero(1.0 + odd * d), _not_zero(1.0 + odd / c)
        step = d * c
        fraction *= step
        if abs(step - 1.0) < _CONVERGED:
            break
    return math.exp(log_front) * fraction


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def beta_quantile(share: float, a: float, b: float) -> float:
    """The x with I_x(a, b) = ``share``, by bisection to the last bit of a float."""
    low, high = 0.0, 1.0
    for _ in range(1_100):
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        if beta_cdf(middle, a, b) < share:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


@lru_cache(maxsize=256)
def t_quantile(share: float, freedom: float) -> float:
    """Student's t with ``freedom`` degrees of freedom, at ``share`` from 0.5 to below 1.

    From the beta distribution: x = ν/(ν + t²) is Beta(ν/2, 1/2) (DLMF 8.17, Abramowitz and Stegun 26.5.27).
    """
    x = beta_quantile(2.0 * (1.0 - share), freedom / 2.0, 0.5)
    return math.sqrt(freedom * (1.0 - x) / x)


# --------------------------------------------------------------------------------------------- intervals


def wilson(share: float, samples: float, quantile: float) -> tuple[float, float]:
    """Wilson's score interval of a share among so many (effective) samples (Wilson 1927)."""
    square = quantile * quantile
    centre = share + square / (2.0 * samples)
    half = quantile * math.sqrt(share * (1.0 - share) / samples + square / (4.0 * samples * samples))
    whole = 1.0 + square / samples
    return max(0.0, (centre - half) / whole), min(1.0, (centre + half) / whole)


def clopper_pearson(good: float, samples: float, level: float = LEVEL) -> tuple[float, float]:
    """The exact interval of ``good`` of ``samples``; one-sided where none or all are good.

    Clopper and Pearson 1934. With all of n good its lower end is (1 − level)^(1/n).
    """
    missed = 1.0 - level
    if samples <= 0:
        return 0.0, 1.0
    if good >= samples:
        return float(missed ** (1.0 / samples)), 1.0
    if good <= 0:
        return 0.0, 1.0 - float(missed ** (1.0 / samples))
    low = beta_quantile(missed / 2.0, good, samples - good + 1.0)
    high = beta_quantile(1.0 - missed / 2.0, good + 1.0, samples - good)
    return low, high


def smallest_samples(share: float, level: float = LEVEL) -> int:
    """How many samples without a failure it takes to show ``share``: the least n with shareⁿ ≤ 1 − level."""
    return math.ceil(round(math.log(1.0 - level) / math.log(share), 9))


def batch_numbers(seconds: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
    """Which batch each of these seconds (sorted, distinct) lies in, and how many batches have any data."""
    span_s = int(seconds[-1] - seconds[0]) + 1
    wanted = min(max(span_s // BATCH_S, 2), BATCHES)
    numbers = np.minimum((seconds - seconds[0]) * wanted // span_s, wanted - 1)
    _, filled = np.unique(numbers, return_inverse=True)
    return filled.astype(np.int64), int(filled.max()) + 1


def share_interval(
    seconds: npt.NDArray[np.int64], good: Floats, whole: Floats, level: float = LEVEL
) -> Interval:
    """The interval of the share Σ good / Σ whole, from the counts of each second with data.

    Args:
        seconds: sorted and distinct, as long as the other two.
    """
    samples, share = float(whole.sum()), _ratio(good, whole)
    if share <= 0.0 or share >= 1.0:
        return Interval(*clopper_pearson(share * samples, samples, level), samples)
    numbers, batches = batch_numbers(seconds)
    if batches < 2:
        return Interval(0.0, 1.0, None)
    variance = _variance(numbers, batches, good, whole, share)
    effective = samples / max(1.0, variance * samples / (share * (1.0 - share)))
    low, high = wilson(share, effective, t_quantile(0.5 + level / 2.0, batches - 1))
    return Interval(low, high, effective)


def ratio_interval(
    seconds: npt.NDArray[np.int64], sums: Floats, whole: Floats, level: float = LEVEL
) -> Interval:
    """The interval of a mean Σ sums / Σ whole of anything: Student's t on the batches."""
    numbers, batches = batch_numbers(seconds)
    if batches < 2:
        return EVERYTHING
    mean = float(sums.sum() / whole.sum())
    half = t_quantile(0.5 + level / 2.0, batches - 1) * math.sqrt(
        _variance(numbers, batches, sums, whole, mean)
    )
    return Interval(mean - half, mean + half, None)


def _ratio(good: Floats, whole: Floats) -> float:
    return float(min(1.0, max(0.0, good.sum() / whole.sum())))


def _variance(
    numbers: npt.NDArray[np.int64], batches: int, sums: Floats, whole: Floats, ratio: float
) -> float:
    """The variance of a ratio, from how its batches differ."""
    difference = np.bincount(numbers, sums - ratio * whole, batches)
    return float(batches / (batches - 1) * (difference @ difference) / whole.sum() ** 2)
