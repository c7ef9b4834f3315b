"""Diagnose: findings for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.diagnose import WIDTH
from analysis.frames import load
from tests.analysis.runs import SCENES, closed, made

Scene = Callable[[str], Path]
FIELDS = {
    "id",
    "system",
    "severity",
    "count",
    "share",
    "first_seen_s",
    "last_seen_s",
    "evidence",
    "hint",
}


@pytest.mark.parametrize("name", SCENES)
def test_json_is_a_list_of_findings(scene: Scene, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["diagnose", str(scene(name)), "--json"]) == 0

    out = json.loads(capsys.readouterr().out)
    assert [found["id"] for found in out] == [finding.id for finding in load(scene(name)).findings]
    assert all(set(found) == FIELDS for found in out)


@pytest.mark.parametrize("name", SCENES)
def test_text_says_validity_findings_and_what_happened(
    scene: Scene, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["diagnose", str(scene(name))]) == 0

    out = capsys.readouterr().out
    assert ("NOT VALID" in out) == (name == "cut")
    assert ("No findings." in out) == (name in ("healthy", "cut", "distributed"))
    assert out.count("Where to look:") == len(load(scene(name)).findings)
    assert "What happened:" in out
    assert all(len(line) <= WIDTH for line in out.splitlines())


def test_an_invalid_run_is_told_beside_the_json(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    main(["diagnose", str(scene("cut")), "--json"])

    out, err = capsys.readouterr()
    assert json.loads(out) == []
    assert "NOT VALID" in err


def test_a_server_cannot_write_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b[2J\x07\u202eevil\r\n"
    path = made(
        tmp_path / "run", closed(1008, server_error=evil, reason=evil, usable=False), name=evil, run_id=evil
    )

    for arguments in (["diagnose", str(path)], ["report", str(path)], ["compare", str(path), str(path)]):
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert all(line.isprintable() for line in out.splitlines())
        assert "\\x1b[2J" in out
