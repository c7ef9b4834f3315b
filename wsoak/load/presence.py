"""Presence: the users of one process that are there, against those that Locust asked it for, by class.

Locust tells nobody when a user ends: it ends itself (``StopUser``), dies of an exception in ``on_start``, or
is told to stop. ``UserGroup`` takes the place of the group in which Locust's runner keeps its users, and
tells these apart; ``Presence`` counts them for one run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import gevent
from gevent.pool import Group
from locust.runners import LocalRunner, Runner, WorkerRunner
from locust.user.task import LOCUST_STATE_STOPPING

from wsoak.ledger.names import DONE, DUE, FAILED, FINISHED, LEFT, POLICY, THERE, users_gauge

Readings = dict[str, float]

GAVE_UP: Final = "wsoak_gave_up"
"""The attribute of a user that ends as it cannot go on, such as after a log-in that was refused."""
ENDED_BY_POLICY: Final = "wsoak_ended_by_policy"
"""The attribute of a user that ends as ``--reconnect none`` says."""

_END_KINDS: Final = ((ENDED_BY_POLICY, POLICY), (GAVE_UP, FAILED))


class UserGroup(Group):  # type: ignore[misc]
    """The greenlets of a runner's users.

    Args:
        began: called with each user that begins.
        ended: called with each user that has ended, its exception or ``None``, and whether Locust had told it
            to stop. Both run on the hub or in Locust's greenlets, and must not block.
    """

    def __init__(
        self, began: Callable[[Any], None], ended: Callable[[Any, BaseException | None, bool], None]
    ) -> None:
        super().__init__()
        self._began = began
        self._ended = ended
        self._told: set[gevent.Greenlet] = set()

    def add(self, greenlet: gevent.Greenlet) -> None:
        """See ``gevent.pool.Group.add``."""
        super().add(greenlet)
        # gevent clears its arguments when it ends
        user = greenlet.args[0] if greenlet.args else None
        self._began(user)
        greenlet.rawlink(lambda ended: self._has_ended(user, ended))

    def killone(self, greenlet: gevent.Greenlet, *arguments: Any, **options: Any) -> None:
        """See ``gevent.pool.Group.killone``."""
        if greenlet is not gevent.getcurrent():
            self._told.add(greenlet)
        super().killone(greenlet, *arguments, **options)

    def _has_ended(self, user: Any, greenlet: gevent.Greenlet) -> None:
        told = greenlet in self._told or getattr(user, "_state", None) == LOCUST_STATE_STOPPING
        self._told.discard(greenlet)
        self._ended(user, greenlet.exception, told)


class Presence:
    """Users by class: asked for, there, and how those ended that nobody had told to."""

    def __init__(self, runner: Runner | None) -> None:
        self._runner = runner
        self._there: Counter[str] = Counter()
        self._ends: dict[str, Counter[str]] = {FINISHED: Counter(), POLICY: Counter(), FAILED: Counter()}

    def began(self, user: Any) -> None:
        """A user begins."""
        self._there[type(user).__name__] += 1

    def ended(self, user: Any, error: BaseException | None, told: bool) -> None:
        """A user has ended; ``told``: Locust wanted it to."""
        name = type(user).__name__
        self._there[name] -= 1
        if not told:
            self._ends[_end_of(user, error)][name] += 1

    def readings(self) -> Readings:
        """What is true now, by gauge: see ``ledger.names.USERS``; empty where it is not known what is due."""
        return dict(self._readings())

    def _readings(self) -> Iterator[tuple[str, float]]:
        for name, due in _due(self._runner).items():
            there = min(due, self._there[name])
            finished, policy, failed = (self._ends[kind][name] for kind in (FINISHED, POLICY, FAILED))
            done = min(due - there, finished)
            left = min(due - there - done, policy)
            yield users_gauge(DUE, name), float(due)
            yield users_gauge(THERE, name), float(there)
            for kind, number in ((DONE, done), (LEFT, left), (FINISHED, finished), (POLICY, policy)):
                if finished + policy:
                    yield users_gauge(kind, name), float(number)
            if failed:
                yield users_gauge(FAILED, name), float(failed)


def _end_of(user: Any, error: BaseException | None) -> str:
    if error is not None:
        return FAILED
    return next((kind for mark, kind in _END_KINDS if getattr(user, mark, False)), FINISHED)


def _due(runner: Runner | None) -> Mapping[str, int]:
    """The users that this process should have now: of a ramp those that were asked for so far."""
    if isinstance(runner, WorkerRunner):
        # the master tells each worker the users of the next second only
        return runner.target_user_classes_count
    if isinstance(runner, LocalRunner) and runner._users_dispatcher is not None:
        by_worker: Mapping[str, Mapping[str, int]] = runner._users_dispatcher._users_on_workers
        return next(iter(by_worker.values()), {})
    return {}
