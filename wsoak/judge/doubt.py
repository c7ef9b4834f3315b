"""Doubt: a reason not to believe a run's numbers, or not all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wsoak.ledger.books import Books

Header = Mapping[str, Any]
"""What ``run.json`` says."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reason not to believe the numbers, or not all of them; ``advice`` says what to do about it."""

    id: str
    reason: str
    advice: str
    invalid: bool

    def to_json(self) -> dict[str, Any]:
        """The doubt as plain values."""
        return {"id": self.id, "reason": self.reason, "advice": self.advice, "invalid": self.invalid}


Check = Callable[[Books, Header], Iterable[Doubt]]
