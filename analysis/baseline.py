"""Baseline: is a set of runs worse than another, by more than is allowed? Pure functions of one figure a run.

The unit is the run. The messages of a run share its machine, its minute and its caches, so that ten thousand
of them are no ten thousand witnesses: a test over pooled messages finds a regression between identical builds
three times in four. And a machine has better hours and worse: runs that were made by turns are judged in
pairs, as both of a pair had the same minutes.

    fail           the shift is beyond the tolerance, as one-sided p ≤ 0.05 says of "it is within"
    pass           the upper 95 % bound of the shift is within the tolerance
    inconclusive   else; and with fewer than five runs a side, which are indicative only

Sources: Student, Biometrika 6 (1908), for pairs; B. L. Welch, Biometrika 34 (1947), for sets that are none.
``python -m bench.baseline_power`` simulates how often each verdict is right.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import nct
from scipy.stats import t as student

LEVEL: Final = 0.05
LEAST_RUNS: Final = 5
"""Fewer runs a side than this are only indicative: neither a pass nor a fail."""
POWER: Final = 0.9
MOST_RUNS: Final = 1000
"""Beyond so many runs a side it makes no difference how many are needed."""

Array = npt.NDArray[np.float64]
Verdict = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Shift:
    """How much worse the candidate's runs are than the baseline's.

    Attributes:
        shift: the mean difference, in pairs where ``paired``.
        upper: its one-sided 95 % bound; infinite where the runs are too few for one.
        p: chance of such a difference or a worse one, if the shift were just the tolerance.
        scatter: the standard deviation of the difference between one run here and one there; NaN of one pair.
        sought: a shift that should be found.
        indicative: a side has fewer than ``LEAST_RUNS``, so that the verdict is ``inconclusive``.
    """

    verdict: Verdict
    shift: float
    upper: float
    p: float
    tolerance: float
    scatter: float
    sought: float
    indicative: bool
    paired: bool

    @property
    def needed(self) -> int | None:
        """How many runs a side would find ``sought`` in nine of ten comparisons, at this scatter.

        ``None`` where more than ``MOST_RUNS`` would be needed, or nothing is known of the scatter.
        """
        if not math.isfinite(self.scatter):
            return None
        return runs_needed(self.scatter, self.sought - self.tolerance, paired=self.paired)


def judge(
    baseline: npt.ArrayLike,
    candidate: npt.ArrayLike,
    tolerance: float,
    *,
    paired: bool = False,
    sought: float | None = None,
) -> Shift:
    """The verdict on a candidate, by a figure of which more is worse.

    Args:
        baseline, candidate: one figure a run; for relative tolerances their logarithms.
        tolerance: how much worse it may be, in the figures' unit.
        paired: the n-th of both were made one after the other.
        sought: the shift that should be found; twice the tolerance unless given.

    Raises:
        ValueError: when a side is empty, a figure no number, or pairs are not whole.
    """
    before, after = np.asarray(baseline, float), np.asarray(candidate, float)
    if not before.size or not after.size or not np.isfinite(np.concatenate([before, after])).all():
        raise ValueError("Both sides need runs, and every run its figure.")
    if paired and before.size != after.size:
        raise ValueError("Pairs need as many runs on both sides.")
    shift = float(after.mean() - before.mean())
    scatter, error, freedom = _paired(after - before) if paired else _welch(before, after)
    upper, p = _bound(shift, error, freedom), _p(shift - tolerance, error, freedom)
    indicative = min(before.size, after.size) < LEAST_RUNS
    if indicative:
        verdict: Verdict = "inconclusive"
    elif p <= LEVEL:
        verdict = "fail"
    else:
        verdict = "pass" if upper <= tolerance else "inconclusive"
    wanted = 2 * tolerance if sought is None else sought
    return Shift(verdict, shift, upper, p, tolerance, scatter, wanted, indicative, paired)


def runs_needed(scatter: float, beyond: float, *, paired: bool = True) -> int | None:
    """How many runs a side find a shift that is so far beyond the tolerance, in ``POWER`` of comparisons.

    Args:
        scatter: the standard deviation of the difference between one run here and one there.
    """
    low, high = LEAST_RUNS, LEAST_RUNS
    while high <= MOST_RUNS and _power(high, scatter, beyond, paired) < POWER:
        low, high = high + 1, 2 * high
    if high > MOST_RUNS:
        return None
    while low < high:
        middle = (low + high) // 2
        enough = _power(middle, scatter, beyond, paired) >= POWER
        low, high = (low, middle) if enough else (middle + 1, high)
    return low


def scatter_borne(runs: int, beyond: float) -> float:
    """The most that runs may differ among themselves, so that so many pairs find a shift that far beyond.

    The standard deviation of single runs, of the same unit as ``beyond``.
    """
    low, high = 0.0, beyond * math.sqrt(runs)
    for _ in range(40):
        middle = (low + high) / 2
        enough = _power(runs, math.sqrt(2) * middle, beyond, True) >= POWER
        low, high = (middle, high) if enough else (low, middle)
    return low


def _power(runs: int, scatter: float, beyond: float, paired: bool) -> float:
    if scatter <= 0:
        return 1.0
    freedom = runs - 1 if paired else 2 * (runs - 1)
    return float(nct.sf(student.isf(LEVEL, freedom), freedom, beyond / scatter * math.sqrt(runs)))


def _paired(differences: Array) -> tuple[float, float, float]:
    """Scatter, the mean's standard error and its degrees of freedom."""
    if differences.size < 2:
        return math.nan, math.nan, 0.0
    scatter = float(differences.std(ddof=1))
    return scatter, scatter / math.sqrt(differences.size), differences.size - 1.0


def _welch(before: Array, after: Array) -> tuple[float, float, float]:
    if min(before.size, after.size) < 2:
        return math.nan, math.nan, 0.0
    of_before, of_after = float(before.var(ddof=1)), float(after.var(ddof=1))
    parts = of_before / before.size, of_after / after.size
    error = math.sqrt(sum(parts))
    if not error:
        return 0.0, 0.0, 1.0
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (before.size - 1) + parts[1] ** 2 / (after.size - 1))
    return math.sqrt(of_before + of_after), error, freedom


def _bound(shift: float, error: float, freedom: float) -> float:
    if not math.isfinite(error):
        return math.inf
    return shift + error * float(student.isf(LEVEL, freedom))


def _p(beyond: float, error: float, freedom: float) -> float:
    if not math.isfinite(error):
        return 1.0
    if not error:
        # runs that are all alike leave nothing to chance
        return 0.0 if beyond > 0 else 1.0
    return float(student.sf(beyond / error, freedom))
