"""Search: the next number of users, decided from what the steps so far said."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsoak.judge.slo import slo
from wsoak.load.search import Bracket, Search, Tried, bracket

SLO: Final = slo("response p(99) < 50ms")


def a_search(
    start: int = 10, most: int = 1000, *, resolution: float = 0.05, steps: int = 15, hold_s: int = 30
) -> Search:
    return Search(start, most, SLO, hold_s, resolution, steps)


def kept(users: int, beyond: float = -1.0) -> Tried:
    return Tried(users, True, beyond)


def missed(users: int, beyond: float = 1.0) -> Tried:
    return Tried(users, False, beyond)


def unsure(users: int, beyond: float = 0.01) -> Tried:
    return Tried(users, None, beyond)


NEXT: Final = {
    "nothing tried: the first": ([], 10),
    "kept: twice as many": ([kept(10)], 20),
    "kept: never above the most": ([kept(10), kept(600)], 1000),
    "kept with the most: over": ([kept(10), kept(1000)], "all kept"),
    "missed at once: half as many": ([missed(10)], 5),
    "missed with one user: over": ([missed(2), missed(1)], "all missed"),
    "both: where the line crosses": ([kept(10, -1), missed(20, 1)], 15),
    "the line, but not in an outer quarter": ([kept(100, -0.1), missed(200, 9)], 125),
    "nor in the other": ([kept(100, -9), missed(200, 0.1)], 175),
    "not halved: in the middle": ([kept(100, -0.1), missed(200, 9), kept(125, -0.1)], 163),
    "no figure at all is a miss without a line": ([kept(100), Tried(200, False, math.inf)], 150),
    "narrow enough: over": ([kept(100), missed(105)], "found"),
    "neighbours are narrow enough": ([kept(3), missed(4)], "found"),
    "too near to say: again": ([kept(10), unsure(20)], 20),
    "too near twice: the mean decides": ([kept(10), unsure(20, 0.3), unsure(20, -0.1)], 15),
    "too near, then clear: the clear one counts": ([kept(10), unsure(20, 0.3), kept(20)], 40),
    "nothing measured: again": ([Tried(10, None, None)], 10),
    "nothing measured twice: over": ([Tried(10, None, None)] * 2, "no samples"),
    "an old miss below what is kept counts": ([missed(40), kept(20, -1), missed(30, 1)], 25),
}


@pytest.mark.parametrize(("tried", "then"), NEXT.values(), ids=NEXT)
def test_what_comes_next(tried: list[Tried], then: int | str) -> None:
    assert a_search().next_users(tried) == then


def test_the_number_of_steps_is_bounded() -> None:
    assert a_search(steps=2).next_users([kept(10), kept(20)]) == "steps"
    assert a_search(steps=2).next_users([kept(10), unsure(20)]) == "steps"


def test_the_bracket_is_the_most_kept_below_the_fewest_missed() -> None:
    assert bracket([]) == Bracket(None, None)
    assert bracket([kept(10), missed(40), kept(20), kept(50)]) == Bracket(20, 40)
    assert bracket([missed(40), missed(20)]) == Bracket(None, 20)


SENTENCES: Final = {
    "found": ([kept(36), missed(38)], "kept with 36 users and missed with 38, after 2 steps."),
    "steps": ([kept(36), missed(99)], "kept with 36 users and missed with 99, after 2 steps. More steps"),
    "all kept": ([kept(36)], "kept with 36 users, the most that may be tried, after 1 step."),
    "all missed": ([missed(1)], "missed even with 1 user, after 1 step."),
    "no samples": ([Tried(1, None, None)], "nothing was measured that response p(99) < 50ms is about."),
}


@pytest.mark.parametrize(("why", "told"), SENTENCES.items(), ids=SENTENCES)
def test_the_end_is_said_in_a_sentence(why: str, told: tuple[list[Tried], str]) -> None:
    assert told[1] in a_search().sentence(told[0], why)  # type: ignore[arg-type]


def test_without_a_single_step_kept_the_growth_that_was_cut_says_so() -> None:
    sentence = a_search().sentence([kept(10), kept(20)], "steps")
    assert "kept with 20 users" in sentence
    assert "more were not tried" in sentence


# ----------------------------------------------------------------------------------------------- simulation


def searched(search: Search, truth: float, noise: float, seed: int) -> tuple[list[Tried], str]:
    """A search whose figures rise with the square of users, with noise in each step's logarithm."""
    random = np.random.default_rng(seed)
    tried: list[Tried] = []
    while True:
        users = search.next_users(tried)
        if isinstance(users, str):
            return tried, users
        beyond = 2 * math.log(users / truth) + noise * random.standard_normal()
        sure = abs(beyond) >= 2 * noise
        tried.append(Tried(users, beyond <= 0 if sure else None, beyond))


@given(
    start=st.integers(1, 300),
    truth=st.floats(0.5, 2000),
    resolution=st.sampled_from([0.01, 0.05, 0.2]),
    steps=st.integers(1, 40),
)
def test_without_noise_the_bracket_holds_the_truth_and_is_as_narrow_as_was_asked(
    start: int, truth: float, resolution: float, steps: int
) -> None:
    search = a_search(start, 1000, resolution=resolution, steps=steps)
    tried, why = searched(search, truth, 0.0, 0)
    found = bracket(tried)
    assert len(tried) <= steps
    assert all(1 <= each.users <= 1000 for each in tried)
    assert len({each.users for each in tried}) == len(tried)
    if why == "found":
        assert found.kept is not None
        assert found.missed is not None
        assert found.kept <= truth < found.missed
        assert found.missed - found.kept <= max(1, resolution * found.missed)
    elif why != "steps":
        assert (why == "all kept" and truth >= 1000) or (why == "all missed" and truth < 1)


def test_with_noise_the_crossing_is_found_within_the_resolution_in_a_bounded_number_of_steps() -> None:
    off, steps = [], []
    for seed in range(300):
        truth = 100 * (1 + 0.5 * math.sin(seed))
        tried, why = searched(a_search(), truth, 0.05, seed)
        found = bracket(tried)
        assert why == "found"
        assert found.kept is not None
        assert found.missed is not None
        off.append((found.kept + found.missed) / 2 / truth - 1)
        steps.append(len(tried))
    # noise of 5 % of p99 is 2.5 % of the users here; the bracket itself is 5 % wide
    assert np.mean(np.abs(off) <= 0.05) >= 0.95
    assert abs(np.mean(off)) < 0.01
    assert np.mean(steps) < 12
