"""Chart of the load generator's own health: lags and CPU, by worker where there are several."""

from __future__ import annotations

from typing import Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import style
from analysis.charts.common import at_seconds, nothing, signed
from analysis.frames import Run, number
from analysis.workers import MASTER
from wsoak.judge.validity import LAG_SHARE, LATENCY_LIMIT_MS
from wsoak.judge.words import counted

TITLE: Final = "The load generator: lag and CPU"

LINES: Final = 5
"""At most so many processes have lines of their own, those that used the most CPU."""
WHOLE: Final = ""
"""The name of the column that stands for all processes."""


def frame(run: Run) -> pd.DataFrame:
    """By second: ``("lag", "")`` p99 in ms; and by process ``("hub", name)`` p99 in ms and ``("cpu", name)``
    in per cent of a core. With one process its name is empty; with many the last one sums up the others.
    """
    cpu = 100 * run.gauge("cpu_share")
    groups = _groups(cpu, run.binned.names("hub"))
    parts = {}
    lag = run.binned.percentiles("lag", (99,))
    if not lag.empty:
        parts["lag", WHOLE] = lag["p99"]
    for name, processes in groups.items():
        hub = run.binned.percentiles("hub", (99,), processes)
        if not hub.empty:
            parts["hub", name] = hub["p99"]
    for name, processes in groups.items():
        busiest = cpu.reindex(columns=processes).max(axis=1)
        if busiest.notna().any():
            parts["cpu", name] = busiest
    if not parts:
        return nothing()
    found = pd.DataFrame(parts).reindex(range(run.bins))
    sends, reads = run.books.histogram("lag").total, run.books.histogram("hub").total
    n = f"n = {counted(sends, 'paced send')}, {counted(reads, 'event-loop reading')}, "
    n += counted(len(cpu.columns.drop(MASTER, errors="ignore")), "worker")
    found = signed(at_seconds(found, run), run, n)
    limit_ms = number(run.header.get("latency_limit_ms")) or LATENCY_LIMIT_MS
    found.attrs["limit_ms"] = LAG_SHARE * limit_ms
    return found


def _groups(cpu: pd.DataFrame, lagged: list[str]) -> dict[str, list[str]]:
    """The processes that each line stands for."""
    ranked = list(cpu.mean().sort_values(ascending=False, kind="stable").index)
    everyone = ranked + [name for name in lagged if name not in ranked]
    if len(ranked) < 2:
        return {WHOLE: everyone}
    if len(everyone) <= LINES:
        return {name: [name] for name in sorted(everyone)}
    shown, rest = everyone[: LINES - 1], everyone[LINES - 1 :]
    return {**{name: [name] for name in sorted(shown)}, f"the other {len(rest)}": rest}


def draw(frame: pd.DataFrame) -> Figure:
    """Lags above with their limit, CPU below with its; with several processes a panel for each."""
    hubs, cpus = _named(frame, "hub"), _named(frame, "cpu")
    if hubs == [WHOLE] or cpus == [WHOLE] or not hubs + cpus:
        return _draw_one(frame)
    drawn = style.canvas([1.2, 1.9, 1.9])
    sends, loops, cpu = drawn.panels
    if ("lag", WHOLE) in frame:
        style.line(sends, frame["lag", WHOLE], "sends late, p99", 0)
    for axes, kind, names in ((loops, "hub", hubs), (cpu, "cpu", cpus)):
        for index, name in enumerate(names):
            style.line(axes, frame[kind, name], name, index, style.DASHES[index % 3])
    return _finish(drawn, frame, [(sends, "sends p99, ms"), (loops, "event loop p99, ms")], cpu)


def _draw_one(frame: pd.DataFrame) -> Figure:
    drawn = style.canvas([2.3, 1.6])
    lags, cpu = drawn.panels
    for index, (kind, label) in enumerate((("lag", "sends late, p99"), ("hub", "event loop late, p99"))):
        if (kind, WHOLE) in frame:
            style.line(lags, frame[kind, WHOLE], label, index, "-" if index == 0 else "--")
    if ("cpu", WHOLE) in frame:
        style.line(cpu, frame["cpu", WHOLE], "CPU", 2)
    return _finish(drawn, frame, [(lags, "ms")], cpu)


def _named(frame: pd.DataFrame, kind: str) -> list[str]:
    return [name for of_kind, name in frame.columns if of_kind == kind]


def _finish(drawn: style.Canvas, frame: pd.DataFrame, lags: list[tuple[Axes, str]], cpu: Axes) -> Figure:
    """Limits, axes and legends."""
    for axes, label in lags:
        axes.axhline(frame.attrs["limit_ms"], color=style.BLACK, linewidth=1, linestyle=":", label="limit")
        style.milliseconds(axes)
        axes.set_ylabel(label)
    cpu.axhline(90, color=style.BLACK, linewidth=1, linestyle=":", label="limit")
    most = frame["cpu"].max(axis=None) if "cpu" in frame else 0
    cpu.set_ylim(0, max(105, 1.05 * most))
    cpu.set_ylabel("% of a core")
    for axes in drawn.panels:
        style.legend(axes)
    style.time_axis(cpu, frame)
    return style.finish(drawn, TITLE, frame)
