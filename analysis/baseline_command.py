"""``python -m analysis baseline``: record runs of two servers in turns, and judge one set by the other.

    python -m analysis baseline record DIR --before URL --after URL -- EchoUser --users 50 --run-time 30s
    python -m analysis baseline judge --before RUN … --after RUN …

Exit codes: 0 pass; 1 fail; 2 a wrong use, or runs that are not alike; 3 inconclusive; 4 a run is not valid.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from analysis.baseline import LEAST_RUNS, scatter_borne
from analysis.named import WHAT, every, some_path
from analysis.recording import RECORDING_FILE, Recording
from analysis.regression import (
    DEFAULT_FIGURE,
    SHARE_TOLERANCE,
    SOUGHT,
    TOLERANCE,
    allowance,
    as_json,
    as_text,
    measure,
    member,
    regression,
    scale,
    verdict,
)
from wsoak.judge.quantity import quantity
from wsoak.judge.slo import BadSlo, Slo
from wsoak.judge.terminal import safe

RUNS: Final = 8
EXIT_CODES: Final = {"pass": 0, "fail": 1, "unsound": 2, "inconclusive": 3, "invalid": 4}
USAGE_ERROR: Final = 2
STDERR: Final = 2
"""The file descriptor: what Locust says is not the verdict."""
BEFORE, AFTER = "before", "after"
BOUNDED: Final = ("-t", "--run-time", "--shape")
"""One of these must be among Locust's arguments, or no run would ever end."""
OURS: Final = ("--host", "-H", "--run-dir", "--web-host", "--master", "--worker")
"""Arguments of Locust's that are set here, or that leave no one here to wait for the end."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    commands = parser.add_subparsers(required=True, metavar="record | judge", dest="baseline")
    judging = commands.add_parser("judge", help="judge runs that are there")
    for side in (BEFORE, AFTER):
        judging.add_argument(f"--{side}", metavar="RUN", nargs="+", required=True, help=WHAT)
    recording = commands.add_parser("record", help="record runs of two servers in turns, and judge them")
    recording.add_argument("directory", metavar="DIR", type=some_path, help="where to keep the runs")
    for side in (BEFORE, AFTER):
        recording.add_argument(f"--{side}", metavar="URL", required=True, help=f"the server {side}")
    recording.add_argument(
        "--runs", metavar="N", type=int, default=RUNS, help=f"runs a side, {LEAST_RUNS} or more ({RUNS})"
    )
    recording.add_argument(
        "locust", metavar="-- ARGUMENTS", nargs="+", help="Locust's own: users, scenarios, --run-time"
    )
    for each in (judging, recording):
        each.add_argument(
            "--figure", metavar="FIGURE", default=DEFAULT_FIGURE, help=f"what to judge by ({DEFAULT_FIGURE})"
        )
        add_tolerance(each)
        each.add_argument("--json", action="store_true", help="as JSON")


def add_tolerance(parser: argparse.ArgumentParser) -> None:
    """The argument that says how much worse is allowed."""
    parser.add_argument(
        "--tolerance",
        metavar="SHARE",
        type=_tolerance,
        help=f"how much worse is allowed (durations {TOLERANCE:.0%}%, shares {SHARE_TOLERANCE:.1%}%)",
    )


def run(options: argparse.Namespace) -> int:
    """The command; its exit code."""
    try:
        of = measure(options.figure)
    except BadSlo as error:
        return _misuse(str(error))
    if options.baseline == "record":
        if wrong := misuse_of(options.locust, options.runs, options.directory):
            return _misuse(wrong)
        if not (options.before.strip() and options.after.strip()):
            # to Locust an empty host is none, and the embedded target would be loaded
            return _misuse("--before and --after should each name a server.")
        if wrong := next((side for side in (BEFORE, AFTER) if not is_server(getattr(options, side))), ""):
            return _misuse(
                f"--{wrong} names no server: write http(s)://HOST[:PORT][/PREFIX] or ws(s)://…, without "
                "credentials, query or fragment."
            )
        print(promise(options.runs, of, options.tolerance), file=sys.stderr)
        sides = record(options.directory, options.before, options.after, options.runs, options.locust)
    else:
        sides = every(options.before), every(options.after)
    was, now = ([member(path, of) for path in paths] for paths in sides)
    found = regression(was, now, of, options.figure, options.tolerance)
    print(as_json(found) if options.json else as_text(found, of))
    return EXIT_CODES[verdict(found)]


def promise(runs: int, of: Slo, tolerance: float | None) -> str:
    """What so many runs a side can find, in a sentence."""
    relative, allowed = allowance(of, tolerance)
    beyond = scale(SOUGHT * allowed, relative) - scale(allowed, relative)
    borne, unit = scatter_borne(runs, beyond), "%" if relative else "points"
    return (
        f"{runs} runs a side find a server that is {100 * SOUGHT * allowed:.3g} {unit} worse in nine of ten "
        f"comparisons, where the runs of one differ by {100 * borne:.2g} {unit} (standard deviation) or less."
    )


def record(
    directory: Path, before: str, after: str, runs: int, locust: Sequence[str]
) -> tuple[list[Path], list[Path]]:
    """Run Locust by turns on two servers; the directories of each one's runs.

    Raises:
        UnreadableRun: when a run leaves no record, as Locust refuses its arguments; no other is made then.
    """
    urls = {BEFORE: before, AFTER: after}
    recording = Recording(directory, urls)
    made: dict[str, list[Path]] = {BEFORE: [], AFTER: []}
    turns = order(runs)
    for turn, side in enumerate(turns, 1):
        path = directory / f"{side}-{len(made[side]) + 1}"
        print(f"Run {turn} of {len(turns)}: {side}, {path}", file=sys.stderr)
        # a gate that fails, or a run that is not valid, has an exit code: the judgement reads the run itself
        subprocess.run(command(urls[side], path, locust), stdout=STDERR, check=False)
        recording.made(path)
        made[side].append(path)
    return made[BEFORE], made[AFTER]


def command(url: str, path: Path, locust: Sequence[str]) -> list[str]:
    """The command line of one run."""
    ours = ["--headless", "--only-summary", "--host", url, "--run-dir", str(path)]
    return [sys.executable, "-m", "locust", *locust, *ours]


def order(runs: int) -> list[str]:
    """In which order runs are made: A B B A A B B A …, so that a drift of the machine hits both alike.

    before  ▆        ▆  ▆        ▆
    after      ▆  ▆        ▆  ▆
    """
    turns = []
    for pair in range(runs):
        turns += [BEFORE, AFTER] if pair % 2 == 0 else [AFTER, BEFORE]
    return turns


def misuse_of(locust: Sequence[str], runs: int, directory: Path) -> str:
    """What is wrong with the arguments for recording, in a sentence; empty if nothing."""
    given = [argument.split("=", 1)[0] for argument in locust]
    if runs < LEAST_RUNS:
        return f"Fewer than {LEAST_RUNS} runs a side can neither pass nor fail: take more (--runs)."
    if taken := [name for name in given if name in OURS]:
        return f"{taken[0]} is no argument of a recorded run: leave it out."
    if not any(name in BOUNDED for name in given):
        return "The runs would never end: give Locust a --run-time, or a --shape."
    if directory.exists() and not directory.is_dir():
        return f"{directory} is not a directory: name one for the runs."
    names = [RECORDING_FILE, *(f"{side}-{turn + 1}" for side in (BEFORE, AFTER) for turn in range(runs))]
    if any((directory / name).exists() for name in names):
        return f"{directory} already holds recorded runs: name another directory."
    return ""


def is_server(url: str) -> bool:
    """Whether a text names a server that can be loaded."""
    try:
        parts = urlsplit(url.strip())
        named = parts.scheme in ("http", "https", "ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return named and parts.username is None and not parts.query and not parts.fragment


def _misuse(sentence: str) -> int:
    print(safe(sentence, 1000), file=sys.stderr)
    return USAGE_ERROR


def _tolerance(text: str) -> float:
    try:
        found = quantity(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if found.per or found.dimension not in ("share", "number") or not 0 < found.value < 1:
        raise argparse.ArgumentTypeError("should be a share, such as 10%")
    return found.value
