"""Collector: adds deltas up, writes them to the run directory, and judges the run at its end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from wsoak.judge.drops import AttemptLog, mass_drops
from wsoak.judge.findings import Finding, find
from wsoak.judge.gates import Gate
from wsoak.judge.meters import Material
from wsoak.judge.summary import summarise
from wsoak.judge.user_code import user_errors
from wsoak.judge.validity import Doubt, doubts, is_valid
from wsoak.judge.verdict import Trial, Verdict
from wsoak.judge.verdict_text import junit
from wsoak.ledger.books import Books
from wsoak.ledger.delta import Delta
from wsoak.ledger.rundir import (
    FINDINGS_FILE,
    JUNIT_FILE,
    RUN_FILE,
    VERDICT_FILE,
    RunReader,
    RunWriter,
    UnreadableRun,
    UnwritableRun,
    write_json,
    write_text,
)
from wsoak.load.apart import with_analysis

HORIZON_S: Final = 120
"""How much of the timeline stays in memory; all of it is on disk."""

RESULTS: Final = Path("results")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the harness says of a run that is over."""

    path: Path
    findings: list[Finding]
    doubts: list[Doubt]
    sentences: list[str]
    verdict: Verdict | None = None
    """What the gates say, where there are any."""

    @property
    def valid(self) -> bool:
        """Whether the run is to be believed."""
        return is_valid(self.doubts)


class Collector:
    """One run's books and directory.

    Args:
        path: the run directory to make.
        header: what ``run.json`` says from the start on.
        gates: what the run must meet; ``gates_file`` is where they are from.

    Raises:
        ledger.rundir.UnwritableRun: when the directory cannot be made.
    """

    def __init__(
        self,
        path: Path,
        header: dict[str, Any],
        gates: Sequence[Gate] = (),
        gates_file: Path | None = None,
    ) -> None:
        self.path = path
        self._gates = gates
        self._gates_file = gates_file
        self.books = Books(HORIZON_S)
        self._marks: list[dict[str, Any]] = []
        self._writer = RunWriter(path, header)

    def add(self, delta: Delta) -> None:
        """Take a delta in.

        Raises:
            ledger.rundir.UnwritableRun: when the disk refuses.
        """
        if not delta.empty:
            self.books.add(delta)
            self._writer.append(delta)

    def discard(self) -> None:
        """Take the run back: it never began."""
        self._writer.discard()

    def mark(self, at_s: float, text: str) -> None:
        """Keep a step of the run's shape: seconds from the start, and what began.

        Raises:
            ledger.rundir.UnwritableRun: when the disk refuses.
        """
        self._marks.append({"at_s": round(at_s, 3), "text": text})
        self._writer.update(marks=self._marks)

    def note(self, **fields: Any) -> None:
        """Say in ``run.json`` what was not known at the start.

        Raises:
            ledger.rundir.UnwritableRun: when the disk refuses.
        """
        self._writer.update(**fields)

    def finish(
        self, ended_by: str, workers: list[dict[str, Any]], stopped_by: dict[str, Any] | None = None
    ) -> Judgement:
        """Say that the run ended, and judge it from what is on disk, as the analysis will.

        Args:
            workers: who reported, as ``relay.Roll.to_json`` gives them.
            stopped_by: the gate that stopped the run, if one did, as ``abort.Stopped.to_json`` gives it.

        Raises:
            ledger.rundir.UnwritableRun: when the disk refuses.
        """
        told: dict[str, Any] = {"ended_by": ended_by, "workers": workers}
        told["exceptions"] = [
            {**kind._asdict(), "count": summary.count} for kind, summary in user_errors(self.books)
        ]
        if stopped_by is not None:
            told["stopped_by"] = stopped_by
        self._writer.finish(ended_at=round(time.time(), 3), **told)
        try:
            reader = RunReader(self.path)
            started_at = float(reader.header["started_at"])
            trial = Trial(self._gates, started_at)
            attempts = AttemptLog()
            books = reader.books(trial, attempts)
            findings = find(books, started_at)
            doubted = doubts(books, reader.header, damaged=reader.damaged)
            write_json(self.path / FINDINGS_FILE, [finding.to_json() for finding in findings])
            verdict = None
            if self._gates:
                material = Material(books, started_at, lambda: findings, reader)
                results = with_analysis(trial.results(material, stopped_by), self.path, self._gates_file)
                verdict = Verdict(reader.run_id, tuple(results), tuple(doubted))
                write_json(self.path / VERDICT_FILE, verdict.to_json())
                write_text(self.path / JUNIT_FILE, junit(verdict))
        except UnreadableRun as error:
            raise UnwritableRun(str(error)) from error
        except OSError as error:
            raise UnwritableRun(f"Writing to {self.path} failed: {error.strerror}.") from error
        drops = mass_drops(attempts.attempts(), books)
        sentences = summarise(books, reader.header, findings, doubted, drops)
        return Judgement(self.path, findings, doubted, sentences, verdict)


def new_run(
    wanted: Path | None, scenarios: list[str], started_at: float, *, numbered: bool = True
) -> tuple[str, Path]:
    """The id and directory of a new run: ``results/<UTC time>-<scenarios>`` unless a directory is wanted.

    The id is the directory's name, with what may not stand in an HTTP header in percent-encoding.

    Args:
        numbered: a wanted directory that holds a run already gets a number after its name, as for the second
            run of a UI session; else it stays, and ``Collector`` will refuse it: a script that asks for a
            directory reads its result there.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(started_at))
    names = "-".join(sorted(name.removesuffix("User").lower() for name in scenarios)) or "run"
    path = wanted or RESULTS / f"{stamp}-{names[:60]}"
    number = 1
    free = path
    while (numbered and (free / RUN_FILE).exists()) if wanted else free.exists():
        number += 1
        # not with_name: ".", ".." and "/" have none that a number could follow
        free = Path(f"{path.resolve() if path.name in ('', '..') else path}-{number}")
    return quote(free.resolve().name) or "run", free
