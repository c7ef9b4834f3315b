"""Verdicts: three of them, their order, and what is written of them."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from junitparser import JUnitXml

from tests.judge import booked
from tests.judge.booked import START_S, closed, row
from wsoak.judge.abort import LOOKS, AbortWatch
from wsoak.judge.gates import Gate, parse_gates
from wsoak.judge.meters import Material, Measured, certain, nothing
from wsoak.judge.validity import Doubt
from wsoak.judge.verdict import (
    EXIT_CODES,
    FAIL,
    INCONCLUSIVE,
    PASS,
    PRECEDENCE,
    Trial,
    Verdict,
    decide,
    exit_code,
    judge,
)
from wsoak.judge.verdict_text import COLUMNS, junit, markdown, table
from wsoak.ledger.books import Books
from wsoak.ledger.delta import Delta
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.records import Gauge, Observation
from wsoak.ledger.rundir import RunReader, RunWriter

INVALID = Doubt("cut", "The run was cut.", "Repeat the run.", invalid=True)
REMARK = Doubt("few-samples", "Few samples.", "Take more.", invalid=False)


def gate(expr: str, more: str = "") -> Gate:
    (found,) = parse_gates(f"[[gates]]\nexpr = '''{expr}'''\n{more}".encode(), "gates.toml")
    return found


def share(low: float, high: float, samples: int = 5_000, effective: float | None = 5_000.0) -> Measured:
    return Measured((low + high) / 2, low, high, samples, effective)


# -------------------------------------------------------------------------------------------- arithmetic


@pytest.mark.parametrize(
    ("comparison", "below", "around", "above", "at"),
    [
        (">=", FAIL, INCONCLUSIVE, PASS, PASS),
        (">", FAIL, INCONCLUSIVE, PASS, FAIL),
        ("<", PASS, INCONCLUSIVE, FAIL, FAIL),
        ("<=", PASS, INCONCLUSIVE, FAIL, PASS),
        ("==", FAIL, INCONCLUSIVE, FAIL, PASS),
        ("!=", PASS, INCONCLUSIVE, PASS, FAIL),
    ],
)
def test_an_interval_below_around_above_or_at_the_limit(
    comparison: str, below: str, around: str, above: str, at: str
) -> None:
    limits = [(0.1, 0.4), (0.4, 0.6), (0.6, 0.9), (0.5, 0.5)]
    assert [decide(comparison, 0.5, *each) for each in limits] == [below, around, above, at]


@given(
    st.sampled_from(["<", "<=", ">", ">="]),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_a_wider_interval_never_decides_what_a_narrower_one_left_open(
    comparison: str, limit: float, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    narrow, wide = decide(comparison, limit, low, high), decide(comparison, limit, low - 0.1, high + 0.1)
    assert wide in (INCONCLUSIVE, narrow)


@pytest.mark.parametrize(
    ("expr", "measured", "verdict"),
    [
        ("response p(99) < 250ms", Measured(0.2, 0.991, 1.0, 9_000, 9_000.0, of="within the limit"), PASS),
        ("response p(99) < 250ms", Measured(0.3, 0.9, 0.98, 9_000, 9_000.0, of="within the limit"), FAIL),
        (
            "response p(99) < 250ms",
            Measured(0.2, 0.98, 1.0, 9_000, 200.0, of="within the limit"),
            INCONCLUSIVE,
        ),
        ("response p(50) > 250ms", Measured(0.3, 0.4, 0.45, 9_000, 9_000.0, of="within the limit"), PASS),
        ("response p(50) > 250ms", Measured(0.2, 0.6, 0.7, 9_000, 9_000.0, of="within the limit"), FAIL),
        ("findings == 0", certain(0, 5), PASS),
        ("findings == 0", certain(1, 5), FAIL),
        ("usable >= 99%", nothing(), INCONCLUSIVE),
        ("findings == 0", nothing(), INCONCLUSIVE),
        ("reconnect.recovery < 30s", Measured(math.inf, 12.0, math.inf, 1, exact=True), INCONCLUSIVE),
        ("reconnect.recovery < 30s", Measured(math.inf, 31.0, math.inf, 1, exact=True), FAIL),
        ("response.mean < 1s", Measured(0.5, samples=3), INCONCLUSIVE),
    ],
)
def test_a_measurement_meets_its_gate_or_not_or_leaves_it_open(
    expr: str, measured: Measured, verdict: str
) -> None:
    assert judge(gate(expr), measured).verdict == verdict


def test_too_few_samples_are_told_with_how_many_it_takes() -> None:
    result = judge(gate("usable >= 99.9%"), share(0.98, 1.0, 700, 120.0))
    assert result.note == "it takes 2,995 independent samples at least, and these are worth 120"
    result = judge(gate("close{code=1006}.rate < 5%"), share(0.0, 0.06, 700, 50.0))
    assert result.note == "it takes 59 independent samples at least, and these are worth 50"
    result = judge(gate("usable >= 99%"), share(0.98, 1.0))
    assert result.note == "the interval holds the limit: more samples can tell"


@pytest.mark.parametrize(
    "codes", [codes for n in (1, 2, 3, 5) for codes in itertools.combinations(PRECEDENCE, n)]
)
def test_of_several_exit_codes_2_goes_before_4_before_1_before_3_before_0(codes: tuple[int, ...]) -> None:
    order = [2, 4, 1, 3, 0]
    assert exit_code(codes) == min(codes, key=order.index)


def test_nothing_judged_is_no_pass() -> None:
    assert exit_code([]) == 3
    assert Verdict("run", (), ()).word == INCONCLUSIVE


RESULTS = {
    PASS: judge(gate("usable >= 99%"), share(0.995, 1.0)),
    FAIL: judge(
        gate("response p(99) < 250ms"), Measured(math.inf, 0.1, 0.2, 800, 90.0, of="within the limit")
    ),
    INCONCLUSIVE: judge(gate("reconnect.recovery < 30s"), nothing("no mass drop")),
}


@pytest.mark.parametrize(
    ("words", "doubts", "word"),
    [
        ((PASS,), (), "pass"),
        ((PASS,), (REMARK,), "pass"),
        ((PASS, FAIL), (), "fail"),
        ((PASS, INCONCLUSIVE), (), "inconclusive"),
        ((INCONCLUSIVE, FAIL), (), "fail"),
        ((PASS,), (INVALID,), "invalid"),
        ((FAIL,), (REMARK, INVALID), "invalid"),
    ],
)
def test_the_verdict_is_the_worst_of_the_gates_and_of_the_runs_validity(
    words: tuple[str, ...], doubts: tuple[Doubt, ...], word: str
) -> None:
    verdict = Verdict("run", tuple(RESULTS[each] for each in words), doubts)
    assert (verdict.word, verdict.exit_code) == (word, EXIT_CODES[word])


# ------------------------------------------------------------------------------------------------- texts

EVIL = "\x1b[2J\u202e|<b>`x`</b>&\n"
WHOLE = Verdict(
    "run",
    (
        *RESULTS.values(),
        judge(gate("usable >= 1%", f"name = {json.dumps(EVIL)}"), share(0.995, 1.0, 800, 90.0)),
    ),
    (INVALID, REMARK),
)


def test_the_json_has_every_gate_with_actual_limit_interval_and_samples() -> None:
    told = json.loads(json.dumps(WHOLE.to_json(), allow_nan=False))
    assert (told["verdict"], told["exit_code"], told["valid"]) == ("invalid", 4, False)
    assert [each["id"] for each in told["doubts"]] == ["cut", "few-samples"]
    passed, failed, open_, _ = told["gates"]
    assert passed["actual"] == {"value": 0.9975, "unit": "share", "text": "99.75 %"}
    assert passed["limit"] == {"comparison": ">=", "value": 0.99, "unit": "share", "text": ">= 99%"}
    assert (passed["interval"]["low"], passed["interval"]["high"]) == (0.995, 1.0)
    assert (failed["actual"]["value"], failed["actual"]["text"]) == (None, "over 60 s, or no answer")
    assert (failed["interval"]["unit"], failed["interval"]["of"]) == ("share", "within the limit")
    assert (failed["samples"], failed["effective_samples"]) == (800, 90.0)
    assert (open_["verdict"], open_["note"], open_["actual"]["text"]) == (
        "inconclusive",
        "no mass drop",
        "no data",
    )


def test_the_table_is_aligned_and_says_why_and_with_which_exit_code() -> None:
    lines = table(WHOLE).splitlines()
    assert [column in lines[0] for column in COLUMNS] == [True] * len(COLUMNS)
    at = lines[0].index("actual")
    assert lines[2][at:].startswith("99.75 %")
    assert lines[3][at:].startswith("over 60 s, or no answer")
    assert lines[4][at:].startswith("no data")
    assert "800 (worth 90)" in lines[3]
    assert "  reconnect.recovery < 30s: no data: no mass drop." in lines
    assert "  The run was cut. Repeat the run." in lines
    assert lines[-1].startswith("Verdict: INVALID (the run is not valid")
    assert lines[-1].endswith("exit code 4).")
    assert all(line.isprintable() for line in lines)


def test_wide_characters_keep_the_table_aligned() -> None:
    named = judge(gate("usable >= 99%", 'name = "连接可用"'), share(0.995, 1.0))
    lines = table(Verdict("run", (RESULTS[PASS], named), ())).splitlines()
    assert lines[3].index("99.75") == lines[2].index("99.75") - 4


def test_the_markdown_is_one_table_that_no_name_can_break() -> None:
    text = markdown(WHOLE)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(WHOLE.results)
    # an escaped bar is none
    assert {line.replace("\\|", "").count("|") for line in rows} == {len(COLUMNS) + 1}
    assert "<b>" not in text
    assert "❌ fail" in rows[3]
    assert "- **not valid**: The run was cut" in text


def test_the_junit_has_a_case_a_gate_and_only_what_passed_is_green() -> None:
    document = JUnitXml.fromstring(junit(WHOLE).encode())
    (suite,) = document
    cases = list(suite)
    assert [case.name for case in cases][:3] == [
        "the run is valid",
        "usable >= 99%",
        "response p(99) < 250ms",
    ]
    kinds = [[type(result).__name__ for result in case.result] for case in cases]
    assert kinds == [["Error"], [], ["Failure"], ["Error"], []]
    assert (suite.tests, suite.failures, suite.errors) == (5, 1, 2)
    assert "over 60 s, or no answer" in cases[2].result[0].message
    assert EVIL not in cases[4].name
    assert cases[4].name.isprintable()


def test_a_junit_of_a_pass_is_green() -> None:
    (suite,) = JUnitXml.fromstring(junit(Verdict("run", (RESULTS[PASS],), (REMARK,))).encode())
    assert (suite.tests, suite.failures, suite.errors) == (2, 0, 0)


# -------------------------------------------------------------------------------------------------- trial


def test_a_run_is_judged_alike_while_it_goes_on_and_from_its_directory(tmp_path: Path) -> None:
    gates = [
        gate(expr)
        for expr in (
            "handshake.success >= 90%",
            "response p(99) < 250ms",
            "response.mean < 1s",
            "close{code=1008}.rate < 1%",
            "gauge{name=queue}.max < 5",
            "observed{id=history-lost}.count == 0",
            "sent.per_second > 1",
        )
    ]
    deltas = [second(at, failed=at % 3, slow=at % 5 == 0) for at in range(70)]
    deltas[3].connections = [closed(1008, 3 + 0.01 * n, age_s=0.1) for n in range(20)]
    deltas[5].gauges = [Gauge(START_S + 5.5, "local", "scenario", "queue", 7.0)]
    deltas[6].observations = [Observation(START_S + 6.5, "local", "history-lost", "dialogue", 1, 9, "")]
    live, told, books = Trial(gates, START_S), Trial(gates, START_S), Books()
    writer = RunWriter(tmp_path / "run", {"started_at": START_S})
    for delta in deltas:
        live.take(delta)
        books.add(delta)
        writer.append(delta)
    writer.finish(ended_at=START_S + 70)
    reader = RunReader(tmp_path / "run")
    assert reader.books(told) == books
    results = told.results(Material(books, START_S, list, reader))
    assert results == live.results(Material(books, START_S, list))
    assert all(result.measured.value is not None for result in results)


# ------------------------------------------------------------------------------------------------- abort


def second(at_s: int, opened: int = 10, failed: int = 0, slow: bool = False) -> Delta:
    """One second of a run."""
    made = Delta("local", at_s)
    made.timeline[START_S + at_s, "dialogue"] = row(opened=opened, usable=opened, failed=failed)
    durations = Histogram.of([800_000_000 if slow else 5_000_000] * 50)
    made.latency[START_S + at_s, "response", "ask"] = durations
    return made


def looked_at(watch: AbortWatch, seconds: list[Delta]) -> list[Any]:
    books = Books()
    seen = []
    for index, delta in enumerate(seconds):
        books.add(delta)
        watch.add(delta)
        seen.append(watch.look(books, index + 1.0))
    return seen


def test_a_gate_that_failed_at_two_looks_in_a_row_stops_the_run() -> None:
    watch = AbortWatch([gate("handshake.success >= 90%", "abort = true")], START_S)
    seen = looked_at(watch, [second(at, opened=0, failed=10) for at in range(10)])
    assert seen[: LOOKS - 1] == [None] * (LOOKS - 1)
    stopped = seen[LOOKS - 1]
    assert stopped.to_json() == {
        "name": "handshake.success >= 90%",
        "expr": "handshake.success >= 90%",
        "at_s": float(LOOKS),
        "actual": "0 %",
    }
    assert stopped.sentence == (
        'The gate "handshake.success >= 90%" has failed: 0 %, where >= 90% is asked for (20 samples).'
    )


@pytest.mark.parametrize(("more", "first_s"), [('delay = "5s"', 6), ('after = "4s"\ndelay = "2s"', 7)])
def test_no_gate_stops_a_run_before_its_delay(more: str, first_s: int) -> None:
    watch = AbortWatch([gate("response within 500ms >= 99%", f"abort = true\n{more}")], START_S)
    seen = looked_at(watch, [second(at, slow=True) for at in range(12)])
    assert next(index + 1 for index, stopped in enumerate(seen) if stopped) == first_s


def test_a_gate_that_does_not_abort_or_has_no_data_or_passes_stops_nothing() -> None:
    gates = [
        gate("handshake.success >= 90%"),
        gate("usable >= 10%", "abort = true"),
        gate("check >= 90%", "abort = true"),
        gate("findings{severity=critical} == 0", "abort = true"),
    ]
    seen = looked_at(AbortWatch(gates, START_S), [second(at, failed=90) for at in range(10)])
    assert seen == [None] * 10


def test_a_critical_finding_can_stop_a_run() -> None:
    watch = AbortWatch([gate("findings{severity=critical} == 0", "abort = true")], START_S)
    delta = second(0, opened=20)
    delta.connections = [
        closed(1008, 0.01 * n, age_s=0.1, usable=False, messages_received=0) for n in range(20)
    ]
    delta.timeline[START_S, "dialogue"] = row(opened=20, closed=20)
    assert looked_at(watch, [delta, Delta("local", 1)])[1] is not None


def test_the_gate_that_stopped_the_run_has_failed_whatever_its_last_moments_add() -> None:
    stopping = gate("handshake.success >= 90%", "abort = true")
    trial = Trial([stopping, gate("usable >= 1%")], START_S)
    for at in range(100):
        trial.take(second(at, opened=500))
    material = Material(booked.books(), START_S, list)
    assert [each.verdict for each in trial.results(material)] == [PASS, PASS]
    stopped_by = {"name": stopping.name, "expr": stopping.expression.text, "at_s": 35.0, "actual": "50 %"}
    first, second_ = trial.results(material, stopped_by)
    assert (first.verdict, first.note) == (FAIL, "it stopped the run after 35.0 s, at 50 %")
    assert second_.verdict == PASS
    # another file's gate of the same name is another gate
    others = trial.results(material, {**stopped_by, "expr": "usable >= 1%"})
    assert [each.verdict for each in others] == [PASS, PASS]
