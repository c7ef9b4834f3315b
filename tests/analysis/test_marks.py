"""Marks: the steps of a load shape in charts and in the report."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.charts import CHARTS, Chart
from analysis.frames import Run, load
from analysis.marks import Mark, marks_of
from analysis.report import context
from analysis.style import MARK_LINES, settings
from tests.analysis.runs import STARTED_AT, made

Scene = Callable[[str], Path]

NOT_OVER_TIME = {"ages.png", "spectrum.png"}


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """matplotlib warns of layouts that do not fit."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def marked(path: Path, marks: Any, **fields: Any) -> Run:
    return load(made(path / "run", users=4, marks=marks, **fields))


def steps(count: int, every_s: float, text: str = "step {}") -> list[dict[str, Any]]:
    return [{"at_s": every_s * index, "text": text.format(index + 1)} for index in range(count)]


def figures(run: Run) -> Iterator[tuple[Chart, Figure]]:
    for chart in CHARTS:
        frame = chart.prepare(run)
        if not frame.empty:
            with settings():
                figure = chart.draw(frame)
                figure.canvas.draw()
            yield chart, figure


def sockets(run: Run) -> Figure:
    (figure,) = (figure for chart, figure in figures(run) if chart.file == "sockets.png")
    return figure


def lines_at(axes: Axes) -> list[float]:
    """Where thin vertical lines are: those from the bottom to the top of the axes."""
    return [
        round(float(line.get_xdata()[0]), 6)  # type: ignore[index, arg-type]
        for line in axes.get_lines()
        if list(line.get_ydata()) == [0, 1] and line.get_transform() == axes.get_xaxis_transform()  # type: ignore[arg-type]
    ]


def numbers(figure: Figure) -> list[Text]:
    return [text for text in figure.axes[0].texts if text.get_text().isdigit()]


def test_every_chart_over_time_has_them_in_every_panel_and_no_other_chart_has(scene: Scene) -> None:
    drawn = 0
    for chart, figure in figures(load(scene("distributed"))):
        # the run began a quarter of a second after the second at which the time axis does
        expected = [] if chart.file in NOT_OVER_TIME else [0.3, 5.25]
        for axes in figure.axes:
            assert lines_at(axes) == expected
        assert [text.get_text() for text in numbers(figure)] == [str(n + 1) for n in range(len(expected))]
        told = figure.axes[0].get_title(loc="left")
        assert ("1: step 1 of 2: 10 users   2: step 2 of 2: 20 users" in told) == bool(expected)
        drawn += bool(expected)
    assert drawn >= 6


@pytest.mark.parametrize("name", ["healthy", "cut"])
def test_a_run_without_a_shape_has_none(scene: Scene, name: str) -> None:
    run = load(scene(name))

    assert lines_at(sockets(run).axes[0]) == []
    assert "Steps of the load" not in [table.title for table in context(run, [])["tables"]]


@pytest.mark.parametrize(
    ("count", "every_s"), [(2, 0.05), (4, 5.0), (25, 0.8), (60, 0.3), (120, 0.16), (1000, 0.02)]
)
def test_numbers_never_lie_on_each_other_or_beyond_the_figure(
    tmp_path: Path, count: int, every_s: float
) -> None:
    figure = sockets(marked(tmp_path, steps(count, every_s)))
    shown = numbers(figure)

    boxes = [text.get_window_extent() for text in shown]
    assert len(boxes) >= 1
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    title = figure.axes[0].title.get_window_extent(), figure.axes[0]._left_title.get_window_extent()  # type: ignore[attr-defined]
    assert all(box.y1 <= title[1].y0 for box in boxes)
    lines = lines_at(figure.axes[0])
    assert len(lines) == (count if count <= MARK_LINES else len(shown))


def test_texts_that_would_fill_the_chart_are_left_to_the_report(tmp_path: Path) -> None:
    run = marked(tmp_path, steps(30, 0.6, "a long text of step {}"))

    title = sockets(run).axes[0].get_title(loc="left")
    assert title.splitlines()[1:] == ["the numbered lines are the steps in the report's table"]
    (table,) = [table for table in context(run, [])["tables"] if table.title == "Steps of the load"]
    assert table.rows[29] == ("30", "17.4 s", "a long text of step 30")


def test_a_mark_beyond_the_run_is_in_the_table_alone(tmp_path: Path) -> None:
    run = marked(tmp_path, [{"at_s": 5.0, "text": "in"}, {"at_s": 500.0, "text": "out"}])

    assert lines_at(sockets(run).axes[0]) == [5.0]


def test_hostile_texts_are_drawn_and_written_as_they_can_be(tmp_path: Path) -> None:
    run = marked(tmp_path, [{"at_s": 5.0, "text": "$a$ \x1b[31m\u202e 第一 <script>"}])

    assert "\x1b" not in sockets(run).axes[0].get_title(loc="left")


@pytest.mark.parametrize(
    ("plain", "found"),
    [
        (None, ()),
        ("nonsense", ()),
        ([None, 3, {}, {"at_s": "x"}, {"at_s": True}], ()),
        ([{"at_s": 2}], (Mark(1, 2.0, ""),)),
        (
            [{"at_s": 7.5, "text": "b"}, {"at_s": 1, "text": "a"}],
            (Mark(1, 1.0, "a"), Mark(2, 7.5, "b")),
        ),
    ],
)
def test_marks_are_read_by_time_and_what_is_none_is_left_out(plain: Any, found: tuple[Mark, ...]) -> None:
    assert marks_of({"marks": plain, "started_at": STARTED_AT}) == found
