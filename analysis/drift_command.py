"""``python -m analysis drift``: what drifts over a run's load, of one that still goes on as well.

Exit codes: 0 nothing drifts, 1 something does, 2 a wrong use, 3 the run cannot say of something, 4 the run is
not valid; of several, 2 goes before 4, 4 before 1, and 1 before 3. An early verdict is 1 or 3: what has not
drifted so far may yet.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from analysis.diagnose import WIDTH, validity_lines
from analysis.frames import Run, load
from analysis.named import some_path
from analysis.soak import Drift, drifts, early, no_soak
from wsoak.judge import verdict
from wsoak.judge.terminal import safe
from wsoak.judge.validity import is_valid
from wsoak.judge.verdict import EXIT_CODES, INCONCLUSIVE, INVALID


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "run", metavar="RUN", type=some_path, help="a run directory, of a run under way as well"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(options: argparse.Namespace) -> int:
    """Say what drifts, and give the exit code."""
    read = load(options.run)
    found = drifts(read)
    print(as_json(read, found) if options.json else as_text(read, found))
    return exit_code(read, found)


def exit_code(read: Run, found: Sequence[Drift]) -> int:
    """See the module."""
    words = [
        *(drift.verdict for drift in found),
        *([] if is_valid(read.doubts) else [INVALID]),
        *([INCONCLUSIVE] if read.under_way else []),
    ]
    return verdict.exit_code(EXIT_CODES[word] for word in words)


def as_json(read: Run, found: Sequence[Drift]) -> str:
    """The run, the exit code, why the run is not valid, and the drifts, worst first."""
    told: dict[str, Any] = {
        "run": read.run_id,
        "early": read.under_way,
        "exit_code": exit_code(read, found),
        "doubts": [doubt.to_json() for doubt in read.doubts],
        "drifts": [drift.to_json() for drift in found],
    }
    return json.dumps(told, indent=2, ensure_ascii=True)


def as_text(read: Run, found: Sequence[Drift]) -> str:
    """The same for a terminal."""
    return "\n".join(_lines(read, found))


def _lines(read: Run, found: Sequence[Drift]) -> Iterator[str]:
    yield f"Run {safe(read.run_id)}"
    yield from validity_lines(read)
    if found and read.under_way:
        yield from textwrap.wrap(early(read), WIDTH)
    yield ""
    for drift in found:
        heading = f"{drift.verdict.upper()} {drift.name}: {drift.sentence}"
        yield from textwrap.wrap(safe(heading, len(heading)), WIDTH, subsequent_indent="    ")
    if not found:
        yield from textwrap.wrap(no_soak(read), WIDTH)
