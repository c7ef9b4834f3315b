"""Report: a run as one HTML file that opens without a network, and as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import jinja2
from markupsafe import Markup

from analysis import checks, tables
from analysis.charts import DRIFT_FILE, Chart, Drawn, draw_all
from analysis.charts.picture import embedded
from analysis.fonts import ADVICE, lacks_font_for
from analysis.frames import Run, number
from analysis.judged import BOXES, judged
from analysis.marks import marks_of
from analysis.recovery import sentences
from analysis.soak import drifts, early
from analysis.stepped import stepped
from analysis.workers import expected, workers_of
from wsoak.judge.summary import happened, when
from wsoak.judge.terminal import safe
from wsoak.judge.validity import is_valid
from wsoak.judge.words import counted, percent, span
from wsoak.ledger.rundir import FINDINGS_FILE, write_json

REPORT_FILE: Final = "report.html"
CHARTS_DIRECTORY: Final = "charts"
FINDINGS_SHOWN: Final = 50
"""At most so many findings are in the report, the worst; all are in ``findings.json``."""

DROPS_SHOWN: Final = 20

COUNTED_TOGETHER: Final[tuple[frozenset[str], ...]] = (
    frozenset({"requests", "replies", "reply timeouts", "reply lost", "late replies"}),
    frozenset({"sent", "received", "unmatched", "dropped", "overrun", "send on closed"}),
    frozenset({"check passed", "check failed"}),
)
"""Columns of counters: a name that has none of a set had nothing to count there."""


class Picture(NamedTuple):
    """A chart in the page; ``n`` in words, ``source`` the picture itself."""

    chart: Chart
    n: str
    source: Markup


def write_report(run: Run) -> Path:
    """Write ``report.html`` and ``charts/*.png`` into the run; the report's path.

    ``findings.json`` as well where the run has none, as when it was killed: what a run said itself stays.
    """
    drawn = draw_all(run, run.path / CHARTS_DIRECTORY)
    if not (run.path / FINDINGS_FILE).exists():
        write_findings(run)
    path = run.path / REPORT_FILE
    path.write_text(html(run, drawn), encoding="utf-8")
    return path


def write_findings(run: Run) -> None:
    """Write ``findings.json``: a list of findings."""
    write_json(run.path / FINDINGS_FILE, [finding.to_json() for finding in run.findings])


def html(run: Run, drawn: Sequence[Drawn]) -> str:
    """The report's text; the pictures are in it."""
    return environment().get_template("report.html").render(context(run, drawn))


def context(run: Run, drawn: Sequence[Drawn]) -> dict[str, Any]:
    """What the template is filled with."""
    steps = stepped(run)
    shown = [
        checks.doors(run.header),
        checks.steps(run.header),
        tables.marks(marks_of(run.header)),
        tables.workers(workers_of(run.books, run.header), run.header),
        *([steps.steps] if steps else ()),
        tables.outcomes(run.books),
        tables.closes(run.books),
        where_they_apply(tables.counters(run.books)),
        tables.latencies(run.books),
        tables.calls(run.books),
        tables.own(run.books),
        tables.gauges(run.books),
        tables.facts(run.header),
    ]
    names = list(run.books.totals)
    pictures = [Picture(one.chart, one.n, embedded(one.path.read_bytes())) for one in drawn if one.path]
    return {
        "run_id": run.run_id,
        "what": what_was_run(run),
        "valid": is_valid(run.doubts),
        "state": state(run),
        "reasons": [doubt for doubt in run.doubts if doubt.invalid],
        "remarks": [doubt for doubt in run.doubts if not doubt.invalid],
        "judged": judged(run.path),
        "findings": [
            {
                "id": finding.id,
                "system": finding.system,
                "severity": finding.severity,
                "when": when(finding),
                "count": f"{finding.count:,}",
                "share": percent(finding.share, 1),
                "evidence": finding.evidence,
                "hint": finding.hint,
            }
            for finding in run.findings[:FINDINGS_SHOWN]
        ],
        "more_findings": max(0, len(run.findings) - FINDINGS_SHOWN),
        "summary": happened(run.books, run.header),
        "mass_drops": sentences(run.mass_drops, run.started_at)[:DROPS_SHOWN],
        "more_drops": max(0, len(run.mass_drops) - DROPS_SHOWN),
        "capacity": steps,
        "drifts": [(drift, BOXES[drift.verdict]) for drift in drifts(run)],
        "early": early(run),
        "drift_charts": [item for item in pictures if item.chart.file == DRIFT_FILE],
        "charts": [item for item in pictures if item.chart.file != DRIFT_FILE],
        "left_out": [one.chart for one in drawn if not one.path],
        "font_advice": ADVICE if lacks_font_for(names) else "",
        "tables": [shown_table for shown_table in shown if shown_table.rows],
    }


def where_they_apply(counters: tables.Table) -> tables.Table:
    """The table of counters with empty cells for what did not happen: who asks for nothing lost no reply."""
    places = [
        [index for index, column in enumerate(counters.columns) if column in together]
        for together in COUNTED_TOGETHER
    ]
    rows = []
    for row in counters.rows:
        idle = {place for of in places if all(row[index] == "0" for index in of) for place in of}
        rows.append(tuple("" if index in idle else cell for index, cell in enumerate(row)))
    return replace(counters, rows=tuple(rows))


def what_was_run(run: Run) -> list[tuple[str, str]]:
    """What was run, as pairs of label and words; only what is on record. Users: the most asked for."""
    header = run.header
    started_at, ended_at = header.get("started_at"), header.get("ended_at")
    command = header.get("command")
    options = header.get("options") or {}
    rate = number(options.get("arrival_rate"))
    asked_for = run.summed("users_target").max()
    users = f"{asked_for:,.0f}" if asked_for > 0 else None
    pairs = [
        ("Target", header.get("host")),
        ("Scenarios", ", ".join(map(str, header.get("scenarios") or []))),
        ("Users", users),
        ("Shape", options.get("shape")),
        ("Arrivals", f"{rate:g} sessions a second" if rate else None),
        ("Workers", f"{expected(header):,}" if expected(header) else None),
        ("Started", tables.clock(started_at) if isinstance(started_at, int | float) else None),
        ("Ended", tables.clock(ended_at) if isinstance(ended_at, int | float) else None),
        ("Ended by", header.get("ended_by")),
        ("Length", span(run.seconds)),
        ("Command", " ".join(map(str, command)) if isinstance(command, list) else command),
    ]
    return [(label, safe(str(value), 600)) for label, value in pairs if value not in (None, "")]


def state(run: Run) -> str:
    """A sentence for the top of a run that still goes on; empty for one that is over."""
    if not run.under_way:
        return ""
    sockets = counted(max(0, run.books.open_now), "socket")
    return f"The run is still under way: this is what is on record so far, with {sockets} open."


def environment() -> jinja2.Environment:
    """The templates. Everything is escaped, as everything may hold a server's text."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
    )
    made.filters["code"] = _code
    return made


def _printable(value: Any) -> Any:
    """What a page shows of a value: a browser, too, is turned about by bidirectional overrides."""
    return safe(value, len(value)) if isinstance(value, str) and not isinstance(value, Markup) else value


def _code(text: str) -> Markup:
    """The text with what stands between backticks set as code."""
    pieces = text.split("`")
    return Markup().join(
        Markup("<code>{}</code>").format(piece) if index % 2 and index < len(pieces) - 1 else piece
        for index, piece in enumerate(pieces)
    )
