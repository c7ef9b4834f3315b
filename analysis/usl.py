"""The Universal Scalability Law: how throughput grows with load, and why it stops.

    X(N) = γN / (1 + α(N − 1) + βN(N − 1))

``γ`` is the throughput of one, ``α`` the share of the work that waits for its turn (contention), ``β`` what
each pays for agreeing with each other one (coherency). With β > 0 the throughput has a peak at
N* = √((1 − α) / β), and falls beyond it; with β = 0 it only nears γ/α.

Source: N. J. Gunther, Guerrilla Capacity Planning (Springer, 2007), chapters 4 to 6; the notation α, β, γ is
that of his later work and of the R package ``usl``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares, nnls
from scipy.stats import t as student

from analysis.estimate import CONFIDENCE, Estimate
from wsoak.judge.words import counted, figure

PEAK_STEPS: Final = 6
"""From fewer steps than this no peak is reported."""
PEAK_REACH: Final = 0.7
"""The steps must have come this near to a peak that is reported."""
LEAST_STEPS: Final = 4
"""Three coefficients and one left to doubt them by."""

Array = npt.NDArray[np.float64]


class NoFit(ValueError):
    """The measurements allow no fit; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The load at which the throughput is greatest, and the throughput there."""

    load: Estimate
    throughput: float


@dataclass(frozen=True, slots=True)
class Usl:
    """A fitted law.

    Attributes:
        gamma, alpha, beta: with intervals from Student's t; a coefficient that was not fitted, but given, has
            an interval of no width. α and β are not negative, and so are their intervals' bounds.
        residuals: measured less fitted throughput, by step.
        residual_error: √(Σ residual² / freedom), in the throughput's unit.
        freedom: steps less fitted coefficients.
    """

    gamma: Estimate
    alpha: Estimate
    beta: Estimate
    loads: tuple[float, ...]
    throughputs: tuple[float, ...]
    residuals: tuple[float, ...]
    standard_errors: tuple[float, float, float]
    residual_error: float
    freedom: int
    covariance: tuple[tuple[float, ...], ...]

    def at(self, loads: npt.ArrayLike) -> Array:
        """The law's throughput at these loads."""
        return throughput(np.asarray(loads, float), self.gamma.value, self.alpha.value, self.beta.value)

    @property
    def limit(self) -> float:
        """Amdahl's asymptote γ/α: what contention alone would allow; infinite without contention."""
        return self.gamma.value / self.alpha.value if self.alpha.value > 0 else math.inf

    @property
    def no_peak_because(self) -> tuple[str, ...]:
        """Why no peak is reported, a sentence each; empty where one is."""
        return tuple(_refusals(self))

    @property
    def peak(self) -> Peak | None:
        """The peak, where the measurements bear one out: see ``no_peak_because``.

        The load's interval is by the delta method on its logarithm.
        """
        if self.no_peak_because:
            return None
        load = self.peak_load
        alpha, beta = self.alpha.value, self.beta.value
        # log N* = (log(1 − α) − log β) / 2
        gradient = np.array([0.0, -0.5 / (1 - alpha), -0.5 / beta])
        error = math.sqrt(max(0.0, float(gradient @ np.asarray(self.covariance) @ gradient)))
        factor = math.exp(_quantile(self.freedom) * error)
        return Peak(Estimate(load, load / factor, load * factor), float(self.at(load)))

    @property
    def peak_load(self) -> float:
        """N* of the fitted coefficients, believable or not; infinite where β is 0."""
        beta = self.beta.value
        return math.sqrt(max(0.0, 1 - self.alpha.value) / beta) if beta > 0 else math.inf


def throughput(loads: Array, gamma: float, alpha: float, beta: float) -> Array:
    """X(N) of the law with these coefficients."""
    slowed: Array = 1 + alpha * (loads - 1) + beta * loads * (loads - 1)
    return gamma * loads / slowed


def fit(loads: Sequence[float], throughputs: Sequence[float], gamma: float | None = None) -> Usl:
    """The law through measured steps, by least squares with γ > 0, 0 ≤ α ≤ 1 and 0 ≤ β ≤ 1.

    Args:
        loads, throughputs: one a step, in any unit; several steps may have the same load.
        gamma: the throughput of one, where it was measured and is not to be fitted.

    Raises:
        NoFit: when there are fewer than ``LEAST_STEPS`` different loads, or figures that are not positive.
    """
    n, x = _checked(loads, throughputs)
    scales = np.array([1.0, 1 / n.max(), 1 / n.max() ** 2])
    start = _start(n, x, gamma)
    free = slice(0, 3) if gamma is None else slice(1, 3)
    scales[0] = start[0]

    def coefficients(free_scaled: Array) -> Array:
        whole = start.copy()
        whole[free] = free_scaled * scales[free]
        return whole

    def misses(free_scaled: Array) -> Array:
        missed: Array = (throughput(n, *coefficients(free_scaled)) - x) / x.max()
        return missed

    upper = np.array([np.inf, 1.0, 1.0]) / scales
    begin = np.clip(start / scales, 1e-9, upper * (1 - 1e-9))
    found = least_squares(
        misses,
        begin[free],
        bounds=(np.zeros(3)[free], upper[free]),
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
        max_nfev=2000,
    )
    return _fitted(n, x, coefficients(found.x), free)


def fit_normalised(loads: Sequence[float], throughputs: Sequence[float]) -> Usl:
    """The law by Gunther's own way: γ = X(1), and N/C(N) − 1 = β(N − 1)² + (α + β)(N − 1) by regression.

    It is what published tables were often made with (Guerrilla Capacity Planning, section 5.5). It trusts the
    measurement at load 1 wholly, and weighs relative errors at high loads more than ``fit`` does.

    Raises:
        NoFit: as ``fit``, and when there is no step with load 1.
    """
    n, x = _checked(loads, throughputs)
    if 1.0 not in n:
        raise NoFit("A fit that is normalised by the throughput of one needs a step with load 1.")
    gamma = float(x[n == 1.0].mean())
    more = n - 1
    (square, linear), *_ = np.linalg.lstsq(np.column_stack([more**2, more]), n * gamma / x - 1, rcond=None)
    beta = min(1.0, max(0.0, float(square)))
    alpha = min(1.0, max(0.0, float(linear) - beta))
    return _fitted(n, x, np.array([gamma, alpha, beta]), slice(1, 3))


def _checked(loads: Sequence[float], throughputs: Sequence[float]) -> tuple[Array, Array]:
    n, x = np.asarray(loads, float), np.asarray(throughputs, float)
    if n.shape != x.shape or n.ndim != 1:
        raise NoFit(f"There are {len(loads)} loads and {len(throughputs)} throughputs.")
    if not (np.isfinite(n).all() and np.isfinite(x).all() and (n > 0).all() and (x > 0).all()):
        raise NoFit("Loads and throughputs must be positive numbers.")
    different = len(np.unique(n))
    if different < LEAST_STEPS:
        raise NoFit(
            f"{counted(different, 'different load')} cannot tell three coefficients apart: "
            f"take {LEAST_STEPS} or more."
        )
    return n, x


def _start(n: Array, x: Array, gamma: float | None) -> Array:
    """Coefficients to begin with: N/X is linear in 1/γ, α/γ and β/γ, none of which is negative."""
    weights = x**2 / n
    columns = np.column_stack([np.ones_like(n), n - 1, n * (n - 1)])
    if gamma is None:
        (per_gamma, a, b), _ = nnls(columns * weights[:, None], n / x * weights)
        gamma = 1 / per_gamma if per_gamma > 0 else float((x / n).max())
    else:
        (a, b), _ = nnls(columns[:, 1:] * weights[:, None], (n / x - 1 / gamma) * weights)
    return np.array([gamma, min(1.0, a * gamma), min(1.0, b * gamma)])


def _fitted(n: Array, x: Array, coefficients: Array, free: slice) -> Usl:
    gamma, alpha, beta = map(float, coefficients)
    fitted = throughput(n, gamma, alpha, beta)
    residuals = x - fitted
    freedom = len(n) - len(range(3)[free])
    variance = float((residuals**2).sum()) / freedom
    covariance = np.zeros((3, 3))
    covariance[free, free] = variance * _inverse_information(n, fitted, gamma, free)
    errors = np.sqrt(np.diag(covariance))
    reach = _quantile(freedom) * errors
    estimates = [
        Estimate(value, max(0.0, value - width), value + width)
        for value, width in zip((gamma, alpha, beta), map(float, reach), strict=True)
    ]
    return Usl(
        gamma=estimates[0],
        alpha=estimates[1],
        beta=estimates[2],
        loads=tuple(map(float, n)),
        throughputs=tuple(map(float, x)),
        residuals=tuple(map(float, residuals)),
        standard_errors=(float(errors[0]), float(errors[1]), float(errors[2])),
        residual_error=math.sqrt(variance),
        freedom=freedom,
        covariance=tuple(tuple(map(float, row)) for row in covariance),
    )


def _inverse_information(n: Array, fitted: Array, gamma: float, free: slice) -> Array:
    """(JᵀJ)⁻¹ of the throughput's derivatives by the free coefficients."""
    slowed = fitted**2 / (gamma * n)
    jacobian = np.column_stack([fitted / gamma, -slowed * (n - 1), -slowed * n * (n - 1)])[:, free]
    # columns differ by many powers of ten
    sizes = np.linalg.norm(jacobian, axis=0)
    scaled = jacobian / sizes
    return np.asarray(np.linalg.pinv(scaled.T @ scaled) / np.outer(sizes, sizes))


def _quantile(freedom: int) -> float:
    return float(student.ppf((1 + CONFIDENCE) / 2, freedom))


def _refusals(law: Usl) -> list[str]:
    found = []
    steps = len(set(law.loads))
    if steps < PEAK_STEPS:
        found.append(f"{counted(steps, 'step')} are too few: {PEAK_STEPS} or more can bear out a peak.")
    if law.beta.low <= 0:
        found.append(
            "The interval of β contains 0: the measurements do not show that the throughput would ever fall."
        )
    reached, peak = max(law.loads), law.peak_load
    if math.isfinite(peak) and reached < PEAK_REACH * peak:
        found.append(
            f"The tests went to a load of {figure(reached)}, short of {PEAK_REACH:g} of the peak that the "
            f"fit would have ({figure(peak)})."
        )
    return found
