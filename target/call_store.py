"""Call store: users and open calls of the call system in SQLite.

A call is here as long as it is open, and no longer. Those that an earlier process left are over: a call is
its two sockets, and they went with that process.
"""

import sqlite3
import uuid
from collections.abc import Iterator
from typing import NamedTuple

from target.httpd import utc_now
from target.passwords import hashed, is_right
from target.store import Store

PASSWORD = "Test@123456"

SCHEMA = """
CREATE TABLE IF NOT EXISTS call_users (
    user_uuid TEXT PRIMARY KEY,
    username TEXT NOT NULL UNIQUE,
    salt BLOB NOT NULL,
    hash BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls (
    call_id INTEGER PRIMARY KEY AUTOINCREMENT,
    call_uuid TEXT NOT NULL UNIQUE,
    caller TEXT NOT NULL REFERENCES call_users,
    callee TEXT NOT NULL REFERENCES call_users,
    run_id TEXT,
    created_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS calls_by_caller ON calls (caller);
CREATE INDEX IF NOT EXISTS calls_by_callee ON calls (callee);
CREATE INDEX IF NOT EXISTS calls_by_run ON calls (run_id);
"""

CALLS = "SELECT call_id, call_uuid, caller, callee FROM calls WHERE {} ORDER BY call_id"
LISTING = """
SELECT json_group_array(json_object(
    'call_id', call_id, 'call_uuid', call_uuid, 'caller', caller, 'callee', callee,
    'run_id', run_id, 'created_at', created_at))
FROM (
    SELECT call_id, call_uuid, a.username AS caller, b.username AS callee, run_id, created_at
    FROM calls JOIN call_users AS a ON a.user_uuid = caller JOIN call_users AS b ON b.user_uuid = callee
    WHERE {} ORDER BY call_id)
"""
OF_RUN = "run_id = ?1"
OF_USER = "caller = ?1 OR callee = ?1"


class User(NamedTuple):
    """Somebody who can ring and be rung."""

    user_uuid: str
    username: str


class Call(NamedTuple):
    """An open call; ``caller`` and ``callee`` are the UUIDs of its parties."""

    call_id: int
    call_uuid: str
    caller: str
    callee: str

    def other(self, user_uuid: str) -> str:
        """The other party."""
        return self.callee if user_uuid == self.caller else self.caller


def seeded_names(pairs: int) -> Iterator[str]:
    """The users' names, a pair after the other: ``alice``, ``bob``, ``alice1``, ``bob1``, ``alice2``, …."""
    for k in range(pairs):
        yield from (f"{name}{k or ''}" for name in ("alice", "bob"))


class CallStore:
    """Users and calls; all methods run on the loop's thread and are short."""

    def __init__(self, store: Store, pairs: int) -> None:
        self._store = store
        store.create(SCHEMA)
        store.writer.execute("DELETE FROM calls")
        self._seed(pairs)

    def _seed(self, pairs: int) -> None:
        """Pairs of users, with one password; those that exist stay."""
        known = {name for (name,) in self._store.writer.execute("SELECT username FROM call_users")}
        with self._store.transaction() as writer:
            writer.executemany(
                "INSERT INTO call_users VALUES (?, ?, ?, ?)",
                (
                    (str(uuid.uuid4()), name, *hashed(PASSWORD))
                    for name in seeded_names(pairs)
                    if name not in known
                ),
            )

    def log_in(self, username: str, password: str) -> User | None:
        """The user with this name and password, or None."""
        row = self._store.writer.execute(
            "SELECT user_uuid, salt, hash FROM call_users WHERE username = ?", (username,)
        ).fetchone()
        # An unknown name costs as much time as a wrong password.
        user_uuid, salt, stored = row or ("", b"", b"")
        return User(user_uuid, username) if is_right(password, salt, stored) else None

    def user(self, user_uuid: str) -> User | None:
        """The user with this UUID, or None."""
        return self._user("user_uuid", user_uuid)

    def user_named(self, username: str) -> User | None:
        """The user with this name, or None."""
        return self._user("username", username)

    def _user(self, column: str, value: str) -> User | None:
        sql = f"SELECT user_uuid, username FROM call_users WHERE {column} = ?"
        row = self._store.writer.execute(sql, (value,)).fetchone()
        return User(*row) if row else None

    def is_busy(self, user: User) -> bool:
        """Whether the user is a party of any call."""
        row = self._store.writer.execute(CALLS.format(OF_USER) + " LIMIT 1", (user.user_uuid,)).fetchone()
        return row is not None

    def ring(self, caller: User, callee: User, run_id: str | None) -> Call:
        """A new call between two users, who must be free."""
        call_uuid = str(uuid.uuid4())
        with self._store.transaction() as writer:
            call_id = writer.execute(
                "INSERT INTO calls (call_uuid, caller, callee, run_id, created_at) VALUES (?, ?, ?, ?, ?)",
                (call_uuid, caller.user_uuid, callee.user_uuid, run_id, utc_now()),
            ).lastrowid
        assert call_id is not None
        return Call(call_id, call_uuid, caller.user_uuid, callee.user_uuid)

    def call(self, call_uuid: str) -> Call | None:
        """The open call with this UUID, or None."""
        row = self._calls("call_uuid = ?1", call_uuid).fetchone()
        return Call(*row) if row else None

    def calls_of_run(self, run_id: str) -> list[Call]:
        """All open calls that were rung with this ``X-Run-Id``, in order."""
        return [Call(*row) for row in self._calls(OF_RUN, run_id)]

    def _calls(self, condition: str, value: str) -> sqlite3.Cursor:
        return self._store.writer.execute(CALLS.format(condition), (value,))

    def end(self, call: Call) -> bool:
        """Forget a call; whether it was there: it is for one caller only."""
        sql = "DELETE FROM calls WHERE call_id = ?"
        return self._store.writer.execute(sql, (call.call_id,)).rowcount > 0

    async def calls_json(self, *, run_id: str | None = None, user_uuid: str = "") -> str:
        """A JSON list of the calls of a run, or else of a user: see ``LISTING`` for the fields."""
        if run_id is not None:
            return await self._store.read_text(LISTING.format(OF_RUN), (run_id,))
        return await self._store.read_text(LISTING.format(OF_USER), (user_uuid,))
