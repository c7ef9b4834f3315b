"""Whether the users were there for the whole of the load, against what was asked for at each moment."""

from __future__ import annotations

from typing import Any

import pytest

from tests.judge.booked import START_S, books, healthy
from wsoak.judge.attendance import most_due, users_missing
from wsoak.judge.doubt import Doubt
from wsoak.judge.validity import STOPPED_BY_GATE, doubts
from wsoak.ledger.books import Books
from wsoak.ledger.names import USERS, users_gauge
from wsoak.ledger.records import Gauge, UserError

Readings = list[tuple[int, int]]
"""Due and there, second by second."""


def read(made: Books, name: str, readings: Readings, worker: str = "0", /, **ends: int) -> None:
    """Readings of one class, with the users that had ended by the time that some lack."""
    for second, (due, there) in enumerate(readings):
        values = {"due": due, "there": there}
        if due > there:
            done = min(due - there, ends.get("finished", 0))
            values |= {**ends, "done": done, "left": min(due - there - done, ends.get("policy", 0))}
        for what, number in values.items():
            at = START_S + float(second)
            made.add_gauge(Gauge(at, worker, USERS, users_gauge(what, name), float(number)))


def of(readings: Readings, **ends: int) -> Books:
    made = books([healthy()])
    read(made, "ChatUser", readings, "0", **ends)
    return made


def found(made: Books, **header: Any) -> dict[str, Doubt]:
    return {doubt.id: doubt for doubt in users_missing(made, header)}


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (of([(9, 9)] * 10), {}),
        # a ramp: what was asked for so far is there
        (of([(n, n) for n in range(10)]), {}),
        # users that are stopped while the number goes down
        (of([(9, 9), (4, 9), (4, 4), (0, 2), (0, 0)]), {}),
        # a third died in on_start
        (of([(9, 6)] * 10, failed=3), {"users-missing": True}),
        # most of them ended themselves, while others went on
        (of([(9, 9)] * 2 + [(9, 2)] * 13, finished=7), {"users-missing": True}),
        # a user that goes at the very end
        (of([(50, 50)] * 99 + [(50, 49)], finished=1), {"users-missing": False}),
        # all have done their work
        (of([(9, 9), (9, 5), (9, 0), (9, 0)], finished=9), {}),
        # before the first reading
        (of([(9, 0)] * 4, finished=9), {}),
        # of those that worked, some died first
        (of([(9, 6), (9, 0)], finished=6, failed=3), {"users-missing": True}),
        # killed by nobody knows what
        (of([(9, 9)] * 5 + [(9, 1)] * 5), {"users-missing": True}),
        (of([(9, 9)] * 5 + [(9, 1)] * 5, policy=8), {"users-ended-by-policy": False}),
        (Books(), {}),
    ],
)
def test_users_that_were_not_there_are_a_doubt_and_those_that_are_done_are_none(
    made: Books, expected: dict[str, bool]
) -> None:
    assert {id_: doubt.invalid for id_, doubt in found(made).items()} == expected


def test_the_doubt_says_how_many_were_there_and_what_ended_the_others() -> None:
    made = of([(9, 6)] * 10, failed=3)
    made.add_user_error(
        UserError(START_S, "0", "ChatUser", "on_start", "KeyError 'token'", "locustfile.py:9 in on_start", 3)
    )

    reason = found(made)["users-missing"].reason

    assert reason.startswith("Users were missing for 33.3 % of the time for which they were asked")
    assert "6 of 9 ChatUsers were there at the end. 3 users died of an exception" in reason
    assert "3 × KeyError 'token' in on_start of ChatUser (locustfile.py:9 in on_start)" in reason


def test_each_class_is_done_by_itself() -> None:
    # a user that prepares something, and ends, beside those that go on
    made = of([(9, 9)] * 10)
    read(made, "SetUpUser", [(1, 1)] + [(1, 0)] * 9, finished=1)
    assert found(made) == {}

    read(made, "GoneUser", [(10, 10)] * 2 + [(10, 1)] * 8, finished=9)
    assert "1 of 10 GoneUsers was there" in found(made)["users-missing"].reason


def test_workers_add_up_and_one_whose_users_are_gone_is_not_done_while_others_go_on() -> None:
    made = books([healthy()])
    read(made, "ChatUser", [(3, 3)] * 2 + [(3, 0)] * 8, "a", finished=3)
    read(made, "ChatUser", [(3, 3)] * 10, "b")

    assert "3 of 6 ChatUsers were there" in found(made)["users-missing"].reason


def test_a_worker_that_was_lost_takes_no_part_in_the_end() -> None:
    made = books([healthy()])
    read(made, "ChatUser", [(5, 5)] * 2, "lost")
    read(made, "ChatUser", [(5, 5)] * 2 + [(10, 10)] * 7 + [(10, 9)], "b", failed=1)

    assert "9 of 10 ChatUsers were there" in found(made)["users-missing"].reason


def test_a_gate_that_stopped_the_run_has_stopped_it_whoever_was_missing() -> None:
    doubt = found(of([(9, 3)] * 10), ended_by=STOPPED_BY_GATE)["users-missing"]
    assert not doubt.invalid


@pytest.mark.parametrize(
    ("readings", "told"), [([(9, 6)] * 10, "users-missing"), ([(6, 6)] * 10, "users-below-target")]
)
def test_a_ramp_that_never_ended_is_told_from_users_that_were_missing(readings: Readings, told: str) -> None:
    made = of(readings, failed=3)
    for name, number in (("users", 6.0), ("users_target", 9.0)):
        made.add_gauge(Gauge(START_S + 9.0, "0", "generator", name, number))

    raised = {doubt.id for doubt in doubts(made, {"started_at": START_S, "ended_at": START_S + 10})}

    assert raised & {"users-missing", "users-below-target"} == {told}
    assert most_due(made) == readings[0][0]
