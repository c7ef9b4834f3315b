"""Chart of the open model: sessions offered and served, and how long they waited for a user."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis import style
from analysis.charts.common import at_seconds, nothing, signed
from analysis.frames import Run, number
from wsoak.judge.words import counted
from wsoak.ledger.timeline import ARRIVALS

TITLE: Final = "Arrivals: sessions offered and served"

COUNTED: Final = (("arrived", "offered"), ("served", "served"), ("unserved", "unserved"))
"""The counters, and the columns of the frame that hold them."""
PERCENTS: Final = (50.0, 99.0)


def frame(run: Run) -> pd.DataFrame:
    """By second: ``offered``, ``served`` and ``unserved`` a second; how many were ``waiting``; and the wait
    of those served in ms, ``p50`` and ``p99``. ``attrs["rate_per_s"]`` is the rate asked for, or ``None``.
    """
    rows = run.timeline[run.timeline["name"] == ARRIVALS]
    counters = [counter for counter, _ in COUNTED]
    totals = rows.groupby("bin")[counters].sum().reindex(range(run.bins), fill_value=0)
    arrived, served, unserved = (int(totals[counter].sum()) for counter in counters)
    if not arrived:
        return nothing()
    made = totals.rename(columns=dict(COUNTED)) / run.bin_s
    made["waiting"] = run.summed("arrivals_waiting")
    waits = run.binned.percentiles("metric", PERCENTS, [ARRIVALS]).reindex(range(run.bins))
    for percent in PERCENTS:
        made[f"p{percent:g}"] = waits[f"p{percent:g}"].astype("float64")
    n = f"n = {counted(arrived, 'session')}, {served:,} served, {unserved:,} not served in time"
    made = signed(at_seconds(made, run), run, n)
    made.attrs["rate_per_s"] = number((run.header.get("options") or {}).get("arrival_rate"))
    return made


def draw(frame: pd.DataFrame) -> Figure:
    """Rates above, how many wait in the middle, how long the served ones had waited below."""
    drawn = style.canvas([2.2, 1.1, 1.6])
    rates, waiting, waits = drawn.panels
    style.line(rates, frame["offered"], "offered", 0)
    style.line(rates, frame["served"], "served", 2, "--", **style.HOLLOW)
    style.line(rates, frame["unserved"], "not served in time", 1, "-.")
    if frame.attrs["rate_per_s"]:
        rates.axhline(
            frame.attrs["rate_per_s"], color=style.BLACK, linewidth=1, linestyle=":", label="asked for"
        )
    rates.set_ylabel("sessions a second")
    style.line(waiting, frame["waiting"], "waiting for a user", 4)
    waiting.set_ylabel("sessions")
    most = max(frame["offered"].max(), frame["served"].max(), frame["unserved"].max())
    for axes, top in ((rates, max(most, frame.attrs["rate_per_s"] or 0)), (waiting, frame["waiting"].max())):
        # nobody may have waited, or no reading be on record
        axes.set_ylim(0, 1.08 * float(np.nanmax([1.0, top])))
        axes.yaxis.set_major_formatter(style.thousands())
    waiting.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    for index, percent in enumerate(PERCENTS):
        style.line(waits, frame[f"p{percent:g}"], f"wait, p{percent:g}", index, "-" if index == 0 else "--")
    style.milliseconds(waits)
    for axes in drawn.panels:
        style.legend(axes)
    style.time_axis(waits, frame)
    return style.finish(drawn, TITLE, frame)
