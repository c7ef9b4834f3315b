"""Estimate: a figure with the interval in which the truth may lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

CONFIDENCE: Final = 0.95
"""Two-sided, unless a function says otherwise."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its interval; a bound that the data do not give is infinite."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float) -> Estimate:
        """The estimate of so many times the figure; ``factor`` may be negative, which turns it around."""
        ends = sorted((self.low * factor, self.high * factor))
        return Estimate(self.value * factor, ends[0], ends[1])

    def to_json(self) -> dict[str, Any]:
        """The estimate as plain values, ``null`` for what is not finite."""
        return {"value": plain(self.value), "low": plain(self.low), "high": plain(self.high)}


def plain(value: float | None) -> float | None:
    """The value as JSON can hold it: ``None`` for what is not finite."""
    return float(value) if value is not None and abs(value) < float("inf") else None
