"""What a relay on the way does to messages is found by its name, alone: lost, repeated, out of order.

In front of the target, which is well, a relay strikes one message of each socket that the server sends on. Of
calls that is a signal of the other party's; of roadmaps a push. One run for each way to strike, side by side.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.conftest import SERVERS
from tests.e2e.processes import EXIT_INVALID, PATIENT, Outcome, findings, is_believed, load_until, serving
from tests.target.client import running
from wsoak.ledger.books import Books

USERS: Final = 6
"""Of both systems together."""
DONE: Final = {"call": "no call left", "roadmap": "roadmap: completed"}
"""By the system: which check says that a call, or a task, was gone through to its end."""
ENOUGH: Final = USERS // len(DONE)
"""So many of each, at least: more could be found than what must be."""


@dataclass(frozen=True, slots=True)
class Way:
    """What must be found of a way to strike, by system.

    Attributes:
        options: further ones of the run's; the others have each user end what it has begun.
        patient: whether nothing that a busy machine holds up can look as if it was struck.
    """

    expected: dict[str, str]
    options: tuple[str, ...] = ("--stop-timeout", "60")
    patient: bool = True


WAYS: Final = {
    # a signal is lost when the reply time-out is over: whoever waits for a minute would never end
    "lose": Way({"call": "relay-lost", "roadmap": "sequence-gap"}, ("--reply-timeout", "10"), patient=False),
    "repeat": Way(dict.fromkeys(DONE, "messages-repeated")),
    "swap": Way(dict.fromkeys(DONE, "messages-reordered")),
}


@dataclass(frozen=True, slots=True)
class Run:
    """A run through a relay, what it found, and how many messages the relay struck."""

    done: Outcome
    found: list[dict[str, Any]]
    struck: int


def shows_enough(way: Way, books: Books) -> bool:
    """Whether what the relay does was met in both systems, and both were gone through to the end."""
    met = {key for key, seen in books.observations.items() if seen.count}
    done = all(books.count("check_passed", check) >= ENOUGH for check in DONE.values())
    return done and met >= {(finding, system) for system, finding in way.expected.items()}


def run_through(folder: Path, name: str) -> Run:
    """One run through a relay that strikes in this way."""
    way, relay = WAYS[name], str(SERVERS / "relay.py")
    with (
        running("--accounts", str(2 * USERS)) as target,
        serving(sys.executable, relay, target.url, name) as server,
    ):
        # signals go out at a rate, so that one can be overtaken by the next
        rates = ("-u", str(USERS), "-r", str(USERS), "--message-rate", "10", *PATIENT, *way.options)
        users = ("CallUser", "RoadmapUser", "--host", server.url)
        done = load_until(partial(shows_enough, way), "all was met", folder / "run", *users, *rates)
        return Run(done, findings(done.path), server.counts()["struck"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Run]]]:
    """The runs, at the same time; a test waits for its own."""
    with ThreadPoolExecutor(len(WAYS)) as pool:
        yield {name: pool.submit(run_through, tmp_path_factory.mktemp(name), name) for name in WAYS}


@pytest.mark.parametrize("name", WAYS)
def test_what_a_relay_does_is_found_and_nothing_else_is(runs: dict[str, Future[Run]], name: str) -> None:
    way, run = WAYS[name], runs[name].result()
    found = {finding["system"]: finding["id"] for finding in run.found}
    assert found == way.expected, run.done.said
    assert len(run.found) == len(way.expected), run.found
    # Locust's own code is 1 where a request failed, and none of these makes one fail
    codes = (0,) if way.patient else (0, 1)
    assert run.done.code in (codes if is_believed(run.done) else (EXIT_INVALID,)), run.done.said


@pytest.mark.parametrize("name", [name for name, way in WAYS.items() if way.patient])
def test_every_message_that_the_relay_struck_is_counted(runs: dict[str, Future[Run]], name: str) -> None:
    run = runs[name].result()
    counts = [finding["count"] for finding in run.found]
    assert min(counts) > 0
    assert sum(counts) == run.struck, run.found
