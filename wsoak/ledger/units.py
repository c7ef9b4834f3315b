"""Units: the one place where nanoseconds become milliseconds and seconds.

Inside wsoak every measured duration is an ``int`` of nanoseconds from ``time.perf_counter_ns``; files
carry milliseconds or seconds, and say so in the column's name.
"""

from __future__ import annotations

from typing import Final, overload

NS_PER_US: Final = 1_000
NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000


@overload
def ns_to_ms(duration_ns: int) -> float: ...
@overload
def ns_to_ms(duration_ns: None) -> None: ...
def ns_to_ms(duration_ns: int | None) -> float | None:
    """Milliseconds, rounded to the microsecond; ``None`` (the phase did not happen) stays ``None``."""
    # whole microseconds first: a third of the time of round(x, 3), and a record has a dozen of these
    return None if duration_ns is None else (duration_ns + 500) // NS_PER_US / 1_000


def ns_to_s(duration_ns: int) -> float:
    """Seconds, rounded to the microsecond."""
    return (duration_ns + 500) // NS_PER_US / 1_000_000


def s_to_ns(duration_s: float) -> int:
    """Nanoseconds, rounded to the nearest."""
    return round(duration_s * NS_PER_S)
