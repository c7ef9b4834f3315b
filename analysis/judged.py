"""Judged: what a run's ``verdict.json`` says, for the report.

A run's directory may come from anywhere: what is not as wsoak writes it is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from analysis.tables import ROWS
from wsoak.judge.terminal import safe
from wsoak.judge.verdict import FAIL, INCONCLUSIVE, INVALID, PASS
from wsoak.judge.verdict_text import NAME_SHOWN, NOTE_SHOWN, SENTENCES
from wsoak.ledger.rundir import VERDICT_FILE

BOXES: Final[Mapping[str, str]] = {PASS: "good", FAIL: "bad", INCONCLUSIVE: "note", INVALID: "bad"}
"""The colour of a verdict, as a class of the page's."""
CELL_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Row:
    """One gate: its verdict, that verdict's colour, its name, the expression where that is another, the other
    cells of the table, and a note, which may be empty."""

    verdict: str
    box: str
    name: str
    expression: str
    cells: tuple[str, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict: the word, its colour, what it means, its gates, and how many of them are not shown."""

    word: str
    box: str
    sentence: str
    rows: tuple[Row, ...]
    left_out: int


def judged(path: Path) -> Judged | None:
    """The verdict in a run's directory; ``None`` where there is none that can be read."""
    try:
        told = json.loads((path / VERDICT_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    word = _word(told) if isinstance(told, dict) else ""
    if not word:
        return None
    gates = told.get("gates")
    entries = [gate for gate in gates if isinstance(gate, dict)] if isinstance(gates, list) else []
    rows = [row for gate in entries[:ROWS] for row in _row(gate)]
    return Judged(word, BOXES[word], SENTENCES[word], tuple(rows), max(0, len(entries) - ROWS))


def _row(gate: Mapping[str, Any]) -> Iterator[Row]:
    verdict = _word(gate)
    if not verdict:
        return
    name, expression = _text(gate.get("name"), NAME_SHOWN), _text(gate.get("expr"), NAME_SHOWN)
    cells = (*(_text(_of(gate, key)) for key in ("actual", "limit", "interval")), _samples(gate))
    note = "" if verdict == PASS else _text(gate.get("note"), NOTE_SHOWN)
    if note == cells[0]:
        note = ""
    yield Row(verdict, BOXES[verdict], name, "" if name.startswith(expression) else expression, cells, note)


def _word(entry: Mapping[str, Any]) -> str:
    word = entry.get("verdict")
    return word if isinstance(word, str) and word in BOXES else ""


def _of(gate: Mapping[str, Any], key: str) -> Any:
    entry = gate.get(key)
    return entry.get("text") if isinstance(entry, dict) else None


def _samples(gate: Mapping[str, Any]) -> str:
    told, count = gate.get("samples_text"), gate.get("samples")
    return _text(told) if told else f"{count:,}" if isinstance(count, int) else ""


def _text(told: Any, limit: int = CELL_SHOWN) -> str:
    return safe(told, limit) if isinstance(told, str) else ""
