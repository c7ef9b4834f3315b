"""Gate: the verdict on a run from its directory, as the run itself would have said it, or on several."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from wsoak.judge.findings import find
from wsoak.judge.gates import Gate
from wsoak.judge.latency_limit import with_gates
from wsoak.judge.meters import Material
from wsoak.judge.terminal import safe
from wsoak.judge.validity import Doubt, doubts
from wsoak.judge.verdict import GateResult, Trial, Verdict
from wsoak.judge.verdict_text import junit, markdown, table
from wsoak.ledger.rundir import JUNIT_FILE, VERDICT_FILE, RunReader, write_json, write_text

UNDER_WAY: Final = Doubt(
    "under-way",
    "The run still goes on: what it will be is not known.",
    "Wait for its end.",
    invalid=True,
)


def judge(path: Path, gates: Sequence[Gate]) -> Verdict:
    """What the gates say of the run in a directory.

    Raises:
        UnreadableRun: when it holds no run that this wsoak can read.
    """
    reader = RunReader(path)
    under_way = reader.under_way
    told = reader.header.get("started_at")
    started_at = float(told) if isinstance(told, int | float) else 0.0
    trial = Trial(gates, started_at)
    books = reader.books(trial)
    findings = find(books, started_at)
    header = with_gates(reader.header, gates)
    doubted = doubts(books, header, under_way=under_way, damaged=reader.damaged)
    results = trial.results(
        Material(books, started_at, lambda: findings, reader), reader.header.get("stopped_by")
    )
    return Verdict(reader.run_id, tuple(results), tuple([UNDER_WAY, *doubted] if under_way else doubted))


def together(
    verdicts: Sequence[Verdict], more: Sequence[GateResult] = (), distrust: Sequence[Doubt] = ()
) -> Verdict:
    """The verdicts on several runs as one, in which each gate and doubt names its run; of one run, its own.

    Args:
        more: what all the runs say together.
        distrust: the doubts about that.
    """
    several = len(verdicts) > 1
    results = [
        _of(verdict, result) if several else result for verdict in verdicts for result in verdict.results
    ]
    doubted = [
        replace(doubt, reason=f"{verdict.run_id}: {doubt.reason}") if several else doubt
        for verdict in verdicts
        for doubt in verdict.doubts
    ]
    run_id = ", ".join(verdict.run_id for verdict in verdicts)
    return Verdict(run_id, (*results, *more), (*doubted, *distrust))


def _of(verdict: Verdict, result: GateResult) -> GateResult:
    return replace(result, gate=replace(result.gate, name=f"{verdict.run_id}: {result.gate.name}"))


def show(verdict: Verdict, as_json: bool) -> str:
    """The verdict for the terminal, or as JSON."""
    return json.dumps(verdict.to_json(), indent=2, ensure_ascii=True) if as_json else table(verdict)


def keep(verdict: Verdict, path: Path) -> None:
    """Write ``verdict.json`` and ``junit.xml`` into the run, where that can be written to."""
    try:
        write_json(path / VERDICT_FILE, verdict.to_json())
        write_text(path / JUNIT_FILE, junit(verdict))
    except OSError as error:
        # the verdict stands: a run may be kept where nobody writes
        said = f"{path / VERDICT_FILE} could not be written: {error.strerror}."
        print(safe(said, 1_000), file=sys.stderr)


def write_junit(verdict: Verdict, path: Path) -> None:
    """Write JUnit XML to a file of its own.

    Raises:
        OSError: when it cannot be written.
    """
    write_text(path, junit(verdict))


def add_markdown(verdict: Verdict, path: Path) -> None:
    """Add the verdict to a Markdown file: the steps of a CI job share one summary.

    Raises:
        OSError: when it cannot be written.
    """
    with path.open("a", encoding="utf-8") as file:
        file.write(markdown(verdict))
