"""Processes: locust, the analysis and foreign servers, started by a test and ended with it, by their ids."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import psutil

from wsoak.judge.validity import Doubt, doubts
from wsoak.ledger.books import Books
from wsoak.ledger.rundir import RUN_FILE, RunReader

ROOT: Final = Path(__file__).parents[2]
LOCUST: Final = str(Path(sys.executable).with_name("locust"))

NO_CHECKS: Final = ("--checks", "none")
"""Before a test's own arguments, which may say otherwise: what most tests count is the load alone."""

UNHURRIED: Final = ("--latency-limit", "60000")
"""A machine that is busy with other tests has lags; they are no matter of most tests."""

PATIENT: Final = ("--handshake-timeout", "60", "--reply-timeout", "60", "--close-timeout", "60")
"""Nothing that such a machine holds up for a while is taken for lost."""

ENDLESS: Final = ("-t", "10m")
"""A run that the test ends, when it has seen what it waits for: how long that takes is the machine's."""

PATIENCE_S: Final = 120.0
"""No healthy machine needs as long for anything here, however busy it is."""


def eventually(holds: Callable[[], Any], what: str, every_s: float = 0.05) -> None:
    """Wait until a condition holds, and look at it every so many seconds.

    Raises:
        AssertionError: after ``PATIENCE_S``.
    """
    give_up = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up, f"it never came true: {what}"
        time.sleep(every_s)


def is_alive(pid: int) -> bool:
    """Whether the process lives; one that has ended and was not collected does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def environment(home: Path, changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without anything that sets an option of Locust's or ours.

    Args:
        home: in which no configuration of Locust's is found.
    """
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("LOCUST_", "WSOAK_"))}
    return {**kept, "HOME": str(home), **(changes or {})}


# ------------------------------------------------------------------------------------------------- locust


@dataclass(frozen=True, slots=True)
class Outcome:
    """A locust that has ended: exit code, what it said, and the run's directory."""

    code: int
    out: str
    err: str
    path: Path

    @property
    def said(self) -> str:
        """All that it said, for a failed assertion."""
        return f"exit code {self.code}\n{self.out}\n{self.err}"

    @property
    def run(self) -> RunReader:
        """The run that it wrote."""
        return RunReader(self.path)


class Load:
    """A ``locust`` process at work.

    Attributes:
        path: the run's directory.
        pid: the process.
    """

    def __init__(self, path: Path, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.path = path
        self.process = process
        self.pid = process.pid
        self._out = out
        self._err = err

    def signal(self, number: signal.Signals) -> None:
        """Send this process alone a signal."""
        self.process.send_signal(number)

    def wait(self, patience_s: float = PATIENCE_S) -> Outcome:
        """Wait for its end."""
        try:
            code = self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"locust did not end in {patience_s:.0f} s:\n{self.so_far().said}") from None
        return self.so_far(code)

    def so_far(self, code: int = -1) -> Outcome:
        """What it said until now."""
        out, err = (file.read_text("utf-8", errors="replace") for file in (self._out, self._err))
        return Outcome(code, out, err, self.path)

    def wait_for(self, holds: Callable[[Books], bool], what: str) -> None:
        """Wait until what the run directory says makes ``holds`` true."""

        def look() -> bool:
            assert self.process.poll() is None, f"locust ended before {what}:\n{self.so_far().said}"
            return (self.path / RUN_FILE).exists() and holds(RunReader(self.path).books())

        # all that was written until now is read: who looks too often takes the time of who is looked at
        eventually(look, what, 0.2)

    def wait_for_sockets(self, number: int) -> None:
        """Wait until so many sockets have opened, and each of them has said something."""
        self.wait_for(
            lambda books: books.open_now >= number and books.count("replies") >= number,
            f"{number} sockets were open and in use",
        )

    def end(self) -> Outcome:
        """Ask the run to end, and wait for it."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def target_pid(self) -> int:
        """The process id of the embedded target."""
        children = psutil.Process(self.pid).children()
        targets = [child.pid for child in children if "target" in child.cmdline()]
        assert len(targets) == 1, children
        return int(targets[0])


@contextmanager
def loading(path: Path, *arguments: str, **env: str) -> Iterator[Load]:
    """A headless locust that writes its run to ``path``; killed at the end of the block if it still lives.

    It leads a process group of its own, as it does when a shell starts it. Unless told otherwise, it is
    unhurried.

    Args:
        arguments: further ones, such as the user classes.
        env: what the environment has besides.
    """
    shown = ("--headless", "--only-summary", "--run-dir", str(path))
    command = [LOCUST, *NO_CHECKS, *UNHURRIED, *arguments, *shown]
    # beside the run's directory, and not in it; where that cannot be made, as near as may be
    folder = next(parent for parent in path.parents if parent.is_dir())
    out, err = folder / f"{path.name}.out", folder / f"{path.name}.err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(folder, env),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    try:
        yield Load(path, process, out, err)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(PATIENCE_S)


def load(path: Path, *arguments: str, **env: str) -> Outcome:
    """A headless locust from start to end; see ``loading``."""
    with loading(path, *arguments, **env) as started:
        return started.wait()


def load_until(holds: Callable[[Books], bool], what: str, path: Path, *arguments: str, **env: str) -> Outcome:
    """A headless locust that is asked to end when what its run directory says makes ``holds`` true."""
    with loading(path, *arguments, *ENDLESS, **env) as started:
        started.wait_for(holds, what)
        return started.end()


# ----------------------------------------------------------------------------------------------- validity

BUSY: Final = frozenset({"generator-saturated", "generator-starved", "worker-frozen"})
"""What a machine that is busy with others rightly makes of a run, however patient that is: a process that
stood still for long is called frozen, one that has to wait for a CPU starved, and one that makes up for it
takes all of a core."""

EXIT_INVALID: Final = 4


def doubts_of(run: RunReader) -> dict[str, list[Doubt]]:
    """The doubts about a run, by id."""
    found: dict[str, list[Doubt]] = {}
    for doubt in doubts(run.books(), run.header, damaged=run.damaged):
        found.setdefault(doubt.id, []).append(doubt)
    return found


def invalid_because(run: RunReader) -> set[str]:
    """The ids of the doubts that make a run invalid, without those that a busy machine may add."""
    return _invalid(run) - BUSY


def is_believed(done: Outcome) -> bool:
    """Whether a run says that it is valid; it must be so, and where it is not, the machine's doing."""
    invalid = _invalid(done.run)
    assert invalid <= BUSY, done.said
    assert ("The run is valid." in done.out) is not bool(invalid), done.said
    return not invalid


def is_valid(done: Outcome, code: int = 0) -> None:
    """Assert that a run is valid, and ended with ``code``; or that the machine was ``BUSY``, and it so."""
    assert done.code == (code if is_believed(done) else EXIT_INVALID), done.said


def _invalid(run: RunReader) -> set[str]:
    return {id_ for id_, some in doubts_of(run).items() if any(doubt.invalid for doubt in some)}


# ----------------------------------------------------------------------------------------------- analysis


def analysis(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """``python -m analysis …`` from start to end."""
    return subprocess.run(
        [sys.executable, "-m", "analysis", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def findings(path: Path) -> list[dict[str, Any]]:
    """What ``python -m analysis diagnose RUN --json`` finds."""
    answer = analysis("diagnose", path, "--json")
    assert answer.returncode == 0, answer.stderr
    found: list[dict[str, Any]] = json.loads(answer.stdout)
    return found


# ---------------------------------------------------------------------------------------- foreign servers


class Server:
    """A program of ``tests/e2e/servers``, see there."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin: IO[str] = process.stdin
        self._stdout: IO[str] = process.stdout
        ready = json.loads(self._stdout.readline())
        self.url: str = ready["url"]

    def counts(self) -> dict[str, Any]:
        """What it has counted so far."""
        self._stdin.write("\n")
        self._stdin.flush()
        counted: dict[str, Any] = json.loads(self._stdout.readline())
        return counted


@contextmanager
def serving(*command: str, **env: str) -> Iterator[Server]:
    """A server for the length of a block."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Server(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
