"""Doors: what counts as open, and what as shut."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.load.checks.servers import Play, routed, status
from tests.wire.harness import Peer, SteadyClock, close_frame
from wsoak.load.checks import doors
from wsoak.load.checks.answers import Prober
from wsoak.load.checks.steps import Tried
from wsoak.load.door import Control, Door
from wsoak.wire.client import FastOpener, Settings
from wsoak.wire.endpoint import Endpoint

ERROR = '{"type": "error", "message": "token \\u001b[2J expired"}'


def says_nothing(peer: Peer) -> None:
    # but for the pong and the close
    peer.accept().echo()


def stands_still(peer: Peer) -> None:
    peer.accept().wait_for_end()


def serves(peer: Peer) -> None:
    peer.accept()
    peer.say('{"type": "progress", "secret": "another user\'s"}')
    peer.answer_close()


def refuses_in_words(peer: Peer) -> None:
    peer.accept()
    peer.say(ERROR)
    peer.send(close_frame(1000))
    peer.hear_close()


def closes(peer: Peer) -> None:
    peer.accept(close_frame(1008, "no")).hear_close()


def drops(peer: Peer) -> None:
    peer.accept()


def answers_the_knock(peer: Peer) -> None:
    peer.accept()
    peer.say('{"type": "hello"}' if '"hello"' in peer.hear_text() else ERROR)
    peer.answer_close()


def refuses_the_knock(peer: Peer) -> None:
    peer.accept().hear_text()
    peer.send(close_frame(4401))
    peer.hear_close()


SERVERS: dict[str, tuple[Any, bool, str]] = {
    # what the server does, whether the door is open, and words of what is seen
    "says-nothing": (says_nothing, True, "101, and open for"),
    "stands-still": (stands_still, False, "not even a pong for"),
    "serves": (serves, True, "a message of type “progress”"),
    "refuses-in-words": (refuses_in_words, False, "the error “token"),
    "closes": (closes, False, "1008 policy violation"),
    "drops": (drops, False, "1006"),
    "rejects-401": (status("401 No"), False, "rejected-401"),
    "rejects-404": (status("404 No"), False, "rejected-404"),
    "redirects": (status("302 Found"), False, "rejected-302"),
    "hello": (answers_the_knock, True, "“hello”"),
    "no-hello": (refuses_the_knock, False, "4401"),
}


@pytest.fixture(scope="module")
def tried() -> dict[str, Tried]:
    """All of them, tried at the same time."""
    with pytest.MonkeyPatch.context() as patch:
        # what the machine takes from both ends does not count
        patch.setattr(time, "perf_counter_ns", SteadyClock())
        patch.setattr(doors, "PATIENCE_S", 1.0)
        patch.setattr(doors, "PONG_S", 2.0)
        routes = {f"/{name}": play for name, (play, _, _) in SERVERS.items()}
        some = [
            Door(
                "forged-token-accepted",
                name,
                f"/{name}?token=s3cret",
                [("Cookie", "t=s3cret")],
                {"type": "hello"} if "hello" in name else None,
            )
            for name in SERVERS
        ]
        with routed(routes, status("500 Oops")) as listener:
            endpoint = Endpoint.of(listener.url)
            with Prober(Settings(), None, FastOpener) as prober:
                found, untried = doors.try_doors("XUser", some, endpoint, prober)
    assert untried == []
    return {each.name: each for each in found}


@pytest.mark.parametrize("name", SERVERS)
def test_a_door_is_open_when_it_stays_open_or_serves(name: str, tried: dict[str, Tried]) -> None:
    _, accepted, words = SERVERS[name]
    assert tried[name].accepted is accepted, tried[name]
    assert words in tried[name].seen
    assert tried[name].tried == "with a token whose signature is wrong"
    assert tried[name].path == f"/{name}?token=***"
    assert "s3cret" not in repr(tried[name])
    assert "another user" not in repr(tried[name])


def test_doors_are_told_in_the_order_in_which_they_were_given(tried: dict[str, Tried]) -> None:
    assert list(tried) == list(SERVERS)


def test_a_door_that_cannot_be_asked_for_is_shut_and_says_so_without_its_header() -> None:
    bad = Door("of-its-own-accepted", "x", "/x", [("Cookie", "s3cret\r\nX: 1")])
    with routed({}, status("500 Oops")) as listener, Prober(Settings(), None, FastOpener) as prober:
        (found,), _ = doors.try_doors("XUser", [bad], Endpoint.of(listener.url), prober)
        assert listener.accepted == 0
    assert (found.accepted, found.tried) == (False, "of its own")
    assert found.seen.startswith("not tried")
    assert "s3cret" not in found.seen


def test_a_door_with_a_control_is_tried_only_where_the_control_is_let_in() -> None:
    asked: list[str] = []

    def noted(play: Play) -> Play:
        def play_it(peer: Peer) -> None:
            asked.append(peer.path)
            play(peer)

        return play_it

    good, bad = (
        Control(Door("control", "x", path, [("Cookie", "s3cret")]), "the key is not the server's")
        for path in ("/serves", "/refuses")
    )
    some = [
        Door("expired-token-accepted", "x", "/a", control=good),
        Door("wrong-token-kind-accepted", "x", "/b", control=good),
        Door("expired-token-accepted", "x", "/c", control=bad),
        Door("wrong-token-kind-accepted", "x", "/d", control=bad),
        Door("unauthenticated-accepted", "x", "/e"),
    ]
    routes = {"/serves": noted(serves), "/refuses": noted(status("401 s3cret"))}
    with (
        routed(routes, noted(status("403 No"))) as listener,
        Prober(Settings(), None, FastOpener) as prober,
    ):
        found, untried = doors.try_doors("XUser", some, Endpoint.of(listener.url), prober)
    assert [(each.path, each.accepted) for each in found] == [("/e", False), ("/a", False), ("/b", False)]
    assert doors.skipped(untried) == [
        "not tried, as the key is not the server's (rejected-401): with an expired token and with a token of "
        "another kind"
    ]
    # each control once, when all is known of the doors that are to be shut whatever it changes
    assert asked[0] == "/e"
    assert sorted(asked[1:3]) == ["/refuses", "/serves"]
    assert sorted(asked[3:]) == ["/a", "/b"]
