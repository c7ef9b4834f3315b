"""``python -m analysis gate``: whether a run meets its gates, and is no worse than the runs of a baseline.

    python -m analysis gate RUN … --gates FILE [--baseline RUN …]

Exit codes: 0 pass, 1 a gate failed, 2 a wrong use or runs that are not alike, 3 inconclusive, 4 a run is not
valid; of several, 2 goes before 4, 4 before 1, and 1 before 3.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from analysis import gate
from analysis.baseline_command import add_tolerance
from analysis.beside import Beside, Unsound, beside, distrust
from analysis.named import WHAT, every, some_path
from analysis.regression import DEFAULT_FIGURE
from wsoak.judge.gates import BadGates, parse_gates
from wsoak.judge.slo import BadSlo
from wsoak.judge.terminal import safe
from wsoak.judge.verdict import EXIT_USAGE


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help=WHAT)
    parser.add_argument(
        "--gates", metavar="FILE", type=some_path, required=True, help="a TOML file: docs/gates.md"
    )
    parser.add_argument(
        "--baseline",
        metavar="RUN",
        nargs="+",
        help="judge the runs by these, too: five or more a side, docs/baseline.md",
    )
    parser.add_argument(
        "--figure",
        metavar="FIGURE",
        action="append",
        help=f"what to judge by beside the baseline ({DEFAULT_FIGURE}); may be given more than once",
    )
    add_tolerance(parser)
    parser.add_argument("--junit", metavar="FILE", type=some_path, help="write JUnit XML there, too")
    parser.add_argument("--markdown", metavar="FILE", type=some_path, help="add it to a Markdown file, too")
    parser.add_argument("--json", action="store_true", help="as JSON, as verdict.json has it")


def run(options: argparse.Namespace) -> int:
    """Judge the runs, say so, and give the exit code."""
    try:
        gates = parse_gates(options.gates.read_bytes(), str(options.gates))
        paths = every(options.runs)
        rows = _beside(options, paths)
    except BadGates as error:
        return _misuse(error.mistakes)
    except Unsound as error:
        return _misuse(f"--baseline: {reason}" for reason in error.reasons)
    except (BadSlo, _Misuse) as error:
        return _misuse([str(error)])
    distrusted = list(dict.fromkeys(doubt for row in rows for doubt in distrust(row.regression)))
    verdicts = [gate.judge(path, gates) for path in paths]
    verdict = gate.together(verdicts, rows, distrusted)
    print(gate.show(verdict, options.json))
    for path, own in zip(paths, verdicts, strict=True):
        gate.keep(gate.together([own], rows, distrusted), path)
    if options.junit is not None:
        gate.write_junit(verdict, options.junit)
    if options.markdown is not None:
        gate.add_markdown(verdict, options.markdown)
    return verdict.exit_code


class _Misuse(ValueError):
    """Arguments that do not go together."""


def _beside(options: argparse.Namespace, paths: Sequence[Path]) -> list[Beside]:
    if not options.baseline:
        if options.figure or options.tolerance is not None:
            raise _Misuse("--figure and --tolerance go with --baseline.")
        if len({path.resolve() for path in paths}) < len(paths):
            raise _Misuse("A run is named more than once.")
        return []
    baseline = every(options.baseline)
    figures = dict.fromkeys(options.figure or [DEFAULT_FIGURE])
    return beside(baseline, paths, list(figures), options.tolerance)


def _misuse(sentences: Iterable[str]) -> int:
    print("\n".join(safe(sentence, 2_000) for sentence in sentences), file=sys.stderr)
    return EXIT_USAGE
