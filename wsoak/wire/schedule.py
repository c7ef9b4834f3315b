"""Schedules: when messages are meant to be sent, in seconds from the start. Pure, and without end.

every(0.5)          |     |     |     |     |        the same gap each time
poisson(2, seed)    |  |         | |      |          independent arrivals, ``rate`` a second on average
                    0     0.5   1.0   1.5   2.0 s
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count


def every(interval_s: float) -> Iterator[float]:
    """0, ``interval_s``, 2 × ``interval_s``, …; multiples, so that rounding does not add up.

    Raises:
        ValueError: when the interval is not positive.
    """
    if interval_s <= 0:
        raise ValueError(f"an interval must be positive, not {interval_s}")
    return (index * interval_s for index in count())


def poisson(rate_per_s: float, seed: int) -> Iterator[float]:
    """Arrivals of a Poisson process: exponential gaps with mean ``1 / rate_per_s``; the same for a seed.

    Raises:
        ValueError: when the rate is not positive.
    """
    if rate_per_s <= 0:
        raise ValueError(f"a rate must be positive, not {rate_per_s}")
    source = random.Random(seed)

    def arrivals() -> Iterator[float]:
        at_s = 0.0
        while True:
            at_s += source.expovariate(rate_per_s)
            yield at_s

    return arrivals()
