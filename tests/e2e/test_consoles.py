"""Consoles that are not UTF-8, that nobody reads, or that a program reads as JSON."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.processes import (
    LOCUST,
    NO_CHECKS,
    ROOT,
    UNHURRIED,
    analysis,
    environment,
    is_believed,
    loading,
)
from tests.target.client import running
from wsoak.judge.validity import STOPPED_BY_GATE

QUICK: Final = ("EchoUser", "-u", "8", "-r", "8", "--message-rate", "10")
ASCII: Final = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running() as target:
        yield f"{target.url}/echo"


def gates(folder: Path, expression: str, abort: bool = False) -> str:
    file = folder / "gates.toml"
    file.write_text(f'[[gates]]\nexpr = "{expression}"\n' + ("abort = true\n" if abort else ""))
    return str(file)


def test_in_ascii_an_abort_gate_stops_the_run_and_the_verdict_is_said(url: str, tmp_path: Path) -> None:
    impossible = gates(tmp_path, "response within 10us >= 99%", abort=True)
    arguments = (*QUICK, "--host", url, "-t", "10m", "--gates", impossible)
    with loading(tmp_path / "run", *arguments, **ASCII) as load:
        done = load.wait()
    assert done.run.header["ended_by"] == STOPPED_BY_GATE
    assert "UnicodeEncodeError" not in done.err
    assert done.out.isascii()
    assert "wsoak 0:" in done.out
    assert "Verdict" in done.out
    assert done.code == (1 if is_believed(done) else 4)


def test_under_json_stdout_is_json_and_the_rest_is_on_stderr(url: str, tmp_path: Path) -> None:
    meets = gates(tmp_path, "usable >= 0%")
    arguments = (*QUICK, "--host", url, "-t", "3s", "--checks", "preflight", "--gates", meets, "--json")
    with loading(tmp_path / "run", *arguments) as load:
        done = load.wait()
    assert isinstance(json.loads(done.out), list)
    for words in ("Checks before the load:", "wsoak 0:", "Verdict", "The run is in"):
        assert words in done.err


def test_a_stdout_that_nobody_reads_costs_no_exit_code(url: str, tmp_path: Path) -> None:
    command = [
        LOCUST,
        *NO_CHECKS,
        *UNHURRIED,
        *QUICK,
        "--headless",
        "--only-summary",
        "--run-dir",
        str(tmp_path / "run"),
    ]
    command += ["--host", url, "-t", "3s", "--gates", gates(tmp_path, "response.max < 0.001ms")]
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as gone:
        os.fdopen(reading, "rb", buffering=0).close()
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment(tmp_path),
            stdout=gone,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    said = done.stderr.decode()
    assert "Traceback" not in said
    assert (tmp_path / "run" / "verdict.json").exists(), said
    # 4 where the machine was busy
    assert done.returncode in (1, 4), said


def test_the_analysis_speaks_to_an_ascii_console(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ASCII.items():
        monkeypatch.setenv(name, value)
    told = analysis("diagnose", ROOT / "results" / "sample")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.isascii()
