"""Console: what wsoak prints beside Locust's own tables."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import NoReturn

from wsoak.judge.terminal import safe
from wsoak.judge.verdict_text import table
from wsoak.load.collector import Judgement

EXIT_USAGE = 2

SENTENCE_LIMIT = 2_000


def refuse(sentences: list[str]) -> NoReturn:
    """Say what is wrong with the command, and end.

    Raises:
        SystemExit: always, with 2; Locust's events let it through, as it is no ``Exception``.
    """
    for sentence in sentences:
        print(sentence, file=sys.stderr)
    raise SystemExit(EXIT_USAGE)


def show_line(text: str) -> None:
    """Print a live line."""
    print(f"wsoak {text}", flush=True)


def show_checks(lines: Iterable[str]) -> None:
    """Print the table of the checks before the load."""
    print("Checks before the load:")
    for line in lines:
        print(f"  {line}")
    sys.stdout.flush()


def show_judgement(judgement: Judgement) -> None:
    """Print what happened in a run, and where it is."""
    print()
    for sentence in judgement.sentences:
        print(safe(sentence, limit=SENTENCE_LIMIT))
    if judgement.verdict is not None:
        print(f"\n{table(judgement.verdict)}\n")
    print(
        f"The run is in {judgement.path}; draw it with: python -m analysis report {judgement.path}",
        flush=True,
    )
