"""Live: the line, letter by letter, and the window that it looks through."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.ledger.samples import connection
from wsoak.ledger.books import Books
from wsoak.ledger.delta import Delta
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.timeline import COUNTERS
from wsoak.ledger.units import NS_PER_MS
from wsoak.load.live import WINDOW_S, Window, line

START: Final = 1_700_000_000


def row(**counters: float) -> tuple[float, ...]:
    return tuple(counters.pop(name, 0) for name in COUNTERS)


def delta(second: int = 0, response_ms: tuple[float, ...] = (), **counters: float) -> Delta:
    """What one second brought, with the hub lag that every second brings."""
    made = Delta("local", second)
    if counters:
        made.timeline[START + second, "echo"] = row(**counters)
    made.latency[START + second, "hub", "local"] = Histogram.of([1000])
    if response_ms:
        made.latency[START + second, "response", "echo"] = Histogram.of(
            round(ms * NS_PER_MS) for ms in response_ms
        )
    return made


def shown(elapsed_s: float, users: int, *deltas: Delta) -> str:
    books, window = Books(), Window()
    for each in deltas:
        books.add(each)
        window.add(each)
    return line(elapsed_s, users, books, window)


def ended(second: int, *records: dict[str, Any]) -> Delta:
    made = delta(second, closed=sum(record.get("outcome", "open") == "open" for record in records))
    made.connections = [connection(**record) for record in records]
    return made


REFUSED: Final = {"outcome": "rejected-503", "code": None, "initiator": None, "usable": False}


@pytest.mark.parametrize(
    ("elapsed_s", "users", "deltas", "expected"),
    [
        (0.0, 0, [], "0:00 | 0 users, 0 open | handshakes – | usable – | 0 msg/s | p99 – | closes none"),
        (
            20.9,
            200,
            [delta(0, opened=200, usable=200), delta(1, (3.2,) * 100, sent=500, received=500), delta(2)],
            "0:20 | 200 users, 200 open | handshakes 100.0 % of 200 | usable 100.0 % of 200 | 500 msg/s | "
            "p99 3.2 ms | closes none",
        ),
        (
            3_600.0,
            10_000,
            [delta(0, opened=9_996, failed=4, usable=9_996), ended(1, *[REFUSED] * 4)],
            # 99.96 % is not 100 %
            "60:00 | 10,000 users, 9,996 open | handshakes 99.9 % of 10,000 | usable 99.9 % of 10,000 | "
            "0 msg/s | p99 – | closes none",
        ),
        (
            61.0,
            4,
            [
                delta(0, opened=8, cancelled=3, generator_failed=2),
                ended(
                    1,
                    *[{"code": 1008, "initiator": "server", "usable": False}] * 2,
                    *[{"code": 1006, "initiator": "network", "usable": False}] * 1,
                    *[{"code": 1000, "initiator": "client", "usable": None}] * 3,
                    *[{"code": 1001, "initiator": "server", "usable": False}] * 1,
                ),
            ],
            "1:01 | 4 users, 1 open | handshakes 100.0 % of 8 | usable 0.0 % of 4 | 0 msg/s | p99 – | "
            "closes 3 × 1000 by client, 2 × 1008 by server, 1 × 1006 by network and 1 kinds more",
        ),
    ],
)
def test_the_line_is_this_one(elapsed_s: float, users: int, deltas: list[Delta], expected: str) -> None:
    assert shown(elapsed_s, users, *deltas) == expected


def test_the_rate_is_the_mean_of_the_last_whole_seconds() -> None:
    window = Window()
    for second in range(30):
        window.add(delta(second, sent=second))
        window.add(delta(second, received=second))
    newest = 29
    whole = range(newest - WINDOW_S + 1, newest)
    assert window.messages_per_s == 2 * sum(whole) / len(whole)


def test_seconds_without_a_message_count_in_the_rate() -> None:
    window = Window()
    window.add(delta(0, sent=900))
    for second in range(1, 10):
        window.add(delta(second))
    assert window.messages_per_s == 100


def test_a_server_that_stalls_is_seen_to_stall() -> None:
    window = Window()
    window.add(delta(0, (5.0,), sent=1000))
    for second in range(1, WINDOW_S + 2):
        window.add(delta(second))
    assert window.messages_per_s == 0
    assert window.p99_ms is None


def test_the_percentile_is_that_of_the_window_only() -> None:
    window = Window()
    window.add(delta(0, (9_000.0,), sent=1))
    assert window.p99_ms == pytest.approx(9_000, rel=0.001)
    for second in range(1, WINDOW_S + 1):
        window.add(delta(second, (2.0,), sent=1))
    assert window.p99_ms == pytest.approx(2, rel=0.001)


def test_the_window_holds_no_more_than_it_shows() -> None:
    window = Window()
    for second in range(1000):
        window.add(delta(second, (2.0,), sent=1))
    assert len(window._messages) == len(window._response) == WINDOW_S


def test_an_empty_delta_changes_nothing() -> None:
    window = Window()
    window.add(Delta("local", 0))
    assert (window.messages_per_s, window.p99_ms) == (0.0, None)
