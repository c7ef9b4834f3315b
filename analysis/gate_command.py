"""``python -m analysis gate``: whether a run meets its gates.

Exit codes: 0 pass, 1 a gate failed, 2 a wrong use, 3 inconclusive, 4 the run is not valid; of several, 2 goes
before 4, 4 before 1, and 1 before 3.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from analysis import gate
from wsoak.judge.gates import BadGates, parse_gates
from wsoak.judge.terminal import safe
from wsoak.judge.verdict import EXIT_USAGE


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("run", metavar="RUN", type=Path, help="a run directory")
    parser.add_argument(
        "--gates", metavar="FILE", type=Path, required=True, help="a TOML file: docs/gates.md"
    )
    parser.add_argument("--junit", metavar="FILE", type=Path, help="write JUnit XML there, too")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="add it to a Markdown file, too")
    parser.add_argument("--json", action="store_true", help="as JSON, as verdict.json has it")


def run(options: argparse.Namespace) -> int:
    """Judge the run, say so, and give the exit code."""
    try:
        gates = parse_gates(options.gates.read_bytes(), str(options.gates))
    except BadGates as error:
        print("\n".join(safe(mistake, 2_000) for mistake in error.mistakes), file=sys.stderr)
        return EXIT_USAGE
    verdict = gate.judge(options.run, gates)
    print(gate.show(verdict, options.json))
    gate.keep(verdict, options.run)
    if options.junit is not None:
        gate.write_junit(verdict, options.junit)
    if options.markdown is not None:
        gate.add_markdown(verdict, options.markdown)
    return verdict.exit_code
