"""Roadmap store: generation tasks and the events that they published, in SQLite."""

import asyncio
import json
import sqlite3
import uuid
from typing import NamedTuple

from target.httpd import utc_now
from target.store import GroupCommit, Store

SCHEMA = """
CREATE TABLE IF NOT EXISTS roadmap_tasks (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id TEXT NOT NULL UNIQUE,
    topic TEXT NOT NULL,
    run_id TEXT,
    created_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS roadmap_tasks_by_run ON roadmap_tasks (run_id);
CREATE TABLE IF NOT EXISTS roadmap_events (
    task INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (task, seq)
) WITHOUT ROWID;
"""

HISTORY = """
SELECT json_group_array(event)
FROM (SELECT event FROM roadmap_events WHERE task = ? AND seq > ? ORDER BY seq)
"""
LAST = """
SELECT coalesce(max(event), '') FROM
(SELECT event FROM roadmap_events WHERE task = ? ORDER BY seq DESC LIMIT 1)
"""
LISTING = """
SELECT json_group_array(json_object(
    'task_id', task_id, 'topic', topic, 'run_id', run_id, 'created_at', created_at))
FROM (SELECT * FROM roadmap_tasks WHERE ?1 IS NULL OR run_id = ?1 ORDER BY key)
"""
TASKS = "SELECT key, task_id, topic FROM roadmap_tasks"
UNFINISHED = f"""
{TASKS} WHERE key NOT IN
(SELECT task FROM roadmap_events WHERE json_extract(event, '$.type') IN ('completed', 'failed'))
"""


class Task(NamedTuple):
    """A task as it is stored; ``key`` is its number within the database."""

    key: int
    task_id: str
    topic: str


class StoredEvent(NamedTuple):
    """One event of a task: ``seq`` counts from 1; ``event`` is the JSON text that goes over the socket."""

    task: int
    seq: int
    event: str


class RoadmapStore:
    """Tasks and events; all methods run on the loop's thread and are short."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.create(SCHEMA)
        self._commits: GroupCommit[StoredEvent, None] = GroupCommit(store, self._write)

    def create(self, topic: str, run_id: str | None) -> Task:
        """A new task."""
        task_id = str(uuid.uuid4())
        with self._store.transaction() as writer:
            key = writer.execute(
                "INSERT INTO roadmap_tasks (task_id, topic, run_id, created_at) VALUES (?, ?, ?, ?)",
                (task_id, topic, run_id, utc_now()),
            ).lastrowid
        assert key is not None
        return Task(key, task_id, topic)

    def task(self, task_id: str) -> Task | None:
        """The task with this id, or None."""
        row = self._store.writer.execute(f"{TASKS} WHERE task_id = ?", (task_id,)).fetchone()
        return Task(*row) if row else None

    def tasks_of_run(self, run_id: str) -> list[Task]:
        """All tasks that were created with this ``X-Run-Id``, in order of creation."""
        return [
            Task(*row)
            for row in self._store.writer.execute(f"{TASKS} WHERE run_id = ? ORDER BY key", (run_id,))
        ]

    def unfinished(self) -> list[tuple[Task, int]]:
        """The tasks without a final event, each with the number of its last one (0: none)."""
        tasks = [Task(*row) for row in self._store.writer.execute(UNFINISHED)]
        last = "SELECT coalesce(max(seq), 0) FROM roadmap_events WHERE task = ?"
        return [(task, self._store.writer.execute(last, (task.key,)).fetchone()[0]) for task in tasks]

    def count(self) -> int:
        """How many tasks there are."""
        (count,) = self._store.writer.execute("SELECT count(*) FROM roadmap_tasks").fetchone()
        return int(count)

    async def keep(self, task: Task, seq: int, event: str) -> None:
        """Store an event; when this returns it is in the history; raises sqlite3.Error."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def stored(result: sqlite3.Error | None) -> None:
            if done.done():
                return
            if result is None:
                done.set_result(None)
            else:
                done.set_exception(result)

        self._commits.add(StoredEvent(task.key, seq, event), stored)
        await done

    def keep_now(self, task: Task, seq: int, event: str) -> None:
        """Store an event at once; raises sqlite3.Error."""
        with self._store.transaction():
            self._write([StoredEvent(task.key, seq, event)])

    def delete(self, task: Task) -> bool:
        """Delete a task and its events; False if somebody else had."""
        self._commits.flush()
        with self._store.transaction() as writer:
            writer.execute("DELETE FROM roadmap_events WHERE task = ?", (task.key,))
            return writer.execute("DELETE FROM roadmap_tasks WHERE key = ?", (task.key,)).rowcount > 0

    async def history(self, task: Task, after: int = 0) -> list[str]:
        """The events with a greater number than ``after``, in order."""
        events: list[str] = json.loads(await self._store.read_text(HISTORY, (task.key, after)))
        return events

    async def last(self, task: Task) -> str:
        """The last event; empty where there is none yet."""
        return await self._store.read_text(LAST, (task.key,))

    async def tasks_json(self, run_id: str | None) -> str:
        """A JSON list of the tasks of a run, or of all: see ``LISTING`` for the fields."""
        return await self._store.read_text(LISTING, (run_id,))

    def _write(self, events: list[StoredEvent]) -> list[None]:
        self._store.writer.executemany("INSERT INTO roadmap_events VALUES (?, ?, ?)", events)
        return [None] * len(events)
