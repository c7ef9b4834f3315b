"""Steps: stretches of standing load, and which part of each counts.

    sockets
        ┤   ╱ ────────────
        ┤  ╱  ┊ settled  ┊
        └─┬───┬──────────┬─ seconds
          begin          end

The running search and the analysis ask here, so that both judge the same seconds.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

SETTLE_SHARE: Final = 0.2
"""At least this share of each step is left out, from its begin."""
LEAST_S: Final = 3
"""What is shorter than this when it has settled is no step."""
STILL_SHARE: Final = 0.05
"""Sockets stand still while they differ by no more than this share, or by two."""

Series = npt.NDArray[np.float64]


def settled(begin_s: float, end_s: float, sockets: Series) -> tuple[int, int]:
    """From which whole second on, and up to which, a step has settled: its sockets are as many as later on.

    Args:
        begin_s, end_s: in seconds after the start.
        sockets: how many were open at each second after the start; NaN where that is not known.
    """
    from_s = int(np.ceil(begin_s + SETTLE_SHARE * (end_s - begin_s)))
    # in the last second the next step may have begun
    to_s = int(end_s)
    half = sockets[int((begin_s + end_s) / 2) : to_s]
    if np.isfinite(half).any():
        level = float(np.nanmedian(half))
        off = np.abs(sockets[from_s:to_s] - level)
        there = np.flatnonzero(off <= max(1.0, STILL_SHARE / 2 * level))
        from_s += int(there[0]) if len(there) else 0
    return from_s, max(from_s, to_s)


def block_count(seconds: float, block_s: float, most: int) -> int:
    """Into how many blocks of at least ``block_s`` a window is cut; 0 where it is too short for two."""
    count = min(most, int(seconds / block_s))
    return count if count >= 2 else 0
