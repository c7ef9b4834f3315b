"""The evidence of a scenario's own gauges: how its sessions on the server climbed."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.judge.booked import START_S, books
from wsoak.judge.evidence import gauge_sentences
from wsoak.judge.findings import find
from wsoak.ledger.books import Books
from wsoak.ledger.records import Gauge

STALE = "sessions-not-released"


def read(
    into: Books, name: str, values: Iterable[float], source: str = "scenario", worker: str = "0"
) -> None:
    """Add readings of a gauge, a second apart."""
    for second, value in enumerate(values):
        into.add_gauge(Gauge(START_S + second, worker, source, name, value))


def test_a_gauge_tells_how_sessions_climbed_beside_the_users() -> None:
    made = books(observed=[(STALE, 8, 40)], gauges=[("users", 20)], name="call")
    read(made, "open_calls", [0, 20, 57, 41])
    (finding,) = find(made, START_S)
    assert finding.evidence[0].startswith("8 of 40 looked at")
    assert finding.evidence[-1] == (
        "Gauge open_calls: 0 at the least, 57 at the most, 41 at the last of 4 readings, "
        "with 20 users at the most."
    )


def test_workers_read_one_server_and_their_readings_do_not_add_up() -> None:
    made = books()
    read(made, "open_calls", [3, 9])
    read(made, "open_calls", [4, 10], worker="1")
    (sentence,) = gauge_sentences("open_", made)
    assert sentence == "Gauge open_calls: 3 at the least, 10 at the most, 10 at the last of 4 readings."


@pytest.mark.parametrize(
    ("name", "source"), [("calls", "scenario"), ("open_sockets", "generator"), ("open_sockets", "target")]
)
def test_other_gauges_say_nothing_of_it(name: str, source: str) -> None:
    made = books(observed=[(STALE, 1, 2)])
    read(made, name, [1.0, 2.0], source)
    (finding,) = find(made, START_S)
    assert not any("Gauge" in sentence for sentence in finding.evidence)


def test_a_single_reading_tells_of_no_climb() -> None:
    made = books()
    read(made, "open_calls", [7.0])
    assert gauge_sentences("open_", made) == ()


def test_other_findings_are_not_told_by_it() -> None:
    made = books(observed=[("relay-lost", 1, 2)])
    read(made, "open_calls", [1.0, 2.0])
    (finding,) = find(made, START_S)
    assert not any("Gauge" in sentence for sentence in finding.evidence)
