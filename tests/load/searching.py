"""Searching: a search's course, second by second, against a server that is a formula."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from wsoak.ledger.delta import Delta
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.records import Gauge
from wsoak.ledger.timeline import COUNTERS
from wsoak.ledger.units import NS_PER_MS
from wsoak.load.search import Search
from wsoak.load.search_course import SearchCourse

STARTED_AT: Final = 1_800_000_000.25
NAME: Final = "echo"
LONGEST_S: Final = 10_000

Server = Callable[[int, int], npt.ArrayLike]
"""The response times in ms of a second, given that second after the start and how many users there are."""


@dataclass
class Journal:
    """What a search did: the users of each second, its marks, and what it said at its end."""

    users: list[int] = field(default_factory=list)
    marks: list[tuple[int, str]] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)
    news: list[str] = field(default_factory=list)
    ended: str | None = None


def searched(search: Search, server: Server, *, late_s: int = 1, limit_s: float | None = None) -> Journal:
    """A search to its end; what was recorded comes ``late_s`` seconds after it happened."""
    course = SearchCourse(search, limit_s)
    course.begin(STARTED_AT)
    journal = Journal()
    pending: list[Delta] = []
    for second in range(LONGEST_S):
        turn = course.at(float(second))
        if turn.mark is not None:
            journal.marks.append((second, turn.mark.text))
        if turn.users is None:
            journal.told, journal.news, journal.ended = course.told(), course.news, course.ended
            return journal
        journal.users.append(turn.users)
        pending.append(delta(second, turn.users, server(second, turn.users)))
        if len(pending) >= late_s:
            course.take(pending.pop(0))
    raise AssertionError("the search does not end")


def delta(second: int, users: int, responses_ms: npt.ArrayLike) -> Delta:
    """A second's delta: each user has a socket."""
    responses = np.asarray(responses_ms, float)
    unix_s = int(STARTED_AT) + second
    row = dict.fromkeys(COUNTERS, 0.0) | {"requests": len(responses), "replies": len(responses)}
    histogram = Histogram()
    histogram.record((responses * NS_PER_MS).astype(np.int64))
    gauges = [Gauge(unix_s + 0.9, "local", "generator", "open_sockets", float(users))]
    latency = {(unix_s, "response", NAME): histogram} if len(responses) else {}
    return Delta("local", second, {(unix_s, NAME): tuple(row.values())}, latency, [], gauges)


def noisy(p99_ms: Callable[[int], float], noise: float, seed: int, each_s: int = 5) -> Server:
    """A server whose p99 by users is known, times a noise of its own in each second."""
    random = np.random.default_rng(seed)
    spread = 0.3

    def server(_: int, users: int) -> npt.ArrayLike:
        median = p99_ms(users) * np.exp(noise * random.standard_normal() - 2.326 * spread)
        return np.asarray(median * np.exp(spread * random.standard_normal(each_s * users)))

    return server


def up_to(users: int) -> Server:
    """A server that answers in 10 ms, up to so many users, and in 500 ms beyond."""
    return lambda _, there: [10.0 if there <= users else 500.0] * 50


def each(journal: Journal) -> Iterator[tuple[int, bool | None]]:
    """The users of each step, and whether it kept the objective."""
    return ((step["users"], step["kept"]) for step in journal.told["tried"])
