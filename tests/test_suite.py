"""The suite's own runner: what failed beside others is asked once more, and what fails alone has failed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.__main__ import EXIT_FAILED, EXIT_PASSED, MOST_ASKED_AGAIN, run

GOOD = "def test_good(): pass\n"
BAD = "def test_bad(): assert False\n"
# fails once: it leaves a note of having been asked
STALLED = """
import pathlib
def test_stalled():
    asked = pathlib.Path("asked")
    was = asked.exists()
    asked.touch()
    assert was
"""
GONE = "import os\ndef test_gone(): os._exit(1)\n"
MANY = f"import pytest\n@pytest.mark.parametrize('n', range({MOST_ASKED_AGAIN + 1}))\n" + STALLED.replace(
    "():", "(n):"
).replace('"asked"', 'f"asked{n}"')

CASES: Mapping[str, tuple[tuple[str, str], int, str]] = {
    "every test passes": ((GOOD, GOOD), EXIT_PASSED, ""),
    "one fails beside others, and passes alone": ((GOOD, STALLED), EXIT_PASSED, "b.py::test_stalled"),
    "one fails twice": ((GOOD, BAD), EXIT_FAILED, "1 failed beside the other sessions"),
    "a session does not end by itself": ((GOOD, GONE), EXIT_FAILED, "the session b ended with"),
    "a test cannot be read": ((GOOD, "def"), EXIT_FAILED, "the session b ended with"),
    "too many fail": ((GOOD, MANY), EXIT_FAILED, "the session b ended with"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_failed_beside_others_is_asked_once_more(
    case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (first, second), expected, said = CASES[case]
    # so that pytest takes it for its root, and not for a part of this suite
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "a.py").write_text(first)
    (tmp_path / "b.py").write_text(second)

    bare = [
        word
        for plugin in ("locust", "hypothesispytest", "timeout", "anyio")
        for word in ("-p", f"no:{plugin}")
    ]
    code = run({name: (f"{name}.py", *bare) for name in "ab"}, tmp_path, tmp_path / "caches")

    out = capfd.readouterr().out
    assert code == expected, out
    assert said in out
    assert ("passed alone" in out) == (expected == EXIT_PASSED and bool(said))
