"""All five systems in one run: nothing is lost, and the run's books are the target's, system by system.

Exact, but for what the run's end cuts in two:

| what | who says what | bound |
|---|---|---|
| a handshake that it cancelled | we: ``cancelled``; the target may have accepted it | ``GREETING`` |
| a close that both began | we: by us; the target: by itself | sockets that the run's end closed |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, product
from pathlib import Path
from typing import Final

import pytest
from prometheus_client.samples import Sample

from bench.incidents import USER_CLASSES
from tests.e2e.processes import (
    PATIENCE_S,
    PATIENT,
    Outcome,
    eventually,
    findings,
    is_valid,
    load_until,
    loading,
)
from tests.e2e.test_target_books import ended_by
from tests.target.client import Target, running, total
from wsoak.ledger.books import Books
from wsoak.ledger.outcomes import OPEN
from wsoak.ledger.records import ConnectionRecord
from wsoak.ledger.timeline import value
from wsoak.ledger.units import NS_PER_S

SYSTEMS: Final = tuple(USER_CLASSES)
USERS: Final = 500
SECONDS: Final = 300
FEW_USERS: Final = 60

UNSHAKEN: Final = (*PATIENT, "--heartbeat", "20")
"""Three of these are more than any pause of a busy machine: no side takes the other for dead."""

COUNTERS: Final = {
    "sent": "messages_received",
    "bytes_sent": "bytes_received",
    "received": "messages_sent",
    "bytes_received": "bytes_sent",
}
"""Ours, and what the target calls the same."""
FIELDS: Final = {"sent": "messages_sent", "received": "messages_received"}
"""What a socket's record calls two of ours."""

GREETING: Final = {"roadmap": 20, "call": 1, "voice": 1}
"""The most messages that a server sends to a socket before anybody has asked: the history of a whole task."""
GREETING_BYTES: Final = 512
"""The most bytes of one of them."""

VERIFIED: Final = {
    "dialogue": "history-lost",
    "call": "relay-lost",
    "roadmap": "sequence-gap",
    "tasks": "sequence-gap",
}
"""What is looked for in each system, where messages can be lost and no socket shows it."""

BY_US, BY_TARGET = "1000 by client", "1000 by server"


@dataclass(frozen=True)
class Ledger:
    """A run's books and records."""

    books: Books
    records: list[ConnectionRecord]

    @classmethod
    def read(cls, done: Outcome) -> Ledger:
        """That of a run that has ended."""
        return cls(done.run.books(), list(done.run.connections()))

    def opened(self, system: str) -> list[ConnectionRecord]:
        """The sockets of a system that opened."""
        return [each for each in self.records if each.name == system and each.outcome == OPEN]


def of(samples: Iterable[Sample], figure: str, system: str, **labels: str) -> int:
    """One of the target's own figures about a system."""
    return int(total(list(samples), f"wsoak_target_{figure}", system=system, **labels))


def targets_ends(samples: Iterable[Sample], system: str) -> Counter[str]:
    """How the system's sockets ended, as the target saw it."""
    ends: Counter[str] = Counter()
    for sample in samples:
        if sample.name == "wsoak_target_closes_total" and sample.labels["system"] == system:
            ends[f"{sample.labels['code']} by {sample.labels['initiator']}"] += int(sample.value)
    return ends


def at_odds(ledger: Ledger, samples: list[Sample], system: str) -> list[str]:
    """Where the books of a run that has ended are not the target's; empty if they are."""
    books = ledger.books
    cancelled = books.count("cancelled", system)
    accepted = of(samples, "handshakes_total", system, result="accepted")
    asked = of(samples, "handshakes_total", system)
    opened, failed = books.count("opened", system), books.count("failed", system)
    # the target's figure less ours, and the most that the cancelled ones make of it
    apart = {"accepted": (accepted - opened, cancelled), "asked": (asked - opened - failed, cancelled)}
    for ours, targets in COUNTERS.items():
        most = 0 if "sent" in ours else (accepted - opened) * GREETING.get(system, 0)
        apart[ours] = (
            of(samples, f"{targets}_total", system) - books.count(ours, system),
            most * GREETING_BYTES if "bytes" in ours else most,
        )
    wrong = [
        f"{system}: {what}: the target has {more:+,} beside us, at most {most:,} may be"
        for what, (more, most) in apart.items()
        if not 0 <= more <= most
    ]
    return wrong + ends_at_odds(ledger, samples, system, accepted - opened)


def ends_at_odds(ledger: Ledger, samples: list[Sample], system: str, unopened: int) -> list[str]:
    """Where sockets ended otherwise than the target saw; ``unopened``: those that it accepted beside ours."""
    ours, theirs = Counter(map(ended_by, ledger.opened(system))), targets_ends(samples, system)
    crossed = theirs[BY_TARGET] - ours[BY_TARGET]
    if 0 < crossed <= most_crossed(ledger, system):
        ours[BY_TARGET] += crossed
        ours[BY_US] -= crossed
    more = theirs.copy()
    more.subtract(ours)
    if min(more.values(), default=0) >= 0 and more.total() == unopened:
        return []
    return [f"{system}: ends: ours {dict(ours)}, the target's {dict(theirs)}, {unopened} opened for it alone"]


def most_crossed(ledger: Ledger, system: str) -> int:
    """How many closes both sides may have begun: those of the run's end, or of a pause as long as a grace."""
    stood_still = (ledger.books.histogram("hub").max_ns or 0) > NS_PER_S
    return sum(
        each.ended_by_run or (stood_still and ended_by(each) == BY_US) for each in ledger.opened(system)
    )


def is_whole(target: Target, done: Outcome) -> None:
    """Assert that nothing of a run's was lost, by its own books and the target's."""
    eventually(lambda: not target.metric("wsoak_target_open_sockets"), "the target has seen all sockets end")
    samples, ledger = target.samples(), Ledger.read(done)
    books = ledger.books
    for system in SYSTEMS:
        assert at_odds(ledger, samples, system) == [], done.said
        assert of(samples, "sessions_open", system) == 0, system
        assert books.count("opened", system) == books.count("closed", system) > 0, system
        assert books.count("failed", system) == books.count("reply_timeouts", system) == 0, done.said
    for system, lost in VERIFIED.items():
        verified = books.observations[lost, system]
        assert verified.of > 0 == verified.count, (system, verified)
    for ours in COUNTERS:
        assert sum(getattr(each, FIELDS.get(ours, ours)) for each in ledger.records) == books.count(ours), (
            ours
        )
    assert findings(done.path) == []
    is_valid(done)


# ------------------------------------------------------------------------------------------- a small run


def everybody_was_served(books: Books) -> bool:
    """Whether all users are there, and have been answered, and some calls and roadmaps have ended.

    That is before the first dialogue does: none is being started when the run is asked to end.
    """
    each = FEW_USERS // len(SYSTEMS)
    there = all(books.count("opened", system) >= each for system in SYSTEMS)
    used = all(books.count("received", system) > 2 * each for system in SYSTEMS)
    return there and used and books.count("closed", "call") > 0 < books.count("closed", "roadmap")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Target, Outcome]]:
    """A run that ends when each system has been used."""
    with running("--accounts", str(2 * FEW_USERS)) as target:
        users = ("-u", str(FEW_USERS), "-r", str(FEW_USERS), *UNSHAKEN)
        arguments = (*USER_CLASSES.values(), "--host", target.url, *users)
        path = tmp_path_factory.mktemp("mixed") / "run"
        yield target, load_until(everybody_was_served, "each system was used", path, *arguments)


def test_the_books_of_five_systems_in_one_run_are_the_targets(small: tuple[Target, Outcome]) -> None:
    is_whole(*small)


def test_what_the_target_did_not_count_would_be_noticed(small: tuple[Target, Outcome]) -> None:
    target, done = small
    samples, ledger = target.samples(), Ledger.read(done)
    for system, figure in product(SYSTEMS, ("handshakes", "closes", *COUNTERS.values())):
        missing = (f"wsoak_target_{figure}_total", system)
        left = [each for each in samples if (each.name, each.labels.get("system")) != missing]
        assert at_odds(ledger, left, system) != [], missing


# --------------------------------------------------------------------------------------------- a long run


def most_open(books: Books) -> float:
    """The most sockets that were open at the end of a second."""
    changes = [
        sum(value(row, "opened") - value(row, "closed") for row in books.seconds[second].values())
        for second in sorted(books.seconds)
    ]
    return max(accumulate(changes))


def loaded(target: Target, path: Path, users: int, seconds: int) -> Outcome:
    """A run of so many users, and so many seconds."""
    load = ("-u", str(users), "-r", str(users / 10), "-t", f"{seconds}s", *UNSHAKEN)
    with loading(path, *USER_CLASSES.values(), "--host", target.url, *load) as started:
        return started.wait(seconds + 2 * PATIENCE_S)


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 600)
def test_500_users_of_five_systems_lose_nothing_in_five_minutes(tmp_path: Path) -> None:
    with running("--accounts", str(2 * USERS)) as target:
        done = loaded(target, tmp_path / "run", USERS, SECONDS)
        books = done.run.books()
        for system in SYSTEMS:
            print(system, {ours: books.count(ours, system) for ours in ("opened", "cancelled", *COUNTERS)})
        is_whole(target, done)
        assert most_open(books) >= 0.9 * USERS
        assert len(books.seconds) >= SECONDS
