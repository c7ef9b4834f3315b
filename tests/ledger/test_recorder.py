"""The recorder: every event in its second, every delta complete."""

from __future__ import annotations

import pytest

from tests.ledger.clock import EPOCH_S, Clock, S
from tests.ledger.samples import connection
from wsoak.ledger.delta import KINDS, Delta
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.outcomes import OUTCOMES
from wsoak.ledger.raised import Raised
from wsoak.ledger.recorder import OTHER_ERRORS, READINGS, USER_ERRORS_LIMIT, Recorder, Series
from wsoak.ledger.timeline import COUNTERS, NAMES_LIMIT, OTHER_NAMES, ZERO, value


def counted(delta: Delta, counter: str) -> dict[tuple[int, str], float]:
    """Where a delta has this counter, by seconds since the test clock's start and name."""
    found = {(second - EPOCH_S, name): value(row, counter) for (second, name), row in delta.timeline.items()}
    return {key: count for key, count in found.items() if count}


def test_a_series_has_every_counter_and_a_batch_for_every_kind() -> None:
    series = Series("dialogue")
    assert [getattr(series, counter) for counter in COUNTERS] == list(ZERO)
    assert all(len(getattr(series, f"{kind}_ns")) == 0 for kind in KINDS)
    assert series.name == "dialogue"


def test_a_name_keeps_its_series_and_a_series_its_batches() -> None:
    clock = Clock()
    recorder = clock.recorder()
    series = recorder.series("a")
    append = series.response_ns.append
    for _ in range(2):
        append(5_000)
        recorder.take()
        recorder.tick(clock.advance(1))
    append(7_000)
    assert recorder.series("a") is series
    assert recorder.take().latency == {(EPOCH_S + 2, "response", "a"): Histogram.of([7_000])}


def test_events_are_counted_in_the_second_in_which_they_happened() -> None:
    clock = Clock()
    recorder = clock.recorder()
    series = recorder.series("a")
    for pause_s in (0.25, 0.5, 0.24, 0.02, 3.0):
        recorder.tick(clock.advance(pause_s))
        series.sent += 1
        series.response_ns.append(5_000)
    delta = recorder.take()
    assert counted(delta, "sent") == {(0, "a"): 3, (1, "a"): 1, (4, "a"): 1}
    assert {second - EPOCH_S: h.total for (second, _, _), h in delta.latency.items()} == {0: 3, 1: 1, 4: 1}


def test_events_keep_their_second_though_nobody_ticked_for_long_after() -> None:
    clock = Clock()
    recorder = clock.recorder()
    recorder.tick(clock.advance(0.5))
    recorder.series("a").received += 1
    clock.advance(7)
    assert counted(recorder.take(), "received") == {(0, "a"): 1}
    recorder.series("a").received += 1
    assert counted(recorder.take(), "received") == {(7, "a"): 1}


@pytest.mark.parametrize(("offset_ns", "second"), [(-1, 0), (0, 1), (1, 1)])
def test_a_second_begins_with_its_first_nanosecond(offset_ns: int, second: int) -> None:
    clock = Clock()
    recorder = clock.recorder()
    recorder.tick(clock.now_ns + S + offset_ns)
    recorder.series("a").sent += 1
    assert counted(recorder.take(), "sent") == {(second, "a"): 1}


@pytest.mark.parametrize("wall_offset_ns", [0, 1, 999_999_999, 123_456_789])
def test_seconds_are_those_of_the_wall_clock(wall_offset_ns: int) -> None:
    clock = Clock(now_ns=77, wall_ns=EPOCH_S * S + wall_offset_ns)
    recorder = clock.recorder()
    to_next_second_ns = S - wall_offset_ns
    assert recorder.second_end_ns == clock.now_ns + to_next_second_ns
    recorder.tick(clock.now_ns + to_next_second_ns)
    assert recorder.second_end_ns == clock.now_ns + to_next_second_ns + S
    assert recorder.unix_s(clock.now_ns) == round(EPOCH_S + wall_offset_ns / S, 6)


def test_a_step_of_the_wall_clock_does_not_move_the_timeline() -> None:
    now_ns, wall_ns = [0], [EPOCH_S * S]
    recorder = Recorder("local", lambda: now_ns[0], lambda: wall_ns[0])
    wall_ns[0] -= 3600 * S
    now_ns[0] += S
    recorder.tick(now_ns[0])
    recorder.series("a").sent += 1
    assert counted(recorder.take(), "sent") == {(1, "a"): 1}
    assert recorder.unix_s(now_ns[0]) == EPOCH_S + 1


@pytest.mark.parametrize("stalled", range(READINGS))
def test_a_stall_while_the_clocks_are_read_does_not_move_the_timeline(stalled: int) -> None:
    now_ns = [0]
    read: list[int] = []

    def wall_ns() -> int:
        found = EPOCH_S * S + now_ns[0]
        # after one of the readings the process stands still
        now_ns[0] += 2 * S if len(read) == stalled else 0
        read.append(found)
        return found

    recorder = Recorder("local", lambda: now_ns[0], wall_ns)
    assert recorder.unix_s(now_ns[0]) == EPOCH_S + now_ns[0] / S


def test_several_takes_within_a_second_add_up_to_one() -> None:
    clock = Clock()
    recorder = clock.recorder()
    taken = []
    for _ in range(3):
        recorder.tick(clock.advance(0.1))
        recorder.series("a").sent += 2
        taken.append(recorder.take())
    assert [counted(delta, "sent") for delta in taken] == [{(0, "a"): 2}] * 3


def test_takes_are_numbered_and_nothing_is_handed_out_twice() -> None:
    recorder = Clock().recorder("w")
    recorder.series("a").sent += 1
    recorder.connection_ended(connection())
    recorder.gauge("generator", "cpu", 12)
    recorder.observe("history-lost", "dialogue", 1, 10)
    first, second, third = recorder.take(), recorder.take(), recorder.take()
    assert [delta.seq for delta in (first, second, third)] == [0, 1, 2]
    assert [delta.empty for delta in (first, second, third)] == [False, True, True]
    assert first.worker == "w"


def test_names_without_events_leave_no_rows() -> None:
    recorder = Clock().recorder()
    recorder.series("idle")
    assert recorder.take().empty


@pytest.mark.parametrize("outcome", [*OUTCOMES, "rejected-503"])
def test_an_opening_is_counted_once_by_whose_doing_its_end_was(outcome: str) -> None:
    recorder = Clock().recorder()
    recorder.opening_ended(recorder.series("a"), outcome)
    delta = recorder.take()
    expected = {
        "open": "opened",
        "cancelled": "cancelled",
        "ports-exhausted": "generator_failed",
        "descriptors-exhausted": "generator_failed",
        "source-unusable": "generator_failed",
    }.get(outcome, "failed")
    assert {counter for counter in COUNTERS if counted(delta, counter)} == {expected}


def test_only_a_socket_that_opened_counts_as_closed() -> None:
    recorder = Clock().recorder()
    recorder.connection_ended(connection(name="a"))
    recorder.connection_ended(connection(name="a", outcome="refused", age_s=None))
    delta = recorder.take()
    assert counted(delta, "closed") == {(0, "a"): 1}
    assert [record.outcome for record in delta.connections] == ["open", "refused"]


def test_gauges_and_observations_carry_time_and_worker() -> None:
    clock = Clock()
    recorder = clock.recorder("w")
    clock.advance(1.5)
    recorder.gauge("target", "fds", 7)
    recorder.gauge("target", "fds", 8, at_ns=clock.now_ns - S)
    recorder.observe("history-lost", "dialogue", 1, 10, "m-7")
    delta = recorder.take()
    assert [(g.at, g.worker, g.source, g.name, g.value) for g in delta.gauges] == [
        (EPOCH_S + 1.5, "w", "target", "fds", 7.0),
        (EPOCH_S + 0.5, "w", "target", "fds", 8.0),
    ]
    [seen] = delta.observations
    assert (seen.at, seen.id, seen.count, seen.of, seen.text) == (EPOCH_S + 1.5, "history-lost", 1, 10, "m-7")


def test_an_observation_can_be_of_an_earlier_moment_than_when_it_was_made() -> None:
    clock = Clock()
    recorder = clock.recorder()
    answered_ns = clock.now_ns
    clock.advance(20.0)
    recorder.observe("history-lost", "dialogue", 1, 10, at_ns=answered_ns)
    recorder.observe("history-lost", "dialogue", 1, 10)
    assert [seen.at for seen in recorder.take().observations] == [EPOCH_S, EPOCH_S + 20.0]


def test_names_beyond_the_limit_are_counted_together_and_none_is_lost() -> None:
    recorder = Clock().recorder()
    for number in range(2 * NAMES_LIMIT):
        series = recorder.series(f"room {number}")
        series.opened += 1
        series.usable_ns.append(5_000)
    assert recorder.series("room 1").name == "room 1"
    assert recorder.series("one more") is recorder.series(OTHER_NAMES)
    # the process's own name has its place, however many others came before
    assert recorder.series(recorder.worker).name == recorder.worker
    delta = recorder.take()
    opened = counted(delta, "opened")
    assert sum(opened.values()) == sum(each.total for each in delta.latency.values()) == 2 * NAMES_LIMIT
    assert len(opened) <= NAMES_LIMIT + 1


def test_exceptions_of_user_code_are_counted_by_kind_and_kinds_are_bounded() -> None:
    recorder = Recorder("w")
    for number in range(USER_ERRORS_LIMIT + 20):
        for _ in range(2):
            recorder.user_error("ChatUser", "task", Raised(f"Error{number}", "x.py:1 in f", "f"))
    first = recorder.take().user_errors
    recorder.user_error("ChatUser", "task", Raised("Error0", "x.py:1 in f", "f"))
    (again,) = recorder.take().user_errors

    assert len(first) == USER_ERRORS_LIMIT + 1
    assert {each.count for each in first[:-1]} == {2}
    assert (first[-1].error, first[-1].count, first[-1].user) == (OTHER_ERRORS, 40, "")
    assert (again.error, again.count, again.worker) == ("Error0", 1, "w")
    assert recorder.take().empty
