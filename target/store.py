"""Store: SQLite for a process with one event loop.

One connection writes, on the loop, in group commits: what a turn of the loop brought is written in one
transaction at the start of the next turn, and only then acknowledged. That costs one transaction of some
tens of microseconds for a lonely message, and a microsecond or two a message under load, without the lock
hand-overs of a writer thread. A second connection reads long answers on a thread of its own, as JSON made
by SQLite, so that the loop neither waits for them nor builds them.

Durability: WAL without fsync. What was acknowledged survives the death of the process, not that of the
machine.
"""

import asyncio
import contextlib
import logging
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, TypeVar

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class StoreError(Exception):
    """A database that cannot be opened: the text is one sentence."""


def connected(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode, usable from any one thread at a time."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


class Store:
    """An open database; a temporary one, removed by ``close``, where ``path`` is None."""

    def __init__(self, path: Path | None = None) -> None:
        # It removes itself at the latest when the process exits, wherever a signal has cut it short.
        self._folder = (
            None if path else tempfile.TemporaryDirectory(prefix="wsoak-target-", ignore_cleanup_errors=True)
        )
        file = path or Path(self._folder.name if self._folder else "", "target.sqlite3")
        try:
            self.writer = connected(file)
            self._reader = connected(file)
        except sqlite3.Error as exc:
            self._remove_folder()
            raise StoreError(f"cannot open the database {file}: {exc}") from exc
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store-reader")

    def create(self, schema: str) -> None:
        """Make the tables of a schema, where they do not exist."""
        self.writer.executescript(schema)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction; it must not await anything."""
        self.writer.execute("BEGIN IMMEDIATE")
        try:
            yield self.writer
            self.writer.execute("COMMIT")
        except BaseException:
            # Some errors, such as a full disk, have rolled back already.
            if self.writer.in_transaction:
                self.writer.execute("ROLLBACK")
            raise

    async def read_text(self, sql: str, parameters: Sequence[Any] = ()) -> str:
        """The one text value of a query, read off the loop: a query that makes JSON, most of the time."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._read_text, sql, parameters)

    def _read_text(self, sql: str, parameters: Sequence[Any]) -> str:
        return str(self._reader.execute(sql, parameters).fetchone()[0])

    def close(self) -> None:
        """Close both connections, and remove the file if it was a temporary one."""
        self._thread.shutdown(wait=True)
        self._reader.close()
        self.writer.close()
        self._remove_folder()

    def _remove_folder(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()


class GroupCommit(Generic[Item, Result]):
    """Items of one turn of the loop, written in one transaction, each then answered.

    ``write`` gets the items inside the transaction and returns a result for each, in order. Each item's
    ``done`` is called with its result after the commit, or with the ``sqlite3.Error`` that prevented it.
    """

    def __init__(self, store: Store, write: Callable[[list[Item]], list[Result]]) -> None:
        self._store = store
        self._write = write
        self._items: list[Item] = []
        self._dones: list[Callable[[Result | sqlite3.Error], None]] = []

    def add(self, item: Item, done: Callable[[Result | sqlite3.Error], None]) -> None:
        """Take an item for the next commit."""
        if not self._items:
            asyncio.get_running_loop().call_soon(self.flush)
        self._items.append(item)
        self._dones.append(done)

    def flush(self) -> None:
        """Commit now what was taken; nothing to do is no error."""
        items, self._items = self._items, []
        dones, self._dones = self._dones, []
        if not items:
            return
        results: Sequence[Result | sqlite3.Error]
        try:
            with self._store.transaction():
                results = self._write(items)
        except sqlite3.Error as exc:
            logger.exception("a group of %d could not be written", len(items))
            results = [exc] * len(items)
        for done, result in zip(dones, results, strict=True):
            done(result)
