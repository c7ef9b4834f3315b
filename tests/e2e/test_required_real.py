"""``WSOAK_REQUIRE_REAL=1``: a skipped test that needs a foreign program fails the session."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.processes import PATIENCE_S, ROOT

REAL = """
import pytest

@pytest.fixture
def browser():
    pytest.skip("no browser here")

@pytest.mark.real
def test_with_a_browser(browser):
    assert browser

@pytest.mark.real
def test_with_a_database():
    pass
"""
OURS = """
import pytest

def test_of_ours():
    pytest.skip("not on this system")

@pytest.mark.real
@pytest.mark.xfail
def test_of_a_defect():
    assert 0
"""
FAILING = (
    REAL
    + """
def test_of_ours():
    assert 0
"""
)


@pytest.mark.parametrize(
    ("suite", "required", "code"),
    [(REAL, "", 0), (REAL, "0", 0), (REAL, "1", 1), (FAILING, "", 1), (FAILING, "1", 1), (OURS, "1", 0)],
    ids=["not-asked", "no", "required", "failing", "required-and-failing", "nothing-foreign"],
)
def test_a_skipped_real_test_fails_the_session_only_where_it_is_required(
    tmp_path: Path, suite: str, required: str, code: int
) -> None:
    (tmp_path / "test_suite.py").write_text(suite)
    plugins = ("-p", "tests.conftest", "-p", "no:locust", "-p", "no:cacheprovider")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-c", os.devnull, *plugins, "--rootdir", tmp_path, tmp_path],
        cwd=ROOT,
        env={**os.environ, "WSOAK_REQUIRE_REAL": required},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "SKIPPED [1] " in done.stdout
    said = "WSOAK_REQUIRE_REAL=1, and 1 real test was skipped" in done.stdout
    named = "test_suite.py::test_with_a_browser: no browser here" in done.stdout
    assert said == named == (required == "1" and suite != OURS)
