"""Gates: every exit code, from ``locust --gates`` and from ``analysis gate``, by real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from junitparser import JUnitXml

from tests.distributed.cluster import FORKS, UNHURRIED, cluster
from tests.e2e.processes import Load, Outcome, analysis, load, loading
from tests.target.client import running
from wsoak.ledger.books import Books
from wsoak.ledger.rundir import JUNIT_FILE, VERDICT_FILE
from wsoak.ledger.units import NS_PER_MS

ECHO: Final = ("-f", "tests/e2e/locustfile_target.py", "EchoUser", *UNHURRIED)
SHORT: Final = ("-u", "20", "-r", "20", "-t", "3s", "--message-rate", "10")
LONG: Final = ("-u", "20", "-r", "20", "-t", "100s", "--message-rate", "10")
TOO_SHORT: Final = ("-u", "500", "-r", "5", "-t", "3s")
HURRIED: Final = ("--latency-limit", "1000")
MEETS: Final = ("usable >= 80%", "response p(90) < 10s", "findings{severity=critical} == 0")
FAILS: Final = ("usable >= 80%", "response within 10us >= 99%", "usable >= 99.9%")
SLOW: Final = ("response.max < 50ms",)
OPEN: Final = ("usable >= 80%", "response p(99.9) < 10s")
"""The second takes 2,995 samples, and ten seconds of twenty users with ten messages a second are 2,000."""
TEN_SECONDS: Final = ("-u", "20", "-r", "20", "-t", "10s", "--message-rate", "10")


HOG: Final = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"


@dataclass(frozen=True, slots=True)
class Case:
    """A run and its gates, and how it must end."""

    gates: tuple[str, ...]
    code: int
    words: tuple[str, ...]
    arguments: tuple[str, ...] = SHORT
    abort: bool = False
    distributed: bool = False
    starved: bool = False


CASES: Final = {
    # the longest first
    # 4, and not 1: it is not the server that was slow
    "starved": Case(SLOW, 4, ("fail",), (*TEN_SECONDS, *HURRIED, "-t", "12s"), starved=True),
    "inconclusive": Case(OPEN, 3, ("pass", "inconclusive"), TEN_SECONDS),
    "pass": Case(MEETS, 0, ("pass", "pass", "pass")),
    "fail": Case(FAILS, 1, ("pass", "fail", "inconclusive")),
    "mistake": Case(("usable >= 99", "usabel >= 99%"), 2, ()),
    # the run ends before its ramp
    "invalid": Case(FAILS[1:2], 4, ("fail",), TOO_SHORT),
    "abort": Case(FAILS[1:2], 1, ("fail",), LONG, abort=True),
    "distributed pass": Case(MEETS, 0, ("pass", "pass", "pass"), distributed=True),
    "distributed abort": Case(FAILS[1:2], 1, ("fail",), LONG, abort=True, distributed=True),
    "distributed mistake": Case(("usable >= 99", "usabel >= 99%"), 2, (), distributed=True),
    "distributed inconclusive": Case(OPEN, 3, ("pass", "inconclusive"), distributed=True),
    "distributed invalid": Case(FAILS[1:2], 4, ("fail",), TOO_SHORT, distributed=True),
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
    if case.starved:
        with loading(folder / "run", *ECHO, *arguments) as started:
            starve(started)
            return started.wait()
    if not case.distributed:
        return load(folder / "run", *ECHO, *arguments)
    with cluster(folder, "EchoUser", *arguments, way=FORKS, forks_are_known=bool(case.words)) as forked:
        done = forked.wait()
        forked.group_ends()
        return done


def starve(load: Load) -> None:
    """Give the load's core to a hog until its event loop has run late often enough."""
    load.wait_for_sockets(20)
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(load.pid, {core})
    os.setpriority(os.PRIO_PROCESS, load.pid, 19)
    group = Path("/proc") / str(load.pid) / "autogroup"
    if group.exists():
        # a session is a group of its own, within which alone niceness counts
        group.write_text("19")
    hog = subprocess.Popen([sys.executable, "-c", HOG, str(core)])
    try:
        load.wait_for(lambda books: late(books) >= 4, "the hog had starved it")
    finally:
        hog.kill()
        hog.wait()


def late(books: Books) -> int:
    """How often the event loop ran later than any tenth of a second."""
    lags = books.histogram("hub")
    return lags.total - lags.count_within(150 * NS_PER_MS)


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


@pytest.mark.parametrize("name", CASES)
def test_locust_ends_with_the_verdicts_exit_code(runs: Runs, name: str) -> None:
    done = runs[name].result().run
    assert done.code == CASES[name].code, done.said


@pytest.mark.parametrize("name", JUDGED)
def test_the_run_holds_its_verdict_as_json_and_junit_and_the_terminal_shows_it(runs: Runs, name: str) -> None:
    done, told, case = runs[name].result().run, runs[name].result().verdict, CASES[name]
    assert [each["expr"] for each in told["gates"]] == list(case.gates), done.said
    assert [each["verdict"] for each in told["gates"]] == list(case.words), done.said
    assert told["exit_code"] == case.code
    (suite,) = JUnitXml.fromfile(str(done.path / JUNIT_FILE))
    assert suite.tests == len(case.gates) + 1
    assert suite.failures == case.words.count("fail")
    shown = next(line for line in done.out.splitlines() if line.startswith("Verdict: "))
    assert shown.endswith(f"exit code {case.code}).")
    if case.gates is MEETS:
        assert all(each["samples"] > 0 for each in told["gates"])


@pytest.mark.parametrize("name", ANALYSED)
def test_the_analysis_says_the_same_of_the_same_run(runs: Runs, name: str) -> None:
    done = runs[name].result()
    assert done.analysed is not None
    assert done.analysed.returncode == CASES[name].code, done.analysed.stderr
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
    assert "hub-lag" in [doubt["id"] for doubt in told["doubts"] if doubt["invalid"]]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.abort])
def test_a_gate_that_may_abort_ends_the_run_in_order(runs: Runs, name: str) -> None:
    done = runs[name].result().run
    header = done.run.header
    assert header["ended_by"] == "gate", done.said
    assert header["stopped_by"]["expr"] == CASES[name].gates[0]
    assert header["ended_at"] - header["started_at"] < 60
    # every socket was closed, and every worker reported to its end
    books = done.run.books()
    assert books.count("opened") == books.count("closed") == 20
    assert all(worker["final"] for worker in header["workers"])
    assert "The run is stopped." in done.err
