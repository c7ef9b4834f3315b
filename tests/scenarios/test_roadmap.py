"""Roadmap: whole tasks with the target, healthy and with each of its faults; and nothing left behind."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import gevent
import pytest
from locust import constant

from scenarios.roadmap import LEFT_AFTER, NAME, RoadmapUser
from tests.e2e.processes import findings, loading
from tests.load.session import Session, session
from tests.target.client import Target, running
from tests.wire.harness import until
from wsoak.judge.findings import find
from wsoak.ledger.books import Books
from wsoak.ledger.names import CLOCK, CLOCK_OFFSET, CLOCK_UNCERTAINTY
from wsoak.ledger.rundir import RunReader

SEQUENCE = ("sequence-gap", "messages-repeated", "messages-reordered")
CLIENTS = ("fast", "reference")
DELETED = "/api/v1/roadmaps/{task_id}"


class Quick(RoadmapUser):
    """Whose tasks take a fifth of a second."""

    wait_time = constant(0)
    plan = {"steps": 4, "step_s": 0.05}  # noqa: RUF012 - as a scenario's author would write it


class Slow(RoadmapUser):
    """Whose tasks take minutes."""

    plan = {"steps": 100, "step_s": 2}  # noqa: RUF012


def tasks(target: Target) -> float:
    """Tasks that were started and not deleted."""
    return target.metric("wsoak_target_sessions_open", system=NAME)


def found_in(reader: RunReader) -> list[str]:
    """The ids of a run's findings."""
    return [finding.id for finding in find(reader.books(), float(reader.header["started_at"]))]


def deleted(made: Session) -> int:
    """How many tasks were deleted."""
    return int(made.environment.stats.get(DELETED, "DELETE").num_requests)


@pytest.mark.parametrize("client", CLIENTS)
def test_tasks_are_watched_to_their_end_and_none_is_left(target: Target, tmp_path: Path, client: str) -> None:
    before = tasks(target)
    arguments = ("--sockets-per-user", "2", "--stop-timeout", "60", "--client", client)
    with session(Quick, host=target.url, run_dir=tmp_path / "r", arguments=arguments) as made:
        made.start(2)
        # the third task of each is left half-way
        until(lambda: deleted(made) >= 16)
        stats = made.environment.stats
        reader = made.stop()
        assert tasks(target) == before
    books = reader.books()
    assert found_in(reader) == []
    assert not stats.errors
    ends = [record for record in reader.connections() if not record.ended_by_run]
    # one task after the other is no reconnect, and neither is finding a task again
    assert {(record.outcome, record.code, record.usable, record.attempt) for record in ends} == {
        ("open", 1000, True, 0)
    }
    left = [record for record in ends if record.initiator == "client"]
    assert len(left) >= 4
    # half-way: a whole task has twelve events, which may all have come when a busy machine lets us go
    assert all(2 + LEFT_AFTER <= record.messages_received <= 2 + 12 for record in left)
    assert books.count("check_failed") == 0
    assert books.count("check_passed", "roadmap: completed") >= 16
    # what had come and was not looked at when the run ended is not counted
    events = books.count("received", NAME) - 2 * books.count("opened", NAME)
    for id_ in SEQUENCE:
        assert books.observations[id_, NAME].count == 0
        assert events - 4 * 12 <= books.observations[id_, NAME].of <= events
    live = books.histogram("delivery", NAME)
    assert 0 < live.total < books.observations["sequence-gap", NAME].of
    assert live.over == 0
    assert {name for _, source, name in books.gauges if source == CLOCK} == {CLOCK_OFFSET, CLOCK_UNCERTAINTY}
    assert not {"WSREQ"} & {method for _, method in stats.entries}


@pytest.mark.parametrize(
    ("fault", "params", "finding", "client"),
    [
        ("wrong-prefix", {}, "route-not-found", "fast"),
        ("wrong-prefix", {}, "route-not-found", "reference"),
        ("send-after-close", {"how": "close"}, "server-crash", "fast"),
        ("send-after-close", {"how": "close"}, "server-crash", "reference"),
        ("send-after-close", {"how": "drop"}, "server-crash", "fast"),
        ("send-after-close", {"how": "drop"}, "server-crash", "reference"),
        ("lost-events", {"share": 0.3}, "sequence-gap", "fast"),
        ("lost-events", {"share": 0.3}, "sequence-gap", "reference"),
    ],
)
def test_each_fault_is_found_by_its_name_and_nothing_else_is(
    target: Target, tmp_path: Path, fault: str, params: dict[str, Any], finding: str, client: str
) -> None:
    before = tasks(target)
    arguments = ("--client", client, "--checks", "none")
    with target.fault(NAME, fault, **params):
        with session(Quick, host=target.url, run_dir=tmp_path / "r", arguments=arguments) as made:
            made.start(3)
            until(lambda: seen(made.books(), finding) and attempts(made.books()) >= 5)
            if fault == "lost-events":
                # a share of few is any
                until(lambda: made.books().observations["sequence-gap", NAME].of >= 200)
            reader = made.stop()
        assert found_in(reader) == [finding]
        assert tasks(target) == before
    (told,) = find(reader.books(), float(reader.header["started_at"]))
    assert told.system == NAME
    if fault == "wrong-prefix":
        assert (told.severity, told.share) == ("critical", 1.0)
        assert "/api/v1/ws/" in " ".join(told.evidence)
    elif fault == "send-after-close":
        assert told.share > 0.5
        assert "All of them had received messages before" in " ".join(told.evidence)
    else:
        assert told.severity == "critical"
        assert 0.05 < told.share < 0.4


def seen(books: Books, finding: str) -> list[str]:
    """What speaks for a finding so far."""
    started_at = float(books.first_s or 0)
    return [found.id for found in find(books, started_at) if found.id == finding]


def attempts(books: Books) -> int:
    """Openings that are over."""
    return books.count("opened") + books.count("failed")


def test_an_impatient_client_makes_a_storm_of_a_missing_route(target: Target, tmp_path: Path) -> None:
    arguments = ("--reconnect", "immediate", "--checks", "none")
    with (
        target.fault(NAME, "wrong-prefix"),
        session(Quick, host=target.url, run_dir=tmp_path / "r", arguments=arguments) as made,
    ):
        made.start(2)
        # a storm is one that goes on
        until(lambda: len(made.books().seconds) >= 4 and made.books().count("failed", NAME) > 100)
        reader = made.stop()
    (told,) = find(reader.books(), float(reader.header["started_at"]))
    assert told.id == "route-not-found"
    assert any("attempts a second" in sentence and "storm" in sentence for sentence in told.evidence)
    # unbounded: the user stays with its task
    assert reader.books().count("failed", NAME) > 100


def test_a_run_that_is_cut_off_leaves_no_task(target: Target, tmp_path: Path) -> None:
    before = tasks(target)
    with session(Slow, host=target.url, run_dir=tmp_path / "r") as made:
        made.start(5)
        until(lambda: made.books().count("usable", NAME) == 5)
        assert tasks(target) == before + 5
        reader = made.stop()
        assert tasks(target) == before
    assert found_in(reader) == []
    assert reader.books().observations["sequence-gap", NAME].of > 0


def test_a_task_whose_start_was_cut_off_is_found_again(target: Target, tmp_path: Path) -> None:
    before = tasks(target)

    class Cut(Slow):
        """Ends when its task has been started, and before it knows."""

        def api(self, method: str, path: str, **more: Any) -> Any:
            """See ``WebSocketUser``."""
            answer = super().api(method, path, **more)
            if method == "POST":
                raise gevent.GreenletExit
            return answer

    with session(Cut, host=target.url, run_dir=tmp_path / "a run") as made:
        made.start(2)
        listed = ("/api/v1/roadmaps", "GET")
        until(lambda: made.environment.stats.get("/api/v1/roadmaps/generate", "POST").num_requests >= 2)
        made.stop()
        assert made.environment.stats.get(*listed).num_requests >= 2
    assert tasks(target) == before


def test_a_signal_ends_a_run_without_a_task_left(tmp_path: Path) -> None:
    with (
        running() as target,
        loading(tmp_path / "run", "RoadmapUser", "-u", "6", "-r", "6", "--host", target.url) as run,
    ):
        run.wait_for(lambda books: books.count("usable", NAME) >= 6, "six tasks were watched")
        run.signal(signal.SIGTERM)
        done = run.wait()
        assert tasks(target) == 0, done.said
    assert findings(done.path) == []
    assert done.run.header["ended_by"] == "signal"
    assert "Traceback" not in done.err, done.said


def test_a_rehearsal_leaves_no_task_and_a_clean_up_removes_what_there_is(
    target: Target, tmp_path: Path
) -> None:
    before = tasks(target)
    with session(Quick, host=target.url, run_dir=tmp_path / "a run") as made:
        made.start(0)
        user = Quick(made.environment)
        user.rehearse()
        assert tasks(target) == before
        run_id = user.run_id
        for _ in range(2):
            target.http("POST", "/api/v1/roadmaps/generate", {"topic": "left", **Slow.plan}, X_Run_Id=run_id)
        assert tasks(target) == before + 2
        assert user.clear(run_id) == 2
        assert user.clear(run_id) == 0
        assert tasks(target) == before
        reader = made.stop()
    assert found_in(reader) == []
    assert reader.books().count("check_passed", "roadmap: completed") == 1


def test_the_only_door_of_this_contract_is_shut(target: Target, tmp_path: Path) -> None:
    with session(Quick, host=target.url, run_dir=tmp_path / "r") as made:
        made.start(0)
        (door,) = Quick(made.environment).doors()
        with Quick(made.environment).connect(door.path, name="door") as socket:
            assert socket.expect(lambda message: message.get("type") == "error") is not None
        assert socket.code == 1008
