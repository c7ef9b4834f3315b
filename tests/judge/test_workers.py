"""Workers: who was lost, frozen, late or gone, in which words, and whether the run is to be believed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.judge.test_validity import ENDED, found, some_books
from wsoak.judge.validity import CLOCK_TOLERANCE_S, WORKERS_GONE, is_valid

MANNED: dict[str, Any] = {**ENDED, "expected_workers": 2}


def worker(index: int = 0, **facts: Any) -> dict[str, Any]:
    """A worker's entry in ``run.json``; nothing is wrong with it but what is said."""
    return {
        "worker": f"worker-{index}",
        "index": index,
        "joined_s": 0.1,
        "late": False,
        "reports": 60,
        "missing_reports": 0,
        "final": True,
        "left_s": None,
        "missing_s": [],
        "clock_ahead_s": 0.01,
        **facts,
    }


def header(*workers: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**MANNED, "workers": list(workers), **fields}


def test_all_there_and_all_reported_is_no_matter_of_doubt() -> None:
    assert found(some_books(), header(worker(0), worker(1))) == {}


@pytest.mark.parametrize(
    ("facts", "id_", "invalid", "sentence"),
    [
        pytest.param(
            {"final": False, "missing_s": [[31.5, 60.0]]},
            "worker-lost",
            True,
            "worker-1 was lost: it never sent its last report; its figures are missing for 28.5 s from 31.5 "
            "s on.",
            id="killed",
        ),
        pytest.param(
            {"final": False, "missing_s": [[10.0, 18.2], [31.5, 60.0]]},
            "worker-lost",
            True,
            "worker-1 was lost: it never sent its last report; its figures are missing for 8.2 s from 10 s "
            "on and 28.5 s from 31.5 s on.",
            id="frozen, then killed",
        ),
        pytest.param(
            {"missing_s": [[10.0, 18.2]]},
            "worker-frozen",
            True,
            "worker-1 was silent for 8.2 s from 10 s on: it was frozen, and made no load then.",
            id="frozen",
        ),
        pytest.param(
            {"missing_reports": 3},
            "reports-missing",
            True,
            "3 reports of worker-1 never came: the books are short.",
            id="reports lost",
        ),
        pytest.param(
            {"left_s": 12.3},
            "worker-left",
            True,
            "worker-1 left the run 12.3 s after the start: from then on its load was missing, or moved to "
            "the others.",
            id="left",
        ),
        pytest.param(
            {"late": True, "joined_s": 8.25},
            "worker-late",
            False,
            "worker-1 joined 8.25 s after the start.",
            id="late",
        ),
        pytest.param(
            {"clock_ahead_s": -CLOCK_TOLERANCE_S - 1.5},
            "clock-skew",
            False,
            "The clock of worker-1 differs from the master's by 3.5 s: its seconds are not the others' "
            "seconds in charts over time.",
            id="clock",
        ),
    ],
)
def test_each_fact_is_one_doubt_that_names_the_worker(
    facts: dict[str, Any], id_: str, invalid: bool, sentence: str
) -> None:
    doubted = found(some_books(), header(worker(0), worker(1, **facts)))
    assert doubted.keys() == {id_}
    assert (doubted[id_].reason, doubted[id_].invalid) == (sentence, invalid)
    assert is_valid(doubted.values()) != invalid
    assert doubted[id_].advice


@pytest.mark.parametrize(("there", "told"), [(0, "0 of 2 workers"), (1, "1 of 2 workers"), (2, ""), (3, "")])
def test_workers_that_never_reported_are_missed(there: int, told: str) -> None:
    doubted = found(some_books(), header(*(worker(index) for index in range(there))))
    assert [doubt.reason for doubt in doubted.values()] == ([f"{told} ever reported."] if told else [])
    assert is_valid(doubted.values()) == (not told)


def test_a_run_that_all_workers_left_has_ended_early() -> None:
    doubted = found(some_books(), header(worker(0), worker(1), ended_by=WORKERS_GONE))
    assert doubted.keys() == {"workers-gone"}
    assert not is_valid(doubted.values())


def test_a_clock_within_the_tolerance_is_good_enough() -> None:
    doubted = found(some_books(), header(worker(0, clock_ahead_s=CLOCK_TOLERANCE_S), worker(1)))
    assert doubted == {}


def test_a_run_that_was_cut_says_nothing_of_its_workers() -> None:
    cut = {key: value for key, value in MANNED.items() if key != "ended_at"}
    assert found(some_books(), cut).keys() == {"cut"}


def test_one_process_alone_has_no_workers_to_miss() -> None:
    alone = {**ENDED, "expected_workers": 0, "workers": [worker(0, worker="local")]}
    assert found(some_books(), alone) == {}


@pytest.mark.parametrize(
    ("asked", "there", "lost", "told"),
    [
        (2, 2, 0, ""),
        (2, 3, 0, "1 more worker than expected took part: 3, where --expect-workers asked for 2."),
        (2, 5, 1, "2 more workers than expected took part: 4, where --expect-workers asked for 2."),
        # one in the place of another
        (2, 3, 1, ""),
        # Locust's own, unless it was asked for more
        (1, 3, 0, ""),
        (None, 3, 0, ""),
    ],
)
def test_more_workers_than_were_asked_for_are_a_remark(
    asked: int | None, there: int, lost: int, told: str
) -> None:
    everybody = [worker(index, final=index >= lost) for index in range(there)]
    raised = found(some_books(), header(*everybody, asked_workers=asked))
    assert ("workers-unexpected" in raised) is bool(told)
    if told:
        assert raised["workers-unexpected"].reason == told
        assert not raised["workers-unexpected"].invalid
