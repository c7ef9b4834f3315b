"""What holds for the whole suite: a test that needs a foreign program may be skipped, but not everywhere.

A test marked ``real`` uses a program that this project did not write. Where that is missing, the test is
skipped with one line that says so. With ``WSOAK_REQUIRE_REAL=1`` in the environment, such a skip fails the
session, so that a build cannot become green by missing what it should have tested.

No property test has a deadline: what a busy machine takes long for is no defect. And each draws the same
examples in every run, so that a change is judged by what it changes; ``--hypothesis-profile searching`` draws
others, and more of them.
"""

from __future__ import annotations

import os
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

REQUIRE_VARIABLE: Final = "WSOAK_REQUIRE_REAL"


class RealTests:
    """The ``real`` tests that were skipped, with their reasons.

    It listens to reports and not to the tests, which may run in other processes (pytest-xdist).
    """

    def __init__(self) -> None:
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail") and "real" in report.keywords:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.skipped.append(f"{report.nodeid}: {reason.removeprefix('Skipped: ')}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A skipped ``real`` test fails the session where they are required."""
        if self.skipped and session.exitstatus in (0, 5):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.skipped:
            return
        how_many = "1 real test was" if len(self.skipped) == 1 else f"{len(self.skipped)} real tests were"
        terminalreporter.section(f"{REQUIRE_VARIABLE}=1, and {how_many} skipped", red=True)
        for line in self.skipped:
            terminalreporter.line(line)


def pytest_configure(config: pytest.Config) -> None:
    busy = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("busy", busy, derandomize=True, database=None)
    settings.register_profile("searching", busy, derandomize=False, max_examples=2000)
    settings.load_profile(config.getoption("--hypothesis-profile") or "busy")
    if os.environ.get(REQUIRE_VARIABLE) == "1":
        config.pluginmanager.register(RealTests())
