"""``--request-events``: Locust's request event for each event of a socket, and the same tables as in bulk."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import pytest
from locust import task

from tests.load.session import rest, session
from tests.load.test_hooks import echo, url_of
from tests.wire.harness import listening, until
from wsoak.load import WebSocketUser
from wsoak.wire.message import Message


def asked_for(message: Message) -> str | bytes | None:
    """The letter that a request begins with; what was sent as ``c`` asks for nothing."""
    return None if message.data[:1] == "c" else message.data[:1]


class TalkingUser(WebSocketUser):
    """Asks twice, sends once without asking, pings, and closes."""

    said: ClassVar[list[str]] = []

    def context(self) -> dict[str, str]:
        return {"who": "me"}

    @task
    def talk(self) -> None:
        with self.connect("/?token=s3cret", name="talk", reply_id=asked_for) as ws:
            ws.request("a one", reply_to="a")
            ws.request("b two", reply_to="b", name="second")
            ws.send("c three")
            ws.expect(lambda message: message.data == "c three")
            ws.request("d", reply_to="never", timeout=0.05)
            ws.ping()
        self.said.append("all")
        rest()


def run(
    tmp_path: Path, *arguments: str
) -> tuple[list[dict[str, Any]], dict[tuple[str, str], tuple[int, int]]]:
    """The request events of one user's talk, and Locust's tables after it."""
    TalkingUser.said.clear()
    heard: list[dict[str, Any]] = []
    with (
        listening(echo) as listener,
        session(TalkingUser, host=url_of(listener), run_dir=tmp_path / "r", arguments=arguments) as made,
    ):
        made.environment.events.request.add_listener(  # type: ignore[no-untyped-call]
            lambda **event: heard.append(event)
        )
        made.start(1)
        until(lambda: TalkingUser.said)
        made.stop()
        tables = {
            (entry.method, entry.name): (entry.num_requests, entry.num_failures)
            for entry in made.environment.stats.entries.values()
        }
    return heard, tables


def test_each_event_is_fired_and_the_tables_are_those_of_the_bulk_path(tmp_path: Path) -> None:
    heard, fired = run(tmp_path / "events", "--request-events")
    silent, bulk = run(tmp_path / "bulk")
    assert silent == []
    assert fired == bulk
    kinds = Counter((event["request_type"], event["name"]) for event in heard)
    assert kinds == {
        ("WSOPEN", "talk"): 1,
        ("WSREQ", "talk"): 2,
        ("WSREQ", "second"): 1,
        ("WSSEND", "talk"): 1,
        ("WSRECV", "talk"): 2,
        ("WSPING", "talk"): 1,
        ("WSCLOSE", "talk"): 1,
    }


@pytest.mark.parametrize(
    ("method", "timed"),
    [
        ("WSOPEN", True),
        ("WSREQ", True),
        ("WSPING", True),
        ("WSSEND", False),
        ("WSRECV", False),
        # the closing handshake
        ("WSCLOSE", True),
    ],
)
def test_what_has_no_duration_has_none(tmp_path: Path, method: str, timed: bool) -> None:
    heard, _ = run(tmp_path, "--request-events")
    times = [event["response_time"] for event in heard if event["request_type"] == method]
    assert times
    assert all((time is not None) == timed for time in times)


def test_an_event_says_when_and_where_as_those_of_locusts_own_users_do(tmp_path: Path) -> None:
    before = time.time()
    heard, _ = run(tmp_path, "--request-events")
    for event in heard:
        assert before <= event["start_time"] <= time.time()
        assert event["url"].startswith("ws://127.0.0.1:")
        assert event["url"].endswith("/?token=***")


def test_an_event_carries_the_users_context_and_a_stable_error(tmp_path: Path) -> None:
    heard, _ = run(tmp_path, "--request-events")
    assert all(event["context"] == {"who": "me"} for event in heard)
    errors = [repr(event["exception"]) for event in heard if event["exception"] is not None]
    assert errors == ["SocketFailure('no reply in time')"]
