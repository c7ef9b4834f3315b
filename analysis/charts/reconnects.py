"""Chart of reconnects: attempts a second and user, with the mass drops that they follow."""

from __future__ import annotations

from typing import Final

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis import style
from analysis.charts.common import at_seconds, nothing, signed
from analysis.fonts import drawable
from analysis.frames import Run
from wsoak.judge.words import counted
from wsoak.ledger.outcomes import CANCELLED, OPEN

TITLE: Final = "Reconnects: attempts a second and user"

OPENED: Final = "opened"
FAILED: Final = "failed"


def frame(run: Run) -> pd.DataFrame:
    """By the bin's first second: reconnects that ``opened`` and that ``failed``, a second and user.

    ``attrs["drops"]``: seconds from the start of each mass drop, and of its recovery (``None``: never).
    """
    tried = run.connections[lambda f: (f["attempt"] > 0) & (f["outcome"] != CANCELLED)]
    readings = run.gauge("users").sum(axis=1, min_count=1)
    if tried.empty or not readings.max() > 0:
        return nothing()
    users = readings.ffill().bfill().clip(lower=1)
    opened = tried["outcome"] == OPEN
    made = pd.DataFrame(
        {
            OPENED: tried[opened].groupby("start_bin").size(),
            FAILED: tried[~opened].groupby("start_bin").size(),
        }
    )
    made = made.reindex(range(run.bins)).fillna(0.0).div(users * run.bin_s, axis=0)
    policy = (run.header.get("options") or {}).get("reconnect")
    named = f", policy {drawable(str(policy), 30)}" if policy else ""
    n = f"n = {counted(len(tried), 'reconnect')}{named}, bins of {run.bin_s} s"
    made = signed(at_seconds(made, run, middle=False), run, n)
    made.attrs["drops"] = [
        (
            drop.at - run.start_s,
            None if drop.recovered_s is None else drop.at + drop.recovered_s - run.start_s,
        )
        for drop in run.mass_drops
    ]
    return made


def draw(frame: pd.DataFrame) -> Figure:
    """Stacked bars; each mass drop is a line, and the time until its recovery is shaded."""
    drawn = style.canvas([3.2])
    axes = drawn.panels[0]
    style.stacked(axes, frame, frame.attrs["bin_s"], {OPENED: style.GREEN, FAILED: style.RED})
    handles, labels = style.legend_entries(axes)
    for index, (at, back) in enumerate(frame.attrs["drops"]):
        until = frame.attrs["span_s"] if back is None else back
        shade = axes.axvspan(at, until, color=style.GREY, alpha=0.25, linewidth=0, zorder=0)
        mark = axes.axvline(at, color=style.BLACK, linewidth=1.2, linestyle="--")
        if index == 0:
            handles, labels = [*handles, mark, shade], [*labels, "mass drop", "until 95 % were back"]
    style.legend(axes, handles, labels)
    most = float(frame.sum(axis=1).max())
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.set_ylim(0, most * 1.08)
    axes.set_ylabel("attempts a second and user")
    style.time_axis(axes, frame)
    return style.finish(drawn, TITLE, frame)
