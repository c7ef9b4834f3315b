"""Apart: gates that only the analysis can measure, measured by it, in a process of its own.

A drift takes pandas and scipy, which never run in a process that makes load.
"""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from wsoak.judge.figures import lacks_provider
from wsoak.judge.verdict import GateResult, judge, measured_from_json
from wsoak.load.own_modules import command, surroundings

log = logging.getLogger(__name__)

PATIENCE_S: Final = 600.0
"""The analysis of a soak of a day takes a minute or two."""


def with_analysis(results: Sequence[GateResult], path: Path, gates_file: Path | None) -> list[GateResult]:
    """The results, those that nobody in this process could measure as the analysis has them.

    Args:
        path: the run, which has ended.
        gates_file: where the gates are from.
    """
    if gates_file is None or not any(lacks_provider(result.gate.expression.figure) for result in results):
        return list(results)
    told = _analysed(path, gates_file)
    return [
        _as_told(result, told) if lacks_provider(result.gate.expression.figure) else result
        for result in results
    ]


def _as_told(result: GateResult, told: Sequence[dict[str, Any]]) -> GateResult:
    gate = result.gate
    known = [each for each in told if (each["name"], each["expr"]) == (gate.name, gate.expression.text)]
    return judge(gate, measured_from_json(known[0])) if known else result


def _analysed(path: Path, gates_file: Path) -> list[dict[str, Any]]:
    """The gates' entries of what ``analysis gate`` says; none where it failed, which is logged."""
    asked = command("analysis", "gate", str(path), "--gates", str(gates_file), "--json")
    try:
        answer = subprocess.run(
            asked, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=surroundings()
        )
        entries: list[dict[str, Any]] = json.loads(answer.stdout)["gates"]
    except (OSError, subprocess.SubprocessError, ValueError, LookupError) as error:
        log.error("The analysis could not measure the drift (%s): it is left open.", type(error).__name__)
        return []
    return entries
