"""Regression: runs of a candidate beside runs of a baseline, one figure a run, and a verdict.

Only like is set beside like: runs of other scenarios, options, machines, users, lengths or numbers of workers
are refused, with the reason. What differs on purpose is the server, or the build behind the same address.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from analysis.baseline import LEAST_RUNS, Shift, judge, runs_needed
from analysis.estimate import plain
from analysis.frames import number
from analysis.slo import BadSlo, Slo, slo
from analysis.workers import expected
from wsoak.judge.terminal import safe
from wsoak.judge.validity import GENERATOR, Doubt, doubts, is_valid
from wsoak.judge.words import counted, listed
from wsoak.ledger.books import Books
from wsoak.ledger.rundir import RunReader

TOLERANCE: Final = 0.10
"""How much longer a duration may be, as a share of the baseline's."""
SHARE_TOLERANCE: Final = 0.005
"""How much less of a share may succeed, as a difference of shares."""
LENGTH_SHARE: Final = 0.1
"""Runs are of one length when they differ by less than this share, or by five seconds."""
LENGTH_S: Final = 5.0
DEFAULT_FIGURE: Final = "response p(99)"
OWN_OPTIONS: Final = frozenset({"run_dir", "watch", "gates"})
"""Options that say where a run is kept and what is looked at, and change nothing of the load."""


@dataclass(frozen=True, slots=True)
class Member:
    """A run of a set: its figure (``None`` without samples), the load it made, and its doubts."""

    run_id: str
    path: Path
    value: float | None
    seconds: float
    conditions: Mapping[str, str]
    doubts: tuple[Doubt, ...]


@dataclass(frozen=True, slots=True)
class Regression:
    """Two sets and the verdict; ``shift`` is ``None`` where they cannot be set beside each other, and
    ``unsound`` says why, a sentence each.

    ``relative``: the shift is a difference of logarithms.
    """

    figure: str
    before: tuple[Member, ...]
    after: tuple[Member, ...]
    relative: bool
    tolerance: float
    shift: Shift | None
    unsound: tuple[str, ...]
    invalid: tuple[str, ...]


def measure(figure: str) -> Slo:
    """What measures a figure such as ``response p(99)`` or ``request.success``.

    Raises:
        BadSlo: when there is none such.
    """
    for limit in ("< 1s", ">= 1%"):
        try:
            return slo(f"{figure} {limit}")
        except BadSlo as error:
            wrong = error
    raise BadSlo(f"{figure!r} is no figure that runs can be judged by: {wrong}")


def member(path: Path, of: Slo) -> Member:
    """A run's figure and conditions.

    Raises:
        UnreadableRun: when the directory holds no run that this wsoak can read.
    """
    reader = RunReader(path)
    books = reader.books()
    found = doubts(books, reader.header, under_way=reader.under_way, damaged=reader.damaged)
    return Member(
        run_id=reader.run_id,
        path=path,
        value=of.figure(books),
        seconds=_seconds(reader.header),
        conditions=dict(_conditions(reader.header, books)),
        doubts=tuple(found),
    )


def regression(
    before: Sequence[Member], after: Sequence[Member], of: Slo, figure: str, tolerance: float | None = None
) -> Regression:
    """The verdict on the runs ``after``. ``tolerance``: a share of the baseline's figure, or for shares a
    difference of shares."""
    relative = of.limit.dimension == "seconds"
    allowed = tolerance if tolerance is not None else TOLERANCE if relative else SHARE_TOLERANCE
    unsound = tuple(_unsound(before, after))
    invalid = tuple(
        f"{safe(run.run_id, 60)}: {doubt.reason}"
        for run in (*before, *after)
        for doubt in run.doubts
        if doubt.invalid
    )
    shift = None
    if not unsound:
        scale = math.log1p(allowed) if relative else allowed
        shift = judge(_bad(before, of), _bad(after, of), scale)
    return Regression(figure, tuple(before), tuple(after), relative, allowed, shift, unsound, invalid)


def _bad(runs: Sequence[Member], of: Slo) -> list[float]:
    return [of.bad(run.value) for run in runs if run.value is not None]


# ------------------------------------------------------------------------------------------ alike or unlike


def _seconds(header: Mapping[str, Any]) -> float:
    started_at, ended_at = number(header.get("started_at")), number(header.get("ended_at"))
    return ended_at - started_at if started_at is not None and ended_at is not None else 0.0


def _conditions(header: Mapping[str, Any], books: Books) -> Iterator[tuple[str, str]]:
    """The conditions of the load in words: where they differ, runs are not alike."""
    yield "scenario", listed(sorted(map(str, header.get("scenarios") or []))) or "none"
    yield "host", urlsplit(str(header.get("host") or "")).hostname or "none"
    machine = header.get("machine") or {}
    yield "generator's machine", ", ".join(f"{key} {machine[key]}" for key in sorted(machine)) or "unknown"
    yield "number of workers", str(expected(header) or "a single process")
    most = sum(
        summary.greatest
        for (_, source, name), summary in books.gauges.items()
        if (source, name) == (GENERATOR, "users_target")
    )
    yield "number of users", f"{most:,.0f}"
    options = header.get("options") or {}
    for key in sorted(set(options) - OWN_OPTIONS):
        yield f"option --{key.replace('_', '-')}", str(options[key])


def _unsound(before: Sequence[Member], after: Sequence[Member]) -> Iterator[str]:
    for side, runs in (("baseline", before), ("candidate", after)):
        if not runs:
            yield f"The {side} has no runs."
        empty = [safe(run.run_id, 60) for run in runs if run.value is None]
        if empty:
            yield f"The {side} has no figure in {listed(empty)}."
    everyone = [*before, *after]
    if not before or not after:
        return
    keys = dict.fromkeys(key for run in everyone for key in run.conditions)
    for key in keys:
        ways = [
            sorted({safe(run.conditions.get(key, "unknown"), 100) for run in of}) for of in (before, after)
        ]
        if ways[0] != ways[1] or len(ways[0]) > 1:
            was, now = (listed(of) for of in ways)
            yield f"The {key} is not the same in all runs: {was} in the baseline, {now} in the candidate."
    lengths = [run.seconds for run in everyone]
    if max(lengths) - min(lengths) > max(LENGTH_S, LENGTH_SHARE * max(lengths)):
        yield f"The runs are not of one length: from {min(lengths):,.0f} s to {max(lengths):,.0f} s."


# -------------------------------------------------------------------------------------------------- output


def as_json(found: Regression) -> str:
    """The verdict and every run's figure."""
    shift = found.shift
    return json.dumps(
        {
            "figure": found.figure,
            "verdict": verdict(found),
            "before": [_plain(run) for run in found.before],
            "after": [_plain(run) for run in found.after],
            "relative": found.relative,
            "tolerance": found.tolerance,
            "shift": None if shift is None else plain(_worse(found, shift.shift)),
            "upper": None if shift is None else plain(_worse(found, shift.upper)),
            "p": None if shift is None else shift.p,
            "indicative": None if shift is None else shift.indicative,
            "unsound": list(found.unsound),
            "invalid": list(found.invalid),
        },
        indent=2,
    )


def _plain(run: Member) -> dict[str, Any]:
    return {"run_id": run.run_id, "value": run.value, "valid": is_valid(run.doubts)}


def verdict(found: Regression) -> str:
    """``pass``, ``fail``, ``inconclusive``; ``invalid`` or ``unsound`` where none can be given."""
    if found.unsound or found.shift is None:
        return "unsound"
    return "invalid" if found.invalid else found.shift.verdict


def _worse(found: Regression, shift: float) -> float:
    """A shift as a share of the baseline's figure, or as a difference of shares."""
    return math.expm1(shift) if found.relative and math.isfinite(shift) else shift


def as_text(found: Regression, of: Slo) -> str:
    """The verdict for a terminal: what, the two sets, why."""
    lines = [f"{verdict(found).upper()}  {found.figure}"]
    for side, runs in (("baseline ", found.before), ("candidate", found.after)):
        values = [run.value for run in runs if run.value is not None]
        if values:
            shown = "  ".join(of.limit.show(value) for value in values)
            lines.append(
                f"  {side}  {counted(len(values), 'run')}, median "
                f"{of.limit.show(statistics.median(values))}:  {shown}"
            )
    lines += [f"  {sentence}" for sentence in sentences(found)]
    return "\n".join(lines)


def sentences(found: Regression) -> Iterator[str]:
    """Why the verdict is what it is."""
    yield from (f"Not to be set beside each other. {why}" for why in found.unsound)
    yield from (f"NOT VALID: {why}" for why in found.invalid)
    shift = found.shift
    if shift is None:
        return
    upper = "no bound" if not math.isfinite(shift.upper) else f"{_shown(found, shift.upper)} at most (95 %)"
    allowed = _shown(found, _scale(found))
    yield f"Shift {_shown(found, shift.shift)}, {upper}; allowed {allowed}; p = {shift.p:.3g}."
    yield _WHY[shift.verdict]
    if shift.indicative:
        yield (
            f"With {counted(len(found.before), 'run')} beside {len(found.after)} this is indicative only: "
            f"take {LEAST_RUNS} or more a side."
        )
    if shift.best_p > 0.05:
        needed = runs_needed(len(found.before))
        yield (
            f"So few runs could not have failed: their least possible p is {shift.best_p:.2g}. Beside "
            f"{counted(len(found.before), 'baseline run')} take {needed} or more."
        )


_WHY: Final[Mapping[str, str]] = {
    "fail": "The candidate is worse: its runs rank behind the baseline's, and by more than is allowed.",
    "pass": "The candidate is not worse than is allowed, as far as 95 % can say.",
    "inconclusive": "Neither can be said: the runs differ too much among themselves, or are too few.",
}


def _scale(found: Regression) -> float:
    return math.log1p(found.tolerance) if found.relative else found.tolerance


def _shown(found: Regression, shift: float) -> str:
    worse = _worse(found, shift)
    sign = "+" if worse > 0 else "-" if worse < 0 else ""
    unit = "" if found.relative else " points"
    return (
        f"{sign}{100 * abs(worse):.2g} %{unit}"
        if abs(worse) < 0.1
        else f"{sign}{100 * abs(worse):.0f} %{unit}"
    )
