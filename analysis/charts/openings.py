"""Charts of openings: success, outcomes, phases."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import style
from analysis.charts.common import at_seconds, counts_by, nothing, signed
from analysis.frames import Run
from wsoak.judge.words import counted
from wsoak.ledger.outcomes import OPEN, PHASES

SUCCESS_TITLE: Final = "Handshakes that succeeded, and sockets that became usable"
OUTCOMES_TITLE: Final = "How openings ended"
PHASES_TITLE: Final = "Phases of successful handshakes"

ALL: Final = "handshake"
"""All phases of one, as the ledger calls it."""

HANDSHAKES: Final = "handshakes that succeeded"
USABLE: Final = "opened sockets that became usable"


def success_frame(run: Run) -> pd.DataFrame:
    """By second: ``handshake`` and ``usable`` in per cent (NaN where none was), ``tried`` a second."""
    totals = run.totals()
    tried = totals["opened"] + totals["failed"]
    if not tried.sum():
        return nothing()
    frame = pd.DataFrame(index=totals.index)
    frame["handshake"] = 100 * totals["opened"] / tried.where(tried > 0)
    frame["usable"] = _usable_rate(run, totals)
    frame["tried"] = tried / run.bin_s
    return signed(at_seconds(frame, run), run, f"n = {counted(int(tried.sum()), 'handshake')}")


def _usable_rate(run: Run, totals: pd.DataFrame) -> pd.Series:
    """Of the sockets that were opened in a bin, per cent that became usable, where that is known."""
    if run.reader.ended:
        # each socket counts in the bin of its attempt, whenever its first message came
        known = run.connections[lambda f: (f["outcome"] == OPEN) & f["usable"].isin(["true", "false"])]
        share = (known["usable"] == "true").groupby(known["start_bin"]).mean()
        return 100 * share.reindex(totals.index)
    if not totals["usable"].sum() and (run.connections["usable"] != "false").all():
        return pd.Series(np.nan, index=totals.index)
    opened = totals["opened"].where(totals["opened"] > 0)
    return (100 * totals["usable"] / opened).clip(upper=100)


def draw_success(frame: pd.DataFrame) -> Figure:
    """Two rates above, the attempts that they are made of below."""
    drawn = style.canvas([2.6, 1.1])
    rates, tried = drawn.panels
    style.line(rates, frame["handshake"], HANDSHAKES, 0)
    if frame["usable"].notna().any():
        style.line(rates, frame["usable"], USABLE, 1, dash="--", **style.HOLLOW)
    rates.set_ylim(-4, 104)
    rates.set_ylabel("%")
    style.legend(rates)
    width = frame.attrs["bin_s"]
    tried.bar(frame.index, frame["tried"], width=width, color=style.GREY, label="attempts that ended")
    tried.set_ylabel("a second")
    tried.yaxis.set_major_formatter(style.thousands())
    style.legend(tried)
    style.time_axis(tried, frame)
    return style.finish(drawn, SUCCESS_TITLE, frame)


def outcomes_frame(run: Run) -> pd.DataFrame:
    """How many attempts ended with each outcome, a column an outcome, by the bin's first second."""
    failed = run.connections[lambda f: f["outcome"] != OPEN]
    # an opened socket has no row until it closes, but its opening is counted at once
    opened = run.totals()["opened"].astype("int64")
    total = int(opened.sum()) + len(failed)
    if not total:
        return nothing()
    frame = counts_by(run, failed["bin"], failed["outcome"].astype("object"), most=7)
    if opened.sum():
        frame.insert(0, OPEN, opened)
    frame = at_seconds(frame, run, middle=False)
    return signed(frame, run, f"n = {counted(total, 'attempt')}, bins of {run.bin_s} s")


def draw_outcomes(frame: pd.DataFrame) -> Figure:
    """Stacked bars, what opened at the bottom."""
    drawn = style.canvas([3.4])
    axes = drawn.panels[0]
    others = [column for column in frame.columns if column != OPEN]
    colours = {OPEN: style.GREEN} | {
        outcome: [style.RED, style.BLUE, style.ORANGE, style.PURPLE, style.BLACK, style.SKY, style.YELLOW][
            index % 7
        ]
        for index, outcome in enumerate(others)
    }
    style.stacked(axes, frame, frame.attrs["bin_s"], colours)
    axes.set_ylabel("attempts")
    style.time_axis(axes, frame)
    return style.finish(drawn, OUTCOMES_TITLE, frame)


def phases_frame(run: Run) -> pd.DataFrame:
    """Milliseconds by second: columns ``(phase, "p50")`` and ``(phase, "p99")``; ``handshake`` is all."""
    parts = {}
    for kind in (*PHASES, ALL):
        table = run.binned.percentiles(kind, (50, 99))
        if not table.empty:
            parts[kind] = table[["p50", "p99"]]
    if not parts:
        return nothing()
    frame = pd.concat(parts, axis=1).reindex(range(run.bins))
    n = run.books.histogram("handshake").total
    return signed(at_seconds(frame, run), run, f"n = {counted(n, 'successful handshake')}")


_BELOW: Final[dict[str, Any]] = {"color": style.GREY, "linewidth": 1.0, "marker": ".", "markersize": 2.0}


def draw_phases(frame: pd.DataFrame) -> Figure:
    """A line a phase and percentile, p50 solid and p99 dashed; below them all phases together, thin."""
    drawn = style.canvas([3.4])
    axes = drawn.panels[0]
    phases = list(dict.fromkeys(frame.columns.get_level_values(0)))
    # where one phase is nearly all of it, that phase must lie on top
    if ALL in phases:
        phases.remove(ALL)
        for part, dash in (("p50", "-"), ("p99", "--")):
            style.line(axes, frame[ALL, part], f"all phases {part}", 0, dash, **_BELOW)
    for index, phase in enumerate(phases):
        style.line(axes, frame[phase, "p50"], f"{phase} p50", index, "-")
        style.line(axes, frame[phase, "p99"], f"{phase} p99", index, "--", markerfacecolor="none")
    style.milliseconds(axes)
    style.legend(axes)
    style.time_axis(axes, frame)
    return style.finish(drawn, PHASES_TITLE, frame)
