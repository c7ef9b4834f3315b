"""What the scenario's own code raises: counted in the books, said once, and told to Locust."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from locust.exception import StopUser

from tests.load.session import Session, often, rest, script
from tests.wire.harness import Listener, Peer, listening, until
from wsoak.ledger.books import Books, ErrorKind
from wsoak.wire.client import Hello

IMPATIENT = ("--handshake-timeout", "1")
SECRET = "eyJhbGciOi.secret"


def echo(peer: Peer) -> None:
    # a client that is stopped while it opens resets its connection
    with contextlib.suppress(ConnectionError):
        peer.accept().echo()


def url_of(listener: Listener) -> str:
    return f"http://127.0.0.1:{listener.port}"


def counts(books: Books) -> dict[tuple[str, str, str], int]:
    return {(kind.user, kind.where, kind.error): each.count for kind, each in books.user_errors.items()}


def misspelt(message: Any) -> Any:
    return message.jsn["id"]


def of_data(message: Any) -> Any:
    raise ValueError(message.data)


def by_reply_id(user: Any) -> None:
    with user.connect("/x", reply_id=misspelt) as ws:
        for number in range(3):
            ws.submit({"reply_to": number}, reply_to=number, timeout=20)
        ws.expect(lambda message: message.get("reply_to") == 2)
    rest()


def by_usable_when(user: Any) -> None:
    with user.connect("/x", usable_when=misspelt) as ws:
        for number in range(3):
            ws.request({"reply_to": number}, reply_to=number)
    rest()


def by_expect(user: Any) -> None:
    with user.connect("/x") as ws:
        for number in range(3):
            ws.send({"number": number})
        ws.expect(lambda message: message.get("number") == 2 and misspelt(message), timeout=0.1)
        ws.send("last")
        ws.expect(lambda message: message.data == "last")
    rest()


def by_subscribe(user: Any) -> None:
    with user.connect("/x") as ws:
        ws.subscribe(misspelt)
        for number in range(3):
            ws.send({"number": number})
        rest()


def by_hello(user: Any) -> None:
    user.connect("/x", hello=Hello({"log": "in"}, misspelt))
    rest()


@pytest.mark.parametrize(
    ("body", "where", "least"),
    [
        (by_reply_id, "reply_id", 3),
        (by_usable_when, "usable_when", 3),
        (by_expect, "expect", 1),
        (by_subscribe, "subscribe", 3),
        # a first-message log-in that nothing answers, as far as the callback says
        (by_hello, "hello", 1),
    ],
)
def test_a_callback_that_raises_is_counted_and_said_once(
    body: Callable[[Any], None],
    where: str,
    least: int,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    often(monkeypatch)
    key = ("ScriptUser", where, "AttributeError 'jsn'")
    with listening(echo) as listener:
        made = Session(script(body), host=url_of(listener), run_dir=tmp_path / "r", arguments=IMPATIENT)
        try:
            made.start()
            until(lambda: counts(made.books()).get(key, 0) >= least)
            reader = made.stop()
            told = list(made.runner.exceptions.values())
        finally:
            made.quit()

    count = counts(reader.books())[key]
    said = [each.getMessage() for each in caplog.records if each.name == "wsoak.load.user_errors"]
    assert said[0].startswith(f"The scenario's {where} of ScriptUser raised, ")
    assert "AttributeError 'jsn' at tests/load/test_user_errors.py:" in said[0]
    assert "return message.jsn" in said[0]
    # the first traceback alone
    assert sum(each.count("return message.jsn") for each in said) == 1
    # Locust has them as a user's own, all of them
    assert sum(each["count"] for each in told) == count
    assert made.errors
    (kind,) = reader.books().user_errors
    assert kind.place.endswith(" in misspelt")


def test_what_a_server_says_in_an_exception_gets_into_no_log_and_no_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    often(monkeypatch)

    def server(peer: Peer) -> None:
        with contextlib.suppress(ConnectionError):
            peer.accept()
            peer.say(json.dumps({"token": SECRET}))
            peer.wait_for_end()

    def body(user: Any) -> None:
        user.connect("/x").subscribe(of_data)
        rest()

    with listening(server) as listener:
        made = Session(script(body), host=url_of(listener), run_dir=tmp_path / "r")
        try:
            made.start()
            until(lambda: counts(made.books()))
            made.stop()
        finally:
            made.quit()

    assert SECRET not in caplog.text
    for file in (tmp_path / "r").iterdir():
        assert SECRET not in file.read_text()


def raising(_: Any) -> None:
    raise KeyError("token")


def stopping(_: Any) -> None:
    raise StopUser


@pytest.mark.parametrize(
    ("method", "where"), [("on_start", "on_start"), ("on_stop", "on_stop"), ("body", "task")]
)
def test_what_a_users_method_raises_is_in_the_books_once(method: str, where: str, tmp_path: Path) -> None:
    wanted = ErrorKind("ScriptUser", where, "KeyError 'token'", "")
    user_class = script(raising if method == "body" else stopping)
    if method != "body":
        setattr(user_class, method, raising)
    with listening(echo) as listener:
        made = Session(user_class, host=url_of(listener), run_dir=tmp_path / "r")
        try:
            made.start(2)
            until(lambda: sum(counts(made.books()).values()) >= 2)
            reader = made.stop()
        finally:
            made.quit()

    ((kind, summary),) = reader.books().user_errors.items()
    assert kind._replace(place="") == wanted
    assert kind.place.endswith(" in raising")
    assert summary.count == 2
