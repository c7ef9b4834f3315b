"""Stepped: what the report says of a run's steps: the capacity that the run searched for, or how to ask."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from analysis.frames import Run
from analysis.marks import marks_of
from analysis.planning import Asked, Plan, header_cells, headline, plan_of_run, row_cells, shown_columns
from analysis.steps import STEP
from analysis.tables import Table, table
from wsoak.judge.slo import BadSlo, Slo, slo

LEAST: Final = 3
"""So many steps make a run one that was made for its capacity."""
EXAMPLE: Final = "response p(99) < 250ms"


@dataclass(frozen=True, slots=True)
class Stepped:
    """Sentences for the report, and the steps as a table."""

    sentences: tuple[str, ...]
    steps: Table


def stepped(run: Run) -> Stepped | None:
    """What there is to say of a run's steps; ``None`` of a run without."""
    if sum(mark.text.startswith(STEP) for mark in marks_of(run.header)) < LEAST:
        return None
    objective = searched_for(run.header)
    plan = plan_of_run(run, Asked(objective))
    told = headline(plan) if objective is not None else []
    if plan.saturation is not None:
        told.append(plan.saturation.sentence)
    asked = "" if objective is not None else f' --slo "{EXAMPLE}"'
    told.append(
        f"The plan, with its charts and its limits: python -m analysis capacity {shlex.quote(str(run.path))}"
        f"{asked} --forecast N"
    )
    return Stepped(tuple(told), steps_table(plan))


def searched_for(header: Mapping[str, Any]) -> Slo | None:
    """The objective that a run itself searched for, by ``run.json``."""
    told = header.get("search")
    text = told.get("slo") if isinstance(told, dict) else None
    if not isinstance(text, str):
        return None
    try:
        return slo(text)
    except BadSlo:
        return None


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
