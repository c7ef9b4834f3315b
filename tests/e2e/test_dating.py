"""A fault that comes and goes during a run is found with the times of both.

One run of two systems. Two faults at a time are switched on, until both are found, and off again, until both
systems work again; the run's dates are compared with those of the switches, by the same clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.processes import ENDLESS, Load, Outcome, eventually, findings, loading
from tests.target.client import Target, running
from wsoak.judge.findings import find
from wsoak.ledger.books import Books
from wsoak.ledger.outcomes import RESET, TIMEOUT_UPGRADE
from wsoak.ledger.records import ConnectionRecord
from wsoak.ledger.timeline import value
from wsoak.ledger.units import ns_to_s

USERS: Final = 24
STAY_S: Final = 2.5
"""How long each fault stays, at least."""
WITHIN_S: Final = 2.0
"""How far a date may be off that no connection has: not every message meets the fault."""
LOST_EACH: Final = 5
"""Each so many-th message is lost, while messages are."""
CLOCKS_S: Final = 0.1
"""What the dates of two processes may differ by: they are rounded."""


@dataclass(frozen=True, slots=True)
class Spell:
    """A fault's stay, and what must be found, on which socket.

    One without a ``fault`` is a moment: the drop of all sockets of ``system`` with a close frame of 1012.

    Attributes:
        met: tells a connection that met it from others of its system; ``None``: none shows it.
    """

    finding: str
    system: str
    met: Callable[[ConnectionRecord], bool] | None = None
    fault: tuple[str, str] = ("", "")
    params: tuple[tuple[str, Any], ...] = ()


ECHO_ONLY: Final = ("only", "echo")
PHASES: Final = (
    (
        Spell(
            *("upgrade-refused", "echo", lambda record: record.outcome == "rejected-403"),
            *(("server", "reject"), (("status", 403), ECHO_ONLY)),
        ),
        Spell(
            *("closed-policy-silent", "dialogue", lambda record: record.received_code == 1008),
            ("dialogue", "datetime-crash"),
        ),
    ),
    (
        Spell(
            *("upgrade-slow", "echo", lambda record: record.outcome == TIMEOUT_UPGRADE),
            # far beyond the time-out: however busy the machine, no other handshake takes as long
            *(("server", "slow-upgrade"), (("delay_s", 12), ECHO_ONLY)),
        ),
        Spell("history-lost", "dialogue", None, ("dialogue", "lost-history"), (("share", 1 / LOST_EACH),)),
    ),
    (
        Spell(
            *("upgrade-reset", "echo", lambda record: record.outcome == RESET),
            *(("server", "reset-in-upgrade"), (ECHO_ONLY,)),
        ),
        Spell("server-restart", "dialogue", lambda record: record.received_code == 1012),
    ),
)
HANDSHAKE_TIMEOUT: Final = ("--handshake-timeout", "5")
SPELLS: Final = tuple(spell for phase in PHASES for spell in phase)
SYSTEMS: Final = sorted({spell.system for spell in SPELLS})


@dataclass(frozen=True, slots=True)
class Dated:
    """The run, and when each fault really came and went: Unix seconds by finding."""

    done: Outcome
    times: dict[str, tuple[float, float]]
    found: list[dict[str, Any]]


def switch_on(spell: Spell, target: Target) -> float:
    """Let it come; the Unix seconds before which it was not there."""
    if spell.fault[0]:
        begun = time.time()
        target.switch(*spell.fault, **dict(spell.params))
        return begun
    begun = float("nan")

    def drop() -> bool:
        nonlocal begun
        begun = time.time()
        status, answer = target.http("POST", "/drop", {"how": "close", "code": 1012, "system": spell.system})
        assert status == 200, answer
        return bool(answer["sockets"])

    eventually(drop, f"there were sockets of {spell.system} to drop")
    return begun


def switch_off(spell: Spell, target: Target) -> float:
    """Let it go; the Unix seconds from which on it was not there any more."""
    if spell.fault[0]:
        target.switch(*spell.fault, on=False)
    return time.time()


def usable_after(books: Books, at_s: float) -> set[str]:
    """The systems with a socket that became usable after a second."""
    return {
        name
        for second, rows in books.seconds.items()
        if second > at_s
        for name, row in rows.items()
        if value(row, "usable")
    }


def conduct(started: Load, target: Target, times: dict[str, tuple[float, float]]) -> None:
    """Switch the faults of each phase on and off, by what the run has seen of them."""

    def all_work_since(at_s: float) -> None:
        started.wait_for(
            lambda books: usable_after(books, at_s) >= set(SYSTEMS), "new sockets of all systems were in use"
        )

    all_work_since(0.0)
    started_at = float(started.so_far().run.header["started_at"])
    for phase in PHASES:
        came = {spell.finding: switch_on(spell, target) for spell in phase}

        def is_met(books: Books, came: dict[str, float] = came) -> bool:
            met = {finding.id for finding in find(books, started_at)}
            return met >= came.keys() and time.time() > max(came.values()) + STAY_S

        started.wait_for(is_met, f"{' and '.join(came)} could be found")
        went = {spell.finding: switch_off(spell, target) for spell in phase}
        times.update({finding: (came[finding], went[finding]) for finding in came})
        all_work_since(max(went.values()))


@pytest.fixture(scope="module")
def dated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dated]:
    """A run during which every fault came and went."""
    path: Path = tmp_path_factory.mktemp("dating") / "run"
    rates = ("-u", str(USERS), "-r", str(USERS), "--message-rate", "20", "--reply-timeout", "60")
    times: dict[str, tuple[float, float]] = {}
    with (
        running("--accounts", str(USERS)) as target,
        loading(
            path,
            *("-f", "tests/e2e/locustfile_dating.py", "--host", target.url),
            *(*rates, *HANDSHAKE_TIMEOUT, *ENDLESS),
        ) as started,
    ):
        conduct(started, target, times)
        done = started.end()
    yield Dated(done, times, findings(path))


def test_each_fault_is_found_and_nothing_else_is(dated: Dated) -> None:
    found = sorted((finding["id"], finding["system"]) for finding in dated.found)
    assert found == sorted((spell.finding, spell.system) for spell in SPELLS), dated.done.said


@pytest.mark.parametrize("spell", SPELLS, ids=[spell.finding for spell in SPELLS])
def test_its_coming_and_going_are_dated(dated: Dated, spell: Spell) -> None:
    (found,) = [finding for finding in dated.found if finding["id"] == spell.finding]
    started_at = dated.done.run.header["started_at"]
    came_s, went_s = (at - started_at for at in dated.times[spell.finding])
    first_s, last_s = found["first_seen_s"], found["last_seen_s"]
    # a handshake that a busy machine held up for as long can have begun before
    assert came_s - CLOCKS_S - longest_s(dated) <= first_s <= last_s, (came_s, went_s, found)
    if spell.met is None:
        near_s, held_up_s = max(WITHIN_S, waited_s(dated, spell)), CLOCKS_S + longest_s(dated)
        # each by the answer to a message that was lost, which was sent while the fault was there
        assert came_s - CLOCKS_S <= first_s <= came_s + near_s + held_up_s, (came_s, went_s, found)
        assert went_s - near_s - held_up_s <= last_s <= went_s + held_up_s, (came_s, went_s, found)
        return
    records = [record for record in dated.done.run.connections() if record.name == spell.system]
    met = [record for record in records if spell.met(record)]
    # the first and the last that met it, and each of them began before it went
    assert first_s == pytest.approx(min(record.ended_at for record in met) - started_at, abs=CLOCKS_S)
    assert last_s == pytest.approx(max(record.ended_at for record in met) - started_at, abs=CLOCKS_S)
    assert max(record.started_at for record in met) - started_at <= went_s + CLOCKS_S, (came_s, went_s, found)


def waited_s(dated: Dated, spell: Spell) -> float:
    """How long it was until one of the messages had to be lost, after the fault came or before it went.

    In whole seconds, by the answers that came in them: of ``LOST_EACH`` one is to a message that was lost.
    A few are to messages from before, at most one a user.
    """
    came_s, went_s = dated.times[spell.finding]
    answers = {
        second: value(rows[spell.system], "replies")
        for second, rows in dated.done.run.books().seconds.items()
        if spell.system in rows
    }
    after = [second for second in sorted(answers) if second >= came_s]
    before = [second for second in sorted(answers, reverse=True) if second + 1 <= went_s]
    return max(
        next(
            (
                abs(second + 0.5 - at_s) + 0.5
                for second, so_far in zip(seconds, accumulate(answers[each] for each in seconds), strict=True)
                if so_far >= LOST_EACH + USERS
            ),
            # so slow a machine that none of them had to be
            inf,
        )
        for at_s, seconds in ((came_s, after), (went_s, before))
    )


def longest_s(dated: Dated) -> float:
    """The longest that an answer, or a turn of the generator's event loop, was held up by a busy machine."""
    books = dated.done.run.books()
    return max(ns_to_s(books.histogram(kind).max_ns or 0) for kind in ("response", "hub"))


def test_the_run_recovers_from_all_of_them(dated: Dated) -> None:
    last_s = max(went for _, went in dated.times.values())
    assert usable_after(dated.done.run.books(), last_s) >= set(SYSTEMS)
