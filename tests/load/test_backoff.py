"""Backoff: full jitter under a curve, and the curve is the drawing."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsoak.load import backoff
from wsoak.load.backoff import BASE_S, CAP_S, RETRY_AFTER_CAP_S, ceiling_s, delay_s, retry_after_s


def test_the_drawing_in_the_docstring_is_the_curve() -> None:
    drawing = backoff.__doc__ or ""
    heights = [float(text) for text in re.findall(r"^ *([\d.]+) ┤", drawing, re.MULTILINE)]
    (axis,) = re.findall(r"^ +((?:\d+ +)+\d+)$", drawing, re.MULTILINE)
    assert heights[::-1] == [ceiling_s(int(failures)) for failures in axis.split()]


def test_the_first_attempt_waits_for_nothing() -> None:
    assert ceiling_s(0) == delay_s(0, random.Random(0)) == 0.0


@given(st.integers(1, 10**6))
def test_the_curve_doubles_up_to_the_cap(failures: int) -> None:
    assert BASE_S <= ceiling_s(failures) <= CAP_S
    assert ceiling_s(failures + 1) == min(CAP_S, 2 * ceiling_s(failures))


@given(st.integers(0, 50), st.integers())
def test_a_delay_lies_under_the_curve(failures: int, seed: int) -> None:
    assert 0.0 <= delay_s(failures, random.Random(seed)) <= ceiling_s(failures)


@pytest.mark.parametrize("failures", [1, 4, 9])
def test_delays_are_spread_evenly_from_zero_to_the_curve(failures: int) -> None:
    source = random.Random(f"backoff/{failures}")
    delays = [delay_s(failures, source) for _ in range(4000)]
    for quarter in range(4):
        low, high = ceiling_s(failures) * quarter / 4, ceiling_s(failures) * (quarter + 1) / 4
        assert sum(low <= delay < high for delay in delays) == pytest.approx(1000, rel=0.15)


NOW_S = 1_700_000_000.0
LATER = "Tue, 14 Nov 2023 22:13:50 GMT"  # thirty seconds after


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, 0.0),
        ("", 0.0),
        ("5", 5.0),
        (" 5 ", 5.0),
        ("0", 0.0),
        ("-5", 0.0),
        ("1.5", 0.0),
        (LATER, 30.0),
        ("Tue, 14 Nov 2023 22:13:10 GMT", 0.0),
        ("soon", 0.0),
        ("99999999", RETRY_AFTER_CAP_S),
        ("9" * 5000, RETRY_AFTER_CAP_S),
        ("Fri, 31 Dec 9999 23:59:59 GMT", RETRY_AFTER_CAP_S),
        ("٥", 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_has_a_cap(value: str | None, expected: float) -> None:
    assert retry_after_s(value, NOW_S) == expected
