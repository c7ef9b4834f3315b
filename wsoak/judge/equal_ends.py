"""Equal ends: sockets that ended after one same silence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from wsoak.ledger.books import EndGroup, EndKind

IDLE_AT_LEAST_S: Final = 5.0
"""A silence below this is no proxy's time-out."""
IDLE_ENDS_AT_LEAST: Final = 5
IDLE_SPREAD: Final = 0.05
IDLE_SPREAD_S: Final = 1.0


def idle_ends(ends: Iterable[tuple[EndKind, EndGroup]]) -> frozenset[EndKind]:
    """Of the ways to end that an idle time-out may have caused, those that one did cause."""
    candidates = list(ends)
    clusters = [group for _, group in candidates if _after_equal_silence(group)]
    # a few that differ in something else, such as a user's first attempt, met the same time-out
    return frozenset(
        kind
        for kind, group in candidates
        if any(
            cluster.idle_min_s - IDLE_SPREAD_S <= group.idle_min_s
            and group.idle_max_s <= cluster.idle_max_s + IDLE_SPREAD_S
            for cluster in clusters
        )
    )


def _after_equal_silence(group: EndGroup) -> bool:
    """Whether these sockets ended after one same silence, at times that nothing else explains.

    Sockets that end together after equal silence may as well have met a restart: their ends must lie further
    apart than their silences do.
    """
    spread_s = group.idle_max_s - group.idle_min_s
    return (
        group.count >= IDLE_ENDS_AT_LEAST
        and group.idle_min_s >= IDLE_AT_LEAST_S
        and spread_s <= max(IDLE_SPREAD_S, IDLE_SPREAD * group.idle_min_s)
        and group.last_s - group.first_s > 3 * spread_s + 2
    )
