"""Little's law: do the numbers add up? The mean number of what is there = its rate × its mean time.

(J. D. C. Little, Operations Research 9, 1961.) The mean comes from gauges that are read once a second. Where
a hub stood still, or went on after the load, readings are missing, and the law says nothing of the books.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from wsoak.judge.doubt import Doubt, Header
from wsoak.judge.words import duration
from wsoak.ledger.books import Books, GaugeSummary
from wsoak.ledger.outcomes import OPEN
from wsoak.ledger.units import NS_PER_S

GENERATOR: Final = "generator"
"""The source under which the generator's own gauges are recorded."""
PRESENT_SHARE: Final = 0.9
"""A worker with readings of fewer than this share of a run's seconds was there for a part of it."""
LITTLE_TOLERANCE: Final = 0.05
LITTLE_SECONDS: Final = 30
LITTLE_MEAN: Final = 20.0
LITTLE_READS: Final = 3600.0
"""Mean times readings: below this a gauge read once a second is too coarse to see 5 %."""
LITTLE_EDGE_S: Final = 2.0
"""How far the span of the readings may differ from the span of the events."""
_MOSTLY: Final = 0.99
READ_EVERY_S: Final = 1.0
MISSED_SHARE: Final = 0.02
"""So many readings of a run may be missing: they come a little less often than once a second."""


def sockets_add_up(books: Books, _header: Header) -> Iterator[Doubt]:
    """Little's law for sockets: mean number open = rate of opening × mean age.

    Over a whole run that starts and ends empty, this is exact, ramps included: the time that sockets were
    open, added up, is the area under their number. So it is not applied where some never ended.
    """
    seconds = _seconds(books)
    if books.open_now or seconds < LITTLE_SECONDS or _readings_missed(books, "open_sockets", seconds):
        return
    mean_open = _mean_over_all(books, "open_sockets", seconds)
    opened = books.count("opened")
    open_s = sum(group.age_sum_ms for kind, group in books.ends.items() if kind.outcome == OPEN) / 1000
    if not opened or not _differs(mean_open, open_s / seconds, seconds):
        return
    yield Doubt(
        "littles-law-sockets",
        f"The numbers of sockets do not add up: {mean_open:,.1f} were open on average, where "
        f"{opened / seconds:,.2f} opened a second × {open_s / opened:,.2f} s mean age give "
        f"{open_s / seconds:,.1f} (Little's law).",
        "Something was counted late or not at all: look at the generator's CPU and lag, and repeat the run.",
        invalid=False,
    )


def requests_add_up(books: Books, _header: Header) -> Iterator[Doubt]:
    """Little's law for requests: mean number in flight = rate of requests × mean service time.

    A request that timed out was in flight until then, and its service time says so; one that lost its socket
    has none, so that the law is not applied where there were more than a few of these.
    """
    seconds = _seconds(books)
    service = books.histogram("service")
    timed = service.total
    if seconds < LITTLE_SECONDS or not timed or service.over or timed < _MOSTLY * books.count("requests"):
        return
    if _readings_missed(books, "in_flight", seconds):
        return
    mean_flying = _mean_over_all(books, "in_flight", seconds)
    mean_s = (service.mean_ns or 0.0) / NS_PER_S
    if not _differs(mean_flying, timed * mean_s / seconds, seconds):
        return
    yield Doubt(
        "littles-law-requests",
        f"The numbers of requests do not add up: {mean_flying:,.1f} were in flight on average, where "
        f"{timed / seconds:,.1f} requests a second × {duration(mean_s * NS_PER_S)} mean service time give "
        f"{timed * mean_s / seconds:,.1f} (Little's law).",
        "Something was counted late or not at all: look at the generator's CPU and lag, and repeat the run.",
        invalid=False,
    )


def _mean_over_all(books: Books, gauge: str, seconds: float) -> float:
    """The mean over the whole run of what the workers' readings, one a second, add up to.

    Who was there for a part of it counts for that part; a few readings that came late make no part of it.
    """
    return sum(
        summary.mean * (share if (share := summary.count / seconds) < PRESENT_SHARE else 1.0)
        for summary in by_worker(books, gauge).values()
    )


def _readings_missed(books: Books, gauge: str, seconds: float) -> bool:
    """Whether readings are missing of the time for which a worker was there."""
    if (books.histogram("hub").max_ns or 0) >= READ_EVERY_S * NS_PER_S:
        # while it stood still, none was made
        return True
    allowed = max(LITTLE_EDGE_S, MISSED_SHARE * seconds)
    return any(
        summary.count / seconds >= PRESENT_SHARE and seconds - summary.count > allowed
        for summary in by_worker(books, gauge).values()
    )


def by_worker(books: Books, gauge: str) -> dict[str, GaugeSummary]:
    """A gauge's readings by worker, of those that the generator makes of itself."""
    return {
        worker: summary
        for (worker, source, name), summary in books.gauges.items()
        if source == GENERATOR and name == gauge
    }


def _differs(mean: float, expected: float, seconds: float) -> bool:
    """Whether a gauge's mean contradicts Little's law, where the gauge is fine enough to say so."""
    if max(mean, expected) < LITTLE_MEAN or not mean or mean * seconds < LITTLE_READS:
        return False
    return abs(mean - expected) > (LITTLE_TOLERANCE + LITTLE_EDGE_S / seconds) * max(mean, expected)


def _seconds(books: Books) -> float:
    if books.first_s is None or books.last_s is None:
        return 0.0
    return books.last_s - books.first_s + 1
