"""Stopping: Locust ends a run from several greenlets, and at any moment; here is what makes that safe."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import gevent
import psutil
from gevent.lock import RLock
from locust.env import Environment
from locust.runners import Runner


def one_stop_at_a_time(runner: Runner) -> None:
    """Have a second call of ``runner.stop`` wait for the first, and then find nothing left to stop.

    A run's end, a signal, the last worker's leave and a message can each stop a run, and Locust's ``quit``
    begins with it. Two at once would cut an ``on_stop`` short that takes its time, and end the connection to
    the workers while their last reports are awaited.
    """
    stop, lock = runner.stop, RLock()

    def stop_or_wait(*args: Any, **kwargs: Any) -> None:
        with lock:
            stop(*args, **kwargs)

    runner.stop = stop_or_wait  # type: ignore[method-assign]


def stop_run(environment: Environment) -> None:
    """End the run, and without a web UI the process too; comes back at once."""
    runner = environment.runner
    if runner is not None:
        # on a greenlet of its own: the caller's may be a user's, and is killed on the way
        gevent.spawn(runner.quit if environment.web_ui is None else runner.stop)


LOCUSTS_END: Final = "stop_and_optionally_quit"
"""The function that Locust calls when ``--run-time`` is over."""


def run_time_later(runner: Runner, wait: Callable[[], None]) -> None:
    """Have the end of ``--run-time`` wait first: Locust counts it from before the run's checks on."""
    quit_now = runner.quit

    def quit_or_wait() -> None:
        current = gevent.getcurrent()
        if getattr(getattr(current, "_run", None), "__name__", "") == LOCUSTS_END:
            wait()
        quit_now()

    runner.quit = quit_or_wait  # type: ignore[method-assign]


def interrupt_between_turns(told: Callable[[], None]) -> Callable[[], None]:
    """Have Ctrl-C interrupt the main greenlet alone, and nothing in the middle; SIGTERM too.

    As Python has it, the ``KeyboardInterrupt`` comes up in whatever runs just then: a user, who dies of it, a
    callback that has read half of a message, or a loop of Locust's that swallows it. A second one, before the
    first was seen to, does so still: else a task that never yields could not be interrupted.

    Locust listens for SIGTERM itself, but not while it follows a shape without a web UI: there it would end
    the process on the spot.

    Args:
        told: called first; it must not block.

    Returns:
        a function that puts the former handlers back.
    """
    hub = gevent.get_hub()
    pending = False

    def deliver() -> None:
        nonlocal pending
        pending = False
        told()
        hub.handle_system_error(KeyboardInterrupt, KeyboardInterrupt())

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal pending
        if pending:
            raise KeyboardInterrupt
        pending = True
        hub.loop.run_callback_threadsafe(deliver)

    former = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}

    def put_back() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)

    return put_back


def end_forks(frozen: bool = False) -> None:
    """End our child processes, as Locust lets those that it forked live on when it ends before its start.

    Args:
        frozen: only those that are suspended, and would never see that they are to end.
    """
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if not frozen:
                child.terminate()
            elif child.status() == psutil.STATUS_STOPPED:
                child.kill()
