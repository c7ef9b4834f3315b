"""Roster: a master that has forked its workers takes those alone; in the order in which messages come."""

from __future__ import annotations

from typing import Any, Final

import pytest
from locust.rpc import Message

from wsoak.load.relay import HELLO, TURN_AWAY
from wsoak.load.roster import FORK_MARK, MUTE_HEARTBEATS, NOT_A_FORK, take_forks_only

OURS: Final = {"mark": FORK_MARK}
THEIRS: Final = {"mark": "of another session"}


def message(kind: str, data: Any, client_id: str) -> Message:
    return Message(kind, data, client_id)  # type: ignore[no-untyped-call]


class Master:
    """Locust's master, as far as it hears messages; ``clients``: the workers that it has taken."""

    def __init__(self, forks: int) -> None:
        self.clients: dict[str, Message] = {}
        self.heard: list[tuple[str, str]] = []
        self.sent: list[tuple[str, str, Any]] = []
        take_forks_only(self, forks)  # type: ignore[arg-type]

    def handle_message(self, client_id: str, msg: Message) -> None:
        self.heard.append((client_id, msg.type))
        if msg.type == "client_ready":
            self.clients[client_id] = msg

    def send_message(self, kind: str, data: Any = None, client_id: str = "") -> None:
        self.sent.append((client_id, kind, data))

    def hear(self, client_id: str, kind: str, data: Any = None) -> None:
        self.handle_message(client_id, message(kind, data, client_id))


def joined(forks: int, *names: str) -> Master:
    """A master that has taken these forks."""
    master = Master(forks)
    for name in names:
        master.hear(name, "client_ready", "2")
        master.hear(name, HELLO, OURS)
    return master


def test_a_fork_is_taken_when_it_has_said_whose_it_is() -> None:
    master = Master(1)
    master.hear("a", "client_ready", "2")
    master.hear("a", "heartbeat")
    # an answer, so that it goes on to say more
    assert master.sent == [("a", "ack", None)]
    assert master.clients.keys() == set()
    master.hear("a", HELLO, OURS)
    master.hear("a", "heartbeat")
    master.hear("a", "client_ready", "2")
    assert master.clients.keys() == {"a"}
    assert master.heard == [("a", "client_ready"), ("a", "heartbeat"), ("a", "client_ready")]


@pytest.mark.parametrize("said", [THEIRS, {}, None, "nonsense", [FORK_MARK]])
@pytest.mark.parametrize("known", [(), ("a",), ("a", "b")])
def test_anybody_else_is_turned_away_with_a_sentence_and_never_heard(
    known: tuple[str, ...], said: object, caplog: pytest.LogCaptureFixture
) -> None:
    master = joined(2, *known)
    heard = list(master.heard)
    for kind, data in (
        ("client_ready", "2"),
        (HELLO, said),
        ("stats", {}),
        ("client_ready", "2"),
        ("quit", None),
    ):
        master.hear("x\x1b", kind, data)
    assert master.sent[-2:] == [("x\x1b", "ack", None), ("x\x1b", TURN_AWAY, {"sentence": NOT_A_FORK})]
    assert master.heard == heard
    assert master.clients.keys() == set(known)
    (told,) = caplog.messages
    assert told == "A worker was turned away, as it is no fork of this process: x\\x1b."


def test_a_worker_without_wsoak_is_told_in_locusts_words_once_all_forks_are_there() -> None:
    master = Master(1)
    master.hear("x", "client_ready", "2")
    for _ in range(2 * MUTE_HEARTBEATS):
        master.hear("x", "heartbeat")
    # it may be a fork that takes its time
    assert master.sent == [("x", "ack", None)]
    master.hear("a", "client_ready", "2")
    master.hear("a", HELLO, OURS)
    master.hear("x", "heartbeat")
    assert master.sent[-1] == ("x", "quit", None)
    master.hear("x", "heartbeat")
    assert [kind for _, kind, _ in master.sent].count("quit") == 1
    assert master.clients.keys() == {"a"}


def test_one_that_came_before_anybody_kept_watch_is_let_go_of() -> None:
    master = joined(2, "a")
    master.clients["x"] = message("client_ready", "2", "x")
    master.hear("x", HELLO, THEIRS)
    assert master.clients.keys() == {"a"}


def test_who_asks_for_the_locustfile_is_given_it_as_that_is_before_anything_else() -> None:
    master = Master(1)
    master.hear("x", "locustfile", {"version": "2"})
    assert master.heard == [("x", "locustfile")]
