"""The evidence of slow upgrades: from how many handshakes at once they time out, and how they grow slower."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.judge.booked import START_S, books, failed, healthy
from wsoak.judge.findings import find
from wsoak.ledger.books import Books
from wsoak.ledger.records import ConnectionRecord


def evidence(made: Books) -> str:
    """All that is said of the one finding, which is that upgrades are slow."""
    (finding,) = find(made, START_S)
    assert finding.id == "upgrade-slow"
    return " ".join(finding.evidence)


def timed_out(opening: int | None, at_s: float = 0.0, worker: str = "0", **fields: Any) -> ConnectionRecord:
    return failed("timeout-upgrade", at_s=at_s, opening=opening, worker=worker, **fields)


def opened(opening: int | None, upgrade_ms: float = 2.0, worker: str = "0") -> ConnectionRecord:
    return healthy(opening=opening, upgrade_ms=upgrade_ms, worker=worker)


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (
            [timed_out(41), timed_out(40), timed_out(90)],
            "Time-outs began with 40 handshakes under way at once.",
        ),
        ([timed_out(1)], "Time-outs began with 1 handshake under way at once."),
        ([timed_out(1_200)], "Time-outs began with 1,200 handshakes under way at once."),
        # of a reconnect as of a first attempt
        ([timed_out(41), timed_out(38, attempt=1)], "Time-outs began with 38 handshakes under way at once."),
        (
            [timed_out(20), timed_out(19, worker="1")],
            "39 handshakes under way at once: 20 + 19, each worker's",
        ),
        # one worker had 22 under way, and got its answers, when the other's began to time out
        (
            [timed_out(15, worker="1"), opened(22), opened(4), opened(14, worker="1")],
            "37 handshakes under way at once: 22 + 15, each worker's at its own first one,"
            " and the most that a worker without one ever had.",
        ),
        # another system's handshakes stand in another queue
        ([timed_out(9), healthy(name="call", opening=70, worker="1")], "began with 9 handshakes under way"),
    ],
)
def test_the_number_under_way_is_told_from_which_on_upgrades_timed_out(
    records: list[ConnectionRecord], said: str
) -> None:
    assert said in evidence(books(records))


def test_nothing_is_told_of_a_run_that_did_not_count_handshakes_under_way() -> None:
    told = evidence(books([timed_out(None), opened(None)]))
    assert "under way" not in told


def test_the_growth_is_told_from_few_to_many_under_way() -> None:
    records = [opened(1, 500.0), opened(33, 4200.0), opened(36, 4400.0), opened(8, 1000.0), timed_out(37)]
    assert (
        "Upgrades that succeeded took, on average, 500 ms with 1 under way (n 1)"
        " and 4.3 s with 33 to 36 under way (n 2) in the same process."
    ) in evidence(books(records))
    assert "took, on average" not in evidence(books([opened(4), opened(7), timed_out(8)]))


def under_a_pool(
    pool: int, delay_s: float, patience_s: float, workers: list[int], gap_s: float
) -> list[ConnectionRecord]:
    """Handshakes that begin one each ``gap_s``, each in one of the workers, before a pool: first come, first
    served, and who has waited for too long leaves."""
    free_at = [0.0] * pool
    begun: list[tuple[int, float]] = []
    records = []
    for number, worker in enumerate(workers):
        at_s = number * gap_s
        turn_s = max(at_s, min(free_at))
        served = turn_s + delay_s <= at_s + patience_s
        ends_s = turn_s + delay_s if served else at_s + patience_s
        if turn_s < ends_s:
            free_at[free_at.index(min(free_at))] = ends_s
        opening = 1 + sum(of == worker and until_s > at_s for of, until_s in begun)
        begun.append((worker, ends_s))
        seen: dict[str, Any] = {"at_s": at_s, "opening": opening, "worker": str(worker)}
        if served:
            records.append(healthy(upgrade_ms=(ends_s - at_s) * 1000, **seen))
        else:
            records.append(failed("timeout-upgrade", **seen))
    return records


@settings(deadline=None)
@given(
    st.integers(2, 8),
    st.integers(6, 20),
    st.sampled_from([0.0005, 0.002, 0.004]),
    st.lists(st.integers(0, 2), min_size=320, max_size=320) | st.sampled_from([[0] * 320, [0, 1] * 160]),
)
def test_the_pools_limit_is_found_however_its_handshakes_are_spread_over_workers(
    pool: int, turns: int, gap_s: float, workers: list[int]
) -> None:
    delay_s, patience_s = 0.5, 0.5 * (turns + 0.5)
    told = evidence(books(under_a_pool(pool, delay_s, patience_s, workers, gap_s)))
    found = re.search(r"Time-outs began with ([\d,]+) handshakes under way at once", told)
    assert found is not None
    limit = pool * patience_s / delay_s
    assert abs(int(found[1].replace(",", "")) - limit) <= max(0.2 * limit, pool + len(set(workers)))
