"""Relay: whatever happens to reports on their way, each delta is taken once, or known to be missing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsoak.load import relay
from wsoak.load.relay import EARLY_S, LATE_S, RESEND_AFTER_S, SILENCE_S, UNACKNOWLEDGED_MAX, Outbox, Roll

RUN = "20261120-070000-echo"
UNIX_S = 1_800_000_000.0

Message = dict[str, Any]


class Side:
    """A worker and its part of the way to the master."""

    def __init__(self, name: str = "worker-0", index: int = 0, started_s: float = 0.0) -> None:
        self.name = name
        self.outbox = Outbox(RUN, name, index, started_s)
        self.made: list[str] = []

    def report(self, now_s: float, final: bool = False, ahead_s: float = 0.0) -> Message:
        """The next report; its delta is a text that no other report has."""
        self.made.append(f"{self.name} {len(self.made)}")
        return self.outbox.report(self.made[-1], final, UNIX_S + now_s + ahead_s, now_s)


def deliver(roll: Roll, message: Message, taken: Counter[str], now_s: float) -> int:
    """Give the master a message; the number that it acknowledges."""
    if roll.take(message, now_s, UNIX_S + now_s):
        taken[message["delta"]] += 1
    return roll.acknowledged(message)


def entry(roll: Roll, ended_s: float = 100.0, worker: str = "worker-0") -> dict[str, Any]:
    return next(each for each in roll.to_json(ended_s) if each["worker"] == worker)


# ----------------------------------------------------------------------------------- whatever the way does

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["report", "resend", "deliver", "repeat", "lose", "acknowledge", "lose ack"]),
        st.integers(0, 50),
    ),
    max_size=120,
)


def play(
    steps: list[tuple[str, int]], side: Side, roll: Roll, taken: Counter[str]
) -> tuple[float, list[Any]]:
    """Any loss, repetition and reordering on both ways; the time, and the reports still under way."""
    now_s = 0.0
    way: list[Message] = []
    acks: list[int] = []
    for step, number in steps:
        now_s += 1.0
        if step == "report":
            way.append(side.report(now_s))
        elif step == "resend":
            way += side.outbox.due(now_s)
        elif step in ("deliver", "repeat") and way:
            message = way[number % len(way)] if step == "repeat" else way.pop(number % len(way))
            acks.append(deliver(roll, message, taken, now_s))
        elif step == "lose" and way:
            way.pop(number % len(way))
        elif step == "acknowledge" and acks:
            side.outbox.acknowledge(acks.pop(number % len(acks)))
        elif step == "lose ack" and acks:
            acks.pop(number % len(acks))
    return now_s, way


def settle(side: Side, roll: Roll, taken: Counter[str], now_s: float) -> None:
    """The last report, on a way that loses nothing any more."""
    side.outbox.acknowledge(deliver(roll, side.report(now_s, final=True), taken, now_s))
    for message in side.outbox.due(now_s + RESEND_AFTER_S):
        side.outbox.acknowledge(deliver(roll, message, taken, now_s + RESEND_AFTER_S))


@given(steps=STEPS)
def test_with_resending_every_delta_is_taken_exactly_once(steps: list[tuple[str, int]]) -> None:
    side, roll, taken = Side(), Roll(RUN), Counter[str]()
    now_s, way = play(steps, side, roll, taken)
    settle(side, roll, taken, now_s)
    assert taken == Counter(side.made)
    assert side.outbox.empty
    assert roll.awaited([side.name]) == []
    found = entry(roll)
    assert (found["reports"], found["missing_reports"], found["final"]) == (len(side.made), 0, True)
    for late in way:
        assert deliver(roll, late, taken, now_s + 60) >= late["seq"]
    assert taken == Counter(side.made)


@given(steps=STEPS, most=st.integers(1, 4))
def test_what_the_worker_had_to_give_up_is_known_to_be_missing(
    steps: list[tuple[str, int]], most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relay, "UNACKNOWLEDGED_MAX", most)
        side, roll, taken = Side(), Roll(RUN), Counter[str]()
        now_s, way = play(steps, side, roll, taken)
        settle(side, roll, taken, now_s)
    assert max(taken.values()) == 1
    assert side.outbox.empty
    found = entry(roll)
    assert found["final"]
    assert found["reports"] == taken.total()
    assert found["missing_reports"] == len(side.made) - taken.total() <= side.outbox.lost
    # one that was given up can still be on its way
    for late in way:
        deliver(roll, late, taken, now_s + 60)
    assert max(taken.values()) == 1
    assert entry(roll)["missing_reports"] == len(side.made) - taken.total()


@given(steps=STEPS)
def test_without_the_last_report_the_worker_is_awaited_and_its_time_missing(
    steps: list[tuple[str, int]],
) -> None:
    side, roll, taken = Side(), Roll(RUN), Counter[str]()
    play([("report", 0), ("deliver", 0), *steps], side, roll, taken)
    assert roll.awaited([side.name, "worker-1"]) == [side.name, "worker-1"]
    found = entry(roll, ended_s=1000.0)
    assert not found["final"]
    assert found["missing_s"][-1][1] == 1000.0
    assert found["left_s"] is None


@given(order=st.permutations(range(12)))
def test_reports_of_workers_that_come_in_any_order_are_told_apart(order: list[int]) -> None:
    sides = [Side("worker-0", 0), Side("worker-1", 1)]
    messages = [side.report(float(second), final=second == 6) for second in range(1, 7) for side in sides]
    roll, taken = Roll(RUN), Counter[str]()
    for number in order:
        deliver(roll, messages[number], taken, 10.0)
    assert taken == Counter(sides[0].made + sides[1].made)
    assert [each["worker"] for each in roll.to_json(11.0)] == ["worker-0", "worker-1"]


# ------------------------------------------------------------------------------------------------- outbox


def test_a_report_is_sent_again_when_its_time_is_over_and_not_before() -> None:
    side = Side()
    message = side.report(1.0)
    assert side.outbox.due(1.0 + RESEND_AFTER_S - 0.1) == []
    assert side.outbox.due(1.0 + RESEND_AFTER_S) == [message]
    assert side.outbox.due(1.0 + RESEND_AFTER_S + 0.1) == []


def test_an_outbox_is_bounded_and_says_from_where_on_it_has_reports() -> None:
    side = Side()
    messages = [side.report(float(second)) for second in range(UNACKNOWLEDGED_MAX + 3)]
    assert side.outbox.lost == 3
    assert (messages[-1]["seq"], messages[-1]["first"]) == (UNACKNOWLEDGED_MAX + 2, 3)


# --------------------------------------------------------------------------------------------------- roll


def attend(roll: Roll, seconds: list[float], started_s: float = 0.0, late_s: float = 0.0) -> Side:
    """Reports made at these seconds of the run, the last of them final."""
    side, taken = Side(started_s=started_s), Counter[str]()
    for second in seconds:
        deliver(roll, side.report(second, final=second == seconds[-1]), taken, second + late_s)
    return side


def test_a_worker_that_made_no_report_for_long_was_silent_from_its_last_one_on() -> None:
    roll = Roll(RUN)
    attend(roll, [3.0, 4.0, 4.0 + SILENCE_S + 3.0, 13.0], started_s=2.0)
    assert entry(roll)["missing_s"] == [[4.0, 12.0]]


def test_reports_that_were_only_long_on_their_way_are_no_silence() -> None:
    side, roll, taken = Side(), Roll(RUN), Counter[str]()
    first = side.report(1.0)
    kept = [side.report(float(second), final=second == 12) for second in range(2, 13)]
    deliver(roll, first, taken, 1.0)
    for message in kept:
        deliver(roll, message, taken, 12.1)
    found = entry(roll)
    assert (found["missing_s"], found["missing_reports"], found["clock_ahead_s"]) == ([], 0, 0.0)


def test_a_worker_that_died_is_missing_from_its_last_report_to_the_end() -> None:
    side, roll, taken = Side(), Roll(RUN), Counter[str]()
    for second in (1.0, 2.0, 3.0):
        deliver(roll, side.report(second), taken, second)
    roll.stopping(20.0)
    found = entry(roll, ended_s=20.5)
    assert (found["final"], found["missing_s"], found["left_s"]) == (False, [[3.0, 20.5]], None)


@pytest.mark.parametrize(("started_s", "late"), [(0.1, False), (LATE_S - 0.1, False), (LATE_S + 0.1, True)])
def test_a_worker_is_late_by_its_own_start_and_not_by_its_first_report(started_s: float, late: bool) -> None:
    roll = Roll(RUN)
    attend(roll, [started_s + 4.0, started_s + 5.0], started_s=started_s)
    assert (entry(roll)["late"], entry(roll)["joined_s"]) == (late, pytest.approx(started_s))


@pytest.mark.parametrize(
    ("stopping_s", "left_s"), [(None, None), (10.0, None), (10.0 + EARLY_S, None), (10.1 + EARLY_S, 10.0)]
)
def test_a_worker_that_ends_long_before_it_is_asked_to_has_left(
    stopping_s: float | None, left_s: float | None
) -> None:
    roll = Roll(RUN)
    attend(roll, [1.0, 10.0])
    if stopping_s is not None:
        roll.stopping(stopping_s)
        roll.stopping(stopping_s + 50)
    assert entry(roll, ended_s=10.0 + EARLY_S)["left_s"] == left_s


@pytest.mark.parametrize("ahead_s", [0.0, 3600.0, -7.5])
def test_a_clock_is_judged_by_the_report_that_came_fastest(ahead_s: float) -> None:
    side, roll, taken = Side(), Roll(RUN), Counter[str]()
    for second, way_s in ((1.0, 4.0), (2.0, 0.01), (3.0, 9.0)):
        deliver(roll, side.report(second, ahead_s=ahead_s), taken, second + way_s)
    assert entry(roll)["clock_ahead_s"] == pytest.approx(ahead_s - 0.01)


def test_stragglers_of_another_run_are_not_taken_and_need_not_be_sent_again() -> None:
    old = Side()
    straggler = old.report(1.0)
    roll, taken = Roll("the next run"), Counter[str]()
    assert deliver(roll, straggler, taken, 1.0) == straggler["seq"]
    assert taken == Counter()
    assert roll.to_json(2.0) == []


def test_who_was_heard_lately_is_known() -> None:
    roll = Roll(RUN)
    attend(roll, [1.0, 5.0])
    assert roll.heard_since("worker-0", 4.9)
    assert not roll.heard_since("worker-0", 5.1)
    assert not roll.heard_since("worker-1", 0.0)
