"""Call: whole calls with the target, its faults as they show, and what a run leaves behind."""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gevent.event import Event
from locust import constant

from scenarios.call import NAME, ROUNDS, CallUser, Line, number_from, objects
from scenarios.call import test_account as account_number
from tests.e2e.processes import loading
from tests.load.session import Session, session
from tests.target.client import PASSWORD, Target, running
from tests.wire.harness import until
from wsoak.judge.findings import Finding, find
from wsoak.ledger.books import Books
from wsoak.ledger.rundir import RunReader
from wsoak.load.api import Answer
from wsoak.wire.dial import Request
from wsoak.wire.message import Message

CHECKS = {
    "health",
    "log-in of both",
    "look-up by name",
    "ring",
    "both connected",
    "signalling both ways",
    "hang-up",
    "no call left",
}
SIGNALS_A_CALL = 2 * ROUNDS + 1


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ('{"type": "offer", "from": "a", "n": 0}', 0),
        ('{"type": "hangup", "from": "a", "n": 6}', 6),
        ('{"type": "ice", "from": "b", "n": 1}', None),
        ('{"type": "ice", "n": 1}', None),
        ('{"type": "ice", "from": "a"}', None),
        ('{"type": "error", "from": "a", "n": 1}', None),
        ('{"type": ["ice"], "from": "a", "n": 1}', None),
        ("[]", None),
        ("not JSON", None),
    ],
)
def test_a_signal_is_known_by_its_type_and_its_sender(text: str, number: int | None) -> None:
    assert number_from("a")(Message(text, 0)) == number


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (Answer(200, {"calls": [{"a": 1}, 2, None, []]}, ""), [{"a": 1}]),
        (Answer(200, {"calls": {"a": 1}}, ""), []),
        (Answer(200, {"calls": None}, ""), []),
        (Answer(200, [], "the answer lacks calls"), []),
        (Answer(0, None, "no answer"), []),
    ],
)
def test_a_list_holds_what_is_an_object_in_it(answer: Answer, found: list[Any]) -> None:
    assert objects(answer, "calls") == found


def test_accounts_are_those_that_the_target_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WSOAK_PASSWORD", raising=False)
    assert account_number(0) == {"username": "alice", "password": PASSWORD}
    assert [account_number(index)["username"] for index in range(1, 6)] == [
        "bob",
        "alice1",
        "bob1",
        "alice2",
        "bob2",
    ]
    monkeypatch.setenv("WSOAK_PASSWORD", "other")
    assert account_number(4000) == {"username": "alice2000", "password": "other"}


def calls(target: Target) -> float:
    """Calls that are open."""
    return target.metric("wsoak_target_sessions_open", system=NAME)


def files_of(path: Path) -> str:
    """The whole text of a run directory."""
    return "\n".join(file.read_text() for file in path.iterdir())


def passed(made: Session, check: str) -> int:
    """How often a check passed, so far."""
    return made.books().count("check_passed", check)


def found_in(reader: RunReader) -> list[Finding]:
    """What the judge finds."""
    return find(reader.books(), reader.header["started_at"])


def test_people_call_one_another_and_leave_no_call_behind(
    target: Target, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    before = calls(target)
    # with a stop time-out, as a request that is under way when its user is killed may have made a call
    arguments = ("--message-rate", "0", "--sockets-per-user", "2", "--stop-timeout", "60")
    with session(CallUser, host=target.url, run_dir=tmp_path / "r", arguments=arguments) as made:
        made.start(3)
        until(lambda: passed(made, "no call left") >= 12 and passed(made, "log-in of both") == 6)
        reader = made.stop()
        assert calls(target) == before
    books, stats = reader.books(), made.environment.stats
    assert set(books.names_with("check_passed")) == CHECKS
    assert books.names_with("check_failed") == []
    assert books.count("check_passed", "log-in of both") == 6
    done = books.count("check_passed", "no call left")
    assert books.histogram("delivery", NAME).total >= done * SIGNALS_A_CALL
    assert books.count("received", NAME) == books.histogram("delivery", NAME).total
    for finding in ("relay-lost", "messages-repeated", "messages-reordered", "sessions-not-released"):
        seen = books.observations[finding, NAME]
        assert (seen.count, seen.of) == (0, done if finding == "sessions-not-released" else seen.of)
        assert seen.of >= done
    assert found_in(reader) == []
    assert not stats.errors
    ends = {(record.code, record.initiator, record.attempt) for record in reader.connections()}
    assert ends == {(1000, "client", 0)}
    # a token begins with the JSON of its header
    for text in (files_of(tmp_path / "r"), caplog.text, *capfd.readouterr()):
        assert "eyJ" not in text
        assert PASSWORD not in text


def test_both_sockets_send_at_the_rate_and_a_call_that_the_run_cuts_off_is_ended(
    target: Target, tmp_path: Path
) -> None:
    def talk(user: CallUser) -> None:
        user.lines = [Line(user, 0)]
        user.lines[0].hold(rounds=10**6)

    class Talker(CallUser):
        """Does not hang up."""

    # in the class's body it would be added to those of the base
    Talker.tasks = [talk]
    before = calls(target)
    arguments = ("--message-rate", "20")
    with session(Talker, host=target.url, run_dir=tmp_path / "r", arguments=arguments) as made:
        made.start(2)
        sockets = made.generator.client.open_connections
        until(
            lambda: (
                made.books().count("received", NAME) >= 20
                and sorted(ws.messages_sent > 1 for ws in sockets) == [True] * 4
            )
        )
        assert calls(target) == before + 2
        reader = made.stop()
        assert calls(target) == before
    sent = [record.messages_sent for record in reader.connections()]
    assert len(sent) == 4
    assert min(sent) > 1
    books = reader.books()
    # every signal was due at its moment, but an answer is when its offer has come
    assert books.histogram("lag", NAME).total == books.count("sent", NAME) - 2
    assert sum(group.count for kind, group in books.ends.items() if kind.ended_by_run) == 4
    assert not made.environment.stats.errors
    assert found_in(reader) == []


def test_a_pair_outlives_its_tokens(tmp_path: Path) -> None:
    class Patient(CallUser):
        """Waits longer than a token lives."""

        wait_time = constant(1.1)

    with running("--access-token-ttl", "1") as target:
        arguments = ("--message-rate", "0")
        with session(Patient, host=target.url, run_dir=tmp_path / "r", arguments=arguments) as made:
            made.start()
            until(lambda: passed(made, "no call left") >= 2)
            reader = made.stop()
    stats = made.environment.stats
    assert stats.get("/api/auth/login", "POST").num_requests >= 4
    assert not stats.errors
    assert found_in(reader) == []


def accounts_file(tmp_path: Path, *names: str) -> tuple[str, str]:
    """The option for a file with these accounts."""
    path = tmp_path / "accounts.csv"
    path.write_text("username,password\n" + "".join(f"{name},{PASSWORD}\n" for name in names))
    return ("--accounts", str(path))


def test_a_call_takes_two_accounts_of_the_file(target: Target, tmp_path: Path) -> None:
    def who(user: CallUser) -> list[tuple[str, str]]:
        user.call()
        return [(line.caller.name, line.callee.name) for line in user.lines]

    arguments = (*accounts_file(tmp_path, "bob7", "alice9", "bob8", "bob9"), "--sockets-per-user", "2")
    rung, _ = backstage(target, tmp_path / "r", who, "--message-rate", "0", *arguments)
    assert rung == [("bob7", "alice9"), ("bob8", "bob9")]


@pytest.mark.parametrize(
    ("names", "says"),
    [(("alice",), "takes two accounts"), (("mallory", "trent"), "Nobody can log in (HTTP 401)")],
    ids=["one account", "no such accounts"],
)
def test_a_run_without_two_good_accounts_is_stopped(
    target: Target, tmp_path: Path, caplog: pytest.LogCaptureFixture, names: tuple[str, ...], says: str
) -> None:
    arguments = accounts_file(tmp_path, *names)
    with session(CallUser, host=target.url, run_dir=tmp_path / "r", arguments=arguments) as made:
        made.runner.start(1, 1)
        until(lambda: made.runner.state == "stopped" and not made.under_way)
    assert says in caplog.text
    assert PASSWORD not in caplog.text


# ------------------------------------------------------------------------------------------------- faults


def crashes(books: Books) -> bool:
    return books.count("failed", NAME) >= 12


def stays(books: Books) -> bool:
    """Calls stay, and rings are refused; so often that those who ring have changed."""
    known = books.observations.get(("sessions-not-released", NAME))
    return bool(known and known.count >= 4 and books.count("check_failed", "ring") >= 3)


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users wait for little, but for a server that lets go of a call."""
    monkeypatch.setattr("scenarios.call.COUNT_EVERY_S", 0.1)
    monkeypatch.setattr(Line, "count_due_s", 0.0)
    monkeypatch.setattr(CallUser, "wait_time", constant(0.05))


@pytest.fixture
def hasty(brisk: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - it is wanted first
    """Users do not wait either for a server that keeps its calls."""
    monkeypatch.setattr("scenarios.call.RELEASE_S", 0.05)


FAULTS: dict[str, tuple[str, dict[str, Any], Callable[[Books], bool], str, str, str]] = {
    "nil-user": ("fast", {}, crashes, "upgrade-crash", "critical", "rejected-500"),
    "nil-user without an answer": (
        "reference",
        {"answer": "none"},
        crashes,
        "upgrade-crash",
        "critical",
        "eof (",
    ),
    "stale-sessions": (
        "reference",
        {},
        stays,
        "sessions-not-released",
        "error",
        "still listed after its hang-up",
    ),
}


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_by_its_name_and_nothing_else_is(target: Target, tmp_path: Path, name: str) -> None:
    client, params, shows, id_, severity, evidence = FAULTS[name]
    before = calls(target)
    arguments = ("--message-rate", "0", "--client", client)
    with (
        target.fault("call", name.partition(" ")[0], **params),
        session(CallUser, host=target.url, run_dir=tmp_path / "r", arguments=arguments) as made,
    ):
        made.start(4)
        until(lambda: shows(made.books()))
        reader = made.stop()
        assert calls(target) == before
    (finding,) = found_in(reader)
    assert (finding.id, finding.system, finding.severity) == (id_, NAME, severity)
    assert evidence in " ".join(finding.evidence)


@pytest.mark.usefixtures("hasty")
def test_stale_calls_climb_while_the_load_goes_on(target: Target, tmp_path: Path) -> None:
    users = 2
    with (
        target.fault("call", "stale-sessions"),
        session(CallUser, host=target.url, run_dir=tmp_path / "r", arguments=("--message-rate", "0")) as made,
    ):
        made.start(users)

        def climbed() -> bool:
            gauge = made.books().gauges.get(("local", "scenario", "open_calls"))
            return gauge is not None and gauge.greatest > 3 * users

        until(climbed)
        reader = made.stop()
    (finding,) = found_in(reader)
    (sentence,) = (line for line in finding.evidence if "open_calls" in line)
    assert sentence.startswith("Gauge open_calls: 0 at the least, ")
    # one observation a call, however often rings were refused for it
    stale = reader.books().observations["sessions-not-released", NAME]
    assert stale.count == stale.of == reader.books().count("check_failed", "no call left")


@pytest.mark.usefixtures("brisk")
def test_a_busy_line_that_is_nobodys_fault_is_no_finding(target: Target, tmp_path: Path) -> None:
    # both users have the same two accounts: one of them is always refused
    arguments = (*accounts_file(tmp_path, "alice20", "bob20"), "--message-rate", "20")
    with session(CallUser, host=target.url, run_dir=tmp_path / "r", arguments=arguments) as made:
        made.start(2)
        until(lambda: made.books().count("check_failed", "ring") >= 2 and passed(made, "no call left") >= 2)
        reader = made.stop()
    assert found_in(reader) == []


@pytest.mark.usefixtures("brisk")
def test_a_line_that_is_busy_with_a_call_of_a_killed_run_says_which(target: Target, tmp_path: Path) -> None:
    arguments = accounts_file(tmp_path, "alice30", "bob30")
    credentials = {"username": "bob30", "password": PASSWORD}
    bearer = f"Bearer {target.http('POST', '/api/auth/login', credentials)[1]['token']}"
    ring = {"Authorization": bearer, "X-Run-Id": "killed-run"}
    target.http("POST", "/api/calls", {"callee": "alice31"}, **ring)
    with session(CallUser, host=target.url, run_dir=tmp_path / "r", arguments=arguments) as made:
        made.start()
        until(lambda: made.books().observations.get(("users-busy", NAME)) is not None)
        reader = made.stop()
    target.http("DELETE", "/api/calls?run_id=killed-run", Authorization=bearer)
    (finding,) = found_in(reader)
    assert finding.id == "users-busy"
    assert "a party is in a call of run killed-run" in finding.evidence[-1]
    assert "python -m wsoak clean --run" in finding.hint


@pytest.mark.usefixtures("hasty")
def test_a_line_that_is_busy_with_no_call_at_all_is_found(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server whose list forgets what its rings remember: the listing of the fault's calls is emptied."""
    monkeypatch.setattr(
        "scenarios.call.objects",
        lambda answer, member: [] if member == "calls" else objects(answer, member),
    )
    with (
        target.fault("call", "stale-sessions"),
        session(CallUser, host=target.url, run_dir=tmp_path / "r", arguments=("--message-rate", "0")) as made,
    ):
        made.start()
        until(lambda: ("sessions-not-released", NAME) in made.books().observations and stale(made) >= 1)
        reader = made.stop()
        run_id = reader.header["run_id"]
        token = target.http("POST", "/api/auth/login", account_number(0))[1]["token"]
        target.http("DELETE", f"/api/calls?run_id={run_id}", Authorization=f"Bearer {token}")
    (finding,) = found_in(reader)
    assert finding.id == "sessions-not-released"
    assert "rings were answered 409" in " ".join(finding.evidence)
    # the first time may have been chance
    assert reader.books().count("check_failed", "ring") >= 2


def stale(made: Session) -> int:
    """How many calls were observed to stay, so far."""
    return made.books().observations["sessions-not-released", NAME].count


# ------------------------------------------------------------------------------ rehearsal, doors, clean-up


def backstage(
    target: Target, run_dir: Path, look: Callable[[CallUser], Any], *arguments: str, ended: int = 0
) -> tuple[Any, RunReader]:
    """What ``look`` gives for the only user of a run; and the run, which leaves no call behind.

    Args:
        ended: how many calls of before it ends.
    """
    noted: list[Any] = []

    def note(user: CallUser) -> None:
        noted.append(look(user))
        Event().wait()

    class Looker(CallUser):
        """Does nothing but that."""

    # in the class's body they would be added to those of the base
    Looker.tasks = [note]
    before = calls(target)
    with session(Looker, host=target.url, run_dir=run_dir, arguments=arguments) as made:
        made.start()
        until(lambda: noted)
        reader = made.stop()
    assert calls(target) == before - ended
    return noted[0], reader


def test_a_rehearsal_is_one_call(target: Target, tmp_path: Path) -> None:
    _, reader = backstage(target, tmp_path / "r", CallUser.rehearse)
    books = reader.books()
    assert {name: books.count("check_passed", name) for name in CHECKS} == dict.fromkeys(CHECKS, 1)
    assert books.histogram("delivery", NAME).total == 3


def opened(user: CallUser) -> dict[tuple[str, str, bool], str]:
    """How each door answered, by finding, query's keys, and whether an id was in a header."""
    client, endpoint = user.generator.client, user.endpoint
    return {
        (door.finding, door.path.partition("?")[2].partition("=")[0], "X-User-ID" in dict(door.headers)): (
            client.open(endpoint, Request(door.path, list(door.headers)), "door").outcome
        )
        for door in user.doors()
    }


def test_all_doors_are_shut_and_one_fault_opens_those_without_a_token(target: Target, tmp_path: Path) -> None:
    shut, _ = backstage(target, tmp_path / "shut", opened)
    assert shut == {
        ("unauthenticated-accepted", "", False): "rejected-401",
        ("unauthenticated-accepted", "user_id", False): "rejected-401",
        ("unauthenticated-accepted", "", True): "rejected-401",
        ("forged-token-accepted", "", False): "rejected-401",
        ("unsigned-token-accepted", "", False): "rejected-401",
        ("expired-token-accepted", "", False): "rejected-401",
        ("foreign-session-accepted", "", False): "rejected-403",
        ("identity-mismatch-accepted", "user_id", False): "rejected-403",
        ("identity-mismatch-accepted", "", True): "rejected-403",
    }
    with target.fault("call", "anonymous-accepted"):
        ajar, _ = backstage(target, tmp_path / "ajar", opened)
    assert {door[0] for door, outcome in ajar.items() if outcome == "open"} == {"unauthenticated-accepted"}
    assert sum(outcome == "open" for outcome in ajar.values()) == 3


def test_a_door_for_expired_tokens_takes_the_secret(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WSOAK_JWT_SECRET")
    doors, _ = backstage(target, tmp_path / "r", lambda user: list(user.doors()))
    assert [door.finding for door in doors if door.skipped] == ["expired-token-accepted"]
    assert len(doors) == 9


def test_a_clear_ends_all_calls_of_a_run_and_of_no_other(target: Target, tmp_path: Path) -> None:
    def rung(caller: str, run_id: str) -> tuple[str, str]:
        token = target.http("POST", "/api/auth/login", {"username": caller, "password": PASSWORD})[1]["token"]
        body, headers = {"callee": caller.replace("alice", "bob")}, {"Authorization": f"Bearer {token}"}
        status, made = target.http("POST", "/api/calls", body, X_Run_Id=run_id, **headers)
        assert status == 201
        return token, made["call_uuid"]

    killed = "a killed run/&?"
    for caller in ("alice30", "alice31"):
        rung(caller, killed)
    token, kept = rung("alice32", "another run")
    cleared, _ = backstage(
        target, tmp_path / "r", lambda user: (user.clear(killed), user.clear(killed)), ended=2
    )
    assert cleared == (2, 0)
    assert target.http("DELETE", f"/api/calls/{kept}", Authorization=f"Bearer {token}")[0] == 204


# ------------------------------------------------------------------------------------------------- SIGTERM


def test_a_run_that_is_told_to_stop_leaves_no_call_behind(tmp_path: Path) -> None:
    with running("--fault", "call:stale-sessions:share=0.5") as target:
        arguments = ("-u", "10", "-r", "10", "-t", "10m", "--message-rate", "0")
        with loading(tmp_path / "run", "CallUser", "--host", target.url, *arguments) as run:
            run.wait_for(lambda books: books.count("check_failed", "no call left") >= 2, "calls stayed")
            assert calls(target) >= 2
            run.signal(signal.SIGTERM)
            done = run.wait()
        assert calls(target) == 0
        assert target.metric("wsoak_target_open_sockets", system=NAME) == 0
    assert "Traceback" not in done.err, done.said
    assert json.loads((done.path / "run.json").read_text())["ended_by"] == "signal"
