"""Compare: two runs, or two sets of runs, side by side.

The unit is the run: of a set, each figure is the median of the runs' own, with their range beside it. Nothing
here is a verdict; it is the table that an incident report ends with, and more of the same below it:

| | before | after |
|---|---|---|
| connection success rate | 0 % | 100 % |
| usable | no data | 100 % |
| errors a second | 10 | 0 |
| reconnect attempts | 612 | 0 |
| does the function work | no: … | yes: … |
"""

from __future__ import annotations

import json
import statistics
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from analysis.frames import number, read_connections
from analysis.named import named
from analysis.recovery import MassDrop, mass_drops
from analysis.report import environment
from analysis.workers import expected, reported
from wsoak.judge.findings import Finding, find
from wsoak.judge.summary import when
from wsoak.judge.terminal import safe
from wsoak.judge.validity import Doubt, doubts, is_valid
from wsoak.judge.words import counted, duration, listed, percent
from wsoak.ledger.books import Books
from wsoak.ledger.outcomes import OPEN
from wsoak.ledger.rundir import RunReader

WORKS_SHARE: Final = 0.99
"""A function works where this share of handshakes, sockets and requests succeeds, and no fault was found."""
_FAULTS: Final = ("critical", "error")

Answer = tuple[bool | None, str]
"""Whether something works, and why (not); ``None`` where an invalid run cannot say."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One run's figures; ``None`` where the run has nothing to count."""

    run_id: str
    path: Path
    seconds: float
    handshakes: int
    handshake_success: float | None
    usable: float | None
    errors_a_second: float | None
    reconnects: int
    drops: tuple[MassDrop, ...]
    response_n: int
    response_p50_ns: int | None
    response_p99_ns: int | None
    answered: float | None
    http_success: float | None
    http_p99_ns: int | None
    closes: Mapping[str, int]
    findings: tuple[Finding, ...]
    doubts: tuple[Doubt, ...]
    conditions: Mapping[str, str]
    """Under which load the figures were found, in words by condition; see ``differences``."""
    shares: Mapping[str, tuple[float | None, float | None]]
    """Of each kind of socket by its name: the share of handshakes that succeeded, and of usable sockets."""

    @property
    def recovery_s(self) -> float | None:
        """Seconds until 95 % were back after the slowest mass drop: infinite where they never were."""
        never = float("inf")
        return max(
            (never if drop.recovered_s is None else drop.recovered_s for drop in self.drops), default=None
        )

    @property
    def works(self) -> Answer:
        """Whether the function works: all that the run tried."""
        tried = () if self.handshakes else ("nothing was tried",)
        shares = (self.handshake_success, self.usable, self.answered)
        return self._answer((*tried, *_too_few(*shares)), self.findings)

    def system_works(self, name: str) -> Answer:
        """Whether the sockets of this name, and what was observed about them, work."""
        if name not in self.shares:
            return None, "it was not tried"
        of_it = [finding for finding in self.findings if finding.system == safe(name)]
        return self._answer(_too_few(*self.shares[name], None), of_it)

    def _answer(self, reasons: Iterable[str], findings: Iterable[Finding]) -> Answer:
        faults = sorted({finding.id for finding in findings if finding.severity in _FAULTS})
        against = [*reasons, *([f"found {listed(faults)}"] if faults else [])]
        if against:
            return False, listed(against)
        if not is_valid(self.doubts):
            return None, "nothing failed, but the run is not valid"
        return True, "every step succeeded and no fault was found"


def _too_few(handshakes: float | None, usable: float | None, answered: float | None) -> Iterator[str]:
    for share, what in (
        (handshakes, "of the handshakes succeeded"),
        (usable, "of the sockets became usable"),
        (answered, "of the requests were answered"),
    ):
        if share is not None and share < WORKS_SHARE:
            yield f"only {percent(share, 1)} {what}" if share else f"none {what}"


def figures(path: Path) -> Figures:
    """A run's figures.

    Raises:
        UnreadableRun: when the directory holds no run that this wsoak can read.
    """
    reader = RunReader(path)
    books = reader.books()
    started_at, ended_at = number(reader.header.get("started_at")), number(reader.header.get("ended_at"))
    first_s, last_s = books.first_s or 0, books.last_s or 0
    recorded_s = last_s - first_s + 1 if books.last_s is not None else 0
    whole = started_at is not None and ended_at is not None and ended_at > started_at
    seconds = ended_at - started_at if whole else float(recorded_s)  # type: ignore[operator]
    opened, failed = books.count("opened"), books.count("failed")
    handshake_success, usable = _shares(books, None)
    requests = books.count("requests")
    unanswered = books.count("reply_timeouts") + books.count("reply_lost")
    closes = _closes(books)
    errors = (
        failed
        + unanswered
        + books.count("check_failed")
        + _ended(
            books,
            lambda kind: kind.outcome == OPEN and not kind.ended_by_run and kind.code not in (1000, None),
        )
    )
    response = books.histogram("response")
    p50_ns, p99_ns = response.percentiles_ns([50, 99])
    return Figures(
        run_id=reader.run_id,
        path=path,
        seconds=seconds,
        handshakes=opened + failed,
        handshake_success=handshake_success,
        usable=usable,
        errors_a_second=errors / seconds if seconds else None,
        reconnects=_ended(books, lambda kind: kind.reconnect),
        drops=tuple(mass_drops(read_connections(reader), books)),
        response_n=response.total,
        response_p50_ns=p50_ns,
        response_p99_ns=p99_ns,
        http_success=_share(books.count("http_ok"), books.count("http_ok") + books.count("http_failed")),
        http_p99_ns=books.histogram("http").percentile_ns(99),
        # what was still in flight at the end is not counted either way
        answered=_share(books.count("replies"), books.count("replies") + unanswered) if requests else None,
        closes=closes,
        findings=tuple(find(books, started_at if started_at is not None else first_s)),
        doubts=tuple(doubts(books, reader.header, under_way=reader.under_way, damaged=reader.damaged)),
        conditions={label: words(reader.header) for label, words in _CONDITIONS.items()},
        shares={
            name: _shares(books, name)
            for name in sorted({*books.names_with("opened"), *books.names_with("failed")})
        },
    )


def _shares(books: Books, name: str | None) -> tuple[float | None, float | None]:
    """The shares of handshakes that succeeded and of sockets that became usable, of one name or of all."""
    opened, failed = books.count("opened", name), books.count("failed", name)
    usable = books.count("usable", name)
    unusable = _ended(
        books,
        lambda kind: kind.outcome == OPEN and kind.usable is False and name in (None, kind.name),
    )
    return _share(opened, opened + failed), _share(usable, usable + unusable)


def _processes(header: Mapping[str, Any]) -> str:
    wanted, there = expected(header), len(reported(header))
    if not wanted:
        return "a single process"
    # a run that was cut does not say who reported
    short = f"{there} of " if header.get("ended_at") is not None and there < wanted else ""
    return f"{short}{counted(wanted, 'worker')}"


def _shape(header: Mapping[str, Any]) -> str:
    return str((header.get("options") or {}).get("shape") or "") or "none"


def _model(header: Mapping[str, Any]) -> str:
    rate = number((header.get("options") or {}).get("arrival_rate"))
    return f"{rate:g} a second" if rate else "as users come free (closed model)"


_CONDITIONS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "number of workers": _processes,
    "load shape": _shape,
    "rate of arrivals": _model,
}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _ended(books: Books, wanted: Callable[[Any], bool]) -> int:
    return sum(group.count for kind, group in books.ends.items() if wanted(kind))


def _closes(books: Books) -> dict[str, int]:
    ways: Counter[str] = Counter()
    for kind, group in books.ends.items():
        if kind.outcome == OPEN:
            detail = f" {kind.detail}" if kind.detail else ""
            by = kind.initiator or "nobody"
            if kind.ended_by_run:
                by = "user's end" if kind.ended_by_user else "run's end"
            ways[f"{kind.code or 'no code'}{detail} by {by}"] += group.count
    return dict(ways)


# -------------------------------------------------------------------------------------------- comparison


Side = tuple[Figures, ...]
Row = tuple[str, str, str]
"""What a figure is called, and what it is before and after, in words."""


def side(text: str) -> Side:
    """The runs that an argument names: a directory, several with commas between, or a glob.

    Raises:
        UnreadableRun: when it names none, or one that cannot be read.
    """
    return tuple(figures(path) for path in named(text))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides, the rows of their table, and in what their load differs.

    Attributes:
        incident: the table of an incident report; with several systems, also whether each of them works.
        more: the rows below it.
    """

    before: Side
    after: Side
    incident: tuple[Row, ...]
    more: tuple[Row, ...]
    differences: tuple[str, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows of the table."""
        return self.incident + self.more


def compare(before: Side, after: Side) -> Comparison:
    """The comparison of two sides of one run or more each."""
    incident = [(label, show(before), show(after)) for label, show in _INCIDENT]
    names = sorted({name for run in (*before, *after) for name in run.shares})
    incident += [
        (f"does {safe(name)} work", _system_works(before, name), _system_works(after, name))
        for name in (names[:_SYSTEMS_SHOWN] if len(names) > 1 else ())
    ]
    more = [(label, show(before), show(after)) for label, show in _MORE]
    ways = Counter[str]()
    for run in (*before, *after):
        ways.update(run.closes)
    for way, _ in ways.most_common(_CLOSES_SHOWN):
        more.append((f"closed {safe(way)}", _closes_of(way)(before), _closes_of(way)(after)))
    return Comparison(before, after, tuple(incident), tuple(more), tuple(differences(before, after)))


def differences(before: Side, after: Side) -> Iterator[str]:
    """A sentence for each condition of the load that is not the same in all runs."""
    for condition in _CONDITIONS:
        ways = [sorted({safe(run.conditions[condition], 100) for run in of}) for of in (before, after)]
        if ways[0] != ways[1] or len(ways[0]) > 1:
            was, now = (listed(of) for of in ways)
            yield f"The {condition} differs: {was} before, {now} after."


def _closes_of(way: str) -> Callable[[Side], str]:
    return _row(lambda run: float(run.closes.get(way, 0)), lambda value: f"{value:,.10g}")


def _row(
    value_of: Callable[[Figures], float | None], show: Callable[[float], str], nothing: str = "no data"
) -> Callable[[Side], str]:
    def words(of: Side) -> str:
        values = [value for run in of if (value := value_of(run)) is not None]
        if not values:
            return nothing
        middle = show(statistics.median(values))
        if len(of) == 1:
            return middle
        short = "" if len(values) == len(of) else f", {len(values)} of {len(of)} runs"
        return f"{middle} ({show(min(values))} to {show(max(values))}{short})"

    return words


def _as_share(value: float) -> str:
    return percent(value, 1)


def _as_figure(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.2f}"


def _as_recovery(value: float) -> str:
    return f"{value:,.3f} s" if value != float("inf") else "never"


def _works(of: Side) -> str:
    return _told_works(of, [run.works for run in of])


def _system_works(of: Side, name: str) -> str:
    return _told_works(of, [run.system_works(name) for run in of])


def _told_works(of: Side, answers: Sequence[Answer]) -> str:
    if len(of) == 1:
        works, why = answers[0]
        return f"{_ANSWERS[works]}: {why}"
    working = sum(works is True for works, _ in answers)
    if working == len(of):
        return f"yes, in all {len(of)} runs"
    why = Counter(why for works, why in answers if not works).most_common(1)[0][0]
    answer = "no" if any(works is False for works, _ in answers) else _ANSWERS[None]
    return f"{answer}: it does in {working} of {len(of)} runs; {why}"


_ANSWERS: Final[Mapping[bool | None, str]] = {True: "yes", False: "no", None: "cannot be said"}

_INCIDENT: Final[tuple[tuple[str, Callable[[Side], str]], ...]] = (
    ("connection success rate", _row(lambda run: run.handshake_success, _as_share)),
    ("usable", _row(lambda run: run.usable, _as_share)),
    ("errors a second", _row(lambda run: run.errors_a_second, _as_figure)),
    ("reconnect attempts", _row(lambda run: float(run.reconnects), _as_figure)),
    ("does the function work", _works),
)
_SYSTEMS_SHOWN: Final = 8
_MORE: Final[tuple[tuple[str, Callable[[Side], str]], ...]] = (
    ("handshakes tried", _row(lambda run: float(run.handshakes), _as_figure)),
    ("requests answered", _row(lambda run: run.answered, _as_share)),
    ("mass drops", _row(lambda run: float(len(run.drops)), _as_figure)),
    ("recovery to 95 %", _row(lambda run: run.recovery_s, _as_recovery, "no mass drop")),
    ("response p50", _row(lambda run: run.response_p50_ns, duration)),
    ("response p99", _row(lambda run: run.response_p99_ns, duration)),
    ("responses (n)", _row(lambda run: float(run.response_n), _as_figure)),
    ("HTTP calls succeeded", _row(lambda run: run.http_success, _as_share, "no calls")),
    ("HTTP calls p99", _row(lambda run: run.http_p99_ns, duration, "no calls")),
)
_CLOSES_SHOWN: Final = 8


# ------------------------------------------------------------------------------------------------ output

MIND: Final = "Mind: these runs were not made under the same load."

LABEL_WIDTH: Final = 30
CELL_WIDTH: Final = 40


def as_json(comparison: Comparison) -> str:
    """The figures of every run, and the rows of the table."""
    return json.dumps(
        {
            "before": [_plain(run) for run in comparison.before],
            "after": [_plain(run) for run in comparison.after],
            "incident_report": _plain_rows(comparison.incident),
            "table": _plain_rows(comparison.rows),
            "differences": list(comparison.differences),
        },
        indent=2,
    )


def _plain_rows(rows: Sequence[Row]) -> list[dict[str, str]]:
    return [{"figure": label, "before": before, "after": after} for label, before, after in rows]


def _plain(run: Figures) -> dict[str, Any]:
    works, why = run.works
    systems = {name: run.system_works(name) for name in run.shares}
    return {
        "run_id": run.run_id,
        "valid": is_valid(run.doubts),
        "seconds": round(run.seconds, 3),
        "handshakes": run.handshakes,
        "handshake_success": run.handshake_success,
        "usable": run.usable,
        "answered": run.answered,
        "errors_per_s": run.errors_a_second,
        "reconnects": run.reconnects,
        "mass_drops": [drop.to_json() for drop in run.drops],
        "response_n": run.response_n,
        "response_p50_ms": None if run.response_p50_ns is None else run.response_p50_ns / 1e6,
        "response_p99_ms": None if run.response_p99_ns is None else run.response_p99_ns / 1e6,
        "http_success": run.http_success,
        "http_p99_ms": None if run.http_p99_ns is None else run.http_p99_ns / 1e6,
        "closes": dict(run.closes),
        "works": works,
        "why": why,
        "systems": {
            name: {
                "handshake_success": run.shares[name][0],
                "usable": run.shares[name][1],
                "works": answer,
                "why": because,
            }
            for name, (answer, because) in systems.items()
        },
        "findings": [finding.to_json() for finding in run.findings],
        "doubts": [doubt.to_json() for doubt in run.doubts],
    }


def as_text(comparison: Comparison) -> str:
    """The table for a terminal, and each side's doubts and findings below it."""
    lines = list(_table(comparison))
    if comparison.differences:
        lines += ["", MIND, *(line for told in comparison.differences for line in _indented(told))]
    for title, runs in _sides(comparison):
        lines += ["", f"{title} ({_ids(runs)})", *(line for told in _told(runs) for line in _indented(told))]
    return "\n".join(lines)


def as_markdown(comparison: Comparison) -> str:
    """The table for an incident report, and what was found on each side as lists below it."""
    titles = [f"{title} ({_ids(runs)})" for title, runs in _sides(comparison)]
    lines = [_markdown_row("", *titles), "|---|---|---|"]
    lines += [_markdown_row(*row) for row in comparison.rows]
    if comparison.differences:
        lines += ["", MIND, "", *(f"- {sentence}" for sentence in comparison.differences)]
    for title, runs in _sides(comparison):
        lines += ["", f"**{title}**", ""]
        # what is indented belongs to the finding above it
        lines += [("  - " if told.startswith(" ") else "- ") + told.strip() for told in _told(runs)]
    return "\n".join(lines)


def _markdown_row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _sides(comparison: Comparison) -> tuple[tuple[str, Side], ...]:
    return (("BEFORE", comparison.before), ("AFTER", comparison.after))


def _ids(runs: Side) -> str:
    shown = [safe(run.run_id, 60) for run in runs[:3]]
    return ", ".join(shown) + (f" and {len(runs) - 3} more" if len(runs) > 3 else "")


def _table(comparison: Comparison) -> Iterator[str]:
    yield _line("", "BEFORE", "AFTER")
    yield _line("run", _ids(comparison.before), _ids(comparison.after))
    for rows in (comparison.incident, comparison.more):
        yield "-" * (LABEL_WIDTH + 2 * CELL_WIDTH + 4)
        for label, before, after in rows:
            yield _line(label, before, after)


def _line(label: str, before: str, after: str) -> str:
    """One row, its cells wrapped within their columns."""
    cells = (_wrap(label, LABEL_WIDTH), _wrap(before, CELL_WIDTH), _wrap(after, CELL_WIDTH))
    height = max(map(len, cells))
    padded = [[*cell, *[""] * (height - len(cell))] for cell in cells]
    return "\n".join(
        f"{first:<{LABEL_WIDTH}}  {second:<{CELL_WIDTH}}  {third}".rstrip()
        for first, second, third in zip(*padded, strict=True)
    )


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]


def _told(runs: Side) -> Iterator[str]:
    """Each run's doubts that make it invalid, then the findings of all, each with its hint once."""
    for run in runs:
        for doubt in run.doubts:
            if doubt.invalid:
                yield f"NOT VALID ({safe(run.run_id, 60)}): {doubt.reason} {doubt.advice}"
    found = gathered(runs)
    if not found:
        yield "no findings"
    for finding, times in found:
        among = f", in {times} of {counted(len(runs), 'run')}" if len(runs) > 1 else ""
        yield f"{finding.severity.upper()} {finding.id} on {finding.system}{among}, {when(finding)}"
        yield f"  {finding.evidence[0]}"
        yield f"  Where to look: {finding.hint}"


def _indented(text: str) -> list[str]:
    indent = " " * (2 + len(text) - len(text.lstrip()))
    width = LABEL_WIDTH + 2 * CELL_WIDTH
    return textwrap.wrap(text.lstrip(), width, initial_indent=indent, subsequent_indent=indent)


def gathered(runs: Side) -> list[tuple[Finding, int]]:
    """The findings of several runs, each once by id and system, with the number of runs that have it."""
    first: dict[tuple[str, str], Finding] = {}
    times: Counter[tuple[str, str]] = Counter()
    for run in runs:
        for finding in run.findings:
            first.setdefault((finding.id, finding.system), finding)
            times[finding.id, finding.system] += 1
    return [(finding, times[key]) for key, finding in first.items()]


def write_html(comparison: Comparison, path: Path) -> None:
    """Write the comparison as a page that opens without a network."""
    sides: Sequence[dict[str, Any]] = [
        {
            "title": title.capitalize(),
            "ids": _ids(runs),
            "invalid": [(run.run_id, doubt) for run in runs for doubt in run.doubts if doubt.invalid],
            "findings": [(finding, times, len(runs)) for finding, times in gathered(runs)],
        }
        for title, runs in _sides(comparison)
    ]
    page = (
        environment()
        .get_template("compare.html")
        .render(rows=comparison.rows, sides=sides, mind=MIND, differences=comparison.differences)
    )
    path.write_text(page, encoding="utf-8")
