"""The open model: what arrived, what was served, and after which wait."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis import tables
from analysis.charts import CHARTS, arrivals
from analysis.frames import Run, load
from analysis.report import context
from analysis.style import settings
from tests.analysis.runs import STARTED_AT, Offered, header, made
from tests.judge.booked import row
from wsoak.judge.summary import happened
from wsoak.ledger.delta import Delta
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.rundir import RunWriter
from wsoak.ledger.timeline import ARRIVALS

Scene = Callable[[str], Path]

STARVED = Offered(rate_per_s=10, hands=4, session_s=1.0, patience_s=3.0)
"""Four hands take four sessions a second, and ten come."""


@pytest.fixture(scope="module")
def starved(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with too few users on two workers."""
    path = tmp_path_factory.mktemp("starved") / "run"
    return load(made(path, workers=("a", "b"), offered=STARVED, options={"arrival_rate": 10.0}))


def test_the_chart_has_what_the_books_have(starved: Run) -> None:
    frame = arrivals.frame(starved)

    for column, counter in (("offered", "arrived"), ("served", "served"), ("unserved", "unserved")):
        assert frame[column].sum() * starved.bin_s == starved.books.count(counter, ARRIVALS) > 0
    # the wait of whoever is served grows until it is the patience
    assert frame["p50"].iloc[:2].max() < 1000
    assert frame["p99"].iloc[-4:-1].between(2500, 3010).all()
    # what waits is what comes within the patience, on both workers together
    assert frame["waiting"].iloc[-4:-1].between(24, 36).all()


def test_it_is_drawn_with_all_its_lines_and_the_rate_asked_for(starved: Run) -> None:
    with settings():
        figure = arrivals.draw(arrivals.frame(starved))

    legends = [axes.get_legend() for axes in figure.axes]
    shown = [[text.get_text() for text in legend.get_texts()] for legend in legends if legend]
    assert shown == [
        ["offered", "served", "not served in time", "asked for"],
        ["waiting for a user"],
        ["wait, p50", "wait, p99"],
    ]


def test_a_run_without_readings_or_waits_can_be_drawn(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", header(1))
    delta = Delta("0", 0)
    delta.timeline[STARTED_AT, ARRIVALS] = row(arrived=3)
    writer.append(delta)
    writer._close_files()

    frame = arrivals.frame(load(tmp_path / "run"))
    with settings():
        figure = arrivals.draw(frame)
        figure.canvas.draw()

    assert frame["offered"].to_list() == [3]
    assert frame.attrs["rate_per_s"] is None


def test_a_closed_model_has_no_such_chart(scene: Scene) -> None:
    assert arrivals.frame(load(scene("healthy"))).empty


def test_a_metric_of_that_name_alone_is_no_open_model(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", header(1))
    delta = Delta("0", 0)
    delta.timeline[STARTED_AT, ARRIVALS] = row(opened=1, metric_count=1)
    delta.latency[STARTED_AT, "metric", ARRIVALS] = Histogram.of([5_000_000])
    writer.append(delta)
    writer._close_files()
    run = load(tmp_path / "run")

    assert arrivals.frame(run).empty
    assert [cells[:2] for cells in tables.latencies(run.books).rows] == [("metric", ARRIVALS)]
    assert not [sentence for sentence in happened(run.books, run.header) if "arrived" in sentence]


def test_arrivals_are_no_socket_in_any_table_or_chart(starved: Run) -> None:
    told = [
        (table.title, cells)
        for table in context(starved, [])["tables"]
        for cells in table.rows
        if ARRIVALS in cells
    ]

    assert [(title, cells[:2]) for title, cells in told] == [("Latencies", ("wait for a user", ARRIVALS))]
    for chart in CHARTS:
        frame = chart.prepare(starved)
        if chart.file != "arrivals.png" and not frame.empty:
            with settings():
                figure = chart.draw(frame)
            legends = [axes.get_legend() for axes in figure.axes]
            words = [text.get_text() for each in legends if each for text in each.get_texts()]
            assert not [word for word in words if ARRIVALS in word]


def test_metrics_of_the_scenario_are_not_added_up(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", header(1))
    delta = Delta("0", 0)
    for name in ("first token", "answer length", ARRIVALS):
        delta.latency[STARTED_AT, "metric", name] = Histogram.of([5_000_000])
    delta.timeline[STARTED_AT, ARRIVALS] = row(arrived=1, served=1)
    writer.append(delta)
    writer._close_files()

    shown = [cells[:2] for cells in tables.latencies(load(tmp_path / "run").books).rows]

    assert shown == [
        ("wait for a user", ARRIVALS),
        ("metric", "answer length"),
        ("metric", "first token"),
    ]


def test_the_report_says_what_became_of_them_and_that_the_users_were_too_few(starved: Run) -> None:
    filled = context(starved, [])

    (sentence,) = [sentence for sentence in filled["summary"] if "arrived" in sentence]
    assert re.search(
        r"^\d+ sessions arrived \(\d+(\.\d+)? a second\): \d+ were served after waiting p50", sentence
    )
    assert [doubt.id for doubt in filled["remarks"]].count("arrivals-unserved") == 1
    assert ("Arrivals", "10 sessions a second") in filled["what"]
