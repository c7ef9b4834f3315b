"""Equal ends: sockets that were cut at one same age, or after one same silence.

    open ├────────────────┤ 60 s              a lifetime cap: equal ages, whatever the moment
           ├────────────────┤ 60 s
              ├────────────────┤ 60 s
    open ├───────────────────┤                a restart: one moment, ages as different as the openings
           ├─────────────────┤
              ├──────────────┤

Sockets that all opened together tell nothing: a cap and a restart look the same then. So ends are compared
within a burst, the one whose sockets began at the most different times: where their ages differ much less
than their beginnings do, the age is the cause. For an idle time-out the silence takes the place of the age,
and its beginning that of the opening.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from wsoak.ledger.books import EndGroup, EndKind
from wsoak.ledger.sample import End

IDLE_AT_LEAST_S: Final = 5.0
"""A silence below this is no proxy's time-out."""
AGE_AT_LEAST_S: Final = 2.0
"""An age below this is no cap: the socket failed at what it did first."""
ENDS_AT_LEAST: Final = 5
SHARE: Final = 2 / 3
"""Of the sockets that ended in one way, so many must have ended at the one value."""
WIDTH_S: Final = 1.0
WIDTH: Final = 0.1
"""Values within this of one another (seconds, or the share of the value) are one value: proxies' timers tick
once a second or rarer, and some spread their caps on purpose."""
APART: Final = 3.0
"""By this factor the beginnings must differ more than the values do."""
TOGETHER_S: Final = 0.15
"""Sockets that began within this time of one another tell nothing."""
BURST_GAP_S: Final = 1.5
BURST_GAP: Final = 0.5
"""A pause between ends longer than this (seconds, or the share of the value) ends a burst."""
NOISE_S: Final = 0.02
"""Which of two spreads below this is the smaller is chance: timers, and who is woken first."""
RARE_WIDTH: Final = 0.01
"""Ends so rare that they make no bursts must lie closer together: within this share of the value."""
_TRIM: Final = 10
"""Of so many values one at each side may be an outlier."""

Value = Callable[[End], float]
Ends = Sequence[tuple[EndKind, EndGroup]]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Ends at one same value.

    ``value_s`` is the median; ``spread_s`` says how far the values lie apart, ``began_s`` how far the
    beginnings (and ``ended_s`` how far the ends) of the burst's that tells most. ``messages`` is how many
    messages each received, where that was the same for all.
    """

    ends: tuple[End, ...]
    value_s: float
    spread_s: float
    began_s: float
    ended_s: float
    messages: int | None

    @property
    def told(self) -> bool:
        """Whether the value is the cause, and not the moment."""
        return self.began_s >= TOGETHER_S and self.began_s >= APART * self.spread_s

    @property
    def untold(self) -> bool:
        """Whether neither can be said: all of them began together."""
        return not self.told and (self.began_s < TOGETHER_S or self.began_s < APART * self.ended_s)

    @property
    def by_progress(self) -> bool:
        """Whether they ended at one same message instead, at ages that are only about the same."""
        return self.messages is not None and self.spread_s > max(0.1, 0.02 * self.value_s)


def age(end: End) -> float:
    """The socket's age at its end, in seconds."""
    return end.age_s


def silences(ends: Iterable[End]) -> Value:
    """The silence to compare: since the last bytes or the last message, whichever lies closer together."""
    known = list(ends)

    def width(value: Value) -> float:
        found = cluster(known, value, IDLE_AT_LEAST_S)
        return found.spread_s / len(found.ends) if found is not None else float("inf")

    return min((_idle, _quiet), key=width)


def cluster(ends: Iterable[End], value: Value, at_least_s: float) -> Cluster | None:
    """The most ends whose values are one; ``None`` where they are too few, or the value too small."""
    by_value = sorted(ends, key=value)
    best: tuple[int, int] = (0, 0)
    first = 0
    for last, end in enumerate(by_value):
        while value(end) - value(by_value[first]) > max(WIDTH_S, WIDTH * value(end)):
            first += 1
        if last + 1 - first > best[1] - best[0] and value(by_value[first]) >= at_least_s:
            best = (first, last + 1)
    members = by_value[best[0] : best[1]]
    if len(members) < ENDS_AT_LEAST:
        return None
    value_s = value(members[len(members) // 2])
    bursts = _bursts(members, value_s)
    if 2 * len(bursts) > len(members):
        # too rare for bursts: one socket at a time, whose equal values have no moment in common
        bursts = [members] if _spread([value(end) for end in members]) <= RARE_WIDTH * value_s else bursts
    burst = max(bursts, key=lambda some: _spread([end.at_s - value(end) for end in some]))
    counts = {end.messages for end in members}
    return Cluster(
        tuple(members),
        value_s,
        _spread([value(end) for end in burst]),
        _spread([end.at_s - value(end) for end in burst]),
        _spread([end.at_s for end in burst]),
        counts.pop() if len(counts) == 1 and 0 not in counts else None,
    )


def equal_ends(cut: Ends) -> tuple[frozenset[EndKind], frozenset[EndKind]]:
    """Of ways to end that an idle time-out or a lifetime cap may have caused, those that they did cause."""
    ends = of_groups(group for _, group in cut)
    quiet, old = cluster(ends, silences(ends), IDLE_AT_LEAST_S), cluster(ends, age, AGE_AT_LEAST_S)
    after_silence = _kinds(cut, quiet) if quiet is not None and quiet.told else frozenset()
    at_age = _kinds(cut, old) if old is not None and old.told and not old.by_progress else frozenset()
    both = after_silence & at_age
    if not both or quiet is None or old is None:
        return after_silence, at_age
    if is_silence(quiet, old):
        return after_silence, at_age - both
    return after_silence - both, at_age


def is_silence(quiet: Cluster, old: Cluster) -> bool:
    """Of sockets that ended after one silence and at one age, whether the silence is the cause.

    The one that lies closer together is; else the silence, where no earlier one can have been as long.
    """
    widest_s = max(quiet.spread_s, old.spread_s)
    if widest_s > NOISE_S and 2 * min(quiet.spread_s, old.spread_s) < widest_s:
        # a silence from the opening on is the age: it has its spread too
        return quiet.spread_s <= old.spread_s
    return 2 * quiet.value_s >= old.value_s


def of_groups(groups: Iterable[EndGroup]) -> list[End]:
    """All ends of these groups that were kept."""
    return [end for group in groups for end in group.sample.ends]


def _kinds(candidates: Ends, found: Cluster) -> frozenset[EndKind]:
    members = set(found.ends)
    return frozenset(
        kind
        for kind, group in candidates
        if group.sample.ends
        and sum(end in members for end in group.sample.ends) >= SHARE * len(group.sample.ends)
    )


def _bursts(members: Iterable[End], value_s: float) -> list[list[End]]:
    """The ends in the order of their moments, cut where there was a pause."""
    gap_s = max(BURST_GAP_S, BURST_GAP * value_s)
    bursts: list[list[End]] = []
    for end in sorted(members, key=lambda each: each.at_s):
        if not bursts or end.at_s - bursts[-1][-1].at_s > gap_s:
            bursts.append([])
        bursts[-1].append(end)
    return bursts


def _spread(values: list[float]) -> float:
    """How far values lie apart; of many, without one in ``_TRIM`` at each side."""
    values.sort()
    trimmed = len(values) // _TRIM
    return values[-1 - trimmed] - values[trimmed]


def _idle(end: End) -> float:
    return end.idle_s


def _quiet(end: End) -> float:
    return end.quiet_s
