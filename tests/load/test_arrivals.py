"""Recorded curves: what is one, and what is said of what is none."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsoak.load.arrivals import LARGEST_BYTES, MOST_MISTAKES, BadArrivals, parse_arrivals, read_arrivals
from wsoak.load.shapes import Point

GOOD: Final = {
    "two rows": ("seconds,users\n0,1\n10,5\n", [(0, 1), (10, 5)]),
    "a jump": ("seconds,users\n0,1\n5,1\n5,9\n10,9", [(0, 1), (5, 1), (5, 9), (10, 9)]),
    "other columns, another order": ("host,Users, seconds\na,1,0\nb,5,10", [(0, 1), (10, 5)]),
    "fractions": ("seconds,users\n0.5,1.25\n10,5", [(0.5, 1.25), (10, 5)]),
    "Windows line ends and an empty line": ("seconds,users\r\n0,1\r\n\r\n10,5\r\n", [(0, 1), (10, 5)]),
    "an epoch": ("seconds,users\n1700000000,1\n1700000010,5", [(1_700_000_000, 1), (1_700_000_010, 5)]),
}

BAD: Final = {
    "nothing": ("", ["has no column seconds and no users"]),
    "a column short": ("seconds,clients\n0,1\n", ["has no column users"]),
    "no rows": ("seconds,users\n", ["lasts no time"]),
    "one row": ("seconds,users\n0,1\n", ["lasts no time"]),
    "one moment": ("seconds,users\n3,1\n3,2\n", ["lasts no time"]),
    "back in time": ("seconds,users\n0,1\n9,1\n8,1\n", ["Line 4 of the file goes back in time"]),
    "a decimal comma": ("seconds;users\n0;1\n", ["has no column"]),
    "several": (
        "seconds,users\n0,ten\n1\n2,-1\n3,nan\n4,inf\n",
        [
            "Line 2 of the file has no number as users",
            "Line 3 of the file has too few fields",
            "Line 4 of the file has a number below 0",
            "Line 5 of the file has a number below 0, or none at all",
            "Line 6",
        ],
    ),
}


@pytest.mark.parametrize(("text", "points"), GOOD.values(), ids=GOOD.keys())
def test_a_file_with_the_two_columns_is_a_curve(text: str, points: list[tuple[float, float]]) -> None:
    assert parse_arrivals(text) == tuple(Point(*point) for point in points)


@pytest.mark.parametrize(("text", "sentences"), BAD.values(), ids=BAD.keys())
def test_each_mistake_of_a_file_is_told_by_its_line(text: str, sentences: list[str]) -> None:
    with pytest.raises(BadArrivals) as raised:
        parse_arrivals(text)
    assert len(raised.value.mistakes) == len(sentences)
    for sentence, mistake in zip(sentences, raised.value.mistakes, strict=True):
        assert sentence in mistake
        assert mistake.endswith(".")


def test_a_file_that_is_wrong_throughout_does_not_fill_the_screen() -> None:
    with pytest.raises(BadArrivals) as raised:
        parse_arrivals("seconds,users\n" + "secret,secret\n" * 1_000)
    assert len(raised.value.mistakes) == MOST_MISTAKES + 1
    assert raised.value.mistakes[-1] == "The file has 995 mistakes more."
    assert "secret" not in str(raised.value), "what a file holds is not shown to whoever fills in a web form"


def test_a_field_that_the_reader_refuses_is_a_mistake_of_the_file() -> None:
    limit = csv.field_size_limit(100)
    try:
        with pytest.raises(BadArrivals, match="The file is not CSV"):
            parse_arrivals("seconds,users\n" + "9" * 101)
    finally:
        csv.field_size_limit(limit)


@given(st.text())
def test_any_text_is_a_curve_or_is_refused_in_sentences(text: str) -> None:
    try:
        points = parse_arrivals(f"seconds,users\n{text}")
    except BadArrivals as error:
        assert error.mistakes
    else:
        assert points[0].at_s < points[-1].at_s


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    path.write_bytes(b"\xef\xbb\xbfseconds,users\n0,1\n1,2\n")
    assert read_arrivals(path) == (Point(0, 1), Point(1, 2))


def test_what_is_no_readable_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    latin, large, pipe = tmp_path / "latin.csv", tmp_path / "large.csv", tmp_path / "pipe.csv"
    latin.write_bytes(b"seconds,users\n0,\xff\n")
    with large.open("wb") as file:
        file.truncate(LARGEST_BYTES + 1)
    os.mkfifo(pipe)
    cases = {
        latin: "is not text in UTF-8",
        large: "is larger than 16 MiB",
        pipe: "is no file",
        tmp_path: "is no file",
        tmp_path / "none.csv": "does not exist",
        tmp_path / ("long" * 1_000): "cannot be read: File name too long",
        tmp_path / "a\x1b[2J.csv": r"a\x1b[2J.csv” does not exist",
    }
    for path, sentence in cases.items():
        with pytest.raises(BadArrivals) as raised:
            read_arrivals(path)
        assert sentence in str(raised.value)
