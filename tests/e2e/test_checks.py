"""What looks before and beside the load, as a user meets it: runs that are stopped, and the commands."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.distributed.cluster import free_port
from tests.e2e.processes import (
    PATIENCE_S,
    PATIENT,
    ROOT,
    Outcome,
    analysis,
    environment,
    eventually,
    findings,
    is_valid,
    load,
)
from tests.e2e.test_bad_input import complaints
from tests.target.client import Account, Target, running

TARGETED: Final = ("-f", "tests/e2e/locustfile_target.py")
RUN_S: Final = 6
RATES: Final = ("-u", "4", "-r", "4", "-t", f"{RUN_S}s", *PATIENT)
SECRET: Final = "a secret of the tests, thirty-two bytes or more"
AT_ONCE: Final = 3
OK, USAGE, FAILED, INTERRUPTED = 0, 2, 4, 130


@dataclass(frozen=True, slots=True)
class Case:
    """A server's fault and a command, and the finding, if any, that stops the run before its load."""

    users: tuple[str, ...]
    finding: str | None
    words: str = ""
    fault: str = ""
    arguments: tuple[str, ...] = ()
    password: str = ""
    host: str = ""


CASES: Final = {
    "healthy": Case((*TARGETED, "DialogueUser", "EchoUser"), None),
    "missing-route": Case(
        ("DialogueUser",), "route-not-found", "/v1/dialogues/ws/", fault="server:missing-route"
    ),
    "forbidden": Case(("DialogueUser",), "upgrade-refused", "rejected-403", fault="server:reject:status=403"),
    "wrong-password": Case(
        (*TARGETED, "DialogueUser"), "log-in-refused", "WSOAK_PASSWORD", password="wrong-s3cret"
    ),
    "refused": Case(("EchoUser",), "server-unreachable", "Connection refused", host="http://127.0.0.1:1"),
    "crash-of-forks": Case(
        ("DialogueUser",),
        "closed-policy-silent",
        "close 1008",
        fault="dialogue:datetime-crash",
        arguments=("--processes", "2"),
    ),
    "security": Case(
        ("CallUser",), None, fault="call:anonymous-accepted", arguments=("--checks", "security")
    ),
}

Runs = dict[str, Future[Outcome]]


def run_case(folder: Path, case: Case) -> Outcome:
    """One run against a target with this fault."""
    fault = ("--fault", case.fault) if case.fault else ()
    with running(*fault, env=environment(folder)) as target, free_port() as port:
        env = {"WSOAK_PASSWORD": case.password} if case.password else {}
        every = (
            *case.users,
            "--host",
            case.host or target.url,
            *RATES,
            "--checks",
            "preflight",
            *case.arguments,
            # a master's own would be anybody's
            "--master-bind-port",
            str(port),
            "--master-port",
            str(port),
        )
        return load(folder / "run", *every, **env)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """All cases, several at a time; a test waits for its own."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        begun = {
            name: pool.submit(run_case, tmp_path_factory.mktemp(name), case) for name, case in CASES.items()
        }
        yield begun
        for future in begun.values():
            future.cancel()


STOPPED: Final = [name for name, case in CASES.items() if case.finding]


@pytest.mark.parametrize("name", STOPPED)
def test_a_mistake_stops_the_run_before_its_load_with_one_sentence_and_a_finding(
    runs: Runs, name: str
) -> None:
    case, done = CASES[name], runs[name].result()
    assert done.code == FAILED, done.said
    assert "Traceback" not in done.said, done.said
    (sentence,) = [line for line in complaints(done) if "The checks failed" in line]
    assert case.words in sentence, sentence
    assert "likely cause" in sentence
    assert "s3cret" not in done.said
    assert done.run.header["ended_by"] == "preflight"
    found = findings(done.path)
    assert [each["id"] for each in found] == [case.finding]
    assert json.loads((done.path / "findings.json").read_text()) == found
    assert done.run.books().count("opened") + done.run.books().count("failed") <= 1


def test_a_healthy_run_is_checked_first_and_its_books_hold_the_load_alone(runs: Runs) -> None:
    done = runs["healthy"].result()
    is_valid(done)
    assert "Checks before the load:" in done.out
    checks = done.run.header["checks"]
    assert {step["result"] for step in checks["steps"]} == {"ok"}, checks
    assert {(step["scenario"], step["step"]) for step in checks["steps"]} >= {
        ("DialogueUser", "health"),
        ("DialogueUser", "rehearsal"),
        ("EchoUser", "exchange"),
        ("all users", "descriptors"),
    }
    assert {record.worker for record in done.run.connections()} == {"local"}
    assert findings(done.path) == []


def test_the_time_of_a_run_begins_with_its_load(runs: Runs) -> None:
    header = runs["healthy"].result().run.header
    # the clock of whoever asked for so many began before the checks did
    assert header["ended_at"] - header["started_at"] >= RUN_S - 0.1


def test_an_open_door_is_a_critical_finding_and_the_run_goes_on(runs: Runs) -> None:
    done = runs["security"].result()
    assert done.run.header["ended_by"] == "run-time", done.said
    assert done.run.books().count("opened") > 0
    (found,) = [each for each in findings(done.path) if each["id"].endswith("-accepted")]
    assert (found["id"], found["system"], found["severity"]) == (
        "unauthenticated-accepted",
        "call",
        "critical",
    )
    doors = done.run.header["checks"]["doors"]
    assert {door["accepted"] for door in doors} == {True, False}
    answer = analysis("report", done.path)
    assert answer.returncode == OK, answer.stderr
    page = (done.path / "report.html").read_text()
    assert "Security probes" in page
    assert "OPEN: unauthenticated-accepted" in page


# ------------------------------------------------------------------------------------------------ commands


def wsoak(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m wsoak …`` from start to end."""
    return subprocess.run(
        [sys.executable, "-m", "wsoak", *arguments],
        cwd=ROOT,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A healthy target for the commands."""
    folder = tmp_path_factory.mktemp("target")
    with running(env=environment(folder, {"WSOAK_JWT_SECRET": SECRET})) as started:
        yield started


def test_check_shows_the_table_and_says_whether_a_load_would_begin(target: Target, tmp_path: Path) -> None:
    well = wsoak(tmp_path, "check", "DialogueUser", "--host", target.url, "--security")
    assert well.returncode == OK, well.stdout + well.stderr
    assert "rehearsal" in well.stdout
    assert well.stdout.count("shut") >= 4
    # only the target has its secret
    (line,) = [line for line in well.stdout.splitlines() if "not tried" in line]
    assert line.startswith("warning")
    assert "WSOAK_JWT_SECRET" in line
    assert line.endswith("is not set: with an expired token")
    assert well.stderr == ""
    few = wsoak(tmp_path, "check", "EchoUser", "--host", f"{target.url}/echo", "--users", "9000000")
    assert few.returncode == FAILED
    (sentence,) = few.stderr.splitlines()
    assert "ulimit -n" in sentence


LONG: Final = """
from scenarios.roadmap import RoadmapUser, Watcher

class LongUser(RoadmapUser):
    def rehearse(self):
        self.plan = {"steps": 200, "step_s": 60}
        self.watchers = [Watcher(self, 0)]
        self.watchers[0].watch_one()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_check_that_is_interrupted_leaves_nothing_behind(
    target: Target, tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "long.py").write_text(LONG)
    command = [sys.executable, "-m", "wsoak", "check", "-f", str(tmp_path / "long.py"), "--host", target.url]

    def tasks() -> float:
        return target.metric("wsoak_target_sessions_open", system="roadmap")

    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as check:
        # whoever watches a task knows that it was begun; until then its answer may be on the way
        eventually(
            lambda: tasks() == 1 == target.metric("wsoak_target_open_sockets", system="roadmap"),
            "the rehearsal has begun a task, and watches it",
        )
        check.send_signal(number)
        _, said = check.communicate(timeout=PATIENCE_S)
    assert check.returncode == INTERRUPTED, said
    assert "Traceback" not in said
    assert tasks() == 0


def test_routes_names_the_prefix_at_which_a_path_answers(target: Target, tmp_path: Path) -> None:
    found = wsoak(tmp_path, "routes", "--host", target.ws, "/api/v1/echo?token=s3cret")
    assert found.returncode == OK, found.stderr
    assert "101" in next(line for line in found.stdout.splitlines() if " /echo?token=***" in line)
    assert "s3cret" not in found.stdout
    none = wsoak(tmp_path, "routes", "--host", target.ws, "/v1/nothing/like/it")
    assert none.returncode == FAILED
    assert "is a route" in none.stdout


def test_clean_removes_what_a_run_left_and_nothing_else(target: Target, runs: Runs, tmp_path: Path) -> None:
    account = Account(target)
    left = [account.start(X_Run_Id="a run that was killed") for _ in range(3)]
    kept = account.start(X_Run_Id="another")
    (tmp_path / "run").mkdir()
    record = {**runs["healthy"].result().run.header, "run_id": "a run that was killed", "host": target.url}
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    done = wsoak(tmp_path, "clean", "--run", str(tmp_path / "run"))
    assert done.returncode == OK, done.stderr
    assert done.stdout == "DialogueUser: 3 things of run a run that was killed removed\n"
    assert [account.http("GET", f"/v1/dialogues/{each}/history")[0] for each in left] == [404] * 3
    assert account.history(kept) == []
    unreachable = wsoak(tmp_path, "clean", "--run", "x", "--host", "http://127.0.0.1:1", "DialogueUser")
    assert unreachable.returncode == FAILED
    assert "not cleaned up" in unreachable.stdout
