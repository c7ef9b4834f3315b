"""Equal ages, equal silences, and equal moments are told apart."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.judge.booked import START_S, books, broken, closed
from wsoak.judge.findings import Finding, find
from wsoak.ledger.books import Books
from wsoak.ledger.records import ConnectionRecord

Make = Callable[..., ConnectionRecord]


def ids(records: list[ConnectionRecord]) -> list[str]:
    return [finding.id for finding in find(books(records), START_S)]


def only(records: list[ConnectionRecord]) -> Finding:
    (finding,) = find(books(records), START_S)
    return finding


def eof(**fields: Any) -> ConnectionRecord:
    return broken("eof", **fields)


def reset(**fields: Any) -> ConnectionRecord:
    return broken("reset", **fields)


def gone(**fields: Any) -> ConnectionRecord:
    return closed(1001, **fields)


def numbered(records: Iterator[ConnectionRecord]) -> list[ConnectionRecord]:
    return [record._replace(id=f"0.{n}") for n, record in enumerate(records)]


def capped(
    make: Make,
    *,
    users: int,
    over_s: float,
    cap_s: float,
    run_s: float,
    jitter: float = 0.0,
    wait_s: float = 0.5,
) -> list[ConnectionRecord]:
    """Busy users that open over ``over_s``, are cut at ``cap_s`` and come back, until ``run_s``."""
    source = random.Random(7)

    def lives() -> Iterator[ConnectionRecord]:
        for user in range(users):
            at_s, attempt = over_s * user / users, 0
            while (age_s := cap_s * (1 + jitter * source.random())) + at_s < run_s:
                idle_s = source.uniform(0.0, 0.25)
                fields = {"messages_received": int(4 * age_s) - (idle_s > 0.1), "attempt": attempt}
                yield make(at_s=at_s, age_s=age_s + source.gauss(0, 0.004), idle_s=idle_s, **fields)
                at_s, attempt = at_s + age_s + source.uniform(0.0, wait_s), attempt + 1

    return numbered(lives())


def restarted(
    make: Make, *, users: int, over_s: float, at: list[float], takes_s: float = 0.05, wait_s: float = 0.5
) -> list[ConnectionRecord]:
    """Users that open over ``over_s``, all of whom the server ends at each of these moments."""
    source = random.Random(7)

    def lives() -> Iterator[ConnectionRecord]:
        for user in range(users):
            opened_s = over_s * user / users
            for moment in at:
                ended_s = moment + source.uniform(0.0, takes_s)
                fields = {"idle_s": source.uniform(0.0, 0.25), "messages_received": source.randrange(9, 99)}
                yield make(at_s=opened_s, age_s=ended_s - opened_s, **fields)
                opened_s = ended_s + source.uniform(0.0, wait_s)

    return numbered(lives())


CUTS: dict[str, Make] = {"eof": eof, "reset": reset, "1001": gone}


@pytest.mark.parametrize("make", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize(
    "course",
    [
        {"users": 10, "over_s": 5.0, "cap_s": 6.0, "run_s": 20.0},
        {"users": 10, "over_s": 0.02, "cap_s": 6.0, "run_s": 20.0},
        {"users": 10, "over_s": 2.0, "cap_s": 3.0, "run_s": 10.0},
        {"users": 500, "over_s": 30.0, "cap_s": 60.0, "run_s": 300.0},
        {"users": 200, "over_s": 60.0, "cap_s": 60.0, "run_s": 90.0, "jitter": 0.1},
    ],
    ids=["over 5 s", "all at once, then with back-off", "short", "many", "spread on purpose"],
)
def test_sockets_cut_at_one_age_met_a_cap(make: Make, course: dict[str, Any]) -> None:
    finding = only(capped(make, **course))

    assert finding.id == "lifetime-cap"
    assert any("opened at moments up to" in sentence for sentence in finding.evidence)


@pytest.mark.parametrize(("make", "expected"), [(gone, "server-restart"), (eof, "server-crash")])
@pytest.mark.parametrize(
    "course",
    [
        {"users": 100, "over_s": 10.0, "at": [30.0]},
        {"users": 100, "over_s": 10.0, "at": [200.0]},
        {"users": 20, "over_s": 0.3, "at": [30.0]},
        {"users": 100, "over_s": 10.0, "at": [30.0], "takes_s": 2.0},
        {"users": 50, "over_s": 1.0, "at": [10.0, 20.0, 30.0, 40.0]},
        {"users": 10, "over_s": 0.02, "at": [30.0]},
    ],
    ids=["spread", "old", "opened quickly", "slow", "each ten seconds", "together"],
)
def test_sockets_ended_at_one_moment_met_no_cap(make: Make, expected: str, course: dict[str, Any]) -> None:
    assert ids(restarted(make, **course)) == [expected]


def test_of_sockets_that_opened_together_it_is_said_that_nothing_can_be_told() -> None:
    together = only(restarted(eof, users=10, over_s=0.02, at=[30.0], takes_s=0.01))
    apart = only(restarted(eof, users=50, over_s=10.0, at=[30.0]))

    assert [s for s in together.evidence if "a cap on a socket's age would look the same" in s]
    assert not [s for s in apart.evidence if "would look the same" in s]


def test_ends_at_unequal_ages_met_no_cap() -> None:
    source = random.Random(3)
    crashes = numbered(eof(at_s=n / 5, age_s=source.uniform(1.0, 60.0), idle_s=0.01) for n in range(300))

    assert ids(crashes) == ["server-crash"]


def test_a_crash_over_one_same_message_is_no_cap() -> None:
    """Users with the same pace reach the message that kills at about the same age."""
    source = random.Random(3)
    crashes = numbered(
        eof(at_s=n / 2, age_s=10.0 + source.uniform(0, 0.9), idle_s=0.01, messages_received=10)
        for n in range(40)
    )

    assert ids(crashes) == ["server-crash"]


def test_one_user_cut_again_and_again_at_one_age_met_a_cap() -> None:
    assert ids(capped(eof, users=1, over_s=0.0, cap_s=6.0, run_s=60.0)) == ["lifetime-cap"]


def test_one_user_whose_server_restarts_by_the_clock_met_no_cap() -> None:
    restarts = restarted(eof, users=1, over_s=0.0, at=[10.0 * n for n in range(1, 12)])

    assert ids(restarts) == ["server-crash"]


def test_a_cap_among_some_crashes_is_seen() -> None:
    source = random.Random(3)
    crashes = [eof(at_s=n, age_s=source.uniform(1.0, 5.0), idle_s=0.01) for n in range(4)]
    both = numbered(iter([*capped(eof, users=10, over_s=5.0, cap_s=6.0, run_s=20.0), *crashes]))

    assert ids(both) == ["lifetime-cap"]


def test_a_heartbeat_in_step_with_the_opening_does_not_hide_a_cap() -> None:
    """Pings every 20 s and a cap of 50 s: each ends after 10 s of silence too."""
    beating = numbered(eof(at_s=2.0 * n, age_s=50.0, idle_s=10.0, messages_received=0) for n in range(20))

    assert ids(beating) == ["lifetime-cap"]


def test_silence_after_talks_of_unequal_length_is_an_idle_time_out() -> None:
    source = random.Random(3)
    idle = numbered(
        reset(at_s=0.1 * n, age_s=60.0 + source.uniform(5, 90), idle_s=60.0 + source.uniform(0, 0.5))
        for n in range(20)
    )

    assert ids(idle) == ["idle-timeout"]


def test_parts_of_a_run_give_the_same_finding_as_the_whole() -> None:
    records = capped(eof, users=500, over_s=30.0, cap_s=60.0, run_s=300.0)
    parts = Books()
    for start in range(3):
        parts.merge(books(records[start::3]))
    backwards = books(reversed(records))

    assert find(parts, START_S) == find(backwards, START_S) == find(books(records), START_S)


def test_which_of_two_spreads_of_a_millisecond_is_smaller_is_chance() -> None:
    # one message at the opening, and then nothing: the silence is the age, but for some milliseconds
    source = random.Random(3)
    records = [
        eof(
            at_s=0.4 * n,
            age_s=6.0 + source.uniform(0, 0.0014),
            idle_s=5.99 + source.uniform(0, 0.006),
            quiet_s=5.99 + source.uniform(0, 0.006),
        )
        for n in range(8)
    ]
    assert ids(numbered(iter(records))) == ["idle-timeout"]
