"""Marks: the moments that a run's record names, such as the steps of a load shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from analysis.frames import number


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment with a number, by which charts refer to it: 1, 2, 3, … by time.

    ``at_s`` counts from the start of the run.
    """

    number: int
    at_s: float
    text: str


def marks_of(header: Mapping[str, Any]) -> tuple[Mark, ...]:
    """The marks in ``run.json``, by time; what is none is left out."""
    found = sorted(_pairs(header.get("marks")), key=lambda pair: pair[0])
    return tuple(Mark(index, at_s, text) for index, (at_s, text) in enumerate(found, 1))


def _pairs(plain: Any) -> Iterator[tuple[float, str]]:
    for entry in plain if isinstance(plain, list) else ():
        at_s = number(entry.get("at_s")) if isinstance(entry, dict) else None
        if at_s is not None:
            yield at_s, str(entry.get("text", ""))
