"""Saturation: which resource was the first to be full as the load grew, and whether the counts add up.

The generator is looked at first: a step at which it was full says nothing of the server.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from analysis.frames import number
from analysis.steps import Step
from wsoak.judge.littles_law import LITTLE_MEAN, LITTLE_TOLERANCE
from wsoak.judge.validity import (
    LAG_SAMPLES,
    LAG_SHARE,
    LATENCY_LIMIT_MS,
    MASTER,
    SATURATED_SHARE,
    is_starved,
)
from wsoak.judge.words import duration, figure, percent
from wsoak.ledger.units import NS_PER_MS

TARGET: Final = "target"
FULL_SHARE: Final = 0.9
"""At this share of what there is, a resource is full."""
FLAT_SHARE: Final = 0.5
"""Throughput that grows by less than this share of what the load grew by has stopped growing."""
LOOPBACK: Final = ("localhost", "127.", "::1")

Header = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Little:
    """Little's law in one step: requests in flight, as read, and as rate × mean service time.

    ``holds`` is ``None`` where the readings are too few to tell 5 %.
    """

    read: float
    expected: float
    holds: bool | None


@dataclass(frozen=True, slots=True)
class Saturation:
    """A resource that was full at a step; ``generator``: it was the generator's own."""

    step: int
    resource: str
    sentence: str
    generator: bool


def little(step: Step) -> Little | None:
    """Little's law for a step's requests: L = λW. ``None`` where nothing was asked.

    The number in flight is read once a second, and such readings scatter like Poisson counts: what their
    number explains is no contradiction.
    """
    mean_s = step.service_s
    if mean_s is None:
        return None
    read = step.in_flight
    expected = step.books.histogram("service").total / step.window.seconds * mean_s
    readings = sum(summary.count for summary in step.readings("in_flight").values())
    if not readings:
        return None
    most, off = max(read, expected), abs(read - expected)
    # paced sends and readings keep step with each other: of a few in flight a reading says little
    if most < LITTLE_MEAN:
        return Little(read, expected, None)
    if off <= LITTLE_TOLERANCE * most:
        return Little(read, expected, True)
    by_chance = 2 * math.sqrt(most / readings)
    return Little(read, expected, False if off > LITTLE_TOLERANCE * most + by_chance else None)


def generator_full(step: Step, header: Header) -> str:
    """Why a step's figures are the generator's own, in words; empty where they are not."""
    saturated = step.readings("cpu_saturated")
    worst = max((summary.mean for summary in saturated.values()), default=0.0)
    if worst > SATURATED_SHARE:
        return f"its CPU was at 90 % of a core or more for {percent(worst, 1)} of the step"
    waited = step.readings("cpu_wait_share")
    worst = max((summary.mean for worker, summary in waited.items() if worker != MASTER), default=0.0)
    if is_starved(worst):
        return f"it wanted a CPU and had none for {percent(worst, 1)} of the step"
    limit_ns = LAG_SHARE * (number(header.get("latency_limit_ms")) or LATENCY_LIMIT_MS) * NS_PER_MS
    hub = step.books.histogram("hub")
    p99_ns = hub.percentile_ns(99)
    if p99_ns is not None and hub.total >= LAG_SAMPLES and p99_ns > limit_ns:
        return f"its event loop ran late (p99 {duration(p99_ns)}, where {duration(limit_ns)} is allowed)"
    if failed := step.books.count("generator_failed"):
        return f"{failed:,} of its openings failed for want of ports or descriptors"
    return ""


def first_saturated(steps: Sequence[Step], header: Header) -> Saturation | None:
    """The first resource that was full, at the lowest step; ``None`` where none was. ``steps`` by load."""
    for index, step in enumerate(steps):
        for check in _CHECKS:
            for resource, words in check(steps[: index + 1], header):
                sentence = f"{resource[0].upper()}{resource[1:]} was full at step {step.number}: {words}."
                return Saturation(step.number, resource, sentence, check is _generator)
    return None


def is_local(header: Header) -> bool:
    """Whether generator and server shared a machine."""
    host = urlsplit(str(header.get("host") or "")).hostname or ""
    return host.startswith(LOOPBACK)


Found = Iterator[tuple[str, str]]


def _generator(steps: Sequence[Step], header: Header) -> Found:
    if why := generator_full(steps[-1], header):
        yield "the load generator", why


def _cpu(steps: Sequence[Step], header: Header) -> Found:
    share = steps[-1].gauge("cpu_share", TARGET)
    threaded = max(step.gauge("cpu_share", TARGET) for step in steps) > 1.1
    # how many cores another machine has is on no record
    cores = (number((header.get("machine") or {}).get("cores")) if is_local(header) else None) or math.inf
    most = cores if threaded else 1.0
    if share >= FULL_SHARE * most:
        of = "of a core, and a single-threaded server has no more" if most == 1 else f"of {cores:.0f} cores"
        yield "the server's CPU", f"{figure(100 * share / most)} % {of}"


def _descriptors(steps: Sequence[Step], _header: Header) -> Found:
    used, limit = steps[-1].gauge("fds", TARGET), steps[-1].gauge("process_max_fds", TARGET)
    if limit and used >= FULL_SHARE * limit:
        yield "the server's descriptors", f"{used:,.0f} of {limit:,.0f} were in use"


def _throughput(steps: Sequence[Step], _header: Header) -> Found:
    """Something that nobody watched: more is asked for, and no more comes back."""
    if len(steps) < 2:
        return
    before, after = steps[-2:]
    # users hold sockets, several each perhaps, or come and go with sockets that do not last
    loads = [max(step.sockets, step.users) for step in (before, after)]
    if not loads[0] or not before.throughput_per_s:
        return
    more_load = loads[1] / loads[0] - 1
    more_work = after.throughput_per_s / before.throughput_per_s - 1
    if more_load > 0.02 and more_work < FLAT_SHARE * more_load:
        yield (
            "something that was not watched",
            f"{percent(more_load, 1)} more load brought {_change(more_work)} replies a second, while "
            f"{_not_full(after)}; look at locks, pools, the database, queues and limits of rate",
        )


def _not_full(step: Step) -> str:
    """What was watched, and how full it was."""
    if not step.readings("cpu_share", TARGET):
        return "the server was not watched"
    share = figure(100 * step.gauge("cpu_share", TARGET))
    return f"the server's CPU was at {share} % of a core and nothing that was watched was full"


def _change(share: float) -> str:
    if not share:
        return "no more"
    return f"{percent(abs(share), 1)} {'more' if share > 0 else 'fewer'}"


_CHECKS: Final[tuple[Callable[[Sequence[Step], Header], Found], ...]] = (
    _generator,
    _cpu,
    _descriptors,
    _throughput,
)
