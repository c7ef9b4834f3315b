"""How a run ends before its time: killed, told to stop, or with its server gone."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import SERVERS, serve_websockets
from tests.e2e.processes import (
    ENDLESS,
    PATIENT,
    Load,
    Outcome,
    analysis,
    eventually,
    findings,
    is_alive,
    is_valid,
    load_until,
    loading,
    serving,
)
from tests.target.client import running
from wsoak.ledger.books import Books
from wsoak.ledger.outcomes import RUN_ENDED

SOCKETS = 30
# a dialogue has twenty messages: it takes longer than all sockets take to open
RATES = ("-u", str(SOCKETS), "-r", str(SOCKETS), "--message-rate", "0.5", *ENDLESS, *PATIENT)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A run whose locust was killed by ``kill -9`` with all of its sockets open."""
    with loading(tmp_path_factory.mktemp("killed") / "run", "EchoUser", "DialogueUser", *RATES) as run:
        run.wait_for_sockets(SOCKETS)
        target = run.target_pid()
        run.signal(signal.SIGKILL)
        done = run.wait()
    eventually(lambda: not is_alive(target), "the embedded target has ended")
    return done


def test_kill_9_leaves_a_run_that_can_be_read_and_no_target(killed: Outcome) -> None:
    assert killed.code == -signal.SIGKILL
    assert killed.run.cut
    assert not killed.run.ended
    assert "ended_at" not in json.loads((killed.path / "run.json").read_text())
    books = killed.run.books()
    assert books.open_now == SOCKETS
    assert books.count("sent") >= SOCKETS


@pytest.mark.parametrize("command", ["report", "diagnose"])
def test_the_analysis_of_a_killed_run_says_that_it_was_cut_and_what_was_open(
    killed: Outcome, command: str
) -> None:
    answer = analysis(command, killed.path)
    assert answer.returncode == 0, answer.stderr
    said = " ".join(answer.stdout.split())
    assert "The run was cut" in said
    assert "NOT VALID" in said
    assert f"{SOCKETS} sockets were open at the cut" in said


def test_a_killed_run_is_no_outage_of_the_servers(killed: Outcome) -> None:
    assert findings(killed.path) == []


def signalled(run: Load, number: signal.Signals) -> None:
    run.signal(number)


def control_c(run: Load, number: signal.Signals) -> None:
    """As a terminal does it: the whole foreground process group has the signal."""
    assert os.getpgid(run.pid) == run.pid
    os.killpg(run.pid, number)


@pytest.mark.parametrize(
    ("send", "number"),
    [
        pytest.param(signalled, signal.SIGTERM, id="SIGTERM"),
        pytest.param(signalled, signal.SIGINT, id="SIGINT"),
        pytest.param(control_c, signal.SIGINT, id="Ctrl-C"),
    ],
)
def test_a_signal_ends_the_run_in_order(
    tmp_path: Path, send: Callable[[Load, signal.Signals], None], number: signal.Signals
) -> None:
    with loading(tmp_path / "run", "EchoUser", "DialogueUser", *RATES) as run:
        run.wait_for_sockets(SOCKETS)
        target = run.target_pid()
        send(run, number)
        done = run.wait()
    assert not is_alive(target)
    assert done.run.ended
    assert done.run.header["ended_by"] == "signal"
    ends = {(r.outcome, r.code, r.initiator, r.reason, r.clean) for r in done.run.connections()}
    assert ends == {("open", 1000, "client", RUN_ENDED, True)}, done.said
    assert done.run.books().open_now == 0
    assert findings(done.path) == []
    assert "Traceback" not in done.err, done.said
    is_valid(done)


ECHO = ("-f", "tests/e2e/locustfile_target.py", "EchoUser")


def test_a_target_that_is_killed_breaks_every_socket_and_is_found(tmp_path: Path) -> None:
    with running() as target, loading(tmp_path / "run", *ECHO, "--host", target.url, *RATES) as run:
        run.wait_for_sockets(SOCKETS)
        os.kill(target.pid, signal.SIGKILL)
        run.wait_for(
            lambda books: books.open_now == 0 and books.count("failed") >= SOCKETS,
            "all sockets broke, and each was tried again",
        )
        run.signal(signal.SIGTERM)
        done = run.wait()
    ends = [record for record in done.run.connections() if record.outcome == "open"]
    assert len(ends) == SOCKETS
    assert {(r.code, r.initiator, r.clean) for r in ends} == {(1006, "network", False)}
    found = {finding["id"]: finding for finding in findings(done.path)}
    # the kernel ends a killed process's sockets in order, or resets those with unread bytes
    broken = sum(found.pop(id_, {"count": 0})["count"] for id_ in ("server-crash", "connection-reset"))
    assert broken == SOCKETS
    assert found.keys() == {"server-unreachable"}
    is_valid(done, 1)


def test_a_target_that_restarts_is_found_as_that(tmp_path: Path) -> None:
    with running() as target, loading(tmp_path / "run", *ECHO, "--host", target.url, *RATES) as run:
        run.wait_for_sockets(SOCKETS)
        assert target.stop() == 0
        run.wait_for(lambda books: books.open_now == 0 and books.count("failed") > 0, "all sockets broke")
        with running("--port", str(target.port)):
            run.wait_for(lambda books: books.open_now == SOCKETS, "all sockets are back")
            run.signal(signal.SIGTERM)
            done = run.wait()
    ends = Counter((r.code, r.initiator, r.clean) for r in done.run.connections() if r.outcome == "open")
    assert ends == {(1012, "server", True): SOCKETS, (1000, "client", True): SOCKETS}, done.said
    (found,) = findings(done.path)
    assert (found["id"], found["count"]) == ("server-restart", SOCKETS)
    is_valid(done, 1)


def test_a_server_that_hangs_at_the_end_holds_nothing_up(tmp_path: Path) -> None:
    limits = ("--close-timeout", "2", "--reply-timeout", "2")
    with loading(tmp_path / "run", "EchoUser", "DialogueUser", *RATES, *limits) as run:
        run.wait_for_sockets(SOCKETS)
        target = run.target_pid()
        os.kill(target, signal.SIGSTOP)
        run.signal(signal.SIGTERM)
        done = run.wait()
    # a process that is stopped does not end by itself, however its stdin ends
    assert not is_alive(target), done.said
    assert done.run.ended
    ends = {(r.outcome, r.initiator, r.reason, r.detail) for r in done.run.connections()}
    assert ends == {("open", "client", RUN_ENDED, "close-timeout")}, done.said
    assert done.run.books().open_now == 0


def test_requests_in_flight_when_the_run_ends_are_no_failures(tmp_path: Path) -> None:
    def in_flight(books: Books) -> bool:
        return books.count("requests") > books.count("replies") > 0

    users = ("EchoUser", "-u", "20", "-r", "20", *PATIENT)
    with serve_websockets(delay_s=4.0) as server:
        path = tmp_path / "run"
        done = load_until(in_flight, "some have an answer", path, *users, "--host", server.url)
    books = done.run.books()
    assert in_flight(books)
    assert books.count("reply_lost") == books.count("reply_timeouts") == 0
    assert "closed before the reply" not in done.err, done.said
    is_valid(done)


@pytest.mark.parametrize(
    ("user", "when", "delays_s"),
    [
        ("InterruptedUser", "interrupted", ("0", "0")),
        ("CleaningUser", "began", ("1.5", "0")),
        ("CleaningUser", "began", ("0", "1.5")),
    ],
    ids=["before-the-request", "before-the-head", "before-the-body"],
)
def test_a_user_that_is_interrupted_in_a_request_can_still_clean_up(
    tmp_path: Path, user: str, when: str, delays_s: tuple[str, str]
) -> None:
    arguments = ("-f", "tests/e2e/locustfile_cleaning.py", user, "-u", "5", "-r", "5", *PATIENT)
    with serving(sys.executable, str(SERVERS / "slow_http.py"), *delays_s) as server:
        done = load_until(
            lambda books: books.count("metric_count", when) == 5,
            f"all users {when}",
            tmp_path / "run",
            *arguments,
            *("--host", server.url),
        )
    assert done.run.books().count("metric_count", "cleaned up") == 5, done.said
