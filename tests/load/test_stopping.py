"""Stopping: one stop at a time, and an interrupt that comes up in the main greenlet only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any, Final

import gevent
import pytest
from gevent.event import Event

from tests.e2e.processes import PATIENCE_S, ROOT
from wsoak.load.stopping import interrupt_between_turns, one_stop_at_a_time


class Stoppable:
    """A runner whose stop takes its time."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.state = "running"
        self.may_end = Event()

    def stop(self, who: str = "") -> None:
        """Stop once; as Locust's, do nothing once it is stopped."""
        if self.state == "stopped":
            self.log.append(f"{who} found it stopped")
            return
        self.log.append(f"{who} began")
        self.may_end.wait()
        self.state = "stopped"
        self.log.append(f"{who} ended")


def test_a_second_stop_waits_for_the_first_and_finds_nothing_left() -> None:
    runner: Any = Stoppable()
    one_stop_at_a_time(runner)
    first = gevent.spawn(runner.stop, "first")
    second = gevent.spawn(runner.stop, who="second")
    gevent.idle()
    assert runner.log == ["first began"]
    runner.may_end.set()
    gevent.joinall([first, second], raise_error=True)
    assert runner.log == ["first began", "first ended", "second found it stopped"]


def test_a_stop_from_within_a_stop_does_not_wait_for_itself() -> None:
    runner: Any = Stoppable()
    runner.may_end.set()
    stop_itself = runner.stop

    def stop_and_stop_again(who: str = "") -> None:
        stop_itself(who)
        if who == "outer":
            runner.stop("inner")

    runner.stop = stop_and_stop_again
    one_stop_at_a_time(runner)
    gevent.spawn(runner.stop, "outer").get(timeout=PATIENCE_S)
    assert runner.log == ["outer began", "outer ended", "inner found it stopped"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_reaches_the_main_greenlet_and_nobody_else(number: signal.Signals) -> None:
    told: list[str] = []
    turns: list[int] = []
    former = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    put_back = interrupt_between_turns(lambda: told.append("told"))

    def busy() -> None:
        for turn in range(200):
            if turn == 100:
                # it comes up while this greenlet runs
                os.kill(os.getpid(), number)
            turns.append(sum(range(1000)))
            gevent.sleep(0)

    greenlet = gevent.spawn(busy)
    try:
        with pytest.raises(KeyboardInterrupt):
            greenlet.join()
    finally:
        put_back()
    greenlet.get(timeout=PATIENCE_S)
    assert told == ["told"]
    assert len(turns) == 200
    assert {each: signal.getsignal(each) for each in former} == former


NEVER_YIELDS: Final = """
import os, signal
import gevent
from wsoak.load.stopping import interrupt_between_turns

interrupt_between_turns(lambda: None)

def spin():
    while True:
        os.kill(os.getpid(), signal.SIGINT)

try:
    gevent.spawn(spin).join()
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_second_interrupt_ends_what_never_yields() -> None:
    command = [sys.executable, "-c", NEVER_YIELDS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.stdout == "interrupted\n", done.stderr
