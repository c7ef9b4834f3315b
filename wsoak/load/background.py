"""Background: our own loops beside the users, such as the reporter, the keeper and the gauges.

gevent shows the exception of a greenlet, and goes on without it: a run that is no longer reported, kept or
watched would look like any other. Here such an exception ends the run, as an internal error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from locust.env import Environment
from locust.runners import WorkerRunner

from wsoak.load.relay import GIVE_UP
from wsoak.load.stopping import stop_run

log = logging.getLogger(__name__)

SAID: Final = "Internal error of wsoak in %s: the run is stopped, and cannot be judged."
_FAILED: Final = "wsoak_internal_error"

Guarded = Callable[[str, Callable[..., None]], Callable[..., None]]
"""Gives a loop that ends the run where it raises; the first argument says what it is."""


def unguarded(_: str, loop: Callable[..., None]) -> Callable[..., None]:
    """The loop as it is, for one that is no run's."""
    return loop


def guarded(environment: Environment, part: str, loop: Callable[..., None]) -> Callable[..., None]:
    """The loop, for a greenlet: what it raises ends the run.

    Args:
        part: what it is, in words: "the reporter".
    """

    def run(*args: Any) -> None:
        try:
            loop(*args)
        except Exception:
            log.exception(SAID, part)
            failed(environment, part)

    return run


def failed(environment: Environment, part: str) -> None:
    """An exception of our own was said with its traceback, as ``SAID``: end the run."""
    if failed_part(environment):
        return
    note(environment, part)
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        sentence = f"worker {runner.worker_index}: internal error of wsoak in {part}, as its log says."
        told = {"worker": "", "sentence": sentence, "usage": False, "internal": part}
        runner.send_message(GIVE_UP, told)
    else:
        stop_run(environment)


def note(environment: Environment, part: str) -> None:
    """Something failed here, or in a worker; empty: a new run begins."""
    setattr(environment, _FAILED, part)


def failed_part(environment: Environment) -> str:
    """What of ours failed in this run; empty if nothing."""
    return str(getattr(environment, _FAILED, ""))
