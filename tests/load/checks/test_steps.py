"""Steps: the table and the one sentence."""

from __future__ import annotations

import json

import pytest

from wsoak.judge.observed_rules import OBSERVED
from wsoak.judge.rules import RULES
from wsoak.load.checks.steps import CAUSES, OTHERWISE, Outcome, Result, Step, Tried

HOSTILE = "\x1b[2J\u202eevil\n<script>"


def step(result: Result, scenario: str = "EchoUser", text: str = "seen", finding: str = "") -> Step:
    return Step(scenario, "rehearsal", result, text, finding)


def test_nothing_stops_a_run_but_what_failed() -> None:
    outcome = Outcome([step("ok"), step("warning")])
    assert (outcome.sentence(), outcome.failed, outcome.to_json()["passed"]) == ("", [], True)


def test_what_stops_a_run_is_one_sentence_with_the_likely_cause() -> None:
    outcome = Outcome(
        [
            step("failed", "BUser", "x is refused.", "server-unreachable"),
            step("failed", "CUser", "y is refused.", "server-unreachable"),
            step("failed", "DUser", "other", "log-in-refused"),
            step("ok"),
        ]
    )
    assert outcome.sentence() == (
        "The checks failed for BUser and CUser (rehearsal): x is refused; likely cause: "
        f"{CAUSES['server-unreachable']}."
    )


def test_a_finding_of_a_scenarios_own_is_referred_to() -> None:
    assert OTHERWISE in Outcome([step("failed", finding="of-its-own")]).sentence()


@pytest.mark.parametrize("finding", sorted(CAUSES))
def test_every_cause_is_of_a_finding_that_the_judge_knows(finding: str) -> None:
    assert finding in {rule.id for rule in RULES} | OBSERVED.keys()
    assert not CAUSES[finding].endswith(".")
    assert "\n" not in CAUSES[finding]


def test_what_a_server_says_is_shown_as_text_on_one_line() -> None:
    door = Tried("EchoUser", "x-accepted", HOSTILE, "/p?token=***", "without credentials", HOSTILE, True)
    outcome = Outcome([step("failed", text=HOSTILE)], [door])
    for text in (outcome.sentence(), *outcome.lines(), json.dumps(outcome.to_json())):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "\n" not in text


def test_the_columns_of_the_table_stand_below_each_other() -> None:
    lines = Outcome([step("ok", "AUser", "one"), step("warning", "LongerUser", "two")]).lines()
    assert lines == ["ok       AUser       rehearsal  one", "warning  LongerUser  rehearsal  two"]
    assert Outcome().lines() == []
