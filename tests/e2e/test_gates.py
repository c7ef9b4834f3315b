"""Gates: every exit code, from ``locust --gates`` and from ``analysis gate``, by real processes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from junitparser import JUnitXml

from tests.distributed.cluster import FORKS, UNHURRIED, cluster
from tests.e2e.processes import Outcome, analysis, load
from tests.target.client import running
from wsoak.ledger.rundir import JUNIT_FILE, VERDICT_FILE

ECHO: Final = ("-f", "tests/e2e/locustfile_target.py", "EchoUser", *UNHURRIED)
SHORT: Final = ("-u", "20", "-r", "20", "-t", "3s", "--message-rate", "10")
LONG: Final = ("-u", "20", "-r", "20", "-t", "100s", "--message-rate", "10")
MEETS: Final = ("usable >= 80%", "response p(90) < 10s", "findings{severity=critical} == 0")
FAILS: Final = ("usable >= 80%", "response within 10us >= 99%", "usable >= 99.9%")
OPEN: Final = ("usable >= 80%", "usable >= 99.9%")


@dataclass(frozen=True, slots=True)
class Case:
    """A run and its gates, and how it must end."""

    gates: tuple[str, ...]
    code: int
    words: tuple[str, ...]
    arguments: tuple[str, ...] = SHORT
    abort: bool = False
    distributed: bool = False


CASES: Final = {
    "pass": Case(MEETS, 0, ("pass", "pass", "pass")),
    "fail": Case(FAILS, 1, ("pass", "fail", "inconclusive")),
    "mistake": Case(("usable >= 99", "usabel >= 99%"), 2, ()),
    "inconclusive": Case(OPEN, 3, ("pass", "inconclusive")),
    # the run ends before its ramp
    "invalid": Case(FAILS[1:2], 4, ("fail",), ("-u", "500", "-r", "5", "-t", "3s")),
    "abort": Case(FAILS[1:2], 1, ("fail",), LONG, abort=True),
    "distributed abort": Case(FAILS[1:2], 1, ("fail",), LONG, abort=True, distributed=True),
}
JUDGED: Final = [name for name, case in CASES.items() if case.words]


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
    return Judged(done, told, analysis("gate", done.path, "--gates", folder / "gates.toml", "--json"))


def run_case(folder: Path, case: Case, host: str) -> Outcome:
    """Load alone."""
    file = write_gates(folder / "gates.toml", case.gates, case.abort)
    arguments = (*case.arguments, "--gates", str(file), "--host", host)
    if not case.distributed:
        return load(folder / "run", *ECHO, *arguments)
    with cluster(folder, "EchoUser", *arguments, way=FORKS) as started:
        done = started.wait()
        started.group_ends()
        return done


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


@pytest.mark.parametrize("name", JUDGED)
def test_the_analysis_says_the_same_of_the_same_run(runs: Runs, name: str) -> None:
    done = runs[name].result()
    assert done.analysed is not None
    assert done.analysed.returncode == CASES[name].code, done.analysed.stderr
    assert json.loads(done.analysed.stdout) == done.verdict == verdict(done.run.path)


def test_every_mistake_in_the_gates_is_told_before_anything_is_loaded(runs: Runs) -> None:
    done = runs["mistake"].result().run
    told = [line for line in done.err.splitlines() if line.startswith("--gates: ")]
    assert len(told) == 2, done.said
    assert 'did you mean "usable"?' in told[1]
    assert not done.path.exists()


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
