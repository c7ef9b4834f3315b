"""Mass drops are those that users did not ask for, and one log of attempts is enough to tell of them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.judge import booked
from tests.judge.booked import START_S, broken, closed, failed, healthy
from wsoak.judge.drops import AttemptLog, MassDrop, ended_by_others, mass_drops, sentences, way
from wsoak.ledger.outcomes import DROPPED
from wsoak.ledger.records import ConnectionRecord

INSTANT: dict[str, Any] = {"tcp_ms": 0.0, "upgrade_ms": 0.0}
USERS = 40


def dropped(opened_s: float, ended_s: float, **fields: Any) -> ConnectionRecord:
    """A socket that the run's shape closed."""
    wanted: dict[str, Any] = {"code": 1001, "reason": DROPPED, "age_s": ended_s - opened_s, **INSTANT}
    return healthy(opened_s, **wanted | fields)


def held(opened_s: float, ended_s: float = 30.0, **fields: Any) -> ConnectionRecord:
    """A socket that the run's end closed."""
    return healthy(opened_s, age_s=ended_s - opened_s, **INSTANT, **fields)


def told(records: list[ConnectionRecord]) -> list[MassDrop]:
    """The mass drops of a run of these."""
    log = AttemptLog()
    for record in records:
        log.take_connection(record)
    return mass_drops(log.attempts(), booked.books(records, gauges=[("users", float(USERS))]))


ENDS: list[tuple[str, ConnectionRecord, bool]] = [
    ("reset", broken("reset"), True),
    ("eof", broken("eof"), True),
    ("the server, 1012", closed(1012), True),
    ("the server, no code", closed(None), True),
    ("the server, after its work", closed(1000), False),
    ("the shape", dropped(0.0, 5.0), True),
    ("the shape, and the server did not answer", dropped(0.0, 5.0, code=1006, detail="close-timeout"), True),
    ("the shape, and the server answered 1000", dropped(0.0, 5.0, code=1000), True),
    ("the user", healthy(code=1001, reason="bye"), False),
    ("the user, without a reason", healthy(code=1001, reason=""), False),
    ("the run", held(0.0), False),
    ("a server with the shape's words", closed(1000, reason=DROPPED), False),
    ("nobody: it never opened", failed("rejected-503"), False),
    ("nobody: it is open still", healthy(age_s=None, reason=DROPPED), False),
]


@pytest.mark.parametrize(("record", "by_others"), [end[1:] for end in ENDS], ids=[end[0] for end in ENDS])
def test_who_ended_a_socket_says_whether_its_user_lost_it(record: ConnectionRecord, by_others: bool) -> None:
    assert ended_by_others(record) is by_others


def test_a_storm_of_the_shape_is_a_drop_with_a_recovery() -> None:
    before = [dropped(0.01 * n, 10.0 + 0.0001 * n) for n in range(USERS)]
    rejected = [failed("rejected-503", at_s=10.5 + 0.001 * n, attempt=1) for n in range(USERS)]
    back = [held(11.0 + 0.02 * n, attempt=2) for n in range(USERS)]

    (drop,) = told([*before, *rejected, *back, failed("refused", "tcp", at_s=11.1, attempt=1)])

    assert (drop.dropped, drop.open_before) == (USERS, USERS)
    assert drop.at == pytest.approx(START_S + 10.0)
    assert drop.ways == {"1001 dropped by the shape": USERS}
    # the 38th of 40
    assert drop.recovered_s == pytest.approx(1.0 + 0.02 * 37, abs=1e-5)
    assert (drop.attempts, drop.rejected, drop.failed) == (USERS + 38 + 1, USERS, 1)
    assert drop.exact


def test_users_that_a_storm_drives_away_are_said_never_to_be_back() -> None:
    drops = told([dropped(0.0, 10.0) for _ in range(USERS)] + [held(0.0)])

    assert [drop.recovered_s for drop in drops] == [None]
    (sentence,) = sentences(drops, START_S)
    assert sentence == (
        "At 10.000 s, 40 of 41 open sockets (97.6 %) ended within 0 µs: 40 × 1001 dropped by the shape. "
        "95 % as many were never open again in this run: 1 at best. Nobody reconnected."
    )


def test_what_users_close_themselves_at_once_is_no_drop() -> None:
    assert told([healthy(0.0, code=1001, reason="bye", age_s=10.0) for _ in range(USERS)]) == []


def test_a_name_that_is_dropped_alone_is_told_alone() -> None:
    many = [held(0.0, name="many") for _ in range(20 * USERS)]

    (drop,) = told([*many, *[dropped(0.0, 10.0, name="few") for _ in range(USERS)]])

    assert (drop.name, drop.open_before) == ("few", USERS)


def test_a_record_without_a_time_is_left_out() -> None:
    nowhere = dropped(0.0, 10.0)._replace(started_at=math.nan)

    (drop,) = told([dropped(0.0, 10.0) for _ in range(USERS)])
    log = AttemptLog()
    log.take_connection(nowhere)

    assert not len(log.attempts().names)
    assert drop.dropped == USERS


def test_a_run_without_attempts_has_no_drops() -> None:
    assert told([]) == []


@pytest.mark.parametrize(
    ("code", "detail", "by", "words"),
    [
        (1012, "", "by server", "1012 by server"),
        (1006, "reset", "by network", "1006 reset by network"),
        (None, "", "by server", "no code by server"),
        (1001, "", DROPPED, "1001 dropped by the shape"),
        (1006, "close-timeout", DROPPED, "1006 close-timeout dropped by the shape"),
    ],
)
def test_how_a_socket_ended_is_said_in_few_words(code: int | None, detail: str, by: str, words: str) -> None:
    assert way(code, detail, by) == words
