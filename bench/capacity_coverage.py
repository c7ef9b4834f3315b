"""Capacity coverage: how often the interval of a capacity holds the truth, by simulation.

    python -m bench.capacity_coverage [--tries 200]

Each try is a run with steps, or a search, of a server whose figure is known at every load. Each step's figure
is off by the noise from step to step, and by its own error, which its blocks show; both are shares of the
figure. A table on stdout has, for each server and noise, the least share of tries whose interval held the
truth over all numbers of steps, and the interval's median width.

Sources of the curves: L. Kleinrock, Queueing Systems I (1975), for M/M/1 and M/M/c; N. J. Gunther, Guerrilla
Capacity Planning (2007), for the Universal Scalability Law.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from analysis.capacity import Capacity, NoCapacity, capacity_at, standard_errors
from wsoak.judge.intervals import LEVEL, t_quantile
from wsoak.judge.slo import slo
from wsoak.load.search import Search, Tried

Array = npt.NDArray[np.float64]
Curve = Callable[[float], float]
"""The logarithm of the figure at a load."""

BLOCKS: Final = 8
STEPS: Final = (5, 6, 8, 12)
NOISES: Final = (0.0, 0.05, 0.10, 0.15)
TARGET: Final = 0.90


def mm1(load: float) -> float:
    """log p99 of the response time of M/M/1, whose capacity is 1000."""
    return math.log(1 / max(1e-3, 1 - load / 1000))


def mmc(load: float, servers: int = 8) -> float:
    """log p99 of the response time of M/M/8, whose capacity is 1000: flat, then a jump."""
    traffic = min(load / 1000, 0.999) * servers
    term = total = 1.0
    for k in range(1, servers):
        term *= traffic / k
        total += term
    last = term * traffic / servers * servers / (servers - traffic)
    waits = last / (total + last)
    rest = servers - traffic
    low, high = 0.0, 1e5
    for _ in range(60):
        # P(T > t), the service and, with the chance ``waits``, an exponential wait before it
        t = (low + high) / 2
        if abs(rest - 1) < 1e-6:
            tail = (1 + waits * t) * math.exp(-t)
        else:
            tail = math.exp(-t) * (1 - waits) + waits * (rest * math.exp(-t) - math.exp(-rest * t)) / (
                rest - 1
            )
        low, high = (t, high) if tail > 0.01 else (low, t)
    return math.log(high)


def usl(load: float) -> float:
    """log of the mean response time under the Universal Scalability Law, with contention and coherency."""
    return math.log(1 + 0.02 * (load - 1) + 0.0004 * load * (load - 1))


def cliff(load: float) -> float:
    """A figure that stands at one level, and at ten times that from a load of 640 on."""
    return math.log(10.0) if load > 640 else 0.0


CURVES: Final[dict[str, tuple[Curve, float, tuple[float, float]]]] = {
    # the curve, its greatest load, and between which loads the truth is drawn
    "M/M/1": (mm1, 980.0, (600.0, 900.0)),
    "M/M/8": (mmc, 980.0, (700.0, 950.0)),
    "USL": (usl, 200.0, (60.0, 160.0)),
    "cliff": (cliff, 1000.0, (640.0, 640.0)),
}


@dataclass(frozen=True, slots=True)
class Held:
    """What became of the tries of one cell: the share that held the truth, and the median width."""

    coverage: float
    width: float


Run = tuple[list[float], list[float], list[list[float]]]
"""Loads, figures, and the figures of the blocks."""


class Server:
    """A server under load, with noise."""

    def __init__(self, curve: Curve, between: float, within: float, random: np.random.Generator) -> None:
        self._curve = curve
        self._between = between
        self._within = within
        self._random = random

    def step(self, load: float) -> tuple[float, list[float]]:
        """The figure of a step at this load, and those of its blocks."""
        level = self._curve(load) + self._between * self._random.standard_normal()
        blocks = level + self._within * math.sqrt(BLOCKS) * self._random.standard_normal(BLOCKS)
        return float(blocks.mean()), list(map(float, blocks))


def staircase(server: Server, greatest: float, truth: float, steps: int, random: np.random.Generator) -> Run:
    """A run in even steps, from a small load to one beyond the capacity, wherever that lies between."""
    top = min(greatest, truth * random.uniform(1.08, 1.5))
    loads = np.linspace(top / steps, top, steps)
    made = [(float(load), *server.step(float(load))) for load in loads]
    return [each[0] for each in made], [each[1] for each in made], [each[2] for each in made]


def searched(server: Server, greatest: float, limit: float, truth: float) -> Run:
    """A search for the capacity, as the load shape goes about it."""
    search = Search(max(1, int(truth / 6)), int(greatest), slo("response p(99) < 1ms"), 30, 0.05, 14)
    tried: list[Tried] = []
    run: Run = ([], [], [])
    while isinstance(users := search.next_users(tried), int):
        value, blocks = server.step(float(users))
        beyond = value - limit
        reach = t_quantile(0.5 + LEVEL / 2, BLOCKS - 1) * float(np.std(blocks, ddof=1)) / math.sqrt(BLOCKS)
        kept = None if abs(beyond) <= reach and reach > 0 else beyond <= 0
        tried.append(Tried(users, kept, beyond))
        run[0].append(float(users))
        run[1].append(value)
        run[2].append(blocks)
    return run


def found(run: Run, limit: float) -> Capacity:
    """What the analysis makes of a run."""
    loads, values, blocks = run
    return capacity_at(loads, values, standard_errors(blocks), limit)


def cell(name: str, steps: int | None, between: float, within: float, tries: int, seed: int) -> Held:
    """Simulate one cell: ``steps`` even steps, or a search where that is ``None``."""
    curve, greatest, (first, last) = CURVES[name]
    random = np.random.default_rng([seed, steps or 0, int(100 * between), int(100 * within)])
    held, widths = 0, []
    for _ in range(tries):
        truth = float(random.uniform(first, last))
        limit = curve(truth) if name != "cliff" else math.log(3.0)
        server = Server(curve, between, within, random)
        run = (
            searched(server, greatest, limit, truth)
            if steps is None
            else staircase(server, greatest, truth, steps, random)
        )
        try:
            estimate = found(run, limit).estimate
        except NoCapacity:
            continue
        held += estimate.low <= truth <= estimate.high
        widths.append((estimate.high - estimate.low) / truth)
    return Held(held / max(1, len(widths)), float(np.median(widths)) if widths else math.nan)


def rows(tries: int, seed: int, steps: Sequence[int | None]) -> Iterable[tuple[str, float, float, str, Held]]:
    """All cells: server, noise from step to step, noise of a step, how it was loaded, what came of it."""
    for name in CURVES:
        for between in NOISES:
            for within in NOISES:
                for count in steps:
                    how = "search" if count is None else f"{count} steps"
                    yield name, between, within, how, cell(name, count, between, within, tries, seed)


def table(found_rows: Iterable[tuple[str, float, float, str, Held]]) -> str:
    """A Markdown table: the worst cell over the noise within steps, for each server, noise and load."""
    worst: dict[tuple[str, str], dict[float, tuple[float, float]]] = {}
    for name, between, _, how, held in found_rows:
        by_noise = worst.setdefault((name, how), {})
        coverage, width = by_noise.get(between, (1.0, 0.0))
        by_noise[between] = min(coverage, held.coverage), max(width, held.width)
    head = " | ".join(f"{100 * noise:.0f} % from step to step" for noise in NOISES)
    lines = [f"| server | load | {head} |", "|---|---|" + "---|" * len(NOISES)]
    for (name, how), by_noise in worst.items():
        cells = " | ".join(
            f"{100 * coverage:.0f} % ({100 * width:.0f} % wide)" for coverage, width in by_noise.values()
        )
        lines.append(f"| {name} | {how} | {cells} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.capacity_coverage", description=__doc__)
    parser.add_argument("--tries", type=int, default=200, help="runs simulated for each cell (200)")
    parser.add_argument("--seed", type=int, default=1, help="of the noise (1)")
    asked = parser.parse_args(arguments)
    print("Least coverage, and greatest median width, over noise within steps of 0 to 15 %:\n")
    print(table(rows(asked.tries, asked.seed, (*STEPS, None))))


if __name__ == "__main__":
    main()
