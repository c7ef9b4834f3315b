"""Beside: what runs say beside those of a baseline, as one more gate of a verdict.

A baseline that cannot be believed makes the verdict invalid; runs that are not alike are refused before it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from analysis.regression import (
    Member,
    Regression,
    allowed,
    as_plain,
    few,
    measure,
    members,
    regression,
    shown,
    upper,
    verdict,
    worse,
)
from wsoak.judge.expression import Expression
from wsoak.judge.gates import Gate
from wsoak.judge.meters import NO_DATA, Measured
from wsoak.judge.quantity import Quantity
from wsoak.judge.slo import Slo
from wsoak.judge.terminal import safe
from wsoak.judge.validity import Doubt
from wsoak.judge.verdict import FAIL, INCONCLUSIVE, PASS, GateResult, Word
from wsoak.judge.words import counted

_WORDS: Final[Mapping[str, Word]] = {"pass": PASS, "fail": FAIL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside(GateResult):
    """A comparison as a gate's result. Its measurement is how much worse the runs are: a share of the
    baseline's figure, or for shares a difference of shares."""

    regression: Regression

    @property
    def actual(self) -> str:
        """How much worse the runs are, in words."""
        value = self.measured.value
        return NO_DATA if value is None else shown(self.regression, value)

    @property
    def limit(self) -> str:
        """How much worse they may be, in words."""
        return f"<= {allowed(self.regression)}"

    @property
    def interval(self) -> str:
        """The shift's upper bound in words."""
        return "–" if self.measured.value is None else upper(self.regression)

    @property
    def samples(self) -> str:
        """The runs in words."""
        return f"{counted(len(self.regression.after), 'run')} beside {len(self.regression.before)}"

    def to_json(self) -> dict[str, Any]:
        """As any gate's, and with every run's figure under ``baseline``."""
        # the argumentless super() knows a class that slots have replaced
        return {**GateResult.to_json(self), "baseline": as_plain(self.regression)}


class Unsound(ValueError):
    """Runs that cannot be set beside each other; one sentence for each reason in ``reasons``."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("\n".join(reasons))
        self.reasons = tuple(reasons)


def beside(
    baseline: Sequence[Path],
    candidate: Sequence[Path],
    figures: Sequence[str],
    tolerance: float | None = None,
) -> list[Beside]:
    """What the runs ``candidate`` say beside those of a baseline, by each of these figures.

    Args:
        tolerance: see ``regression``.

    Raises:
        BadSlo: when there is no such figure; before a run is read.
        UnreadableRun: when a directory holds no run that this wsoak can read.
        Unsound: when the runs were not made alike.
    """
    measures = [measure(figure) for figure in figures]
    before, after = ([members(path, measures) for path in paths] for paths in (baseline, candidate))
    found = [
        regression([run[i] for run in before], [run[i] for run in after], of, figures[i], tolerance)
        for i, of in enumerate(measures)
    ]
    if found[0].unsound:
        # it is not the figure that makes runs unlike
        raise Unsound(found[0].unsound)
    return [result(each, of) for each, of in zip(found, measures, strict=True)]


def result(found: Regression, of: Slo) -> Beside:
    """A comparison as a gate's result: what cannot be believed, or has no data, is inconclusive."""
    limit = Quantity(found.tolerance, "share")
    text = f"{found.figure} beside the baseline"
    gate = Gate(text, Expression(text, "baseline", (), None, None, "<=", limit))
    note = "; ".join(_clauses(found, of))
    word = _WORDS.get(verdict(found), INCONCLUSIVE)
    runs = len(found.before) + len(found.after)
    if found.shift is None:
        return Beside(gate, INCONCLUSIVE, Measured(None, samples=runs, note=note), note, regression=found)
    much, most = (worse(found, shift) for shift in (found.shift.shift, found.shift.upper))
    measured = Measured(much, -math.inf, most, runs, note=note)
    return Beside(gate, word, measured, note, regression=found)


def distrust(found: Regression) -> Iterator[Doubt]:
    """The doubts about the baseline's own runs; those about the others are their own verdicts'."""
    for run in found.before:
        for doubt in run.doubts:
            if doubt.invalid:
                yield Doubt(
                    "baseline-not-valid",
                    f"The baseline's {safe(run.run_id, 60)} is not valid: {doubt.reason}",
                    "Record it again, or leave it out.",
                    invalid=True,
                )


def _clauses(found: Regression, of: Slo) -> Iterator[str]:
    middles = [_median(runs, of) for runs in (found.after, found.before)]
    if found.shift is None:
        yield from (_clause(why) for why in found.missing)
        return
    yield f"median {middles[0]} beside {middles[1]}, p = {found.shift.p:.2g}"
    if found.invalid:
        yield "not every run of the comparison is valid"
    elif too_few := few(found):
        yield _clause(too_few)
    elif verdict(found) == INCONCLUSIVE:
        yield "the runs differ too much among themselves"


def _median(runs: Sequence[Member], of: Slo) -> str:
    values = [run.value for run in runs if run.value is not None]
    return of.limit.show(statistics.median(values)) if values else NO_DATA


def _clause(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:].removesuffix(".")
