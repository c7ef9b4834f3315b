"""Plan page: a capacity plan as one HTML file that opens without a network.

Whoever decides reads the first screen; whoever doubts it finds below what it rests on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import style
from analysis.charts import capacity as charts
from analysis.charts.picture import Picture, picture
from analysis.planning import (
    MISSING,
    Plan,
    carries,
    coefficient,
    headline,
    interval,
    no_peak_because,
    shown_missing,
)
from analysis.report import environment
from analysis.stepped import steps_table
from analysis.tables import Table, table
from wsoak.judge.steps import Series
from wsoak.judge.words import figure


def write_plan(plan: Plan, path: Path, sockets: Series | None = None) -> None:
    """Write the plan's page; ``sockets``: how many were open at each second of the run."""
    path.write_text(html(plan, sockets), encoding="utf-8")


def html(plan: Plan, sockets: Series | None = None) -> str:
    """The page's text; the pictures are in it."""
    return environment().get_template("capacity.html").render(context(plan, sockets))


def context(plan: Plan, sockets: Series | None) -> dict[str, Any]:
    """What the template is filled with."""
    return {
        "source": plan.source,
        "valid": plan.valid,
        "found": plan.found,
        "reasons": [doubt for doubt in plan.doubts if doubt.invalid],
        "answer": [sentence for sentence in headline(plan) if not sentence.startswith("NOT VALID")],
        "facts": list(_facts(plan)),
        "saturation": plan.saturation,
        "missing": {MISSING[name]: why for name, why in shown_missing(plan).items()},
        "pictures": list(_pictures(plan, sockets)),
        "tables": list(_tables(plan)),
        "no_peak_because": no_peak_because(plan.usl) if plan.usl else (),
        "limits": plan.limits,
    }


def _facts(plan: Plan) -> Iterator[tuple[str, str]]:
    """Pairs of label and words: the sum that leads to the number of nodes, line by line."""
    asked, found, needed = plan.asked, plan.capacity, plan.nodes
    if asked.slo is not None:
        yield "Objective", asked.slo.text
    if found is not None:
        yield "Capacity of one node", carries(found, asked.load)
    if needed is not None:
        yield "Forecast peak", f"{needed.forecast:,.0f} {asked.load}"
        yield (
            "Planned load of a node",
            f"{figure(needed.a_node * needed.utilisation)} {asked.load}: {100 * needed.utilisation:g} % of "
            f"the lower bound ({figure(needed.a_node)})",
        )
        planned = needed.a_node * needed.utilisation
        sum_ = f"{needed.forecast:,.0f} ÷ {figure(planned)} = {figure(needed.forecast / planned)}"
        rounded = f"rounded up to {needed.for_load:,}, and {needed.spares} to spare"
        yield "Nodes", f"{sum_}, {rounded}: {needed.total:,}"
    if plan.usl is not None and plan.usl.peak is not None:
        peak = plan.usl.peak
        yield (
            "Peak of the throughput",
            f"at {peak.load.value:,.0f} {asked.load} ({interval(peak.load)}): {figure(peak.throughput)} "
            "replies a second",
        )
    yield from plan.tested


def _pictures(plan: Plan, sockets: Series | None) -> Iterator[Picture]:
    objective = charts.objective_picture(plan)
    if objective is not None:
        yield objective
    throughput = charts.throughput_frame(plan)
    if len(throughput) > 1:
        with style.settings():
            drawn = charts.draw_throughput(throughput, plan)
        yield picture(
            charts.THROUGHPUT_TITLE,
            str(throughput.attrs["n"]),
            drawn,
            "Each point is a step. No law could be fitted to them."
            if plan.usl is None
            else "The line is the Universal Scalability Law; the dashed one is what it would be if nothing "
            "waited for anything. A pattern in the residuals below means that the law does not fit.",
        )
    over_time = pd.DataFrame() if sockets is None else charts.steps_frame(plan, sockets)
    if not over_time.empty:
        with style.settings():
            drawn = charts.draw_steps(over_time, plan)
        yield picture(
            charts.STEPS_TITLE,
            str(over_time.attrs["n"]),
            drawn,
            "Only what lies in a band was measured; the settling of each step was left out.",
        )


def _tables(plan: Plan) -> Iterator[Table]:
    yield steps_table(plan)
    if plan.usl is not None:
        law = plan.usl
        rows = [
            ("γ", coefficient(law.gamma), f"replies a second for one of the {plan.asked.load}"),
            ("α", coefficient(law.alpha), "contention: the share of the work that waits its turn"),
            ("β", coefficient(law.beta), "coherency: what each pays for agreeing with each other one"),
        ]
        yield table(
            "Universal Scalability Law",
            ["", "value and 95 % interval", "what it is"],
            rows,
            [],
            note=f"X(N) = γN / (1 + α(N − 1) + βN(N − 1)), least squares, α and β from 0 to 1; intervals "
            f"from t({law.freedom}); residual error {figure(law.residual_error)} replies a second.",
        )
