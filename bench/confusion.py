"""The confusion matrix, `python -m bench.confusion`: every incident, loaded for real, against every finding.

Exit codes: 0 each run raised what it must and nothing else, 1 one did not, 2 wrong usage or a run that could
not be made.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final

from bench.contenders import ROOT
from bench.incident_runs import PATIENCE_S, facts, loaded
from bench.incidents import CASES, Case
from bench.matrix import Result, markdown, verdict
from bench.processes import BenchError
from wsoak.judge.streams import never_fail_to_encode

EXIT_OK, EXIT_WRONG, EXIT_ERROR = 0, 1, 2

PAGE: Final = ROOT / "docs" / "confusion.md"
AT_ONCE: Final = 2


def parser() -> argparse.ArgumentParser:
    """The command line's options."""
    made = argparse.ArgumentParser(prog="python -m bench.confusion", description=__doc__)
    made.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="TEXT",
        help="only the runs whose name holds TEXT, such as voice or tasks:slow-auth; may be repeated",
    )
    made.add_argument("--at-once", type=int, default=AT_ONCE, help=f"runs at a time (default {AT_ONCE})")
    made.add_argument("--list", action="store_true", help="name the runs, and make none")
    made.add_argument("--keep", type=Path, metavar="DIR", help="keep the runs' directories here")
    made.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help="where the page goes (default docs/confusion.md, and nowhere with --only)",
    )
    return made


def chosen(texts: Sequence[str]) -> list[Case]:
    """The cases whose names hold one of the texts; all of them where there is none.

    Raises BenchError for a text that no case's name holds.
    """
    for text in texts:
        if not any(text in id_ for id_ in CASES):
            raise BenchError(f"no run's name holds {text!r}: they are {', '.join(CASES)}")
    return [case for case in CASES.values() if not texts or any(text in case.id for text in texts)]


def diagnose(case: Case, run: Path) -> list[dict[str, object]]:
    """The findings, as the command tells them.

    Raises BenchError where the run cannot be read.
    """
    answer = subprocess.run(
        [sys.executable, "-m", "analysis", "diagnose", str(run), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    if answer.returncode != 0:
        raise BenchError(f"no diagnosis of {case.id}: {answer.stderr.strip()}")
    found: list[dict[str, object]] = json.loads(answer.stdout)
    return found


def made(case: Case, folder: Path) -> Result:
    """What the case's run raised.

    Raises BenchError where it cannot be made.
    """
    begun = time.monotonic()
    run, valid = loaded(case, folder)
    return Result(case, diagnose(case, run), valid, time.monotonic() - begun)


# ------------------------------------------------------------------------------------------ command line


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    never_fail_to_encode()
    options = parser().parse_args(arguments)
    if options.at_once < 1:
        parser().error("--at-once must be at least 1")
    try:
        cases = chosen(options.only)
        if options.list:
            print("\n".join(case.id for case in cases))
            return EXIT_OK
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            results = measured(cases, options.keep or Path(folder), options.at_once)
    except BenchError as error:
        print(f"bench.confusion: {error}", file=sys.stderr)
        return EXIT_ERROR
    only = [word for text in options.only for word in ("--only", text)]
    made_by = facts("bench.confusion", only, time.monotonic() - begun, options.at_once)
    page = markdown(results, made_by)
    path = options.write or (None if options.only else PAGE)
    if path is None:
        print(page)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
        print(f"{verdict(results)} See {path}.")
    return EXIT_OK if all(result.right for result in results) else EXIT_WRONG


def measured(cases: Sequence[Case], folder: Path, at_once: int) -> list[Result]:
    """The results of all cases, in their order; what each of them came to is told as it does.

    Raises BenchError, when all are done, where some could not be made.
    """
    results: dict[str, Result] = {}
    failures: list[str] = []
    with ThreadPoolExecutor(at_once) as pool:
        begun = {
            pool.submit(made, case, folder / case.id.replace(":", "-").replace(" ", "-")): case
            for case in cases
        }
        try:
            for done in as_completed(begun):
                try:
                    result = results[begun[done].id] = done.result()
                except BenchError as error:
                    failures.append(str(error))
                else:
                    print(_progress(result), file=sys.stderr, flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if failures:
        raise BenchError("\n".join(failures))
    return [results[case.id] for case in cases]


def _progress(result: Result) -> str:
    said = [f"{id_} on {system}" for id_, system in result.raised] or ["no finding"]
    missed = [f"missed {id_} on {system}" for id_, system in result.missed]
    doubtful = "" if result.valid else ", run not valid"
    verdict_ = "right" if result.right else "WRONG"
    return f"{verdict_:<6} {result.case.id}: {', '.join(said + missed)} ({result.took_s:.0f} s{doubtful})"


if __name__ == "__main__":
    sys.exit(main())
