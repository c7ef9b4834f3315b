"""Style: colours, line styles and axes that all charts share.

Colours are Okabe and Ito's (jfly.uni-koeln.de/color), which people with colour-blindness can tell apart; each
comes with a marker, a line style and a hatch of its own, so that print in grey still tells them apart.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, MultipleLocator, NullLocator

from analysis.fonts import drawable, families

BLACK: Final = "#000000"
ORANGE: Final = "#E69F00"
SKY: Final = "#56B4E9"
GREEN: Final = "#009E73"
YELLOW: Final = "#F0E442"
BLUE: Final = "#0072B2"
RED: Final = "#D55E00"
PURPLE: Final = "#CC79A7"
GREY: Final = "#999999"

SERIES: Final = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY, BLACK, YELLOW)
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: Final = ("-", "--", "-.", ":")
HATCHES: Final = ("", "///", "\\\\\\", "...", "xxx", "+++", "---", "ooo")

MARKERS_A_LINE: Final = 30

WIDTH_IN: Final = 10.0
DPI: Final = 150


@dataclass(frozen=True)
class Look:
    """How one series is drawn."""

    colour: str
    marker: str
    dash: str
    hatch: str


def look(index: int) -> Look:
    """The look of the series with this number."""
    return Look(
        SERIES[index % len(SERIES)],
        MARKERS[index % len(MARKERS)],
        DASHES[index // len(SERIES) % len(DASHES)],
        HATCHES[index % len(HATCHES)],
    )


@dataclass(frozen=True)
class Canvas:
    """A figure with its panels, one below the other."""

    figure: Figure
    panels: Sequence[Axes]


def canvas(heights_in: Sequence[float], share_x: bool = True) -> Canvas:
    """An empty figure with a panel for each height in inches; they share the time axis."""
    with mpl.rc_context(_settings()):
        figure = Figure(figsize=(WIDTH_IN, sum(heights_in) + 0.9), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(
            len(heights_in), 1, sharex=share_x, squeeze=False, height_ratios=list(heights_in)
        )[:, 0]
    for axes in panels:
        axes.grid(True, color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return Canvas(figure, list(panels))


def finish(drawn: Canvas, title: str, frame: pd.DataFrame) -> Figure:
    """Put the title on top, and below it n and the run's id, which the frame carries in ``attrs``."""
    top = drawn.panels[0]
    n, run_id = frame.attrs.get("n", ""), drawable(frame.attrs.get("run_id", ""), 60)
    marks = top.get_gid() == MARKED
    told = "\n".join((f"{n}  ·  run {run_id}", *(_mark_lines(frame) if marks else ())))
    # lines in one title: a text of its own would need room that the layout does not know of
    with mpl.rc_context(_settings()):
        heading = drawn.figure.suptitle(
            title, x=0.01, ha="left", fontsize=13, fontweight="bold", parse_math=False
        )
        heading.set_wrap(False)
        top.set_title(told, loc="left", fontsize=9.5, color="#555555", pad=18 if marks else 8)
    return drawn.figure


def legend(axes: Axes, handles: Sequence[Any] | None = None, labels: Sequence[str] | None = None) -> None:
    """A legend to the right of the data, where it hides none of them."""
    place: dict[str, Any] = {
        "loc": "upper left",
        "bbox_to_anchor": (1.01, 1.0),
        "borderaxespad": 0.0,
        "frameon": False,
        "fontsize": 9.5,
        "handlelength": 2.6,
    }
    if handles is not None and labels is not None:
        axes.legend(handles, [drawable(label, 34) for label in labels], **place)
    elif axes.get_legend_handles_labels()[1]:
        axes.legend(**place)


def legend_entries(axes: Axes) -> tuple[list[Any], list[str]]:
    """What the axes' legend shows now, to be added to."""
    shown = axes.get_legend()
    return (list(shown.legend_handles), [text.get_text() for text in shown.texts]) if shown else ([], [])


def line(axes: Axes, values: pd.Series, label: str, index: int, dash: str | None = None, **more: Any) -> Any:
    """A line over the series' index, with a gap where it has no value and a marker on every lone point."""
    own = look(index)
    options = {
        "color": own.colour,
        "linestyle": dash or own.dash,
        "marker": own.marker,
        "markersize": 3.5,
        "markevery": _marked(values.notna().to_numpy()),
        "linewidth": 1.5,
        "label": drawable(label, 34),
        **more,
    }
    return axes.plot(values.index, values, **options)[0]


HOLLOW: Final[dict[str, Any]] = {"markerfacecolor": "none", "markersize": 7}
"""The markers of a line that may lie on another: both stay to be seen."""


def _marked(known: npt.NDArray[np.bool_]) -> list[int]:
    """Every so many points, and those between two gaps, which no line would show."""
    padded = np.concatenate([[False], known, [False]])
    lone = known & ~padded[:-2] & ~padded[2:]
    regular = np.arange(len(known)) % max(1, len(known) // MARKERS_A_LINE) == 0
    return [int(index) for index in np.flatnonzero(known & (lone | regular))]


def stacked(axes: Axes, frame: pd.DataFrame, width: float, colours: dict[str, str] | None = None) -> None:
    """Bars by the frame's index, its columns stacked in their order; the legend reads from the top down."""
    bottom = pd.Series(0.0, index=frame.index)
    bars = []
    for index, column in enumerate(frame.columns):
        own = look(index)
        bars.append(
            axes.bar(
                frame.index,
                frame[column],
                width=width,
                bottom=bottom,
                align="edge",
                color=(colours or {}).get(column, own.colour),
                hatch=own.hatch,
                edgecolor="white",
                linewidth=0.3,
            )
        )
        bottom = bottom + frame[column]
    legend(axes, bars[::-1], list(frame.columns)[::-1])
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.yaxis.set_major_formatter(thousands())
    axes.set_ylim(0, max(1.0, float(bottom.max())) * 1.05)


def time_axis(axes: Axes, frame: pd.DataFrame) -> None:
    """Label the time axis; its data are seconds from the start, its ticks seconds, minutes or hours.

    The run's marks, ``(number, seconds, text)`` in the frame's ``attrs``, are drawn through all panels.
    """
    span_s = float(frame.attrs.get("span_s", 0) or 1)
    unit, size = next((u, s) for u, s, most in _UNITS if span_s <= most)
    axes.set_xlim(0, span_s)
    axes.set_xlabel(f"time since the start ({unit})")
    step = _step(span_s / size)
    axes.xaxis.set_major_locator(MultipleLocator(step * size))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / size:,.10g}"))

    _draw_marks(axes, [mark for mark in frame.attrs.get("marks", []) if 0 <= mark[1] <= span_s], span_s)


MARKED: Final = "marked"
"""The id of a panel above which numbers of marks stand."""
MARK_LINES: Final = 60
"""With more marks than this, only those have a line for whose number there is room."""
MARK_GAP: Final = 0.012
"""The least distance between two numbers, for each of their digits, as a share of the axis."""
MARK_WIDTH: Final = 115
"""Characters of a line below the title."""

_Mark = tuple[int, float, str]


def _draw_marks(axes: Axes, marks: Sequence[_Mark], span_s: float) -> None:
    """Thin lines with numbers above the top panel, as many as there is room for."""
    panels = axes.get_figure().axes  # type: ignore[union-attr]
    numbered: list[_Mark] = []
    for mark in marks:
        room_s = span_s * MARK_GAP * (1 + len(str(mark[0])))
        if not numbered or mark[1] - numbered[-1][1] >= room_s:
            numbered.append(mark)
    for _, at_s, _ in marks if len(marks) <= MARK_LINES else numbered:
        for panel in panels:
            # above bars, below lines
            panel.axvline(at_s, color="#777777", linewidth=0.7, linestyle=(0, (2, 2)), zorder=1.5)
    top = panels[0]
    for number, at_s, _ in numbered:
        top.text(
            at_s,
            1.01,
            str(number),
            transform=top.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=8,
            color="#444444",
        )
        top.set_gid(MARKED)


def _mark_lines(frame: pd.DataFrame) -> list[str]:
    """The marks' texts by their numbers, or where to find them if they would be too long."""
    texts = "   ".join(f"{number}: {drawable(text, 60)}" for number, _, text in frame.attrs["marks"])
    lines = textwrap.wrap(texts, MARK_WIDTH)
    return lines if len(lines) <= 2 else ["the numbered lines are the steps in the report's table"]


_UNITS: Final = (("s", 1, 600), ("min", 60, 3 * 3600), ("h", 3600, float("inf")))


def _step(span: float) -> float:
    steps = (scale * base for scale in (0.1, 1, 10, 100, 1000) for base in (1, 2, 5))
    return next((step for step in steps if span / step <= 12), span)


def thousands() -> FuncFormatter:
    """Ticks such as ``12,000``."""
    return FuncFormatter(lambda value, _: f"{value:,.10g}")


def milliseconds(axes: Axes, log: bool = True) -> None:
    """A latency axis in milliseconds, called when its data are drawn."""
    if log:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        log_ticks(axes.yaxis, low, high)
        axes.yaxis.set_major_formatter(thousands())
    else:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(thousands())
    axes.set_ylabel("ms")


FEW_TICKS: Final = 4
"""As many as fit into a panel a sixth of the page high."""


def log_ticks(axis: Axis, low: float, high: float, most: int = 9) -> None:
    """Ticks at 1, 2 and 5 times each power of ten, or at the powers alone where those are too many.

    Within less than a decade, at a few round numbers: more would touch one another in a low panel.
    """
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    steps = next((s for s in ((1, 2, 5), (1, 3), (1,)) if len(_within(s, powers, low, high)) <= most), (1,))
    ticks = _within(steps, powers, low, high)
    if len(ticks) < 3:
        ticks = _within((1, 1.5, 2, 3, 5, 7), powers, low, high)
        if not 3 <= len(ticks) <= FEW_TICKS:
            found = MaxNLocator(FEW_TICKS - 1, steps=[1, 2, 5, 10]).tick_values(low, high)
            ticks = [tick for tick in found if low <= tick <= high]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())


def _within(steps: Sequence[float], powers: range, low: float, high: float) -> list[float]:
    return [tick for power in powers for step in steps if low <= (tick := step * 10.0**power) <= high]


def _settings() -> Any:
    return {
        "font.family": families(),
        "font.size": 10,
        "axes.unicode_minus": False,
        # a name with two dollar signs is not a formula
        "text.parse_math": False,
        "hatch.linewidth": 0.5,
    }


def settings() -> Any:
    """The context in which figures are drawn and saved."""
    return mpl.rc_context(_settings())
