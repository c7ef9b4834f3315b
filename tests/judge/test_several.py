"""Several addresses: which ones a host's sockets left out, and what is said of it."""

from __future__ import annotations

import pytest

from tests.judge.booked import START_S, failed, healthy
from wsoak.judge.several import left_out
from wsoak.judge.validity import doubts
from wsoak.ledger.books import Books
from wsoak.ledger.names import DNS, GONE, TAKES, TAKES_NONE
from wsoak.ledger.records import Gauge

ONE, TWO, THREE, SIX = "127.0.0.2", "127.0.0.3", "127.0.0.4", "fd00::1"
TURNS = "Do not take this for a test of all"
LISTENS = "Look at whether something listens there"


def books(states: dict[str, float], sockets: dict[str, int], worker: str = "0") -> Books:
    """Books of a host whose addresses became these, and of so many sockets to each."""
    made = Books()
    for address, state in states.items():
        made.add_gauge(Gauge(START_S, worker, DNS, f"node.test {address}", TAKES))
        made.add_gauge(Gauge(START_S + 1.0, worker, DNS, f"node.test {address}", state))
    for address, count in sockets.items():
        for _ in range(count):
            made.add_connection(healthy(address=address))
    return made


@pytest.mark.parametrize(
    ("states", "sockets", "sentence", "advice"),
    [
        (
            {ONE: TAKES, TWO: TAKES},
            {ONE: 10},
            "All 10 sockets to node.test went to 127.0.0.2, one of its 2 addresses.",
            TURNS,
        ),
        (
            {ONE: TAKES_NONE, TWO: TAKES},
            {TWO: 10},
            "All 10 sockets to node.test went to 127.0.0.3, one of its 2 addresses; 127.0.0.2 took no "
            "connection.",
            LISTENS,
        ),
        (
            {ONE: TAKES, TWO: TAKES, THREE: TAKES_NONE},
            {ONE: 5, TWO: 5},
            "No socket to node.test went to 1 of its 3 addresses: 127.0.0.4; these took no connection.",
            LISTENS,
        ),
    ],
)
def test_an_address_that_was_left_out_is_named(
    states: dict[str, float], sockets: dict[str, int], sentence: str, advice: str
) -> None:
    made = books(states, sockets)
    ((said, do),) = left_out(made)
    assert said == sentence
    assert do.startswith(advice)
    (doubt,) = (doubt for doubt in doubts(made, {"ended_at": START_S + 9.0}) if doubt.reason == sentence)
    assert (doubt.id, doubt.invalid) == ("address-left-out", False)


@pytest.mark.parametrize(
    ("states", "sockets"),
    [
        ({ONE: TAKES}, {ONE: 10}),
        ({ONE: TAKES, TWO: TAKES}, {ONE: 5, TWO: 5}),
        # one socket has one address
        ({ONE: TAKES, TWO: TAKES}, {ONE: 1}),
        ({ONE: TAKES, TWO: TAKES}, {}),
        # the record has moved
        ({ONE: GONE, TWO: TAKES}, {TWO: 10}),
        # the same machine under an address of the other family
        ({SIX: TAKES_NONE, ONE: TAKES}, {ONE: 10}),
        # a run of a wsoak that kept no addresses
        ({}, {"": 10}),
    ],
)
def test_nothing_is_said_where_nothing_was_left_out(
    states: dict[str, float], sockets: dict[str, int]
) -> None:
    assert list(left_out(books(states, sockets))) == []


def test_what_one_worker_left_out_another_may_have_used() -> None:
    made = books({ONE: TAKES, TWO: TAKES}, {ONE: 5}, "0")
    other = books({ONE: TAKES, TWO: TAKES}, {TWO: 5}, "1")
    made.merge(other)
    assert made.addresses == {ONE: 5, TWO: 5}
    assert list(left_out(made)) == []


def test_a_failed_attempt_is_no_use_of_an_address() -> None:
    made = books({ONE: TAKES, TWO: TAKES}, {ONE: 5})
    made.add_connection(failed("refused", "tcp", address=TWO))
    assert len(list(left_out(made))) == 1
