"""Sequence: beside a model that remembers everything, and within its memory."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsoak.load.sequence import MOST, REACH, Counts, Sequence


class Naive:
    """The same in the plainest way: it keeps every number."""

    def __init__(self, first: int | None, reach: int) -> None:
        self.first = first
        self.reach = reach
        self.fed: list[int] = []
        self.repeated = 0
        self.reordered = 0

    def feed(self, seq: int) -> None:
        """Take one number."""
        first = self.fed[0] if self.fed and self.first is None else self.first
        if not self.fed and self.first is None:
            pass
        elif first is not None and seq < first:
            self.reordered += 1
        elif seq in self.fed or (self.fed and seq <= max(self.fed) - self.reach):
            self.repeated += 1
            if seq not in self.fed:
                return
        elif self.fed and seq < max(self.fed):
            self.reordered += 1
        self.fed.append(seq)

    @property
    def missing(self) -> list[int]:
        """The numbers between the first and the highest that never came."""
        if not self.fed:
            return []
        first = self.fed[0] if self.first is None else self.first
        return [seq for seq in range(first, max(self.fed)) if seq not in self.fed]


def fed(numbers: list[Any], first: int | None = 1, reach: int = REACH) -> Sequence:
    """A sequence to which these came."""
    sequence = Sequence(first, reach)
    for number in numbers:
        sequence.feed(number)
    return sequence


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([], Counts()),
        ([1, 2, 3], Counts(3, 3)),
        ([1, 2, 3, 5, 6, 6, 4, 7, 9], Counts(9, 9, gaps=1, repeated=1, reordered=1, first_gap=8)),
        ([2, 3], Counts(3, 2, gaps=1, first_gap=1)),
        ([1, 4], Counts(4, 2, gaps=2, first_gap=2)),
        ([2, 1], Counts(2, 2, reordered=1)),
        ([1, 1, 1], Counts(1, 3, repeated=2)),
        ([3, 2, 1], Counts(3, 3, reordered=2)),
        # before the first that there is
        ([0, 1], Counts(1, 2, reordered=1)),
        # a history that is sent twice
        ([1, 2, 3, 1, 2, 3, 4], Counts(4, 7, repeated=3)),
    ],
)
def test_what_came_is_told_by_its_numbers(numbers: list[int], expected: Counts) -> None:
    counts = fed(numbers).take()
    assert counts == expected
    assert counts.whole is (counts.gaps == counts.repeated == counts.reordered == 0)


def test_a_sequence_without_a_given_first_number_begins_with_what_comes() -> None:
    assert fed([17, 18, 20], first=None).take() == Counts(4, 3, gaps=1, first_gap=19)
    assert fed([0, 1], first=None).take() == Counts(2, 2)
    assert fed([0, 1], first=0).take() == Counts(2, 2)


@pytest.mark.parametrize("hostile", [None, True, "3", 3.0, -1, MOST + 1, 10**400, [], {}])
def test_what_is_no_number_is_not_counted(hostile: object) -> None:
    sequence = Sequence(1)
    assert sequence.feed(hostile) is False
    assert sequence.highest is None
    assert sequence.take() == Counts()


NUMBERS = st.lists(st.integers(0, 30), max_size=40)
FIRSTS = st.one_of(st.none(), st.integers(0, 5))


@given(NUMBERS, FIRSTS, st.integers(1, 40))
def test_it_agrees_with_a_model_that_keeps_everything(
    numbers: list[int], first: int | None, reach: int
) -> None:
    model = Naive(first, reach)
    for number in numbers:
        model.feed(number)
    sequence = fed(numbers, first, reach)
    counts = sequence.take()
    missing = model.missing
    assert counts.received == len(numbers)
    assert counts.repeated == model.repeated
    assert counts.reordered == model.reordered
    assert counts.gaps == len(missing)
    assert counts.first_gap == (missing[0] if missing else None)
    beginning = model.fed[0] if model.fed and first is None else first
    if beginning is not None:
        assert counts.expected == max(0, max(model.fed, default=beginning - 1) - beginning + 1)
        assert sequence.highest in (None, max(model.fed, default=None))


@given(st.lists(st.integers(1, 60), max_size=60), st.integers(1, 70), st.integers(0, 60))
def test_looking_in_between_changes_no_sum(numbers: list[int], reach: int, at: int) -> None:
    whole = fed(numbers, reach=reach).take()
    sequence = fed(numbers[:at], reach=reach)
    before = sequence.take(over=False)
    for number in numbers[at:]:
        sequence.feed(number)
    after = sequence.take()
    for field in ("expected", "received", "gaps", "repeated", "reordered"):
        assert getattr(before, field) + getattr(after, field) == getattr(whole, field), field


@given(st.permutations(range(1, 20)))
def test_a_shuffled_sequence_lacks_nothing_and_repeats_nothing(numbers: list[int]) -> None:
    counts = fed(numbers).take()
    assert (counts.gaps, counts.repeated) == (0, 0)
    assert counts.whole is (numbers == sorted(numbers))


@given(st.sets(st.integers(1, 200), min_size=1), st.integers(1, 300))
def test_what_is_left_out_is_the_gap(left_out: set[int], reach: int) -> None:
    counts = fed([number for number in range(1, 202) if number not in left_out], reach=reach).take()
    assert (counts.gaps, counts.repeated, counts.reordered) == (len(left_out), 0, 0)
    assert counts.first_gap == min(left_out)


@given(st.lists(st.integers(0, MOST), max_size=30))
def test_memory_is_bounded_whatever_comes(numbers: list[int]) -> None:
    sequence = Sequence(1, reach=10)
    for number in numbers:
        sequence.feed(number)
        assert len(sequence._missing) < 10
        assert list(sequence._missing) == sorted(sequence._missing)


def test_what_comes_too_late_was_lost_and_counts_as_repeated() -> None:
    sequence = fed([1, 3, 4, 5, 6, 7], reach=4)
    assert sequence.take(over=False) == Counts(7, 6, gaps=1, first_gap=2)
    sequence.feed(2)
    assert sequence.take(over=False) == Counts(0, 1, repeated=1)


def test_what_is_missing_is_awaited_until_the_end() -> None:
    sequence = fed([1, 3])
    assert sequence.take(over=False) == Counts(3, 2)
    sequence.feed(2)
    assert sequence.take() == Counts(0, 1, reordered=1)
    sequence.feed(5)
    assert sequence.take() == Counts(2, 1, gaps=1, first_gap=4)


def test_gaps_are_dated_by_the_messages_that_showed_them() -> None:
    sequence = Sequence(1, reach=100)
    for number, at_ns in ((1, 10), (3, 20), (4, 30), (7, 40), (2, 50), (9, 60), (300, 70)):
        sequence.feed(number, at_ns)
    # 2 came late, 5 and 6 were missed at 40
    counts = sequence.take()
    assert (counts.first_gap, counts.gap_since_ns, counts.gap_until_ns) == (5, 40, 70)
    sequence.feed(302, 80)
    counts = sequence.take(over=False)
    assert (counts.gaps, counts.gap_since_ns) == (0, None)
    counts = sequence.take()
    assert (counts.gaps, counts.gap_since_ns, counts.gap_until_ns) == (1, 80, 80)
