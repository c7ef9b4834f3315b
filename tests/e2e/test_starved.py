"""A generator whose CPU others take: the run is not valid, and nobody says that the server was slow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.e2e.processes import ENDLESS, EXIT_INVALID, PATIENCE_S, Outcome, analysis, loading
from tests.target.client import running
from wsoak.judge.validity import GENERATOR, STARVED_SHARE
from wsoak.ledger.books import Books
from wsoak.ledger.rundir import VERDICT_FILE
from wsoak.load.gauges import WaitReader

USERS: Final = 20
ECHO: Final = ("-f", "tests/e2e/locustfile_target.py", "EchoUser")
LOAD: Final = ("-u", str(USERS), "-r", str(USERS), "--message-rate", "100", *ENDLESS)
OWN_LIMIT: Final = ("--latency-limit", "0")
"""None: that of the gates."""
FAILS: Final = "response within 10us >= 99%"
"""With any server."""

HOGS: Final = 8
HOG: Final = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    pass"
"""Wants all of a core, until whoever started it is gone."""

CORES: Final = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []

pytestmark = [
    pytest.mark.skipif(len(CORES) < 2, reason="a core for the generator and one for the server are needed"),
    pytest.mark.skipif(
        WaitReader().read() == {}, reason="this system does not say how long a thread waited for a CPU"
    ),
]


@contextmanager
def hog(core: int) -> Iterator[None]:
    """A process that wants all of a core, for the length of a block."""
    # a session of its own: a system that shares out by session gives it as much as any other
    process = subprocess.Popen([sys.executable, "-c", HOG], start_new_session=True)
    try:
        os.sched_setaffinity(process.pid, {core})
        yield
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def is_starved(books: Books) -> bool:
    """Whether what was read until now says so, and the readings of the run's end can say no other."""
    read = [books.gauges[key] for key in books.gauges if key[1:] == (GENERATOR, "cpu_wait_share")]
    return any(summary.mean > 1.5 * STARVED_SHARE and summary.count >= 3 for summary in read)


@dataclass(frozen=True, slots=True)
class Starved:
    """The run when it has ended, its ``verdict.json`` then, and what the analysis says of it afterwards."""

    run: Outcome
    verdict: dict[str, Any]
    analysed: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def starved(tmp_path_factory: pytest.TempPathFactory) -> Starved:
    """A load that shares its core with others until it was starved; the server has another."""
    folder = tmp_path_factory.mktemp("starved")
    gates = folder / "gates.toml"
    gates.write_text(f"[[gates]]\nexpr = '{FAILS}'\n")
    arguments = (*LOAD, *OWN_LIMIT, "--gates", str(gates))
    with ExitStack() as stack:
        target = stack.enter_context(running())
        os.sched_setaffinity(target.pid, {CORES[0]})
        load = stack.enter_context(loading(folder / "run", *ECHO, *arguments, "--host", target.url))
        load.wait_for_sockets(USERS)
        os.sched_setaffinity(load.pid, {CORES[-1]})
        for _ in range(HOGS):
            stack.enter_context(hog(CORES[-1]))
        load.wait_for(is_starved, "it was starved")
        done = load.end()
    verdict = json.loads((done.path / VERDICT_FILE).read_text("utf-8"))
    return Starved(done, verdict, analysis("gate", done.path, "--gates", gates, "--json"))


def test_it_ends_with_4_and_names_who_was_starved_though_a_gate_failed(starved: Starved) -> None:
    done, told = starved.run, {doubt["id"]: doubt for doubt in starved.verdict["doubts"]}
    assert [gate["verdict"] for gate in starved.verdict["gates"]] == ["fail"], done.said
    assert done.code == EXIT_INVALID, done.said
    assert told["generator-starved"]["invalid"]
    assert "1 worker of 1 wanted a CPU and had none, local for " in told["generator-starved"]["reason"]
    assert told["generator-starved"]["reason"] in done.out


def test_the_server_is_not_said_to_have_throttled_the_load(starved: Starved) -> None:
    assert "throttled" not in {doubt["id"] for doubt in starved.verdict["doubts"]}, starved.run.said


def test_the_latency_limit_is_the_gates_and_the_run_says_so(starved: Starved) -> None:
    header = starved.run.run.header
    assert header["latency_limit_ms"] == 100.0
    assert header["latency_limit_of"] == f'gate "{FAILS}", but no less than 100 ms'


def test_the_analysis_says_the_same_of_it(starved: Starved) -> None:
    assert starved.analysed.returncode == EXIT_INVALID, starved.analysed.stderr
    assert json.loads(starved.analysed.stdout) == starved.verdict
