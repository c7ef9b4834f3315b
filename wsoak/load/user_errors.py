"""User errors: what the scenario's own code raised in one process.

    on_start, tasks     Locust logs them ── user_error ──►┐
    on_stop             ── the user's greenlet ends ─────►├──► the recorder: type, place, count
    callbacks           ── on the hub, by the message ───►┘
                             └── once a second: one entry in the log, Locust's exceptions

Callbacks are ``reply_id``, ``usable_when``, ``expect``'s predicate, ``subscribe``'s handler and ``hello``.
"""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass
from typing import Any, Final

from locust.env import Environment
from locust.runners import LocalRunner
from locust.user.task import TaskSet

from wsoak.judge.words import counted
from wsoak.ledger.raised import WORD_LIMIT, Raised, raised, traceback_text
from wsoak.ledger.recorder import USER_ERRORS_LIMIT, Recorder

log = logging.getLogger(__name__)

ON_START: Final = "on_start"
ON_STOP: Final = "on_stop"
TASK: Final = "task"
_METHODS: Final = (ON_START, ON_STOP)

_COUNTED: Final = "_wsoak_counted"
"""Marks an exception that was counted where it was raised."""

SAY_AGAIN: Final = 10
"""An exception that goes on is said again each time that it has come so many times as often."""


@dataclass(slots=True)
class _Told:
    """A callback's exceptions of one kind; those since the last entry have not been told to Locust."""

    described: Raised
    first: BaseException | None
    user: Any
    since: int = 0
    count: int = 0
    said_at: int = 0


class UserErrors:
    """What the scenario's own code raised, for the books, the log and Locust."""

    def __init__(self, recorder: Recorder, environment: Environment) -> None:
        self._recorder = recorder
        self._environment = environment
        self._callbacks: dict[tuple[Any, ...], _Told] = {}
        self._telling = False

    def raised(self, error: BaseException, instance: Any) -> None:
        """A user's ``on_start`` or task raised; Locust logs it, and fires its event for it.

        Args:
            instance: the user, for its ``on_start``; else the task set that it was in.
        """
        if self._telling:
            # what we tell Locust comes back from it
            return
        described = raised(error)
        user, where = instance, ON_START
        if isinstance(instance, TaskSet):
            entry = described.entry.rpartition(".")[2]
            user, where = instance.user, entry if entry in _METHODS else TASK
        self._recorder.user_error(_class_of(user), where, described)
        setattr(error, _COUNTED, True)

    def ended_user(self, error: BaseException, user: Any) -> None:
        """A user's greenlet died of this: of its ``on_stop``, unless the exception is counted already."""
        if not getattr(error, _COUNTED, False):
            self._recorder.user_error(_class_of(user), ON_STOP, raised(error))

    def callback_failed(self, where: str, error: BaseException, user: Any) -> None:
        """A callback raised; see ``wire.client.Client``. It may be on the hub: it is said later."""
        key = (where, type(user), type(error), _origin(error))
        told = self._callbacks.get(key)
        if told is None:
            told = _Told(raised(error), error, user)
            if len(self._callbacks) < USER_ERRORS_LIMIT:
                self._callbacks[key] = told
        elif not told.since:
            told.first, told.user = error, user
        told.since += 1
        told.count += 1
        self._recorder.user_error(_class_of(user), where, told.described)

    def say(self) -> None:
        """Say what callbacks raised since the last time, in one entry of the log, and tell Locust."""
        news = [(key[0], told) for key, told in self._callbacks.items() if told.since]
        if not news:
            return
        said = []
        for where, told in news:
            error, user, since = told.first, told.user, told.since
            told.first, told.user, told.since = None, None, 0
            if error is None:
                continue
            if told.count >= SAY_AGAIN * told.said_at:
                times = counted(told.count, "time")
                owner = f" of {_class_of(user)}" if user is not None else ""
                sentence = f"The scenario's {where}{owner} raised, {times} so far: {told.described.error}"
                place = f" at {told.described.place}" if told.described.place else ""
                said.append(f"{sentence}{place}." + ("" if told.said_at else f"\n{traceback_text(error)}"))
                told.said_at = told.count
            self._tell_locust(error, user, since)
        if said:
            log.error("%s", "\n".join(said))

    def _tell_locust(self, error: BaseException, user: Any, count: int) -> None:
        """Into Locust's exceptions: in a worker one a second and kind, as each costs a message."""
        self._telling = True
        try:
            self._environment.events.user_error.fire(  # type: ignore[no-untyped-call]
                user_instance=user, exception=error, tb=error.__traceback__
            )
        finally:
            self._telling = False
        runner = self._environment.runner
        if isinstance(runner, LocalRunner):
            # as Locust's own listener keys it
            row = runner.exceptions.get(hash("".join(traceback.format_tb(error.__traceback__))))
            if row is not None:
                row["count"] += count - 1


def _class_of(user: Any) -> str:
    return "" if user is None else type(user).__name__


def _origin(error: BaseException) -> tuple[Any, ...]:
    """Where an exception was raised: tells it from others for less than a description costs."""
    word = error.args[0] if len(error.args) == 1 and isinstance(error.args[0], str) else ""
    frames: list[Any] = [word[:WORD_LIMIT]]
    frame = error.__traceback__
    while frame is not None:
        frames += (frame.tb_frame.f_code, frame.tb_lineno)
        frame = frame.tb_next
    return tuple(frames)
