"""The way along a shape: however late Locust asks, nothing of the shape is skipped."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.load.test_shapes import any_shape
from wsoak.load.course import Course, Turn, spawn_rate
from wsoak.load.shapes import Mark, Shape, ramp, soak, spike, step

STAIRS = step(start_users=10, step_users=10, every_s=10, steps=3)


def walk(course: Course, times: list[float]) -> list[Turn]:
    return [course.at(t_s) for t_s in times]


def texts(turns: list[Turn]) -> list[str]:
    return [turn.mark.text for turn in turns if turn.mark is not None]


def test_on_time_each_step_is_marked_once_when_it_begins() -> None:
    turns = walk(Course(STAIRS), [0, 1, 9.9, 10.4, 11, 20, 29, 30, 31])
    assert [turn.users for turn in turns] == [10, 10, 10, 20, 20, 30, 30, 30, None]
    assert [turn.mark for turn in turns] == [
        *(STAIRS.marks[0], None, None),
        *(STAIRS.marks[1], None),
        *(STAIRS.marks[2], None, None, None),
    ]


def test_steps_that_began_while_nobody_asked_are_visited_one_by_one_with_their_own_users() -> None:
    turns = walk(Course(STAIRS), [0, 29, 30, 31, 32])
    assert [(turn.users, turn.mark and turn.mark.text) for turn in turns] == [
        (10, "step 1 of 3: 10 users"),
        (20, "step 2 of 3: 20 users"),
        (30, "step 3 of 3: 30 users"),
        (None, None),
        (None, None),
    ]


def test_a_peak_that_is_over_before_anybody_asked_still_comes() -> None:
    shape = spike(base_users=1, peak_users=9, at_s=5, for_s=1, end_s=60)
    assert [turn.users for turn in walk(Course(shape), [0, 4, 8, 9, 10])] == [1, 1, 9, 1, 1]


def test_a_ramp_reaches_its_end_before_it_is_over() -> None:
    course = Course(ramp(from_users=0, to_users=10, over_s=10, hold_s=0))
    assert [turn.users for turn in walk(course, [0, 4.6, 9.4, 10.6])] == [0, 5, 9, 10]
    assert course.ended is None
    assert course.at(11.6) == Turn(None)
    assert course.ended == "shape"


def test_a_way_down_ends_with_nobody() -> None:
    course = Course(soak(users=4, ramp_s=0, hold_s=5, down_s=4))
    assert [turn.users for turn in walk(course, [0, 5, 7, 8.4, 12, 13])] == [4, 4, 2, 1, 0, None]


def test_the_run_time_ends_a_shape_early_and_marks_nothing_that_was_not_reached() -> None:
    course = Course(STAIRS, limit_s=20)
    turns = walk(course, [0, 19.9, 20])
    assert [turn.users for turn in turns] == [10, 20, None]
    assert texts(turns) == ["step 1 of 3: 10 users", "step 2 of 3: 20 users"]
    assert course.ended == "run-time"


def test_a_run_time_beyond_the_shape_changes_nothing() -> None:
    course = Course(STAIRS, limit_s=1_000)
    assert [turn.users for turn in walk(course, [0, 10, 20, 31])] == [10, 20, 30, None]
    assert course.ended == "shape"


GAPS = st.lists(st.floats(0.01, 5_000), min_size=1, max_size=60)


@given(any_shape, GAPS)
def test_however_late_it_is_asked_all_marks_come_in_order_and_the_last_users_too(
    shape: Shape, gaps: list[float]
) -> None:
    course = Course(shape)
    # after the gaps, often enough to be over: a turn for each mark, one for the last users, one for the end
    late = [shape.duration_s + 1] * (len(shape.marks) + 2)
    turns = walk(course, list(accumulate([*gaps, *late], initial=0.0)))

    assert [turn.mark for turn in turns if turn.mark is not None] == list(shape.marks)
    assert course.ended == "shape"
    users = [turn.users for turn in turns]
    end = users.index(None)
    assert users[end - 1] == shape.users_at(shape.duration_s)
    assert set(users[end:]) == {None}


@given(any_shape, GAPS)
def test_an_answer_is_the_curve_now_or_at_the_mark_or_its_end(shape: Shape, gaps: list[float]) -> None:
    course = Course(shape)
    for t_s in accumulate(gaps, initial=0.0):
        turn = course.at(t_s)
        allowed = {shape.users_at(t_s), shape.users_at(shape.duration_s)}
        if t_s <= shape.duration_s:
            allowed = {shape.users_at(t_s)}
        if turn.mark is not None:
            assert turn.mark.at_s <= t_s
            allowed.add(shape.users_at(turn.mark.at_s))
        assert turn.users in allowed


@pytest.mark.parametrize(
    ("before", "after", "rate"), [(0, 0, 1.0), (5, 5, 1.0), (5, 6, 1.0), (0, 40, 40.0), (40, 0, 40.0)]
)
def test_the_rate_makes_a_change_at_once_and_is_never_0(before: int, after: int, rate: float) -> None:
    assert spawn_rate(before, after) == rate


def test_a_mark_that_drops_sockets_keeps_that() -> None:
    shape = Shape(ramp(from_users=0, to_users=1, over_s=5, hold_s=0).points, (Mark(2, "now", drop=True),))
    turn = walk(Course(shape), [0, 3])[-1]
    assert turn.mark is not None
    assert turn.mark.drop
