"""Baseline power: how often a comparison of two builds fails, by simulation.

    python -m bench.baseline_power [--tries 4000]

Runs are made by turns, and judged as ``python -m analysis baseline`` does. A table on stdout has, for each
noise of a machine and number of runs a side, how often a build fails that is the same, one that is worse by
just what is allowed (10 %), and one that is 20 % worse.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from analysis.baseline import judge, runs_needed
from analysis.baseline_command import AFTER, BEFORE, order

Array = npt.NDArray[np.float64]
Noise = Callable[[np.random.Generator, int], Array]
"""So many runs one after the other, as logarithms of their figures."""

ALLOWED: Final = 0.10
SOUGHT: Final = 0.20
RUNS: Final = (5, 8, 16)
SHIFTS: Final = (0.0, ALLOWED, SOUGHT)


def even(share: float) -> Noise:
    """Runs that differ by this much, each by itself."""
    return lambda random, count: np.asarray(share * random.standard_normal(count))


def hours(share: float) -> Noise:
    """A machine with better hours and worse: most of a run's noise is the one before it's too."""

    def noise(random: np.random.Generator, count: int) -> Array:
        drawn = random.standard_normal((2, count))
        slow = np.empty(count)
        slow[0] = drawn[0, 0]
        for place in range(1, count):
            slow[place] = 0.9 * slow[place - 1] + math.sqrt(1 - 0.9**2) * drawn[0, place]
        together: Array = share * (0.8 * slow + 0.6 * drawn[1])
        return together

    return noise


def neighbours(share: float) -> Noise:
    """A machine whose neighbours take it now and then: one run in seven is much slower."""

    def noise(random: np.random.Generator, count: int) -> Array:
        taken = random.random(count) < 1 / 7
        together: Array = share * random.standard_normal(count) + taken * random.exponential(3 * share, count)
        return together

    return noise


NOISES: Final[dict[str, Noise]] = {
    "4 %, each run by itself": even(0.04),
    "8 %, each run by itself": even(0.08),
    "12 %, each run by itself": even(0.12),
    "20 %, each run by itself": even(0.20),
    "8 %, most of it by the hour": hours(0.08),
    "6 %, and neighbours": neighbours(0.06),
}


@dataclass(frozen=True, slots=True)
class Failing:
    """The share of comparisons that fail, by how much worse the build is."""

    noise: str
    runs: int
    by_shift: dict[float, float]


def failing(name: str, runs: int, tries: int, shifts: Sequence[float] = SHIFTS, seed: int = 1) -> Failing:
    """Simulate one row."""
    random = np.random.default_rng([seed, runs])
    turns = np.array(order(runs))
    tolerance, counts = math.log1p(ALLOWED), dict.fromkeys(shifts, 0)
    for _ in range(tries):
        values = NOISES[name](random, 2 * runs)
        before, after = values[turns == BEFORE], values[turns == AFTER]
        for shift in shifts:
            verdict = judge(before, after + math.log1p(shift), tolerance, paired=True).verdict
            counts[shift] += verdict == "fail"
    return Failing(name, runs, {shift: count / tries for shift, count in counts.items()})


def table(rows: Iterable[Failing]) -> str:
    """The rows as Markdown."""
    lines = ["| noise | runs a side | the same | 10 % worse | 20 % worse |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.noise} | {row.runs} | "
        + " | ".join(f"{share:.1%}" for share in row.by_shift.values())
        + " |"
        for row in rows
    ]
    return "\n".join(lines)


def needed() -> str:
    """How many runs a side find 20 % where 10 % is allowed, by how much runs differ; as Markdown."""
    beyond = math.log1p(SOUGHT) - math.log1p(ALLOWED)
    shares = (0.02, 0.04, 0.06, 0.08, 0.12, 0.2)
    counts = [str(runs_needed(math.sqrt(2) * share, beyond)) for share in shares]
    head = " | ".join(f"{share:.0%}" for share in shares)
    return (
        f"| runs differ by | {head} |\n|{'---|' * (len(shares) + 1)}\n| runs a side | {' | '.join(counts)} |"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.baseline_power", description=__doc__)
    parser.add_argument("--tries", type=int, default=4000, help="comparisons simulated for each row (4000)")
    asked = parser.parse_args(arguments)
    print(table(failing(name, runs, asked.tries) for name in NOISES for runs in RUNS))
    print()
    print(needed())


if __name__ == "__main__":
    main()
