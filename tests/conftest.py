"""What holds for the whole suite: a test that needs a foreign program may be skipped, but not everywhere.

A test marked ``real`` uses a program that this project did not write. Where that is missing, the test is
skipped with one line that says so. With ``WSOAK_REQUIRE_REAL=1`` in the environment, such a skip fails the
session, so that a build cannot become green by missing what it should have tested.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Final

import pytest

REQUIRE_VARIABLE: Final = "WSOAK_REQUIRE_REAL"

_SKIPPED: Final = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_SKIPPED] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember the ``real`` tests that were skipped, with their reasons."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("real") is not None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        item.config.stash[_SKIPPED].append(f"{item.nodeid}: {reason.removeprefix('Skipped: ')}")
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skipped ``real`` test fails the session where they are required."""
    if session.config.stash[_SKIPPED] and _required() and session.exitstatus in (0, 5):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skipped = config.stash[_SKIPPED]
    if not skipped or not _required():
        return
    how_many = "1 real test was" if len(skipped) == 1 else f"{len(skipped)} real tests were"
    terminalreporter.section(f"{REQUIRE_VARIABLE}=1, and {how_many} skipped", red=True)
    for line in skipped:
        terminalreporter.line(line)


def _required() -> bool:
    return os.environ.get(REQUIRE_VARIABLE) == "1"
