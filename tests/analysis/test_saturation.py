"""Saturation: a step at which the generator had no CPU says nothing of the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from analysis.frames import load
from analysis.saturation import first_saturated, generator_full
from analysis.steps import steps_of
from tests.analysis.long_runs import Second, written

STEP_S: Final = 12
MARKS: Final = [
    {"at_s": float(STEP_S * step), "text": f"step {step + 1} of 2: 10 users"} for step in range(2)
]


def stepped(path: Path, first: dict[str, float], second: dict[str, float]) -> Any:
    """A run of two steps, with what the generator says of itself in each."""

    def at(number: int) -> Second:
        return Second(10, [10.0] * 60, generator=first if number < STEP_S else second)

    return load(written(path, 2 * STEP_S, at, marks=MARKS))


@pytest.mark.parametrize(
    ("share", "why"),
    [(0.0, ""), (0.19, ""), (0.5, "it wanted a CPU and had none for 50.0 % of the step")],
)
def test_a_generator_is_full_that_waited_for_a_cpu(tmp_path: Path, share: float, why: str) -> None:
    run = stepped(tmp_path / "run", {"cpu_wait_share": 0.0}, {"cpu_wait_share": share})
    steps = steps_of(run)
    assert [generator_full(step, run.header) for step in steps] == ["", why]
    full = first_saturated(steps, run.header)
    assert (full is not None and full.generator) is bool(why)
