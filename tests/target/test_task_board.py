"""The task board: courses, feeds and their numbers, without a server."""

import asyncio
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from target import task_board
from target.task_board import DONE, FAILED, KINDS, QUEUED, RUNNING, Kind, TaskBoard, TooManyTasks, course

AT_ONCE = Kind(queue_s=0.0, steps=2, step_s=0.0)
NEVER = Kind(queue_s=3600.0, steps=1, step_s=1.0)


@given(
    st.builds(Kind, st.floats(0, 10), st.integers(1, 200), st.floats(0, 10), st.booleans()),
)
def test_a_course_goes_from_the_queue_through_running_to_one_end(kind: Kind) -> None:
    stages = list(course(kind))
    statuses = [stage.status for stage in stages]
    assert statuses[:2] == [QUEUED, RUNNING]
    assert set(statuses[2:-1]) <= {RUNNING}
    assert statuses[-1] == (FAILED if kind.fails else DONE)
    assert all(before.progress <= after.progress for before, after in pairwise(stages))
    assert stages[-1].progress == 100 if not kind.fails else stages[-1].progress >= 50
    assert [stage.after_s for stage in stages[:2]] == [0.0, kind.queue_s]


def test_the_kinds_on_offer_end_either_way() -> None:
    assert {list(course(kind))[-1].status for kind in KINDS.values()} == {DONE, FAILED}


class Board:
    """A board that counts its tasks, and what its watchers were told."""

    def __init__(self) -> None:
        self.tasks = 0
        self.told: list[dict[str, Any]] = []
        self.board = TaskBoard(self.count)

    def count(self, change: int) -> None:
        self.tasks += change

    def watcher(self, text: str) -> None:
        self.told.append(json.loads(text))


async def turns(until: Callable[[], bool]) -> None:
    while not until():
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def quick_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "at once", AT_ONCE)
    monkeypatch.setitem(KINDS, "never", NEVER)


def test_a_feed_is_numbered_over_all_tasks_of_its_user_and_of_nobody_else() -> None:
    async def go() -> None:
        made = Board()
        board = made.board
        board.watch("ann", made.watcher)
        tasks = [board.create(user, "at once", None) for user in ("ann", "bob", "ann")]
        await turns(lambda: all(task.status == DONE for task in tasks))
        assert [told["seq"] for told in made.told] == list(range(1, 9))
        assert {told["task_id"] for told in made.told} == {tasks[0].task_id, tasks[2].task_id}
        assert made.tasks == 3

    asyncio.run(go())


def test_a_feed_goes_on_by_number_while_nobody_watches_and_is_forgotten_when_idle() -> None:
    async def go() -> None:
        made = Board()
        board = made.board
        task = board.create("ann", "at once", None)
        await turns(lambda: task.status == DONE)
        board.watch("ann", made.watcher)
        late = board.create("ann", "at once", None)
        await turns(lambda: late.status == DONE)
        assert [told["seq"] for told in made.told] == [5, 6, 7, 8]
        for each in (task, late):
            board.delete(each)
        assert board.watchers("ann") == 1
        board.unwatch("ann", made.watcher)
        assert (board.watchers("ann"), board._feeds, board._tasks, made.tasks) == (0, {}, {}, 0)
        board.watch("ann", made.watcher)
        board.create("ann", "at once", None)
        assert made.told[-1]["seq"] == 1

    asyncio.run(go())


def test_nothing_more_is_pushed_of_a_deleted_task() -> None:
    async def go() -> None:
        made = Board()
        board = made.board
        board.watch("ann", made.watcher)
        gone, kept = board.create("ann", "at once", "r"), board.create("ann", "at once", "r")
        board.delete(gone)
        await turns(lambda: kept.status == DONE)
        assert [told["status"] for told in made.told if told["task_id"] == gone.task_id] == [QUEUED]
        assert board.get(gone.task_id) is None
        assert board.of_run("r") == board.of_user("ann") == [kept]

    asyncio.run(go())


def test_a_user_has_only_so_many_tasks_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_board, "MAX_TASKS_OF_USER", 2)

    async def go() -> None:
        board = Board().board
        first = board.create("ann", "never", None)
        board.create("ann", "never", None)
        with pytest.raises(TooManyTasks):
            board.create("ann", "never", None)
        board.create("bob", "never", None)
        board.delete(first)
        board.create("ann", "never", None)

    asyncio.run(go())
