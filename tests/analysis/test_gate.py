"""Gate: the verdict on a run from its directory, its exit codes, and the files that it writes."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from junitparser import JUnitXml

from analysis import gate
from analysis.__main__ import main
from tests.analysis.runs import HEALTHY, Way, closed, made
from wsoak.ledger.rundir import JUNIT_FILE, VERDICT_FILE, RunReader

Scene = Callable[[str], Path]


def crash_first(_user: int, _attempt: int, second: float) -> Way:
    """Sockets are closed at once in the first five seconds."""
    return closed(1008, age_s=0.1, usable=False, replies=False, reconnect=True) if second < 5 else HEALTHY


@pytest.fixture
def gates(tmp_path: Path) -> Callable[[str], str]:
    """Writes a file of gates, one a line of the text; its path."""

    def write(text: str) -> str:
        path = tmp_path / "gates.toml"
        path.write_text("\n".join(f"[[gates]]\nexpr = '''{line}'''" for line in text.splitlines()))
        return str(path)

    return write


@pytest.mark.parametrize(
    ("scene_name", "lines", "code", "words"),
    [
        ("healthy", "usable >= 80%\nresponse p(95) < 250ms\nfindings == 0", 0, ["pass"] * 3),
        ("healthy", "usable >= 80%\nresponse p(95) < 1ms", 1, ["pass", "fail"]),
        ("healthy", "usable >= 99.9%\nresponse p(95) < 1s", 3, ["inconclusive", "pass"]),
        ("healthy", "reconnect.recovery < 30s", 3, ["inconclusive"]),
        ("healthy", "usable{name=nobody} >= 80%", 3, ["inconclusive"]),
        ("healthy", "usable >= 99.9%\nresponse p(95) < 1ms", 1, ["inconclusive", "fail"]),
        ("cut", "response p(95) < 1s", 4, ["pass"]),
        ("cut", "response p(95) < 1ms", 4, ["fail"]),
        ("datetime-crash", "handshake.success >= 80%\nusable >= 80%", 1, ["pass", "fail"]),
        ("datetime-crash", "findings{severity=critical} == 0", 1, ["fail"]),
        ("datetime-crash", "close{code=1008}.rate < 1%", 1, ["fail"]),
        ("lost-history", "observed{id=history-lost}.count == 0", 1, ["fail"]),
    ],
)
def test_the_exit_code_is_the_verdicts(
    own_scene: Scene,
    gates: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
    scene_name: str,
    lines: str,
    code: int,
    words: list[str],
) -> None:
    path = own_scene(scene_name)
    assert main(["gate", str(path), "--gates", gates(lines)]) == code
    out = capsys.readouterr().out
    assert f"exit code {code}" in out.splitlines()[-1]
    told = json.loads((path / VERDICT_FILE).read_text())
    assert [each["verdict"] for each in told["gates"]] == words
    assert told["exit_code"] == code
    assert ("NOT VALID" in out) == (code == 4)


def test_json_junit_and_markdown_say_the_same(
    own_scene: Scene, gates: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, junit, summary = own_scene("healthy"), tmp_path / "gates.xml", tmp_path / "summary.md"
    summary.write_text("# What other steps said\n\n")
    lines = gates("usable >= 80%\nresponse p(95) < 1ms")
    outputs = ("--json", "--junit", str(junit), "--markdown", str(summary))
    assert main(["gate", str(path), "--gates", lines, *outputs]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((path / VERDICT_FILE).read_text())
    assert junit.read_text() == (path / JUNIT_FILE).read_text()
    (suite,) = JUnitXml.fromfile(str(junit))
    assert (suite.tests, suite.failures, suite.errors) == (3, 1, 0)
    text = summary.read_text()
    assert text.startswith("# What other steps said\n\n### ❌ wsoak gates: fail\n")


def test_mistakes_are_told_all_at_once_before_the_run_is_read(
    gates: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gate", "does/not/exist", "--gates", gates("usable >= 99\nusabel >= 99%")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert all("gate" in line for line in told)


def test_a_run_or_a_file_that_is_not_there_is_a_mistake(
    own_scene: Scene, gates: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gate", "does/not/exist", "--gates", gates("usable >= 9%")]) == 2
    assert main(["gate", str(own_scene("healthy")), "--gates", "does/not/exist.toml"]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_an_error_of_our_own_is_not_taken_for_a_gate_that_failed(
    own_scene: Scene,
    gates: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def break_(*_: object) -> None:
        raise ZeroDivisionError("made by a test")

    monkeypatch.setattr(gate, "find", break_)
    assert main(["gate", str(own_scene("healthy")), "--gates", gates("usable >= 9%")]) == 2
    assert "made by a test" in capsys.readouterr().err


def test_a_verdict_stands_where_the_run_cannot_be_written_to(
    own_scene: Scene, gates: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = own_scene("healthy")
    (path / VERDICT_FILE).mkdir()
    (path / VERDICT_FILE / "full").touch()
    assert main(["gate", str(path), "--gates", gates("usable >= 80%")]) == 0
    assert "could not be written" in capsys.readouterr().err


def test_a_run_under_way_is_not_valid(tmp_path: Path, gates: Callable[[str], str]) -> None:
    path = made(tmp_path / "run", cut=True)
    with (path / "connections.csv").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert RunReader(path).under_way
        assert main(["gate", str(path), "--gates", gates("usable >= 80%")]) == 4
    assert [each["id"] for each in json.loads((path / VERDICT_FILE).read_text())["doubts"]] == ["under-way"]


def test_the_gate_that_stopped_the_run_has_failed_for_the_analysis_too(
    tmp_path: Path, gates: Callable[[str], str]
) -> None:
    stopped_by = {"name": "usable >= 80%", "expr": "usable >= 80%", "at_s": 4.0, "actual": "50 %"}
    path = made(tmp_path / "run", stopped_by=stopped_by)
    file = gates("usable >= 80%")
    assert main(["gate", str(path), "--gates", file]) == 0
    Path(file).write_text(f"{Path(file).read_text()}\nabort = true")
    assert main(["gate", str(path), "--gates", file]) == 1


def test_a_window_leaves_out_what_was_wrong_before(tmp_path: Path) -> None:
    path = made(tmp_path / "run", crash_first, seconds=20, users=100, ramp_s=12.0)
    file = tmp_path / "gates.toml"
    verdicts = []
    for after in ("0s", "7s"):
        file.write_text(f"[[gates]]\nexpr = 'usable >= 90%'\nafter = '{after}'")
        main(["gate", str(path), "--gates", str(file)])
        (told,) = json.loads((path / VERDICT_FILE).read_text())["gates"]
        verdicts.append(told)
    assert verdicts[0]["actual"]["value"] < 0.9
    assert verdicts[1]["actual"]["value"] == 1.0
