"""Console: what wsoak prints beside Locust's own tables."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterable
from typing import NoReturn, TextIO

from wsoak.judge.streams import say
from wsoak.judge.terminal import safe
from wsoak.judge.verdict_text import table
from wsoak.load.collector import Judgement
from wsoak.load.own_modules import typed

EXIT_USAGE = 2

SENTENCE_LIMIT = 2_000


def refuse(sentences: list[str]) -> NoReturn:
    """Say what is wrong with the command, and end.

    Raises:
        SystemExit: always, with 2; Locust's events let it through, as it is no ``Exception``.
    """
    for sentence in sentences:
        say(sentence, sys.stderr)
    raise SystemExit(EXIT_USAGE)


class Console:
    """Where a run's live lines, checks and judgement are printed: stdout, or stderr under ``--json``.

    Printing never raises: what cannot be encoded is replaced, and a stream that nobody reads is given up.
    """

    def __init__(self, parsed: Namespace | None) -> None:
        # Locust's own tables and log are on stderr: under this option stdout is a program's to read
        self._json = bool(getattr(parsed, "json", False))

    @property
    def stream(self) -> TextIO | None:
        """The stream; looked up anew, as it may be replaced."""
        return sys.stderr if self._json else sys.stdout

    def line(self, text: str) -> bool:
        """Print a live line; ``False`` where nobody can read it."""
        return say(f"wsoak {text}", self.stream)

    def checks(self, lines: Iterable[str]) -> None:
        """Print the table of the checks before the load."""
        say("\n".join(["Checks before the load:", *(f"  {line}" for line in lines)]), self.stream)

    def judgement(self, judgement: Judgement) -> None:
        """Print what happened in a run, and where it is."""
        lines = ["", *(safe(sentence, limit=SENTENCE_LIMIT) for sentence in judgement.sentences)]
        if judgement.verdict is not None:
            lines += ["", table(judgement.verdict), ""]
        lines.append(
            f"The run is in {judgement.path}; draw it with: {typed('analysis')} report {judgement.path}"
        )
        say("\n".join(lines), self.stream)
