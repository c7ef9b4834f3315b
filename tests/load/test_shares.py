"""Shares: no two workers draw from the same one, as long as there are enough."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsoak.load.shares import Shares, turned


def test_those_who_are_there_at_the_start_have_them_in_order() -> None:
    assert Shares(2, ["worker-3", "worker-7"]).by_worker == {"worker-3": 0, "worker-7": 1}


def test_a_worker_keeps_its_share_when_it_comes_again() -> None:
    shares = Shares(2, ["worker-0", "worker-1"])
    assert shares.take("worker-1", alive=[])
    assert shares.by_worker == {"worker-0": 0, "worker-1": 1}


@pytest.mark.parametrize(
    ("count", "present", "alive", "share", "alone"),
    [
        pytest.param(3, ["a", "b"], ["a", "b"], 2, True, id="a free one"),
        pytest.param(2, ["a", "b"], ["b"], 0, True, id="that of one that is gone"),
        pytest.param(2, ["a", "b"], ["a", "b"], 0, False, id="none is left"),
        pytest.param(0, [], [], 0, True, id="nobody was there"),
    ],
)
def test_a_worker_that_comes_later_gets(
    count: int, present: list[str], alive: list[str], share: int, alone: bool
) -> None:
    shares = Shares(count, present)
    assert shares.take("new", alive) is alone
    assert shares.by_worker["new"] == share


@given(
    count=st.integers(1, 5),
    present=st.integers(0, 5),
    gone=st.lists(st.integers(0, 20), max_size=12),
)
def test_while_there_are_enough_no_two_that_live_have_the_same(
    count: int, present: int, gone: list[int]
) -> None:
    alive = [f"worker-{number}" for number in range(present)]
    shares = Shares(count, alive)
    for newcomer, leaver in enumerate(gone, start=present):
        if alive:
            alive.pop(leaver % len(alive))
        if len(alive) < shares.count:
            assert shares.take(f"worker-{newcomer}", alive)
            alive.append(f"worker-{newcomer}")
        held = [shares.by_worker[worker] for worker in alive]
        assert len(set(held)) == len(held)
        assert all(share < shares.count for share in held)


def test_workers_begin_with_different_source_addresses() -> None:
    addresses = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
    assert [turned(addresses, index)[0] for index in range(4)] == [*addresses, addresses[0]]
    assert all(sorted(turned(addresses, index)) == list(addresses) for index in range(4))
    assert turned((), 5) == ()
