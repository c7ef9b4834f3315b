"""``python -m analysis capacity``: how much load one node carries, and how many nodes a forecast needs.

Exit codes: 0; 2 for a wrong use; 3 where the steps allow no statement; 4 for a run that is not valid.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from analysis.capacity_asked import PLAN_FILE, keep, searched_for
from analysis.frames import Run, load
from analysis.named import some_path
from analysis.plan_page import write_plan
from analysis.planning import (
    LOADS,
    SPARES,
    UTILISATION,
    Asked,
    BadTable,
    Plan,
    as_json,
    as_text,
    plan_of_run,
    plan_of_table,
)
from analysis.stepped import EXAMPLE
from analysis.steps import by_second
from wsoak.judge.slo import BadSlo, Slo, slo
from wsoak.judge.terminal import safe

PASS: Final = 0
USAGE_ERROR: Final = 2
INCONCLUSIVE: Final = 3
NOT_VALID: Final = 4


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "run", metavar="RUN", type=some_path, nargs="?", help="a run directory, recorded with steps"
    )
    parser.add_argument(
        "--table",
        metavar="CSV",
        type=some_path,
        help="instead of a run: columns load,throughput (and p99_ms)",
    )
    parser.add_argument(
        "--slo",
        metavar="EXPR",
        help='the objective, such as "response p(99) < 250ms"; else what the run searched for',
    )
    parser.add_argument("--forecast", metavar="N", type=_positive, help="the peak load to be planned for")
    parser.add_argument(
        "--utilisation",
        metavar="SHARE",
        type=_share,
        default=UTILISATION,
        help=f"how much of its capacity a node is to carry, up to 1 ({UTILISATION})",
    )
    parser.add_argument(
        "--spares", metavar="N", type=_count, default=SPARES, help=f"nodes beyond those ({SPARES})"
    )
    parser.add_argument(
        "--load",
        choices=LOADS,
        default="",
        help="what load is counted in (sockets; users where they come and go)",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument(
        "--html",
        metavar="FILE",
        type=some_path,
        help=f"where to write the page ({PLAN_FILE} in the run; none of a table, or with --json)",
    )


def run(options: argparse.Namespace) -> int:
    """The command; its exit code."""
    try:
        asked = _asked(options)
        plan = plan_of_table(options.table, asked) if options.table else _plan_of_run(options, asked)
    except (BadSlo, BadTable, _Misuse) as error:
        print(safe(str(error), 1000), file=sys.stderr)
        return USAGE_ERROR
    print(as_json(plan) if options.json else as_text(plan))
    if options.table and options.html:
        write_plan(plan, options.html)
    return _exit_code(plan)


def _plan_of_run(options: argparse.Namespace, asked: Asked) -> Plan:
    run_ = load(options.run)
    if asked.slo is None:
        asked = replace(asked, slo=_searched(run_.header))
    plan = plan_of_run(run_, asked)
    page = options.html or (None if options.json else run_.path / PLAN_FILE)
    if page is not None:
        write_plan(plan, page, by_second(run_, "open_sockets"))
        print(f"Plan: {page}", file=sys.stderr)
    _keep(run_, asked)
    return plan


def _keep(run_: Run, asked: Asked) -> None:
    """Keep the objective for the report. A plan stands without: its run may be on a disk to be read only."""
    try:
        keep(run_.path, asked)
    except OSError as error:
        told = f"{error.filename2 or error.filename}: {error.strerror}. The report cannot know of it."
        print(safe(told, 1000), file=sys.stderr)


def _searched(header: Mapping[str, Any]) -> Slo:
    """The objective that the run itself searched for."""
    found = searched_for(header)
    if found is None:
        raise _Misuse(f'A run needs an objective: --slo "{EXAMPLE}".')
    return found


class _Misuse(ValueError):
    """Arguments that do not go together."""


def _asked(options: argparse.Namespace) -> Asked:
    if (options.run is None) == (options.table is None):
        raise _Misuse("Name a run directory, or a table with --table: one of the two.")
    return Asked(
        slo=slo(options.slo) if options.slo else None,
        forecast=options.forecast,
        utilisation=options.utilisation,
        spares=options.spares,
        load=options.load,
    )


def _exit_code(plan: Plan) -> int:
    if not plan.valid:
        return NOT_VALID
    wanted = ["nodes"] if plan.asked.forecast is not None else []
    wanted += ["capacity"] if plan.asked.slo is not None else ["usl"]
    return INCONCLUSIVE if any(name in plan.missing for name in wanted) else PASS


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError("should be a number") from None


def _positive(text: str) -> float:
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("should be above 0")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError("should be above 0 and at most 1")
    return value


def _count(text: str) -> int:
    value = _number(text)
    if not value >= 0 or value != value // 1:
        raise argparse.ArgumentTypeError("should be a whole number, 0 or above")
    return int(value)
