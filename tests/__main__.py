"""The whole suite, `python -m tests`: three pytest sessions side by side; who fails is asked once more.

    rooms ────────────┐
    e2e ──────────────┤── every one passed ──► 0
    distributed ──────┘
            │ some tests failed
            ▼
    those tests alone, one session after the other ── every one passed ──► 0, and says which had failed
                                                   └─ one failed again ──► 1

Most of the time the tests wait, for sockets and for time to pass: side by side they take half as long.
(pytest-xdist would do that otherwise, but its workers wait in threads that gevent has made its own.) But real
processes beside others on a shared machine can be stalled for seconds. So what failed beside others is asked
once more, alone; what fails alone has failed, and what then passes is named, as it may be a race.

Exit codes: 0 every test passed, 1 one failed, or a session ended in another way than by failing tests.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import IO, Final

ROOT: Final = Path(__file__).resolve().parent.parent

SESSIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "rooms": ("tests", "--ignore=tests/e2e", "--ignore=tests/distributed"),
        "e2e": ("tests/e2e",),
        "distributed": ("tests/distributed",),
    }
)
"""Pytest's arguments by session. The first one's words come as it says them, the others' in the end."""

MOST_ASKED_AGAIN: Final = 5
"""More failures than this in a session are no stall of the machine."""

EXIT_PASSED, EXIT_FAILED = 0, 1
_TESTS_FAILED: Final = 1
"""Pytest's own exit code for it."""


class Session:
    """One pytest session as a process.

    Args:
        arguments: pytest's.
        cache: a folder for pytest's notes.
        cwd: where it runs.
        out: takes what it says; shown as it comes where that is ``None``.
    """

    def __init__(
        self, arguments: Sequence[str], cache: Path, cwd: Path, out: IO[bytes] | None = None
    ) -> None:
        self.cache = cache
        self.out = out
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-o", f"cache_dir={cache}", *arguments],
            cwd=cwd,
            stdout=out,
            stderr=None if out is None else subprocess.STDOUT,
        )

    def wait(self) -> int:
        """Pytest's exit code, when it is done."""
        return self._process.wait()

    def show(self) -> None:
        """Print what it said into its file."""
        if self.out is not None:
            self.out.seek(0)
            sys.stdout.buffer.write(self.out.read())
            sys.stdout.flush()

    def failed_tests(self) -> list[str]:
        """The ids of its tests that failed; none where it ended before it could write them down."""
        noted = self.cache / "v" / "cache" / "lastfailed"
        return sorted(json.loads(noted.read_text("utf-8"))) if noted.exists() else []


def run(sessions: Mapping[str, Sequence[str]], cwd: Path, caches: Path) -> int:
    """Run the sessions side by side, and once more, one after the other, the tests that failed.

    Args:
        sessions: pytest's arguments by name.
        cwd: where pytest runs.
        caches: a folder for pytest's notes.

    Returns:
        the exit code.
    """
    again: dict[str, list[str]] = {}
    failed = False
    with ExitStack() as files:
        started = {
            name: Session(
                arguments,
                caches / name,
                cwd,
                files.enter_context(tempfile.TemporaryFile()) if number else None,
            )
            for number, (name, arguments) in enumerate(sessions.items())
        }
        for name, session in started.items():
            code = session.wait()
            session.show()
            tests = session.failed_tests()
            if code == _TESTS_FAILED and 0 < len(tests) <= MOST_ASKED_AGAIN:
                again[name] = tests
            elif code != EXIT_PASSED:
                print(f"tests: the session {name} ended with pytest's exit code {code}.", flush=True)
                failed = True
    for name, tests in again.items():
        print(f"tests: of {name}, {len(tests)} failed beside the other sessions; again, alone.", flush=True)
        alone = (*sessions[name], "--last-failed", "--last-failed-no-failures=none")
        if Session(alone, caches / name, cwd).wait() == EXIT_PASSED:
            print(f"tests: passed alone, and failed beside others: {', '.join(tests)}", flush=True)
        else:
            failed = True
    return EXIT_FAILED if failed else EXIT_PASSED


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="wsoak-tests-") as folder:
        sys.exit(run(SESSIONS, ROOT, Path(folder)))
