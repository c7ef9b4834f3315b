"""Verdict text: what gates said, as a table for the terminal, as Markdown, and as JUnit XML.

All three are made of the same rows. What a gate is called, and what a finding's id says, is printed safely.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite

from wsoak.judge.terminal import safe
from wsoak.judge.user_code import CALLBACKS_FAILED
from wsoak.judge.verdict import FAIL, INCONCLUSIVE, INVALID, MISUSE, PASS, GateResult, Verdict
from wsoak.judge.words import counted

COLUMNS: Final = ("verdict", "gate", "actual", "limit", "95 % interval", "samples")
NAME_SHOWN: Final = 72
NOTE_SHOWN: Final = 300
MARKS: Final = {PASS: "✅", FAIL: "❌", INCONCLUSIVE: "❔", INVALID: "⛔", MISUSE: "⛔"}
SENTENCES: Final = {
    PASS: "every gate passed",
    FAIL: "a gate failed",
    INCONCLUSIVE: "no gate failed, but not every one has the samples to pass",
    INVALID: "the run is not valid, so that nothing may be concluded from it",
    MISUSE: "the scenario's own code failed, so that nothing may be concluded from the run",
}


def row(result: GateResult) -> tuple[str, ...]:
    """A gate's cells, one for each of ``COLUMNS``."""
    return (
        result.verdict.upper(),
        safe(result.gate.name, NAME_SHOWN),
        result.actual,
        result.limit,
        result.interval,
        result.samples,
    )


def conclusion(verdict: Verdict) -> str:
    """The last sentence: the verdict, why, and the exit code."""
    return f"Verdict: {verdict.word.upper()} ({SENTENCES[verdict.word]}; exit code {verdict.exit_code})."


def _notes(verdict: Verdict) -> Iterator[str]:
    for result in verdict.results:
        if result.note and result.measured.value is None:
            why = "" if result.note == result.actual else f": {safe(result.note, NOTE_SHOWN)}"
            yield f"{safe(result.gate.name, NAME_SHOWN)}: {result.actual}{why}."
        elif result.note and result.verdict != PASS:
            yield f"{safe(result.gate.name, NAME_SHOWN)}: {safe(result.note, NOTE_SHOWN)}."


def _reasons(verdict: Verdict) -> Iterator[str]:
    for doubt in verdict.doubts:
        if doubt.invalid or doubt.id == CALLBACKS_FAILED:
            yield f"{doubt.reason} {doubt.advice}"


# ---------------------------------------------------------------------------------------------- terminal


def table(verdict: Verdict) -> str:
    """The gates as a table for a terminal, with notes and the verdict below it."""
    rows = [COLUMNS, *(row(result) for result in verdict.results)]
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = [_aligned(cells, widths) for cells in rows]
    lines.insert(1, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    lines += [f"  {note}" for note in _notes(verdict)]
    if not verdict.valid:
        lines += ["The run is NOT VALID:", *(f"  {reason}" for reason in _reasons(verdict))]
    return "\n".join([*lines, conclusion(verdict)])


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True))
    return "  ".join(padded).rstrip()


def _width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


# ---------------------------------------------------------------------------------------------- markdown


def markdown(verdict: Verdict) -> str:
    """The gates as a Markdown table, for a summary of a CI job."""
    title = f"### {MARKS[verdict.word]} wsoak gates: {verdict.word}"
    head = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    body = [
        f"| {' | '.join([f'{MARKS[result.verdict]} {result.verdict}', *map(_cell, row(result)[1:])])} |"
        for result in verdict.results
    ]
    run = f"Run {_cell(safe(verdict.run_id))}. {conclusion(verdict)}"
    reasons = [f"- **not valid**: {_cell(reason)}" for reason in _reasons(verdict)]
    notes = [f"- {_cell(note)}" for note in _notes(verdict)]
    blocks = [[title], [run], [*head, *body], [*reasons, *notes]]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _cell(text: str) -> str:
    """A text that Markdown takes for nothing else, and that does not end a cell."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{sign}" if sign in "\\|`*_[]{}#~!" else sign for sign in escaped)


# ------------------------------------------------------------------------------------------------- junit


def junit(verdict: Verdict) -> str:
    """The gates as JUnit XML: a case each, and one for the run's validity.

    A gate that failed is a failure, one that is inconclusive an error: neither is green.
    """
    suite = TestSuite("wsoak gates")
    suite.add_property("run_id", safe(verdict.run_id))
    suite.add_property("verdict", verdict.word)
    suite.add_property("exit_code", str(verdict.exit_code))
    suite.add_testcase(_validity(verdict))
    for result in verdict.results:
        suite.add_testcase(_case(result))
    document = JUnitXml("wsoak")
    document.add_testsuite(suite)
    raw: bytes = document.tostring()  # type: ignore[no-untyped-call]
    return raw.decode("utf-8")


def _validity(verdict: Verdict) -> TestCase:
    case = TestCase("the run is valid", classname="wsoak.run", time=0)
    if not verdict.valid:
        reasons = [safe(reason, 2_000) for reason in _reasons(verdict)]
        error = Error(f"{counted(len(reasons), 'reason')} not to believe the run", INVALID)
        error.text = "\n".join(reasons)
        case.result = [error]
    return case


def _case(result: GateResult) -> TestCase:
    case = TestCase(safe(result.gate.name), classname="wsoak.gates", time=0)
    told = "\n".join(f"{column}: {cell}" for column, cell in zip(COLUMNS[2:], row(result)[2:], strict=True))
    note = f"\n{safe(result.note, NOTE_SHOWN)}" if result.note else ""
    text = f"{safe(result.gate.expression.text, 1_000)}\n{told}{note}"
    if result.verdict == PASS:
        case.system_out = text
        return case
    kind = Failure if result.verdict == FAIL else Error
    why = kind(f"{result.actual}, where {result.limit} is asked for", result.verdict)
    why.text = text
    case.result = [why]
    return case
