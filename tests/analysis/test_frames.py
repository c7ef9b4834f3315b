"""A run directory as books and frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from analysis.frames import BINS, CONNECTION_COLUMNS, load
from tests.analysis.runs import SCENES, STARTED_AT, header, made
from tests.judge.booked import row
from wsoak.ledger.delta import Delta
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.outcomes import OPEN
from wsoak.ledger.rundir import CONNECTIONS_FILE, LATENCY_FILE, TIMELINE_FILE, RunReader, RunWriter

Scene = Callable[[str], Path]


@pytest.mark.parametrize("name", SCENES)
def test_the_books_are_those_of_the_reader(scene: Scene, name: str) -> None:
    assert load(scene(name)).books == RunReader(scene(name)).books()


@pytest.mark.parametrize("name", SCENES)
def test_whole_columns_hold_what_the_records_hold(scene: Scene, name: str) -> None:
    run = load(scene(name))
    records = list(RunReader(scene(name)).connections())

    frame = run.connections
    assert list(frame["name"]) == [record.name for record in records]
    assert list(frame["outcome"]) == [record.outcome for record in records]
    assert list(frame["attempt"]) == [record.attempt for record in records]
    assert list(frame["by_run"]) == [record.ended_by_run for record in records]
    assert np.allclose(frame["ended_at"], [record.ended_at for record in records])
    ages = [np.nan if record.age_s is None else record.age_s for record in records]
    assert np.array_equal(frame["age_s"], ages, equal_nan=True)
    words = {None: "", True: "true", False: "false"}
    assert list(frame["usable"]) == [words[record.usable] for record in records]


@pytest.mark.parametrize("seconds", [1, 119, 120, 121, 4_000, 90_000])
def test_a_run_of_any_length_has_few_bins_that_hold_all_of_it(tmp_path: Path, seconds: int) -> None:
    writer = RunWriter(tmp_path / "run", header(1))
    delta = Delta("0", 0)
    for second in range(0, seconds, max(1, seconds // 500)):
        delta.timeline[STARTED_AT + second, "dialogue"] = row(opened=1)
    delta.timeline[STARTED_AT + seconds - 1, "dialogue"] = row(opened=1)
    writer.append(delta)
    writer._close_files()

    run = load(tmp_path / "run")

    assert run.bins <= BINS
    assert (run.bins - 1) * run.bin_s < seconds <= run.bins * run.bin_s
    assert run.totals()["opened"].sum() == len(delta.timeline)


def test_percentiles_of_a_bin_are_those_of_all_its_durations(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    writer = RunWriter(tmp_path / "run", header(1))
    batches = {second: random.lognormal(16, 1, 10 + second).astype(np.int64) for second in range(300)}
    for second, batch in batches.items():
        delta = Delta("0", second)
        delta.latency[STARTED_AT + second, "response", f"message {second % 2}"] = Histogram.of(batch)
        delta.timeline[STARTED_AT + second, "message"] = row(replies=len(batch))
        writer.append(delta)
    writer._close_files()

    run = load(tmp_path / "run")
    table = run.binned.percentiles("response", (50, 99))

    assert run.bin_s == 5
    for bin_index, found in table.iterrows():
        seconds = range(bin_index * 5, bin_index * 5 + 5)
        everything = Histogram.of(np.concatenate([batches[second] for second in seconds]))
        assert [found["n"], found["p50"] * 1e6, found["p99"] * 1e6] == pytest.approx(
            [everything.total, *everything.percentiles_ns([50, 99])]
        )


def test_events_outside_the_run_s_time_are_not_lost(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", header(1))
    delta = Delta("0", 0)
    for second in (-3, 0, 9):
        delta.timeline[STARTED_AT + second, "dialogue"] = row(opened=1)
    writer.append(delta)
    writer._close_files()

    totals = load(tmp_path / "run").totals()

    assert list(totals["opened"]) == [2] + [0] * 8 + [1]


def test_an_empty_run_has_empty_frames_with_all_columns(tmp_path: Path) -> None:
    RunWriter(tmp_path / "run", {})._close_files()

    run = load(tmp_path / "run")

    assert set(CONNECTION_COLUMNS) <= set(run.connections.columns)
    assert run.connections.empty
    assert run.gauges.empty
    assert run.totals().to_numpy().sum() == 0


@pytest.mark.parametrize("file_name", [CONNECTIONS_FILE, TIMELINE_FILE, LATENCY_FILE])
def test_a_file_cut_at_any_byte_is_read_up_to_there(tmp_path: Path, file_name: str) -> None:
    path = made(tmp_path / "run", users=3, seconds=3, ramp_s=1, cut=True)
    whole = (path / file_name).read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        (path / file_name).write_bytes(whole[:length])

        run = load(path)

        assert len(run.connections) == sum(group.count for group in run.books.ends.values())


def test_a_damaged_line_in_the_middle_is_skipped_or_left_blank(tmp_path: Path) -> None:
    path = made(tmp_path / "run", users=3, seconds=3, ramp_s=1)
    file = path / CONNECTIONS_FILE
    head, first, *rest = file.read_text().splitlines(keepends=True)
    words = first.replace(str(STARTED_AT), "not-a-time")
    file.write_text("".join([head, first, "half,a,line\n", words, '"open quote,,,\n', *rest]))

    run = load(path)

    assert len(run.connections[run.connections["outcome"] == OPEN]) >= 1
    assert run.reader.damaged[CONNECTIONS_FILE] >= 2
    assert "damaged" in {doubt.id for doubt in run.doubts}
