"""Validity: is the run to be believed? Doubts are printed above the numbers, with what to do.

A doubt that makes a run invalid says that its numbers speak of the generator, or of less than what was
asked for; the others are remarks that bound what may be concluded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from wsoak.judge.attendance import most_due, users_missing
from wsoak.judge.consequences import told_once
from wsoak.judge.doubt import Check, Doubt, Header
from wsoak.judge.early import sent_early
from wsoak.judge.latency_limit import DEFAULT_MS
from wsoak.judge.littles_law import GENERATOR, by_worker, requests_add_up, sockets_add_up
from wsoak.judge.several import left_out
from wsoak.judge.user_code import callbacks_failed
from wsoak.judge.words import counted, duration, listed, of_all, percent, percentile, span, were
from wsoak.ledger.books import Books
from wsoak.ledger.outcomes import (
    DESCRIPTORS_EXHAUSTED,
    PORTS_EXHAUSTED,
    SOURCE_UNUSABLE,
)
from wsoak.ledger.timeline import ARRIVALS, NAMES_LIMIT, OTHER_NAMES
from wsoak.ledger.units import NS_PER_MS

__all__ = ["GENERATOR", "Check", "Doubt", "Header", "doubts", "is_valid"]

MASTER: Final = "master"
"""The worker of that name makes no load."""

SATURATED_SHARE: Final = 0.1
"""More than this share of a worker's seconds at 90 % of a core or more: saturated."""
STARVED_SHARE: Final = 0.2
"""A worker that wanted a CPU for more than this share of the time, and had none: starved.

Measured with 150 sockets on one core at 1,500 messages a second: 3 % alone, 7 % beside one busy loop, 26 %
beside three, 73 % beside ten; 14 % on two cores with six processes that want one, and 22 % with eight.
"""
AT_EASE_SHARE: Final = 0.1
"""Beyond this, late sends may be the generator's own, even where its event loop was on time."""
WORKERS_NAMED: Final = 5
"""At most so many workers are named in one sentence, the worst first."""
LAG_SHARE: Final = 0.1
"""The generator's own lags may be this share of the latency limit at most."""
LATENCY_LIMIT_MS: Final = DEFAULT_MS
"""The latency limit where the run names none."""
LAG_SAMPLES: Final = 20
"""Fewer lag readings than this have no p99."""

SAMPLES_NEEDED: Final[Mapping[float, int]] = MappingProxyType({95.0: 59, 99.0: 299, 99.9: 2995})
"""Smallest samples that can bound a percentile, one-sided 95 %: the least n with q**n <= 0.05."""

UNSERVED_SHARE: Final = 0.01
"""More than this share of the open model's sessions not served: the load was not what was offered."""

MANY_NAMES: Final = 50
"""More names of sockets than this are most likely ids."""

PREFLIGHT: Final = "preflight"
"""How a run ended that the checks before the load have stopped."""

BY_SIGNAL: Final = "signal"
"""How a run ended that a signal has stopped."""

BY_HAND: Final = "stopped"
"""How a run ended that somebody stopped in the web UI, and any other that nothing else has ended."""

WORKERS_GONE: Final = "workers-gone"
"""How a run ended whose workers have all ended, or were lost, before it."""

INTERNAL_ERROR: Final = "internal-error"
"""How a run ended in which our own code failed."""

STOPPED_BY_GATE: Final = "gate"
"""How a run ended that a gate with ``abort = true`` has stopped."""

CLOCK_TOLERANCE_S: Final = 2.0
"""How far a worker's clock may be from the master's, the report's way included."""


_PREFLIGHT_FAILED: Final = Doubt(
    "preflight-failed",
    "The checks before the load failed, and no load was made.",
    "See the findings for what stood in the way; `python -m wsoak check` makes the checks alone.",
    invalid=True,
)

_STOPPED_IN_CHECKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        BY_SIGNAL: "The run was stopped by a signal while its checks were under way, before any load.",
        BY_HAND: "The run was stopped while its checks were under way, before any load.",
    }
)
"""What to say of a run without a load, by how it ended."""


def doubts(
    books: Books,
    header: Header,
    *,
    under_way: bool = False,
    damaged: Mapping[str, int] = MappingProxyType({}),
) -> list[Doubt]:
    """The doubts about a run, those that make it invalid first.

    ``header`` is what ``run.json`` says; ``under_way``: it still goes on, so that it is neither cut nor short
    of users; ``damaged``: unreadable lines by file, as ``RunReader.damaged`` has them.
    """
    if header.get("ended_by") == PREFLIGHT:
        # no load was made, and none is missing
        return [_PREFLIGHT_FAILED, *_damaged(damaged)]
    stopped = _STOPPED_IN_CHECKS.get(str(header.get("ended_by")), "")
    if stopped and header.get("load_began") is False:
        return [_without_load(stopped), *_damaged(damaged)]
    checks = [*_ALWAYS] if under_way else [_cut, _internal_error, _no_data, *_ALWAYS, *_AT_THE_END]
    if _has_nothing_to_judge(books, header):
        checks = [] if under_way else [_cut, _internal_error, _no_data]
    found = [doubt for check in checks for doubt in check(books, header)]
    cut = not under_way and header.get("ended_at") is None
    # its writer may be in the middle of a line of each file
    found += _damaged(damaged, cut=cut, unfinished=1 if cut or under_way else 0)
    return sorted(told_once(found), key=lambda doubt: not doubt.invalid)


def is_valid(found: Iterable[Doubt]) -> bool:
    """Whether none of these doubts makes the run invalid."""
    return not any(doubt.invalid for doubt in found)


def _without_load(reason: str) -> Doubt:
    return Doubt(
        "stopped-in-checks",
        reason,
        "Repeat the run, and let the checks end; `python -m wsoak check` makes them alone.",
        invalid=True,
    )


# ------------------------------------------------------------------------------------------------- checks


def _internal_error(_: Books, header: Header) -> Iterator[Doubt]:
    if header.get("ended_by") == INTERNAL_ERROR:
        yield Doubt(
            "internal-error",
            "wsoak's own code failed, and the run was stopped.",
            "The log has the traceback: please report it, with what is in the run's directory.",
            invalid=True,
        )


def _cut(books: Books, header: Header) -> Iterator[Doubt]:
    if header.get("ended_at") is not None:
        return
    if books.last_s is None:
        last = "nothing was recorded before"
    else:
        last = f"the last second on record is {_clock(books.last_s)}{_after_start(books.last_s, header)}"
    sockets = max(0, books.open_now)
    yield Doubt(
        "cut",
        f"The run was cut: it never said that it ended; {last}, and "
        f"{counted(sockets, 'socket')} {were(sockets)} open at the cut.",
        "Repeat the run; look for who killed it (`dmesg | grep -i oom`, the job's time limit).",
        invalid=True,
    )


def _has_nothing_to_judge(books: Books, header: Header) -> bool:
    """Whether this is a run of other users than ours, of which only Locust can say how it went."""
    gates = (header.get("options") or {}).get("gates")
    return not gates and _opens_no_sockets(books, header)


def _opens_no_sockets(books: Books, header: Header) -> bool:
    return header.get("opens_sockets") is False and not books.count("opened") + books.count("failed")


def _no_data(books: Books, header: Header) -> Iterator[Doubt]:
    if _opens_no_sockets(books, header):
        yield Doubt(
            "no-sockets",
            "No user of this run opens sockets: wsoak has nothing to judge.",
            "See Locust's own tables; for sockets, run a WebSocketUser too.",
            invalid=False,
        )
    elif not books.count("opened") + books.count("failed"):
        observed = any(summary.count for summary in books.observations.values())
        yield Doubt(
            "no-data",
            "No connection was tried: there is nothing to judge.",
            "See the findings for what stood in the way."
            if observed
            else "Look at the generator's log for an exception before the first connect.",
            invalid=True,
        )


def _cpu(books: Books, _header: Header) -> Iterator[Doubt]:
    saturated = by_worker(books, "cpu_saturated")
    shares = by_worker(books, "cpu_share")
    over = {
        worker: share
        for worker, summary in saturated.items()
        if (share := summary.mean) > SATURATED_SHARE and summary.count
    }
    if not over:
        return
    worst = max(over, key=lambda worker: over[worker])
    top = f", and at {100 * shares[worst].greatest:.0f} % at most" if worst in shares else ""
    yield Doubt(
        "generator-saturated",
        f"The generator was saturated: {counted(len(over), 'worker')} of {len(saturated):,}; the worst, "
        f"{worst}, was at 90 % of a core or more for {percent(over[worst], 1)} of its seconds{top}. "
        "Its latencies are partly its own.",
        "Spread the load over more processes or machines (--processes, --worker), or ask for less of it.",
        invalid=True,
    )


def _starved(books: Books, _header: Header) -> Iterator[Doubt]:
    waits = _waits(books)
    over = sorted((worker for worker in waits if is_starved(waits[worker])), key=lambda each: -waits[each])
    if not over:
        return
    worst, others = over[:WORKERS_NAMED], len(over) - WORKERS_NAMED
    named = [f"{worker} for {percent(waits[worker], 1)} of the time" for worker in worst]
    named += [f"{others:,} more"] if others > 0 else []
    yield Doubt(
        "generator-starved",
        f"The generator was starved: {counted(len(over), 'worker')} of {len(waits):,} wanted a CPU and had "
        f"none, {listed(named)}. Other processes took it, or a quota was used up; the latencies are partly "
        "the generator's own.",
        "Leave the machine to the generator: end what else is busy there, give it cores or a machine of its "
        "own, or raise its container's CPU quota.",
        invalid=True,
    )


def is_starved(wait_share: float) -> bool:
    """Whether this share of the time without a CPU that was wanted makes a worker's figures its own."""
    return wait_share > STARVED_SHARE


def _waits(books: Books) -> dict[str, float]:
    """The share of the time for which each worker that makes load wanted a CPU and had none."""
    read = by_worker(books, "cpu_wait_share")
    return {worker: summary.mean for worker, summary in read.items() if worker != MASTER and summary.count}


def _unwatched(books: Books, _header: Header) -> Iterator[Doubt]:
    attempts = books.count("opened") + books.count("failed")
    if attempts and not by_worker(books, "cpu_saturated") and not books.histogram("hub").total:
        yield Doubt(
            "generator-unwatched",
            "No reading of the generator's own CPU or lag is on record: whether it kept up is not known.",
            "Let the run last longer than a second or two.",
            invalid=False,
        )


def _names(books: Books, _header: Header) -> Iterator[Doubt]:
    sockets = {name for counter in ("opened", "failed") for name in books.names_with(counter)}
    if OTHER_NAMES in books.totals:
        reason = (
            f"There were too many names: a process keeps {NAMES_LIMIT:,}, and what came after them is "
            f"counted together under {OTHER_NAMES!r}. Figures by name are incomplete; those of all names "
            "together are whole."
        )
    elif len(sockets) > MANY_NAMES:
        reason = f"The sockets have {len(sockets):,} names, each of them with figures of its own."
    else:
        return
    yield Doubt(
        "too-many-names",
        reason,
        "Give connect() a `name=` that is the same for all sockets of one kind, without ids.",
        invalid=False,
    )


def _addresses(books: Books, _header: Header) -> Iterator[Doubt]:
    for reason, advice in left_out(books):
        yield Doubt("address-left-out", reason, advice, invalid=False)


def _lags(books: Books, header: Header) -> Iterator[Doubt]:
    hub, sends = _late(books, "hub", header), _late(books, "lag", header)
    if hub:
        yield Doubt("hub-lag", f"The generator's event loop ran late: {hub}.", _SPREAD, invalid=True)
    waited = max(_waits(books).values(), default=0.0)
    at_ease = waited <= AT_EASE_SHARE
    if sends and (hub or not at_ease):
        more = "" if at_ease else f"; it wanted a CPU and had none for {percent(waited, 1)} of the time"
        yield Doubt("send-lag", f"The generator's sends ran late: {sends}{more}.", _SPREAD, invalid=True)
    elif sends and not any(_cpu(books, header)):
        # the generator was on time: a scenario that waits for answers sends no faster than they come
        yield Doubt(
            "throttled",
            f"The server throttled the load: sends were late ({sends}) while the generator's event loop was "
            "on time, so the scenario was waiting for answers, and sent less than was asked for.",
            "Believe the response times, which count the waiting, and not the rate; for a rate that a slow "
            "server cannot slow, use an open model (--arrival-rate), or send without waiting (`submit`).",
            invalid=False,
        )


def _closed_loop(books: Books, header: Header) -> Iterator[Doubt]:
    """A load without a schedule: no send has a time of its own, and so none is late; see ``_lags``."""
    responses, limit_ns = books.histogram("response"), _limit_ms(header) * NS_PER_MS
    scheduled = books.histogram("lag").total or books.count("arrived", ARRIVALS)
    if scheduled or responses.total < LAG_SAMPLES or _late(books, "hub", header):
        return
    if any(_cpu(books, header)) or max(_waits(books).values(), default=0.0) > AT_EASE_SHARE:
        # some of the waiting may be the generator's own
        return
    p99_ns = responses.percentile_ns(99)
    if p99_ns is None or p99_ns <= limit_ns:
        return
    yield Doubt(
        "closed-loop",
        "The server throttled the load: it was a closed loop, in which each message waits for the answer to "
        f"the last, and the answers took long (p99 {percentile(responses, 99)}, beyond the latency limit of "
        f"{duration(limit_ns)}); a slow server was asked less often.",
        "Do not take the rate for one that was asked for, nor a percentile for what users of a steady load "
        "would see; use a schedule (--message-rate), or an open model (--arrival-rate).",
        invalid=False,
    )


_SPREAD: Final = (
    "Spread the load over more processes, look for blocking calls in the scenario, or leave the machine to "
    "the generator alone."
)


def _late(books: Books, kind: str, header: Header) -> str:
    """By how much a kind of lag is beyond what is allowed, in words; empty where it is not."""
    allowed_ns = LAG_SHARE * _limit_ms(header) * NS_PER_MS
    histogram = books.histogram(kind)
    p99_ns = histogram.percentile_ns(99)
    if p99_ns is None or histogram.total < LAG_SAMPLES or p99_ns <= allowed_ns:
        return ""
    return (
        f"p99 {duration(p99_ns)} over {histogram.total:,} readings, where a tenth of the latency limit "
        f"({duration(allowed_ns)}{_whose(header)}) is allowed"
    )


def _whose(header: Header) -> str:
    """Where the latency limit is from, if it is on record."""
    of = header.get("latency_limit_of")
    return f" of {duration(_limit_ms(header) * NS_PER_MS)}: {of}" if of else ""


def _limit_ms(header: Header) -> float:
    return float(header.get("latency_limit_ms") or LATENCY_LIMIT_MS)


_EXHAUSTED: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        PORTS_EXHAUSTED: (
            "found no free local port",
            "Use more source addresses (--source-ips), or widen net.ipv4.ip_local_port_range.",
        ),
        DESCRIPTORS_EXHAUSTED: (
            "found no free file descriptor",
            "Raise the limit (`ulimit -n`) before the run, or use more processes.",
        ),
        SOURCE_UNUSABLE: (
            "had no source address that can be used for the host",
            "Give --source-ips addresses of this machine, of the host's own family (IPv4 or IPv6).",
        ),
    }
)


def _exhausted(books: Books, _header: Header) -> Iterator[Doubt]:
    told = 0
    for outcome, (what, advice) in _EXHAUSTED.items():
        count = sum(group.count for kind, group in books.ends.items() if kind.outcome == outcome)
        told += count
        if count:
            reason = f"{counted(count, 'connection attempt')} {what} on the generator."
            yield Doubt(outcome, f"{reason} The server is not to blame for it.", advice, invalid=True)
    if untold := books.count("generator_failed") - told:
        yield Doubt(
            "generator-failed",
            f"{counted(untold, 'connection attempt')} failed for want of something on the generator.",
            "Look at its descriptors (`ulimit -n`) and local ports.",
            invalid=True,
        )


def _users(books: Books, header: Header) -> Iterator[Doubt]:
    users = round(sum(summary.greatest for summary in by_worker(books, "users").values()))
    target = round(sum(summary.greatest for summary in by_worker(books, "users_target").values()))
    due = most_due(books)
    if users >= target or (due is not None and due >= target):
        # who was missing of those is told by users_missing
        return
    most = f"At most {counted(users, 'user')} {were(users)}" if users else "No user was"
    attempts = sum(books.count(counter) for counter in ("opened", "failed", "generator_failed", "cancelled"))
    gone = ""
    if attempts and not users:
        # users that stop themselves may be gone when they are counted
        gone = f"; whoever made the {counted(attempts, 'connection attempt')} had stopped by then"
    yield Doubt(
        "users-below-target",
        f"{most} running at any reading (one a second), where {target:,} {were(target)} asked for{gone}.",
        "Let the run last longer than its ramp, or look for users that failed to start or stopped.",
        # a gate that has failed under less load than was asked for has failed
        invalid=header.get("ended_by") != STOPPED_BY_GATE,
    )


def _unserved(books: Books, _header: Header) -> Iterator[Doubt]:
    """The open model's sessions that no user was free for; see ``load.open_model``.

    Those that still wait count, too, as a run may be shorter than their patience; but not those that came
    after the last reading, when the users may have gone.
    """
    arrived, unserved = books.count("arrived", ARRIVALS), books.count("unserved", ARRIVALS)
    left = arrived - unserved - books.count("served", ARRIVALS)
    read = sum(summary.last for summary in by_worker(books, "arrivals_waiting").values())
    waiting = max(0, min(left, round(read)))
    missed = unserved + waiting
    if missed <= UNSERVED_SHARE * arrived:
        return
    still = f", {waiting:,} of them still waiting at the last reading" if waiting else ""
    yield Doubt(
        "arrivals-unserved",
        f"{of_all(missed, arrived, 'session')} {were(missed)} not served{still}: the users were too few "
        "hands for the sessions that a slow server keeps open. The offered rate was kept, the load on the "
        "server was not.",
        "Raise --users.",
        invalid=False,
    )


def _workers(_books: Books, header: Header) -> Iterator[Doubt]:
    """Every worker there, every report numbered and present; see ``load.relay.Roll.to_json``."""
    workers: list[dict[str, Any]] | None = header.get("workers")
    expected = int(header.get("expected_workers") or 0)
    if not expected or workers is None:
        # one process, or a run that was cut before it could say who was there
        return
    if len(workers) < expected:
        yield Doubt(
            "workers-absent",
            f"{len(workers)} of {counted(expected, 'worker')} ever reported.",
            "Look at the missing workers' logs, and that they run the same locustfile and version.",
            invalid=True,
        )
    asked = int(header.get("asked_workers") or 0)
    # one that was lost may have had another in its place; Locust's own 1 asks for nothing
    stayed = [worker for worker in workers if worker["final"] and worker["left_s"] is None]
    if 1 < asked < len(stayed):
        yield Doubt(
            "workers-unexpected",
            f"{counted(len(stayed) - asked, 'more worker')} than expected took part: {len(stayed)}, where "
            f"--expect-workers asked for {asked}.",
            "See that they are yours: who knows the master's port can join; --master-bind-port gives it "
            "another one.",
            invalid=False,
        )
    if header.get("ended_by") == WORKERS_GONE:
        yield Doubt(
            "workers-gone",
            "The run ended early: no worker was left to go on with it.",
            "Look at the workers' logs for who ended them, and repeat the run.",
            invalid=True,
        )
    for worker in workers:
        name = worker["worker"]
        spans = listed(f"{span(end - begin)} from {span(begin)} on" for begin, end in worker["missing_s"])
        if not worker["final"]:
            yield Doubt(
                "worker-lost",
                f"{name} was lost: it never sent its last report; its figures are missing for {spans}.",
                "Look for who killed it, and repeat the run.",
                invalid=True,
            )
        elif spans:
            yield Doubt(
                "worker-frozen",
                f"{name} was silent for {spans}: it was frozen, and made no load then.",
                "Look for a suspended process or an overloaded host, and repeat the run.",
                invalid=True,
            )
        if worker["left_s"] is not None:
            yield Doubt(
                "worker-left",
                f"{name} left the run {span(worker['left_s'])} after the start: from then on its load was "
                "missing, or moved to the others.",
                "Look at its log for who ended it, and repeat the run.",
                invalid=True,
            )
        if worker["missing_reports"] > 0:
            yield Doubt(
                "reports-missing",
                f"{counted(worker['missing_reports'], 'report')} of {name} never came: the books are short.",
                "Look for RPC errors in the master's and the worker's logs, and repeat the run.",
                invalid=True,
            )
        if worker["late"]:
            yield Doubt(
                "worker-late",
                f"{name} joined {span(worker['joined_s'])} after the start.",
                "Start all workers first: --expect-workers waits for them.",
                invalid=False,
            )
        if abs(worker["clock_ahead_s"]) > CLOCK_TOLERANCE_S:
            yield Doubt(
                "clock-skew",
                f"The clock of {name} differs from the master's by {span(abs(worker['clock_ahead_s']))}: its "
                "seconds are not the others' seconds in charts over time.",
                "Synchronise the hosts' clocks (NTP).",
                invalid=False,
            )


def _samples(books: Books, _header: Header) -> Iterator[Doubt]:
    samples = books.histogram("response").total
    short = [f"p{percent_:g}" for percent_, needed in SAMPLES_NEEDED.items() if 0 < samples < needed]
    if not short:
        return
    needed = max(count for percent_, count in SAMPLES_NEEDED.items() if f"p{percent_:g}" in short)
    yield Doubt(
        "few-samples",
        f"{counted(samples, 'response')} {'is' if samples == 1 else 'are'} too few to bound {listed(short)}.",
        f"For all of them take {needed:,} or more: a longer run, or more users.",
        invalid=False,
    )


def _damaged(damaged: Mapping[str, int], cut: bool = False, unfinished: int = 0) -> Iterator[Doubt]:
    """Lines that cannot be read, beyond so many in each file that are not finished."""
    lost = {name: lines for name, lines in damaged.items() if lines > unfinished}
    if lost:
        files = listed(f"{counted(lines, 'line')} of {name}" for name, lines in sorted(lost.items()))
        yield Doubt(
            "damaged",
            f"Parts of the run cannot be read: {files}.",
            "Look at whether the disk was full; what could be read is counted, the rest is missing.",
            invalid=not cut,
        )


_ALWAYS: Final[tuple[Check, ...]] = (_cpu, _starved, _lags, sent_early, _closed_loop, _exhausted)
_AT_THE_END: Final[tuple[Check, ...]] = (
    callbacks_failed,
    _workers,
    _unwatched,
    _names,
    _addresses,
    users_missing,
    _users,
    _unserved,
    sockets_add_up,
    requests_add_up,
    _samples,
)


# ------------------------------------------------------------------------------------------------ helpers


def _clock(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _after_start(unix_s: float, header: Header) -> str:
    started_at = header.get("started_at")
    if not isinstance(started_at, int | float):
        return ""
    return f", {span(max(0.0, unix_s - started_at))} after the start"
