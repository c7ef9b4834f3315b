"""Task board: the tasks in hand, the course that each takes, and the feed of pushes that its user watches.

    queued ──▶ running 0 % ──▶ … ──▶ running ──▶ done 100 %
                                        └──────▶ failed        kinds that fail, half way

Tasks are in memory, as a queue's are: a restart forgets them. They stay, done or not, until somebody deletes
them. Everything runs on the loop's thread; a task in hand costs one timer.
"""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from target.httpd import utc_now
from target.messages import encode

QUEUED, RUNNING, DONE, FAILED = "queued", "running", "done", "failed"
MAX_TASKS_OF_USER = 1000


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of task: seconds in the queue, then so many steps of so many seconds each."""

    queue_s: float
    steps: int
    step_s: float
    fails: bool = False


KINDS = {
    "summary": Kind(queue_s=0.02, steps=4, step_s=0.02),
    "export": Kind(queue_s=0.1, steps=10, step_s=0.1),
    "broken-import": Kind(queue_s=0.02, steps=4, step_s=0.02, fails=True),
}


class Stage(NamedTuple):
    """One stop of a task's course: seconds after the one before, status, per cent done."""

    after_s: float
    status: str
    progress: int


def course(kind: Kind) -> Iterator[Stage]:
    """The stages of a task of this kind, from ``queued`` to ``done`` or ``failed``."""
    yield Stage(0.0, QUEUED, 0)
    yield Stage(kind.queue_s, RUNNING, 0)
    for step in range(1, kind.steps + 1):
        progress = 100 * step // kind.steps
        if kind.fails and 2 * step >= kind.steps:
            yield Stage(kind.step_s, FAILED, progress)
            return
        yield Stage(kind.step_s, DONE if step == kind.steps else RUNNING, progress)


@dataclass(slots=True, eq=False)
class Task:
    """One task in hand; ``run_id`` is the ``X-Run-Id`` that it was created with."""

    task_id: str
    user_id: str
    kind: str
    run_id: str | None
    created_at: str
    ahead: Iterator[Stage]
    status: str = QUEUED
    progress: int = 0
    timer: asyncio.TimerHandle | None = None

    def describe(self) -> dict[str, Any]:
        """The task as a listing has it."""
        return {
            "task_id": self.task_id,
            "kind": self.kind,
            "status": self.status,
            "progress": self.progress,
            "run_id": self.run_id,
            "created_at": self.created_at,
        }


Watcher = Callable[[str], Any]
"""Takes a push, as the text of a message."""


@dataclass(slots=True, eq=False)
class Feed:
    """One user's pushes, numbered from 1, the tasks that they are about, and who watches them.

    It is forgotten, and its number with it, when it has neither tasks nor watchers.
    """

    user_id: str
    seq: int = 0
    tasks: dict[str, Task] = field(default_factory=dict)
    watchers: set[Watcher] = field(default_factory=set)

    def push(self, task: Task) -> None:
        """Tell every watcher where a task is."""
        # also without watchers: who comes later sees by the number that something went before
        self.seq += 1
        if not self.watchers:
            return
        text = encode(
            {
                "type": "task_status",
                "task_id": task.task_id,
                "status": task.status,
                "progress": task.progress,
                "seq": self.seq,
                "sent_at": utc_now(),
            }
        )
        for watcher in tuple(self.watchers):
            watcher(text)


class TooManyTasks(Exception):
    """A user has as many tasks as one may have."""


class TaskBoard:
    """All tasks and feeds; ``count`` is told of each change of their number."""

    def __init__(self, count: Callable[[int], None]) -> None:
        self._count = count
        self._feeds: dict[str, Feed] = {}
        self._tasks: dict[str, Task] = {}

    def create(self, user_id: str, kind: str, run_id: str | None) -> Task:
        """A new task, queued and on its way; raises TooManyTasks."""
        feed = self._feed(user_id)
        if len(feed.tasks) >= MAX_TASKS_OF_USER:
            raise TooManyTasks
        task = Task(str(uuid.uuid4()), user_id, kind, run_id, utc_now(), course(KINDS[kind]))
        self._tasks[task.task_id] = feed.tasks[task.task_id] = task
        self._count(1)
        self._advance(task, next(task.ahead))
        return task

    def get(self, task_id: str) -> Task | None:
        """The task with this id, or None."""
        return self._tasks.get(task_id)

    def of_user(self, user_id: str) -> list[Task]:
        """A user's tasks, in order of creation."""
        feed = self._feeds.get(user_id)
        return list(feed.tasks.values()) if feed else []

    def of_run(self, run_id: str) -> list[Task]:
        """All tasks that were created with this ``X-Run-Id``, whoever did, in order of creation."""
        return [task for task in self._tasks.values() if task.run_id == run_id]

    def delete(self, task: Task) -> None:
        """Take a task off the board, wherever it is on its course; nothing more is pushed of it."""
        if task.timer is not None:
            task.timer.cancel()
        feed = self._feeds[task.user_id]
        del self._tasks[task.task_id], feed.tasks[task.task_id]
        self._count(-1)
        self._forget_idle(feed)

    def watch(self, user_id: str, watcher: Watcher) -> None:
        """Have a user's pushes from now on."""
        self._feed(user_id).watchers.add(watcher)

    def unwatch(self, user_id: str, watcher: Watcher) -> None:
        """Have them no more."""
        feed = self._feeds[user_id]
        feed.watchers.discard(watcher)
        self._forget_idle(feed)

    def watchers(self, user_id: str) -> int:
        """How many watch this user's feed."""
        feed = self._feeds.get(user_id)
        return len(feed.watchers) if feed else 0

    def _feed(self, user_id: str) -> Feed:
        feed = self._feeds.get(user_id)
        if feed is None:
            feed = self._feeds[user_id] = Feed(user_id)
        return feed

    def _forget_idle(self, feed: Feed) -> None:
        if not feed.tasks and not feed.watchers:
            del self._feeds[feed.user_id]

    def _advance(self, task: Task, stage: Stage) -> None:
        """Take a task to a stage, and set out for the next one."""
        task.status, task.progress = stage.status, stage.progress
        self._feeds[task.user_id].push(task)
        following = next(task.ahead, None)
        task.timer = None
        if following is not None:
            loop = asyncio.get_running_loop()
            task.timer = loop.call_later(following.after_s, self._advance, task, following)
