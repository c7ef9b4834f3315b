"""Planning: from a run with steps, or a table of loads and throughputs, to a capacity plan.

    steps ─▶ capacity at the objective ─▶ nodes for the forecast ─▶ limits of all this, in words
       └──▶ Universal Scalability Law

A plan is data; ``plan_page`` makes it a page, and ``as_text`` and ``as_json`` the rest.
"""

from __future__ import annotations

import csv
import json
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from analysis import saturation
from analysis.capacity import STEP_NOISE, Capacity, NoCapacity, Nodes, capacity_at, nodes, standard_errors
from analysis.estimate import Estimate, plain
from analysis.frames import Run, number
from analysis.saturation import Little, Saturation
from analysis.steps import Step, steps_of
from analysis.tables import clock
from analysis.usl import NoFit, Usl, fit
from wsoak.judge.slo import Slo
from wsoak.judge.terminal import safe
from wsoak.judge.validity import Doubt, is_valid
from wsoak.judge.words import counted, figure, listed, percent, plural, span, were

UTILISATION: Final = 0.7
SPARES: Final = 1
TEXT_WIDTH: Final = 110
SOAK_S: Final = 600
"""A step shorter than this says nothing of what is slow: leaks, caches, logs."""
FAR: Final = 1.0
"""A forecast beyond so many times what was tested, a node, is an extrapolation."""

FAR_PEAK: Final = 10.0
"""A fit's peak at more times what was tested than this says nothing."""

LOADS: Final[Mapping[str, Callable[[Step], float]]] = {
    "sockets": lambda step: step.sockets,
    "users": lambda step: step.users,
}
"""What a load may be counted in."""
HELD_SHARE: Final = 0.5
"""Users that hold fewer sockets than this at a time come and go: the load is their number."""
UNITS: Final = "units"
"""What the load of a table is counted in, which does not say."""
P99: Final = 99.0


class BadTable(ValueError):
    """A table that cannot be read; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Row:
    """One step of a plan. ``value`` is the objective's figure; ``why_not``: why the step is in no fit."""

    label: str
    load: float
    throughput: float
    value: float | None = None
    error: float = math.nan
    kept: bool | None = None
    p99_s: float | None = None
    failed: float | None = None
    little: Little | None = None
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a plan is asked for; ``forecast`` in the load's unit, ``load`` empty: the steps decide."""

    slo: Slo | None = None
    forecast: float | None = None
    utilisation: float = UTILISATION
    spares: int = SPARES
    load: str = ""


@dataclass(frozen=True)
class Plan:
    """A capacity plan. What could not be found is ``None``, and its reason in ``missing`` by its name."""

    source: str
    asked: Asked
    rows: tuple[Row, ...]
    capacity: Capacity | None
    usl: Usl | None
    nodes: Nodes | None
    saturation: Saturation | None
    missing: Mapping[str, str]
    limits: tuple[str, ...]
    doubts: tuple[Doubt, ...] = ()
    steps: tuple[Step, ...] = field(default=(), repr=False)
    tested: tuple[tuple[str, str], ...] = ()
    """What the figures are of, as pairs of label and words."""

    @property
    def valid(self) -> bool:
        """Whether the run it was made of is to be believed."""
        return is_valid(self.doubts)

    @property
    def found(self) -> bool:
        """Whether anything could be found at all."""
        return self.capacity is not None or self.usl is not None

    @property
    def used(self) -> list[Row]:
        """The rows that are in the fits."""
        return [row for row in self.rows if not row.why_not]

    @property
    def scaled(self) -> list[Row]:
        """Those of them that are in the scalability law: where nothing came back, nothing scales."""
        return [row for row in self.used if row.throughput > 0]


def plan_of_run(run: Run, asked: Asked) -> Plan:
    """The plan that a run with steps gives."""
    steps = steps_of(run)
    asked = replace(asked, load=asked.load or load_of(steps))
    load = LOADS[asked.load]
    errors = _errors(steps, asked.slo)
    rows = tuple(
        _row(step, load(step), error, asked.slo, run.header)
        for step, error in zip(steps, errors, strict=True)
    )
    # a search goes up and down
    by_load = sorted(steps, key=load)
    full = saturation.first_saturated(by_load, run.header) if len(steps) > 1 else None
    made = _plan(run.run_id, asked, rows, full, tuple(_run_limits(run, steps)), tuple(run.doubts), steps)
    return replace(made, tested=tuple(_tested(run)))


def _tested(run: Run) -> Iterator[tuple[str, str]]:
    header = run.header
    started_at = number(header.get("started_at"))
    pairs = (
        ("Server", header.get("host")),
        ("What users did", listed(str(name) for name in header.get("scenarios") or [])),
        ("Load", (header.get("options") or {}).get("shape")),
        ("Recorded", None if started_at is None else f"{clock(started_at)}, for {span(run.seconds)}"),
    )
    yield from ((label, safe(str(words), 300)) for label, words in pairs if words)


def load_of(steps: Sequence[Step]) -> str:
    """What the load of these steps is best counted in."""
    users, sockets = (sum(LOADS[name](step) for step in steps) for name in ("users", "sockets"))
    return "users" if sockets < HELD_SHARE * users else "sockets"


def plan_of_table(path: Path, asked: Asked) -> Plan:
    """The plan that a CSV table gives: columns ``load`` and ``throughput``, and ``p99_ms`` for an objective.

    Raises:
        BadTable: when it is none.
        OSError: when it cannot be read.
    """
    asked = replace(asked, load=asked.load or UNITS)
    rows = tuple(_table_rows(path, asked.slo))
    limits = (
        "The table says nothing of how it was measured: mind warm-up, the length of its steps and noise.",
    )
    return _plan(path.name, asked, rows, None, limits)


def _plan(
    source: str,
    asked: Asked,
    rows: tuple[Row, ...],
    full: Saturation | None,
    limits: tuple[str, ...],
    doubts: tuple[Doubt, ...] = (),
    steps: tuple[Step, ...] = (),
) -> Plan:
    missing: dict[str, str] = {}
    used = [row for row in rows if not row.why_not]
    law = _law([row for row in used if row.throughput > 0], missing)
    found = _capacity(used, asked, missing)
    needed = None
    if asked.forecast is not None:
        if found is None:
            missing["nodes"] = "It follows from a capacity."
        else:
            try:
                needed = nodes(asked.forecast, found.estimate, asked.utilisation, asked.spares)
            except NoCapacity as error:
                missing["nodes"] = str(error)
    told = (*_fit_limits(asked, used, found), *limits) if found is not None or law is not None else ()
    return Plan(source, asked, rows, found, law, needed, full, missing, told, doubts, steps)


def _law(used: Sequence[Row], missing: dict[str, str]) -> Usl | None:
    try:
        return fit([row.load for row in used], [row.throughput for row in used])
    except NoFit as error:
        missing["usl"] = str(error)
        return None


def _capacity(used: Sequence[Row], asked: Asked, missing: dict[str, str]) -> Capacity | None:
    slo = asked.slo
    if slo is None:
        missing["capacity"] = "No objective was given (--slo)."
        return None
    measured = [row for row in used if row.value is not None]
    try:
        return capacity_at(
            [row.load for row in measured],
            [slo.bad(row.value) for row in measured if row.value is not None],
            [row.error for row in measured],
            slo.bad(slo.limit.value),
            # of shares nobody knows how much two steps differ
            STEP_NOISE if slo.limit.dimension == "seconds" else None,
        )
    except NoCapacity as error:
        missing["capacity"] = str(error)
        return None


def _errors(steps: Sequence[Step], slo: Slo | None) -> list[float]:
    if slo is None:
        return [math.nan] * len(steps)
    figures = [[slo.figure(block) for block in step.blocks] for step in steps]
    return standard_errors([[slo.bad(value) for value in of if value is not None] for of in figures])


def _row(step: Step, load: float, error: float, slo: Slo | None, header: Mapping[str, Any]) -> Row:
    books = step.books
    value = slo.figure(books) if slo else None
    p99_ns = books.histogram("response").percentile_ns(99)
    bad = books.count("failed") + books.count("reply_timeouts") + books.count("reply_lost")
    tried = bad + books.count("opened") + books.count("replies")
    why_not = saturation.generator_full(step, header)
    if not why_not and load <= 0:
        why_not = "nothing was open"
    elif not why_not and value is None and not step.throughput_per_s:
        why_not = "nothing came back"
    return Row(
        label=f"{step.number}",
        load=load,
        throughput=step.throughput_per_s,
        value=value,
        error=error,
        kept=None if value is None or slo is None else slo.kept(value),
        p99_s=None if p99_ns is None else p99_ns / 1e9,
        failed=bad / tried if tried else None,
        little=saturation.little(step),
        why_not=why_not,
    )


def _table_rows(path: Path, slo: Slo | None) -> Iterator[Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadTable(f"{path} is no CSV table: {error}.") from error
    names = [name.strip().lower() for name in lines[0]] if lines else []
    if not {"load", "throughput"} <= set(names):
        raise BadTable(
            f"{path} should have a first line with the columns load,throughput, and commas between."
        )
    if slo is not None and (slo.percent != P99 or "p99_ms" not in names):
        raise BadTable(f"{path} tells nothing of {slo.text!r}: that takes a column p99_ms, and a p(99).")
    rows = [
        _table_row(f"{path}, line {line}", f"{line - 1}", names, cells, slo)
        for line, cells in enumerate(lines[1:], 2)
        if cells
    ]
    if not rows:
        raise BadTable(f"{path} has no lines but the first.")
    yield from rows


def _table_row(where: str, label: str, names: Sequence[str], cells: Sequence[str], slo: Slo | None) -> Row:
    if len(cells) != len(names):
        raise BadTable(f"{where}: there should be {counted(len(names), 'cell')}, and there are {len(cells)}.")
    by_name = dict(zip(names, cells, strict=True))
    try:
        load, throughput = float(by_name["load"]), float(by_name["throughput"])
        p99_s = float(by_name["p99_ms"]) / 1000 if by_name.get("p99_ms") else None
    except ValueError:
        raise BadTable(f"{where}: the cells should be numbers.") from None
    if not (0 < load < math.inf and 0 <= throughput < math.inf and (p99_s is None or 0 < p99_s < math.inf)):
        raise BadTable(f"{where}: a load and a p99_ms should be above 0, and a throughput not below.")
    kept = None if p99_s is None or slo is None else slo.kept(p99_s)
    return Row(label, load, throughput, None if slo is None else p99_s, kept=kept, p99_s=p99_s)


# ---------------------------------------------------------------------------------------- limits, in words


def _fit_limits(asked: Asked, used: Sequence[Row], found: Capacity | None) -> Iterator[str]:
    unit = asked.load
    most = max((row.load for row in used), default=0.0)
    if found is not None and not found.crossed:
        if found.estimate.value > 0:
            yield (
                f"No step missed the objective: the capacity is {most:,.0f} {unit} or more, and how much "
                "more was not tried. Repeat with higher steps."
            )
        else:
            yield (
                f"The lowest step ({min(found.loads):,.0f} {unit}) already missed the objective: the "
                "capacity is below it. Repeat with lower steps."
            )
    if found is not None and found.jump is not None:
        are_bounds = all(map(math.isclose, (found.estimate.low, found.estimate.high), found.jump))
        bound = ", and the interval reaches from step to step" if are_bounds else ""
        yield (
            f"Between {found.jump[0]:,.0f} and {found.jump[1]:,.0f} {unit} the figure jumps across the "
            f"objective: where exactly is not known{bound}. Finer steps there would tell."
        )
    if found is not None and (noise := contradiction(used, unit)):
        yield noise
    if asked.forecast is not None and asked.forecast > FAR * most > 0:
        yield (
            f"The forecast of {asked.forecast:,.0f} {unit} is {asked.forecast / most:,.1f} times the highest "
            f"load that was tested ({most:,.0f}), on one node. That many nodes are enough if they share "
            "nothing: what they do share (database, broker, load balancer, network) was not tested at that "
            "load."
        )


def contradiction(rows: Sequence[Row], unit: str) -> str:
    """That steps missed the objective at loads below one that kept it; empty where none did."""
    kept = sorted((row for row in rows if row.kept), key=lambda row: row.load)
    missed = [row for row in rows if row.kept is False and kept and row.load <= kept[-1].load]
    if not missed:
        return ""
    most = max(row.load for row in missed)
    above = next(row for row in kept if row.load >= most)
    loads = listed(f"{row.load:,.0f}" for row in missed)
    return (
        f"{plural('Step', len(missed))} {listed(row.label for row in missed)} ({loads} {unit}) missed the "
        f"objective, and step {above.label} ({above.load:,.0f}) kept it: noise. The capacity is that of a "
        "fit through all steps, and its interval allows for it; longer steps would tell more."
    )


def _run_limits(run: Run, steps: Sequence[Step]) -> Iterator[str]:
    if not steps:
        return
    shortest = min(step.window.seconds for step in steps)
    if shortest < SOAK_S:
        yield (
            f"Each step was measured for as little as {span(shortest)}: leaks, full disks and caches that "
            "grow over hours are not in these figures. A soak at the planned load shows them."
        )
    scenarios = [safe(str(name), 60) for name in run.header.get("scenarios") or []]
    mix = f" of {listed(scenarios)}" if scenarios else ""
    yield f"It is the capacity for the mix{mix} as it was run; another mix has another capacity."
    yield "It is one run: another day's may differ. Record several, and plan with the lowest."
    if saturation.is_local(run.header):
        yield "Generator and server shared one machine, and took CPU from each other."
    odd = [f"{step.number}" for step in steps if (law := saturation.little(step)) and law.holds is False]
    if odd:
        yield (
            f"{plural('Step', len(odd))} {listed(odd)} {were(len(odd))} not steady: what was in flight is "
            "not rate × mean time (Little's law), as when a queue grows or drains. How bad such figures are "
            "depends on how long the step was."
        )
    if not run.gauge("cpu_share", saturation.TARGET).notna().any(axis=None):
        yield "The server was not watched (--watch): what it ran out of cannot be said."


# ------------------------------------------------------------------------------------------------- output


def as_json(plan: Plan) -> str:
    """The plan as JSON; shares of 1, seconds, the load in its own unit."""
    return json.dumps(_plain(plan), indent=2)


def _plain(plan: Plan) -> dict[str, Any]:
    asked, law, found, needed = plan.asked, plan.usl, plan.capacity, plan.nodes
    return {
        "source": plan.source,
        "valid": plan.valid,
        "load": asked.load,
        "slo": asked.slo.text if asked.slo else None,
        "capacity": None if found is None else {**found.estimate.to_json(), "crossed": found.crossed},
        "usl": None if law is None else _plain_law(law),
        "nodes": None
        if needed is None
        else {
            "forecast": needed.forecast,
            "a_node": needed.a_node,
            "utilisation": needed.utilisation,
            "for_load": needed.for_load,
            "spares": needed.spares,
            "total": needed.total,
        },
        "saturated_first": None
        if plan.saturation is None
        else {
            "step": plan.saturation.step,
            "resource": plan.saturation.resource,
            "generator": plan.saturation.generator,
            "sentence": plan.saturation.sentence,
        },
        "steps": [_plain_row(row) for row in plan.rows],
        "missing": dict(plan.missing),
        "limits": list(plan.limits),
        "doubts": [doubt.to_json() for doubt in plan.doubts],
    }


def _plain_law(law: Usl) -> dict[str, Any]:
    peak = law.peak
    return {
        "alpha": law.alpha.to_json(),
        "beta": law.beta.to_json(),
        "gamma": law.gamma.to_json(),
        "limit": plain(law.limit),
        "peak": None if peak is None else {"load": peak.load.to_json(), "throughput": peak.throughput},
        "no_peak_because": list(no_peak_because(law)),
        "residual_error": law.residual_error,
        "residuals": list(law.residuals),
        "freedom": law.freedom,
    }


def _plain_row(row: Row) -> dict[str, Any]:
    law = row.little
    return {
        "step": row.label,
        "load": row.load,
        "throughput": row.throughput,
        "figure": row.value,
        "kept": row.kept,
        "p99_s": row.p99_s,
        "failed": row.failed,
        "littles_law": None
        if law is None
        else {"in_flight": law.read, "expected": law.expected, "holds": law.holds},
        "left_out": row.why_not or None,
    }


def as_text(plan: Plan) -> str:
    """The plan for a terminal."""
    told = [*headline(plan), ""]
    below = [""]
    if plan.usl is not None:
        below += [*law_sentences(plan.usl, plan.asked.load), ""]
    for name, why in shown_missing(plan).items():
        below += [f"No {MISSING[name]}: {why}", ""]
    if plan.saturation is not None and plan.found:
        below += [plan.saturation.sentence, ""]
    if plan.limits:
        below += ["Limits of this plan", *(f"  - {limit}" for limit in plan.limits)]
    lines = [*map(_wrapped, told), *_step_lines(plan), *map(_wrapped, below)]
    return "\n".join(lines).rstrip()


def _wrapped(sentence: str) -> str:
    """A sentence in lines; what it is indented by, the lines after the first are, too."""
    text = sentence.lstrip(" -")
    return textwrap.fill(sentence, TEXT_WIDTH, subsequent_indent=" " * (len(sentence) - len(text)))


MISSING: Final = {
    "capacity": "capacity at an objective",
    "usl": "scalability law",
    "nodes": "number of nodes",
}


def shown_missing(plan: Plan) -> Mapping[str, str]:
    """What of a plan is missing, and why; what the headline says already is not said again."""
    if not plan.found:
        return {}
    return {name: why for name, why in plan.missing.items() if name != "capacity" or plan.asked.slo is None}


def headline(plan: Plan) -> list[str]:
    """The plan's sentences for whoever reads no further."""
    told = []
    if not plan.valid:
        why = " ".join(doubt.reason for doubt in plan.doubts if doubt.invalid)
        told.append(f"NOT VALID: do not plan with these numbers. {why}")
    if plan.capacity is not None and plan.asked.slo is not None:
        told.append(f"One node carries {carries(plan.capacity, plan.asked.load)} at {plan.asked.slo.text}.")
    elif plan.asked.slo is not None:
        told += [_no_capacity(plan, plan.asked.slo), _advice(plan, plan.asked.slo)]
    elif plan.usl is None:
        told.append(f"There is no scalability law. {plan.missing['usl']}")
    if plan.nodes is not None:
        needed = plan.nodes
        told.append(
            f"{needed.forecast:,.0f} {plan.asked.load} need {counted(needed.total, 'node')}: "
            f"{needed.for_load:,} at {100 * needed.utilisation:g} % of {figure(needed.a_node)} each, "
            f"and {counted(needed.spares, 'spare')}."
        )
    return told or [f"{counted(len(plan.rows), 'step')} of {safe(plan.source, 100)}."]


def _no_capacity(plan: Plan, slo: Slo) -> str:
    """Why there is none, with what is known of the objective all the same."""
    why = plan.missing["capacity"]
    known = []
    for kept, verb in ((True, "kept"), (False, "missed")):
        loads = [f"{row.load:,.0f}" for row in plan.used if row.kept is kept]
        if loads:
            known.append(f"{verb} at {listed(dict.fromkeys(loads))} {plan.asked.load}")
    if known or not plan.rows:
        told = f"{slo.text} was {listed(known)}." if known else "The load never stood still."
        return f"No capacity can be told. {why} {told}"
    return f"No capacity can be told. Nothing was measured that {slo.text} is about."


def _advice(plan: Plan, slo: Slo) -> str:
    """How to record a run that tells more."""
    users = [(step.users, row.kept) for row, step in zip(plan.rows, plan.steps, strict=False)]
    kept = [count for count, is_kept in users if is_kept]
    missed = [count for count, is_kept in users if is_kept is False]
    start = max(1, round(max(kept))) if kept else max(1, round(min(missed) / 4)) if missed else 10
    if not plan.steps and plan.rows:
        return "Measure at more loads, on both sides of the objective."
    if plan.rows and all(row.value is None for row in plan.rows):
        names = sorted({name for step in plan.steps for name in step.books.totals})
        return f"Look at the objective's figure and labels; the run's names are {safe(listed(names), 200)}."
    return (
        f"Record a run with steps, such as --shape step:start={start},step={start},every=30s,steps=8, or let "
        f'the crossing be found: --shape "search:from={start},to={50 * start},slo={slo.text}".'
    )


def carries(found: Capacity, unit: str) -> str:
    """A capacity in words, with its interval."""
    of = found.estimate
    if of.value == 0:
        return (
            f"fewer than {figure(of.high)} {unit}" if math.isfinite(of.high) else f"no {unit} that were tried"
        )
    if not found.crossed:
        return f"{figure(of.value)} {unit} or more (not tried further; {figure(of.low)} at least)"
    return f"{figure(of.value)} {unit} ({interval(of)})"


def interval(of: Estimate) -> str:
    """``95 %: 96.2 to 105``; with a digit more where the ends would look the same."""
    if not math.isfinite(of.high):
        return f"95 %: {figure(of.low)} to more"
    low, high = figure(of.low), figure(of.high)
    return f"95 %: {of.low:,.1f} to {of.high:,.1f}" if low == high else f"95 %: {low} to {high}"


def law_sentences(law: Usl, unit: str) -> list[str]:
    """The law's coefficients, its peak or why there is none."""
    told = [
        "Universal Scalability Law X(N) = γN / (1 + α(N−1) + βN(N−1)):",
        *(
            f"  {sign} = {coefficient(of)}   {what}"
            for sign, of, what in (
                ("γ", law.gamma, f"a second for one of the {unit}"),
                ("α", law.alpha, "contention: the share that waits its turn"),
                ("β", law.beta, "coherency: what each pays for each other"),
            )
        ),
    ]
    peak = law.peak
    if peak is not None:
        told.append(
            f"  The throughput peaks at {peak.load.value:,.0f} {unit} ({interval(peak.load)}) with "
            f"{peak.throughput:,.0f} a second, and falls beyond."
        )
    else:
        first, *others = no_peak_because(law)
        told += [f"  No peak is reported. {first}", *(f"  {why}" for why in others)]
    return told


def no_peak_because(law: Usl) -> tuple[str, ...]:
    """Why a law's peak is not reported. Where a peak is nowhere near what was measured, not at which load."""
    reached = max(law.loads)
    if _is_something(law.beta) and law.peak_load <= FAR_PEAK * reached:
        return law.no_peak_because
    without = replace(law, beta=replace(law.beta, value=0.0)).no_peak_because
    if without or not law.no_peak_because:
        return without
    return (f"The tests went to a load of {figure(reached)}, and the fit's peak would lie far beyond.",)


def coefficient(of: Estimate) -> str:
    """``0.0277 (95 %: 0.0024 to 0.0531)``."""
    value = of.value if _is_something(of) else 0.0
    return f"{value:.3g} (95 %: {of.low:.3g} to {of.high:.3g})"


def _is_something(of: Estimate) -> bool:
    """Whether a coefficient is more than what a bound of the fit pressed to nothing."""
    return of.value > 1e-6 * of.high


def _step_lines(plan: Plan) -> Iterator[str]:
    shown = shown_columns(plan)
    for cells in (header_cells(plan), *(row_cells(plan, row) for row in plan.rows)):
        yield "  ".join(f"{cells[index]:>{_WIDTHS[index]}}" for index in shown).rstrip()


_WIDTHS: Final = (4, 9, 12, 12, 16, 9, 14, 0)


def shown_columns(plan: Plan) -> list[int]:
    """Which of the columns have anything in them."""
    rows = [row_cells(plan, row) for row in plan.rows]
    return [index for index in range(len(_WIDTHS)) if any(row[index] not in ("-", "") for row in rows)]


def header_cells(plan: Plan) -> tuple[str, ...]:
    """The columns of the steps' table; the last is a remark."""
    rate = "throughput" if plan.asked.load == UNITS else "replies/s"
    return ("step", plan.asked.load, rate, "response p99", "objective", "failed", "Little's law", "")


def shows_p99(slo: Slo) -> bool:
    """Whether the objective's figure is the one in the column of the response time's p99."""
    return slo.kind == "response" and slo.percent == P99 and "{" not in slo.text


def row_cells(plan: Plan, row: Row) -> tuple[str, ...]:
    """A step's cells, in the order of ``header_cells``."""
    slo, law = plan.asked.slo, row.little
    kept = {True: "kept", False: "missed", None: "-"}[row.kept]
    if slo is not None and row.value is not None and not shows_p99(slo):
        kept = f"{kept}, {slo.limit.show(row.value)}"
    holds = {True: "holds", False: "broken", None: "too coarse"}
    return (
        row.label,
        f"{row.load:,.0f}",
        f"{row.throughput:,.1f}",
        "-" if row.p99_s is None else f"{1000 * row.p99_s:,.1f} ms",
        kept,
        "-" if row.failed is None else percent(row.failed, 1),
        "-" if law is None else holds[law.holds],
        f"left out: {row.why_not}" if row.why_not else "",
    )
