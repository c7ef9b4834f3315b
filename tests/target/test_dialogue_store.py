"""The dialogue store, where the routes do not show what it does."""

import asyncio
from collections.abc import Iterator

import pytest

from target.dialogue_store import DELETED_AT_ONCE, FIRST_PHONE, PASSWORD, DialogueStore, Session
from target.store import Store

PHONE = str(FIRST_PHONE)


@pytest.fixture
def database() -> Iterator[Store]:
    made = Store()
    yield made
    made.close()


def started(dialogues: DialogueStore) -> Session:
    session = dialogues.session(dialogues.start_session(PHONE, "santi", None))
    assert session is not None
    return session


def keep(dialogues: DialogueStore, session: Session, count: int) -> None:
    async def scenario() -> None:
        for n in range(count):
            dialogues.keep(session, n, "", "", lambda _: None)
        await asyncio.sleep(0)

    asyncio.run(scenario())


def messages(database: Store) -> int:
    (count,) = database.writer.execute("SELECT count(*) FROM dialogue_messages").fetchone()
    return int(count)


def test_a_session_is_deleted_in_steps_that_leave_no_message_behind(database: Store) -> None:
    dialogues = DialogueStore(database, 1)
    session, other = started(dialogues), started(dialogues)
    keep(dialogues, session, DELETED_AT_ONCE + 1)
    keep(dialogues, other, 1)
    assert dialogues.delete_some(session) is None
    assert dialogues.session(session.session_id) == session
    assert dialogues.delete_some(session) is True
    assert dialogues.session(session.session_id) is None
    assert messages(database) == 1
    assert dialogues.delete_some(session) is False


def test_the_number_of_a_deleted_session_is_not_given_again(database: Store) -> None:
    dialogues = DialogueStore(database, 1)
    session = started(dialogues)
    assert dialogues.delete_some(session)
    assert started(dialogues).key > session.key


def test_messages_that_wait_for_their_commit_are_deleted_with_their_session(database: Store) -> None:
    dialogues = DialogueStore(database, 1)
    session = started(dialogues)

    async def scenario() -> None:
        dialogues.keep(session, 1, "", "", lambda _: None)
        assert dialogues.delete_some(session) is True
        await asyncio.sleep(0)

    asyncio.run(scenario())
    assert messages(database) == 0


def test_accounts_that_exist_keep_their_salt_when_more_are_seeded(database: Store) -> None:
    salts = "SELECT phone, salt, hash FROM dialogue_accounts ORDER BY phone"
    DialogueStore(database, 2)
    before = database.writer.execute(salts).fetchall()
    dialogues = DialogueStore(database, 3)
    after = database.writer.execute(salts).fetchall()
    assert after[:2] == before
    assert len({salt for _, salt, _ in after}) == len({stored for *_, stored in after}) == 3
    assert dialogues.password_is_right(str(FIRST_PHONE + 2), PASSWORD)
    assert not dialogues.password_is_right(str(FIRST_PHONE + 3), PASSWORD)
