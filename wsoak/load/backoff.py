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
from typing import Final

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
