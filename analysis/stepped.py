"""Stepped: what the report says of a run's steps: their capacity at an objective, or how to ask for it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Final

from analysis.capacity_asked import PLAN_FILE, asked_of, last_asked, searched_for
from analysis.charts.capacity import objective_picture
from analysis.charts.picture import Picture
from analysis.frames import Run
from analysis.marks import marks_of
from analysis.planning import (
    Asked,
    Plan,
    contradiction,
    header_cells,
    headline,
    plan_of_run,
    row_cells,
    shown_columns,
)
from analysis.steps import STEP
from analysis.tables import Table, table

LEAST: Final = 3
"""So many steps make a run one that was made for its capacity."""
EXAMPLE: Final = "response p(99) < 250ms"


@dataclass(frozen=True, slots=True)
class Stepped:
    """Sentences for the report, the steps as a table, and the chart of the objective by load if there is one.

    ``page``: the file beside the report that holds the whole plan; empty where nobody has made it.
    """

    sentences: tuple[str, ...]
    steps: Table
    chart: Picture | None
    page: str


def stepped(run: Run) -> Stepped | None:
    """What there is to say of a run's steps; ``None`` of a run without.

    Plateaus that nobody marked as steps are some where a capacity was asked for, and found in them.
    """
    marked = sum(mark.text.startswith(STEP) for mark in marks_of(run.header)) >= LEAST
    asked = asked_of(run) if marked else last_asked(run.path)
    if not marked and asked is None:
        return None
    plan = plan_of_run(run, asked or Asked())
    if not marked and plan.capacity is None:
        return None
    page = PLAN_FILE if (run.path / PLAN_FILE).is_file() else ""
    told = _sentences(plan)
    if not page:
        told.append(_how_to_ask(run, plan))
    return Stepped(tuple(told), steps_table(plan), objective_picture(plan), page)


def _sentences(plan: Plan) -> list[str]:
    told = headline(plan) if plan.asked.slo is not None else []
    if plan.capacity is not None and (noise := contradiction(plan.used, plan.asked.load)):
        told.append(noise)
    if plan.saturation is not None:
        told.append(plan.saturation.sentence)
    return told


def _how_to_ask(run: Run, plan: Plan) -> str:
    objective, searched = plan.asked.slo, searched_for(run.header)
    if objective is None:
        asked = f' --slo "{EXAMPLE}"'
    elif searched is None or searched.text != objective.text:
        asked = f" --slo {shlex.quote(objective.text)}"
    else:
        asked = ""
    command = f"python -m analysis capacity {shlex.quote(str(run.path))}{asked} --forecast N"
    return f"The plan, with its charts and its limits: {command}"


def steps_table(plan: Plan) -> Table:
    """The steps of a plan."""
    columns = [*header_cells(plan)[:-1], "remark"]
    rows = [row_cells(plan, row) for row in plan.rows]
    shown = shown_columns(plan)
    return table(
        "Steps",
        [columns[index] for index in shown],
        [[row[index] for index in shown] for row in rows],
        [place for place, index in enumerate(shown) if index in (0, 1, 2, 3, 5)],
        note="Little's law: requests in flight = rate × mean service time. A step at which the generator was "
        "full is left out of every fit.",
    )
