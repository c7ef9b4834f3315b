"""Step watch: one step of a running load, from deltas to whether the objective is kept."""

from __future__ import annotations

from typing import Final

import numpy as np
import pytest

from wsoak.judge.slo import slo
from wsoak.judge.step_watch import NOTHING, StepWatch, reading
from wsoak.judge.steps import settled
from wsoak.ledger.books import Books
from wsoak.ledger.delta import Delta
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.records import Gauge
from wsoak.ledger.timeline import COUNTERS
from wsoak.ledger.units import NS_PER_MS

STARTED_AT: Final = 1_000_000.4
SLO: Final = slo("response p(99) < 100ms")


def second(at_s: int, ms: float, *, sockets: float = 10.0, worker: str = "local", **counters: float) -> Delta:
    """What one second after the start recorded: a hundred responses of so many ms."""
    unix_s = int(STARTED_AT) + at_s
    counts = dict.fromkeys(COUNTERS, 0.0) | {"requests": 100.0, "replies": 100.0} | counters
    histogram = Histogram.of([round(ms * NS_PER_MS)] * 100)
    gauge = Gauge(unix_s + 0.9, worker, "generator", "open_sockets", sockets)
    return Delta(
        worker,
        at_s,
        {(unix_s, "echo"): tuple(counts.values())},
        {(unix_s, "response", "echo"): histogram, (unix_s, "hub", ""): Histogram.of([1])},
        [],
        [gauge],
    )


def books(*milliseconds: float, **counters: float) -> Books:
    found = Books()
    for at_s, ms in enumerate(milliseconds):
        found.add(second(at_s, ms))
    if counters:
        found.add_row(0, "echo", tuple(counters.get(name, 0.0) for name in COUNTERS))
    return found


READINGS: Final = {
    "all well below": ([50.0] * 8, True),
    "all well above": ([300.0] * 8, False),
    "below on the whole, but its parts are on both sides": ([60.0, 99.0, 60.0, 95.0], None),
    "one part only: the figure decides": ([50.0], True),
}


@pytest.mark.parametrize(("milliseconds", "kept"), READINGS.values(), ids=READINGS)
def test_a_figure_near_its_limit_is_undecided_as_far_as_its_parts_differ(
    milliseconds: list[float], kept: bool | None
) -> None:
    found = reading(SLO, books(*milliseconds), [books(ms) for ms in milliseconds], len(milliseconds))
    assert found.kept is kept


def test_nothing_that_the_objective_is_about_is_no_reading() -> None:
    assert reading(slo("check >= 99%"), books(5.0), [], 8) == NOTHING


ALL_FAILED: Final = {
    "response p(99) < 100ms": 60.0,
    "handshake p(99) < 1s": 60.0,
    "response within 1s >= 99%": 0.0,
    "request.success >= 99%": 0.0,
    "handshake.success >= 99%": 0.0,
}


@pytest.mark.parametrize(("text", "value"), ALL_FAILED.items(), ids=ALL_FAILED)
def test_where_nothing_opened_no_objective_is_kept(text: str, value: float) -> None:
    objective = slo(text)
    assert objective.figure(books(failed=7)) == value
    assert objective.figure(Books()) is None
    assert not objective.kept(value)
    assert objective.beyond(value) > 0


def test_a_request_whose_socket_closed_first_took_longer_than_any_limit() -> None:
    lost = books(5.0, reply_lost=5)
    assert SLO.figure(lost) == 60.0
    assert slo("response p(90) < 100ms").figure(lost) == pytest.approx(0.005, rel=0.01)
    assert slo("response within 100ms >= 99%").figure(lost) == pytest.approx(100 / 105)
    assert slo("response{name=other} p(99) < 1s").figure(lost) is None


def watched(slow_s: range, begin_s: float = 10.0, end_s: float = 30.0, hold_s: float = 20.0) -> StepWatch:
    watch = StepWatch(SLO, STARTED_AT, begin_s, hold_s)
    for at_s in range(int(end_s) + 2):
        watch.take(second(at_s, 500.0 if at_s in slow_s else 10.0))
    return watch


WINDOWS: Final = {
    "what was before the step is not its": (range(10), True),
    "nor what belongs to its settling": (range(10, 14), True),
    "all else is": (range(14, 30), False),
}


@pytest.mark.parametrize(("slow_s", "kept"), WINDOWS.values(), ids=WINDOWS)
def test_only_the_settled_seconds_count(slow_s: range, kept: bool) -> None:
    assert watched(slow_s).read(30.0).kept is kept


def test_the_last_seconds_are_read_by_themselves() -> None:
    watch = watched(range(20))
    assert watch.read_last(24.0, 4).kept is True
    assert watch.read_last(21.0, 4).value == pytest.approx(0.5, rel=0.01)


def test_a_step_that_has_hardly_settled_says_nothing_yet() -> None:
    assert watched(range(0)).read(12.5) == NOTHING


def test_a_long_step_is_kept_in_few_parts_and_reads_the_same() -> None:
    short, long = (StepWatch(SLO, STARTED_AT, 0.0, hold_s) for hold_s in (10.0, 640.0))
    for watch in (short, long):
        for at_s in range(640):
            watch.take(second(at_s, 500.0 if at_s > 600 else 10.0))
    assert short.read(640.0).value == long.read(640.0).value == pytest.approx(0.5, rel=0.01)
    assert long.read(600.0).kept is True


def test_it_has_settled_when_all_workers_sockets_are_there() -> None:
    watch = StepWatch(SLO, STARTED_AT, 0.0, 20.0)
    for at_s in range(20):
        # the second worker's sockets come late, and everybody waits for them
        watch.take(second(at_s, 500.0 if at_s < 9 else 10.0, worker="0"))
        watch.take(second(at_s, 10.0, worker="1", sockets=2.0 if at_s < 9 else 30.0))
    assert watch.read(20.0).kept is True


SETTLED: Final = {
    "there from the start: a fifth goes": ([10.0] * 20, (4, 20)),
    "the way up goes": ([1.0] * 8 + [10.0] * 12, (8, 20)),
    "so does the way down": ([90.0] * 8 + [10.0] * 12, (8, 20)),
    "not known: a fifth goes": ([np.nan] * 20, (4, 20)),
}


@pytest.mark.parametrize(("sockets", "window"), SETTLED.values(), ids=SETTLED)
def test_a_step_has_settled_when_its_sockets_are_as_many_as_later_on(
    sockets: list[float], window: tuple[int, int]
) -> None:
    assert settled(0.0, 20.0, np.array(sockets)) == window
