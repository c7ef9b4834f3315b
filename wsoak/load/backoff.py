"""Backoff: how long to wait before the next attempt to connect.

    seconds
     30 ┤                        ·······cap
        │                 ······
      8 ┤          ······          each delay is drawn evenly between 0 and the curve:
      2 ┤    ·····                 "full jitter", so that users do not come back in step
     .5 ┤····
        └────┬─────┬─────┬─────┬──── failures in a row
             1     3     5     7

The curve is ``base × 2^(failures − 1)``, at most ``cap`` (M. Brooker, "Exponential Backoff And Jitter",
2015).
"""

from __future__ import annotations

import random
from email.utils import parsedate_to_datetime
from typing import Final

RETRY_AFTER_CAP_S: Final = 300.0
"""The longest Retry-After that is obeyed to the full: a user that waits for hours loads nothing."""
BASE_S: Final = 0.5
CAP_S: Final = 30.0


def ceiling_s(failures: int) -> float:
    """The longest delay after so many failures in a row; 0 after none."""
    if failures <= 0:
        return 0.0
    return float(min(CAP_S, BASE_S * 2 ** min(failures - 1, 16)))


def delay_s(failures: int, source: random.Random) -> float:
    """The delay before the next attempt, in seconds."""
    return source.uniform(0.0, ceiling_s(failures))


def retry_after_s(value: str | None, now_s: float) -> float:
    """The seconds that a Retry-After header (RFC 9110 section 10.2.3) asks for, at most the cap.

    Args:
        value: a number of seconds, or an HTTP date; ``None`` where there was no such header.
        now_s: Unix time in seconds.

    Returns:
        0 where nothing is asked for, or nothing that can be read.
    """
    text = (value or "").strip()
    try:
        asked_s = float(text) if text.isascii() and text.isdigit() else _until(text) - now_s
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(0.0, asked_s), RETRY_AFTER_CAP_S)


def _until(date: str) -> float:
    return parsedate_to_datetime(date).timestamp()
