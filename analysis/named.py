"""Named: the run directories that an argument of a command names."""

from __future__ import annotations

import argparse
import glob
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from wsoak.ledger.rundir import RUN_FILE, UnreadableRun

WHAT: Final = "a run directory, or several with commas between, or a glob of them"


def some_path(text: str) -> Path:
    """A path that is an argument of a command.

    Raises:
        argparse.ArgumentTypeError: when it is empty: to Python that is the current directory.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty: it should name a file or a directory")
    return Path(text)


def named(text: str) -> list[Path]:
    """The directories: one, several with commas between, or those that a glob matches.

    Raises:
        UnreadableRun: when it names none. That each of them holds a run is not looked at.
    """
    if not text.strip():
        raise UnreadableRun("The name of a run directory is empty.")
    if Path(text).is_dir():
        return [Path(text)]
    paths = [path for part in text.split(",") if part for path in _paths(part)]
    if not paths:
        raise UnreadableRun(f"No run directory matches {text}.")
    return paths


def every(texts: Iterable[str]) -> list[Path]:
    """The directories that several arguments name; see ``named``."""
    return [path for text in texts for path in named(text)]


def _paths(part: str) -> list[Path]:
    if Path(part).is_dir() or not glob.has_magic(part):
        return [Path(part)]
    found = [Path(name) for name in sorted(glob.glob(part), key=_by_number)]  # noqa: PTH207 (may be absolute)
    return [path for path in found if (path / RUN_FILE).exists()]


def _by_number(name: str) -> list[tuple[int, str]]:
    """Orders ``run-10`` after ``run-9``."""
    return [(int(piece), "") if piece.isdecimal() else (0, piece) for piece in re.split(r"(\d+)", name)]
