"""Baseline: is a set of runs worse than another? Pure functions of one figure a run.

The unit is the run. The messages of a run share its machine, its minute and its caches, so that ten thousand
of them are no ten thousand witnesses: a test over pooled messages finds a regression between identical builds
three times in four.

    fail           exact one-sided Mann-Whitney p ≤ 0.05, and the Hodges-Lehmann shift exceeds the tolerance
    pass           the upper 95 % bound of the shift is within the tolerance
    inconclusive   else; and with fewer than five runs a side, which are indicative only

Sources: H. B. Mann and D. R. Whitney, Ann. Math. Stat. 18 (1947); J. L. Hodges and E. L. Lehmann, Ann. Math.
Stat. 34 (1963), for the shift; M. Hollander and D. A. Wolfe, Nonparametric Statistical Methods, section 4.3,
for its bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

LEVEL: Final = 0.05
LEAST_RUNS: Final = 5
"""Fewer runs a side than this are only indicative: neither a pass nor a fail."""
EXACT_SPLITS: Final = 200_000
"""Ties are looked at one split of the runs after the other, as long as there are no more splits than this."""

Array = npt.NDArray[np.float64]
Verdict = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Shift:
    """How much worse the candidate's runs are than the baseline's.

    Attributes:
        shift: Hodges-Lehmann: the median of all differences between a run here and a run there.
        upper: its one-sided 95 % bound; infinite where the runs are too few for one.
        p: chance of ranks as bad as these if the sets were alike.
        best_p: the least ``p`` that so many runs could give.
        indicative: a side has fewer than ``LEAST_RUNS``, so that the verdict is ``inconclusive``.
    """

    verdict: Verdict
    shift: float
    upper: float
    p: float
    best_p: float
    tolerance: float
    indicative: bool


def judge(baseline: npt.ArrayLike, candidate: npt.ArrayLike, tolerance: float) -> Shift:
    """The verdict on a candidate, by a figure of which more is worse.

    Args:
        baseline, candidate: one figure a run; for relative tolerances their logarithms.
        tolerance: how much worse it may be, in the figures' unit.

    Raises:
        ValueError: when a side is empty, or a figure no number.
    """
    before, after = np.asarray(baseline, float), np.asarray(candidate, float)
    if not before.size or not after.size or not np.isfinite(np.concatenate([before, after])).all():
        raise ValueError("Both sides need runs, and every run its figure.")
    p = mann_whitney(before, after)
    differences = np.sort(np.subtract.outer(after, before).ravel())
    shift = float(np.median(differences))
    upper = _upper(differences, before.size, after.size)
    indicative = min(before.size, after.size) < LEAST_RUNS
    if indicative:
        verdict: Verdict = "inconclusive"
    elif p <= LEVEL and shift > tolerance:
        verdict = "fail"
    elif upper <= tolerance:
        verdict = "pass"
    else:
        verdict = "inconclusive"
    return Shift(
        verdict=verdict,
        shift=shift,
        upper=upper,
        p=p,
        best_p=1 / math.comb(before.size + after.size, after.size),
        tolerance=tolerance,
        indicative=indicative,
    )


def mann_whitney(baseline: Array, candidate: Array) -> float:
    """The one-sided p of the candidate's figures being greater, exact, with ties at half.

    With ties and more than ``EXACT_SPLITS`` splits it is the normal approximation with its tie correction.
    """
    m, n = baseline.size, candidate.size
    above = np.subtract.outer(candidate, baseline)
    statistic = float((above > 0).sum() + 0.5 * (above == 0).sum())
    together = np.concatenate([baseline, candidate])
    if len(np.unique(together)) == m + n:
        counts = _counts(m, n)
        return float(sum(counts[round(statistic) :]) / sum(counts))
    ranks = _mid_ranks(together)
    observed = float(ranks[m:].sum())
    if math.comb(m + n, n) <= EXACT_SPLITS:
        sums = [float(sum(chosen)) for chosen in combinations(ranks, n)]
        return sum(value >= observed - 1e-9 for value in sums) / len(sums)
    _, ties = np.unique(together, return_counts=True)
    whole = m + n
    variance = m * n / 12 * (whole + 1 - float((ties**3 - ties).sum()) / (whole * (whole - 1)))
    if variance <= 0:
        return 1.0
    return float(norm.sf((statistic - m * n / 2 - 0.5) / math.sqrt(variance)))


def _mid_ranks(values: Array) -> Array:
    order = np.sort(values)
    ranks: Array = (np.searchsorted(order, values, "left") + np.searchsorted(order, values, "right") + 1) / 2
    return ranks


@lru_cache(maxsize=64)
def _counts(m: int, n: int) -> tuple[int, ...]:
    """Of all orders of m and n different values, how many have U = 0, 1, …, mn.

    They are the coefficients of the Gaussian binomial ∏ (1 − q^(m+i)) / (1 − q^i), i = 1 … n.
    """
    counts = [1] + [0] * (m * n)
    for i in range(1, n + 1):
        # times (1 − q^(m+i)), from the top down; then divided by (1 − q^i), from the bottom up
        for power in range(m * n, m + i - 1, -1):
            counts[power] -= counts[power - m - i]
        for power in range(i, m * n + 1):
            counts[power] += counts[power - i]
    return tuple(counts)


def _upper(differences: Array, m: int, n: int) -> float:
    """The shift's one-sided upper bound, by inverting the test: as many differences lie beyond it as the test
    at ``LEVEL`` leaves."""
    counts = _counts(m, n)
    whole, below = sum(counts), 0
    beyond = 0
    for count in counts:
        if (below + count) / whole > LEVEL:
            break
        below += count
        beyond += 1
    return float(differences[-beyond]) if beyond else math.inf
