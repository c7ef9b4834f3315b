"""A search's way through a run: steps, cuts and rests, from deltas to what the record is told."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import pytest

from analysis.capacity import capacity_at
from tests.load.searching import STARTED_AT, each, noisy, searched, up_to
from tests.load.test_shapes import read_drawing, value_of
from wsoak.load.search import Search
from wsoak.load.shape_option import parse_shape

KNEE: Final = 105.0


def a_search(text: str) -> Search:
    search = parse_shape(f"search:{text}")
    assert isinstance(search, Search)
    return search


def p99_ms(users: int) -> float:
    """A queue's: 20 ms alone, without bound as the load nears the knee, and at 5 s beyond it."""
    return min(5000.0, 20 / (1 - users / KNEE)) if users < KNEE else 5000.0


def test_a_search_is_what_its_docstring_draws() -> None:
    drawing = read_drawing(Search.__doc__ or "")
    search = a_search(drawing.option.partition(":")[2])
    journal = searched(search, up_to(5))
    assert journal.users == drawing.counts
    assert [second for second, _ in journal.marks] == drawing.marks
    symbols = {"from": search.from_users, "hold": search.hold_s, "to": search.to_users}
    places = [*drawing.rows.items(), *drawing.ticks.items()]
    assert [label for label, place in places if value_of(label, symbols) != place] == []


def test_steps_rests_and_the_end_are_in_the_record() -> None:
    journal = searched(a_search("from=2,to=20,slo=response p(99) < 50ms,hold=10s"), up_to(5))
    texts = [text for _, text in journal.marks]
    assert texts[:4] == ["step 1: 2 users", "step 2: 4 users", "step 3: 8 users", "rest: 2 users"]
    assert journal.ended == "shape"
    assert journal.told["ended_because"] == "found"
    assert (journal.told["kept_users"], journal.told["missed_users"]) == (5, 6)
    assert list(each(journal))[:3] == [(2, True), (4, True), (8, False)]
    assert journal.told["tried"][0]["figure"] == pytest.approx(0.01, rel=0.01)
    assert journal.news[0] == "Step 1, 2 users: kept, 10 ms where the limit is 50ms."
    assert journal.news[-1].startswith("response p(99) < 50ms is kept with 5 users and missed with 6")


def test_a_step_that_has_clearly_missed_is_cut_short_at_its_half() -> None:
    journal = searched(a_search("from=2,to=20,slo=response p(99) < 50ms,hold=20s"), up_to(5))
    lengths = {step["kept"]: step["to_s"] - step["from_s"] for step in journal.told["tried"]}
    assert lengths[True] == 20
    assert 10 <= lengths[False] <= 12


def test_a_rest_lasts_until_the_objective_is_kept_again_and_no_longer_than_a_step() -> None:
    def rests(backlog_s: int) -> list[int]:
        over_since: list[int] = []

        def server(second: int, users: int) -> list[float]:
            if users > 5:
                over_since[:] = [second]
            late = over_since and second - over_since[0] < backlog_s
            return [500.0 if users > 5 or late else 10.0] * 50

        search = a_search("from=4,to=20,slo=response p(99) < 50ms,hold=12s,steps=3")
        marks = searched(search, server).marks
        begin = next(index for index, (_, text) in enumerate(marks) if text.startswith("rest"))
        return [marks[begin + 1][0] - marks[begin][0]]

    assert rests(0)[0] < rests(7)[0] < rests(100)[0] == 12


def test_where_nothing_is_measured_the_search_ends_and_says_so() -> None:
    journal = searched(a_search("from=2,to=20,slo=response p(99) < 50ms,hold=10s"), lambda *_: [])
    assert (journal.told["ended_because"], len(journal.told["tried"])) == ("no samples", 2)
    assert "nothing was measured" in journal.news[-1]


def test_the_run_time_ends_a_search() -> None:
    search = a_search("from=2,to=20,slo=response p(99) < 50ms,hold=10s")
    journal = searched(search, up_to(5), limit_s=25)
    assert (journal.ended, len(journal.users)) == ("run-time", 25)
    assert journal.told["ended_because"] is None


def test_reports_that_come_seconds_late_are_taken_where_they_belong() -> None:
    search = a_search("from=2,to=20,slo=response p(99) < 50ms,hold=10s")
    journal = searched(search, up_to(5), late_s=3)
    assert (journal.told["kept_users"], journal.told["missed_users"]) == (5, 6)


def test_against_a_noisy_server_the_crossing_is_found_within_its_resolution_and_bounded() -> None:
    limit_ms = 100
    truth = KNEE * (1 - 20 / limit_ms)
    search = a_search("from=10,to=1000,slo=response p(99) < 100ms,hold=20s,resolution=5%")
    off, capacities, lengths = [], [], []
    for seed in range(12):
        journal = searched(search, noisy(p99_ms, 0.15, seed))
        tried = journal.told["tried"]
        assert journal.told["ended_because"] == "found"
        assert len(tried) <= search.steps
        assert len(journal.users) <= search.duration_s
        assert max(journal.users) <= 2 * KNEE
        middle = (journal.told["kept_users"] + journal.told["missed_users"]) / 2
        off.append(middle / truth - 1)
        lengths.append(len(journal.users))
        found = capacity_at(
            [step["users"] for step in tried],
            [math.log(step["figure"]) for step in tried],
            [math.nan] * len(tried),
            math.log(limit_ms / 1000),
        )
        capacities.append(found.estimate.value / truth - 1)
    assert np.mean(np.abs(off) <= 0.05) >= 0.9
    assert np.mean(np.abs(capacities) <= 0.05) >= 0.9
    assert np.mean(lengths) < 15 * 20


def test_the_start_of_the_clock_may_lie_within_a_second() -> None:
    assert STARTED_AT % 1
