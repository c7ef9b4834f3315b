"""Capacity asked: the objective that a run's capacity is told at, and where it comes from.

    capacity.json   what ``analysis capacity`` was last asked for
    run.json        what the run itself searched for
    verdict.json    the first of its gates that bounds response times

A run's directory may come from anywhere: what is not as wsoak writes it is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from analysis.frames import Run
from analysis.planning import LOADS, Asked
from wsoak.judge.slo import BadSlo, Slo, slo
from wsoak.ledger.rundir import VERDICT_FILE, write_json

ASKED_FILE: Final = "capacity.json"
PLAN_FILE: Final = "capacity.html"
"""The plan that was last made of a run, as a page in its directory."""
TEXT_LIMIT: Final = 300
"""What is longer is nobody's objective, and too long for a title."""


def keep(path: Path, asked: Asked) -> None:
    """Write down in a run's directory what its capacity was asked for.

    Raises:
        OSError: when the disk refuses.
    """
    objective = None if asked.slo is None else asked.slo.text
    write_json(path / ASKED_FILE, {"slo": objective, "load": asked.load or None})


def asked_of(run: Run) -> Asked | None:
    """What a run's capacity is told at; ``None`` where nobody has said."""
    if (kept := last_asked(run.path)) is not None:
        return kept
    objective = searched_for(run.header) or gated(run.path)
    return None if objective is None else Asked(objective)


def last_asked(path: Path) -> Asked | None:
    """What the capacity of the run in this directory was last asked for."""
    told = _json(path / ASKED_FILE)
    objective = _slo(told.get("slo"))
    load = told.get("load")
    return None if objective is None else Asked(objective, load=load if load in tuple(LOADS) else "")


def searched_for(header: Mapping[str, Any]) -> Slo | None:
    """The objective that a run itself searched for, by ``run.json``."""
    told = header.get("search")
    return _slo(told.get("slo")) if isinstance(told, dict) else None


def gated(path: Path) -> Slo | None:
    """The first of a run's gates, by ``verdict.json``, that is an objective of response times."""
    gates = _json(path / VERDICT_FILE).get("gates")
    for gate in gates if isinstance(gates, list) else ():
        objective = _slo(gate.get("expr")) if isinstance(gate, dict) else None
        if objective is not None and objective.kind == "response":
            return objective
    return None


def _json(path: Path) -> Mapping[str, Any]:
    """The object in a JSON file; empty where there is none."""
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _slo(text: Any) -> Slo | None:
    if not isinstance(text, str) or len(text) > TEXT_LIMIT:
        return None
    try:
        return slo(text)
    except BadSlo:
        return None
