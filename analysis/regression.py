"""Regression: runs of a candidate beside runs of a baseline, one figure a run, and a verdict.

Only like is set beside like: runs of other scenarios, options, machines, users, lengths or numbers of workers
are refused, with the reason. What differs on purpose is the server, or the build behind the same address: its
host may be another one where the runs were recorded together, by turns.
And a run is set beside others once: the same run five times is no five runs.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from analysis.baseline import LEAST_RUNS, Shift, judge
from analysis.estimate import plain
from analysis.frames import number
from analysis.gate import UNDER_WAY
from analysis.recording import recording_of
from analysis.workers import expected
from wsoak.judge.slo import BadSlo, Slo, slo
from wsoak.judge.terminal import safe
from wsoak.judge.validity import GENERATOR, STOPPED_BY_GATE, Doubt, doubts, is_valid
from wsoak.judge.words import counted, listed
from wsoak.ledger.books import Books
from wsoak.ledger.rundir import RunReader

TOLERANCE: Final = 0.10
"""How much longer a duration may be, as a share of the baseline's."""
SOUGHT: Final = 2
"""How many runs are needed is said for a candidate that is worse by so many times what is allowed."""
SHARE_TOLERANCE: Final = 0.005
"""How much less of a share may succeed, as a difference of shares."""
LENGTH_SHARE: Final = 0.1
"""Runs are of one length when they differ by less than this share, or by five seconds."""
LENGTH_S: Final = 5.0
DEFAULT_FIGURE: Final = "response p(99)"
HOST: Final = "host"
OWN_OPTIONS: Final = frozenset({"run_dir", "watch", "gates", "latency_limit"})
"""Options that say where a run is kept and what is looked at or judged, and change nothing of the load."""


@dataclass(frozen=True, slots=True)
class Member:
    """A run of a set: its figure (``None`` without samples), the load it made, and its doubts.

    ``seconds`` and ``users`` are ``None`` where the run ended before its time: what it might have been is not
    known. ``recording``: see ``recording_of``.
    """

    run_id: str
    path: Path
    started_at: float
    value: float | None
    seconds: float | None
    users: float | None
    conditions: Mapping[str, str]
    doubts: tuple[Doubt, ...]
    recording: Path | None


@dataclass(frozen=True, slots=True)
class Regression:
    """Two sets and the verdict; ``shift`` is ``None`` where there is none to be measured.

    Attributes:
        relative: the shift is a difference of logarithms.
        unsound: why these runs cannot be set beside each other, a sentence each.
        missing: what is not there to be compared, a sentence each.
        invalid: the doubts that make a run invalid, a sentence each.
    """

    figure: str
    before: tuple[Member, ...]
    after: tuple[Member, ...]
    relative: bool
    tolerance: float
    shift: Shift | None
    unsound: tuple[str, ...]
    missing: tuple[str, ...]
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


def members(path: Path, measures: Sequence[Slo]) -> list[Member]:
    """A run by each of these measures, with its conditions; read once.

    Raises:
        UnreadableRun: when the directory holds no run that this wsoak can read.
    """
    reader = RunReader(path)
    books = reader.books()
    header = reader.header
    under_way = reader.under_way
    found = doubts(books, header, under_way=under_way, damaged=reader.damaged)
    if under_way:
        found.insert(0, UNDER_WAY)
    whole = is_valid(found) and header.get("ended_by") != STOPPED_BY_GATE
    return [
        Member(
            run_id=reader.run_id,
            path=path,
            started_at=number(header.get("started_at")) or 0.0,
            value=of.figure(books),
            seconds=_seconds(header) if whole else None,
            users=_users(books) if whole else None,
            conditions=dict(_conditions(header)),
            doubts=tuple(found),
            recording=recording_of(reader),
        )
        for of in measures
    ]


def member(path: Path, of: Slo) -> Member:
    """A run by one measure; see ``members``."""
    return members(path, [of])[0]


def regression(
    before: Sequence[Member], after: Sequence[Member], of: Slo, figure: str, tolerance: float | None = None
) -> Regression:
    """The verdict on the runs ``after``. ``tolerance``: a share of the baseline's figure, or for shares a
    difference of shares."""
    relative, allowed = allowance(of, tolerance)
    unsound, missing = tuple(_unsound(before, after)), tuple(_missing(before, after))
    invalid = tuple(
        f"{safe(run.run_id, 60)}: {doubt.reason}"
        for run in (*before, *after)
        for doubt in run.doubts
        if doubt.invalid
    )
    shift = None
    if not unsound and not missing:
        pairs = in_pairs(before, after)
        shift = judge(
            _bad(before if pairs is None else pairs[0], of),
            _bad(after if pairs is None else pairs[1], of),
            scale(allowed, relative),
            paired=pairs is not None,
            sought=scale(SOUGHT * allowed, relative),
        )
    return Regression(
        figure, tuple(before), tuple(after), relative, allowed, shift, unsound, missing, invalid
    )


def allowance(of: Slo, tolerance: float | None) -> tuple[bool, float]:
    """Whether a figure is judged by shares of the baseline's, and how much worse it may be."""
    relative = of.limit.dimension == "seconds"
    return relative, tolerance if tolerance is not None else TOLERANCE if relative else SHARE_TOLERANCE


def scale(share: float, relative: bool) -> float:
    """How much worse, in terms of the figures that are judged: durations by their logarithms."""
    return math.log1p(share) if relative else share


def in_pairs(
    before: Sequence[Member], after: Sequence[Member]
) -> tuple[Sequence[Member], Sequence[Member]] | None:
    """The runs of both sides by time, where they were made by turns; ``None`` where they were not.

    By turns: the first two runs are one of each side, and so are the next two, and so on.
    """
    sides = {id(run): side for side, runs in enumerate((before, after)) for run in runs}
    in_time = sorted((*before, *after), key=lambda run: run.started_at)
    turns = [in_time[place : place + 2] for place in range(0, len(in_time), 2)]
    if any(sorted(sides[id(run)] for run in turn) != [0, 1] for turn in turns):
        return None
    if len({run.started_at for run in in_time}) < len(in_time):
        return None
    ordered = [sorted(turn, key=lambda run: sides[id(run)]) for turn in turns]
    return [turn[0] for turn in ordered], [turn[1] for turn in ordered]


def _bad(runs: Sequence[Member], of: Slo) -> list[float]:
    return [of.bad(run.value) for run in runs if run.value is not None]


# ------------------------------------------------------------------------------------------ alike or unlike


def _seconds(header: Mapping[str, Any]) -> float:
    started_at, ended_at = number(header.get("started_at")), number(header.get("ended_at"))
    return ended_at - started_at if started_at is not None and ended_at is not None else 0.0


def _users(books: Books) -> float:
    """The most users that were asked for, of all workers."""
    return sum(
        summary.greatest
        for (_, source, name), summary in books.gauges.items()
        if (source, name) == (GENERATOR, "users_target")
    )


def _conditions(header: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The conditions of the load in words: where they differ, runs are not alike."""
    yield "scenario", listed(sorted(map(str, header.get("scenarios") or []))) or "none"
    yield HOST, urlsplit(str(header.get("host") or "")).hostname or "none"
    machine = header.get("machine") or {}
    yield "generator's machine", ", ".join(f"{key} {machine[key]}" for key in sorted(machine)) or "unknown"
    yield "number of workers", str(expected(header) or "a single process")
    options = header.get("options") or {}
    for key in sorted(set(options) - OWN_OPTIONS):
        yield f"option --{key.replace('_', '-')}", str(options[key])


def _missing(before: Sequence[Member], after: Sequence[Member]) -> Iterator[str]:
    for side, runs in (("baseline", before), ("candidate", after)):
        if not runs:
            yield f"The {side} has no runs."
        if empty := [safe(run.run_id, 60) for run in runs if run.value is None]:
            yield f"The {side} has no figure in {listed(empty)}."
        if short := [safe(run.run_id, 60) for run in runs if is_valid(run.doubts) and run.seconds is None]:
            yield f"The {side}'s {listed(short)} ended before its time: a gate stopped it."


def _unsound(before: Sequence[Member], after: Sequence[Member]) -> Iterator[str]:
    everyone = [*before, *after]
    seen = Counter((run.run_id, run.started_at) for run in everyone)
    if again := sorted({safe(run_id, 60) for (run_id, _), times in seen.items() if times > 1}):
        yield f"Each run counts once, and {listed(again)} is named more often."
    keys = dict.fromkeys(key for run in everyone for key in run.conditions)
    recordings = {run.recording for run in everyone}
    together = len(recordings) == 1 and None not in recordings
    for key in keys:
        was, now = ({run.conditions.get(key, "unknown") for run in of} for of in (before, after))
        # two servers, each of them one and the same, are what such a recording compares
        if not (key == HOST and together and len(was) == len(now) == 1):
            yield from _unlike(key, was, now)
    yield from _unlike(
        "number of users",
        *({f"{run.users:,.0f}" for run in of if run.users is not None} for of in (before, after)),
    )
    lengths = [run.seconds for run in everyone if run.seconds is not None]
    if lengths and max(lengths) - min(lengths) > max(LENGTH_S, LENGTH_SHARE * max(lengths)):
        yield f"The runs are not of one length: from {min(lengths):,.0f} s to {max(lengths):,.0f} s."


def _unlike(key: str, before: set[str], after: set[str]) -> Iterator[str]:
    if len(before | after) > 1:
        was, now = (listed(sorted(safe(way, 100) for way in of)) or "unknown" for of in (before, after))
        yield f"The {key} is not the same in all runs: {was} in the baseline, {now} in the candidate."


# -------------------------------------------------------------------------------------------------- output


def as_json(found: Regression) -> str:
    """The verdict and every run's figure."""
    return json.dumps(as_plain(found), indent=2)


def as_plain(found: Regression) -> dict[str, Any]:
    """The verdict and every run's figure as plain values."""
    shift = found.shift
    return {
        "figure": found.figure,
        "verdict": verdict(found),
        "before": [_plain(run) for run in found.before],
        "after": [_plain(run) for run in found.after],
        "relative": found.relative,
        "tolerance": found.tolerance,
        "shift": None if shift is None else plain(worse(found, shift.shift)),
        "upper": None if shift is None else plain(worse(found, shift.upper)),
        "p": None if shift is None else shift.p,
        "indicative": None if shift is None else shift.indicative,
        "paired": None if shift is None else shift.paired,
        "needed": None if shift is None else shift.needed,
        "unsound": list(found.unsound),
        "missing": list(found.missing),
        "invalid": list(found.invalid),
    }


def _plain(run: Member) -> dict[str, Any]:
    return {"run_id": run.run_id, "value": run.value, "valid": is_valid(run.doubts)}


def verdict(found: Regression) -> str:
    """``pass``, ``fail``, ``inconclusive``; ``invalid`` or ``unsound`` where none can be given."""
    if found.unsound:
        return "unsound"
    if found.invalid:
        return "invalid"
    return "inconclusive" if found.shift is None else found.shift.verdict


def worse(found: Regression, shift: float) -> float:
    """A shift as a share of the baseline's figure, or as a difference of shares; more is worse."""
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
    yield from found.missing
    shift = found.shift
    if shift is None:
        return
    told = shown(found, worse(found, shift.shift))
    by = "by pairs" if shift.paired else "not by pairs, as they were not made by turns"
    chance = f"p = {shift.p:.3g} if it were just that; judged {by}"
    yield f"{told}, {upper(found)}; {allowed(found)} is allowed; {chance}."
    yield few(found) or _WHY[shift.verdict]
    if shift.verdict == "inconclusive" and shift.needed is not None:
        sought = shown(found, SOUGHT * found.tolerance)
        yield (
            f"Where runs differ as much as these, {shift.needed} a side find a candidate that is {sought} in "
            "nine of ten comparisons."
        )


_WHY: Final[Mapping[str, str]] = {
    "fail": "The candidate is worse, and by more than is allowed.",
    "pass": "The candidate is not worse than is allowed, as far as 95 % can say.",
    "inconclusive": "Neither can be said: the runs differ too much among themselves.",
}


def few(found: Regression) -> str:
    """That the runs are too few for a verdict, in a sentence; empty where they are not."""
    shift = found.shift
    if shift is None or not shift.indicative:
        return ""
    return (
        f"Indicative only: {counted(len(found.after), 'run')} beside {len(found.before)} can neither pass "
        f"nor fail; take {LEAST_RUNS} or more a side."
    )


def upper(found: Regression) -> str:
    """The shift's upper bound in words."""
    if found.shift is None or not math.isfinite(found.shift.upper):
        return "no upper bound"
    return f"at most {shown(found, worse(found, found.shift.upper))}"


def allowed(found: Regression) -> str:
    """How much worse the candidate may be, in words."""
    return shown(found, found.tolerance)


def shown(found: Regression, much: float) -> str:
    """How much worse, or better, in words: a share of the baseline's figure, or percentage points."""
    percent = 100 * abs(much)
    told = f"{percent:.2g}" if percent < 10 else f"{percent:.3g}" if percent < 100 else f"{percent:,.0f}"
    unit = "%" if found.relative else "points"
    return f"{told} {unit} {'better' if much < 0 else 'worse'}" if float(f"{percent:.2g}") else "no shift"
