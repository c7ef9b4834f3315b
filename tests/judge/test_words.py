"""Counts, shares and durations in words."""

from __future__ import annotations

import pytest

from wsoak.judge.words import counted, duration, listed, percent, percentile, span
from wsoak.ledger.histogram import Histogram

MS = 1_000_000


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (0, "socket", "0 sockets"),
        (1, "socket", "1 socket"),
        (40_012, "request", "40,012 requests"),
        (2, "event-loop reading", "2 event-loop readings"),
        (2, "reply", "2 replies"),
        (2, "opened socket", "2 opened sockets"),
    ],
)
def test_counts_have_separators_and_the_right_number(count: int, noun: str, text: str) -> None:
    assert counted(count, noun) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 10, "0 %"),
        (10, 10, "100 %"),
        (1, 3, "33.3 %"),
        (1, 1000, "0.10 %"),
        (999, 1000, "99.90 %"),
        (1, 1_000_000, "under 0.01 %"),
        (999_999, 1_000_000, "over 99.99 %"),
        (0, 0, "no share"),
    ],
)
def test_a_share_is_never_rounded_to_all_or_nothing(part: int, whole: int, text: str) -> None:
    assert percent(part, whole) == text


@pytest.mark.parametrize(
    ("duration_ns", "text"),
    [
        (None, "no figure"),
        (850_000, "850 µs"),
        (2_130_000, "2.13 ms"),
        (31.2 * MS, "31.2 ms"),
        (3.4e9, "3.4 s"),
    ],
)
def test_durations_have_the_unit_that_suits_them(duration_ns: float | None, text: str) -> None:
    assert duration(duration_ns) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (8.25, "8.25 s"),
        (119, "119 s"),
        (125, "2 min 5 s"),
        (180, "3 min"),
        (12_000, "3 h 20 min"),
    ],
)
def test_spans_are_read_as_clocks_are(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_a_percentile_beyond_the_range_says_so() -> None:
    histogram = Histogram.of([MS] * 90 + [70_000 * MS] * 10)

    assert percentile(histogram, 50) == "1 ms"
    assert percentile(histogram, 99) == "over 60 s"


def test_lists_end_in_and() -> None:
    assert [listed([]), listed(["a"]), listed(["a", "b"]), listed("abc")] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
