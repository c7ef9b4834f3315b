"""Baseline: the test against scipy's and by simulation, what is refused, and recording by turns."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from scipy.stats import ttest_ind, ttest_rel

from analysis import baseline_command
from analysis.__main__ import main
from analysis.baseline import LEAST_RUNS, LEVEL, judge, runs_needed, scatter_borne
from analysis.baseline_command import AFTER, BEFORE, command, is_server, misuse_of, order
from analysis.beside import beside
from analysis.recording import RECORDING_FILE
from analysis.regression import as_text, measure, member, regression, verdict
from bench.baseline_power import NOISES, failing
from tests.analysis.long_runs import Second, written
from wsoak.judge.slo import BadSlo

# ----------------------------------------------------------------------------------------------- simulation

TOLERANCE: Final = math.log1p(0.10)


@pytest.mark.parametrize("name", NOISES)
def test_identical_builds_fail_in_2_percent_of_comparisons_or_less(name: str) -> None:
    row = failing(name, LEAST_RUNS, 2000, shifts=(0.0, 0.10))
    assert row.by_shift[0.0] <= 0.02
    # and one that is worse by just what is allowed in as many as the test's level says
    assert row.by_shift[0.10] <= LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / 2000)


def test_a_regression_of_20_percent_is_found_in_9_of_10_comparisons_by_as_many_runs_as_are_said() -> None:
    runs = runs_needed(math.sqrt(2) * 0.08, math.log1p(0.20) - TOLERANCE)
    assert runs is not None
    found = failing("8 %, each run by itself", runs, 1500, shifts=(0.20,)).by_shift[0.20]
    assert 0.88 <= found <= 0.94


def test_pairs_bear_a_machine_with_better_hours_and_worse() -> None:
    random = np.random.default_rng(3)
    hours = 0.3 * np.arange(8)
    before, after = (hours + 0.02 * random.standard_normal(8) for _ in range(2))
    apart, paired = (judge(before, after + math.log(1.3), TOLERANCE, paired=by) for by in (False, True))
    assert (apart.verdict, paired.verdict) == ("inconclusive", "fail")


def test_a_build_that_is_much_worse_never_passes() -> None:
    random = np.random.default_rng(21)
    for _ in range(1000):
        before, after = 0.08 * random.standard_normal((2, 5))
        assert judge(before, after + math.log(1.3), TOLERANCE, paired=True).verdict != "pass"


@pytest.mark.parametrize("paired", [True, False])
def test_the_upper_bound_covers_the_truth_as_often_as_it_says(paired: bool) -> None:
    random = np.random.default_rng(22)
    bounds = [
        judge(random.standard_normal(5), 1 + random.standard_normal(5), 0.1, paired=paired).upper
        for _ in range(1500)
    ]
    assert 0.935 <= np.mean([bound >= 1 for bound in bounds]) <= 0.975


# ----------------------------------------------------------------------------------------------- estimators


@pytest.mark.parametrize("n", [2, 5, 12])
def test_the_p_of_pairs_is_scipys(n: int) -> None:
    random = np.random.default_rng(n)
    for _ in range(20):
        before, after = random.standard_normal((2, n))
        expected = ttest_rel(after - 0.1, before, alternative="greater").pvalue
        assert judge(before, after, 0.1, paired=True).p == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("m", "n"), [(2, 2), (5, 5), (3, 8), (12, 4)])
def test_the_p_of_sets_is_scipys(m: int, n: int) -> None:
    random = np.random.default_rng(m * 100 + n)
    for _ in range(20):
        before, after = random.standard_normal(m), random.standard_normal(n)
        expected = ttest_ind(after - 0.1, before, equal_var=False, alternative="greater").pvalue
        assert judge(before, after, 0.1).p == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("scatter", "beyond"), [(0.05, 0.087), (0.113, 0.087), (0.3, 0.1)])
def test_so_many_runs_are_needed_and_one_less_is_not_enough(scatter: float, beyond: float) -> None:
    runs = runs_needed(scatter, beyond)
    assert runs is not None
    borne = [math.sqrt(2) * scatter_borne(count, beyond) for count in (runs - 1, runs)]
    assert borne[0] < scatter <= borne[1] or runs == LEAST_RUNS


def test_where_thousands_of_runs_are_needed_no_number_is_said() -> None:
    assert runs_needed(10.0, 0.01) is None


JUDGED: Final = {
    "the same": ([1.0, 1.01, 0.99, 1.0, 1.02], [1.0, 1.0, 1.01, 0.98, 1.02], "pass"),
    "worse": ([1.0, 1.01, 0.99, 1.0, 1.02], [1.3, 1.31, 1.28, 1.33, 1.3], "fail"),
    "worse for certain, but within": ([1.0, 1.01, 0.99, 1.0, 1.02], [1.05, 1.06, 1.04, 1.05, 1.07], "pass"),
    "better": ([1.0, 1.01, 0.99, 1.0, 1.02], [0.5, 0.51, 0.5, 0.49, 0.5], "pass"),
    "too much noise": ([1.0, 2.0, 0.5, 1.5, 0.8], [1.2, 2.2, 0.4, 1.9, 0.9], "inconclusive"),
    "one run could not fail": ([1.0, 1.01, 0.99, 1.0, 1.02], [5.0], "inconclusive"),
}


@pytest.mark.parametrize(("before", "after", "expected"), JUDGED.values(), ids=JUDGED)
def test_verdicts(before: list[float], after: list[float], expected: str) -> None:
    assert judge(before, after, 0.1).verdict == expected


@pytest.mark.parametrize(("before", "after"), [(1, 1), (1, 5), (5, 1), (4, 9), (1, 19)])
@pytest.mark.parametrize("worse", [0.5, 1.0, 9.0])
def test_fewer_than_five_runs_a_side_are_indicative_and_never_decide(
    before: int, after: int, worse: float
) -> None:
    found = judge([1.0] * before, [worse] * after, 0.1)
    assert (found.indicative, found.verdict) == (True, "inconclusive")


def test_five_runs_a_side_decide() -> None:
    found = [judge([1.0] * 5, [worse] * 5, 0.1) for worse in (0.5, 1.0, 9.0)]
    assert [each.indicative for each in found] == [False] * 3
    assert [each.verdict for each in found] == ["pass", "pass", "fail"]


@pytest.mark.parametrize("side", [[], [math.nan]])
def test_a_side_without_figures_is_refused(side: list[float]) -> None:
    with pytest.raises(ValueError, match="figure"):
        judge(side, [1.0], 0.1)


# ----------------------------------------------------------------------------------------- run directories

SECONDS: Final = 12


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    root = tmp_path_factory.mktemp("baseline")
    paths: dict[str, Path] = {}

    def of(median_ms: float, **fields: Any) -> Path:
        seconds = fields.pop("seconds", SECONDS)
        key = json.dumps([median_ms, seconds, fields], default=str)
        if key not in paths:
            name = f"run-{len(paths)}"
            paths[key] = written(
                root / name, seconds, lambda _: Second(10, [median_ms] * 60), run_id=name, **fields
            )
        return paths[key]

    return of


BASE_MS: Final = (10.0, 10.3, 9.8, 10.1, 9.9)
SAME_MS: Final = tuple(value + 0.001 for value in BASE_MS)
"""Other runs of the same build: a run is set beside others once."""


def run_judge(before: Sequence[Path], after: Sequence[Path], *more: str) -> int:
    sides = ["--before", *map(str, before), "--after", *map(str, after)]
    return main(["baseline", "judge", *sides, *more])


JUDGEMENTS: Final = {
    "the same": (SAME_MS, 0, "PASS"),
    "worse": (tuple(1.3 * value for value in BASE_MS), 1, "FAIL"),
    "one run": ((13.0,), 3, "INCONCLUSIVE"),
    "three runs": ((13.0, 13.1, 13.2), 3, "INCONCLUSIVE"),
}


@pytest.mark.parametrize(("after", "code", "word"), JUDGEMENTS.values(), ids=JUDGEMENTS)
def test_sets_of_runs_are_judged(
    after: tuple[float, ...],
    code: int,
    word: str,
    made: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_judge([made(value) for value in BASE_MS], [made(value) for value in after]) == code
    out = capsys.readouterr().out
    assert out.startswith(f"{word}  response p(99)")
    assert ("Indicative only" in out) is (len(after) < 5)


def test_the_json_has_both_sets_and_the_shift(
    made: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_judge([made(v) for v in BASE_MS], [made(1.3 * v) for v in BASE_MS], "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["shift"] == pytest.approx(0.3, abs=0.01)
    assert len(found["before"]) == len(found["after"]) == 5


UNLIKE: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "scenario": ({"scenarios": ["EchoUser"]}, "The scenario is not the same"),
    "options": ({"options": {"message_rate": 9}}, "The option --message-rate is not the same"),
    "host": ({"host": "http://10.0.0.9:8000"}, "The host is not the same"),
    "machine": ({"machine": {"cores": 64}}, "The generator's machine is not the same"),
    "workers": ({"expected_workers": 2}, "The number of workers is not the same"),
    "length": ({"seconds": 40}, "not of one length"),
}


@pytest.mark.parametrize(("fields", "why"), UNLIKE.values(), ids=UNLIKE)
def test_unlike_runs_are_not_set_beside_each_other(
    fields: dict[str, Any], why: str, made: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    after = [made(value) for value in SAME_MS]
    assert run_judge([made(value) for value in BASE_MS], [*after[:4], made(10.0, **fields)]) == 2
    assert why in capsys.readouterr().out


AGAIN: Final = {
    "in the baseline": ((0, 0, 1, 2, 3), (5, 6, 7, 8, 9)),
    "in the candidate": ((0, 1, 2, 3, 4), (5, 5, 5, 5, 5)),
    "on both sides": ((0, 1, 2, 3, 4), (4, 5, 6, 7, 8)),
}


@pytest.mark.parametrize(("before", "after"), AGAIN.values(), ids=AGAIN)
def test_the_same_run_five_times_is_no_five_runs(
    before: Sequence[int], after: Sequence[int], made: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [made(value) for value in (*BASE_MS, *SAME_MS)]
    assert run_judge([runs[i] for i in before], [runs[i] for i in after]) == 2
    assert "is named more often" in capsys.readouterr().out


def test_where_a_run_is_kept_and_another_port_of_the_host_make_no_difference(
    made: Callable[..., Path],
) -> None:
    options = {"run_time": "20s", "spawn_rate": 10, "run_dir": "x", "latency_limit": 5.0}
    other = {"options": options, "host": "http://127.0.0.1:9"}
    before = [made(value) for value in BASE_MS]
    assert run_judge(before, [made(value, **other) for value in SAME_MS]) == 0


def test_an_invalid_run_makes_the_judgement_invalid(
    made: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [made(value) for value in BASE_MS]

    def saturated(_: int) -> Second:
        return Second(10, [10.0] * 60, generator={"cpu_saturated": 1.0})

    after = [made(value) for value in SAME_MS[:4]]
    # it is as long as the others, and half of it
    for seconds in (SECONDS, SECONDS // 3):
        bad = written(tmp_path / f"bad-{seconds}", seconds, saturated)
        assert run_judge(before, [*after, bad]) == 4
        assert "NOT VALID" in capsys.readouterr().out


def test_a_run_that_a_gate_has_stopped_is_no_wrong_use_but_compares_with_nothing(
    made: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = written(tmp_path / "stopped", 3, lambda _: Second(10, [90.0] * 60), ended_by="gate")
    after = [*(made(value) for value in SAME_MS[:4]), stopped]
    assert run_judge([made(value) for value in BASE_MS], after) == 3
    assert "ended before its time" in capsys.readouterr().out


def test_runs_without_the_figure_are_inconclusive(made: Callable[..., Path]) -> None:
    of = measure("handshake p(99)")
    before, after = ([member(made(value), of) for value in values] for values in (BASE_MS, SAME_MS))
    found = regression(before, after, of, "handshake p(99)")
    assert verdict(found) == "inconclusive"
    assert "has no figure in" in as_text(found, of)


def test_a_share_is_judged_by_the_difference_of_shares(tmp_path: Path) -> None:
    def set_of(name: str, failing: int) -> list[Path]:
        def second(missed: int) -> Callable[[int], Second]:
            return lambda _: Second(10, [10.0] * 1000, failing + missed)

        names = [f"{name}{i}" for i in range(5)]
        return [written(tmp_path / each, SECONDS, second(i % 2), run_id=each) for i, each in enumerate(names)]

    before, after = set_of("a", 0), set_of("b", 30)
    assert run_judge(before, set_of("c", 0), "--figure", "request.success") == 0
    assert run_judge(before, after, "--figure", "request.success", "--tolerance", "1%") == 1


def test_what_is_no_figure_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadSlo):
        measure("speed")
    assert main(["baseline", "judge", "--before", "a", "--after", "b", "--figure", "speed"]) == 2
    assert "no figure that runs can be judged by" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ recording


def test_runs_are_made_by_turns_as_the_drawing_says() -> None:
    drawn = [line.split() for line in (order.__doc__ or "").splitlines() if "▆" in line]
    rows = {words[0]: line for words, line in zip(drawn, _rows(order.__doc__ or ""), strict=True)}
    turns = [BEFORE if sign == "▆" else AFTER for sign in rows[BEFORE]]
    assert [AFTER if sign == "▆" else BEFORE for sign in rows[AFTER]] == turns
    assert order(4) == turns[:8]


def _rows(docstring: str) -> list[str]:
    """The marks of each line, one every three columns."""
    lines = [line for line in docstring.splitlines() if "▆" in line]
    begin = min(line.index("▆") for line in lines)
    end = max(len(line.rstrip()) for line in lines)
    return [line.ljust(end)[begin:end:3] for line in lines]


MISUSES: Final = {
    "endless": (["EchoUser", "-u", "3"], 5, "would never end"),
    "a host of one's own": (["-t", "5s", "--host", "http://x"], 5, "--host is no argument"),
    "a run directory of one's own": (["-t", "5s", "--run-dir=x"], 5, "--run-dir is no argument"),
    "no runs": (["-t", "5s"], 0, "can neither pass nor fail"),
    "three runs": (["-t", "5s"], 3, "can neither pass nor fail"),
}


@pytest.mark.parametrize(("locust", "runs", "why"), MISUSES.values(), ids=MISUSES)
def test_what_cannot_be_recorded_is_said(locust: list[str], runs: int, why: str, tmp_path: Path) -> None:
    assert why in misuse_of(locust, runs, tmp_path)
    assert misuse_of(["EchoUser", "--run-time=5s"], 5, tmp_path) == ""


@pytest.mark.parametrize("name", ["before-1", "after-1", "before-5", "after-5", RECORDING_FILE])
def test_recorded_runs_are_not_mixed_with_older_ones(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    assert "already holds recorded runs" in misuse_of(["-t", "5s"], 5, tmp_path)


NO_SERVERS: Final = (
    "127.0.0.1:8000",
    "ftp://127.0.0.1",
    "http://",
    "http://127.0.0.1:99999",
    "http://127.0.0.1:0",
    "http://[::1",
    "http://user:s3cret@127.0.0.1",
    "http://127.0.0.1/echo?token=s3cret",
    "http://127.0.0.1/echo#s3cret",
)


@pytest.mark.parametrize("side", [BEFORE, AFTER])
@pytest.mark.parametrize("url", NO_SERVERS)
def test_what_is_no_server_is_refused_before_the_first_run(
    url: str, side: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(baseline_command, "command", lambda *_: pytest.fail("a run was made"))
    urls = {BEFORE: "http://127.0.0.1:1/echo", AFTER: "wss://[::1]:2/echo", side: url}
    sides = [word for name in urls for word in (f"--{name}", urls[name])]
    assert main(["baseline", "record", str(tmp_path), *sides, "--", "EchoUser", "-t", "5s"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"--{side} names no server: ")
    assert "s3cret" not in told
    assert is_server("http://127.0.0.1:1/echo")
    assert is_server("wss://[::1]:2/echo")


ONE, OTHER = "http://127.0.0.1:1/echo", "http://localhost:2/echo"


@dataclass(frozen=True)
class StandIn:
    """A program in Locust's place that copies runs that were made before to where it is told to."""

    folder: Path

    def record(self, runs: Mapping[str, Sequence[Path]], *more: str) -> tuple[int, Path]:
        """``baseline record`` of these runs of each server: its exit code, and the directory."""
        program, directory = self.folder / "stand_in.py", self.folder / "recorded"
        program.write_text(
            "import json, shutil, sys\n"
            "to = sys.argv[sys.argv.index('--run-dir') + 1]\n"
            "url = sys.argv[sys.argv.index('--host') + 1]\n"
            "left = json.loads(sys.argv[1])[url][int(to[-1]) - 1:]\n"
            "if not left:\n"
            "    sys.exit('refused')\n"
            "shutil.copytree(left[0], to)\n"
        )
        listed = json.dumps({url: list(map(str, paths)) for url, paths in runs.items()})

        def stand_in(url: str, path: Path, locust: Sequence[str]) -> list[str]:
            asked = command(url, path, locust)
            assert asked[:3] == [sys.executable, "-m", "locust"]
            return [sys.executable, str(program), listed, *asked[3:]]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(baseline_command, "command", stand_in)
            sides = ["--before", ONE, "--after", OTHER, "--runs", "5", *more]
            code = main(["baseline", "record", str(directory), *sides, "--", "EchoUser", "-t", "5s"])
        return code, directory


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path)


def sides_of(directory: Path) -> tuple[list[Path], list[Path]]:
    before, after = ([directory / f"{side}-{number}" for number in range(1, 6)] for side in (BEFORE, AFTER))
    return before, after


def test_recording_runs_locust_on_each_server_in_turn_and_judges(
    made: Callable[..., Path], stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    code, directory = stand_in.record(
        {
            ONE: [made(value) for value in BASE_MS],
            OTHER: [made(1.5 * value, host=OTHER) for value in BASE_MS],
        }
    )
    told = capsys.readouterr()
    assert code == 1, told
    assert [line.split(": ")[1].split(",")[0] for line in told.err.splitlines() if ": " in line] == order(5)
    assert told.out.startswith("FAIL")
    assert {path.name for path in directory.iterdir()} == {
        RECORDING_FILE,
        *(f"{side}-{number}" for side in (AFTER, BEFORE) for number in range(1, 6)),
    }
    mark = json.loads((directory / RECORDING_FILE).read_text())
    assert (mark["before"], mark["after"]) == (ONE, OTHER)
    assert [run["directory"].rpartition("-")[0] for run in mark["runs"]] == order(5)


def test_runs_of_two_hosts_are_judged_again_where_they_were_recorded_together_and_nowhere_else(
    made: Callable[..., Path], stand_in: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [made(1.5 * value, host=OTHER) for value in BASE_MS]
    recorded = {ONE: [made(value) for value in BASE_MS], OTHER: others}
    _, directory = stand_in.record(recorded)
    before, after = sides_of(directory)

    def judged(was: Sequence[Path], now: Sequence[Path]) -> int:
        capsys.readouterr()
        return run_judge(was, now)

    assert judged(before, after) == 1
    # and as a gate
    assert [row.verdict for row in beside(before, after, ["response p(99)"])] == ["fail"]
    # wherever they are kept, as long as they are together
    moved = directory.rename(tmp_path / "elsewhere")
    before, after = sides_of(moved)
    assert judged(before, after) == 1
    alone = [
        # somebody's runs, some of somebody's, and runs of both servers on one side
        (recorded[ONE], recorded[OTHER]),
        (before, [*after[:4], made(15.5, host=OTHER)]),
        (before[:4], [*after[:4], before[4]]),
    ]
    for was, now in alone:
        assert judged(was, now) == 2
        assert "The host is not the same in all runs: " in capsys.readouterr().out
    # another run in a recorded one's place
    shutil.rmtree(after[4])
    shutil.copytree(made(15.5, host=OTHER), after[4])
    assert judged(before, after) == 2
    for damage in ("", "[]", "[" * 100_000, '{"runs": [7, {}]}'):
        (moved / RECORDING_FILE).write_text(damage)
        assert judged(before, after[:4]) == 2


RECORDED_UNLIKE: Final = {name: case for name, case in UNLIKE.items() if name != "host"}


@pytest.mark.parametrize(("fields", "why"), RECORDED_UNLIKE.values(), ids=RECORDED_UNLIKE)
def test_recorded_together_nothing_but_the_host_may_differ(
    fields: dict[str, Any],
    why: str,
    made: Callable[..., Path],
    stand_in: StandIn,
    capsys: pytest.CaptureFixture[str],
) -> None:
    others = [made(value, **{"host": OTHER, **fields}) for value in SAME_MS]
    assert stand_in.record({ONE: [made(value) for value in BASE_MS], OTHER: others})[0] == 2
    told = capsys.readouterr().out
    assert why in told
    assert "The host" not in told


def test_the_first_run_that_leaves_no_record_is_the_last(
    made: Callable[..., Path], stand_in: StandIn, capfd: pytest.CaptureFixture[str]
) -> None:
    code, directory = stand_in.record({ONE: [made(value) for value in BASE_MS], OTHER: []})
    told = capfd.readouterr().err
    assert code == 2
    assert [path.name for path in directory.iterdir() if path.is_dir()] == ["before-1"]
    assert "Run 2 of 10" in told
    assert "Run 3 of 10" not in told
    assert told.splitlines()[-1].endswith("after-1 does not exist.")
