"""Two runs, or two sets of runs, side by side."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import main
from analysis.compare import as_json, compare, figures, side
from tests.analysis.runs import SCENES, made
from wsoak.ledger.rundir import UnreadableRun

Scene = Callable[[str], Path]


def rows(before: str, after: str) -> dict[str, tuple[str, str]]:
    return {label: (one, other) for label, one, other in compare(side(before), side(after)).rows}


def test_the_table_of_an_incident_report(scene: Scene) -> None:
    table = rows(str(scene("route-not-found")), str(scene("healthy")))

    assert list(table)[:5] == [
        "connection success rate",
        "usable",
        "errors a second",
        "reconnect attempts",
        "does the function work",
    ]
    assert table["connection success rate"] == ("0 %", "100 %")
    assert table["usable"] == ("no data", "100 %")
    assert table["reconnect attempts"] == ("3,488", "0")
    assert table["errors a second"] == ("175.36", "0")
    assert table["closed 1000 by run's end"] == ("0", "20")
    before, after = table["does the function work"]
    assert before == "no: none of the handshakes succeeded and found route-not-found"
    assert after.startswith("yes")


WORKS = {
    "healthy": True,
    "datetime-crash": False,
    "session-denied": False,
    "lost-history": False,
    "route-not-found": False,
    "refused": False,
    "mixed": False,
    "cut": None,
    "distributed": True,
}


@pytest.mark.parametrize("name", SCENES)
def test_a_function_works_when_every_step_does_and_no_fault_was_found(scene: Scene, name: str) -> None:
    works, why = figures(scene(name)).works

    assert works is WORKS[name]
    assert why


def test_of_a_set_each_figure_is_the_median_of_the_runs_with_its_range(tmp_path: Path) -> None:
    for users in (4, 6, 20):
        made(tmp_path / f"run-{users:02}", users=users)

    table = rows(str(tmp_path / "run-*"), str(tmp_path / "run-04"))

    assert table["handshakes tried"] == ("6 (4 to 20)", "4")
    assert table["does the function work"][0] == "yes, in all 3 runs"


def test_a_set_can_be_named_with_commas_or_as_a_glob(scene: Scene) -> None:
    one, two = scene("healthy"), scene("refused")

    assert [run.run_id for run in side(f"{one},{two}")] == ["healthy", "refused"]
    assert len(side(str(one.parent / "*"))) >= 2


def test_a_set_that_works_sometimes_does_not_work(scene: Scene) -> None:
    both = f"{scene('healthy')},{scene('refused')}"

    assert rows(both, both)["does the function work"][0].startswith("no: it does in 1 of 2 runs; none of the")


def test_findings_of_each_side_are_told_with_their_hints(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(scene("session-denied")), str(scene("healthy"))]) == 0

    out = capsys.readouterr().out
    before, after = out.split("\nAFTER (")
    assert "CRITICAL closed-policy-denied on dialogue" in before
    assert "Where to look:" in before
    assert "no findings" in after


def test_an_invalid_run_is_called_so(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    main(["compare", str(scene("cut")), str(scene("healthy"))])

    out = capsys.readouterr().out
    assert "NOT VALID (cut)" in out
    assert "cannot be said: nothing failed" in out


def test_json_holds_each_run_s_figures(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(scene("refused")), str(scene("healthy")), "--json"]) == 0

    plain = json.loads(capsys.readouterr().out)
    assert plain == json.loads(as_json(compare(side(str(scene("refused"))), side(str(scene("healthy"))))))
    (before,), (after,) = plain["before"], plain["after"]
    assert (before["works"], after["works"]) == (False, True)
    assert (before["handshake_success"], after["handshake_success"]) == (0.0, 1.0)
    assert before["findings"][0]["id"] == "server-unreachable"
    assert (before["response_p50_ms"], after["response_n"]) == (None, 370)


def test_the_table_of_an_incident_report_is_in_the_json(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["compare", str(scene("route-not-found")), str(scene("healthy")), "--json"])

    told = json.loads(capsys.readouterr().out)
    rows_of = {row["figure"]: (row["before"], row["after"]) for row in told["incident_report"]}
    assert rows_of["connection success rate"] == ("0 %", "100 %")
    assert rows_of["reconnect attempts"] == ("3,488", "0")
    assert rows_of["does the function work"][1].startswith("yes")
    assert told["table"][: len(rows_of)] == told["incident_report"]


def test_of_several_systems_each_is_told_whether_it_works(scene: Scene) -> None:
    denied, healthy = (figures(scene(name)) for name in ("session-denied", "healthy"))
    both = replace(denied, shares={**denied.shares, "call": (1.0, 1.0)})

    told = {label: cells for label, *cells in compare((both,), (healthy,)).incident}

    assert told["does dialogue work"] == [
        "no: none of the sockets became usable and found closed-policy-denied",
        "yes: every step succeeded and no fault was found",
    ]
    assert told["does call work"] == [
        "yes: every step succeeded and no fault was found",
        "cannot be said: it was not tried",
    ]
    assert not [label for label, *_ in compare((denied,), (healthy,)).incident if "dialogue" in label]


def test_as_markdown_it_is_a_table_with_the_findings_below(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["compare", str(scene("route-not-found")), str(scene("healthy")), "--markdown"])

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "|  | BEFORE (route-not-found) | AFTER (healthy) |"
    assert lines[1] == "|---|---|---|"
    assert "| connection success rate | 0 % | 100 % |" in lines
    assert all(line.count(" | ") == 2 for line in lines if line.startswith("| "))
    below = lines[lines.index("**BEFORE**") :]
    assert any(
        line.startswith("- ERROR route-not-found on") or "route-not-found on" in line for line in below
    )
    assert "- no findings" in below


def test_it_writes_a_page_only_when_asked(scene: Scene, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in scene("refused").rglob("*")}
    page = tmp_path / "page.html"

    assert main(["compare", str(scene("refused")), str(scene("healthy")), "--html", str(page)]) == 0

    assert {path: path.stat().st_mtime_ns for path in scene("refused").rglob("*")} == before
    text = page.read_text()
    assert "server-unreachable on dialogue" in text
    assert "does the function work" in text


@pytest.mark.parametrize("text", ["", ",", "/nowhere/*"])
def test_a_set_that_names_no_run_is_refused(text: str) -> None:
    with pytest.raises(UnreadableRun):
        side(text)


# ------------------------------------------------------------------------------------------ unlike loads


CONDITIONS: list[tuple[dict[str, Any], str]] = [
    ({"workers": ("a", "b")}, "The number of workers differs: a single process before, 2 workers after."),
    (
        {"workers": ("a", "b"), "expected_workers": 3},
        "The number of workers differs: a single process before, 2 of 3 workers after.",
    ),
    ({"options": {"shape": "soak:users=4"}}, "The load shape differs: none before, soak:users=4 after."),
    (
        {"options": {"arrival_rate": 30.0}},
        "The rate of arrivals differs: as users come free (closed model) before, 30 a second after.",
    ),
]


@pytest.mark.parametrize(("fields", "sentence"), CONDITIONS)
def test_runs_under_unlike_loads_are_compared_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, Any], sentence: str
) -> None:
    before, after = made(tmp_path / "before", users=4), made(tmp_path / "after", users=4, **fields)

    compared = compare(side(str(before)), side(str(after)))
    assert compared.differences == (sentence,)
    assert json.loads(as_json(compared))["differences"] == [sentence]

    page = tmp_path / "page.html"
    assert main(["compare", str(before), str(after), "--html", str(page)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert sentence in out
    assert out.index("does the function work") < out.index("not made under the same load")
    assert sentence in page.read_text()


def test_a_side_whose_own_runs_differ_is_said_too(tmp_path: Path) -> None:
    for name, shape in (("one", "soak:users=4"), ("two", "")):
        made(tmp_path / name, users=4, options={"shape": shape})
    both = str(tmp_path / "*")

    (sentence,) = compare(side(both), side(both)).differences

    assert sentence == "The load shape differs: none and soak:users=4 before, none and soak:users=4 after."


def test_runs_under_like_loads_have_no_such_sentence(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    # users, faults and lengths are what is compared
    main(["compare", str(scene("refused")), str(scene("mixed"))])

    assert "same load" not in capsys.readouterr().out


def test_a_cut_run_does_not_say_who_reported(tmp_path: Path) -> None:
    path = made(tmp_path / "run", users=4, workers=("a", "b"), cut=True)

    assert figures(path).conditions["number of workers"] == "2 workers"
