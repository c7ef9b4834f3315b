"""The Universal Scalability Law against published fits, and where it refuses.

Published figures: the R package ``usl`` by S. Moeding (github.com/smoeding/usl): of version 3.0.3 the outputs
kept in its tests (``summary``, ``residuals``, ``confint``, ``optimal-scalability``), which fit γ; of version
1.4 those of its README and of ``tests/t05``, which are normalised by X(1) as in Gunther's Guerrilla Capacity
Planning, section 5.5. The data are its datasets ``specsdm91`` (SPEC SDM91 on a SPARCcenter 2000) and
``raytracer`` (table 5.1 of that book). Its confidence intervals are not compared: they are not those of
Student's t with n − 3 degrees of freedom. The standard errors are.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from analysis.usl import NoFit, Usl, fit, fit_normalised, throughput

SDM91: Final = (
    (1, 18, 36, 72, 108, 144, 216),
    (64.9, 995.9, 1652.4, 1853.2, 1828.9, 1775.0, 1702.2),
)
RAYTRACER: Final = (
    (1, 4, 8, 12, 16, 20, 24, 28, 32, 48, 64),
    (20, 78, 130, 170, 190, 200, 210, 230, 260, 280, 310),
)
TEXTBOOK: Final = ((1, 2, 4, 6, 8, 10), (1, 1.8868, 3.0769, 3.5294, 3.5398, 3.3557))


def digits(value: float, count: int) -> str:
    return f"{value:.{count - 1}e}"


def test_spec_sdm91_is_fitted_to_the_published_digits() -> None:
    law = fit(*SDM91)
    assert digits(law.alpha.value, 6) == digits(0.0277285, 6)
    assert digits(law.beta.value, 4) == digits(1.044e-4, 4)
    assert law.gamma.value == pytest.approx(89.995233, abs=1e-4)
    assert [digits(error, 4) for error in law.standard_errors] == ["1.421e+01", "9.122e-03", "1.988e-05"]
    assert (digits(law.residual_error, 4), law.freedom) == ("8.285e+01", 4)
    assert [f"{miss:.2f}" for miss in law.residuals] == [
        "-25.10",
        "-81.66",
        "111.09",
        "3.05",
        "-49.99",
        "-46.60",
        "56.00",
    ]


def test_spec_sdm91_has_its_published_peak_and_limit() -> None:
    law = fit(*SDM91)
    assert law.peak is not None
    assert law.peak.load.value == pytest.approx(96.51956, abs=1e-3)
    assert digits(law.peak.throughput, 4) == "1.884e+03"
    assert law.limit == pytest.approx(3245.589, abs=0.05)
    assert law.peak.load.low < 96.5 < law.peak.load.high


def test_the_textbook_table_gives_its_coefficients_back() -> None:
    law = fit(*TEXTBOOK)
    assert [f"{of.value:.2f}" for of in (law.alpha, law.beta, law.gamma)] == ["0.02", "0.02", "1.00"]


def test_the_first_six_steps_of_the_ray_tracer_are_fitted_to_the_published_digits() -> None:
    law = fit(RAYTRACER[0][:6], RAYTRACER[1][:6])
    assert f"{law.alpha.value:.5f} {law.beta.value:.5f} {law.gamma.value:.5f}" == "0.02444 0.00163 20.85605"


def test_normalised_fits_have_the_published_coefficients() -> None:
    tracer, sdm91 = fit_normalised(*RAYTRACER), fit_normalised(*SDM91)
    assert f"{tracer.alpha.value:.8f} {tracer.beta.value:.8f}" == "0.05002394 0.00000471"
    assert (digits(sdm91.alpha.value, 4), digits(sdm91.beta.value, 4)) == ("1.705e-02", "7.892e-05")
    assert (digits(sdm91.residual_error, 4), sdm91.freedom) == ("1.406e+02", 5)
    assert [f"{value:.1f}" for value in sdm91.at(SDM91[0])] == (
        ["64.9", "889.1", "1377.5", "1787.7", "1876.1", "1845.9", "1682.8"]
    )
    assert sdm91.gamma.low == sdm91.gamma.value == 64.9


def test_the_ray_tracer_has_no_peak_as_its_coherency_may_be_nothing() -> None:
    law = fit(*RAYTRACER)
    assert law.beta.value == pytest.approx(0, abs=1e-9)
    assert law.peak is None
    assert "contains 0" in law.no_peak_because[0]


def made(loads: list[float], alpha: float, beta: float, gamma: float = 50.0, noise: float = 0.0) -> Usl:
    n = np.array(loads, float)
    x = throughput(n, gamma, alpha, beta)
    return fit(loads, list(x * np.exp(noise * np.random.default_rng(5).normal(size=n.size))))


PEAKLESS: Final = {
    "five steps": ([20, 60, 120, 180, 260], 0.01, 1e-4, "5 steps are too few"),
    "far from the peak": ([5, 10, 15, 20, 25, 30], 0.01, 1e-4, "short of 0.7 of the peak"),
    "no coherency": ([20, 60, 120, 180, 260, 400], 0.01, 0.0, "contains 0"),
}


@pytest.mark.parametrize(("loads", "alpha", "beta", "why"), PEAKLESS.values(), ids=PEAKLESS)
def test_no_peak_is_reported(loads: list[float], alpha: float, beta: float, why: str) -> None:
    law = made(loads, alpha, beta)
    assert law.peak is None
    assert any(why in sentence for sentence in law.no_peak_because)


def test_a_peak_that_the_steps_bear_out_is_reported() -> None:
    law = made([20, 60, 90, 120, 180, 260], 0.01, 1e-4, noise=0.01)
    assert law.peak is not None
    assert law.peak.load.low < math.sqrt(0.99 / 1e-4) < law.peak.load.high


UNFIT: Final = {
    "three steps": ([1, 2, 3], [1, 2, 2.5], "3 different loads"),
    "the same load": ([5, 5, 5, 5, 5], [1, 2, 3, 2, 1], "1 different load"),
    "nothing went through": ([1, 2, 3, 4], [1, 2, 0, 4], "positive"),
    "no number": ([1, 2, 3, 4], [1, 2, math.nan, 4], "positive"),
    "unlike lengths": ([1, 2, 3], [1, 2, 3, 4], "3 loads and 4 throughputs"),
}


@pytest.mark.parametrize(("loads", "throughputs", "why"), UNFIT.values(), ids=UNFIT)
def test_what_cannot_be_fitted_is_refused(loads: list[float], throughputs: list[float], why: str) -> None:
    with pytest.raises(NoFit, match=why):
        fit(loads, throughputs)


def test_a_normalised_fit_needs_the_throughput_of_one() -> None:
    with pytest.raises(NoFit, match="load 1"):
        fit_normalised([2, 4, 8, 16], [2, 4, 7, 9])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    alpha=st.floats(1e-4, 0.3),
    peak=st.floats(2, 5_000),
    gamma=st.floats(1e-2, 1e5),
    anchored=st.booleans(),
)
def test_a_law_without_noise_is_found_again_whatever_its_scale(
    alpha: float, peak: float, gamma: float, anchored: bool
) -> None:
    beta = (1 - alpha) / peak**2
    loads = np.linspace(max(1.0, 0.05 * peak), 2 * peak, 9)
    law = fit(list(loads), list(throughput(loads, gamma, alpha, beta)), gamma if anchored else None)
    assert law.peak_load == pytest.approx(peak, rel=1e-3)
    assert law.at(loads) == pytest.approx(throughput(loads, gamma, alpha, beta), rel=1e-4)


def test_the_intervals_cover_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(11)
    loads = np.array([10, 30, 60, 90, 120, 160, 220, 300.0])
    clean = throughput(loads, 40.0, 0.02, 8e-5)
    laws = [fit(list(loads), list(clean + 20 * random.normal(size=loads.size))) for _ in range(300)]
    covered = sum(law.alpha.low <= 0.02 <= law.alpha.high for law in laws)
    assert 0.91 * len(laws) <= covered <= 0.99 * len(laws)
    # a normal quantile in place of Student's would be short of it
    assert student.ppf(0.975, laws[0].freedom) > 2.5
