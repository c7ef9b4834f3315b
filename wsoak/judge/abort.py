"""Abort: gates that stop the run as soon as they have failed, judged while it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from wsoak.judge.findings import find
from wsoak.judge.gates import Gate
from wsoak.judge.meters import Material
from wsoak.judge.terminal import safe
from wsoak.judge.verdict import FAIL, GateResult, Trial
from wsoak.ledger.books import Books
from wsoak.ledger.delta import Delta

LOOKS: Final = 2
"""A gate has failed when it failed at so many looks in a row: who looks often meets more chances."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The gate that stopped a run, and its figure then; ``at_s`` seconds after the run's start."""

    result: GateResult
    at_s: float

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``run.json``."""
        gate = self.result.gate
        return {
            "name": gate.name,
            "expr": gate.expression.text,
            "at_s": self.at_s,
            "actual": self.result.actual,
        }

    @property
    def sentence(self) -> str:
        """Why the run is stopped."""
        result = self.result
        return (
            f'The gate "{safe(result.gate.name)}" has failed: {result.actual}, where {result.limit} is asked '
            f"for ({result.samples} samples)."
        )


class AbortWatch:
    """Watches the gates with ``abort = true``.

    Args:
        gates: all of the run's.
        started_at: the run's start, Unix seconds.
    """

    def __init__(self, gates: Sequence[Gate], started_at: float) -> None:
        self._trial = Trial([gate for gate in gates if gate.abort], started_at)
        self._started_at = started_at
        self._failed: dict[str, int] = {}

    def add(self, delta: Delta) -> None:
        """Take a delta in."""
        if self._trial.gates:
            self._trial.take(delta)

    def look(self, books: Books, elapsed_s: float) -> Stopped | None:
        """The gate that has failed so long after the start, if one has; ``books`` are the run's so far."""
        due = {gate.name for gate in self._trial.gates if gate.after_s + gate.delay_s <= elapsed_s}
        if not due:
            return None
        material = Material(books, self._started_at, lambda: find(books, self._started_at))
        for result in self._trial.results(material):
            name = result.gate.name
            if name not in due or result.verdict != FAIL:
                self._failed.pop(name, None)
                continue
            self._failed[name] = self._failed.get(name, 0) + 1
            if self._failed[name] >= LOOKS:
                return Stopped(result, round(elapsed_s, 1))
        return None
