"""Chart of the load generator's own health: lags and CPU."""

from __future__ import annotations

from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from analysis import style
from analysis.charts.common import at_seconds, nothing, signed
from analysis.frames import Run, number
from wsoak.judge.validity import LAG_SHARE, LATENCY_LIMIT_MS
from wsoak.judge.words import counted

TITLE: Final = "The load generator: lag and CPU"


def frame(run: Run) -> pd.DataFrame:
    """By second: ``lag`` and ``hub`` p99 in ms, and ``cpu`` of the busiest worker in per cent of a core."""
    parts = {}
    for kind in ("lag", "hub"):
        table = run.binned.percentiles(kind, (99,))
        if not table.empty:
            parts[kind] = table["p99"]
    cpu = run.gauge("cpu_share")
    if not cpu.empty and cpu.notna().any(axis=None):
        parts["cpu"] = 100 * cpu.max(axis=1)
    if not parts:
        return nothing()
    found = pd.DataFrame(parts).reindex(range(run.bins))
    sends, reads = run.books.histogram("lag").total, run.books.histogram("hub").total
    n = f"n = {counted(sends, 'paced send')}, {counted(reads, 'event-loop reading')}, "
    n += counted(len(cpu.columns), "worker")
    found = signed(at_seconds(found, run), run, n)
    limit_ms = number(run.header.get("latency_limit_ms")) or LATENCY_LIMIT_MS
    found.attrs["limit_ms"] = LAG_SHARE * limit_ms
    return found


def draw(frame: pd.DataFrame) -> Figure:
    """Lags above with their limit, CPU below with its."""
    drawn = style.canvas([2.3, 1.6])
    lags, cpu = drawn.panels
    for index, (column, label) in enumerate((("lag", "sends late, p99"), ("hub", "event loop late, p99"))):
        if column in frame:
            style.line(lags, frame[column], label, index, "-" if index == 0 else "--")
    lags.axhline(frame.attrs["limit_ms"], color=style.BLACK, linewidth=1, linestyle=":", label="limit")
    style.milliseconds(lags)
    if "cpu" in frame:
        style.line(cpu, frame["cpu"], "CPU, busiest worker", 2)
    cpu.axhline(90, color=style.BLACK, linewidth=1, linestyle=":", label="limit")
    cpu.set_ylim(0, 105)
    cpu.set_ylabel("% of a core")
    for axes in drawn.panels:
        style.legend(axes)
    style.time_axis(cpu, frame)
    return style.finish(drawn, TITLE, frame)
