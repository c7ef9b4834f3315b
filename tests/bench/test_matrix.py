"""The confusion matrix: its cases are the target's faults, each cell is judged, and the page says it all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.confusion import EXIT_ERROR, EXIT_OK, chosen, main
from bench.incidents import BY_ID, CASES, HEALTHY, INCIDENTS, PAIRS, USER_CLASSES, Case, together
from bench.matrix import Result, cells, columns, markdown, onset_told, verdict
from bench.processes import BenchError
from target.faults import FAULTS, parse_fault
from wsoak.judge.observed_rules import OBSERVED
from wsoak.judge.rules import RULES

SYSTEMS = tuple(USER_CLASSES)


def result(case: Case, *found: tuple[str, str], valid: bool = True) -> Result:
    """A run that raised these findings."""
    findings: list[dict[str, Any]] = [
        {
            "id": id_,
            "system": system,
            "severity": "error",
            "count": 12,
            "share": 0.25,
            "evidence": ["12 of 48 | so"],
        }
        for id_, system in found
    ]
    return Result(case, findings, valid, 14.2)


def test_every_fault_of_every_system_is_an_incident() -> None:
    faults = {f"{system}:{name}" for system in SYSTEMS for name in FAULTS[system]}
    assert {incident.id for incident in INCIDENTS} == faults
    assert len(INCIDENTS) == 17


@pytest.mark.parametrize("incident", INCIDENTS, ids=list(BY_ID))
def test_the_target_knows_the_fault_and_the_judge_the_finding(incident: Any) -> None:
    choice = parse_fault(incident.fault)
    assert (choice.system, choice.name) == (incident.system, incident.name)
    assert incident.finding in {rule.id for rule in RULES} | set(OBSERVED)


def test_no_two_incidents_have_the_same_finding() -> None:
    assert len({incident.finding for incident in INCIDENTS}) == len(INCIDENTS)


def test_each_run_is_long_and_crowded_enough() -> None:
    for case in CASES.values():
        assert case.seconds >= 10
        assert case.users >= 20 * len(case.systems)


def test_two_incidents_at_once_are_in_two_systems_and_give_two_findings() -> None:
    for pair in PAIRS:
        assert len(pair.expected) == len(set(pair.systems)) == 2


TASKS = BY_ID["tasks:proxy-reset"]
BOTH = together("voice:deaf", "tasks:proxy-reset")
ONE = CASES["voice:deaf"]
NONE = HEALTHY[0]

JUDGED = [
    # the case, what was raised, and what its row says
    (ONE, [("peer-silent", "voice")], {"peer-silent": "✓"}),
    (ONE, [], {"peer-silent": "missed"}),
    (ONE, [("server-crash", "voice")], {"peer-silent": "missed", "server-crash": "✗"}),
    (ONE, [("peer-silent", "voice"), ("overload", "voice")], {"peer-silent": "✓", "overload": "✗"}),
    (ONE, [("peer-silent", "tasks")], {"peer-silent": "missed, ✗ (tasks)"}),
    (ONE, [("peer-silent", "voice"), ("peer-silent", "voice")], {"peer-silent": "✓, ✗"}),
    (
        BOTH,
        [("peer-silent", "voice"), ("upgrade-reset", "tasks")],
        {"peer-silent": "✓", "upgrade-reset": "✓"},
    ),
    (
        BOTH,
        [("peer-silent", "tasks"), ("upgrade-reset", "tasks")],
        {"peer-silent": "missed, ✗", "upgrade-reset": "✓"},
    ),
    (NONE, [], {}),
    (NONE, [("overload", "dialogue")], {"overload": "✗"}),
]


@pytest.mark.parametrize(("case", "raised", "row"), JUDGED)
def test_a_run_is_right_when_it_raised_what_it_must_and_nothing_else(
    case: Case, raised: list[tuple[str, str]], row: dict[str, str]
) -> None:
    judged = result(case, *raised)
    assert cells(judged) == row
    assert judged.right is all(mark == "✓" for mark in row.values())


def test_columns_are_the_incidents_own_and_then_what_else_was_raised() -> None:
    results = [result(ONE, ("aaa", "voice")), result(CASES["dialogue:session-denied"])]
    assert columns(results) == ["closed-policy-denied", "peer-silent", "aaa"]


def test_the_verdict_counts_each_sort_of_run_apart() -> None:
    results = [result(ONE, ("peer-silent", "voice")), result(CASES[TASKS.id]), result(NONE), result(BOTH)]
    assert verdict(results) == (
        "1 of 2 incidents found by their own finding and no other; 1 of 1 healthy runs without a finding; "
        "0 of 1 runs of two incidents at once with just their findings."
    )


def test_the_page_has_the_matrix_and_what_was_seen() -> None:
    results = [result(ONE, ("peer-silent", "voice"), valid=False), result(NONE, ("overload", "dialogue"))]
    lines = markdown(results, {"date": "today"}).splitlines()

    assert "- date: today" in lines
    assert "| run | `peer-silent` | `overload` |" in lines
    assert "| voice:deaf | ✓ |  |" in lines
    assert f"| {NONE.id} |  | ✗ |" in lines
    seen = "`peer-silent` on voice | error | 12 | 25 % | 12 of 48 \\| so |"
    assert f"| voice:deaf (run not valid) | {seen}" in lines


SLOW = CASES["tasks:slow-auth"]
ONSETS = [
    # what the report says, the number that is read, and what the page says
    (
        "Time-outs began with 17 handshakes under way at once.",
        17,
        "from 17 handshakes at once on they time out; the pool and its delay imply 18 (-6%).",
    ),
    (
        "Time-outs began with 1,200 handshakes under way at once: 700 + 500, each worker's.",
        1200,
        "from 1,200 handshakes at once on they time out; the pool and its delay imply 18 (+6567%).",
    ),
    (
        "TCP connected in 1 ms on average.",
        None,
        "nothing is told of where they time out; the pool and its delay imply 18.",
    ),
]


@pytest.mark.parametrize(("evidence", "told", "line"), ONSETS)
def test_the_page_sets_the_concurrency_that_was_told_beside_the_one_that_is_implied(
    evidence: str, told: int | None, line: str
) -> None:
    assert SLOW.incidents[0].implied_onset == 4 * 2.25 / 0.5
    raised = result(SLOW, ("upgrade-slow", "tasks"))
    raised = replace(raised, findings=[{**raised.findings[0], "evidence": ["8 of 28", evidence]}])
    assert onset_told(raised.findings) == told
    assert f"tasks:slow-auth: {line}" in markdown([raised, result(ONE)], {}).splitlines()
    assert "imply" not in markdown([result(ONE), result(NONE)], {})


def test_only_an_incident_that_has_a_pool_implies_a_concurrency() -> None:
    assert [each.id for each in INCIDENTS if each.implied_onset is not None] == ["tasks:slow-auth"]


def test_runs_are_chosen_by_part_of_their_names() -> None:
    assert chosen([]) == list(CASES.values())
    assert [case.id for case in chosen(["voice:deaf", "healthy call"])] == ["voice:deaf", "healthy call"]
    with pytest.raises(BenchError, match="no run's name holds 'vioce'"):
        chosen(["vioce"])


def test_the_command_names_its_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--only", "voice:d"]) == EXIT_OK
    assert capsys.readouterr().out.split("\n")[:2] == ["voice:drop-mid-utterance", "voice:deaf"]
    assert main(["--only", "vioce"]) == EXIT_ERROR
