"""Workers: who made the load, and how each fared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis import tables
from analysis.charts import generator
from analysis.frames import Run, load
from analysis.report import context
from analysis.style import settings
from analysis.workers import MASTER, workers_of
from tests.analysis.runs import STARTED_AT, attended, header, made
from tests.judge.booked import row
from wsoak.ledger.delta import Delta
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.records import Gauge
from wsoak.ledger.rundir import RunWriter

Scene = Callable[[str], Path]

MS = 1_000_000


def run_of(path: Path, processes: dict[str, tuple[float, int]], seconds: int = 4, **fields: Any) -> Run:
    """A run whose processes have this CPU share and event-loop lag in ms; the master has no users."""
    writer = RunWriter(path / "run", header(1, **fields))
    for name, (share, lag_ms) in processes.items():
        delta = Delta(name, 0)
        for second in range(STARTED_AT, STARTED_AT + seconds):
            delta.timeline[second, "echo"] = row(opened=1)
            delta.latency[second, "hub", name] = Histogram.of([lag_ms * MS] * 20)
            readings = {"cpu_share": share} | ({} if name == MASTER else {"users": 5.0})
            delta.gauges += [Gauge(second + 0.5, name, "generator", *each) for each in readings.items()]
        writer.append(delta)
    writer.finish(ended_at=STARTED_AT + seconds)
    return load(path / "run")


THREE = {"worker-0": (0.5, 2), "worker-1": (0.9, 40), MASTER: (0.1, 1)}


def table_of(run: Run) -> tables.Table:
    (table,) = (table for table in context(run, [])["tables"] if table.title == "Workers")
    assert isinstance(table, tables.Table)
    return table


def test_each_has_a_row_with_its_own_users_cpu_and_lag_and_the_master_comes_last(tmp_path: Path) -> None:
    workers = [attended("worker-0", 0), attended("worker-1", 1, reports=19)]
    run = run_of(tmp_path, THREE, workers=workers, expected_workers=2)

    assert table_of(run).rows == (
        ("worker-0", "5", "21", "0", "1 s", "", "50 %", "50 %", "2 ms"),
        ("worker-1", "5", "19", "0", "1 s", "", "90 %", "90 %", "40 ms"),
        (MASTER, "", "", "", "", "", "10 %", "10 %", "1 ms"),
    )
    assert table_of(run).note.startswith("2 of 2 workers reported.")
    assert ("Workers", "2") in context(run, [])["what"]


def test_one_that_was_lost_or_silent_says_for_how_long(tmp_path: Path) -> None:
    silent = attended("worker-0", 0, missing_s=[[3.0, 9.5]], missing_reports=2)
    lost = attended("worker-1", 1, missing_s=[[6.0, 20.0]], final=False)
    table = table_of(run_of(tmp_path, THREE, workers=[silent, lost], expected_workers=3))

    assert [cells[3] for cells in table.rows] == ["2", "0", ""]
    assert [cells[5] for cells in table.rows] == [
        "6.5 s from 3 s on",
        "14 s from 6 s on and lost: never sent its last report",
        "",
    ]
    assert table.note.startswith("2 of 3 workers reported.")


def test_one_that_left_early_says_when(tmp_path: Path) -> None:
    left = attended("worker-0", 0, left_s=6.5)
    table = table_of(run_of(tmp_path, THREE, workers=[left, attended("worker-1", 1)], expected_workers=2))

    assert [cells[5] for cells in table.rows] == ["left the run at 6.5 s", "", ""]


def test_a_cut_run_has_the_workers_that_have_readings(tmp_path: Path) -> None:
    path = made(tmp_path / "run", workers=("worker-0", "worker-1"), cut=True)
    run = load(path)
    told = workers_of(run.books, run.header)

    assert [(worker.name, worker.users, worker.reports) for worker in told] == [
        ("worker-0", 10, None),
        ("worker-1", 10, None),
    ]
    assert "reported" not in tables.workers(told, run.header).note


@pytest.mark.parametrize("told", [None, 1, [], ["x"], [{}]])
def test_a_header_that_names_no_workers_is_read(scene: Scene, told: Any) -> None:
    run = load(scene("healthy"))

    assert [worker.name for worker in workers_of(run.books, {"workers": told})] == ["0"]


def test_users_of_all_workers_add_up_also_where_one_has_no_reading(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", header(1))
    delta = Delta("any", 0)
    delta.timeline[STARTED_AT, "echo"] = row(opened=1)
    delta.timeline[STARTED_AT + 5, "echo"] = row(opened=1)
    # b reads at the edges of seconds, and is lost after its third reading
    reads = {"a": [0.5, 1.5, 2.5, 3.5, 4.5], "b": [0.99, 2.01, 2.99]}
    delta.gauges = [
        Gauge(STARTED_AT + at_s, name, "generator", "users", 5.0) for name in reads for at_s in reads[name]
    ]
    writer.append(delta)
    writer._close_files()

    users = load(tmp_path / "run").summed("users")

    assert users.iloc[:5].to_list() == [10, 10, 10, 5, 5]
    assert users.isna().to_list() == [False] * 5 + [True]


def test_the_generator_s_chart_has_a_line_a_process(tmp_path: Path) -> None:
    frame = generator.frame(run_of(tmp_path, THREE))

    assert list(frame.columns) == [
        *(("hub", name) for name in (MASTER, "worker-0", "worker-1")),
        *(("cpu", name) for name in (MASTER, "worker-0", "worker-1")),
    ]
    assert frame["cpu", "worker-1"].to_list() == [90.0] * 4
    assert frame["hub", "worker-1"].to_list() == pytest.approx([40.0] * 4, rel=0.01)
    assert frame.attrs["n"].endswith(", 2 workers")
    with settings():
        figure = generator.draw(frame)
    for axes in figure.axes[1:]:
        legend = axes.get_legend()
        assert legend is not None
        assert [text.get_text() for text in legend.get_texts()] == [MASTER, "worker-0", "worker-1", "limit"]
        # outside, to the right of the data
        assert legend.get_bbox_to_anchor().x0 >= axes.bbox.x1


def test_of_many_the_busiest_have_lines_and_one_line_stands_for_the_others(tmp_path: Path) -> None:
    processes = {f"worker-{n}": (0.1 + n / 100, n + 1) for n in range(40)} | {MASTER: (0.02, 500)}
    frame = generator.frame(run_of(tmp_path, processes))

    busiest = [f"worker-{n}" for n in (36, 37, 38, 39)]
    assert [name for kind, name in frame.columns if kind == "cpu"] == [*busiest, "the other 37"]
    assert frame["cpu", "the other 37"].to_list() == pytest.approx([45.0] * 4)
    # the percentile of all their readings together: 36 workers' and the master's
    assert frame["hub", "the other 37"].to_list() == pytest.approx([500.0] * 4, rel=0.01)


def test_one_process_has_two_lags_in_one_panel(scene: Scene) -> None:
    frame = generator.frame(load(scene("healthy")))

    assert list(frame.columns) == [("lag", ""), ("hub", ""), ("cpu", "")]
    with settings():
        assert len(generator.draw(frame).axes) == 2


def test_what_stands_in_a_table_is_not_repeated_among_the_facts(scene: Scene) -> None:
    facts = tables.facts(load(scene("distributed")).header)

    assert not {"workers", "marks"} & {row[0] for row in facts.rows}
    assert ("expected_workers", "2") in facts.rows
