"""Checks: what was looked at before the load, as ``run.json`` has it, in tables for the report.

A run's directory may come from anywhere: what is not as wsoak writes it is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from analysis.tables import Table, table
from wsoak.judge.terminal import safe

CELL_LIMIT: Final = 400

STEP_COLUMNS: Final = ("scenario", "step", "result", "text", "finding")
DOOR_COLUMNS: Final = ("scenario", "socket", "path", "tried", "expected", "seen")


def steps(header: Mapping[str, Any]) -> Table:
    """The checks before the load: which, with what result and figures."""
    rows = [tuple(_cell(step, name) for name in STEP_COLUMNS) for step in _entries(header, "steps")]
    return table("Checks before the load", ("scenario", "check", "result", "seen", "finding"), rows, ())


def doors(header: Mapping[str, Any]) -> Table:
    """The security probes: what was tried, what should have come of it, what did, and the verdict."""
    rows = [
        (*(_cell(door, name) for name in DOOR_COLUMNS), _verdict(door)) for door in _entries(header, "doors")
    ]
    columns = ("scenario", "socket", "path", "tried", "expected", "seen", "verdict")
    return table("Security probes", columns, rows, ())


def _verdict(door: Mapping[str, Any]) -> str:
    return f"OPEN: {_cell(door, 'finding')}" if door.get("accepted") is not False else "shut"


def _entries(header: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    checks = header.get("checks")
    found = checks.get(name) if isinstance(checks, dict) else None
    for entry in found if isinstance(found, list) else ():
        if isinstance(entry, dict):
            yield entry


def _cell(entry: Mapping[str, Any], name: str) -> str:
    return safe(str(entry.get(name, "")), CELL_LIMIT)
