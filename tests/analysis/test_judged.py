"""Judged: the gates of a run in its report, as ``verdict.json`` has them, whoever wrote it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from analysis.__main__ import main
from analysis.frames import load
from analysis.judged import judged
from analysis.report import html
from tests.analysis.test_report import EVIL, Tags
from wsoak.judge.verdict import PASS
from wsoak.ledger.rundir import VERDICT_FILE

Scene = Callable[[str], Path]

GATES: Final = (
    """gates = ["usable >= 80%", "response p(95) < 1ms", "usable >= 99.9%", "reconnect.recovery < 3s"]"""
)


def page_of(path: Path) -> tuple[str, Tags]:
    """The report's text without its pictures."""
    page = html(load(path), [])
    return page, Tags(page)


def test_a_report_shows_every_gate_with_what_was_measured(own_scene: Scene, tmp_path: Path) -> None:
    path, file = own_scene("healthy"), tmp_path / "gates.toml"
    file.write_text(GATES)
    assert main(["gate", str(path), "--gates", str(file)]) == 1
    told = json.loads((path / VERDICT_FILE).read_text())
    page, tags = page_of(path)
    assert "Verdict: fail. A gate failed." in tags.text
    boxes = [of["class"] for tag, of in tags.tags if tag == "tr" and of.get("class")]
    assert boxes == ["good", "bad", "note", "note"]
    for gate in told["gates"]:
        for text in (gate["name"], *(gate[key]["text"] for key in ("actual", "limit", "interval"))):
            assert text in tags.text
        assert gate["samples_text"] in tags.text
        assert gate["verdict"] == PASS or gate["note"] in tags.text
    # above what was found, and below whether to believe it
    places = [page.index(text) for text in ("The run is valid", ">Gates<", ">Findings<")]
    assert places == sorted(places)


def test_a_run_without_a_verdict_has_no_gates(own_scene: Scene) -> None:
    assert ">Gates<" not in page_of(own_scene("healthy"))[0]


def test_an_invalid_run_does_not_look_as_if_it_had_passed(own_scene: Scene, tmp_path: Path) -> None:
    path, file = own_scene("cut"), tmp_path / "gates.toml"
    file.write_text('gates = ["response p(95) < 1s"]')
    assert main(["gate", str(path), "--gates", str(file)]) == 4
    found = judged(path)
    assert found is not None
    assert (found.word, found.box, [row.verdict for row in found.rows]) == ("invalid", "bad", ["pass"])


def gate_of(**changes: Any) -> dict[str, Any]:
    """A gate's entry, with changes."""
    texts = {key: {"text": "100 %"} for key in ("actual", "limit", "interval")}
    return {
        "name": "a",
        "expr": "usable > 1%",
        "verdict": "fail",
        "samples": 1234,
        "note": "",
        **texts,
        **changes,
    }


def test_what_a_server_sent_is_escaped(own_scene: Scene) -> None:
    path = own_scene("healthy")
    evil = gate_of(name=EVIL, expr=EVIL[1:], note=EVIL, samples_text=EVIL, actual={"text": EVIL})
    (path / VERDICT_FILE).write_text(json.dumps({"verdict": "fail", "gates": [evil]}))
    page, tags = page_of(path)
    assert "alert(1)" in tags.text
    for never in ("<script", "\x1b", "\u202e"):
        assert never not in page
    assert not [of for _, of in tags.tags if "onerror" in of]


UNREADABLE: Final = {
    "no JSON": "{",
    "deep": "[" * 100_000,
    "a list": "[]",
    "no verdict": "{}",
    "a verdict of another kind": '{"verdict": ["fail"]}',
    "an unknown verdict": '{"verdict": "fine"}',
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_verdict_is_left_out(text: str, tmp_path: Path) -> None:
    (tmp_path / VERDICT_FILE).write_text(text)
    assert judged(tmp_path) is None


def test_what_is_no_gate_is_left_out_and_an_older_one_shows_what_it_has(tmp_path: Path) -> None:
    older = gate_of(limit={"comparison": ">", "value": 0.01}, actual="100 %")
    gates: list[Any] = [3, None, {"verdict": {}}, older, gate_of(verdict="well")]
    (tmp_path / VERDICT_FILE).write_text(json.dumps({"verdict": "fail", "gates": gates}))
    found = judged(tmp_path)
    assert found is not None
    assert [row.cells for row in found.rows] == [("", "", "100 %", "1,234")]


def test_hundreds_of_gates_make_a_bounded_table(tmp_path: Path) -> None:
    (tmp_path / VERDICT_FILE).write_text(json.dumps({"verdict": "fail", "gates": [gate_of()] * 500}))
    found = judged(tmp_path)
    assert found is not None
    assert (len(found.rows), found.left_out) == (60, 440)
