"""Charts of a capacity plan: the objective by load, the throughput by load, and the steps over time."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import style
from analysis.capacity import between
from analysis.charts.picture import Picture, picture
from analysis.planning import Plan
from analysis.usl import Usl
from wsoak.judge.words import counted, figure

OBJECTIVE_TITLE: Final = "Capacity: the objective by load"
THROUGHPUT_TITLE: Final = "Throughput by load"
STEPS_TITLE: Final = "The steps over time, and what of them was measured"

POINTS: Final = 200
SURE: Final = 1.96
"""Error bars reach this many standard errors either way, which is 95 %."""


def objective_picture(plan: Plan) -> Picture | None:
    """The chart of the objective by load; ``None`` where no capacity was found."""
    frame = objective_frame(plan)
    if frame.empty:
        return None
    with style.settings():
        drawn = draw_objective(frame, plan)
    return picture(
        OBJECTIVE_TITLE,
        str(frame.attrs["n"]),
        drawn,
        "Each point is a step, with the interval that the scatter of its own blocks gives. The fit is the "
        "best one that never gets better with more load; the capacity is where it crosses the limit.",
    )


def objective_frame(plan: Plan) -> pd.DataFrame:
    """By load (the index): the figure ``value``, its bounds ``low`` and ``high``, and ``kept``."""
    slo = plan.asked.slo
    rows = [row for row in plan.rows if row.value is not None]
    if slo is None or plan.capacity is None or not rows:
        return pd.DataFrame()
    scale = 1000 if slo.limit.dimension == "seconds" else 100
    bounds = []
    for row in rows:
        assert row.value is not None
        reach = SURE * row.error if math.isfinite(row.error) else 0.0
        value = scale * row.value
        # the way to a logarithm and back may end beside the value
        ends = [value, *(scale * slo.good(slo.bad(row.value) + sign * reach) for sign in (-1, 1))]
        bounds.append((value, min(ends), max(ends), row.kept))
    frame = pd.DataFrame(
        bounds, columns=["value", "low", "high", "kept"], index=[row.load for row in rows]
    ).sort_index()
    return _signed(frame, plan)


def draw_objective(frame: pd.DataFrame, plan: Plan) -> Figure:
    """Steps with error bars, the isotonic fit, the limit, and the capacity with its interval as a band."""
    slo, found = plan.asked.slo, plan.capacity
    assert slo is not None
    assert found is not None
    drawn = style.canvas([3.6])
    axes = drawn.panels[0]
    timed = slo.limit.dimension == "seconds"
    scale = 1000 if timed else 100
    _band(axes, frame, plan)
    points, fitted = np.array(found.loads), np.array(found.fitted)
    loads = np.linspace(points[0], points[-1], POINTS)
    fit = [scale * slo.good(bad) for bad in between(points, fitted, loads)]
    axes.plot(loads, fit, color=style.BLUE, linewidth=1.5, label="fit that never gets better")
    for kept, mark, colour, label in (
        (True, "o", style.GREEN, "step, objective kept"),
        (False, "s", style.RED, "step, objective missed"),
    ):
        of = frame[frame["kept"] == kept]
        if not of.empty:
            reach = [of["value"] - of["low"], of["high"] - of["value"]]
            axes.errorbar(
                of.index, of["value"], yerr=reach, fmt=mark, color=colour, capsize=3, linewidth=1, label=label
            )
    axes.axhline(
        scale * slo.limit.value, color=style.BLACK, linewidth=1, linestyle=":", label=f"limit: {slo.limit}"
    )
    if timed:
        style.milliseconds(axes)
    else:
        axes.set_ylabel("%")
    _load_axis(axes, frame)
    style.legend(axes)
    return style.finish(drawn, f"{OBJECTIVE_TITLE} ({slo.text})", frame)


def throughput_frame(plan: Plan) -> pd.DataFrame:
    """By load (the index): ``throughput``, and the ``residual`` to the law where there is one."""
    rows = plan.scaled
    if not rows:
        return pd.DataFrame()
    frame = pd.DataFrame({"throughput": [row.throughput for row in rows]}, index=[row.load for row in rows])
    if plan.usl is not None:
        frame["residual"] = plan.usl.residuals
    return _signed(frame.sort_index(), plan)


def draw_throughput(frame: pd.DataFrame, plan: Plan) -> Figure:
    """Steps and the law above with its peak, the residuals below."""
    law = plan.usl
    drawn = style.canvas([3.2] if law is None else [3.2, 1.0])
    axes = drawn.panels[0]
    most = float(frame["throughput"].max())
    axes.plot(frame.index, frame["throughput"], "o", color=style.BLUE, label="step")
    if law is not None:
        _draw_law(axes, frame, law)
        residuals = drawn.panels[1]
        residuals.axhline(0, color=style.BLACK, linewidth=1)
        residuals.plot(frame.index, frame["residual"], "o", color=style.BLUE, markersize=4)
        residuals.set_ylabel("off the law")
    axes.set_ylim(0, 1.15 * most)
    axes.yaxis.set_major_formatter(style.thousands())
    axes.set_ylabel("replies a second")
    _load_axis(drawn.panels[-1], frame)
    style.legend(axes)
    return style.finish(drawn, THROUGHPUT_TITLE, frame)


def _draw_law(axes: Axes, frame: pd.DataFrame, law: Usl) -> None:
    loads = np.linspace(float(frame.index.min()) / 10, 1.05 * float(frame.index.max()), POINTS)
    axes.plot(loads, law.at(loads), color=style.RED, linewidth=1.5, label="scalability law")
    linear = law.gamma.value * loads
    axes.plot(loads, linear, color=style.GREY, linewidth=1, linestyle="--", label="without contention")
    if law.peak is not None:
        axes.axvline(
            law.peak.load.value,
            color=style.PURPLE,
            linewidth=1.2,
            linestyle="-.",
            label=f"peak at {law.peak.load.value:,.0f}",
        )


def steps_frame(plan: Plan, sockets: npt.NDArray[np.float64]) -> pd.DataFrame:
    """By second (the index): the number of open ``sockets``."""
    if not plan.steps or not np.isfinite(sockets).any():
        return pd.DataFrame()
    frame = _signed(pd.DataFrame({"sockets": sockets}), plan)
    frame.attrs["span_s"] = len(sockets)
    frame.attrs["marks"] = []
    return frame


def draw_steps(frame: pd.DataFrame, plan: Plan) -> Figure:
    """Open sockets, with the measured part of each step as a band that has its number."""
    drawn = style.canvas([2.0])
    axes = drawn.panels[0]
    for step in plan.steps:
        window = step.window
        axes.axvspan(window.begin_s, window.end_s, color=style.SKY, alpha=0.35, linewidth=0)
        axes.text(
            (window.begin_s + window.end_s) / 2,
            0.02,
            str(step.number),
            transform=axes.get_xaxis_transform(),
            ha="center",
            va="bottom",
            fontsize=8,
        )
    style.line(axes, frame["sockets"], "open sockets", 0, marker="")
    axes.set_ylim(0, 1.1 * max(1.0, float(frame["sockets"].max())))
    axes.yaxis.set_major_formatter(style.thousands())
    axes.set_ylabel("sockets")
    style.time_axis(axes, frame)
    return style.finish(drawn, STEPS_TITLE, frame)


def _band(axes: Axes, frame: pd.DataFrame, plan: Plan) -> None:
    assert plan.capacity is not None
    of = plan.capacity.estimate
    right = 1.05 * float(frame.index.max())
    high = min(of.high, right)
    if high > of.low:
        axes.axvspan(of.low, high, color=style.ORANGE, alpha=0.25, linewidth=0, label="its 95 % interval")
    if plan.capacity.crossed:
        axes.axvline(
            of.value, color=style.ORANGE, linewidth=1.5, linestyle="--", label=f"capacity: {figure(of.value)}"
        )


def _load_axis(axes: Axes, frame: pd.DataFrame) -> None:
    axes.set_xlim(0, 1.05 * float(frame.index.max()))
    axes.xaxis.set_major_formatter(style.thousands())
    axes.set_xlabel(frame.attrs["load"])


def _signed(frame: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    seconds = sum(step.window.seconds for step in plan.steps)
    of = f" of {seconds / len(plan.steps):.0f} s on average" if plan.steps else ""
    load = {"sockets": "open sockets"}.get(plan.asked.load, plan.asked.load)
    frame.attrs.update(n=f"n = {counted(len(plan.rows), 'step')}{of}", run_id=plan.source, load=load)
    return frame
