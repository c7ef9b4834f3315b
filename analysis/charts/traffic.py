"""Charts of traffic: sockets offered and held, messages a second."""

from __future__ import annotations

from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from analysis import style
from analysis.charts.common import at_seconds, nothing, signed
from analysis.frames import Run
from wsoak.judge.words import counted

SOCKETS_TITLE: Final = "Sockets offered and held"
MESSAGES_TITLE: Final = "Messages"


def sockets_frame(run: Run) -> pd.DataFrame:
    """By the bin's last second: ``open``, ``users``, ``target``; and cumulative ``attempts``, ``opened``."""
    totals = run.totals()
    attempts = totals["opened"] + totals["failed"] + totals["generator_failed"]
    if not attempts.sum():
        return nothing()
    frame = pd.DataFrame(index=totals.index)
    frame["open"] = (totals["opened"] - totals["closed"]).cumsum()
    frame["users"] = run.summed("users")
    frame["target"] = run.summed("users_target")
    frame["attempts"] = attempts.cumsum()
    frame["opened"] = totals["opened"].cumsum()
    opened = int(totals["opened"].sum())
    n = f"n = {counted(int(attempts.sum()), 'attempt')}, {counted(opened, 'socket')} opened"
    return signed(at_seconds(frame, run), run, n)


def draw_sockets(frame: pd.DataFrame) -> Figure:
    """What is held above, what was offered so far below."""
    drawn = style.canvas([2.3, 2.0])
    held, offered = drawn.panels
    style.line(held, frame["open"], "open sockets", 0)
    for index, column, label in ((1, "users", "users"), (2, "target", "users asked for")):
        if frame[column].notna().any():
            style.line(held, frame[column], label, index, "--" if index == 1 else ":")
    held.set_ylabel("held")
    style.line(offered, frame["opened"], "opened so far", 0)
    style.line(offered, frame["attempts"], "attempts so far", 3, "--", **style.HOLLOW)
    offered.set_ylabel("since the start")
    for axes in drawn.panels:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(style.thousands())
        style.legend(axes)
    style.time_axis(offered, frame)
    return style.finish(drawn, SOCKETS_TITLE, frame)


def messages_frame(run: Run) -> pd.DataFrame:
    """By second: messages ``sent``, ``received`` and ``missing`` (timed out or lost) a second."""
    totals = run.totals()
    if not (totals["sent"] + totals["received"]).sum():
        return nothing()
    frame = totals[["sent", "received"]] / run.bin_s
    frame["missing"] = (totals["reply_timeouts"] + totals["reply_lost"]) / run.bin_s
    n = f"n = {int(totals['sent'].sum()):,} sent, {int(totals['received'].sum()):,} received"
    return signed(at_seconds(frame, run), run, n)


def draw_messages(frame: pd.DataFrame) -> Figure:
    """Two rates, and that of requests without an answer where there were any."""
    drawn = style.canvas([3.0])
    axes = drawn.panels[0]
    style.line(axes, frame["sent"], "sent", 0)
    style.line(axes, frame["received"], "received", 2, "--", **style.HOLLOW)
    if frame["missing"].any():
        style.line(axes, frame["missing"], "requests without an answer", 1, ":")
    axes.set_ylabel("messages a second")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(style.thousands())
    style.legend(axes)
    style.time_axis(axes, frame)
    return style.finish(drawn, MESSAGES_TITLE, frame)
