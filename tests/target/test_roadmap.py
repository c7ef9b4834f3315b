"""The roadmap contract, step by step, with either bus; the race of history and bus; then its faults."""

import asyncio
import json
import sqlite3
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from target.bus import LocalBus
from target.faults import Faults
from target.messages import encode
from target.roadmap import FINAL, Plan, RoadmapChannel, Worker, event_text
from target.roadmap_store import Task
from target.sockets import Handshake
from tests.target.client import PATIENCE_S, PATIENT, Target, closing, command, connect, eventually, running
from tests.target.redis_server import free_port, redis_server
from tests.target.test_capacity import stepped

TASKS, SOCKETS = "/api/v1/roadmaps", "/api/v1/ws"
QUICK = {"steps": 2, "step_s": 0, "review": False}
SLOW = {"steps": 200, "step_s": 60}
QUICK_KINDS = ["progress", "concept_progress", "progress", "concept_progress", "batch_progress", "completed"]
Message = dict[str, Any]


@pytest.fixture(scope="module", params=["local", pytest.param("redis", marks=pytest.mark.real)])
def server(request: pytest.FixtureRequest) -> Iterator[Target]:
    """A target with this bus."""
    if request.param == "local":
        with running() as target:
            yield target
    else:
        with redis_server() as redis, running("--redis-url", redis.url) as target:
            yield target


def start(target: Target, **body: Any) -> str:
    """A new task's id."""
    status, answer = target.http("POST", f"{TASKS}/generate", {"topic": "线性代数", **body})
    assert (status, list(answer)) == (202, ["task_id"])
    return str(answer["task_id"])


def watching(target: Target, task_id: str, history: bool = True) -> ClientConnection:
    """An open socket of a task."""
    query = "?include_history=true" if history else ""
    return connect(f"{target.ws}{SOCKETS}/{task_id}{query}")


def watched(socket: ClientConnection) -> tuple[list[Message], int]:
    """All that comes until the server closes, and the code."""
    messages, code, _ = closing(socket)
    return [json.loads(message) for message in messages], code


def run_through(target: Target, task_id: str) -> list[Message]:
    """The messages of a task's whole life, from its history."""
    with watching(target, task_id) as socket:
        messages, code = watched(socket)
    assert code == 1000
    return messages


def next_of(socket: ClientConnection, kind: str) -> Message:
    """The next message of a kind; those before it are passed over."""
    while True:
        message: Message = json.loads(socket.recv(PATIENCE_S))
        if message["type"] == kind:
            return message


def listed(target: Target, run_id: str = "") -> list[Message]:
    """The tasks of a run, or all."""
    status, answer = target.http("GET", f"{TASKS}{f'?run_id={run_id}' if run_id else ''}")
    assert status == 200
    tasks: list[Message] = answer["tasks"]
    return tasks


# A task's life.


def test_a_task_is_pushed_from_its_start_to_its_end(server: Target) -> None:
    task_id = start(server, steps=3, step_s=0.02)
    assert UUID(task_id)
    with watching(server, task_id) as socket:
        assert json.loads(socket.recv()) == {"type": "connected", "task_id": task_id}
        status = json.loads(socket.recv())
        assert status["type"] == "current_status"
        # it may have got as far as the review already
        assert status["status"] == {0: "queued", 6: "waiting_for_review"}.get(status["seq"], "running")
        events = [json.loads(socket.recv())]
        while events[-1]["type"] != "human_review_required":
            events.append(json.loads(socket.recv()))
        socket.send(encode({"type": "review", "approved": True}))
        rest, code = watched(socket)
    events += rest
    assert code == 1000
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events] == [
        *("progress", "concept_progress"),
        *("progress", "concept_progress", "batch_progress", "human_review_required"),
        *("progress", "concept_progress", "batch_progress", "completed"),
    ]
    assert [event["step"] for event in events if event["type"] == "progress"] == [1, 2, 3]
    percents = [event["percent"] for event in events]
    assert percents == sorted(percents)
    assert (percents[0], percents[-1]) == (0, 100)
    moments = [datetime.fromisoformat(event["sent_at"]) for event in events]
    assert moments == sorted(moments)
    assert all(event["sent_at"].endswith("Z") and len(event["sent_at"]) == 27 for event in events)


def test_of_a_finished_task_there_is_the_history_if_asked_for_and_the_final_event(server: Target) -> None:
    task_id = start(server, **QUICK)
    whole = run_through(server, task_id)
    assert [message["type"] for message in run_through(server, task_id)][2:] == QUICK_KINDS
    with watching(server, task_id, history=False) as socket:
        short, code = watched(socket)
    assert code == 1000
    assert [message["type"] for message in short] == ["connected", "current_status", "completed"]
    status = {"type": "current_status", "task_id": task_id, "status": "completed", "percent": 100, "seq": 6}
    assert short[1] == status
    assert short[2] == whole[-1]


def test_without_history_only_what_comes_is_pushed(server: Target) -> None:
    task_id = start(server, steps=2, step_s=0.2)
    with watching(server, task_id) as first:
        next_of(first, "human_review_required")
        with watching(server, task_id, history=False) as second:
            assert next_of(second, "current_status")["status"] == "waiting_for_review"
            second.send(encode({"type": "review", "approved": True}))
            late, _ = watched(second)
        early, code = watched(first)
    assert code == 1000
    assert late == early
    assert late[0]["seq"] == 4
    assert server.http("DELETE", f"{TASKS}/{task_id}") == (204, None)


@pytest.mark.parametrize("approved", [None, False])
def test_a_task_that_is_not_approved_in_time_fails(server: Target, approved: bool | None) -> None:
    task_id = start(server, steps=1, step_s=0, review_s=0.2 if approved is None else 600)
    with watching(server, task_id) as socket:
        assert next_of(socket, "human_review_required")["within_s"] > 0
        if approved is not None:
            socket.send(encode({"type": "review", "approved": approved}))
        (final,), code = watched(socket)
    assert code == 1000
    assert final["type"] == "failed"
    assert final["message"] == ("no review in time" if approved is None else "not approved")
    assert run_through(server, task_id)[-1] == final


def test_a_review_that_nothing_waits_for_yet_is_passed_over(server: Target) -> None:
    task_id = start(server, **SLOW)
    with watching(server, task_id) as socket:
        next_of(socket, "progress")
        socket.send(encode({"type": "review", "approved": False}))
        # what is sent later is answered later
        assert socket.ping().wait(PATIENCE_S)
    with watching(server, task_id) as socket:
        assert next_of(socket, "current_status")["status"] == "running"
    assert server.http("DELETE", f"{TASKS}/{task_id}") == (204, None)


def test_a_second_review_is_passed_over(server: Target) -> None:
    task_id = start(server, steps=4, step_s=0.02)
    with watching(server, task_id) as socket:
        next_of(socket, "human_review_required")
        for approved in (True, False):
            socket.send(encode({"type": "review", "approved": approved}))
        messages, code = watched(socket)
    assert (messages[-1]["type"], code) == ("completed", 1000)


def test_a_review_that_comes_too_early_does_not_count_later() -> None:
    async def scene() -> None:
        kept: list[str] = []

        async def keep(_task: Task, _seq: int, event: str) -> None:
            kept.append(json.loads(event)["type"])

        roadmap: Any = SimpleNamespace(
            store=SimpleNamespace(keep=keep), bus=LocalBus(), faults=Faults(), workers={}
        )
        worker = Worker(roadmap, Task(1, "t", "topic"), Plan(steps=2, step_s=1.0, review_s=10.0))
        await asyncio.sleep(0.7)
        worker.reviewed(False)
        await asyncio.sleep(0.7)
        assert kept[-1] == "human_review_required"
        worker.reviewed(True)
        worker.reviewed(False)
        await asyncio.sleep(3.0)
        assert kept[-1] == "completed"

    stepped(scene())


@pytest.mark.parametrize("query", ["", "?include_history=true"])
def test_an_unknown_task_is_refused_by_its_id(server: Target, query: str) -> None:
    task_id = str(uuid4())
    with connect(f"{server.ws}{SOCKETS}/{task_id}{query}") as socket:
        (message,), code = watched(socket)
    assert code == 1008
    assert message == {"type": "error", "message": f"Task {task_id} not found", "task_id": task_id}


def test_many_sockets_that_come_at_any_moment_all_see_the_same_sequence(server: Target) -> None:
    """History first, in order, without gap or repeat between it and what is live."""

    async def watch(task_id: str, delay_s: float, approves: bool) -> tuple[list[Message], int]:
        await asyncio.sleep(delay_s)
        url = f"{server.ws}{SOCKETS}/{task_id}?include_history=true"
        messages = []
        async with connect_async(url, **PATIENT) as socket:
            try:
                while True:
                    messages.append(json.loads(await socket.recv()))
                    if messages[-1]["type"] == "human_review_required" and approves:
                        await socket.send(encode({"type": "review", "approved": True}))
            except ConnectionClosed as closed:
                assert closed.rcvd is not None
                return messages, closed.rcvd.code

    async def all_of_them(task_id: str) -> list[tuple[list[Message], int]]:
        # however late they come, one of them does so in the middle: without it the task would not go on
        watchers = (watch(task_id, 0.04 * number, approves=number == 12) for number in range(25))
        return await asyncio.gather(*watchers)

    task_id = start(server, steps=150, step_s=0.006, review_s=600)
    known = set()
    for messages, code in asyncio.run(all_of_them(task_id)):
        assert [message["type"] for message in messages[:2]] == ["connected", "current_status"]
        numbers = [message["seq"] for message in messages[2:]]
        assert numbers == list(range(1, 150 * 2 + 75 + 3))
        assert (messages[-1]["type"], code) == ("completed", 1000)
        known.add(messages[1]["seq"])
    # else no socket came in the middle, and nothing was tried
    assert any(0 < seq < 300 for seq in known)
    assert server.http("DELETE", f"{TASKS}/{task_id}") == (204, None)


# Clean-up.


def test_a_run_s_tasks_are_listed_and_deleted_and_no_others(server: Target) -> None:
    open_before = server.metric("wsoak_target_sessions_open", system="roadmap")
    run_id = f"run {uuid4()}"
    body = {"topic": "Mine", **SLOW}
    mine = [server.http("POST", f"{TASKS}/generate", body, X_Run_Id=run_id)[1]["task_id"] for _ in range(3)]
    other = start(server, **SLOW)
    assert server.metric("wsoak_target_sessions_open", system="roadmap") == open_before + 4
    quoted = run_id.replace(" ", "%20")
    tasks = listed(server, quoted)
    assert [task["task_id"] for task in tasks] == mine
    assert {task["topic"] for task in tasks} == {"Mine"}
    assert {task["run_id"] for task in tasks} == {run_id}
    assert {*mine, other} <= {task["task_id"] for task in listed(server)}
    with watching(server, mine[0]) as socket:
        next_of(socket, "progress")
        assert server.http("DELETE", f"{TASKS}?run_id={quoted}") == (200, {"deleted": 3})
        assert watched(socket)[1] == 1000
    assert listed(server, quoted) == []
    assert server.http("DELETE", f"{TASKS}/{other}") == (204, None)
    assert server.http("DELETE", f"{TASKS}/{other}")[0] == 404
    assert server.http("DELETE", TASKS)[0] == 400
    assert server.metric("wsoak_target_sessions_open", system="roadmap") == open_before


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"topic": ""},
        {"topic": 7},
        {"topic": "x" * 201},
        {"topic": "\ud800"},
        *({"topic": "x", "steps": steps} for steps in (0, 201, 2.5, "3", True, None)),
        *({"topic": "x", "step_s": step_s} for step_s in (-1, 61, "1", None, True)),
        *({"topic": "x", "review_s": review_s} for review_s in (0, 601, "1")),
        {"topic": "x", "review": "yes"},
        b"{",
        [],
    ],
)
def test_a_task_that_makes_no_sense_is_refused_in_json(server: Target, body: Any) -> None:
    status, answer = server.http("POST", f"{TASKS}/generate", body)
    assert (status, list(answer)) == (400, ["detail"])


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("not JSON", 1007),
        ("[" * 10_000, 1007),
        ("[]", 1007),
        ("{}", 1008),
        ('{"type": "message"}', 1008),
        ('{"type": "review"}', 1008),
        ('{"type": "review", "approved": 1}', 1008),
        (b"\x00", 1003),
    ],
)
def test_what_is_no_review_ends_the_socket_and_not_the_task(
    server: Target, message: str | bytes, code: int
) -> None:
    task_id = start(server, **SLOW)
    with watching(server, task_id) as socket:
        next_of(socket, "progress")
        socket.send(message)
        messages, got = watched(socket)
    assert (messages[-1]["type"], got) == ("error", code)
    with watching(server, task_id) as socket:
        assert next_of(socket, "progress")["seq"] == 1
    assert server.http("DELETE", f"{TASKS}/{task_id}") == (204, None)


# The race of history and bus, with every order of things.


class FakeStore:
    """Events of one task; reading them takes a while, and ends when the test says so."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.reading = asyncio.Event()
        self.read = asyncio.Event()

    async def last(self, _task: Task) -> str:
        """See ``RoadmapStore``."""
        return self.events[-1] if self.events else ""

    async def history(self, _task: Task, after: int = 0) -> list[str]:
        """See ``RoadmapStore``."""
        found = [event for event in self.events if json.loads(event)["seq"] > after]
        self.reading.set()
        await self.read.wait()
        return found


class FakeSocket:
    """In a socket protocol's place: keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.closed_with: int | None = None
        self.tasks: list[asyncio.Task[None]] = []

    def send_text(self, text: str) -> bool:
        """See ``SocketProtocol``."""
        assert self.closed_with is None
        self.sent.append(json.loads(text))
        return True

    def close(self, code: int, _reason: str) -> None:
        """See ``SocketProtocol``."""
        self.closed_with = code

    def spawn(self, work: Any) -> None:
        """See ``SocketProtocol``."""
        self.tasks.append(asyncio.get_running_loop().create_task(work))


async def race(
    before: int, between: int, meanwhile: int, after: int, again: int, history: bool
) -> FakeSocket:
    """Events that were stored and published at each moment of a socket's opening.

    ``between``: stored, and published only while the history is being read, as a commit and its publication
    are two things; ``again``: published after them, of which the bus lost all but the last.
    """
    task = Task(1, "t", "topic")
    store, bus, socket = FakeStore(), LocalBus(), FakeSocket()
    roadmap = SimpleNamespace(
        store=SimpleNamespace(task=lambda _: task, last=store.last, history=store.history),
        bus=bus,
        faults=Faults(),
        channels={1: set()},
        workers={},
    )
    query = "include_history=true" if history else ""
    channel = RoadmapChannel(roadmap, Handshake("/", query, {}, {"task_id": "t"}))  # type: ignore[arg-type]
    channel.socket = socket  # type: ignore[assignment]
    total = before + between + meanwhile + after + again
    events = [event_text("completed" if seq == total else "progress", seq, 0) for seq in range(1, total + 1)]
    made = iter(events)

    async def publish(event: str) -> None:
        await bus.publish("t", event)

    async def happen(count: int) -> None:
        for _ in range(count):
            event = next(made)
            store.events.append(event)
            await publish(event)

    await happen(before)
    late = [next(made) for _ in range(between)]
    store.events += late
    channel.opened()
    await store.reading.wait()
    for event in late:
        await publish(event)
    await happen(meanwhile)
    store.read.set()
    await asyncio.gather(*socket.tasks)
    await happen(after)
    if again:
        lost = [next(made) for _ in range(again)]
        store.events += lost
        channel.missed()
        await publish(lost[-1])
        await asyncio.gather(*socket.tasks)
    return socket


COUNTS = st.integers(0, 4)


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, st.booleans())
def test_history_and_bus_join_without_gap_or_repeat(
    before: int, between: int, meanwhile: int, after: int, again: int, history: bool
) -> None:
    socket = asyncio.run(race(before, between, meanwhile, after, again, history))
    total = before + between + meanwhile + after + again
    known = before + between
    numbers = [message["seq"] for message in socket.sent[2:]]
    finished = known == total > 0
    first = 1 if history else known + (0 if finished else 1)
    assert [message["type"] for message in socket.sent[:2]] == ["connected", "current_status"]
    assert socket.sent[1]["seq"] == known
    assert numbers == list(range(first, total + 1))
    assert socket.closed_with == (1000 if total else None)


# What the disk remembers, and what goes wrong.


def test_a_task_that_a_restart_cut_off_has_failed(tmp_path: Path) -> None:
    kept = ("--db", str(tmp_path / "db.sqlite3"))
    with running(*kept) as target:
        cut_off, done = start(target, **SLOW), start(target, **QUICK)
        whole = run_through(target, done)
        with watching(target, cut_off) as socket:
            next_of(socket, "progress")
    with running(*kept) as target:
        messages = run_through(target, cut_off)
        assert [message["type"] for message in messages] == [
            "connected",
            "current_status",
            "progress",
            "failed",
        ]
        assert messages[-1]["message"] == "server restarted"
        assert run_through(target, done)[2:] == whole[2:]
        assert target.metric("wsoak_target_sessions_open", system="roadmap") == 2
    with sqlite3.connect(tmp_path / "db.sqlite3") as database:
        (events,) = database.execute("SELECT count(*) FROM roadmap_events").fetchone()
    assert events == 2 + len(QUICK_KINDS)


@pytest.mark.real
def test_a_task_whose_redis_is_lost_fails_and_the_server_lives() -> None:
    with redis_server() as redis, running("--redis-url", redis.url) as target:
        task_id = start(target, steps=200, step_s=0.2, review=False)
        with watching(target, task_id) as socket:
            next_of(socket, "concept_progress")
            redis.kill()
            final = next_of(socket, "failed")
            assert final["message"] == "the event bus was lost"
            assert watched(socket) == ([], 1000)
        # nobody can be promised that nothing is missed
        with watching(target, task_id) as socket:
            (message,), code = watched(socket)
        assert (message["type"], code) == ("error", 1013)
        redis.start()
        eventually(lambda: answers_again(target, task_id))
        numbers = [message["seq"] for message in run_through(target, task_id)[2:]]
        assert numbers == list(range(1, final["seq"] + 1))
        assert run_through(target, start(target, **QUICK))[-1]["type"] == "completed"


def answers_again(target: Target, task_id: str) -> bool:
    """Whether sockets are let in."""
    with watching(target, task_id) as socket:
        return bool(json.loads(socket.recv())["type"] == "connected")


def test_a_redis_that_does_not_answer_is_said_at_the_start() -> None:
    port = free_port()
    url = f"redis://:top-secret@127.0.0.1:{port}/0"
    done = subprocess.run(
        command("--redis-url", url), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"python -m target: the Redis at 127.0.0.1:{port} does not answer (ConnectionError)\n"
    )


# Faults.


def test_at_a_wrong_prefix_nothing_is_where_it_belongs(server: Target) -> None:
    task_id = start(server, **SLOW)
    elsewhere = f"{server.ws}/realtime/roadmap-events/{task_id}"
    with server.fault("roadmap", "wrong-prefix"):
        paths = (
            "/api/v1/ws/",
            "/ws/",
            "/api/v1/api/v1/ws/",
            "/api/v1/ws/api/v1/ws/",
            "/",
            "/api/ws/",
            "/v1/ws/",
        )
        for path in paths:
            with pytest.raises(InvalidStatus, match="404"):
                connect(f"{server.ws}{path}{task_id}")
        with connect(elsewhere) as socket:
            assert json.loads(socket.recv())["type"] == "connected"
    with pytest.raises(InvalidStatus, match="404"):
        connect(elsewhere)
    with watching(server, task_id) as socket:
        assert json.loads(socket.recv())["type"] == "connected"
    assert server.http("DELETE", f"{TASKS}/{task_id}") == (204, None)


@pytest.mark.parametrize(("how", "code"), [("close", 1011), ("drop", 1006)])
def test_a_send_after_a_close_ends_the_socket_that_was_active(server: Target, how: str, code: int) -> None:
    task_id = start(server, steps=5, step_s=0.01, review=False)
    with server.fault("roadmap", "send-after-close", how=how, after=4), watching(server, task_id) as socket:
        messages, got = watched(socket)
    assert got == code
    assert [message["seq"] for message in messages[2:]] == [1, 2, 3, 4]
    # the task goes on, and its end is not an end of the fault's
    assert run_through(server, task_id)[-1]["type"] == "completed"


def test_lost_events_are_gaps_and_never_the_end(server: Target) -> None:
    with server.fault("roadmap", "lost-events", share=0.5):
        task_id = start(server, steps=10, step_s=0.04)
        with watching(server, task_id) as socket:
            seen = [next_of(socket, "human_review_required")["seq"]]
            socket.send(encode({"type": "review", "approved": True}))
            messages, code = watched(socket)
        seen += [message["seq"] for message in messages]
    assert code == 1000
    assert messages[-1]["type"] in FINAL
    assert seen == sorted(set(seen))
    assert 3 < seen[-1] - seen[0] + 1 - len(seen) < 10
    # they are in the history
    whole = run_through(server, task_id)[2:]
    assert [message["seq"] for message in whole] == list(range(1, seen[-1] + 1))
