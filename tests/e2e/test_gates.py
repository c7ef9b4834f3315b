"""Gates: every exit code, from ``locust --gates`` and from ``analysis gate``, by real processes."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from junitparser import JUnitXml

from tests.distributed.cluster import FORKS, cluster
from tests.e2e.processes import BUSY, ENDLESS, EXIT_INVALID, Load, Outcome, analysis, loading
from tests.target.client import running
from wsoak.ledger.books import Books
from wsoak.ledger.rundir import JUNIT_FILE, VERDICT_FILE
from wsoak.ledger.units import NS_PER_MS

ECHO: Final = ("-f", "tests/e2e/locustfile_target.py", "EchoUser")
USERS: Final = 20
LOAD: Final = ("-u", str(USERS), "-r", str(USERS), "--message-rate", "10", *ENDLESS)
FEW: Final = ("-u", str(USERS), "-r", str(USERS), "--message-rate", "5", *ENDLESS)
TOO_SHORT: Final = ("-u", "500", "-r", "5", *ENDLESS)
HURRIED: Final = ("--latency-limit", "1000")
MEETS: Final = ("usable >= 80%", "response p(90) < 10s", "findings{severity=critical} == 0")
FAILS: Final = ("usable >= 80%", "response within 10us >= 99%", "usable >= 99.9%")
SLOW: Final = ("response.max < 50ms",)
OPEN: Final = ("usable >= 80%", "response p(99.9) < 10s")
"""The second takes 2,995 samples."""


HELD_UP_S: Final = 0.3


@dataclass(frozen=True, slots=True)
class Case:
    """A run and its gates, and how it must end; it goes on until it has so many ``replies``."""

    gates: tuple[str, ...]
    code: int
    words: tuple[str, ...]
    arguments: tuple[str, ...] = LOAD
    replies: int = 400
    abort: bool = False
    distributed: bool = False
    starved: bool = False


CASES: Final = {
    # 4, and not 1: it is not the server that was slow
    "starved": Case(SLOW, 4, ("fail",), (*LOAD, *HURRIED), starved=True),
    "inconclusive": Case(OPEN, 3, ("pass", "inconclusive"), FEW, replies=800),
    "pass": Case(MEETS, 0, ("pass", "pass", "pass")),
    "fail": Case(FAILS, 1, ("pass", "fail", "inconclusive")),
    "mistake": Case(("usable >= 99", "usabel >= 99%"), 2, ()),
    # the run ends before its ramp
    "invalid": Case(FAILS[1:2], 4, ("fail",), TOO_SHORT, replies=20),
    "abort": Case(FAILS[1:2], 1, ("fail",), abort=True),
    "distributed pass": Case(MEETS, 0, ("pass", "pass", "pass"), distributed=True),
    "distributed abort": Case(FAILS[1:2], 1, ("fail",), abort=True, distributed=True),
    "distributed mistake": Case(("usable >= 99", "usabel >= 99%"), 2, (), distributed=True),
    "distributed inconclusive": Case(OPEN, 3, ("pass", "inconclusive"), FEW, distributed=True),
    "distributed invalid": Case(FAILS[1:2], 4, ("fail",), TOO_SHORT, replies=20, distributed=True),
}
JUDGED: Final = {name: case for name, case in CASES.items() if case.words}
# one of several processes is enough: a run's directory does not show how many wrote it
ANALYSED: Final = {name: case for name, case in JUDGED.items() if case.abort or not case.distributed}


def write_gates(path: Path, expressions: tuple[str, ...], abort: bool = False) -> Path:
    more = 'abort = true\ndelay = "1s"' if abort else ""
    path.write_text("\n".join(f"[[gates]]\nexpr = '''{each}'''\n{more}" for each in expressions))
    return path


@dataclass(frozen=True, slots=True)
class Judged:
    """A run that has ended, its ``verdict.json`` then, and what the analysis says of it afterwards."""

    run: Outcome
    verdict: dict[str, Any]
    analysed: subprocess.CompletedProcess[str] | None


def judged(folder: Path, case: Case, host: str) -> Judged:
    """Load, and judge again."""
    done = run_case(folder, case, host)
    if not case.words:
        return Judged(done, {}, None)
    told = verdict(done.path)
    if case not in ANALYSED.values():
        return Judged(done, told, None)
    return Judged(done, told, analysis("gate", done.path, "--gates", folder / "gates.toml", "--json"))


def run_case(folder: Path, case: Case, host: str) -> Outcome:
    """Load alone."""
    file = write_gates(folder / "gates.toml", case.gates, case.abort)
    arguments = (*case.arguments, "--gates", str(file), "--host", host)
    if not case.distributed:
        with loading(folder / "run", *ECHO, *arguments) as started:
            if case.starved:
                starve(started)
            return ended(started, case)
    with cluster(folder, "EchoUser", *arguments, way=FORKS, forks_are_known=bool(case.words)) as forked:
        done = ended(forked.master, case)
        forked.group_ends()
        return done


def ended(started: Load, case: Case) -> Outcome:
    """The run, when it has ended by itself where it should, and else when it has had its replies."""
    if case.abort or not case.words:
        return started.wait()
    started.wait_for(lambda books: books.count("replies") >= case.replies, f"{case.replies} replies")
    return started.end()


def starve(load: Load) -> None:
    """Take the processors from the load, again and again, until its event loop has run late often enough."""

    def is_starved(books: Books) -> bool:
        if is_late(books):
            return True
        load.signal(signal.SIGSTOP)
        time.sleep(HELD_UP_S)
        load.signal(signal.SIGCONT)
        return False

    load.wait_for_sockets(USERS)
    load.wait_for(is_starved, "it was starved")


def is_late(books: Books) -> bool:
    """Whether the event loop ran later than any tenth of a second, so often that it shows in the end."""
    lags = books.histogram("hub")
    late = lags.total - lags.count_within(150 * NS_PER_MS)
    return late >= max(4, 0.05 * lags.total)


Runs = dict[str, Future[Judged]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """All cases against one target, a few at a time; a test waits for its own."""
    with ExitStack() as stack:
        target = stack.enter_context(running())
        pool = stack.enter_context(ThreadPoolExecutor(4))
        begun = {
            name: pool.submit(judged, tmp_path_factory.mktemp(name.replace(" ", "-")), case, target.url)
            for name, case in CASES.items()
        }
        yield begun
        for future in begun.values():
            future.cancel()


def verdict(path: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((path / VERDICT_FILE).read_text("utf-8"))
    return told


def code_of(judged: Judged, case: Case) -> int:
    """The exit code that the run must end with; another one only where the machine was too busy."""
    invalid = {doubt["id"] for doubt in judged.verdict.get("doubts", ()) if doubt["invalid"]}
    return EXIT_INVALID if invalid and invalid <= BUSY else case.code


@pytest.mark.parametrize("name", CASES)
def test_locust_ends_with_the_verdicts_exit_code(runs: Runs, name: str) -> None:
    judged = runs[name].result()
    assert judged.run.code == code_of(judged, CASES[name]), judged.run.said


@pytest.mark.parametrize("name", JUDGED)
def test_the_run_holds_its_verdict_as_json_and_junit_and_the_terminal_shows_it(runs: Runs, name: str) -> None:
    judged, case = runs[name].result(), CASES[name]
    done, told, code = judged.run, judged.verdict, code_of(judged, case)
    assert [each["expr"] for each in told["gates"]] == list(case.gates), done.said
    assert [each["verdict"] for each in told["gates"]] == list(case.words), done.said
    assert told["exit_code"] == code
    (suite,) = JUnitXml.fromfile(str(done.path / JUNIT_FILE))
    assert suite.tests == len(case.gates) + 1
    assert suite.failures == case.words.count("fail")
    shown = next(line for line in done.out.splitlines() if line.startswith("Verdict: "))
    assert shown.endswith(f"exit code {code}).")
    if case.gates is MEETS:
        assert all(each["samples"] > 0 for each in told["gates"])


@pytest.mark.parametrize("name", ANALYSED)
def test_the_analysis_says_the_same_of_the_same_run(runs: Runs, name: str) -> None:
    done = runs[name].result()
    assert done.analysed is not None
    assert done.analysed.returncode == code_of(done, CASES[name]), done.analysed.stderr
    assert json.loads(done.analysed.stdout) == done.verdict == verdict(done.run.path)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.words])
def test_every_mistake_in_the_gates_is_told_before_anything_is_loaded(runs: Runs, name: str) -> None:
    done = runs[name].result().run
    told = [line for line in done.err.splitlines() if line.startswith("--gates: ")]
    assert len(told) == 2, done.said
    assert 'did you mean "usable"?' in told[1]
    assert not done.path.exists()


def test_a_starved_generator_is_what_makes_the_run_invalid_not_the_gate_that_failed(runs: Runs) -> None:
    told = runs["starved"].result().verdict
    # beside it a busy machine may be to blame, and then it is told there
    invalid = [doubt["reason"] for doubt in told["doubts"] if doubt["invalid"]]
    assert any("event loop ran late" in reason for reason in invalid)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.abort])
def test_a_gate_that_may_abort_ends_the_run_in_order(runs: Runs, name: str) -> None:
    done = runs[name].result().run
    header = done.run.header
    assert header["ended_by"] == "gate", done.said
    assert header["stopped_by"]["expr"] == CASES[name].gates[0]
    # every socket was closed, and every worker reported to its end
    books = done.run.books()
    assert 0 < books.count("opened") == books.count("closed") <= USERS
    assert all(worker["final"] for worker in header["workers"])
    assert "The run is stopped." in done.err
