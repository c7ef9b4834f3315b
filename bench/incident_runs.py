"""Incident runs: a target with a case's faults, and the load that meets them, as processes of their own."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bench.contenders import ROOT
from bench.incidents import USER_CLASSES, Case
from bench.processes import BenchError
from wsoak.judge.validity import doubts, is_valid
from wsoak.ledger.rundir import RunReader, UnreadableRun

ATTEMPTS: Final = 3
"""A run that is not valid, as when the machine was busy with something else, is made again."""

PATIENCE_S: Final = 120.0
"""How much longer than its run time a load may take to begin and to end."""
_STOP_GRACE_S: Final = 15.0
_LOG_TAIL_CHARACTERS: Final = 2000


def loaded(case: Case, folder: Path) -> tuple[Path, bool]:
    """The case's run directory, made again where the run is not valid; and whether it is.

    Raises BenchError where it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept_before = len(list(folder.glob("run-*/")))
    for attempt in range(1, ATTEMPTS + 1):
        env = environment(folder, secrets.token_hex(32))
        run = folder / f"run-{kept_before + attempt}"
        with target(case, env) as url:
            load(case, url, run, env)
        try:
            valid = believed(run)
        except UnreadableRun as error:
            raise BenchError(f"the load of {case.id} left no run: {error}") from None
        if valid:
            break
    return run, valid


def environment(home: Path, secret: str) -> dict[str, str]:
    """Ours without anything that sets an option of Locust's or wsoak's; one secret for both sides."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("LOCUST_", "WSOAK_"))}
    return {**kept, "HOME": str(home), "WSOAK_JWT_SECRET": secret}


@contextmanager
def target(case: Case, env: dict[str, str]) -> Iterator[str]:
    """The target with the case's faults, as its URL; it ends with us, however we end."""
    command = [
        *(sys.executable, "-m", "target", "--port", "0", "--stop-with-stdin"),
        *("--accounts", str(2 * case.users), *case.faults),
    ]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # what a fault makes it log is no news
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None, "opened as a pipe"
        assert process.stdout is not None, "opened as a pipe"
        try:
            line = process.stdout.readline()
            if not line:
                raise BenchError(f"the target did not start for {case.id}: try {shlex.join(command)}")
            yield str(json.loads(line)["url"])
        finally:
            process.stdin.close()
            try:
                process.wait(_STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def load(case: Case, url: str, run: Path, env: dict[str, str]) -> None:
    """Load the target as the case says.

    Raises BenchError where that leaves no run behind.
    """
    command = [
        *(sys.executable, "-m", "locust", *(USER_CLASSES[system] for system in case.systems)),
        *("--headless", "--only-summary", "--host", url, "--run-dir", str(run), "--checks", "none"),
        *("-u", str(case.users), "-r", str(case.users), "-t", f"{case.seconds}s", *case.options),
    ]
    log = run.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            process.wait(case.seconds + PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise BenchError(f"the load of {case.id} did not end:\n{_tail(log)}") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode not in (0, 1, 4):
        raise BenchError(f"the load of {case.id} ended with exit code {process.returncode}:\n{_tail(log)}")


def facts(module: str, arguments: Sequence[str], took_s: float, at_once: int = 1) -> dict[str, str]:
    """What a page says of how it was made: by which command, when, with what, in how many seconds."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("wsoak", "locust", "websockets", "uvicorn"))
    return {
        "command": f"`{shlex.join(['python', '-m', module, *arguments])}`",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": f"{packages}, Python {'.'.join(map(str, sys.version_info[:3]))}",
        "took": f"{took_s:,.0f} s, {at_once} run{'s' * (at_once > 1)} at a time",
    }


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:].strip() or "(it printed nothing)"


def believed(run: Path) -> bool:
    """Whether the run is valid."""
    reader = RunReader(run)
    told = doubts(reader.books(), reader.header, under_way=reader.under_way, damaged=reader.damaged)
    return is_valid(told)
