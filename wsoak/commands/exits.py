"""Exits: the exit codes of the small commands, and refusals."""

from __future__ import annotations

import argparse
import sys
from typing import Final, NoReturn

from wsoak.judge.terminal import safe

EXIT_OK: Final = 0
EXIT_USAGE: Final = 2
EXIT_FAILED: Final = 4
EXIT_INTERRUPTED: Final = 130
"""As a shell has it for SIGINT."""
EXIT_UNHEARD: Final = 141
"""As a shell has it for SIGPIPE."""

LIMIT: Final = 1_000


class Refused(Exception):
    """The command cannot be carried out as it was given; a sentence for each mistake."""

    def __init__(self, *sentences: str) -> None:
        super().__init__(" ".join(sentences))
        self.sentences = sentences


class OneSentenceParser(argparse.ArgumentParser):
    """A parser whose complaint is one sentence on stderr, with exit code 2."""

    def error(self, message: str) -> NoReturn:
        """See ``argparse.ArgumentParser``."""
        sys.stderr.write(f"{self.prog}: {safe(message, LIMIT)}\n")
        sys.exit(EXIT_USAGE)


def say(refused: Refused) -> int:
    """Print why; the exit code."""
    for sentence in refused.sentences:
        print(safe(sentence, LIMIT), file=sys.stderr)
    return EXIT_USAGE
