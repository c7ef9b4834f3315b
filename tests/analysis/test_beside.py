"""Beside: gates and a baseline in one verdict: exit codes, what is refused, and every form of output."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from junitparser import JUnitXml

from analysis.__main__ import main
from analysis.named import named
from tests.analysis.long_runs import Second, written
from wsoak.ledger.rundir import JUNIT_FILE, VERDICT_FILE, UnreadableRun

SECONDS: Final = 12
BASE_MS: Final = (10.0, 10.3, 9.8, 10.1, 9.9)
SATURATED: Final = {"cpu_saturated": 1.0}
MEETS: Final = 'gates = ["response p(95) < 250ms", "request.success >= 80%"]'
FAILS: Final = 'gates = ["response p(95) < 1ms"]'
OPEN: Final = 'gates = ["handshake.success >= 99.9%"]'
ROW: Final = "response p(99) beside the baseline"

Runs = Callable[..., list[Path]]
"""From milliseconds to run directories."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The runs of a baseline."""
    return recorded(tmp_path_factory.mktemp("base"), "before", BASE_MS)


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Makes candidate runs of so many milliseconds each, once; what is kept in them is of the last test."""

    @cache
    def of(medians_ms: tuple[float, ...], generator: tuple[int, ...] = ()) -> list[Path]:
        return recorded(tmp_path_factory.mktemp("after"), "after", medians_ms, generator)

    return of


def recorded(
    folder: Path, side: str, medians_ms: Sequence[float], generator: Sequence[int] = (), **fields: Any
) -> list[Path]:
    """Runs of so many milliseconds each; those of ``generator`` are of one that was saturated."""
    paths = []
    for i, median_ms in enumerate(medians_ms):
        read = SATURATED if i in generator else {}
        second = Second(10, [median_ms] * 60, generator=read)
        name = f"{side}-{i + 1}"
        paths.append(written(folder / name, SECONDS, lambda _, of=second: of, run_id=name, **fields))  # type: ignore[misc]
    return paths


@dataclass(frozen=True, slots=True)
class Case:
    """Candidate runs, gates, and what must come of them beside a sound baseline of five runs."""

    medians_ms: tuple[float, ...]
    code: int
    word: str
    says: str = ""
    gates: str = MEETS
    saturated: tuple[int, ...] = ()
    baseline: int = 5


WORSE_MS: Final = tuple(1.3 * value for value in BASE_MS)
CASES: Final = {
    "five alike": Case(BASE_MS, 0, "pass"),
    "five worse": Case(WORSE_MS, 1, "fail", "median 13 ms beside 10 ms, p = 3.6e-07"),
    "five better": Case(tuple(value / 2 for value in BASE_MS), 0, "pass", "50 % better"),
    "five that differ among themselves": Case((8.0, 11.0, 9.0, 14.0, 10.0), 3, "inconclusive", "too much"),
    "one beside five": Case((90.0,), 3, "inconclusive", "1 run beside 5 can neither pass"),
    "one beside one": Case((90.0,), 3, "inconclusive", "1 run beside 1 can neither pass", baseline=1),
    "five beside four": Case(WORSE_MS, 3, "inconclusive", "indicative only", baseline=4),
    # of several codes 4 goes before 1, and 1 before 3
    "worse, of a saturated generator": Case(WORSE_MS, 4, "inconclusive", "not every run", saturated=(2,)),
    "alike, and a gate fails": Case(BASE_MS, 1, "pass", gates=FAILS),
    "one, and a gate fails": Case((10.0,), 1, "inconclusive", gates=FAILS),
    "worse, and a gate is open": Case(WORSE_MS, 1, "fail", gates=OPEN),
    "alike, and a gate is open": Case(BASE_MS, 3, "pass", gates=OPEN),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_exit_code_is_that_of_the_gates_and_the_baseline_together(
    case: Case, base: list[Path], after: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = after(case.medians_ms, case.saturated)
    assert judge(tmp_path, case.gates, runs, "--baseline", *base[: case.baseline]) == case.code
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if f"  {ROW}  " in line]
    assert line.split()[0] == case.word.upper()
    assert case.says in out
    for path in runs:
        row = json.loads((path / VERDICT_FILE).read_text())["gates"][-1]
        assert (row["name"], row["verdict"]) == (ROW, case.word)


def judge(folder: Path, gates: str, runs: Sequence[Path | str], *more: str | Path) -> int:
    """``analysis gate`` in this process; its exit code."""
    file = folder / "gates.toml"
    file.write_text(gates)
    return main(["gate", *map(str, runs), "--gates", str(file), *map(str, more)])


def test_every_output_shows_the_comparison(
    base: list[Path], after: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = after(WORSE_MS)
    junit, summary = tmp_path / "gates.xml", tmp_path / "summary.md"
    outputs = ("--json", "--junit", junit, "--markdown", summary)
    assert judge(tmp_path, MEETS, runs, "--baseline", *base, *outputs) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "fail"
    # each of five runs by its two gates, and all of them beside the baseline
    assert [gate["name"] for gate in told["gates"]][::2] == [
        *(f"after-{n}: response p(95) < 250ms" for n in range(1, 6)),
        ROW,
    ]
    row = told["gates"][-1]
    assert row["actual"]["value"] == pytest.approx(0.3, abs=0.01)
    assert (row["limit"]["value"], row["limit"]["text"]) == (0.1, "<= 10 % worse")
    assert row["interval"]["low"] is None
    assert row["interval"]["high"] > row["actual"]["value"]
    assert [run["run_id"] for run in row["baseline"]["before"]] == [path.name for path in base]
    (suite,) = JUnitXml.fromfile(str(junit))
    assert (suite.tests, suite.failures, suite.errors) == (12, 1, 0)
    assert f"| ❌ fail | {ROW} |" in summary.read_text()
    # of each run its own verdict is kept, in which the comparison is told as well
    own = json.loads((runs[0] / VERDICT_FILE).read_text())
    assert [gate["name"] for gate in own["gates"]] == [
        "response p(95) < 250ms",
        "request.success >= 80%",
        ROW,
    ]
    assert (suite.tests, JUnitXml.fromfile(str(runs[0] / JUNIT_FILE)).tests) == (12, 4)


def test_each_figure_that_is_asked_for_has_its_row(
    base: list[Path], after: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = after(WORSE_MS)
    figures = ("--figure", "response p(50)", "--figure", "request.success", "--tolerance", "40%")
    assert judge(tmp_path, MEETS, runs, "--json", *figures, "--baseline", *base) == 0
    rows = json.loads(capsys.readouterr().out)["gates"][-2:]
    assert [row["name"].split(" beside")[0] for row in rows] == ["response p(50)", "request.success"]
    assert [row["verdict"] for row in rows] == ["pass", "pass"]


def test_a_baseline_that_cannot_be_believed_makes_the_verdict_invalid(
    after: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = recorded(tmp_path, "before", BASE_MS, generator=(3,))
    assert judge(tmp_path, MEETS, after(BASE_MS), "--baseline", *before) == 4
    assert "The baseline's before-4 is not valid: The generator was saturated" in capsys.readouterr().out


def test_a_figure_that_the_runs_do_not_have_is_inconclusive(
    base: list[Path], after: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = after(BASE_MS)
    assert judge(tmp_path, MEETS, runs, "--figure", "ping p(99)", "--baseline", *base) == 3
    assert "no data: the baseline has no figure in before-1, before-2" in capsys.readouterr().out


REFUSED: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "scenario": ({"scenarios": ["CallUser"]}, "The scenario is not the same"),
    "options": ({"options": {"message_rate": 9}}, "The option --message-rate is not the same"),
    "host": ({"host": "http://10.0.0.9:8000"}, "The host is not the same"),
    "workers": ({"expected_workers": 1}, "The number of workers is not the same"),
}


@pytest.mark.parametrize(("fields", "why"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("gates", [MEETS, FAILS], ids=["gates pass", "a gate fails"])
def test_runs_that_were_not_made_alike_are_refused_before_anything_is_judged(
    fields: dict[str, Any],
    why: str,
    gates: str,
    base: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = recorded(tmp_path, "after", BASE_MS[:2], **fields)
    assert judge(tmp_path, gates, runs, "--baseline", *base) == 2
    said = capsys.readouterr()
    assert why in said.err
    assert said.out == ""
    assert not (runs[0] / VERDICT_FILE).exists()


MISUSES: Final = {
    "the candidate in the baseline": (["{base}/before-1"], ["--baseline", "{base}/before-*"], "more often"),
    "a run named twice": (["{base}/before-1", "{base}/./before-1"], [], "named more than once"),
    "a glob of nothing": (["{base}/after-*"], [], "No run directory matches"),
    "a baseline of nothing": (["{base}/before-1"], ["--baseline", "{base}/x-*"], "No run directory matches"),
    "a figure without a baseline": (
        ["{base}/before-1"],
        ["--figure", "response p(99)"],
        "go with --baseline",
    ),
    "no figure": (["{base}/before-1"], ["--baseline", "{base}/before-2", "--figure", "speed"], "no figure"),
}


@pytest.mark.parametrize(("runs", "more", "why"), MISUSES.values(), ids=MISUSES)
def test_a_wrong_use_is_said_in_one_sentence(
    runs: list[str],
    more: list[str],
    why: str,
    base: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [[text.format(base=base[0].parent) for text in texts] for texts in (runs, more)]
    assert judge(tmp_path, MEETS, given[0], *given[1]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert why in said.err


def test_runs_are_named_one_by_one_with_commas_and_by_globs_in_their_order(tmp_path: Path) -> None:
    for name in ("run-10", "run-9", "run-1", "a, b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").touch()
    (tmp_path / "run-5").mkdir()  # no run
    found = named(str(tmp_path / "run-*"))
    assert [path.name for path in found] == ["run-1", "run-9", "run-10"]
    assert named(f"{tmp_path}/run-9,{tmp_path}/run-1") == [tmp_path / "run-9", tmp_path / "run-1"]
    assert named(str(tmp_path / "a, b")) == [tmp_path / "a, b"]
    with pytest.raises(UnreadableRun, match="No run directory"):
        named(str(tmp_path / "x*"))
