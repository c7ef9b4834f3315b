"""Capacity at an objective: the estimator against a known truth, and plans of runs and tables."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from analysis import planning, report
from analysis.__main__ import main
from analysis.capacity import NoCapacity, between, capacity_at, isotonic, nodes, standard_errors
from analysis.capacity_asked import ASKED_FILE, PLAN_FILE, asked_of, gated, keep, last_asked
from analysis.estimate import Estimate
from analysis.frames import load
from analysis.plan_page import html
from analysis.planning import Asked, as_json, as_text, plan_of_run
from analysis.saturation import first_saturated, little
from analysis.stepped import stepped as stepped_run
from analysis.steps import by_second, plateaus, steps_of
from analysis.usl import fit
from tests.analysis.long_runs import Second, written
from wsoak.judge.quantity import Quantity
from wsoak.judge.slo import BadSlo, slo
from wsoak.ledger.rundir import VERDICT_FILE, write_json

# ----------------------------------------------------------------------------------------------- simulation

KNEE: Final = 105.0


def p99_ms(loads: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """A queue's: 20 ms alone, and without bound as the load nears the knee."""
    return np.asarray(20 / (1 - np.asarray(loads, float) / KNEE))


def truth(limit_ms: float) -> float:
    return KNEE * (1 - 20 / limit_ms)


@pytest.mark.parametrize("limit_ms", [70, 100, 160])
def test_capacity_is_found_within_5_percent_at_15_percent_noise(limit_ms: float) -> None:
    random = np.random.default_rng(7)
    off, covered, highest = [], 0, []
    for _ in range(120):
        loads = np.linspace(10, 100, 10) + random.uniform(-4, 4)
        clean = np.log(p99_ms(loads))
        blocks = clean[:, None] + 0.15 * random.standard_normal((10, 5))
        found = capacity_at(
            list(loads), list(blocks.mean(axis=1)), standard_errors(blocks.tolist()), math.log(limit_ms)
        )
        off.append(found.estimate.value / truth(limit_ms) - 1)
        covered += found.estimate.low <= truth(limit_ms) <= found.estimate.high
        passing = loads[blocks.mean(axis=1) <= math.log(limit_ms)]
        highest.append(passing.max() / truth(limit_ms) - 1)
    assert abs(np.mean(off)) < 0.01
    assert np.mean(np.abs(off) < 0.05) >= 0.9
    assert covered >= 0.85 * len(off)
    # the usual "highest step that passed" is off to the low side
    assert np.mean(highest) < -0.025


def test_single_noisy_steps_without_blocks_still_give_an_honest_interval() -> None:
    random = np.random.default_rng(8)
    loads = np.linspace(10, 100, 10)
    covered, off = 0, []
    for _ in range(120):
        noisy = np.log(p99_ms(loads)) + 0.15 * random.standard_normal(10)
        found = capacity_at(list(loads), list(noisy), [math.nan] * 10, math.log(100))
        covered += found.estimate.low <= truth(100) <= found.estimate.high
        off.append(found.estimate.value / truth(100) - 1)
    assert abs(np.mean(off)) < 0.02
    assert covered >= 0.9 * len(off)


# ------------------------------------------------------------------------------------------------ estimator

SURE: Final = [0.0] * 5


def test_equal_arguments_give_equal_intervals() -> None:
    loads = [10, 20, 30, 40, 50]
    arguments = (loads, list(map(math.log, loads)), [0.01] * 5, math.log(34), 0.01)
    assert capacity_at(*arguments) == capacity_at(*arguments)
    assert capacity_at(*arguments, seed=1) != capacity_at(*arguments, seed=2)


def test_where_no_step_misses_the_capacity_is_the_highest_load_or_more() -> None:
    found = capacity_at([10, 20, 30, 40, 50], [1, 1.1, 1.2, 1.3, 1.4], SURE, 2)
    assert (found.estimate.value, found.estimate.high, found.crossed) == (50, math.inf, False)


def test_where_every_step_misses_the_capacity_is_below_the_lowest() -> None:
    found = capacity_at([10, 20, 30, 40, 50], [3, 3.1, 3.2, 3.3, 3.4], SURE, 2)
    assert (found.estimate.value, found.estimate.low, found.crossed) == (0, 0, False)
    assert found.estimate.high == 10


def test_a_jump_across_the_limit_leaves_the_step_before_as_lower_bound() -> None:
    found = capacity_at([10, 20, 30, 40, 50], [1, 1.05, 1.1, 5, 5.1], [0.01] * 5, 1.5)
    assert found.jump == (30.0, 40.0)
    assert found.estimate.low == 30
    assert 30 < found.estimate.value < 40


def test_the_fit_never_falls_and_goes_through_ordered_points() -> None:
    points, fitted = isotonic(np.array([1.0, 2, 2, 3, 4]), np.array([1.0, 3, 1, 1.5, 4]))
    assert list(points) == [1, 2, 3, 4]
    assert list(fitted) == pytest.approx([1, 11 / 6, 11 / 6, 4])
    curve = between(points, fitted, np.linspace(1, 4, 50))
    assert (np.diff(curve) >= -1e-12).all()
    assert list(between(points, fitted, points)) == pytest.approx(list(fitted))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 8), st.floats(-5, 5)), min_size=2, max_size=20))
def test_the_fit_is_that_of_scipys_pool_adjacent_violators(steps: list[tuple[int, float]]) -> None:
    loads = np.array(sorted(load for load, _ in steps), float)
    bad = np.array([figure for _, figure in steps])
    _, counts = np.unique(loads, return_counts=True)
    means = np.array([part.mean() for part in np.split(bad, np.cumsum(counts)[:-1])])
    _, fitted = isotonic(loads, np.vstack([bad, bad]))
    assert fitted[1] == pytest.approx(isotonic_regression(means, weights=counts).x, abs=1e-9)


UNFIT: Final = {
    "two loads": ([1, 1, 2], [1, 2, 3], "3 loads or more"),
    "no figure": ([1, 2, 3], [1, math.nan, 3], "figure"),
    "a load of nothing": ([0, 2, 3], [1, 2, 3], "positive"),
}


@pytest.mark.parametrize(("loads", "bad", "why"), UNFIT.values(), ids=UNFIT)
def test_what_bears_no_capacity_is_refused(loads: list[float], bad: list[float], why: str) -> None:
    with pytest.raises(NoCapacity, match=why):
        capacity_at(loads, bad, [0.1] * 3, 2)


NODES: Final = {
    # forecast, lower bound, utilisation, spares: for the load, total
    "a rest takes a node more": ((1000, 100, 0.7, 1), 15, 16),
    "an even sum takes none": ((700, 100, 0.7, 0), 10, 10),
    "less than a node is one": ((3, 100, 0.7, 2), 1, 3),
}


@pytest.mark.parametrize(("given", "for_load", "total"), NODES.values(), ids=NODES)
def test_nodes(given: tuple[float, float, float, int], for_load: int, total: int) -> None:
    forecast, low, utilisation, spares = given
    needed = nodes(forecast, Estimate(low * 1.1, low, low * 1.2), utilisation, spares)
    assert (needed.for_load, needed.total) == (for_load, total)


def test_no_number_of_nodes_follows_from_a_lower_bound_of_nothing() -> None:
    with pytest.raises(NoCapacity, match="lower bound"):
        nodes(10, Estimate(5, 0, 9), 0.7, 1)


# ---------------------------------------------------------------------------------------------- objectives

OBJECTIVES: Final = {
    "response p(99) < 250ms": ("seconds", 0.25, False),
    "handshake p95 <= 1s": ("seconds", 1.0, False),
    "handshake.success >= 99.5%": ("share", 0.995, True),
    "response{name=echo} within 200ms >= 99%": ("share", 0.99, True),
}


@pytest.mark.parametrize(("text", "meant"), OBJECTIVES.items(), ids=OBJECTIVES)
def test_an_objective_is_read(text: str, meant: tuple[Any, float, bool]) -> None:
    found = slo(text)
    assert (found.limit, found.least) == (Quantity(meant[1], meant[0]), meant[2])
    assert found.good(found.bad(0.5)) == pytest.approx(0.5)


NO_OBJECTIVES: Final = (
    "response p(99) > 250ms",
    "response p(99)",
    "nonsense p(99) < 3s",
    "close.count < 3",
    "handshake.success <= 3%",
)


@pytest.mark.parametrize("text", NO_OBJECTIVES)
def test_what_no_load_could_be_found_for_is_refused(text: str) -> None:
    with pytest.raises(BadSlo, match=re.escape(repr(text))):
        slo(text)


# ------------------------------------------------------------------------------------------------- plateaus

PLATEAUS: Final = {
    "stairs": ([10] * 20 + [20] * 20, [(4, 20), (24, 40)]),
    "a ramp has none": (list(range(0, 200, 5)), []),
    "nobody is none": ([0] * 30, []),
    "a short stop is none": ([10] * 5 + [50] * 20, [(9, 25)]),
    "unread seconds end one": ([10] * 15 + [math.nan] * 3 + [10] * 15, [(3, 15), (21, 33)]),
}


@pytest.mark.parametrize(("values", "windows"), PLATEAUS.values(), ids=PLATEAUS)
def test_plateaus(values: list[float], windows: list[tuple[int, int]]) -> None:
    assert [(found.begin_s, found.end_s) for found in plateaus(np.array(values, float))] == windows


# ------------------------------------------------------------------------------------- a run with six steps

STEP_S: Final = 12
STEPS: Final = 6
EACH: Final = 15


def stairs(second: int, *, full_at: int | None = None, cpu: float = 0.0) -> Second:
    """Six steps of 15 sockets more each; the p99 is that of ``p99_ms``, each socket asks three times."""
    step = min(STEPS, second // STEP_S + 1)
    sockets = step * EACH
    random = np.random.default_rng(second)
    mean_ms = float(p99_ms(sockets)) / 2
    responses = mean_ms * np.exp(0.3 * random.standard_normal(3 * sockets))
    generator = {"cpu_saturated": 1.0} if full_at is not None and step >= full_at else {}
    return Second(sockets, responses, target={"cpu_share": cpu * step}, generator=generator)


MARKS: Final = [
    {"at_s": float(STEP_S * step), "text": f"step {step + 1} of {STEPS}: {EACH * (step + 1)} users"}
    for step in range(STEPS)
]


@pytest.fixture(scope="module")
def stepped(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    root = tmp_path_factory.mktemp("stepped")

    def of(name: str = "plain", marks: bool = True, **ways: Any) -> Path:
        path = root / name
        if not path.exists():
            fields: dict[str, Any] = {"marks": MARKS} if marks else {}
            written(path, STEPS * STEP_S, lambda second: stairs(second, **ways), run_id=name, **fields)
        return path

    return of


def test_steps_are_those_of_the_marks_without_their_settling(stepped: Callable[..., Path]) -> None:
    steps = steps_of(load(stepped()))
    assert [step.window.begin_s for step in steps] == [3, 15, 27, 39, 51, 63]
    assert [step.window.end_s for step in steps] == [12, 24, 36, 48, 60, 72]
    assert [step.sockets for step in steps] == [15, 30, 45, 60, 75, 90]
    assert [step.throughput_per_s for step in steps] == [45, 90, 135, 180, 225, 270]
    for step in steps:
        # the blocks hold what the step holds, and nothing twice
        assert sum(block.count("replies") for block in step.blocks) == step.books.count("replies")


def test_the_steps_of_a_search_end_where_its_rests_begin_and_its_objective_is_the_plans(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # 15, 30 and 90 users, a rest, and 60
    users = [15] * 12 + [30] * 12 + [90] * 8 + [15] * 6 + [60] * 12
    marks = [(0, "step 1: 15 users"), (12, "step 2: 30 users"), (24, "step 3: 90 users")]
    marks += [(32, "rest: 15 users"), (38, "step 4: 60 users")]

    def at(second: int) -> Second:
        return Second(users[second], p99_ms(users[second]) * np.ones(users[second]))

    path = written(
        tmp_path / "run",
        len(users),
        at,
        marks=[{"at_s": float(at_s), "text": text} for at_s, text in marks],
        search={"slo": "response p(99) < 80ms"},
    )
    steps = steps_of(load(path))
    assert [step.sockets for step in steps] == [15, 30, 90, 60]
    assert [step.window.end_s for step in steps] == [12, 24, 32, 50]
    assert run_command(path, "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["slo"] == "response p(99) < 80ms"
    assert plan["capacity"]["value"] == pytest.approx(truth(80), rel=0.05)
    assert plan["saturated_first"] is None

    told = stepped_run(load(path))
    assert told is not None
    assert told.sentences[0].startswith("One node carries 7")
    assert f"python -m analysis capacity {path} --forecast N" in told.sentences[-1]
    assert len(told.steps.rows) == 4


def test_the_report_of_steps_without_an_objective_says_how_to_ask_for_one(
    stepped: Callable[..., Path], tmp_path: Path
) -> None:
    told = stepped_run(load(stepped()))
    assert told is not None
    assert told.sentences[-1].endswith('--slo "response p(99) < 250ms" --forecast N')
    assert "objective" not in told.steps.columns
    assert len(told.steps.rows) == STEPS
    assert stepped_run(load(written(tmp_path / "plain", 20, lambda _: Second(10)))) is None


def test_users_that_come_and_go_are_the_load_themselves(tmp_path: Path) -> None:
    def at(second: int) -> Second:
        users = 10 * (1 + second // STEP_S)
        return Second(1, [5.0 * users] * 20, generator={"users": users})

    run = load(written(tmp_path / "run", 4 * STEP_S, at, marks=MARKS[:4]))
    plan = plan_of_run(run, Asked(slo("response p(99) < 120ms")))
    assert plan.asked.load == "users"
    assert [row.load for row in plan.rows] == [10, 20, 30, 40]
    assert plan.capacity is not None
    assert plan.capacity.estimate.value == pytest.approx(24, rel=0.05)
    assert plan_of_run(run, Asked(load="sockets")).rows[0].load == 1


def test_steps_at_which_all_failed_missed_the_objective(tmp_path: Path) -> None:
    def at(second: int) -> Second:
        step = second // STEP_S
        return Second(EACH * (step + 1), [9.0] * 20 if step < 3 else [], timed_out=0 if step < 3 else 5)

    run = load(written(tmp_path / "run", 5 * STEP_S, at, marks=MARKS[:5]))
    plan = plan_of_run(run, Asked(slo("request.success >= 99%")))
    assert [row.kept for row in plan.rows] == [True, True, True, False, False]
    assert plan.capacity is not None
    assert plan.capacity.estimate.low == 45
    assert any("the interval reaches from step to step" in limit for limit in plan.limits)
    assert planning.contradiction(plan.used, "sockets") == ""
    assert len(plan.scaled) == 3


def test_loads_that_hardly_differ_are_one() -> None:
    with pytest.raises(NoCapacity, match="there are 2"):
        capacity_at([10, 10.1, 40, 40.5], [1, 1.1, 3, 3.1], SURE[:4], 2)


def test_a_run_without_marks_has_the_plateaus_of_its_sockets(stepped: Callable[..., Path]) -> None:
    assert [step.sockets for step in steps_of(load(stepped("unmarked", marks=False)))] == [
        15,
        30,
        45,
        60,
        75,
        90,
    ]


def test_the_plan_of_a_run_finds_the_capacity_that_was_put_into_it(stepped: Callable[..., Path]) -> None:
    plan = plan_of_run(load(stepped()), Asked(slo("response p(99) < 80ms"), forecast=1000))
    # p99 = median × e^(0.3 × 2.326)
    expected = KNEE * (1 - 10 * math.exp(0.3 * 2.326) / 80)
    assert plan.capacity is not None
    assert plan.capacity.estimate.value == pytest.approx(expected, rel=0.05)
    assert plan.capacity.estimate.low < expected < plan.capacity.estimate.high
    assert plan.nodes is not None
    assert plan.nodes.total == math.ceil(1000 / (0.7 * plan.capacity.estimate.low)) + 1
    assert any("11.1 times the highest load" in limit for limit in plan.limits)


def test_steps_at_which_the_generator_was_full_are_in_no_fit(stepped: Callable[..., Path]) -> None:
    run = load(stepped("saturated", full_at=6))
    plan = plan_of_run(run, Asked(slo("response p(99) < 80ms")))
    assert [bool(row.why_not) for row in plan.rows] == [False] * 5 + [True]
    assert "left out: its CPU" in as_text(plan)
    assert plan.saturation is not None
    assert (plan.saturation.step, plan.saturation.generator) == (6, True)
    assert plan.usl is not None
    assert max(plan.usl.loads) == 75


def test_the_servers_cpu_is_the_first_to_be_full(stepped: Callable[..., Path]) -> None:
    run = load(stepped("busy", cpu=0.185))
    full = first_saturated(steps_of(run), run.header)
    assert full is not None
    assert (full.step, full.resource, full.generator) == (5, "the server's CPU", False)


def test_throughput_that_stops_growing_names_something_unwatched(stepped: Callable[..., Path]) -> None:
    run = load(stepped())
    steps = list(steps_of(run))
    # the fifth step brings no more replies than the fourth
    steps[4].books.totals["echo"] = steps[3].books.totals["echo"]
    full = first_saturated(steps, run.header)
    assert full is not None
    assert (full.step, full.resource) == (5, "something that was not watched")


def test_littles_law_holds_is_broken_or_too_coarse_to_say(tmp_path: Path) -> None:
    def at(second: int) -> Second:
        # 500 replies a second of 100 ms: 50 in flight; read as 50, as 80, and as 3 of 3
        step = second // STEP_S
        responses = [100.0] * (500 if step < 2 else 30)
        return Second(10 * (step + 1), responses, generator={"in_flight": (50.0, 80.0, 3.0)[step]})

    steps = steps_of(load(written(tmp_path / "run", 3 * STEP_S, at, marks=MARKS[:3])))
    found = [law for step in steps if (law := little(step)) is not None]
    assert [law.holds for law in found] == [True, False, None]
    assert found[0].expected == pytest.approx(50, rel=0.01)


def test_a_server_that_two_workers_watch_is_one_server(tmp_path: Path) -> None:
    run = load(written(tmp_path / "run", 20, lambda _: Second(10, target={"rss_bytes": 5e7})))
    again = run.gauges.assign(worker="1")
    run.__dict__["gauges"] = pd.concat([run.gauges, again])
    assert np.nanmax(by_second(run, "rss_bytes", "target")) == 5e7
    assert np.nanmax(by_second(run, "open_sockets")) == 20


# -------------------------------------------------------------------------------------------------- command


def run_command(*arguments: str | Path) -> int:
    return main(["capacity", *map(str, arguments)])


def test_the_command_prints_a_plan_and_writes_its_page(
    stepped: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = stepped("asked")
    assert run_command(path, "--slo", "response p(99) < 80ms", "--forecast", "1000") == 0
    out = capsys.readouterr().out
    number = r"\d+(?:\.\d)?"
    told = rf"One node carries {number} sockets \(95 %: {number} to {number}\) at response p\(99\) < 80ms\."
    assert re.search(told, out)
    page = (path / "capacity.html").read_text()
    assert page.count('<img src="data:image/png;base64,') == 3
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "1,000 sockets need" in page


def test_the_json_has_the_coefficients_with_their_intervals(
    stepped: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(stepped("asked"), "--slo", "response p(99) < 80ms", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    for name in ("alpha", "beta", "gamma"):
        assert plan["usl"][name]["low"] <= plan["usl"][name]["value"] <= plan["usl"][name]["high"]
    assert plan["capacity"]["crossed"] is True
    assert len(plan["steps"]) == STEPS


TABLE: Final = "load,throughput\n1,64.9\n18,995.9\n36,1652.4\n72,1853.2\n108,1828.9\n144,1775.0\n216,1702.2\n"


def test_a_table_gives_the_law_and_its_peak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sdm91.csv"
    path.write_text(TABLE)
    page = tmp_path / "plan.html"
    assert run_command("--table", path, "--json", "--html", page) == 0
    law = json.loads(capsys.readouterr().out)["usl"]
    assert law["peak"]["load"]["value"] == pytest.approx(96.52, abs=0.01)
    assert "Peak of the throughput" in page.read_text()


def test_a_table_with_a_p99_gives_a_capacity(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "table.csv"
    loads = range(10, 101, 10)
    path.write_text("load,throughput,p99_ms\n" + "".join(f"{n},{5 * n},{p99_ms(n)}\n" for n in loads))
    assert run_command("--table", path, "--slo", "response p(99) < 100ms", "--json") == 0
    found = json.loads(capsys.readouterr().out)["capacity"]
    assert found["value"] == pytest.approx(truth(100), rel=0.01)


def timed_table(path: Path, p99s_ms: Sequence[float]) -> Path:
    """A table of steps of 30 more each, with these p99."""
    lines = (f"{30 * step},{150 * step},{value}\n" for step, value in enumerate(p99s_ms, 1))
    path.write_text("load,throughput,p99_ms\n" + "".join(lines))
    return path


CONTRADICTIONS: Final[dict[str, tuple[list[float], str]]] = {
    "one step": (
        [14.5, 7.6, 66.9, 28.3, 2166, 5603],
        "Step 3 (90 units) missed the objective, and step 4 (120)",
    ),
    "several": (
        [67, 28, 20, 80, 60, 20, 70, 90, 200],
        "Steps 1, 4 and 5 (30, 120 and 150 units) missed the objective, and step 6 (180)",
    ),
    "none": ([10, 11, 12, 13, 2000, 2100], ""),
    "none missed": ([10, 11, 12, 13, 14, 15], ""),
    "none kept": ([100, 110, 120, 130, 140, 150], ""),
}


@pytest.mark.parametrize(("p99s_ms", "told"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_step_that_missed_below_one_that_kept_is_called_noise(
    p99s_ms: list[float], told: str, tmp_path: Path
) -> None:
    table = timed_table(tmp_path / "table.csv", p99s_ms)
    plan = planning.plan_of_table(table, Asked(slo("response p(99) < 50ms")))
    said = [limit for limit in plan.limits if "kept it: noise" in limit]
    assert len(said) == bool(told)
    assert all(limit.startswith(told) for limit in said)


def test_where_the_interval_is_wider_than_the_jump_nobody_says_so(tmp_path: Path) -> None:
    p99s_ms, _ = CONTRADICTIONS["one step"]
    table = timed_table(tmp_path / "table.csv", p99s_ms)
    plan = planning.plan_of_table(table, Asked(slo("response p(99) < 50ms")))
    assert plan.capacity is not None
    assert plan.capacity.jump == (120.0, 150.0)
    assert plan.capacity.estimate.low < 120
    assert any("the figure jumps across" in limit for limit in plan.limits)
    assert not any("the interval reaches from step to step" in limit for limit in plan.limits)


RAYTRACER: Final = [
    (1, 20), (4, 78), (8, 130), (12, 170), (16, 190), (20, 200), (24, 210), (28, 230), (32, 260), (48, 280),
    (64, 310),
]  # fmt: skip
"""Pixels a second by processors, of the R package ``usl``: nothing falls, and β is pressed to nothing."""


def test_a_peak_that_is_nowhere_is_not_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "raytracer.csv"
    path.write_text("load,throughput\n" + "".join(f"{load},{rate}\n" for load, rate in RAYTRACER))
    page = tmp_path / "plan.html"
    assert run_command("--table", path, "--html", page) == 0
    said = capsys.readouterr().out
    assert "No peak is reported. The interval of β contains 0" in said
    assert "β = 0 (95 %: 0 to 0.000272)" in said
    assert "of the peak that the fit would have" not in said
    assert "of the peak that the fit would have" not in page.read_text()


FAR_PEAKS: Final = {
    # β, its lower bound, what is said last
    "near": (1e-5, 0.0, "short of 0.7 of the peak that the fit would have (271)"),
    "far": (1e-8, 0.0, "contains 0"),
    "far, and β sure": (1e-8, 1e-9, "to a load of 150, and the fit's peak would lie far beyond."),
}


@pytest.mark.parametrize(("beta", "low", "said"), FAR_PEAKS.values(), ids=FAR_PEAKS)
def test_a_peak_far_beyond_what_was_measured_has_no_figure(beta: float, low: float, said: str) -> None:
    loads = [15.0 * step for step in range(1, 11)]
    law = replace(fit(loads, [5 * load for load in loads]), beta=Estimate(beta, low, 1e-4))
    law = replace(law, alpha=Estimate(1 - 271**2 * 1e-5, 0.0, 1.0))
    assert law.peak is None
    told = planning.no_peak_because(law)
    assert said in told[-1]
    assert len(told) == len(set(told)) > 0
    assert ("(271)" in told[-1]) == (said.endswith("(271)"))


# ---------------------------------------------------------------------------------------------- the report


@pytest.fixture
def own(stepped: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """A copy of a run with steps, to write into."""

    def of(name: str = "plain", **ways: Any) -> Path:
        return Path(shutil.copytree(stepped(name, **ways), tmp_path / "run"))

    return of


def test_the_report_tells_the_capacity_that_was_last_asked_for(own: Callable[..., Path]) -> None:
    path = own()
    assert run_command(path, "--slo", "response p(99) < 20ms", "--json") == 0
    assert run_command(path, "--slo", "response p(99) < 80ms") == 0
    page = report.html(load(path), [])
    assert re.search(
        r"One node carries 7\d(\.\d)? sockets \(95 %: .* to .*\) at response p\(99\) &lt; 80ms", page
    )
    assert page.count('<img src="data:image/png;base64,') == 1
    assert page.index("<h2>Capacity") < page.index('<figure id="objective">') < page.index("<h2>Charts")
    assert '<a href="capacity.html">capacity.html</a>' in page
    assert "python -m analysis capacity" not in page

    (path / PLAN_FILE).unlink()
    told = stepped_run(load(path))
    assert told is not None
    assert told.page == ""
    assert told.sentences[-1].endswith(f"capacity {path} --slo 'response p(99) < 80ms' --forecast N")


def test_the_report_says_which_steps_contradict_its_capacity(tmp_path: Path) -> None:
    of_step = [10.0, 11.0, 90.0, 30.0, 900.0, 2000.0]

    def at(second: int) -> Second:
        step = second // STEP_S
        return Second(EACH * (step + 1), [of_step[step]] * 20)

    path = written(tmp_path / "run", STEPS * STEP_S, at, marks=MARKS)
    assert run_command(path, "--slo", "response p(99) < 60ms") == 0
    told = stepped_run(load(path))
    assert told is not None
    assert told.sentences[1].startswith(
        "Step 3 (45 sockets) missed the objective, and step 4 (60) kept it: noise"
    )


def test_without_an_objective_asked_for_the_first_response_gate_is_it(own: Callable[..., Path]) -> None:
    path = own()
    gates = [
        "usable >= 99%",
        "response p(99) > 1ms",
        "response{name=echo} p(99) < 80ms",
        "response p(99) < 9s",
    ]
    write_json(path / VERDICT_FILE, {"gates": ["odd", {}, *({"expr": text} for text in gates)]})
    told = stepped_run(load(path))
    assert told is not None
    assert told.chart is not None
    assert told.sentences[0].endswith("at response{name=echo} p(99) < 80ms.")
    assert "objective" in told.steps.columns
    keep(path, Asked(slo("response p(99) < 70ms"), load="users"))
    asked = asked_of(load(path))
    assert asked is not None
    assert asked.slo is not None
    assert (asked.slo.text, asked.load) == ("response p(99) < 70ms", "users")


def test_plateaus_that_nobody_marked_are_told_of_where_somebody_asked(own: Callable[..., Path]) -> None:
    path = own("unmarked", marks=False)
    assert stepped_run(load(path)) is None
    assert run_command(path, "--slo", "response p(99) < 80ms") == 0
    told = stepped_run(load(path))
    assert told is not None
    assert told.sentences[0].startswith("One node carries 7")
    assert told.page == PLAN_FILE
    # what nothing is known of says nothing
    keep(path, Asked(slo("response{name=nobody} p(99) < 80ms")))
    assert stepped_run(load(path)) is None


ODD: Final = [
    "",
    "[]",
    "null",
    '{"slo": 3}',
    '{"slo": "soon"}',
    '{"slo": null, "load": "users"}',
    json.dumps({"slo": f"response{{name={300 * 'a'}}} p(99) < 1s"}),
    "\xff",
    "[" * 9999,
]


@pytest.mark.parametrize("text", ODD)
def test_what_is_no_record_of_an_objective_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / ASKED_FILE).write_bytes(text.encode("latin-1"))
    (tmp_path / VERDICT_FILE).write_bytes(text.encode("latin-1"))
    assert last_asked(tmp_path) is None
    assert gated(tmp_path) is None


def test_a_load_that_nobody_knows_is_left_to_the_steps(tmp_path: Path) -> None:
    write_json(tmp_path / ASKED_FILE, {"slo": "response p(99) < 80ms", "load": ["users"]})
    found = last_asked(tmp_path)
    assert found is not None
    assert found.load == ""


def test_an_objective_that_cannot_be_kept_is_said_and_the_plan_stands(
    own: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = own()
    (path / ASKED_FILE).mkdir()
    assert run_command(path, "--slo", "response p(99) < 80ms", "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["capacity"]["crossed"] is True
    assert f"{path / ASKED_FILE}: " in said.err
    assert "The report cannot know of it" in said.err


MISUSES: Final = {
    "neither run nor table": ([], "one of the two"),
    "both": (["RUN", "--table", "TABLE"], "one of the two"),
    "a run without an objective": (["RUN"], "needs an objective"),
    "nonsense for an objective": (["RUN", "--slo", "fast please"], "cannot be read"),
    "a table without its columns": (["--table", "WRONG"], "the columns load,throughput"),
    "a table with words": (["--table", "WORDS"], "line 3: the cells should be numbers"),
    "a table with nothing in it": (["--table", "EMPTY"], "has no lines but the first"),
    "a table that is none": (["--table", "BINARY"], "is no CSV table"),
    "a load of nothing": (["--table", "NOTHING"], "line 2: a load and a p99_ms should be above 0"),
    "a throughput without end": (["--table", "ENDLESS"], "line 2: a load and a p99_ms should be above 0"),
    "thousands with a comma": (["--table", "THOUSANDS"], "line 2: there should be 2 cells, and there are 3"),
    "an objective that no table tells": (
        ["--table", "TABLE", "--slo", "response p(99) < 1s"],
        "a column p99_ms",
    ),
    "another percentile": (["--table", "TIMED", "--slo", "response p(50) < 1s"], "tells nothing"),
}


@pytest.mark.parametrize(("arguments", "why"), MISUSES.values(), ids=MISUSES)
def test_a_wrong_use_is_said_in_a_sentence(
    arguments: list[str],
    why: str,
    stepped: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = {
        "TABLE": TABLE,
        "WRONG": "a,b\n1,2\n",
        "WORDS": "load,throughput\n1,2\n3,many\n",
        "EMPTY": "load,throughput\n",
        "BINARY": "load\xff\x00",
        "NOTHING": "load,throughput\n0,2\n",
        "ENDLESS": "load,throughput\n1,inf\n",
        "THOUSANDS": "load,throughput\n1,1,900\n",
        "TIMED": " Load,Throughput ,p99_ms\n1,2,3\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_bytes(text.encode("latin-1"))
    given: list[str | Path] = [
        stepped() if each == "RUN" else tmp_path / each if each in files else each for each in arguments
    ]
    assert run_command(*given) == 2
    assert why in capsys.readouterr().err


def test_a_run_without_steps_is_inconclusive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "ramp", 30, lambda second: Second(5 * second, [10.0] * 5 * second))
    assert run_command(path, "--slo", "response p(99) < 80ms", "--forecast", "9") == 3
    out = capsys.readouterr().out
    assert "there are none. The load never stood still." in out
    assert "--shape step:" in out
    assert '--shape "search:' in out
    assert "Limits of this plan" not in out


def test_what_a_server_said_cannot_break_out_of_the_page(stepped: Callable[..., Path]) -> None:
    plan = plan_of_run(load(stepped()), Asked(slo("response p(99) < 80ms")))
    hostile = replace(plan, source="<script>alert(1)</script>")
    assert "<script>" not in html(hostile)


def test_the_page_shows_the_sockets_over_time_only_where_they_are_known(stepped: Callable[..., Path]) -> None:
    run = load(stepped())
    plan = plan_of_run(run, Asked(slo("response p(99) < 80ms")))
    assert html(plan).count("<figure>") == 2
    assert html(plan, by_second(run, "open_sockets")).count("<figure>") == 3


def test_the_plain_plan_is_json_without_infinities(stepped: Callable[..., Path]) -> None:
    plan = plan_of_run(load(stepped()), Asked(slo("response p(99) < 9s")))
    assert json.loads(as_json(plan))["capacity"]["high"] is None
    assert any("No step missed the objective" in limit for limit in plan.limits)
    assert planning.headline(plan)[0].startswith("One node carries 90 sockets or more")
