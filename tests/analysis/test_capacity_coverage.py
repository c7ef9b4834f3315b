"""Capacity coverage: by simulation, the interval of a capacity holds the truth in nine of ten runs or more.

``python -m bench.capacity_coverage`` has the whole table; here is a small part of it.
"""

from __future__ import annotations

import pytest

from bench.capacity_coverage import CURVES, TARGET, cell, mm1, mmc, table

TRIES = 100


@pytest.mark.parametrize("between", [0.0, 0.1])
@pytest.mark.parametrize("steps", [5, 8, None], ids=["5 steps", "8 steps", "search"])
@pytest.mark.parametrize("name", CURVES)
def test_the_interval_holds_the_truth(name: str, steps: int | None, between: float) -> None:
    held = cell(name, steps, between, within=0.05, tries=TRIES, seed=7)
    assert held.coverage >= TARGET
    # an interval that holds everything says nothing
    assert held.width < 1


def test_the_curves_are_those_of_queueing_theory() -> None:
    # M/M/1's p99 is 4.6 service times at no load and doubles at half the capacity; M/M/8's stays until late
    assert mm1(500) - mm1(0) == pytest.approx(0.693, abs=0.001)
    assert mmc(500) - mmc(1) < 0.03
    assert mmc(980) - mmc(500) > 1


def test_the_table_has_the_worst_cell() -> None:
    rows = [("M/M/1", 0.0, within, "5 steps", cell("M/M/1", 5, 0.0, within, 5, 1)) for within in (0.0, 0.1)]
    (line,) = table(rows).splitlines()[2:]
    least = min(held.coverage for *_, held in rows)
    assert line.startswith(f"| M/M/1 | 5 steps | {100 * least:.0f} % (")
