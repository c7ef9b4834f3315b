"""A fault that comes and goes during a run is found with the times of both.

One run of two systems; each fault is switched on and off again while it goes, by this process's clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.processes import Load, Outcome, findings, loading
from tests.target.client import Target, running
from wsoak.ledger.timeline import value

RUN_S: Final = 22
USERS: Final = 24
WITHIN_S: Final = 2.0
"""How far a date may be off: users that wait do not meet a fault at once."""


@dataclass(frozen=True, slots=True)
class Spell:
    """A fault's stay: from when until when, in seconds of the run, and what must be found, on which socket.

    One without an end is a moment: the drop of all sockets of ``system`` with a close frame of 1012.
    """

    finding: str
    system: str
    on_s: float
    off_s: float | None = None
    fault: tuple[str, str] = ("", "")
    params: tuple[tuple[str, Any], ...] = ()


SPELLS: Final = (
    Spell("upgrade-refused", "echo", 4, 7, ("server", "reject"), (("status", 403), ("only", "echo"))),
    Spell("closed-policy-silent", "dialogue", 5, 9, ("dialogue", "datetime-crash")),
    Spell("upgrade-slow", "echo", 10, 12, ("server", "slow-upgrade"), (("delay_s", 5), ("only", "echo"))),
    Spell("history-lost", "dialogue", 12, 15, ("dialogue", "lost-history"), (("share", 0.2),)),
    Spell("upgrade-reset", "echo", 15, 18, ("server", "reset-in-upgrade"), (("only", "echo"),)),
    Spell("server-restart", "dialogue", 18.5),
)


@dataclass(frozen=True, slots=True)
class Dated:
    """The run, and when each fault really came and went: Unix seconds by finding."""

    done: Outcome
    times: dict[str, tuple[float, float]]
    found: list[dict[str, Any]]


def steps(target: Target, times: dict[str, tuple[float, float]]) -> list[tuple[float, Callable[[], None]]]:
    """What is done at which second of the run, in this order."""

    def on(spell: Spell) -> None:
        times[spell.finding] = (time.time(), float("nan"))
        target.switch(*spell.fault, **dict(spell.params))

    def off(spell: Spell) -> None:
        target.switch(*spell.fault, on=False)
        times[spell.finding] = (times[spell.finding][0], time.time())

    def drop(spell: Spell) -> None:
        begun = time.time()
        status, answer = target.http("POST", "/drop", {"how": "close", "code": 1012, "system": spell.system})
        assert status == 200, answer
        assert answer["sockets"] > 0
        times[spell.finding] = (begun, time.time())

    done: list[tuple[float, Callable[[], None]]] = []
    for spell in SPELLS:
        if spell.off_s is None:
            done.append((spell.on_s, lambda of=spell: drop(of)))  # type: ignore[misc]
        else:
            done.append((spell.on_s, lambda of=spell: on(of)))  # type: ignore[misc]
            done.append((spell.off_s, lambda of=spell: off(of)))  # type: ignore[misc]
    return sorted(done, key=lambda step: step[0])


def conduct(started: Load, target: Target, times: dict[str, tuple[float, float]]) -> None:
    """Do each step when the run's own clock says so."""
    started.wait_for(lambda books: books.count("opened") > 0, "the run had begun")
    started_at = float(started.so_far().run.header["started_at"])
    for at_s, step in steps(target, times):
        time.sleep(max(0.0, started_at + at_s - time.time()))
        step()


@pytest.fixture(scope="module")
def dated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dated]:
    """A run during which every fault came and went."""
    path: Path = tmp_path_factory.mktemp("dating") / "run"
    rates = ("-u", str(USERS), "-r", str(USERS), "-t", f"{RUN_S}s", "--message-rate", "20")
    times: dict[str, tuple[float, float]] = {}
    with (
        running("--accounts", str(USERS)) as target,
        loading(
            path,
            *("-f", "tests/e2e/locustfile_dating.py", "--host", target.url),
            *(*rates, "--handshake-timeout", "1"),
        ) as started,
    ):
        conduct(started, target, times)
        done = started.wait()
    yield Dated(done, times, findings(path))


def test_each_fault_is_found_and_nothing_else_is(dated: Dated) -> None:
    found = sorted((finding["id"], finding["system"]) for finding in dated.found)
    assert found == sorted((spell.finding, spell.system) for spell in SPELLS), dated.done.said


@pytest.mark.parametrize("spell", SPELLS, ids=[spell.finding for spell in SPELLS])
def test_its_coming_and_going_are_dated(dated: Dated, spell: Spell) -> None:
    (found,) = [finding for finding in dated.found if finding["id"] == spell.finding]
    started_at = dated.done.run.header["started_at"]
    came_s, went_s = (at - started_at for at in dated.times[spell.finding])
    assert came_s - 0.1 <= found["first_seen_s"] <= came_s + WITHIN_S, (came_s, went_s, found)
    assert went_s - WITHIN_S <= found["last_seen_s"] <= went_s + WITHIN_S, (came_s, went_s, found)


def test_the_run_recovers_from_all_of_them(dated: Dated) -> None:
    books = dated.done.run.books()
    last_s = int(max(went for _, went in dated.times.values())) + 1
    opened_after = {
        name
        for second, rows in books.seconds.items()
        if second > last_s
        for name, row in rows.items()
        if value(row, "usable")
    }
    assert {spell.system for spell in SPELLS} <= opened_after
