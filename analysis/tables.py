"""Tables: the figures of a run in rows, for the report and for comparisons. From the books alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from analysis.frames import number
from analysis.marks import Mark
from analysis.workers import Worker, expected, reported
from wsoak.judge.words import counted, listed, percent, percentile, span
from wsoak.ledger.books import Books
from wsoak.ledger.delta import KINDS
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.outcomes import OPEN, OUTCOMES, close_class, close_name, meaning, rejected_status
from wsoak.ledger.timeline import ARRIVALS

ROWS: Final = 60
"""At most so many rows a table; the rest is counted in a line below it."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of words: its title, the columns (those in ``numeric`` are set to the right), its rows.

    ``note`` stands below it; ``left_out`` says how many rows did not fit.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    note: str = ""
    left_out: int = 0


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], numeric: Iterable[int], note: str = ""
) -> Table:
    """A table of at most ``ROWS`` rows."""
    everything = [tuple(row) for row in rows]
    return Table(
        title,
        tuple(columns),
        tuple(everything[:ROWS]),
        frozenset(numeric),
        note,
        max(0, len(everything) - ROWS),
    )


def outcomes(books: Books) -> Table:
    """Openings by socket name and outcome."""
    counts: Counter[tuple[str, str]] = Counter()
    for kind, group in books.ends.items():
        if kind.outcome != OPEN:
            counts[kind.name, kind.outcome] += group.count
    for name in books.names_with("opened"):
        counts[name, OPEN] += books.count("opened", name)
    totals: Counter[str] = Counter()
    for (name, _), count in counts.items():
        totals[name] += count
    rows = [
        (name, outcome, _meaning(outcome), _whose(outcome), f"{count:,}", percent(count, totals[name]))
        for (name, outcome), count in sorted(
            counts.items(), key=lambda item: (-totals[item[0][0]], item[0][0], -item[1])
        )
    ]
    return table("Openings", ("socket", "outcome", "meaning", "whose", "count", "share"), rows, (4, 5))


def closes(books: Books) -> Table:
    """Closes by socket name, code, initiator and detail."""
    counts: Counter[tuple[str, ...]] = Counter()
    age_ms: Counter[tuple[str, ...]] = Counter()
    for kind, group in books.ends.items():
        if kind.outcome != OPEN:
            continue
        code = "" if kind.code is None else str(kind.code)
        named = "" if kind.code is None else f"{close_name(kind.code)} ({close_class(kind.code)})"
        by = kind.initiator or "nobody"
        if kind.ended_by_run:
            by = "end of the user" if kind.ended_by_user else "end of the run"
        clean = {True: "yes", False: "no", None: ""}[kind.clean]
        key = (kind.name, code, named, by, kind.detail, clean)
        counts[key] += group.count
        age_ms[key] += group.age_sum_ms
    rows = [
        (*key, f"{count:,}", f"{age_ms[key] / count / 1000:,.3f}")
        for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    columns = ("socket", "code", "name (class)", "by", "detail", "clean", "count", "mean age, s")
    return table("Closes", columns, rows, (6, 7), "Clean: a close frame went each way.")


_SPREAD: Final = (50.0, 90.0, 95.0, 99.0, 99.9)


def latencies(books: Books) -> Table:
    """Percentiles by kind and name; each kind's sum first where it has several names.

    The wait of the open model's sessions has a heading of its own.
    """
    rows = []
    open_model = bool(books.count("arrived", ARRIVALS))
    for kind in KINDS:
        if kind == "http":
            # they have a table of their own
            continue
        names = sorted(name for of, name in books.latency if of == kind)
        if kind == "metric" and open_model and ARRIVALS in names:
            rows.append(_latency_row("wait for a user", ARRIVALS, books.latency[kind, ARRIVALS]))
            names.remove(ARRIVALS)
        # the scenario's own metrics have nothing in common
        if len(names) > 1 and kind != "metric":
            rows.append(_latency_row(kind, "all", books.histogram(kind)))
        busiest = sorted(names, key=lambda name: (-books.latency[kind, name].total, name))
        rows += [_latency_row(kind, name, books.latency[kind, name]) for name in busiest]
    columns = ("kind", "name", "n", *(f"p{q:g}" for q in _SPREAD), "max", "over 60 s")
    note = (
        "Response: from the intended send; service: from the actual send; lag: between the two. "
        "A request without an answer enters response at its time-out."
    )
    return table("Latencies", columns, rows, range(2, len(columns)), note)


def _latency_row(kind: str, name: str, histogram: Histogram) -> tuple[str, ...]:
    values = [percentile(histogram, q) for q in (*_SPREAD, 100.0)]
    return (kind, name, f"{histogram.total:,}", *values, f"{histogram.over:,}")


def calls(books: Books) -> Table:
    """HTTP calls by method and name, those of Locust's own HTTP users too."""
    names = {*books.names_with("http_ok"), *books.names_with("http_failed")}
    rows = []
    for name in sorted(names, key=lambda name: (-_calls(books, name), name)):
        durations = books.latency.get(("http", name), _NOTHING)
        times = [percentile(durations, q) for q in (*_SPREAD, 100.0)] if durations.total else [""] * 6
        failed = books.count("http_failed", name)
        ok = percent(books.count("http_ok", name), _calls(books, name))
        rows.append((name, f"{_calls(books, name):,}", f"{failed:,}", ok, *times))
    columns = ("call", "n", "failed", "succeeded", *(f"p{q:g}" for q in _SPREAD), "max")
    note = "Times are of whole calls, failed ones too."
    return table("HTTP calls", columns, rows, range(1, len(columns)), note)


def _calls(books: Books, name: str) -> int:
    return books.count("http_ok", name) + books.count("http_failed", name)


def own(books: Books) -> Table:
    """What scenarios checked, counted and timed themselves, by name; their gauges are with the others."""
    timed = {name: histogram for (kind, name), histogram in books.latency.items() if kind == "metric"}
    names = {*books.totals, *timed}
    if books.count("arrived", ARRIVALS):
        # the wait of the open model's sessions is ours
        names.discard(ARRIVALS)
    rows: list[tuple[str, ...]] = []
    for name in sorted(names):
        passed, failed = books.count("check_passed", name), books.count("check_failed", name)
        if passed or failed:
            rows.append(("check", name, f"{passed + failed:,}", f"{passed:,}", f"{failed:,}", *[""] * 5))
        trend = timed.get(name, _NOTHING)
        counted_up = books.count("metric_count", name) - trend.total
        if counted_up > 0:
            added_up = _figure(books.total("metric_sum", name))
            rows.append(("counter", name, f"{counted_up:,}", "", "", added_up, *[""] * 4))
        if trend.total:
            values = [percentile(trend, q) for q in (50.0, 95.0, 99.0, 100.0)]
            rows.append(("trend", name, f"{trend.total:,}", *[""] * 3, *values))
    columns = ("kind", "name", "n", "passed", "failed", "sum", "p50", "p95", "p99", "max")
    return table("The scenario's own figures", columns, sorted(rows), range(2, len(columns)))


_NOTHING: Final = Histogram()


def gauges(books: Books) -> Table:
    """Readings by worker, source and name."""
    rows = [
        (
            source,
            name,
            worker,
            f"{summary.count:,}",
            _figure(summary.least),
            _figure(summary.mean),
            _figure(summary.greatest),
            _figure(summary.last),
        )
        for (worker, source, name), summary in sorted(
            books.gauges.items(), key=lambda item: (item[0][1], item[0][2], item[0][0])
        )
    ]
    columns = ("source", "gauge", "worker", "readings", "least", "mean", "greatest", "last")
    return table("Gauges", columns, rows, range(3, 8))


def marks(found: Sequence[Mark]) -> Table:
    """The steps of the load shape."""
    rows = [(str(mark.number), span(mark.at_s), mark.text) for mark in found]
    note = "In the charts over time they are thin lines with these numbers."
    return table("Steps of the load", ("#", "after the start", "what"), rows, (0, 1), note)


def workers(found: Sequence[Worker], header: Mapping[str, Any]) -> Table:
    """Who made the load: reports, users, CPU and lag of each process."""
    rows = [_worker_row(worker) for worker in found]
    columns = (
        "worker",
        "users",
        "reports",
        "never came",
        "joined",
        "missing",
        "CPU, mean",
        "CPU, greatest",
        "event loop p99",
    )
    wanted, there = expected(header), len(reported(header))
    # a run that was cut does not say who reported
    known = wanted and header.get("ended_at") is not None
    told = f"{there} of {counted(wanted, 'worker')} reported. " if known else ""
    note = f"{told}Users: the most at a reading. CPU: of one core. Event loop: how late it ran."
    return table("Workers", columns, rows, (1, 2, 3, 4, 6, 7, 8), note)


def _worker_row(worker: Worker) -> tuple[str, ...]:
    missing = [f"{span(end - begin)} from {span(begin)} on" for begin, end in worker.missing_s]
    counts = (worker.users, worker.reports, worker.missing_reports)
    lost = ["lost: never sent its last report"] if worker.final is False else []
    left = [f"left the run at {span(worker.left_s)}"] if worker.left_s is not None else []
    return (
        worker.name,
        *("" if count is None else f"{count:,}" for count in counts),
        "" if worker.joined_s is None else span(worker.joined_s),
        listed(missing + lost + left),
        "" if worker.cpu_mean is None else f"{100 * worker.cpu_mean:.0f} %",
        "" if worker.cpu_max is None else f"{100 * worker.cpu_max:.0f} %",
        percentile(worker.hub, 99) if worker.hub.total else "",
    )


_COUNTED: Final = (
    "requests",
    "replies",
    "reply_timeouts",
    "reply_lost",
    "late_replies",
    "sent",
    "received",
    "unmatched",
    "dropped",
    "overrun",
    "send_on_closed",
    "check_passed",
    "check_failed",
)


def counters(books: Books) -> Table:
    """The counters of messages, requests and checks by name, without those that are zero everywhere."""
    used = [counter for counter in _COUNTED if books.count(counter)]
    names = [name for name in books.totals if any(books.count(counter, name) for counter in used)]
    names.sort(key=lambda name: (-sum(books.count(counter, name) for counter in used), name))
    rows = [(name, *(f"{books.count(counter, name):,}" for counter in used)) for name in names]
    columns = ("name", *(counter.replace("_", " ") for counter in used))
    return table("Messages, requests and checks", columns, rows, range(1, len(columns)))


def facts(header: Mapping[str, Any]) -> Table:
    """What ``run.json`` says and no table of its own: versions, options, machine, and everything else."""
    rows: list[tuple[str, str]] = []
    for key, value in header.items():
        if key in ("marks", "workers") and isinstance(value, list):
            continue
        if isinstance(value, dict):
            rows += [(f"{key}: {inner}", _plain(content)) for inner, content in value.items()]
        elif key.endswith("_at") and number(value) is not None:
            rows.append((key, clock(float(value))))
        else:
            rows.append((key, _plain(value)))
    return Table("The run", ("fact", "value"), tuple(rows))


def clock(unix_s: float) -> str:
    """A Unix time as ``2026-01-31 12:00:00 UTC``."""
    try:
        return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{unix_s}"


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " ".join(value)
    return json.dumps(value, ensure_ascii=False)


def _figure(value: float) -> str:
    if value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.3g}" if abs(value) < 100 else f"{value:,.1f}"


def _known(outcome: str) -> bool:
    return outcome in OUTCOMES or rejected_status(outcome) is not None


def _meaning(outcome: str) -> str:
    return meaning(outcome).text if _known(outcome) else "a word that this version does not know"


def _whose(outcome: str) -> str:
    return meaning(outcome).whose if _known(outcome) else ""
