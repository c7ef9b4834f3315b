"""The store: group commits, transactions, reading beside writing, and what is left on the disk."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from target.store import GroupCommit, Store, StoreError


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "test.sqlite3")
    made.create("CREATE TABLE t (n INTEGER PRIMARY KEY)")
    yield made
    made.close()


def numbers(store: Store) -> list[int]:
    return [n for (n,) in store.writer.execute("SELECT n FROM t ORDER BY n")]


def test_a_turn_of_the_loop_is_one_transaction_and_is_answered_after_it(store: Store) -> None:
    groups: list[list[int]] = []

    def write(items: list[int]) -> list[int]:
        groups.append(items)
        store.writer.executemany("INSERT INTO t VALUES (?)", [(n,) for n in items])
        return [n * 10 for n in items]

    async def scenario() -> list[tuple[int, bool]]:
        commits: GroupCommit[int, int] = GroupCommit(store, write)
        answers: list[tuple[int, bool]] = []

        def done(result: int | sqlite3.Error) -> None:
            assert isinstance(result, int)
            answers.append((result, store.writer.in_transaction))

        for n in (1, 2, 3):
            commits.add(n, done)
        assert answers == []
        await asyncio.sleep(0)
        commits.add(4, done)
        await asyncio.sleep(0)
        return answers

    assert asyncio.run(scenario()) == [(10, False), (20, False), (30, False), (40, False)]
    assert groups == [[1, 2, 3], [4]]
    assert numbers(store) == [1, 2, 3, 4]


def test_a_group_that_cannot_be_written_is_answered_with_the_error_and_leaves_nothing(store: Store) -> None:
    def write(items: list[int]) -> list[int]:
        store.writer.executemany("INSERT INTO t VALUES (?)", [(n,) for n in items])
        return items

    async def scenario() -> list[object]:
        commits: GroupCommit[int, int] = GroupCommit(store, write)
        answers: list[object] = []
        for n in (1, 1, 2):
            commits.add(n, answers.append)
        await asyncio.sleep(0)
        commits.add(5, answers.append)
        await asyncio.sleep(0)
        return answers

    *failed, fine = asyncio.run(scenario())
    assert [type(answer) for answer in failed] == [sqlite3.IntegrityError] * 3
    assert fine == 5
    assert numbers(store) == [5]


def test_a_transaction_that_fails_is_rolled_back(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.transaction() as writer:
        writer.execute("INSERT INTO t VALUES (1)")
        raise ZeroDivisionError
    assert numbers(store) == []


def test_what_is_committed_can_be_read_beside_an_open_transaction(store: Store) -> None:
    async def scenario() -> str:
        with store.transaction() as writer:
            writer.execute("INSERT INTO t VALUES (1)")
        with store.transaction() as writer:
            writer.execute("INSERT INTO t VALUES (2)")
            return await store.read_text("SELECT json_group_array(n) FROM t")

    assert asyncio.run(scenario()) == "[1]"


def test_a_temporary_database_is_removed_at_the_end() -> None:
    store = Store()
    (file,) = (row[2] for row in store.writer.execute("PRAGMA database_list"))
    assert Path(file).exists()
    store.close()
    assert not Path(file).parent.exists()


def test_a_given_database_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "kept.sqlite3"
    for _ in range(2):
        store = Store(path)
        store.create("CREATE TABLE IF NOT EXISTS t (n)")
        store.writer.execute("INSERT INTO t VALUES (1)")
        store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (2,)


@pytest.mark.parametrize("name", ["missing/folder/x.sqlite3", "."])
def test_a_database_that_cannot_be_opened_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match=r"cannot open the database .*") as caught:
        Store(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("this is not a database, but it is long enough to be looked at as one" * 20)
    with pytest.raises(StoreError, match="not a database"):
        Store(path)
