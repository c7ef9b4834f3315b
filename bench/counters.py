"""What a bench server has served, and the thread that reports it on request."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass

_STDIN, _STDOUT = 0, 1
_READ_SIZE_BYTES = 4096


@dataclass(slots=True)
class Counters:
    """What a server has served since its start.

    `handshakes` counts 101 answers, `messages` text and binary frames received, `closes` close frames
    received (one a connection), `drops` connections that ended without one.
    """

    handshakes: int = 0
    messages: int = 0
    closes: int = 0
    drops: int = 0

    def line(self) -> str:
        """One JSON line: the counters, `open` connections, `at_ns` (perf_counter) and `cpu_s` so far."""
        record: dict[str, int | float] = dict(asdict(self))
        record["open"] = self.handshakes - self.closes - self.drops
        record["at_ns"] = time.perf_counter_ns()
        record["cpu_s"] = time.process_time()
        return json.dumps(record)


def write_line(line: str) -> None:
    """Write one line on standard output in one system call, so that lines of two threads never mix."""
    # Whoever started the server may be gone: then nobody is left to tell.
    with contextlib.suppress(BrokenPipeError):
        os.write(_STDOUT, line.encode() + b"\n")


def answer_commands(counters: Counters) -> None:
    """Start the thread that answers each `stats` line on standard input, and at its end sends us SIGTERM.

    A thread, because an event loop cannot watch every kind of standard input; it sleeps in `read` while a
    window is measured.
    """
    threading.Thread(target=_serve_commands, args=(counters,), name="commands", daemon=True).start()


def _serve_commands(counters: Counters) -> None:
    for command in _lines_of_stdin():
        if command == b"stats":
            write_line(counters.line())
        else:
            write_line(json.dumps({"error": "the only command is: stats"}))
    os.kill(os.getpid(), signal.SIGTERM)


def _lines_of_stdin() -> Iterator[bytes]:
    # Not sys.stdin: its lock, held by a daemon thread, aborts the interpreter's shutdown.
    pending = b""
    while chunk := os.read(_STDIN, _READ_SIZE_BYTES):
        *lines, pending = (pending + chunk).split(b"\n")
        yield from (line.strip() for line in lines)
