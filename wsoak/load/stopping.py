"""Stopping: Locust ends a run from several greenlets, and at any moment; here is what makes that safe."""

from __future__ import annotations

import contextlib
import logging
import signal
import time
import weakref
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
LOCUSTS_LOG: Final = "locust.main"
LOCUSTS_WORDS: Final = "--run-time limit reached"
"""How its line in that log begins."""


def run_time_later(runner: Runner, wait: Callable[[], None]) -> None:
    """Have the end of ``--run-time`` wait first: Locust counts it from before the run's checks on.

    That holds for the line in the log too, with which Locust begins it: it has the time of the end.
    """

    def at_its_end() -> bool:
        return getattr(getattr(gevent.getcurrent(), "_run", None), "__name__", "") == LOCUSTS_END

    def waiting(end: Callable[..., None]) -> Callable[..., None]:
        def end_or_wait(*args: Any, **kwargs: Any) -> None:
            if at_its_end():
                wait()
            end(*args, **kwargs)

        return end_or_wait

    # the logger outlives the runner, and must not keep it
    its_wait, logger = weakref.ref(wait), logging.getLogger(LOCUSTS_LOG)

    def say_late(record: logging.LogRecord) -> bool:
        wait_now = its_wait()
        if wait_now is not None and at_its_end() and record.getMessage().startswith(LOCUSTS_WORDS):
            wait_now()
            record.created = time.time()
            record.msecs = record.created % 1 * 1000
        return True

    # where its level lets nothing through, the end itself waits
    logger.addFilter(say_late)
    weakref.finalize(wait, logger.removeFilter, say_late)
    runner.quit = waiting(runner.quit)  # type: ignore[method-assign]
    runner.stop = waiting(runner.stop)  # type: ignore[method-assign]


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
