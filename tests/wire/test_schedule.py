"""Schedules: the same gap each time, or the arrivals of a Poisson process."""

from __future__ import annotations

from itertools import islice, pairwise
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsoak.wire.schedule import every, poisson


@given(st.floats(1e-4, 3600))
def test_every_gives_multiples_from_zero(interval_s: float) -> None:
    moments = list(islice(every(interval_s), 50))
    assert moments == [index * interval_s for index in range(50)]


def test_rounding_does_not_add_up() -> None:
    assert next(islice(every(0.1), 1_000_000, None)) == pytest.approx(100_000, abs=1e-6)


@given(st.floats(0.01, 1000), st.integers())
def test_poisson_moments_grow_and_are_the_same_for_a_seed(rate_per_s: float, seed: int) -> None:
    moments = list(islice(poisson(rate_per_s, seed), 20))
    assert moments == sorted(moments)
    assert moments[0] >= 0
    assert moments == list(islice(poisson(rate_per_s, seed), 20))


def test_poisson_gaps_are_exponential_with_the_rates_mean() -> None:
    moments = list(islice(poisson(4.0, 11), 20_000))
    gaps = [later - sooner for sooner, later in pairwise(moments)]
    # an exponential's mean and standard deviation are equal
    assert fmean(gaps) == pytest.approx(0.25, rel=0.03)
    assert stdev(gaps) == pytest.approx(0.25, rel=0.05)


def test_two_seeds_give_two_schedules() -> None:
    assert list(islice(poisson(1, 1), 5)) != list(islice(poisson(1, 2), 5))


@pytest.mark.parametrize("bad", [0, -1])
def test_what_is_not_positive_is_refused_at_once(bad: float) -> None:
    with pytest.raises(ValueError, match="interval"):
        every(bad)
    with pytest.raises(ValueError, match="rate"):
        poisson(bad, 1)
