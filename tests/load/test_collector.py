"""Collector: a run directory of its own for each run, and a judgement from what is on disk."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.ledger.samples import connection
from wsoak.judge import figures
from wsoak.judge.gates import Gate, parse_gates
from wsoak.judge.verdict_text import junit
from wsoak.ledger.delta import Delta
from wsoak.ledger.rundir import (
    FINDINGS_FILE,
    JUNIT_FILE,
    RUN_FILE,
    VERDICT_FILE,
    RunReader,
    UnwritableRun,
)
from wsoak.ledger.timeline import COUNTERS
from wsoak.load.collector import Collector, new_run

STARTED_AT = 1_700_000_000.0


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run_in(path: Path) -> Path:
    """A run there."""
    Collector(path, {"started_at": STARTED_AT}).finish("stopped", workers=[])
    return path


@pytest.mark.parametrize(
    ("scenarios", "name"),
    [
        (["EchoUser"], "echo"),
        (["EchoUser", "DialogueUser"], "dialogue-echo"),
        (["Chat"], "chat"),
        (["User"], "run"),
        ([], "run"),
    ],
)
def test_a_run_is_named_by_time_and_scenarios(scenarios: list[str], name: str) -> None:
    run_id, path = new_run(None, scenarios, STARTED_AT)
    assert run_id == f"20231114-221320-{name}"
    assert path == Path("results") / run_id


def test_a_long_list_of_scenarios_still_is_a_file_name() -> None:
    _, path = new_run(None, [f"Scenario{number:04}User" for number in range(100)], STARTED_AT)
    path.mkdir(parents=True)
    assert path.is_dir()


def test_runs_of_one_second_are_numbered() -> None:
    names = []
    for _ in range(3):
        run_id, path = new_run(None, ["EchoUser"], STARTED_AT)
        run_in(path)
        names.append(run_id.removeprefix("20231114-221320-"))
    assert names == ["echo", "echo-2", "echo-3"]


@pytest.mark.parametrize("wanted", ["out", "a/b/out", "out/"])
def test_the_second_run_of_a_ui_session_gets_a_number_after_the_wanted_name(wanted: str) -> None:
    paths = [run_in(new_run(Path(wanted), ["EchoUser"], STARTED_AT)[1]) for _ in range(3)]
    first = Path(wanted)
    assert paths == [first, first.with_name("out-2"), first.with_name("out-3")]


def test_a_script_that_asks_for_a_directory_is_not_given_another() -> None:
    run_in(Path("out"))
    _, path = new_run(Path("out"), ["EchoUser"], STARTED_AT, numbered=False)
    assert path == Path("out")
    with pytest.raises(UnwritableRun, match="already holds a run; name another directory with --run-dir"):
        Collector(path, {})


def test_a_wanted_directory_that_holds_other_things_is_used() -> None:
    Path("out").mkdir()
    Path("out/gates.yml").touch()
    assert new_run(Path("out"), ["EchoUser"], STARTED_AT) == ("out", Path("out"))


@pytest.mark.parametrize("wanted", [".", "..", "sub/.."])
def test_a_directory_without_a_name_of_its_own_can_be_wanted(wanted: str, tmp_path: Path) -> None:
    here = tmp_path / "here"
    (here / "sub").mkdir(parents=True)
    os.chdir(here)
    ids = []
    for _ in range(2):
        run_id, path = new_run(Path(wanted), ["EchoUser"], STARTED_AT)
        run_in(path)
        ids.append(run_id)
    base = Path(wanted).resolve().name
    assert ids == [base, f"{base}-2"]


def test_an_id_can_stand_in_a_header_whatever_the_directory_is_called() -> None:
    run_id, path = new_run(Path("测试 \r\nX: y"), ["EchoUser"], STARTED_AT)
    assert path == Path("测试 \r\nX: y")
    assert re.fullmatch(r"[\w.~%-]+", run_id, re.ASCII)


def test_a_target_that_is_a_file_is_left_alone_and_one_sentence() -> None:
    Path("out").write_text("precious")
    _, path = new_run(Path("out"), ["EchoUser"], STARTED_AT)
    with pytest.raises(UnwritableRun, match=r"^The run directory out cannot be written: [A-Z][a-z ]+\.$"):
        Collector(path, {})
    assert Path("out").read_text() == "precious"


def test_a_target_below_a_file_is_one_sentence() -> None:
    Path("file").touch()
    _, path = new_run(Path("file/out"), ["EchoUser"], STARTED_AT)
    with pytest.raises(UnwritableRun, match=r"cannot be written: Not a directory\.$"):
        Collector(path, {})


def delta(seq: int) -> Delta:
    made = Delta("local", seq, connections=[connection(started_at=STARTED_AT + seq)])
    counts = {"opened": 1, "closed": 1, "usable": 1, "sent": seq}
    made.timeline[int(STARTED_AT) + seq, "dialogue"] = tuple(counts.get(name, 0) for name in COUNTERS)
    return made


def test_the_books_are_those_on_disk_and_the_judgement_is_kept() -> None:
    collector = Collector(Path("out"), {"started_at": STARTED_AT, "run_id": "out"})
    for seq in range(5):
        collector.add(delta(seq))
    collector.add(Delta("local", 5))
    judgement = collector.finish("stopped", workers=[])
    reader = RunReader(Path("out"))
    assert reader.books() == collector.books
    assert (reader.ended, reader.header["ended_by"]) == (True, "stopped")
    assert json.loads(Path("out", FINDINGS_FILE).read_text()) == [
        each.to_json() for each in judgement.findings
    ]
    assert judgement.valid
    assert any("5 of 5 handshakes" in sentence for sentence in judgement.sentences)


def test_a_run_without_a_connection_is_not_valid() -> None:
    judgement = Collector(Path("out"), {"started_at": STARTED_AT}).finish("stopped", workers=[])
    assert not judgement.valid
    assert "no-data" in [doubt.id for doubt in judgement.doubts]


@pytest.mark.parametrize("lost", ["the directory", "the findings"])
def test_a_judgement_that_cannot_be_written_is_one_sentence(lost: str) -> None:
    collector = Collector(Path("out"), {"started_at": STARTED_AT})
    collector.add(delta(0))
    if lost == "the directory":
        shutil.rmtree("out")
    else:
        Path("out", FINDINGS_FILE).mkdir()
        Path("out", FINDINGS_FILE, "full").touch()
    with pytest.raises(UnwritableRun, match=r"^Writing to out failed: [A-Z][a-z ]+\.$"):
        collector.finish("stopped", workers=[])


def test_a_run_that_cannot_be_read_back_is_one_sentence() -> None:
    collector = Collector(Path("out"), {"started_at": STARTED_AT})
    run_file = Path("out", RUN_FILE)

    def finish_and_break(**fields: object) -> None:
        run_file.write_text(json.dumps({"schema_version": 10**6, **fields}))

    collector._writer.finish = finish_and_break  # type: ignore[method-assign]
    with pytest.raises(UnwritableRun, match="update wsoak"):
        collector.finish("stopped", workers=[])


def gates_in(path: Path, *expressions: str) -> tuple[list[Gate], Path]:
    """Gates, and the file that they are from."""
    path.write_text("\n".join(f"[[gates]]\nexpr = '''{each}'''" for each in expressions))
    return parse_gates(path.read_bytes(), str(path)), path


def test_gates_are_judged_from_what_is_on_disk_and_kept_beside_it() -> None:
    gates, file = gates_in(Path("gates.toml"), "usable >= 10%", "close{code=1000}.count == 0")
    collector = Collector(Path("out"), {"started_at": STARTED_AT}, gates, file)
    for seq in range(5):
        collector.add(delta(seq))
    verdict = collector.finish("stopped", workers=[]).verdict
    assert verdict is not None
    assert [result.verdict for result in verdict.results] == ["pass", "fail"]
    assert verdict.exit_code == 1
    assert json.loads(Path("out", VERDICT_FILE).read_text()) == verdict.to_json()
    assert Path("out", JUNIT_FILE).read_text() == junit(verdict)


def test_without_gates_there_is_no_verdict() -> None:
    assert Collector(Path("out"), {"started_at": STARTED_AT}).finish("stopped", workers=[]).verdict is None
    assert not Path("out", VERDICT_FILE).exists()


@pytest.fixture
def nobody_provides(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that makes load, in which the analysis is never imported."""
    monkeypatch.setattr(figures, "PROVIDERS", {})


@pytest.mark.usefixtures("nobody_provides")
def test_a_drift_is_what_the_analysis_says_in_a_process_of_its_own() -> None:
    gates, file = gates_in(Path("gates.toml"), "usable >= 10%", "drift.memory < 2%/h")
    collector = Collector(Path("out"), {"started_at": STARTED_AT}, gates, file)
    for seq in range(5):
        collector.add(delta(seq))
    verdict = collector.finish("stopped", workers=[]).verdict
    assert verdict is not None
    assert [result.verdict for result in verdict.results] == ["pass", "inconclusive"]
    # the analysis looked, and found no soak; in this process nobody could have
    assert verdict.results[1].note not in ("", "not measured")
    assert json.loads(Path("out", VERDICT_FILE).read_text()) == verdict.to_json()


@pytest.mark.usefixtures("nobody_provides")
def test_a_drift_that_the_analysis_cannot_measure_is_left_open(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gates, file = gates_in(Path("gates.toml"), "usable >= 10%", "drift.memory < 2%/h")
    collector = Collector(Path("out"), {"started_at": STARTED_AT}, gates, file)
    for seq in range(5):
        collector.add(delta(seq))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    verdict = collector.finish("stopped", workers=[]).verdict
    assert verdict is not None
    assert [result.verdict for result in verdict.results] == ["pass", "inconclusive"]
    assert verdict.results[1].note == "not measured"
    assert "could not measure the drift" in caplog.text
