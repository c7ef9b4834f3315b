"""Chart of what drifted: readings, the figures of their blocks, the fitted line, and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import style
from analysis.charts.common import nothing, signed
from analysis.frames import Run
from analysis.soak import Drift, drifts
from wsoak.judge.quantity import Dimension
from wsoak.judge.words import counted, span

TITLE: Final = "What drifted over the run"

PANELS: Final = 4
"""At most so many subjects are drawn, the first that failed."""
SCALES: Final[Mapping[Dimension, tuple[float, str]]] = MappingProxyType(
    {"bytes": (1e-6, "MB"), "seconds": (1e3, "ms"), "share": (100.0, "%"), "number": (1.0, "number")}
)


def frame(run: Run) -> pd.DataFrame:
    """A row a reading: ``name``, ``at_s`` and ``value`` in base units; the ``Drift`` objects in ``attrs``."""
    drifted = [drift for drift in drifts(run) if drift.verdict == "fail" and drift.trend is not None]
    if not drifted:
        return nothing()
    shown = drifted[:PANELS]
    readings = pd.concat(
        pd.DataFrame({"name": drift.name, "at_s": drift.times, "value": drift.values}) for drift in shown
    )
    more = f", {counted(len(drifted) - len(shown), 'more drift')} not drawn" if drifted[PANELS:] else ""
    found = signed(readings, run, f"n = {counted(len(readings), 'reading')}{more}")
    found.attrs["drifts"] = shown
    return found


def draw(frame: pd.DataFrame) -> Figure:
    """A panel a subject, over the time of the run."""
    shown: list[Drift] = frame.attrs["drifts"]
    drawn = style.canvas([2.6] if len(shown) == 1 else [1.7] * len(shown))
    for axes, drift in zip(drawn.panels, shown, strict=True):
        _draw_one(axes, drift)
        style.legend(axes)
    style.time_axis(drawn.panels[-1], frame)
    drawn.figure.align_ylabels(drawn.panels)
    return style.finish(drawn, TITLE, frame)


def _draw_one(axes: Axes, drift: Drift) -> None:
    found = drift.trend
    assert found is not None
    scale, unit = SCALES[drift.dimension]
    axes.plot(drift.times, scale * drift.values, color=style.SKY, linewidth=0.6, label="readings")
    middles, figures = np.array(found.times), scale * np.array(found.medians)
    axes.plot(
        middles, figures, "o", color=style.BLUE, markersize=3.5, label=f"blocks of {span(found.block_s)}"
    )
    begin_s = middles[0] - found.block_s / 2
    ends = np.array([begin_s, begin_s + found.seconds])
    slope = scale * found.change.value / found.seconds
    # Theil and Sen's line has as many blocks above it as below
    line = slope * ends + np.median(figures - slope * middles)
    axes.plot(ends, line, color=style.RED, linewidth=1.8, label="fitted line")
    limit = line[0] + scale * (drift.tolerance or 0.0)
    axes.plot(ends, [limit, limit], color=style.BLACK, linewidth=1, linestyle=":", label="allowed growth")
    for change in drift.changes:
        axes.axvline(change.at_s, color=style.PURPLE, linewidth=1.2, linestyle="--")
    if drift.changes:
        axes.plot([], [], color=style.PURPLE, linewidth=1.2, linestyle="--", label="its course changed")
    # a lone odd reading must not press the rest flat
    low, high = np.nanpercentile(scale * drift.values, [0.5, 99.5])
    low, high = min(low, figures.min(), *line), max(high, figures.max(), *line, limit)
    room = 0.06 * (high - low)
    # above the data there is room for the name
    axes.set_ylim(low - room, high + 3 * room)
    axes.yaxis.set_major_formatter(style.thousands())
    axes.set_ylabel(unit)
    axes.text(
        0.01,
        0.95,
        drift.what,
        transform=axes.transAxes,
        va="top",
        fontsize=10,
        fontweight="bold",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
    )
