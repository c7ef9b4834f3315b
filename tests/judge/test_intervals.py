"""Intervals: the quantiles against scipy's, and coverage by simulation under load's correlation."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit

from wsoak.judge.intervals import (
    BATCH_S,
    BATCHES,
    EVERYTHING,
    Interval,
    batch_numbers,
    beta_cdf,
    beta_quantile,
    clopper_pearson,
    ratio_interval,
    share_interval,
    smallest_samples,
    t_quantile,
    wilson,
)

PHI: Final = 0.9
NOMINAL: Final = 0.95
ENOUGH: Final = 0.9 * NOMINAL
RUNS: Final = 300

Floats = npt.NDArray[np.float64]
SHAPES = st.floats(0.5, 5_000)
SHARES = st.floats(0.001, 0.999)


def counts(good: list[float], whole: list[float]) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
    """Counts by second, from second 1000 on."""
    return np.arange(1_000, 1_000 + len(good)), np.array(good, float), np.array(whole, float)


# --------------------------------------------------------------------------------------------- quantiles


@given(st.floats(0, 1), SHAPES, SHAPES)
def test_the_incomplete_beta_function_is_scipys(x: float, a: float, b: float) -> None:
    assert beta_cdf(x, a, b) == pytest.approx(stats.beta.cdf(x, a, b), rel=1e-8, abs=1e-10)


@given(SHARES, SHAPES, SHAPES)
def test_a_beta_quantile_is_scipys(share: float, a: float, b: float) -> None:
    assert beta_quantile(share, a, b) == pytest.approx(stats.beta.ppf(share, a, b), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("freedom", [1, 2, 3, 9, 19, 100, 10_000])
@pytest.mark.parametrize("share", [0.9, 0.95, 0.975, 0.995, 0.9995])
def test_a_t_quantile_is_scipys(share: float, freedom: int) -> None:
    assert t_quantile(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), rel=1e-8)


@given(st.integers(0, 400), st.integers(1, 400))
def test_clopper_pearson_is_scipys_and_one_sided_at_the_ends(good: int, samples: int) -> None:
    good = min(good, samples)
    low, high = clopper_pearson(good, samples)
    ends = good in (0, samples)
    theirs = stats.binomtest(good, samples, alternative="two-sided")
    exact = theirs.proportion_ci(0.9 if ends else 0.95, method="exact")
    assert low == pytest.approx(exact.low, rel=1e-6, abs=1e-9)
    assert high == pytest.approx(exact.high, rel=1e-6, abs=1e-9)


@given(st.integers(1, 5_000), st.floats(0, 1))
def test_wilson_with_the_normal_quantile_is_scipys(samples: int, part: float) -> None:
    good = round(part * samples)
    theirs = stats.binomtest(good, samples).proportion_ci(0.95, method="wilson")
    low, high = wilson(good / samples, samples, float(stats.norm.ppf(0.975)))
    assert [low, high] == pytest.approx([theirs.low, theirs.high], abs=1e-9)


@pytest.mark.parametrize(("share", "samples"), [(0.95, 59), (0.99, 299), (0.999, 2_995)])
def test_the_smallest_samples_are_those_that_show_a_percentile_without_a_failure(
    share: float, samples: int
) -> None:
    assert smallest_samples(share) == samples
    for number, shows in ((samples, True), (samples - 1, False)):
        found = share_interval(*counts([number], [number]))
        assert (found.low >= share) is shows


# ----------------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize(
    ("span_s", "batches"),
    [(2, 2), (10, 2), (59, 2), (60, 2), (90, 3), (300, 10), (600, 20), (86_400, BATCHES)],
)
def test_batches_last_thirty_seconds_or_more_where_there_is_time_for_two(span_s: int, batches: int) -> None:
    numbers, found = batch_numbers(np.arange(span_s))
    assert found == batches
    assert list(numbers) == sorted(numbers)
    if span_s >= 2 * BATCH_S:
        assert min(np.bincount(numbers)) >= BATCH_S - 1


def test_a_time_without_data_is_no_batch() -> None:
    seconds = np.array([0, 1, 2, 298, 299])
    assert batch_numbers(seconds)[1] == 2


def test_one_second_says_nothing_of_how_seconds_differ() -> None:
    assert share_interval(*counts([3], [4])) == Interval(0.0, 1.0, None)
    assert ratio_interval(*counts([3], [4])) == EVERYTHING


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=100))
def test_an_interval_holds_its_share_and_effective_samples_are_never_more_than_the_samples(
    pairs: list[tuple[int, int]],
) -> None:
    good, whole = [float(g) for g, _ in pairs], [float(g + b) for g, b in pairs]
    if not sum(whole):
        return
    found = share_interval(*counts(good, whole))
    share = sum(good) / sum(whole)
    assert 0 <= found.low <= share + 1e-9
    assert share - 1e-9 <= found.high <= 1
    assert found.effective is not None
    assert 0 < found.effective <= sum(whole) * (1 + 1e-9)


def test_failures_that_come_together_are_worth_fewer_samples_than_failures_that_come_evenly() -> None:
    whole = [20.0] * 600
    evenly = share_interval(*counts([19.0] * 600, whole))
    together = share_interval(*counts([20.0] * 570 + [0.0] * 30, whole))
    assert evenly.effective == pytest.approx(12_000)
    assert together.effective is not None
    assert together.effective < 60
    assert together.low < evenly.low < 0.95 < evenly.high < together.high


def test_the_mean_of_batches_that_agree_is_known_exactly() -> None:
    assert ratio_interval(*counts([10.0] * 60, [2.0] * 60)) == Interval(5.0, 5.0, None)


# -------------------------------------------------------------------------------------------- simulation


def autocorrelated(rng: np.random.Generator, runs: int, seconds: int) -> Floats:
    """AR(1) noise of variance 1, a run a row."""
    noise = rng.standard_normal((runs, seconds)) * math.sqrt(1 - PHI**2)
    noise[:, 0] = rng.standard_normal(runs)
    for second in range(1, seconds):
        noise[:, second] += PHI * noise[:, second - 1]
    return noise


def covered(good: npt.NDArray[np.int64], whole: npt.NDArray[np.int64], true: float) -> float:
    """In which part of the runs the interval held the truth."""
    seconds = np.arange(whole.shape[1])
    found = [
        share_interval(seconds, g.astype(float), w.astype(float)) for g, w in zip(good, whole, strict=True)
    ]
    return float(np.mean([each.low <= true <= each.high for each in found]))


@pytest.mark.parametrize("seconds", [20, 60, 120, 300, 1_200])
@pytest.mark.parametrize(("centre", "spread"), [(2.0, 1.0), (4.5, 1.0), (3.0, 0.5)])
def test_the_interval_of_success_counts_covers_the_truth_under_correlation(
    seconds: int, centre: float, spread: float
) -> None:
    rng = np.random.default_rng(20)
    true = float(np.mean(expit(centre + spread * rng.standard_normal(1_000_000))))
    whole = rng.poisson(20, (RUNS, seconds))
    good = rng.binomial(whole, expit(centre + spread * autocorrelated(rng, RUNS, seconds)))
    assert covered(good, whole, true) >= ENOUGH


@pytest.mark.parametrize("seconds", [60, 300, 1_200])
def test_the_interval_of_the_share_within_a_limit_covers_the_truth_under_correlation(seconds: int) -> None:
    rng = np.random.default_rng(21)
    # latency exp(s + n), s the second's own level, n each message's: log-normal, so that the truth is known
    limit = 0.5
    true = float(stats.norm.cdf(limit / math.sqrt(0.25**2 + 0.3**2)))
    level = 0.25 * autocorrelated(rng, RUNS, seconds)
    whole = rng.poisson(20, (RUNS, seconds))
    good = rng.binomial(whole, stats.norm.cdf((limit - level) / 0.3))
    assert covered(good, whole, true) >= ENOUGH


def test_a_plain_wilson_interval_would_not() -> None:
    rng = np.random.default_rng(22)
    true = float(np.mean(expit(2.0 + rng.standard_normal(1_000_000))))
    whole = rng.poisson(20, (RUNS, 600))
    good = rng.binomial(whole, expit(2.0 + autocorrelated(rng, RUNS, 600)))
    plain = [wilson(g.sum() / w.sum(), w.sum(), 1.96) for g, w in zip(good, whole, strict=True)]
    assert np.mean([low <= true <= high for low, high in plain]) < 0.5


def test_independent_seconds_cost_little() -> None:
    rng = np.random.default_rng(23)
    whole = np.full((RUNS, 600), 20)
    good = rng.binomial(whole, 0.99)
    found = [
        share_interval(np.arange(600), g.astype(float), w.astype(float))
        for g, w in zip(good, whole, strict=True)
    ]
    assert np.median([each.effective or 0 for each in found]) > 0.7 * 12_000
    assert np.mean([each.low <= 0.99 <= each.high for each in found]) >= ENOUGH
