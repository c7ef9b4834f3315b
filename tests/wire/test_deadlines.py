"""Deadlines expire once, after their time, on one timer that is there only while it is needed."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from tests.wire.harness import PATIENCE_S, until
from wsoak.ledger.units import NS_PER_MS
from wsoak.wire.deadlines import TICK_NS, Deadlines
from wsoak.wire.stream import READ
from wsoak.wire.waiting import Duty, Waiter


class Entry:
    """Notes when it expired."""

    def __init__(self, at_ns: int, then: Callable[[], Any] = lambda: None) -> None:
        self.at_ns = at_ns
        self.expired_ns: list[int] = []
        self._then = then

    def expire(self) -> None:
        """See ``Expirable``."""
        self.expired_ns.append(time.perf_counter_ns())
        self._then()


def test_each_deadline_expires_once_and_never_before_its_time() -> None:
    deadlines = Deadlines()
    now_ns = time.perf_counter_ns()
    entries = [Entry(now_ns + offset_ms * NS_PER_MS) for offset_ms in (0, 1, 19, 20, 21, 55, 55, 90, -1000)]
    for entry in entries:
        deadlines.add(entry, entry.at_ns)
    until(lambda: all(entry.expired_ns for entry in entries))
    # a turn more, in which one could expire again
    last = Entry(time.perf_counter_ns() + TICK_NS)
    deadlines.add(last, last.at_ns)
    until(lambda: last.expired_ns)
    for entry in entries:
        assert len(entry.expired_ns) == 1
        assert entry.expired_ns[0] > entry.at_ns


def test_a_deadline_that_was_taken_back_does_not_expire() -> None:
    deadlines = Deadlines()
    now_ns = time.perf_counter_ns()
    taken_back, other = Entry(now_ns + TICK_NS), Entry(now_ns + 2 * TICK_NS)
    bucket = deadlines.add(taken_back, taken_back.at_ns)
    deadlines.add(other, other.at_ns)
    bucket.discard(taken_back)
    until(lambda: other.expired_ns)
    assert taken_back.expired_ns == []


def test_one_that_expires_may_take_another_of_its_tick_back() -> None:
    deadlines = Deadlines()
    at_ns = time.perf_counter_ns() + TICK_NS
    buckets: list[Any] = []
    first = Entry(at_ns, lambda: buckets[0].discard(second))
    second = Entry(at_ns, lambda: buckets[0].discard(first))
    buckets.append(deadlines.add(first, at_ns))
    assert deadlines.add(second, at_ns) is buckets[0]
    until(lambda: first.expired_ns or second.expired_ns)
    assert len(first.expired_ns) + len(second.expired_ns) == 1


def test_one_that_expires_may_set_a_deadline_that_is_past_already() -> None:
    deadlines = Deadlines()
    at_ns = time.perf_counter_ns()
    again = Entry(at_ns)
    first = Entry(at_ns, lambda: deadlines.add(again, at_ns))
    deadlines.add(first, at_ns)
    until(lambda: again.expired_ns)
    assert again.expired_ns[0] > first.expired_ns[0]


def test_one_that_fails_does_not_take_the_others_with_it(capfd: pytest.CaptureFixture[str]) -> None:
    deadlines = Deadlines()
    at_ns = time.perf_counter_ns() + TICK_NS

    def fail() -> None:
        raise RuntimeError("of one entry")

    entries = [Entry(at_ns, fail) for _ in range(3)]
    for entry in entries:
        deadlines.add(entry, at_ns)
    until(lambda: all(entry.expired_ns for entry in entries))
    assert capfd.readouterr().err.count("RuntimeError: of one entry") == 3


def test_what_has_come_by_a_deadline_is_read_before_it_expires() -> None:
    deadlines = Deadlines()
    order: list[str] = []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        watcher: Any = gevent.get_hub().loop.io(ours.fileno(), READ)

        def read() -> None:
            order.append("read")
            watcher.stop()

        watcher.start(read)
        entry = Entry(time.perf_counter_ns(), lambda: order.append("expired"))
        deadlines.add(entry, entry.at_ns)
        gevent.sleep(0)
        # this process stands still, and both are due when it goes on
        theirs.send(b"x")
        while time.perf_counter_ns() < entry.at_ns + 3 * TICK_NS:
            pass
        until(lambda: len(order) == 2)
        watcher.close()
    assert order == ["read", "expired"]


def test_the_timer_runs_only_while_there_are_deadlines() -> None:
    deadlines = Deadlines()
    loop: Any = gevent.get_hub().loop
    before = loop.activecnt
    entry = Entry(time.perf_counter_ns())
    deadlines.add(entry, entry.at_ns)
    assert loop.activecnt == before + 1
    until(lambda: entry.expired_ns and loop.activecnt == before)
    deadlines.add(entry, entry.at_ns)
    assert loop.activecnt == before + 1
    deadlines.stop()
    assert loop.activecnt == before
    deadlines.stop()


def test_after_a_stop_in_the_middle_of_a_turn_nothing_expires_any_more() -> None:
    deadlines = Deadlines()
    at_ns = time.perf_counter_ns()
    entries = [Entry(at_ns, deadlines.stop) for _ in range(5)]
    for entry in entries:
        deadlines.add(entry, at_ns)
    until(lambda: any(entry.expired_ns for entry in entries))
    assert sum(len(entry.expired_ns) for entry in entries) == 1


def test_a_duty_is_done_once_unless_it_is_cancelled() -> None:
    deadlines = Deadlines()
    done: list[str] = []
    now_ns = time.perf_counter_ns()
    cancelled = Duty(deadlines, now_ns, lambda: done.append("cancelled"))
    Duty(deadlines, now_ns + TICK_NS, lambda: done.append("done"))
    cancelled.cancel()
    until(lambda: done)
    assert done == ["done"]
    cancelled.cancel()


def test_a_waiter_is_woken_by_a_greenlet_by_the_hub_or_by_its_deadline() -> None:
    deadlines = Deadlines()
    by_greenlet, by_hub, by_deadline, before = Waiter(), Waiter(), Waiter(), Waiter()
    by_deadline.set_deadline(deadlines, time.perf_counter_ns())
    before.wake("before")
    waiting = [gevent.spawn(waiter.wait) for waiter in (by_greenlet, by_hub, by_deadline, before)]
    gevent.sleep(0)
    by_greenlet.wake("greenlet")
    by_greenlet.wake("second")
    gevent.get_hub().loop.run_callback(by_hub.wake, "hub")
    assert [greenlet.get(timeout=PATIENCE_S) for greenlet in waiting] == ["greenlet", "hub", None, "before"]


def test_a_greenlet_that_was_killed_between_wake_and_run_is_left_alone() -> None:
    waiter = Waiter()
    greenlet = gevent.spawn(waiter.wait)
    gevent.sleep(0)
    greenlet.kill(block=False)
    waiter.wake("too late")
    greenlet.join(timeout=PATIENCE_S)
    assert isinstance(greenlet.value, gevent.GreenletExit)
    gevent.sleep(0)


def test_a_second_greenlet_that_waits_for_the_same_is_told_instead_of_hanging() -> None:
    waiter = Waiter()
    first = gevent.spawn(waiter.wait)
    gevent.sleep(0)
    with pytest.raises(RuntimeError, match="one greenlet"):
        waiter.wait()
    waiter.wake("result")
    assert first.get(timeout=PATIENCE_S) == "result"
    assert waiter.wait() == "result"
