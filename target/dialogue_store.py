"""Dialogue store: accounts, sessions and messages of the dialogue system in SQLite."""

import sqlite3
import uuid
from collections.abc import Callable
from typing import NamedTuple

from target.httpd import utc_now
from target.passwords import hashed, is_right
from target.store import GroupCommit, Store

FIRST_PHONE = 13900000002
PASSWORD = "Test@123456"
DELETED_AT_ONCE = 2000

SCHEMA = """
CREATE TABLE IF NOT EXISTS dialogue_accounts (
    phone TEXT PRIMARY KEY,
    salt BLOB NOT NULL,
    hash BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dialogue_sessions (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id TEXT NOT NULL UNIQUE,
    phone TEXT NOT NULL,
    book_id TEXT NOT NULL,
    run_id TEXT,
    created_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS dialogue_sessions_by_run ON dialogue_sessions (run_id);
CREATE INDEX IF NOT EXISTS dialogue_sessions_by_phone ON dialogue_sessions (phone);
-- The type of a message's id is the client's: a column without a type keeps 1 and '1' apart.
CREATE TABLE IF NOT EXISTS dialogue_messages (
    session INTEGER NOT NULL,
    id NOT NULL,
    place INTEGER NOT NULL,
    content TEXT NOT NULL,
    answer TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    PRIMARY KEY (session, id)
) WITHOUT ROWID;
"""

HISTORY = """
SELECT json_group_array(json_object(
    'id', id, 'content', content, 'answer', answer, 'timestamp', timestamp))
FROM (SELECT * FROM dialogue_messages WHERE session = ? ORDER BY place)
"""
SESSIONS = "SELECT key, session_id, phone, book_id FROM dialogue_sessions WHERE {} = ? ORDER BY key"
LISTING = """
SELECT json_group_array(json_object(
    'session_id', session_id, 'book_id', book_id, 'run_id', run_id, 'created_at', created_at))
FROM (SELECT * FROM dialogue_sessions WHERE {} = ? ORDER BY key)
"""


class Session(NamedTuple):
    """A session as it is stored; ``key`` is its number within the database."""

    key: int
    session_id: str
    phone: str
    book_id: str


class Exchange(NamedTuple):
    """A message of a client's with its answer; ``place`` orders the exchanges of all sessions."""

    session: int
    id: str | int
    place: int
    content: str
    answer: str
    timestamp: str


class DialogueStore:
    """Accounts, sessions and messages; all methods run on the loop's thread and are short."""

    def __init__(self, store: Store, accounts: int) -> None:
        self._store = store
        store.create(SCHEMA)
        self._seed(accounts)
        (self._place,) = store.writer.execute(
            "SELECT coalesce(max(place), 0) FROM dialogue_messages"
        ).fetchone()
        self._commits: GroupCommit[Exchange, Exchange] = GroupCommit(store, self._write)

    def _seed(self, accounts: int) -> None:
        """Accounts 13900000002 + k for k below ``accounts``, with one password; those that exist stay."""
        known = {phone for (phone,) in self._store.writer.execute("SELECT phone FROM dialogue_accounts")}
        phones = (str(FIRST_PHONE + k) for k in range(accounts))
        with self._store.transaction() as writer:
            writer.executemany(
                "INSERT INTO dialogue_accounts VALUES (?, ?, ?)",
                ((phone, *hashed(PASSWORD)) for phone in phones if phone not in known),
            )

    def password_is_right(self, phone: str, password: str) -> bool:
        """Whether an account exists and has this password."""
        row = self._store.writer.execute(
            "SELECT salt, hash FROM dialogue_accounts WHERE phone = ?", (phone,)
        ).fetchone()
        # An unknown account costs as much time as a wrong password.
        salt, stored = row or (b"", b"")
        return is_right(password, salt, stored)

    def start_session(self, phone: str, book_id: str, run_id: str | None) -> str:
        """A new session's id."""
        session_id = str(uuid.uuid4())
        with self._store.transaction() as writer:
            writer.execute(
                "INSERT INTO dialogue_sessions (session_id, phone, book_id, run_id, created_at)"
                " VALUES (?, ?, ?, ?, ?)",
                (session_id, phone, book_id, run_id, utc_now()),
            )
        return session_id

    def session(self, session_id: str) -> Session | None:
        """The session with this id, or None."""
        row = self._store.writer.execute(SESSIONS.format("session_id"), (session_id,)).fetchone()
        return Session(*row) if row else None

    def sessions_of_run(self, run_id: str) -> list[Session]:
        """All sessions that were created with this ``X-Run-Id``, in order of creation."""
        rows = self._store.writer.execute(SESSIONS.format("run_id"), (run_id,))
        return [Session(*row) for row in rows]

    def count_sessions(self) -> int:
        """How many sessions there are."""
        (count,) = self._store.writer.execute("SELECT count(*) FROM dialogue_sessions").fetchone()
        return int(count)

    def delete_some(self, session: Session) -> bool | None:
        """Delete a session's messages, a bounded number at a time, then the session.

        None while there is more to delete; then whether the session was there: it is for one caller only.
        """
        self._commits.flush()
        with self._store.transaction() as writer:
            deleted = writer.execute(
                "DELETE FROM dialogue_messages WHERE session = ?1 AND id IN"
                " (SELECT id FROM dialogue_messages WHERE session = ?1 LIMIT ?2)",
                (session.key, DELETED_AT_ONCE),
            ).rowcount
            if deleted == DELETED_AT_ONCE:
                return None
            gone = writer.execute("DELETE FROM dialogue_sessions WHERE key = ?", (session.key,)).rowcount
        return gone > 0

    def keep(
        self,
        session: Session,
        message_id: str | int,
        content: str,
        answer: str,
        done: Callable[[Exchange | sqlite3.Error], None],
    ) -> None:
        """Store an exchange; ``done`` is called when it is in the history, with the exchange that is there.

        A message that is sent again with the same id is in the history once: ``done`` gets the first one.
        """
        self._place += 1
        self._commits.add(Exchange(session.key, message_id, self._place, content, answer, utc_now()), done)

    def _write(self, exchanges: list[Exchange]) -> list[Exchange]:
        writer = self._store.writer
        before = writer.total_changes
        writer.executemany("INSERT OR IGNORE INTO dialogue_messages VALUES (?, ?, ?, ?, ?, ?)", exchanges)
        if writer.total_changes - before == len(exchanges):
            return exchanges
        stored = "SELECT * FROM dialogue_messages WHERE session = ? AND id = ?"
        return [
            Exchange(*writer.execute(stored, (exchange.session, exchange.id)).fetchone())
            for exchange in exchanges
        ]

    async def history_json(self, session: Session) -> str:
        """A JSON list of ``{"id", "content", "answer", "timestamp"}``, in order."""
        return await self._store.read_text(HISTORY, (session.key,))

    async def sessions_json(self, *, run_id: str | None = None, phone: str = "") -> str:
        """A JSON list of the sessions of a run, or else of a phone: see ``LISTING`` for the fields."""
        if run_id is not None:
            return await self._store.read_text(LISTING.format("run_id"), (run_id,))
        return await self._store.read_text(LISTING.format("phone"), (phone,))
