"""Tasks: what a feed makes of pushes, and whole runs on the target, healthy and with tokens that end."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.tasks import COURSE, NAME, Feed, Job, TasksUser, feed_path, pong_id
from scenarios.tasks import test_account as account_number
from tests.load.conftest import SECRET
from tests.load.session import Session, rest, session
from tests.target.client import PASSWORD, Target
from tests.wire.harness import until
from wsoak.judge.findings import find
from wsoak.ledger.rundir import RunReader
from wsoak.load.api import Answer
from wsoak.load.sequence import Sequence
from wsoak.load.target_process import SPARE_SECRET, TargetProcess, shared_secret
from wsoak.wire.message import Message

QUICK = ("--message-rate", "0")


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known to both sides, unless a test takes it away."""
    monkeypatch.setenv("WSOAK_JWT_SECRET", SECRET)


# ------------------------------------------------------------------------------------------ pure decisions


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ('{"type": "pong", "id": "p1"}', "p1"),
        ('{"type": "ping", "id": "p1"}', None),
        ('{"type": "task_status", "id": "p1"}', None),
        ('{"type": "pong"}', None),
        ('{"id": "p1"}', None),
        ("[]", None),
        ("not JSON", None),
    ],
)
def test_only_a_pong_answers_a_ping(text: str, answers: str | None) -> None:
    assert pong_id(Message(text, 0)) == answers


def test_accounts_are_those_that_the_target_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WSOAK_PASSWORD", raising=False)
    assert account_number(0) == {"username": "user-0", "password": PASSWORD}
    monkeypatch.setenv("WSOAK_PASSWORD", "other")
    assert account_number(7) == {"username": "user-7", "password": "other"}


def test_a_user_id_stays_one_segment_of_the_path() -> None:
    assert feed_path("user-1") == "/api/v1/ws/tasks/user-1"
    assert feed_path("a/b?c", "x.y.z") == "/api/v1/ws/tasks/a%2Fb%3Fc?token=x.y.z"


@pytest.mark.parametrize(
    ("environment", "embedded", "expected"),
    [
        (SECRET, False, SECRET),
        (SECRET, True, SECRET),
        (None, True, SPARE_SECRET),
        ("", True, SPARE_SECRET),
        (None, False, None),
    ],
)
def test_the_embedded_target_has_a_secret_of_its_own_and_no_other_server_is_shown_it(
    environment: str | None, embedded: bool, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WSOAK_JWT_SECRET")
    if environment is not None:
        monkeypatch.setenv("WSOAK_JWT_SECRET", environment)
    assert shared_secret(embedded) == expected


def test_the_secret_reaches_the_embedded_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WSOAK_JWT_SECRET")
    started: dict[str, Any] = {}

    def popen(command: list[str], **how: Any) -> Any:
        started.update(how, command=command)
        raise KeyError

    monkeypatch.setattr("wsoak.load.target_process.cooperative.Popen", popen)
    with pytest.raises(KeyError):
        TargetProcess(1)
    assert started["env"]["WSOAK_JWT_SECRET"] == SPARE_SECRET
    assert SPARE_SECRET not in " ".join(started["command"])


class Observer:
    """In a user's place: remembers what was measured."""

    def __init__(self) -> None:
        self.delivered_at: list[Any] = []
        self.measured: list[tuple[str, float]] = []

    def delivered(self, name: str, sent_at: Any, received_ns: int) -> None:
        """See ``WebSocketUser.delivered``."""
        assert name == NAME
        self.delivered_at.append((sent_at, received_ns))

    def metric(self, name: str, value: float, kind: str) -> None:
        """See ``WebSocketUser.metric``."""
        assert kind == "trend"
        self.measured.append((name, value))


def fed(pushes: list[Any], jobs: dict[str, Job]) -> tuple[Observer, Sequence]:
    """What a feed with these tasks measured of these pushes, one a second."""
    observer = Observer()
    feed = Feed(cast("TasksUser", observer), 0)
    feed.jobs = jobs
    for second, push in enumerate(pushes):
        feed.pushed(Message(push if isinstance(push, str) else json.dumps(push), second * 10**9))
    return observer, feed.sequence


def status(task_id: Any, status: Any, seq: Any) -> dict[str, Any]:
    """A push."""
    return {"type": "task_status", "task_id": task_id, "status": status, "seq": seq, "sent_at": "then"}


def test_each_task_is_timed_from_when_it_was_asked_for() -> None:
    jobs = {"a": Job(0), "b": Job(10**9)}
    pushes = [status("a", "queued", 1), status("b", "queued", 2), status("x", "queued", 3)]
    pushes += [status("a", "running", 4), status("a", "running", 5), status("a", "done", 6)]
    pushes += [status("b", "failed", 7)]
    observer, sequence = fed(pushes, jobs)
    assert observer.measured == [("task queued", 0.0), ("task queued", 0.0), ("task done", 5.0)]
    assert (jobs["a"].statuses, jobs["b"].statuses) == (COURSE, ["queued", "failed"])
    assert jobs["a"].over.is_set() and jobs["b"].over.is_set()
    assert observer.delivered_at == [("then", second * 10**9) for second in range(7)]
    assert sequence.take().whole


def test_pushes_that_come_before_the_answer_that_names_their_task_count_for_it() -> None:
    class Server(Observer):
        """Pushes first, and answers then."""

        bearer = ""

        def api(self, *_: Any, **__: Any) -> Answer:
            """See ``WebSocketUser.api``."""
            for seq, task_id in enumerate(("x", "a", "x")):
                feed.pushed(Message(json.dumps(status(task_id, COURSE[seq], seq)), 2**62))
            return Answer(202, {"task_id": "a"}, "")

    feed = Feed(cast("TasksUser", Server()), 0)
    job = feed.create()
    assert job is not None and feed.jobs == {"a": job}
    assert job.statuses == ["running"]
    feed.pushed(Message(json.dumps(status("a", "done", 3)), 2**62))
    assert job.over.is_set()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=2)
)


@given(st.lists(st.text(max_size=9) | ANYTHING.map(lambda value: status(value, value, value)), max_size=5))
def test_nothing_that_a_server_pushes_raises(pushes: list[Any]) -> None:
    job = Job(0)
    fed(pushes, {"a": job})
    assert job.statuses == []


# --------------------------------------------------------------------------------------------------- runs


def tasks_left(target: Target) -> float:
    """Tasks that were created and not deleted."""
    return target.metric("wsoak_target_sessions_open", system=NAME)


def files_of(path: Path) -> str:
    """The whole text of a run directory, but for the histograms, whose letters are anything."""
    return "\n".join(file.read_text() for file in path.iterdir() if file.suffix != ".hlog")


def done(made: Session) -> int:
    """Tasks whose whole course was seen so far."""
    return int(made.books().count("check_passed", "a task is queued, runs and is done"))


def finding_ids(reader: RunReader) -> list[str]:
    """What the run would be told to have."""
    return [finding.id for finding in find(reader.books(), reader.header["started_at"])]


def test_users_watch_their_tasks_to_the_end_and_leave_none_behind(
    target: Target, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    before = tasks_left(target)
    arguments = (*QUICK, "--sockets-per-user", "2")
    with session(TasksUser, host=target.url, run_dir=tmp_path / "r", arguments=arguments) as made:
        made.start(2)
        # whichever feed of its user created a task, both are told of it
        wanted = 2 * 20 * len(COURSE)
        until(lambda: done(made) >= 20 and made.books().histogram("delivery", NAME).total >= wanted)
        until(lambda: made.books().count("usable", NAME) == 4)
        reader = made.stop()
        assert tasks_left(target) == before
    books = reader.books()
    stats = made.environment.stats
    assert not stats.errors
    assert books.count("check_failed") == 0
    assert books.histogram("delivery", NAME).total >= wanted
    for figure in ("task queued", "task done"):
        assert books.histogram("metric", figure).total >= 20
    gaps = books.observations["sequence-gap", NAME]
    assert gaps.count == 0 and gaps.of > 0
    assert finding_ids(reader) == []
    records = list(reader.connections())
    assert len(records) == 4
    assert all("token=***" in record.path and record.usable for record in records)
    assert ("/api/v1/auth/login", "POST") not in stats.entries
    # a token begins with the JSON of its header
    for text in (files_of(tmp_path / "r"), caplog.text, *capfd.readouterr()):
        assert "eyJ" not in text and SECRET not in text


def test_without_the_secret_tokens_come_from_the_log_in_and_tasks_on_a_schedule(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WSOAK_JWT_SECRET")
    before = tasks_left(target)
    arguments = ("--message-rate", "50")
    with session(TasksUser, host=target.url, run_dir=tmp_path / "r", arguments=arguments) as made:
        made.start(2)
        until(lambda: done(made) >= 5 and tasks_left(target) > before)
        reader = made.stop()
        assert tasks_left(target) == before
    assert made.environment.stats.get("/api/v1/auth/login", "POST").num_requests == 2
    assert not made.environment.stats.errors
    assert finding_ids(reader) == []


def test_a_wrong_password_stops_the_run(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("WSOAK_JWT_SECRET")
    monkeypatch.setenv("WSOAK_PASSWORD", "wrong-passw0rd")
    with session(TasksUser, host=target.url, run_dir=tmp_path / "r") as made:
        made.runner.start(10, 100)
        until(lambda: made.runner.state == "stopped" and not made.under_way)
        assert made.quit() == 4
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("wsoak")]
    assert len(ours) == 1
    assert ours[0].startswith("Nobody can log in (HTTP 401)")
    assert "wrong-passw0rd" not in caplog.text + files_of(tmp_path / "r")


def test_tokens_that_the_server_ends_are_found_on_reconnects_and_nothing_is_left_behind(
    target: Target, tmp_path: Path
) -> None:
    before = tasks_left(target)
    refused = partial(target.metric, "wsoak_target_closes_total", system=NAME, code="1008")
    known = refused()
    with session(TasksUser, host=target.url, run_dir=tmp_path / "r", arguments=QUICK) as made:
        made.start(3)
        until(lambda: done(made) >= 3)
        with target.fault("tasks", "token-expiry", after_s=2):
            until(lambda: refused() >= known + 3)
            reader = made.stop()
            assert tasks_left(target) == before
    assert finding_ids(reader) == ["credentials-expired"]
    turned_away = [record for record in reader.connections() if record.code == 1008]
    # a user may have tried again before the last of them was turned away for the first time
    attempts = [record.attempt for record in turned_away]
    assert (attempts.count(1), min(attempts)) == (3, 1)
    assert {record.server_error for record in turned_away} == {"Authentication failed: token expired"}


def on_a_user(target: Target, tmp_path: Path, what: Callable[[TasksUser], Any]) -> tuple[Any, RunReader]:
    """What ``what`` gives on one user, and what was written of the run."""
    results: list[Any] = []

    def once(user: TasksUser) -> None:
        """In the place of the load."""
        results.append(what(user))
        rest()

    # set, as Locust would add it to the inherited ones
    one: type[TasksUser] = type("OneUser", (TasksUser,), {})
    one.tasks = [once]
    with session(one, host=target.url, run_dir=tmp_path / "r", arguments=QUICK) as made:
        made.start()
        until(lambda: results)
        return results[0], made.stop()


def test_the_rehearsal_is_one_task_and_the_servers_count(target: Target, tmp_path: Path) -> None:
    before = tasks_left(target)
    _, reader = on_a_user(target, tmp_path, TasksUser.rehearse)
    books = reader.books()
    assert books.count("check_passed", "a task is queued, runs and is done") == 1
    assert books.count("check_passed", "the server counts its sockets") == 1
    assert books.count("check_failed") == 0
    assert [(record.code, record.usable) for record in reader.connections()] == [(1000, True)]
    assert tasks_left(target) == before


def test_every_door_is_shut_on_a_healthy_target(target: Target, tmp_path: Path) -> None:
    def knock(user: TasksUser) -> dict[str, tuple[int | None, bool]]:
        found = {}
        for slot, door in enumerate(user.doors()):
            with user.connect(door.path, name=door.finding, slot=slot) as ws:
                answer = ws.request(dict(door.knock or {}), reply_to="door")
            found[door.finding] = (ws.code, answer is None)
        return found

    found, _ = on_a_user(target, tmp_path, knock)
    assert found == dict.fromkeys(
        (
            "unauthenticated-accepted",
            "forged-token-accepted",
            "unsigned-token-accepted",
            "foreign-session-accepted",
            "expired-token-accepted",
            "wrong-token-kind-accepted",
        ),
        (1008, True),
    )


def test_a_clean_up_removes_what_another_run_left(target: Target, tmp_path: Path) -> None:
    claims = {"sub": "somebody", "iat": 0, "exp": 2**33}
    headers = {"Authorization": f"Bearer {jwt.encode(claims, SECRET, 'HS256')}", "X_Run_Id": "killed run/1"}
    before = tasks_left(target)
    for _ in range(3):
        assert target.http("POST", "/api/v1/tasks", {"kind": "summary"}, **headers)[0] == 202
    removed, _ = on_a_user(target, tmp_path, lambda user: user.clear("killed run/1"))
    assert removed == 3
    assert tasks_left(target) == before
