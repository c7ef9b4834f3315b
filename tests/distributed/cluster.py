"""Cluster: a master and its workers as real processes, in both ways of starting them.

``forks`` are what ``--processes 2`` makes of one command; ``apart`` are commands of their own, each worker in
an empty folder, as on another host.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import psutil

from tests.e2e.processes import (
    LOCUST,
    NO_CHECKS,
    PATIENCE_S,
    ROOT,
    UNHURRIED,
    Load,
    Outcome,
    environment,
    eventually,
    is_alive,
)
from wsoak.ledger.rundir import RunReader

LOCUSTFILE: Final = str(ROOT / "tests" / "e2e" / "locustfile_target.py")

FORKS: Final = "forks"
APART: Final = "apart"
WAYS: Final = (FORKS, APART)

NOTHING: Final[Mapping[str, str]] = {}

LIVENESS: Final = "TEST_HEARTBEAT_LIVENESS"
"""In the environment: after so many heartbeats of a second that did not come, Locust holds a worker for
missing, and deals its users to the others. It has three; a busy machine makes one wait for longer."""

PATIENTLY: Final = {LIVENESS: "60"}
"""No test waits as long."""

SOON: Final = {LIVENESS: "5"}
"""For the tests in which somebody is."""


@contextmanager
def free_port() -> Iterator[int]:
    """A port of the loopback interface that nobody listens on, and that nobody else is given in the block.

    It is bound, and so no other process's that asks for any port, nor the own end of any connection; who asks
    for this one and lets it be used again (as servers do) may listen.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        yield port


class Worker:
    """A worker process."""

    def __init__(self, pid: int, said: Callable[[], str]) -> None:
        self.process = psutil.Process(pid)
        self._said = said

    @property
    def said(self) -> str:
        """All that it said; with a fork, all that its master said too."""
        return self._said()

    def has_heard(self, number: int) -> bool:
        """Whether no signal of this sort still waits for it."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        pending = [int(line.split()[1], 16) for line in status.splitlines() if "Pnd:" in line]
        return not any(mask & 1 << (number - 1) for mask in pending)

    def signal(self, number: signal.Signals) -> None:
        """Send this process alone a signal."""
        self.process.send_signal(number)

    @property
    def lives(self) -> bool:
        """Whether the process is there, and not only its remains."""
        try:
            return bool(self.process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False


class Cluster:
    """A master, its workers, and the run that they make.

    Attributes:
        master: ended with the block, as are the workers.
        workers: in the order in which they were started; forks in that of their process ids.
        port: where the master listens for workers.
    """

    def __init__(self, master: Load, port: int, folder: Path, stack: ExitStack) -> None:
        self.master = master
        self.workers: list[Worker] = []
        self.folder = folder
        self.port = port
        self._stack = stack

    def add_worker(self, *arguments: str, port: int = 0, env: Mapping[str, str] = NOTHING) -> Worker:
        """Start a worker in an empty folder of its own; ``port``: of something between it and the master."""
        name = f"worker{len(self.workers)}"
        cwd = self.folder / name
        cwd.mkdir()
        where = ("--master-host", "127.0.0.1", "--master-port", str(port or self.port))
        command = [LOCUST, "--worker", *where, *arguments]
        known = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **env}
        process, log = self._stack.enter_context(_started(command, cwd, self.folder, name, known))
        worker = Worker(process.pid, lambda: log.read_text("utf-8", errors="replace"))
        self.workers.append(worker)
        return worker

    def find_forks(self) -> None:
        """Take the master's forks for the workers."""

        master = psutil.Process(self.master.pid)
        forks: list[psutil.Process] = []

        def look() -> bool:
            # others, such as the target and git, come and go
            forks[:] = [child for child in master.children() if _command_of(child) == _command_of(master)]
            return len(forks) == 2

        eventually(look, "there are two forks")
        said = self.master.so_far
        self.workers = [Worker(each.pid, lambda: said().said) for each in sorted(forks, key=lambda p: p.pid)]

    def all_end(self) -> None:
        """Wait until no worker lives."""
        eventually(lambda: not any(worker.lives for worker in self.workers), "all workers have ended")

    def group_ends(self) -> None:
        """Wait until nothing is left of the master and its forks."""

        def members() -> list[int]:
            return [pid for pid in psutil.pids() if _group_of(pid) == self.master.pid and is_alive(pid)]

        eventually(lambda: not members(), "nobody of the group lives")

    def wait(self) -> Outcome:
        """Wait for the master's end."""
        return self.master.wait()


def _command_of(process: psutil.Process) -> list[str]:
    """A process's command line; empty for one that has ended."""
    try:
        return list(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


@contextmanager
def _started(
    command: list[str], cwd: Path, folder: Path, name: str, env: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A process in a group of its own, with all that it says in one file; killed at the end of the block."""
    log = folder / f"{name}.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment(folder, env),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        yield process, log
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(PATIENCE_S)


@contextmanager
def cluster(
    folder: Path,
    *arguments: str,
    way: str = FORKS,
    workers: int = 2,
    headless: bool = True,
    forks_are_known: bool = True,
    locustfile: str = LOCUSTFILE,
    worker_arguments: tuple[str, ...] = (),
    env: Mapping[str, str] = NOTHING,
) -> Iterator[Cluster]:
    """A master that writes its run to ``folder/run``, and its workers; all gone at the end of the block.

    Args:
        way: ``forks`` or ``apart``.
        arguments: the master's, and so its forks'.
        worker_arguments: those of workers that are apart.
        forks_are_known: whether to wait until the forks are there; a master that refuses may end before.
        workers: how many; for 0, the master waits for two that the test starts.
        env: what the environment of all has besides; nobody is missing soon, unless it says otherwise.
    """
    shown = ("--headless", "--only-summary") if headless else ()
    path = folder / "run"
    with ExitStack() as stack:
        port = stack.enter_context(free_port())
        where = ("-f", locustfile, "--master-bind-host", "127.0.0.1", "--master-bind-port", str(port))
        forked = ("--processes", str(workers), "--master-port", str(port))
        roles = forked if way == FORKS else ("--master", "--expect-workers", str(workers or 2))
        run_dir = ("--run-dir", str(path))
        command = [LOCUST, *where, *roles, *shown, *run_dir, *NO_CHECKS, *UNHURRIED, *arguments]
        out, err = folder / "master.out", folder / "master.err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment(folder, {**PATIENTLY, **env}),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        made = Cluster(Load(path, process, out, err), port, folder, stack)
        try:
            if way == FORKS and forks_are_known:
                made.find_forks()
            if way == APART:
                for _ in range(workers):
                    made.add_worker("-f", locustfile, *worker_arguments, env=env)
            yield made
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(PATIENCE_S)
            for worker in made.workers:
                if worker.lives:
                    worker.signal(signal.SIGKILL)


def roll(run: RunReader) -> dict[str, dict[str, Any]]:
    """The workers' attendance as ``run.json`` has it, by name."""
    return {entry["worker"]: entry for entry in run.header["workers"]}


def lost_reports(run: RunReader) -> list[str]:
    """The workers whose books are not all here."""
    return [name for name, entry in roll(run).items() if entry["missing_reports"] or not entry["final"]]
