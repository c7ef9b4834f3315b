"""Diagnose: what went wrong in a run, for the terminal or as JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Final

from analysis.frames import Run
from analysis.report import state
from wsoak.judge.findings import Finding
from wsoak.judge.summary import happened, when
from wsoak.judge.terminal import safe
from wsoak.judge.validity import is_valid
from wsoak.judge.words import counted, percent

WIDTH: Final = 100


def as_json(run: Run) -> str:
    """The findings as a JSON list."""
    return json.dumps([finding.to_json() for finding in run.findings], indent=2, ensure_ascii=True)


def as_text(run: Run) -> str:
    """Validity, findings with evidence and hints, and what happened."""
    return "\n".join(line for block in _blocks(run) for line in block)


def _blocks(run: Run) -> Iterator[list[str]]:
    yield [f"Run {safe(run.run_id)}", ""]
    yield list(validity_lines(run))
    if run.findings:
        yield ["", counted(len(run.findings), "finding") + ":"]
        for finding in run.findings:
            yield ["", *finding_lines(finding)]
    else:
        yield ["", "No findings."]
    yield ["", "What happened:", *_points(happened(run.books, run.header, run.mass_drops))]


def validity_lines(run: Run) -> Iterator[str]:
    """Whether the run is to be believed, wrapped for a terminal."""
    if standing := state(run):
        yield from _wrapped(standing)
    if is_valid(run.doubts):
        yield "The run is valid."
    else:
        yield "The run is NOT VALID: do not conclude from its numbers."
    yield from _points(f"{doubt.reason} {doubt.advice}" for doubt in run.doubts)


def finding_lines(finding: Finding) -> Iterator[str]:
    """One finding, wrapped for a terminal."""
    share = percent(finding.share, 1)
    yield f"{finding.severity.upper()}  {finding.id} on {finding.system}"
    yield f"    {finding.count:,} ({share}), {when(finding)} after the start"
    yield from _points(finding.evidence, "    - ")
    yield from _wrapped("Where to look: " + finding.hint, "    ", "    ")


def _points(sentences: Iterator[str] | tuple[str, ...] | list[str], first: str = "  - ") -> Iterator[str]:
    for sentence in sentences:
        yield from _wrapped(sentence, first, " " * len(first))


def _wrapped(text: str, first: str = "", later: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=later)
