"""Ids and tokens that no path can hold as they are: a scenario asks for them, and for nothing else."""

from __future__ import annotations

import json
from typing import Final
from urllib.parse import unquote

import pytest

from scenarios.call import CallUser
from scenarios.dialogue import DialogueUser
from scenarios.roadmap import RoadmapUser
from scenarios.tasks import TasksUser
from tests.load.checks.servers import routed, status
from tests.wire.harness import Peer
from wsoak.load import WebSocketUser
from wsoak.load.checks.rehearsal import Rehearsal, Where
from wsoak.load.options import Options

ODD: Final = "7/../书 #?\x1b\r\n"
TOKEN: Final = "a+b/c=&d"

ANSWER: Final = {
    **dict.fromkeys(("token", "access_token", "refresh_token", "ws_token"), TOKEN),
    **dict.fromkeys(("session_id", "call_uuid", "task_id", "user_id"), ODD),
    "user": {"uuid": ODD},
    "users": [{"uuid": ODD}],
    "calls": [],
    "tasks": [],
}

ASKED_FOR: Final[dict[type[WebSocketUser], list[str]]] = {
    CallUser: ["/ws/call/ID", "/ws/call/ID?token=TOKEN"],
    DialogueUser: ["/v1/dialogues/ws/ID?token=TOKEN"],
    RoadmapUser: ["/api/v1/ws/ID?include_history=true"],
    TasksUser: ["/api/v1/ws/tasks/ID?token=TOKEN"],
}


@pytest.mark.parametrize("user_class", ASKED_FOR)
def test_what_a_server_calls_a_thing_is_one_part_of_a_path(
    user_class: type[WebSocketUser], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WSOAK_JWT_SECRET", raising=False)
    asked_for: list[str] = []

    def odd(peer: Peer) -> None:
        if b"Upgrade: websocket" in peer.read_head():
            asked_for.append(peer.path)
            status("400 Bad Request")(peer)
        else:
            books = [{"book_id": ODD}]
            body = books if peer.path == "/v1/books" else ANSWER
            status("200 OK", json.dumps(body))(peer)

    with (
        routed({}, odd) as listener,
        Rehearsal(
            user_class, Where(Options.of(None), f"http://127.0.0.1:{listener.port}", "odd")
        ) as rehearsal,
    ):
        rehearsal.do(lambda user: user.rehearse())
        assert rehearsal.mistake == ""
    wanted = [path.replace("ID", ODD).replace("TOKEN", TOKEN) for path in ASKED_FOR[user_class]]
    assert sorted({unquote(path) for path in asked_for}) == sorted(wanted)
    assert all("%2F..%2F" in path and "+" not in path for path in asked_for)
