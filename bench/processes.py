"""The two processes of a measurement: the server with its counters, and the client under test."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import psutil

from bench.contenders import ROOT

STOP_GRACE_S = 5.0
_SERVER_PATIENCE_S = 60.0
_LOG_TAIL_CHARACTERS = 2000


class BenchError(Exception):
    """A measurement could not be made; the message says what happened, with the client's last words."""


@dataclass(frozen=True, slots=True)
class ServerSample:
    """The server's counters at one moment, `at_ns` on its clock, and its CPU time so far (user + system)."""

    handshakes: int
    messages: int
    closes: int
    drops: int
    open: int
    at_ns: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Cores:
    """The core each process is pinned to, or None where the platform or the number of cores forbids it."""

    server: int | None
    client: int | None

    @classmethod
    def available(cls) -> Cores:
        """Two different cores out of those this process may use, if there are two."""
        if not hasattr(os, "sched_getaffinity"):
            return cls(None, None)
        usable = sorted(os.sched_getaffinity(0))
        return cls(usable[0], usable[1]) if len(usable) > 1 else cls(None, None)


def pin(pid: int, core: int | None) -> None:
    """Pin a process to one core; its later threads and children inherit that. None leaves it alone."""
    if core is not None:
        os.sched_setaffinity(pid, {core})


class Server:
    """The echo server as a child process, as a context manager; it ends with us, however we end."""

    def __init__(self, core: int | None, handshake_only: bool) -> None:
        self._core = core
        self._arguments = ["--handshake-only"] if handshake_only else []
        self.url = ""
        self.totals: ServerSample | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.echo_server", "--port", "0", "--stop-with-stdin", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        pin(self._process.pid, self._core)
        self.url = str(self._answer()["url"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _value: object, _trace: TracebackType | None
    ) -> None:
        # A server that died took the other end with it; its missing totals say so below.
        with contextlib.suppress(BrokenPipeError):
            _pipe(self._process.stdin).close()
        try:
            if kind is None:
                self.totals = ServerSample(**self._answer())
            self._process.wait(_SERVER_PATIENCE_S)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            _pipe(self._process.stdout).close()

    def kill(self) -> None:
        """End it without its totals."""
        self._process.kill()
        self._process.wait()

    def sample(self) -> ServerSample:
        """The counters now."""
        commands = _pipe(self._process.stdin)
        try:
            commands.write(b"stats\n")
            commands.flush()
        except BrokenPipeError:
            raise BenchError("the echo server has ended") from None
        return ServerSample(**self._answer())

    def _answer(self) -> dict[str, Any]:
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise BenchError("the echo server ended without an answer")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None, "opened as a pipe"
    return stream


class Client:
    """A contender's running process."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self._facts = psutil.Process(process.pid)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def check_alive(self) -> None:
        """Raise BenchError, with the end of the client's output, if it has ended."""
        if self._process.poll() is not None:
            raise BenchError(
                f"the client ended with exit code {self._process.returncode}:\n{self.log_tail()}"
            )

    def cpu_s(self) -> float:
        """CPU time so far, user + system."""
        times = self._facts.cpu_times()
        return float(times.user + times.system)

    def rss_bytes(self) -> int:
        """Resident memory now."""
        return int(self._facts.memory_info().rss)

    def log_tail(self) -> str:
        """The last of what it printed."""
        return self._log.read_text(errors="replace")[-_LOG_TAIL_CHARACTERS:].strip() or "(it printed nothing)"


@contextlib.contextmanager
def running_client(
    command: list[str],
    environment: Mapping[str, str],
    core: int | None,
    folder: Path,
    stop_grace_s: float = STOP_GRACE_S,
) -> Iterator[Client]:
    """A client in `folder`, where it writes what it writes; ended with SIGTERM, after a grace time SIGKILL.

    `folder` also keeps a project's own locust.conf and pyproject.toml out of the measurement.
    """
    log = folder / "client.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=folder,
        )
    try:
        pin(process.pid, core)
        yield Client(process, log)
    finally:
        process.terminate()
        try:
            process.wait(stop_grace_s)
        except subprocess.TimeoutExpired:
            # websocket-client's close() swallows the kill of Locust's users, which then go on.
            process.kill()
            process.wait()
