"""``python -m analysis``: what a run's directory tells; the subcommands are those of ``COMMANDS``.

Exit codes: 0, and 2 for a wrong use or a run that cannot be read.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from analysis import baseline_command, capacity_command, compare, diagnose, drift_command, gate_command
from analysis.frames import load
from analysis.named import WHAT, some_path
from analysis.report import write_report
from wsoak.judge import streams
from wsoak.judge.terminal import safe
from wsoak.judge.validity import is_valid
from wsoak.judge.words import counted
from wsoak.ledger.rundir import UnreadableRun

USAGE_ERROR: Final = 2


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand: what it does, its arguments, and the function that runs it and gives the exit code.

    ``judges``: that code is a verdict, and what was not said to the end must not read as a pass.
    """

    name: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    judges: bool = False


def _run_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", type=some_path, help="a run directory")


def _diagnose_arguments(parser: argparse.ArgumentParser) -> None:
    _run_argument(parser)
    parser.add_argument("--json", action="store_true", help="the findings as a JSON list")


def _compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", metavar="BEFORE", help=WHAT)
    parser.add_argument("after", metavar="AFTER", help=WHAT)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--markdown", action="store_true", help="as Markdown, for a report")
    parser.add_argument("--html", metavar="FILE", type=some_path, help="write it as a page, too")


def _report(options: argparse.Namespace) -> int:
    run = load(options.run)
    path = write_report(run)
    if not is_valid(run.doubts):
        print("\n".join(diagnose.validity_lines(run)))
    for finding in run.findings:
        print(f"{finding.severity.upper()}  {finding.id} on {finding.system}: {finding.evidence[0]}")
    if not run.findings:
        print(counted(0, "finding"))
    print(f"Report: {path}")
    return 0


def _diagnose(options: argparse.Namespace) -> int:
    run = load(options.run)
    if options.json:
        if not is_valid(run.doubts):
            print("\n".join(diagnose.validity_lines(run)), file=sys.stderr)
        print(diagnose.as_json(run))
    else:
        print(diagnose.as_text(run))
    return 0


def _compare(options: argparse.Namespace) -> int:
    comparison = compare.compare(compare.side(options.before), compare.side(options.after))
    if options.html is not None:
        compare.write_html(comparison, options.html)
    forms = ((options.json, compare.as_json), (options.markdown, compare.as_markdown))
    as_asked = next((form for asked, form in forms if asked), compare.as_text)
    print(as_asked(comparison))
    return 0


COMMANDS: Final[tuple[Command, ...]] = (
    Command("report", "draw report.html and charts/*.png into the run directory", _run_argument, _report),
    Command(
        "diagnose", "say what went wrong, with evidence and where to look", _diagnose_arguments, _diagnose
    ),
    Command(
        "gate",
        "say whether the run meets its gates, with exit code 0, 1, 2, 3 or 4",
        gate_command.arguments,
        gate_command.run,
        judges=True,
    ),
    Command("compare", "set two runs, or two sets of runs, side by side", _compare_arguments, _compare),
    Command(
        "capacity",
        "how much load one node carries at an objective, and how many nodes a forecast needs",
        capacity_command.arguments,
        capacity_command.run,
        judges=True,
    ),
    Command(
        "drift",
        "say what drifts over a soak, under way or over, with exit code 0, 1, 2, 3 or 4",
        drift_command.arguments,
        drift_command.run,
        judges=True,
    ),
    Command(
        "baseline",
        "record runs of two servers in turns, and judge a set of runs by another",
        baseline_command.arguments,
        baseline_command.run,
        judges=True,
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; its exit code."""
    streams.never_fail_to_encode()
    parser = argparse.ArgumentParser(prog="python -m analysis", description="What a run's directory tells.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        subparser = subparsers.add_parser(command.name, help=command.help, description=command.help)
        command.arguments(subparser)
        subparser.set_defaults(command=command)
    options = parser.parse_args(arguments)
    code: int = USAGE_ERROR if options.command.judges else 0
    try:
        code = options.command.run(options)
        if sys.stdout is not None:
            sys.stdout.flush()
    except UnreadableRun as error:
        print(safe(str(error), 1000), file=sys.stderr)
        return USAGE_ERROR
    except BrokenPipeError:
        # the reader of our output has gone (`| head`): nothing is left to say, not even at exit
        streams.silence(sys.stdout)
    except OSError as error:
        # of a file that cannot take another's place, the one that was asked for
        file = error.filename2 or error.filename or "A file"
        print(safe(f"{file}: {error.strerror}.", 1000), file=sys.stderr)
        streams.flush()
        return USAGE_ERROR
    except Exception:  # noqa: BLE001 - Python's own exit code would say that a gate has failed
        traceback.print_exc()
        return USAGE_ERROR
    return code


if __name__ == "__main__":
    sys.exit(main())
