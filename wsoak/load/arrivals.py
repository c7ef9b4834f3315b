"""Arrivals: a recorded curve of users, from a CSV file.

    seconds,users
    0,10
    60,250
    90.5,180

Lines lie straight between the rows; two rows with the same second are a jump. Other columns are ignored.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from wsoak.judge.terminal import quoted
from wsoak.load.shapes import Point

COLUMNS: Final = ("seconds", "users")
LARGEST_BYTES: Final = 16 * 2**20
MOST_MISTAKES: Final = 5
"""So many mistakes of a file are told; a file with the wrong decimal sign has one in each row."""


class BadArrivals(ValueError):
    """A file that is no curve; ``mistakes`` are sentences, and show nothing of what the file holds."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__(" ".join(mistakes))
        self.mistakes = list(mistakes)


def read_arrivals(path: Path) -> tuple[Point, ...]:
    """The curve of a file.

    Raises:
        BadArrivals: when it cannot be read or is none.
    """
    shown = quoted(str(path))
    try:
        # anything but a regular file, such as a pipe or /dev/zero, might never end
        if not path.is_file():
            raise BadArrivals([f"The file {shown} does not exist, or is no file."])
        if path.stat().st_size > LARGEST_BYTES:
            raise BadArrivals([f"The file {shown} is larger than {LARGEST_BYTES // 2**20} MiB."])
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadArrivals([f"The file {shown} cannot be read: {error.strerror}."]) from error
    except UnicodeDecodeError as error:
        raise BadArrivals([f"The file {shown} is not text in UTF-8."]) from error
    return parse_arrivals(text)


def parse_arrivals(text: str) -> tuple[Point, ...]:
    """The curve that a CSV text with a header line describes.

    Raises:
        BadArrivals: when a column is missing, a row is none, seconds go back, or it lasts no time at all.
    """
    try:
        rows = list(csv.reader(text.splitlines()))
    except csv.Error as error:
        raise BadArrivals([f"The file is not CSV: {error}."]) from error
    header = [name.strip().lower() for name in rows[0]] if rows else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        names = " and no ".join(missing)
        raise BadArrivals([f"The file has no column {names}: its first line must be seconds,users."])
    where = [header.index(name) for name in COLUMNS]
    points: list[Point] = []
    mistakes: list[str] = []
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue
        try:
            points.append(_point(row, where))
        except ValueError as error:
            mistakes.append(f"Line {number} of the file {error}.")
            continue
        if len(points) > 1 and points[-1].at_s < points[-2].at_s:
            mistakes.append(f"Line {number} of the file goes back in time.")
    if not mistakes and (not points or points[0].at_s == points[-1].at_s):
        mistakes.append("The file lasts no time: it needs two rows with different seconds.")
    if mistakes:
        more = len(mistakes) - MOST_MISTAKES
        raise BadArrivals(
            mistakes[:MOST_MISTAKES] + ([f"The file has {more:,} mistakes more."] if more > 0 else [])
        )
    return tuple(points)


def _point(row: Sequence[str], where: Sequence[int]) -> Point:
    if len(row) <= max(where):
        raise ValueError("has too few fields")
    values = []
    for name, index in zip(COLUMNS, where, strict=True):
        try:
            value = float(row[index])
        except ValueError:
            raise ValueError(f"has no number as {name}") from None
        # also refuses "nan", which compares with nothing
        if not 0 <= value < float("inf"):
            raise ValueError(f"has a number below 0, or none at all, as {name}")
        values.append(value)
    return Point(*values)
