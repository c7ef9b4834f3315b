"""Who of the users is there, and how the others ended."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from gevent import GreenletExit
from locust import User, task
from locust.exception import StopUser

from tests.load.session import Session, rest, script
from tests.wire.harness import Peer, listening, until
from wsoak.ledger.books import Books
from wsoak.ledger.names import USERS
from wsoak.load.api import Answer


def echo(peer: Peer) -> None:
    # a client that is stopped while it opens resets its connection
    with contextlib.suppress(ConnectionError):
        peer.accept().echo()


def ends(books: Books) -> dict[str, float]:
    """The last readings of users by class."""
    return {name: each.last for (_, source, name), each in books.gauges.items() if source == USERS}


def finishing(_: Any) -> None:
    raise StopUser


def dying(_: Any) -> None:
    raise GreenletExit


def resting(_: Any) -> None:
    rest()


def dropped(user: Any) -> None:
    user.connect("/x", name="x")
    user.connect("/x", name="x")


def raising(_: Any) -> None:
    raise KeyError("token")


def is_read(made: Session, expected: Mapping[str, float | None]) -> bool:
    made.generator.look()
    read = ends(made.books())
    return {name: read.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("body", "arguments", "expected"),
    [
        (resting, (), {"due ScriptUser": 3, "there ScriptUser": 3, "finished ScriptUser": None}),
        (
            finishing,
            (),
            {"due ScriptUser": 3, "there ScriptUser": 0, "done ScriptUser": 3, "finished ScriptUser": 3},
        ),
        (dying, (), {"there ScriptUser": 0, "finished ScriptUser": 3}),
        (raising, (), {"due ScriptUser": 3, "there ScriptUser": 0, "failed ScriptUser": 3}),
        (
            dropped,
            ("--reconnect", "none"),
            {"there ScriptUser": 0, "policy ScriptUser": 3, "left ScriptUser": 3, "failed ScriptUser": None},
        ),
    ],
)
def test_users_that_end_are_told_apart_by_how(
    body: Callable[[Any], None], arguments: tuple[str, ...], expected: dict[str, float | None], tmp_path: Path
) -> None:
    def server(peer: Peer) -> None:
        peer.reset()

    with listening(server if body is dropped else echo) as listener:
        host = f"http://127.0.0.1:{listener.port}"
        made = Session(script(body), host=host, run_dir=tmp_path / "r", arguments=arguments)
        try:
            made.start(3)
            until(lambda: is_read(made, expected))
        finally:
            made.quit()


def test_a_user_that_cannot_log_in_has_failed(tmp_path: Path) -> None:
    def tried(user: Any) -> None:
        # of six, the first logs in: the run goes on
        if not user.number:
            user.logged_in()
            rest()
        user.log_in_failed(Answer(403, None, "HTTP 403"))

    made = Session(script(tried), host="http://127.0.0.1:9", run_dir=tmp_path / "r")
    try:
        made.start(6)
        until(lambda: is_read(made, {"there ScriptUser": 1, "failed ScriptUser": 5}))
    finally:
        made.quit()


def test_users_of_other_kinds_are_counted_too(tmp_path: Path) -> None:
    class PlainUser(User):
        @task
        def stop_itself(self) -> None:
            raise StopUser

    with listening(echo) as listener:
        host = f"http://127.0.0.1:{listener.port}"
        made = Session(PlainUser, script(resting), host=host, run_dir=tmp_path / "r")
        try:
            made.start(4)
            until(
                lambda: is_read(made, {"there ScriptUser": 2, "there PlainUser": 0, "finished PlainUser": 2})
            )
        finally:
            made.quit()


def test_users_that_locust_stops_have_ended_by_its_will(tmp_path: Path) -> None:
    with listening(echo) as listener:
        host = f"http://127.0.0.1:{listener.port}"
        made = Session(script(resting), host=host, run_dir=tmp_path / "r")
        try:
            made.start(3)
            made.runner.start(1, 100)
            until(lambda: is_read(made, {"due ScriptUser": 1, "there ScriptUser": 1}))
            assert "finished ScriptUser" not in ends(made.books())
            # once the run is being stopped nobody is missing
            reader = made.stop()
        finally:
            made.quit()
    assert ends(reader.books()) == {"due ScriptUser": 1, "there ScriptUser": 1}
