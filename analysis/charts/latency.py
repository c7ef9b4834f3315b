"""Charts of latency: percentiles over time, and the whole spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from analysis import style
from analysis.charts.common import at_seconds, nothing, signed
from analysis.fonts import drawable
from analysis.frames import Run
from wsoak.judge.words import counted
from wsoak.ledger.histogram import HIGHEST_EQUIVALENT
from wsoak.ledger.units import NS_PER_MS

TIME_TITLE: Final = "Response and service time"
DELIVERY_TITLE: Final = "Delivery time of pushes"
SPECTRUM_TITLE: Final = "Percentile spectrum of response and service time"

NAMES_SHOWN: Final = 4
"""So many message names have a panel, the busiest ones."""
PERCENTS: Final = (50.0, 90.0, 99.0)
KINDS: Final = ("response", "service")
DASHES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "response": ("-", {}),
    "service": (":", style.HOLLOW),
    "delivery": ("-", {}),
}
"""Line style, and more, by kind."""


def busiest(run: Run, kind: str, most: int = NAMES_SHOWN) -> list[str]:
    """The names with the most durations of a kind, the busiest first."""
    totals = {name: run.books.latency[kind, name].total for name in run.binned.names(kind)}
    return sorted((name for name in totals if totals[name]), key=lambda name: (-totals[name], name))[:most]


def time_frame(run: Run) -> pd.DataFrame:
    """Milliseconds by second: columns ``(name, kind, "p50")``, and p90 and p99; the busiest names."""
    return _over_time(run, KINDS, "response")


def delivery_frame(run: Run) -> pd.DataFrame:
    """The same of the kind ``delivery``."""
    return _over_time(run, ("delivery",), "push")


def _over_time(run: Run, kinds: Sequence[str], noun: str) -> pd.DataFrame:
    """The first of the kinds says which names, and how many there are of what."""
    first = kinds[0]
    names = busiest(run, first)
    parts = {}
    for name in names:
        for kind in kinds:
            table = run.binned.percentiles(kind, PERCENTS, [name])
            if not table.empty:
                parts[name, kind] = table.drop(columns="n")
    if not parts:
        return nothing()
    frame = pd.concat(parts, axis=1).reindex(range(run.bins))
    total = run.books.histogram(first).total
    shown = sum(run.books.latency[first, name].total for name in names)
    n = f"n = {counted(total, noun)}"
    others = len(run.binned.names(first)) - len(names)
    if others > 0:
        n += f", {shown:,} of them shown: the busiest {len(names)} of {len(names) + others:,} names"
    frame = signed(at_seconds(frame, run), run, n)
    frame.attrs["counts"] = {name: run.books.latency[first, name].total for name in names}
    return frame


def draw_time(frame: pd.DataFrame) -> Figure:
    """A panel a message name: response time solid, service time dashed, a colour a percentile."""
    return _draw_over_time(frame, TIME_TITLE)


def draw_delivery(frame: pd.DataFrame) -> Figure:
    """A panel a socket's name, a colour a percentile."""
    return _draw_over_time(frame, DELIVERY_TITLE)


def _draw_over_time(frame: pd.DataFrame, title: str) -> Figure:
    names = list(dict.fromkeys(frame.columns.get_level_values(0)))
    drawn = style.canvas([3.2] if len(names) == 1 else [2.3] * len(names))
    for axes, name in zip(drawn.panels, names, strict=True):
        for kind, (dash, more) in DASHES.items():
            for index, percent in enumerate(PERCENTS):
                column = (name, kind, f"p{percent:g}")
                if column in frame.columns:
                    style.line(axes, frame[column], f"{kind} p{percent:g}", index, dash, **more)
        style.milliseconds(axes)
        count = frame.attrs["counts"][name]
        axes.text(
            0.01,
            0.97,
            f"{drawable(name)} (n {count:,})",
            transform=axes.transAxes,
            va="top",
            fontsize=9.5,
            fontweight="bold",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
        )
        low, high = axes.get_ylim()
        axes.set_ylim(low, high * (high / low) ** 0.18)  # room for the name
    style.legend(drawn.panels[0])
    style.time_axis(drawn.panels[-1], frame)
    return style.finish(drawn, title, frame)


def spectrum_frame(run: Run) -> pd.DataFrame:
    """By rarity 1 / (1 - q): milliseconds of ``response`` and ``service``, a point a filled bucket."""
    curves = []
    for kind in KINDS:
        histogram = run.books.histogram(kind)
        total = histogram.total
        if not total:
            continue
        filled, counts = histogram.filled()
        below = np.cumsum(counts)
        # the last bucket holds the rarest one: no sample is rarer than one in total
        rarity = total / np.maximum(1, total - below + 1)
        curves.append(
            pd.DataFrame({"kind": kind, "rarity": rarity, "ms": HIGHEST_EQUIVALENT[filled] / NS_PER_MS})
        )
    if not curves:
        return nothing()
    n = f"n = {counted(run.books.histogram('response').total, 'response')}"
    return signed(pd.concat(curves, ignore_index=True), run, n)


def draw_spectrum(frame: pd.DataFrame) -> Figure:
    """Latency against rarity on a logarithmic axis, whose ticks are percentiles."""
    drawn = style.canvas([3.6])
    axes = drawn.panels[0]
    for index, (kind, dash) in enumerate((("response", "-"), ("service", "--"))):
        curve = frame[frame["kind"] == kind].set_index("rarity")["ms"]
        style.line(axes, curve, f"{kind} time", index, dash, markersize=3)
    most = frame["rarity"].max()
    axes.set_xscale("log")
    axes.set_xlim(1, most * 1.15)
    ticks = [1, 2, *(10.0**power for power in range(1, 10) if 10.0**power <= most * 1.15)]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_as_percentile))
    axes.set_xlabel("percentile (each step to the right is ten times rarer)")
    spread = frame["ms"].max() / max(frame["ms"].min(), 1e-3)
    style.milliseconds(axes, log=bool(spread > 100))
    if spread <= 100:
        axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(8))
    style.legend(axes)
    return style.finish(drawn, SPECTRUM_TITLE, frame)


def _as_percentile(rarity: float, _position: int) -> str:
    return f"p{100 * (1 - 1 / rarity):.10g}" if rarity >= 1 else ""
