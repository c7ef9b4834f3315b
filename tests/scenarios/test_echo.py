"""Echo: which message is whose echo, and what is sent when."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.echo import EchoUser, message_id
from tests.load.session import Session, session
from tests.target.client import Target
from tests.wire.harness import Peer, close_frame, frame, listening, until
from wsoak.judge.findings import find
from wsoak.load.ids import LENGTH, Ids
from wsoak.wire.frames import CLOSE, TEXT
from wsoak.wire.message import Message

OURS = "00c0ffee0000002a"


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (OURS, OURS),
        (f"{OURS}xxxx", OURS),
        (f"{OURS}0", OURS),
        ("", None),
        ("hello", None),
        (f"welcome, user {OURS}", None),
        (OURS[:-1], None),
        (OURS.upper(), None),
        (f" {OURS}", None),
        (f"-{OURS}", None),
        (OURS.encode(), None),
        (b"", None),
    ],
)
def test_an_echo_is_known_by_the_id_that_it_begins_with(data: str | bytes, key: str | None) -> None:
    assert message_id(Message(data, 0)) == key


@given(st.text() | st.binary())
def test_what_a_server_says_else_never_raises(data: str | bytes) -> None:
    key = message_id(Message(data, 0))
    assert key is None or str(data).startswith(key)


@given(st.integers(0, 50))
def test_the_id_of_what_we_send_is_found_again(padding: int) -> None:
    key = Ids().new()
    assert message_id(Message(key + "x" * padding, 0)) == key


class Heard:
    """An echo server that remembers what each connection said."""

    def __init__(self) -> None:
        self.texts: dict[int, list[str]] = {}

    def __call__(self, peer: Peer) -> None:
        texts = self.texts.setdefault(peer.number, [])
        peer.accept()
        while True:
            opcode, payload = peer.hear()
            if opcode == CLOSE:
                peer.send(close_frame(1000))
                return
            assert isinstance(payload, str)
            texts.append(payload)
            peer.send(frame(TEXT, payload))


def echoing(made: Session, heard: Heard, sockets: int, messages: int) -> None:
    """Until each socket has said so much."""
    made.start()
    until(lambda: len(heard.texts) == sockets and min(map(len, heard.texts.values())) >= messages)


@pytest.mark.parametrize("rate", ["0", "50"])
@pytest.mark.parametrize(("size", "sent"), [("0", LENGTH), ("64", 64), ("3000", 3000)])
def test_each_socket_sends_messages_with_ids_of_their_own_and_of_the_wanted_size(
    rate: str, size: str, sent: int, tmp_path: Path
) -> None:
    heard = Heard()
    arguments = ("--message-rate", rate, "--message-size", size, "--sockets-per-user", "2")
    with listening(heard) as listener:
        host = f"ws://127.0.0.1:{listener.port}/any/path"
        with session(EchoUser, host=host, run_dir=tmp_path / "r", arguments=arguments) as made:
            echoing(made, heard, sockets=2, messages=4)
            books = made.stop().books()
    for texts in heard.texts.values():
        assert {len(text) for text in texts} == {sent}
    keys = [text[:LENGTH] for texts in heard.texts.values() for text in texts]
    assert len(set(keys)) == len(keys)
    assert books.count("unmatched") == books.count("late_replies") == 0
    assert {path for group in books.ends.values() for path in group.paths.texts} == {"/any/path"}


def test_what_a_server_sends_to_all_is_no_answer_to_another_users_message(tmp_path: Path) -> None:
    delay_s = 0.2
    peers: list[Peer] = []

    def broadcasting(peer: Peer) -> None:
        peer.accept()
        peers.append(peer)
        while True:
            opcode, payload = peer.hear()
            if opcode == CLOSE:
                peers.remove(peer)
                peer.send(close_frame(1000))
                return
            assert isinstance(payload, str)
            for other in [each for each in peers if each is not peer]:
                other.send(frame(TEXT, payload))
            # the service: nobody has an answer to his own message sooner
            gevent.sleep(delay_s)
            peer.send(frame(TEXT, payload))

    with listening(broadcasting) as listener:
        host, arguments = f"ws://127.0.0.1:{listener.port}", ("--message-rate", "0")
        with session(EchoUser, host=host, run_dir=tmp_path / "r", arguments=arguments) as made:
            made.start(5)
            until(lambda: replies(made) >= 25)
            books = made.stop().books()
    assert (books.histogram("response", "echo").min_ns or 0) >= delay_s * 1e9


def test_the_rate_is_a_schedule_and_a_server_that_stalls_is_charged_for_it(tmp_path: Path) -> None:
    def stalls(peer: Peer) -> None:
        peer.accept()
        waiting = [peer.hear_text() for _ in range(10)]
        for text in waiting:
            peer.say(text)
        peer.echo()

    with listening(stalls) as listener:
        host, arguments = f"ws://127.0.0.1:{listener.port}", ("--message-rate", "100")
        with session(EchoUser, host=host, run_dir=tmp_path / "r", arguments=arguments) as made:
            made.start()
            until(lambda: replies(made) >= 10)
            books = made.stop().books()
    # the first of ten, sent every 10 ms, waited for the tenth
    assert (books.histogram("response", "echo").max_ns or 0) > 80e6


def replies(made: Session) -> int:
    """Answers in the books so far."""
    return int(made.books().count("replies", "echo"))


def test_on_the_embedded_target_its_own_route_is_asked(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Embedded:
        """In the place of a child process."""

        def __init__(self, _: int) -> None:
            self.url, self.pid = target.url, target.pid

        def stop(self) -> None:
            """It is everybody's."""

    monkeypatch.setattr("wsoak.load.hooks.TargetProcess", Embedded)
    with session(EchoUser, host=None, run_dir=tmp_path / "r", arguments=("--message-rate", "0")) as made:
        made.start()
        until(lambda: replies(made) > 10)
        reader = made.stop()
    assert {record.path for record in reader.connections()} == {"/echo"}
    assert reader.header["host"] == target.url


@pytest.mark.parametrize("rate", ["0", "100"])
def test_a_socket_that_the_server_closes_is_opened_again(rate: str, tmp_path: Path) -> None:
    def closes_after_two(peer: Peer) -> None:
        peer.accept()
        # the run may end before
        with contextlib.suppress(EOFError, ConnectionError):
            for _ in range(2):
                _, payload = peer.hear()
                peer.send(frame(TEXT, payload) if isinstance(payload, str) else close_frame(1000))
            peer.send(close_frame(1001))
            peer.hear_close()

    with listening(closes_after_two) as listener:
        host = f"ws://127.0.0.1:{listener.port}"
        arguments = ("--message-rate", rate, "--reconnect", "immediate")
        with session(EchoUser, host=host, run_dir=tmp_path / "r", arguments=arguments) as made:
            made.start()
            until(lambda: listener.accepted >= 3)
            found = list(made.stop().connections())
    assert [(record.code, record.initiator, record.usable) for record in found[:2]] == [
        (1001, "server", True)
    ] * 2
    assert [record.attempt for record in found[:2]] == [0, 1]


def prefixed(peer: Peer) -> None:
    """Answers in words of its own, as tutorials do."""
    peer.accept()
    while True:
        opcode, payload = peer.hear()
        if opcode == CLOSE:
            peer.send(close_frame(1000))
            return
        peer.say(f"Message text was: {payload!s}")


def deaf(peer: Peer) -> None:
    """Takes messages, and answers none."""
    peer.accept()
    while peer.hear()[0] != CLOSE:
        pass
    peer.send(close_frame(1000))


@pytest.mark.parametrize("rate", ["0", "20"])
@pytest.mark.parametrize(
    ("server", "finding", "words"),
    [
        (
            prefixed,
            "replies-unmatched",
            "in the text, which does not begin with it: 18 other characters stand",
        ),
        (deaf, "requests-unanswered", "Not one request was answered in the whole run."),
    ],
)
def test_an_echo_in_other_words_is_told_from_silence(
    server: Any, finding: str, words: str, rate: str, tmp_path: Path
) -> None:
    arguments = ("--message-rate", rate, "--reply-timeout", "0.2")
    with listening(server) as listener:
        host = f"ws://127.0.0.1:{listener.port}/"
        with session(EchoUser, host=host, run_dir=tmp_path / "r", arguments=arguments) as made:
            made.start()
            until(lambda: made.books().count("unanswered") >= 3)
            reader = made.stop()
    (found,) = find(reader.books(), reader.header["started_at"])
    assert (found.id, found.severity, found.system) == (finding, "critical", "echo")
    assert found.share == 1.0
    assert any(words in sentence for sentence in found.evidence)
    assert any("never-usable" in sentence for sentence in found.evidence)
    assert "Message text" not in (reader.path / "observations.csv").read_text()
