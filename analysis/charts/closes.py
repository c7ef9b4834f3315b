"""Charts of closes: by code and initiator over time, and by age."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from analysis import style
from analysis.charts.common import at_seconds, counts_by, nothing, signed
from analysis.frames import Run
from wsoak.judge.words import counted
from wsoak.ledger.outcomes import OPEN, close_class

CLOSES_TITLE: Final = "How opened sockets ended"
AGES_TITLE: Final = "Age of sockets at their end"

AGE_BINS: Final = 40
LEAST_AGE_S: Final = 1e-6


def _ended(run: Run) -> tuple[pd.DataFrame, str]:
    """The opened sockets that ended before the run did, and n in words.

    Those that the harness closes at the end come all at once, and would hide the rest.
    """
    opened = run.connections[lambda f: (f["outcome"] == OPEN) & f["age_s"].notna()]
    ended = opened[~opened["by_run"]]
    held = len(opened) - len(ended)
    also = f" ({held:,} more held until the run's end are not shown)" if held else ""
    return ended, f"n = {counted(len(ended), 'socket')} ended{also}"


def closes_frame(run: Run) -> pd.DataFrame:
    """How many sockets ended in each way, a column a way, by the bin's first second."""
    ended, n = _ended(run)
    if ended.empty:
        return nothing()
    codes = ended["code"].astype("Int64").astype("string").fillna("no code").astype("object")
    details = ended["detail"].astype("object")
    words = codes + np.where(details == "", "", " ") + details
    labels = words + " by " + ended["initiator"].astype("object").replace("", "nobody")
    frame = at_seconds(counts_by(run, ended["bin"], labels), run, middle=False)
    return signed(frame, run, f"{n}, bins of {run.bin_s} s")


def draw_closes(frame: pd.DataFrame) -> Figure:
    """Stacked bars, the most frequent way at the bottom."""
    drawn = style.canvas([3.4])
    axes = drawn.panels[0]
    style.stacked(axes, frame, frame.attrs["bin_s"])
    axes.set_ylabel("sockets")
    style.time_axis(axes, frame)
    return style.finish(drawn, CLOSES_TITLE, frame)


def ages_frame(run: Run) -> pd.DataFrame:
    """How many sockets ended at each age, a column a class of close; the index is each bin's least age, s."""
    ended, n = _ended(run)
    if ended.empty:
        return nothing()
    classes = ended["code"].map(lambda code: "no code" if np.isnan(code) else close_class(int(code)))
    ages = ended["age_s"].clip(lower=LEAST_AGE_S)
    least, greatest = ages.min() * 0.7, ages.max() * 1.4
    edges = np.geomspace(least, greatest, AGE_BINS + 1)
    index = np.clip(np.searchsorted(edges, ages, side="right") - 1, 0, AGE_BINS - 1)
    table = pd.crosstab(index, classes.to_numpy()).reindex(range(AGE_BINS), fill_value=0)
    table = table[table.sum().sort_values(ascending=False).index]
    table.index = pd.Index(edges[:-1])
    frame = signed(table.rename_axis(None, axis=1), run, n)
    frame.attrs["edges"] = edges
    return frame


def draw_ages(frame: pd.DataFrame) -> Figure:
    """A histogram on a logarithmic axis of ages, stacked by class of close."""
    drawn = style.canvas([3.2])
    axes = drawn.panels[0]
    edges = frame.attrs["edges"]
    style.stacked(axes, frame, np.diff(edges))
    axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    style.log_ticks(axes.xaxis, edges[0], edges[-1], most=12)
    axes.xaxis.set_major_formatter(FuncFormatter(_age))
    axes.set_xlabel("age (time since the server's 101)")
    axes.set_ylabel("sockets")
    return style.finish(drawn, AGES_TITLE, frame)


def _age(seconds: float, _position: int = 0) -> str:
    unit, size = next(((u, s) for u, s in (("s", 1.0), ("ms", 1e-3)) if seconds >= s * 0.999), ("µs", 1e-6))
    return f"{seconds / size:,.6g} {unit}"
