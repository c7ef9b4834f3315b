"""Drift: false alarms and power against known series, verdicts, and what a long run's report says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import lfilter

from analysis.__main__ import main
from analysis.charts import draw_all
from analysis.charts import drift as drift_chart
from analysis.drift import (
    LEAST_BLOCKS,
    TooShort,
    Trend,
    autocorrelation_time,
    block_size,
    change_points,
    judged,
    settled,
    trend,
    without,
)
from analysis.estimate import Estimate
from analysis.frames import Run, load
from analysis.report import html
from analysis.soak import Drift, drifts, figure, hourly, up
from analysis.style import settings
from tests.analysis.long_runs import Second, under_way, written
from wsoak.judge.figures import FIGURES, PROVIDERS
from wsoak.judge.gates import Gate, parse_gates
from wsoak.judge.meters import Material, Window
from wsoak.judge.verdict import FAIL, INCONCLUSIVE, PASS, GateResult, Trial, judge
from wsoak.ledger.books import Books
from wsoak.ledger.rundir import GAUGES_FILE, LATENCY_FILE, TIMELINE_FILE

Array = npt.NDArray[np.float64]

# ----------------------------------------------------------------------------------------------- simulation

RHO: Final = 0.8


def correlated(count: int, random: np.random.Generator, rho: float = RHO) -> Array:
    """An autoregression of spread 1."""
    noise = random.standard_normal(count + 200)
    return np.asarray(lfilter([np.sqrt(1 - rho**2)], [1, -rho], noise)[200:])


def trends(count: int, runs: int, drift: float = 0.0) -> list[Trend]:
    random = np.random.default_rng(12)
    times = np.arange(count, dtype=float)
    lines = (correlated(count, random) + np.linspace(0, drift, count) for _ in range(runs))
    return [trend(times, 100 + line) for line in lines]


def test_steady_runs_are_found_drifting_in_at_most_5_percent_at_rho_08() -> None:
    steady = trends(1800, 400)
    assert np.mean([found.change.low > 0 for found in steady]) <= 0.05
    # and never by the verdict, which asks for more than chance
    tolerance = float(np.median([found.smallest for found in steady]))
    assert np.mean([judged(found, tolerance) == "fail" for found in steady]) <= 0.005
    # nor by a gate, however strict it is
    assert np.mean([gated(found, tolerance, "0.000001/h") == "fail" for found in steady]) <= 0.005
    # the same series would alarm half of the time if each reading counted by itself
    naive = np.mean([abs(_mann_kendall(line)) > 1.96 for line in _lines(300, 100)])
    assert naive > 0.3


def gated(found: Trend, tolerance: float, limit: str) -> str:
    """What a gate with this limit says of a trend."""
    return judge(gate_of(f"drift.descriptors < {limit}"), hourly(found, tolerance)).verdict


def gate_of(expr: str) -> Gate:
    (gate,) = parse_gates(f"gates = ['{expr}']".encode(), "gates.toml")
    return gate


def _lines(count: int, runs: int) -> list[Array]:
    random = np.random.default_rng(13)
    return [correlated(count, random) for _ in range(runs)]


def _mann_kendall(values: Array) -> float:
    n = len(values)
    statistic = np.sign(np.subtract.outer(values, values))[np.tril_indices(n, -1)].sum()
    return float(statistic / np.sqrt(n * (n - 1) * (2 * n + 5) / 18))


def test_the_smallest_drift_that_is_said_to_be_seen_is_seen_four_times_in_five() -> None:
    smallest = float(np.median([found.smallest for found in trends(1800, 100)]))
    drifting = trends(1800, 300, drift=smallest)
    assert 0.7 <= np.mean([found.change.low > 0 for found in drifting]) <= 0.9
    assert np.mean([found.change.value for found in drifting]) == pytest.approx(smallest, rel=0.1)


def test_block_minima_of_a_steady_series_do_not_drift_either() -> None:
    # 270 readings do not divide into 60 blocks of one size
    random = np.random.default_rng(19)
    found = [trend(np.arange(270.0), random.standard_normal(270), np.min) for _ in range(300)]
    assert np.mean([of.change.low > 0 for of in found]) <= 0.05


def test_what_accumulates_by_chance_alone_is_seldom_found_growing() -> None:
    """Readings that remember for ever, and those that remember long: neither has independent blocks."""
    random = np.random.default_rng(20)
    times = np.arange(600.0)
    walks = [np.cumsum(random.standard_normal(600)) for _ in range(300)]
    waves = [correlated(600, random, 0.995) for _ in range(300)]
    for series in (walks, waves):
        found = [trend(times, 100 + values, accumulates=True) for values in series]
        assert np.mean([of.change.low > 0 for of in found]) <= 0.05


@pytest.mark.parametrize("slower", [1.0, 0.3], ids=["steady", "slowing down"])
def test_a_leak_in_great_steps_is_measured_however_long_its_memory(slower: float) -> None:
    """As resident memory grows: page by page of the allocator's, faster at first."""
    random = np.random.default_rng(21)
    times = np.arange(1200.0)
    pace = np.where(times < 300, 1.0, slower) * 20_000
    for _ in range(20):
        values = 5e7 + 131_072 * np.floor(np.cumsum(pace + 5_000 * random.standard_normal(1200)) / 131_072)
        found = trend(times, values, np.min, accumulates=True)
        assert found.change.value == pytest.approx(values[-1] - values[0], rel=0.1)
        assert found.change.low > 0


def test_what_only_fluctuates_is_not_taken_for_what_accumulates() -> None:
    times = np.arange(200.0)
    with pytest.raises(TooShort):
        trend(times, np.sin(np.linspace(0, 6, 200)))
    with pytest.raises(TooShort):
        trend(times[:50], np.cumsum(np.sin(np.linspace(0, 6, 50))), accumulates=True)


def test_steady_runs_have_no_change_points() -> None:
    found = [change_points(np.array(of.times), np.array(of.medians)) for of in trends(1800, 60)]
    assert sum(bool(points) for points in found) <= 4


# ----------------------------------------------------------------------------------------------- estimators

MEMORIES: Final = {0.0: 1.0, 0.5: 3.0, 0.8: 9.0, 0.95: 39.0}
"""ρ of an autoregression, and its autocorrelation time (1 + ρ)/(1 − ρ)."""


@pytest.mark.parametrize(("rho", "expected"), MEMORIES.items())
def test_the_autocorrelation_time_is_that_of_the_series(rho: float, expected: float) -> None:
    random = np.random.default_rng(14)
    times = np.arange(6000.0)
    found = [autocorrelation_time(times, correlated(6000, random, rho)) for _ in range(10)]
    assert np.mean(found) == pytest.approx(expected, rel=0.2)


COURSES: Final = {
    "a drift": np.linspace(0, 50, 1000),
    "a jump": np.where(np.arange(1000) < 300, 0.0, 30.0),
}


@pytest.mark.parametrize("course", COURSES.values(), ids=COURSES)
def test_a_drift_or_a_jump_is_no_memory(course: Array) -> None:
    noise = np.random.default_rng(15).standard_normal(1000)
    assert autocorrelation_time(np.arange(1000.0), noise + course) < 2


def test_a_series_that_never_moves_has_no_drift_and_no_doubt() -> None:
    found = trend(np.arange(100.0), np.full(100, 7.0))
    assert (found.change, found.smallest, found.level) == (Estimate(0, 0, 0), 0, 7)


def test_unread_seconds_are_left_out() -> None:
    times, values = np.arange(200.0), np.arange(200.0) * 0.5
    values[50:90] = np.nan
    found = trend(times, values)
    assert found.change.value == pytest.approx(found.seconds * 0.5)
    assert found.seconds > 190


SHORT: Final = {
    "nothing": np.array([]),
    "a few readings": np.arange(9.0) % 2,
    "one long wave": np.sin(np.linspace(0, 6, 200)),
}


@pytest.mark.parametrize("values", SHORT.values(), ids=SHORT)
def test_too_few_independent_blocks_say_nothing(values: Array) -> None:
    with pytest.raises(TooShort, match=f"{LEAST_BLOCKS} are needed"):
        block_size(np.arange(float(len(values))), values)


def of(change: float, reach: float, smallest: float) -> Trend:
    between = Estimate(change, change - reach, change + reach)
    return Trend(between, 100.0, smallest, 600.0, 10.0, 60, tuple(np.arange(5.0, 600, 10)), ())


VERDICTS: Final = {
    # change, half of the interval, smallest seen; at a tolerance of 5
    "certain and beyond": ((9.0, 2.0, 3.0), "fail"),
    "certain, but within": ((3.0, 1.0, 1.4), "pass"),
    "steady": ((0.0, 2.0, 2.9), "pass"),
    "it may be beyond": ((4.0, 2.0, 2.9), "inconclusive"),
    "beyond, but not for certain": ((9.0, 12.0, 17.0), "inconclusive"),
    "this run is blind to it": ((0.0, 4.0, 5.8), "inconclusive"),
    "falling": ((-9.0, 2.0, 2.9), "pass"),
    "falling for certain, however noisy": ((-9.0, 6.0, 8.6), "pass"),
    "falling by chance, in a blind run": ((-3.0, 6.0, 8.6), "inconclusive"),
}


@pytest.mark.parametrize(("given", "verdict"), VERDICTS.values(), ids=VERDICTS)
def test_verdicts(given: tuple[float, float, float], verdict: str) -> None:
    assert judged(of(*given), 5.0) == verdict


GATED: Final = {
    # change, half of the interval, smallest seen, over 10 minutes; at a tolerance of 5, which is 30 an hour
    "steady, in a run that would have seen it": ((0.0, 2.0, 2.9), "20/h", PASS),
    "steady, but this run is blind to it": ((0.0, 2.0, 2.9), "15/h", INCONCLUSIVE),
    "it never moved, in a run in which one would have been seen": ((0.0, 0.0, 0.0), "7/h", PASS),
    "it never moved, but not even one was to be expected": ((0.0, 0.0, 0.0), "5/h", INCONCLUSIVE),
    "a little for certain, and the run is blind": ((0.7, 0.3, 0.42), "2/h", INCONCLUSIVE),
    "a little for certain, and less than the limit": ((0.7, 0.3, 0.42), "7/h", PASS),
    "a little for certain, within what is allowed": ((3.0, 1.0, 1.4), "10/h", INCONCLUSIVE),
    "certain and beyond": ((9.0, 2.0, 3.0), "20/h", FAIL),
    "certain and beyond, whatever the run is blind to": ((9.0, 2.0, 3.0), "2/h", FAIL),
    "certain and beyond, and a limit in the interval": ((9.0, 2.0, 3.0), "50/h", INCONCLUSIVE),
    "certain and beyond, and a limit above": ((9.0, 2.0, 3.0), "70/h", PASS),
    "beyond, but not for certain": ((9.0, 12.0, 17.0), "1/h", INCONCLUSIVE),
    "falling for certain, however noisy": ((-9.0, 6.0, 8.6), "1/h", PASS),
    "falling by chance, in a blind run": ((-3.0, 2.99, 8.6), "60/h", PASS),
}


@pytest.mark.parametrize(("given", "limit", "verdict"), GATED.values(), ids=GATED)
def test_a_gate_says_no_more_than_the_run_can_tell(
    given: tuple[float, float, float], limit: str, verdict: str
) -> None:
    assert gated(of(*given), 5.0, limit) == verdict


def test_no_gate_fails_by_what_is_no_drift_nor_passes_by_what_was_not_seen() -> None:
    random = np.random.default_rng(25)
    for change, reach, limit, tolerance in random.uniform((-10, 0, 0, 0), (20, 10, 200, 10), (500, 4)):
        found = of(change, reach, 2.8 / 1.96 * reach)
        verdict = gated(found, tolerance, f"{limit:.6f}/h")
        if verdict == "fail":
            assert judged(found, tolerance) == "fail"
        if verdict == "pass":
            assert found.change.high < 0 or found.smallest * 6 <= limit


def test_a_change_of_level_is_dated() -> None:
    random = np.random.default_rng(16)
    times = np.arange(60.0) * 10
    figures = random.standard_normal(60) + np.where(times < 200, 0, 6) + np.where(times < 450, 0, 6)
    found = change_points(times, figures)
    assert [point.at_s for point in found] == pytest.approx([195, 445], abs=11)
    assert found[0].before < 2 < found[0].after < 8 < found[1].after


PACES: Final = {
    # slope an hour before and after block 24 of 60, each of 10 s
    "it begins to grow": (0.0, 360.0),
    "it stands still from then on": (360.0, 0.0),
    "it grows faster": (120.0, 480.0),
    "it turns": (300.0, -300.0),
}


@pytest.mark.parametrize("paces", PACES.values(), ids=PACES)
def test_a_change_of_pace_is_dated(paces: tuple[float, float]) -> None:
    random = np.random.default_rng(22)
    times = np.arange(60.0) * 10
    before, after = (pace / 3600 for pace in paces)
    figures = 50 + before * np.minimum(times, 240) + after * np.maximum(0, times - 240)
    (found,) = change_points(times, figures + random.standard_normal(60))
    assert found.of == "pace"
    assert found.at_s == pytest.approx(240, abs=60)
    assert (found.before * 3600, found.after * 3600) == pytest.approx(paces, abs=60)


@pytest.mark.parametrize("growth", [0.0, 5.0, 30.0])
def test_a_steady_pace_has_no_change_points(growth: float) -> None:
    random = np.random.default_rng(23)
    times = np.arange(60.0)
    line = growth * times / 60
    found = [change_points(times, line + random.standard_normal(60)) for _ in range(15)]
    assert sum(bool(points) for points in found) <= 2


def test_a_line_without_any_noise_has_no_change_points() -> None:
    times = np.arange(60.0) * 7
    assert change_points(times, 5e7 + 1234.5678 * times) == ()
    assert change_points(times, np.full(60, 3.0)) == ()


def test_one_odd_block_is_no_change_of_level() -> None:
    figures = np.random.default_rng(17).standard_normal(40)
    figures[20] = 500
    assert change_points(np.arange(40.0), figures) == ()


def test_what_connections_explain_is_taken_off_but_not_the_leak_beside_it() -> None:
    random = np.random.default_rng(18)
    times = np.arange(600.0)
    connections = 100 + 50 * np.sin(times / 40) + random.standard_normal(600)
    leak = 2000 * times
    values = 5e7 + 40_000 * connections + leak + 1e4 * random.standard_normal(600)
    rest = without(values, connections, times)
    assert np.polyfit(times, rest, 1)[0] == pytest.approx(2000, rel=0.05)
    assert np.std(rest - leak) < 0.1 * np.std(values - leak)


def test_connections_that_hardly_move_explain_nothing() -> None:
    times = np.arange(100.0)
    values = 1000 * times
    assert without(values, np.full(100, 40.0), times) is values


def test_the_load_was_up_from_its_first_to_its_last_high_reading() -> None:
    load_ = np.array([0, 10, 20, 40, 39, 40, 38, 20, 0.0])
    assert settled(np.arange(9.0) * 60, load_) == (180, 360)
    assert settled(np.arange(3.0), np.full(3, np.nan)) == (0, 0)
    assert settled(np.arange(300.0), np.zeros(300)) == (0, 0)


def held(*parts: tuple[float, int]) -> Array:
    """A load that goes in lines from one part to the next: its level at the end, and its seconds."""
    levels = np.cumsum([0, *(seconds for _, seconds in parts)])
    return np.interp(np.arange(levels[-1]), levels, [0, *(level for level, _ in parts)])


LOADS: Final[dict[str, tuple[Array, tuple[float, float]]]] = {
    "a hold between two ramps": (held((40, 10), (40, 300), (0, 10)), (10, 310)),
    "long ramps beside a short hold": (held((40, 400), (40, 150), (0, 400)), (390, 560)),
    "one reading beyond all others": (held((40, 10), (40, 100), (60, 1), (40, 1), (40, 198)), (10, 310)),
    "half a minute at its double": (
        held((40, 10), (40, 200), (80, 1), (80, 30), (40, 1), (40, 200)),
        (10, 442),
    ),
    "a dip": (held((40, 10), (40, 100), (10, 5), (10, 20), (40, 5), (40, 160)), (10, 299)),
    "steps up": (held(*((level, s) for level in (10, 20, 30, 40, 50) for s in (1, 149))), (600, 749)),
    "steps up, and down": (
        held((20, 1), (20, 149), (40, 1), (40, 149), (20, 1), (20, 149), (0, 1)),
        (150, 300),
    ),
    "nothing before it, and nothing after it": (
        held((0, 900), (40, 5), (40, 300), (0, 5), (0, 900)),
        (905, 1205),
    ),
}


@pytest.mark.parametrize(("load_", "when"), LOADS.values(), ids=LOADS)
def test_the_load_was_up_while_it_was_at_its_level(load_: Array, when: tuple[float, float]) -> None:
    assert settled(np.arange(float(len(load_))), load_) == pytest.approx(when, abs=11)


@pytest.mark.parametrize("open_share", [0.97, 0.87, 0.6])
@pytest.mark.parametrize("memory", [0.0, RHO])
def test_sockets_that_come_and_go_do_not_end_the_load(open_share: float, memory: float) -> None:
    """30 users that reconnect all the time: hardly any reading has all of their sockets."""
    random = np.random.default_rng(26)
    spread = np.sqrt(30 * open_share * (1 - open_share))
    for _ in range(50):
        sockets = held((30, 5), (30, 150), (0, 8))
        sockets *= np.clip(open_share + spread / 30 * correlated(163, random, memory), 0, 1)
        up_s, down_s = settled(np.arange(163.0), np.round(sockets))
        assert 3 <= up_s <= 30
        assert 130 <= down_s <= 157


def test_a_load_that_was_read_now_and_then_is_known_as_well() -> None:
    times = np.arange(3000.0)
    load_ = held((40, 10), (40, 2980), (0, 10))
    load_[np.arange(3000) % 7 != 0] = np.nan
    assert settled(times, load_) == pytest.approx((10, 2990), abs=7)


# -------------------------------------------------------------------------------------------------- a soak

HOLD_S: Final = 300
RAMP_S: Final = 10
COUNT: Final = "open_sockets{system=echo}"


def soaking(
    second: int,
    *,
    leak: float = 0.0,
    leak_from: int = 0,
    descriptors: float = 0.0,
    slower_from: int | None = None,
    later_from: int | None = None,
    kept: int = 0,
    drained: bool = True,
    watched: bool = True,
) -> Second:
    """40 sockets up in 10 s, held for 300 s, and down again; what goes wrong is a second's worth of it."""
    ending = second > RAMP_S + HOLD_S
    sockets = 0 if ending and drained else min(40, 4 * second)
    random = np.random.default_rng(second)
    slow = 2.0 if slower_from is not None and second >= slower_from else 1.0
    responses = 10 * slow * np.exp(0.2 * random.standard_normal(100 if sockets else 0))
    target = {
        "rss_bytes": 50e6 + 30_000 * sockets + leak * max(0, second - leak_from) + 200_000 * random.random(),
        "fds": 16 + sockets + descriptors * second,
        COUNT: sockets + (min(kept, second) if kept else 0),
    }
    late = 30.0 if later_from is not None and second >= later_from else 1.0
    lags = late * np.exp(0.2 * random.standard_normal(20))
    return Second(sockets, responses, lags_ms=lags, target=target if watched else {})


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    root = tmp_path_factory.mktemp("soaked")
    runs: dict[str, Run] = {}

    def of(**ways: Any) -> Run:
        name = json.dumps(ways)
        if name not in runs:
            path = root / str(len(runs))
            written(path, RAMP_S + HOLD_S + 5, lambda second: soaking(second, **ways), run_id=name)
            runs[name] = load(path)
        return runs[name]

    return of


def named(run: Run) -> dict[str, Drift]:
    return {drift.name: drift for drift in drifts(run)}


def test_a_steady_soak_passes_everything(soaked: Callable[..., Run]) -> None:
    found = named(soaked())
    assert {name: drift.verdict for name, drift in found.items()} == dict.fromkeys(
        [
            "latency",
            "failures",
            "memory",
            "descriptors",
            "connections",
            "generator.memory",
            "generator.cpu",
            "generator.lag",
            "drain",
        ],
        "pass",
    )


FAULTS: Final[dict[str, tuple[dict[str, Any], set[str]]]] = {
    "memory that grows": ({"leak": 30_000.0}, {"memory"}),
    "descriptors that are not closed": ({"descriptors": 0.1}, {"descriptors"}),
    "connections that the server keeps": ({"kept": 30}, {"drain"}),
    "answers that get slower": ({"slower_from": 160}, {"latency"}),
    "a generator that gets later": ({"later_from": 160}, {"generator.lag"}),
}


@pytest.mark.parametrize(("ways", "failing"), FAULTS.values(), ids=FAULTS)
def test_a_fault_fails_its_own_subject_and_no_other(
    ways: dict[str, Any], failing: set[str], soaked: Callable[..., Run]
) -> None:
    found = named(soaked(**ways))
    assert {name for name, drift in found.items() if drift.verdict == "fail"} == failing


def test_a_leak_is_measured_in_bytes_an_hour(soaked: Callable[..., Run]) -> None:
    found = named(soaked(leak=30_000.0))["memory"].trend
    assert found is not None
    assert found.an_hour.low < 30_000 * 3600 < found.an_hour.high
    assert found.an_hour.value == pytest.approx(30_000 * 3600, rel=0.05)


def test_a_change_of_level_is_told_with_its_moment(soaked: Callable[..., Run]) -> None:
    drift = named(soaked(slower_from=160))["latency"]
    assert [change.at_s for change in drift.changes] == pytest.approx([160], abs=20)
    assert "Its level went from 15." in drift.sentence
    assert "(2025-10-09 08:56:" in drift.sentence
    assert [change["of"] for change in drift.to_json()["changes"]] == ["level"]


def test_a_leak_that_began_while_the_run_went_on_is_told_with_its_moment(soaked: Callable[..., Run]) -> None:
    drift = named(soaked(leak=60_000.0, leak_from=150))["memory"]
    (change,) = drift.changes
    assert (change.of, drift.verdict) == ("pace", "fail")
    assert change.at_s == pytest.approx(150, abs=15)
    assert change.after == pytest.approx(60_000, rel=0.1)
    assert "Its pace went from" in drift.sentence


def test_a_steady_leak_is_said_to_be_steady(soaked: Callable[..., Run]) -> None:
    drift = named(soaked(leak=30_000.0))["memory"]
    assert drift.changes == ()
    assert "It grew steadily." in drift.sentence


LIMITS: Final = {1000.0: "pass", 100.0: "fail"}


@pytest.mark.parametrize(("limit_ms", "verdict"), LIMITS.items())
def test_response_time_may_grow_by_a_hundredth_of_the_limit(
    limit_ms: float, verdict: str, tmp_path: Path
) -> None:
    """From 1.6 ms to 4.8 ms at p99."""
    random = np.random.default_rng(24)

    def at(second: int) -> Second:
        level = 1.0 if second < 160 else 3.0
        return Second(40, level * np.exp(0.2 * random.standard_normal(100)))

    run = load(written(tmp_path / "run", 310, at, latency_limit_ms=limit_ms))
    assert named(run)["latency"].verdict == verdict


def test_a_run_that_ends_with_its_load_says_nothing_of_the_drain(soaked: Callable[..., Run]) -> None:
    drain = named(soaked(drained=False))["drain"]
    assert drain.verdict == "inconclusive"
    assert "down=30s" in drain.sentence


def test_what_no_part_of_the_run_differs_in_needs_no_trend(tmp_path: Path) -> None:
    """A slow wave has no independent blocks, and does not matter where it is small."""

    def waves(second: int) -> Second:
        wave = np.sin(second / 50)
        return replace(
            soaking(second), generator={"cpu_share": 0.2 + 0.01 * wave, "rss_bytes": 80e6 + 20e6 * wave}
        )

    found = named(load(written(tmp_path / "run", RAMP_S + HOLD_S + 5, waves)))
    assert found["generator.cpu"].verdict == "pass"
    assert "kept within 1." in found["generator.cpu"].sentence
    assert found["generator.memory"].verdict == "inconclusive"


def test_an_unwatched_server_has_no_memory_to_judge(soaked: Callable[..., Run]) -> None:
    own = {"generator.memory", "generator.cpu", "generator.lag"}
    assert set(named(soaked(watched=False))) == {"latency", "failures", *own}


def test_a_short_run_is_no_soak(tmp_path: Path) -> None:
    run = load(written(tmp_path / "short", 60, lambda _: soaking(20)))
    assert drifts(run) == []
    (result,) = results(run, "drift.memory < 2%/h")
    assert result.verdict == INCONCLUSIVE
    assert "Less its warm-up, 54 s of it are left" in result.note
    with pytest.raises(TooShort, match="no soak"):
        figure(run, "memory")


def test_the_report_tells_the_drifts_of_a_soak_alone(soaked: Callable[..., Run], tmp_path: Path) -> None:
    page = html(soaked(leak=30_000.0), [])
    assert "Drift over the run" in page
    assert 'id="drift-memory"' in page
    assert "caches without bound" in page
    short = load(written(tmp_path / "short", 60, lambda _: soaking(20)))
    assert "Drift over the run" not in html(short, [])


# --------------------------------------------------------------------------- the picture, and the command


def test_what_drifted_is_drawn_where_the_report_tells_of_it(
    soaked: Callable[..., Run], tmp_path: Path
) -> None:
    run = soaked(leak=30_000.0, descriptors=0.1)
    page = html(run, draw_all(run, tmp_path / "charts"))
    assert (tmp_path / "charts" / "drift.png").exists()
    assert page.index('id="drift-memory"') < page.index('id="drift.png"') < page.index(">Charts<")
    assert page.count('id="drift.png"') == 1
    found = drift_chart.frame(run)
    assert list(found["name"].unique()) == ["memory", "descriptors"]
    with settings():
        figure_ = drift_chart.draw(found)
    assert [axes.get_ylabel() for axes in figure_.axes] == ["MB", "number"]
    # both lines rise beyond what is allowed
    for axes in figure_.axes:
        lines = {line.get_label(): np.asarray(line.get_ydata(), float) for line in axes.lines}
        assert lines["fitted line"][0] < lines["allowed growth"][0] < lines["fitted line"][1]


def test_without_a_drift_there_is_no_picture(soaked: Callable[..., Run]) -> None:
    assert drift_chart.frame(soaked()).empty


def test_one_odd_reading_does_not_press_the_picture_flat(soaked: Callable[..., Run]) -> None:
    found = drift_chart.frame(soaked(leak=30_000.0))
    (drift,) = found.attrs["drifts"]
    drift.values[7] = 1e12
    with settings():
        (axes,) = drift_chart.draw(found).axes
    assert axes.get_ylim()[1] < 100


CODES: Final[dict[str, tuple[dict[str, Any], int]]] = {
    "steady": ({}, 0),
    "a leak": ({"leak": 30_000.0}, 1),
    "a run that cannot say": ({"drained": False}, 3),
}


@pytest.mark.parametrize(("ways", "code"), CODES.values(), ids=CODES)
def test_the_command_says_what_drifts_and_exits_by_it(
    ways: dict[str, Any], code: int, soaked: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(soaked(**ways).path)
    assert main(["drift", path]) == code
    said = capsys.readouterr().out
    assert "The run is valid." in said
    assert main(["drift", path, "--json"]) == code
    told = json.loads(capsys.readouterr().out)
    assert (told["exit_code"], told["early"]) == (code, False)
    verdicts = [drift["verdict"] for drift in told["drifts"]]
    assert verdicts == sorted(verdicts, key=["fail", "inconclusive", "pass"].index)
    assert all(f"{drift['verdict'].upper()} {drift['name']}: " in said for drift in told["drifts"])


def test_the_command_says_of_a_short_run_that_it_cannot_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "short", 60, lambda _: soaking(20))
    assert main(["drift", str(path)]) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert "The load was up from 0 s to 60 s after the start" in said
    assert "Less its warm-up, 54 s of it are left, and 2 min are needed" in said
    assert "nothing can be said of drift" in said


def test_a_run_that_is_not_valid_exits_with_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def busy(second: int) -> Second:
        return replace(soaking(second, leak=30_000.0), generator={"cpu_share": 1.0, "cpu_saturated": 1.0})

    path = written(tmp_path / "busy", RAMP_S + HOLD_S + 5, busy)
    assert main(["drift", str(path)]) == 4
    said = capsys.readouterr().out
    assert "NOT VALID" in said
    assert "FAIL memory" in said


EARLY: Final[dict[str, tuple[dict[str, Any], int]]] = {"steady": ({}, 3), "a leak": ({"leak": 30_000.0}, 1)}


@pytest.mark.parametrize(("ways", "code"), EARLY.values(), ids=EARLY)
def test_a_run_under_way_has_an_early_verdict(
    ways: dict[str, Any], code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is neither cut nor invalid, and nothing is said of a drain that has not begun."""
    with under_way(tmp_path / "run", 200, lambda second: soaking(second, **ways)) as path:
        assert main(["drift", str(path)]) == code
        said = capsys.readouterr().out
        page = html(load(path), [])
    assert "still under way" in said
    assert "an early verdict" in said
    assert "The run is valid." in said
    assert "drain" not in said
    assert "Drift over the run so far" in page
    assert "an early verdict" in page
    # now it is over
    assert "early" not in html(load(path), [])


def test_a_line_that_is_being_written_makes_no_run_under_way_invalid(tmp_path: Path) -> None:
    with under_way(tmp_path / "run", 200, soaking) as path:
        for name in (TIMELINE_FILE, GAUGES_FILE, LATENCY_FILE):
            with (path / name).open("ab") as file:
                file.write(b"17")
        run = load(path)
        assert run.under_way
        assert [doubt.id for doubt in run.doubts] == []


def test_every_drift_is_plain_json(soaked: Callable[..., Run]) -> None:
    for drift in drifts(soaked(slower_from=160)):
        assert json.loads(json.dumps(drift.to_json()))["verdict"] == drift.verdict


def test_gates_are_given_the_growth_of_an_hour_over_their_window(soaked: Callable[..., Run]) -> None:
    run = soaked(leak=30_000.0)
    material = Material(Books(), run.started_at, list, run.reader)
    whole = PROVIDERS["drift.memory"](material, Window())
    assert whole.value == pytest.approx(30_000 * 3600, rel=0.05)
    assert whole.low < 30_000 * 3600 < whole.high
    of_level = whole.as_share()
    assert of_level.value == pytest.approx(30_000 * 3600 / 56e6, rel=0.1)
    late = PROVIDERS["drift.memory"](material, Window(run.started_at + 250))
    assert late.value is None
    assert "no soak" in late.note
    # it is told of when the load was, and how much of that the gate looked at
    assert "from 10 s to 5 min 10 s after the start" in late.note
    assert "what the gate leaves out, 60 s of it are left" in late.note


def results(run: Run, *exprs: str) -> list[GateResult]:
    """What gates say of a run that is over."""
    trial = Trial([gate_of(expr) for expr in exprs], run.started_at)
    return trial.results(Material(Books(), run.started_at, list, run.reader))


SLIGHT_GATES: Final = {
    # of what grows by less than is allowed: strict limits by the hour, and the unit of the note
    "drift.memory < 2%/h": "%/h",
    "drift.memory < 1MB/h": "B/h",
    "drift.latency < 5ms/h": "s/h",
    "drift.latency < 10%/h": "%/h",
    "drift.descriptors < 1/h": "/h",
    "drift.descriptors < 1%/h": "%/h",
    "drift.connections < 1/h": "/h",
}


@pytest.fixture(scope="module")
def slight(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """As a healthy server grows in its first minutes: for certain, and by less than is allowed of each."""
    random = np.random.default_rng(27)

    def at(second: int) -> Second:
        responses = (8 + second / 200) * np.exp(0.01 * random.standard_normal(100))
        target = {
            "rss_bytes": 46.6e6 + 5_000 * second + 20_000 * random.random(),
            COUNT: 40 + second / 200 + 0.1 * random.random(),
            "fds": 56 + second / 100,
        }
        return Second(40, responses, target=target)

    return load(written(tmp_path_factory.mktemp("slight") / "run", 310, at))


@pytest.mark.parametrize(("expr", "unit"), SLIGHT_GATES.items())
def test_a_gate_does_not_fail_a_short_run_that_does_not_drift(expr: str, unit: str, slight: Run) -> None:
    drift = named(slight)[expr.split()[0].removeprefix("drift.")]
    assert drift.verdict == "pass"
    (result,) = results(slight, expr)
    assert result.verdict == INCONCLUSIVE
    assert result.measured.value is not None
    assert result.measured.value > result.gate.expression.limit.value
    assert result.note.endswith(unit)
    assert result.note.endswith("%/h") == (unit == "%/h")
    assert "is allowed" in result.note


def test_a_gate_fails_a_short_run_that_drifts(soaked: Callable[..., Run]) -> None:
    run = soaked(leak=30_000.0, descriptors=0.1)
    for result in results(run, "drift.memory < 2%/h", "drift.memory < 1MB/h", "drift.descriptors < 3/h"):
        assert result.verdict == FAIL, result


def test_a_gate_passes_by_what_the_run_would_have_seen(soaked: Callable[..., Run]) -> None:
    run = soaked()
    trend_ = named(run)["memory"].trend
    assert trend_ is not None
    seen = trend_.smallest * 3600 / trend_.seconds
    above = max(seen, trend_.an_hour.high)
    verdicts = {
        f"drift.memory < {1.01 * above:.0f}B/h": PASS,
        f"drift.memory < {0.99 * above:.0f}B/h": INCONCLUSIVE,
        # no share of a level that is none
        "drift.connections < 2%/h": INCONCLUSIVE,
    }
    assert [result.verdict for result in results(run, *verdicts)] == list(verdicts.values())


# --------------------------------------------------------------------- users whose sockets come and go


def churning(second: int, leak: float = 0.0) -> Second:
    """30 users up in 5 s, for 150 s, and down in 8 s; 24 to 30 of their sockets are open, and seldom all."""
    users = int(np.interp(second, [0, 5, 155, 163], [0, 30, 30, 0]))
    random = np.random.default_rng(second)
    sockets = users if second == 8 else round(users * random.uniform(0.75, 0.93))
    memory = 50e6 + 30_000 * sockets + leak * second + 200_000 * random.random()
    return Second(
        sockets,
        10 * np.exp(0.2 * random.standard_normal(100 if users else 0)),
        target={"rss_bytes": memory, COUNT: sockets},
        generator={"users": users, "users_target": users},
    )


def leaking(second: int) -> Second:
    return churning(second, leak=400_000.0)


@contextmanager
def without_users(path: Path) -> Iterator[Path]:
    """A run directory in which nobody counted the users."""
    gauges = path / GAUGES_FILE
    lines = gauges.read_text().splitlines(keepends=True)
    gauges.write_text("".join(line for line in lines if ",users," not in line))
    yield path
    gauges.write_text("".join(lines))


def test_a_leak_is_found_though_sockets_come_and_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "run", 165, leaking)
    run = load(path)
    assert up(run) == (5, 155)
    assert named(run)["memory"].verdict == "fail"
    (result,) = results(run, "drift.memory < 2%/h")
    assert result.verdict == FAIL
    assert main(["drift", str(path)]) == 1
    said = " ".join(capsys.readouterr().out.split())
    # the first tenth is left out, and the blocks' last reading is the window's
    assert re.search(
        r"grew by [\d.]+ MB over 2 min [\d]+ s, from \d\d(\.\d)? s to 2 min 35 s after the start", said
    )


def test_a_leak_is_found_though_nobody_counted_the_users(tmp_path: Path) -> None:
    with without_users(written(tmp_path / "run", 165, leaking)) as path:
        run = load(path)
        up_s, down_s = up(run)
        assert 5 <= up_s <= 15
        assert 145 <= down_s <= 157
        found = named(run)
    assert found["memory"].verdict == "fail"
    assert {drift.verdict for name, drift in found.items() if name != "memory"} == {"pass"}


def test_a_steady_run_whose_sockets_come_and_go_passes(tmp_path: Path) -> None:
    found = named(load(written(tmp_path / "run", 165, churning)))
    assert {drift.verdict for drift in found.values()} == {"pass"}


def test_an_early_verdict_is_given_though_sockets_come_and_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with under_way(tmp_path / "run", 145, leaking) as path:
        assert main(["drift", str(path)]) == 1
        said = " ".join(capsys.readouterr().out.split())
        assert "an early verdict" in said
        assert "FAIL memory" in said
        assert "to 2 min 24 s after the start" in said


def test_users_without_a_socket_are_no_load(tmp_path: Path) -> None:
    def refused(second: int) -> Second:
        return replace(soaking(second), sockets=0, generator={"users": 40, "users_target": 40})

    assert up(load(written(tmp_path / "run", 200, refused))) == (0, 0)


def test_every_drift_that_gates_may_ask_for_is_provided() -> None:
    asked = {name for name in FIGURES if name.startswith("drift.")}
    assert asked
    assert asked <= set(PROVIDERS)
