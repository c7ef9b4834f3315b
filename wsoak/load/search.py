"""Search: which number of users to try next, to close in on the most that keep an objective. Pure.

    users
       ┤        ┌───┐              growth: twice as many, until a step misses the objective
       ┤        │ ✗ │    ┌───┐
       ┤        │   │    │ ✗ │┌───┐           then between the most that kept it
       ┤    ┌───┘   │    │   ││ ✓ │           and the least that missed it
       ┤┌───┘ ✓     └────┘   └┘   │
       ┤│ ✓          rest         │
       └┴────────────────────────────── seconds

Where the first step missed it, half as many are tried, until one keeps it. Between the two the next step lies
where the straight line through both figures (latencies as logarithms) crosses the limit, but never in the
outer quarters; and in the middle where the step before did not halve the distance. A figure that is too near
to its limit to say is measured once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from wsoak.judge.slo import Slo
from wsoak.judge.words import counted

GROWTH: Final = 2
OUTER_SHARE: Final = 0.25
"""So near to an end of the bracket no step is tried: it would hardly narrow it."""
HALVED: Final = 0.5
TRIES: Final = 2
"""A number of users is tried at most so often."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A step that is over: its users, and what it said; see ``judge.step_watch.Reading``."""

    users: int
    kept: bool | None
    beyond: float | None


@dataclass(frozen=True, slots=True)
class Bracket:
    """The most users that kept the objective, and the fewest above that missed it; ``None``: none did."""

    kept: int | None = None
    missed: int | None = None

    @property
    def width(self) -> int | None:
        """How many users apart they are."""
        return None if self.kept is None or self.missed is None else self.missed - self.kept


Why = Literal["found", "all kept", "all missed", "steps", "no samples"]
"""Why a search is over."""


@dataclass(frozen=True, slots=True)
class Search:
    """A search for the most users that keep an objective.

        users
        4*from ┤            •••••
             7 ┤
             6 ┤                    •••••
             5 ┤                            ••••••
        2*from ┤      ••••••
             3 ┤
          from ┤••••••           •••     •••
             1 ┤
             0 ┤
               └┬─────┬─────┬────┬──┬────┬──┬─────┬─ seconds
                0     hold  12   17 20   25 28    34
        marks   ▲     ▲     ▲    ▲  ▲    ▲  ▲

    Drawn: ``search:from=2,to=20,slo=response p(99) < 50ms,hold=6s``, and a server that keeps it with 5 users.
    The misses, with 8 and 6 users, are cut short and followed by a rest; the search is over when 5 users keep
    it and 6 do not.

    Attributes:
        from_users: on the first step.
        to_users: the most that are tried.
        hold_s: how long a step lasts.
        resolution: the bracket is narrow enough when it is no wider than this share of its upper end.
        steps: at most so many.
    """

    from_users: int
    to_users: int
    slo: Slo
    hold_s: int
    resolution: float
    steps: int

    @property
    def peak_users(self) -> int:
        """The most users that there can be at any moment."""
        return self.to_users

    @property
    def duration_s(self) -> float:
        """The longest that it can take: a rest is at most as long as a step."""
        return float(2 * self.hold_s * self.steps)

    def users_at(self, t_s: float) -> int | None:
        """How many users it begins with; what comes later is found out."""
        return self.from_users if t_s <= 0 else None

    def next_users(self, tried: Sequence[Tried]) -> int | Why:
        """With how many users to go on, or why the search is over."""
        if not tried:
            return self.from_users
        last = tried[-1]
        again = sum(each.users == last.users for each in tried) < TRIES
        if last.kept is None and again:
            return last.users if len(tried) < self.steps else "steps"
        if last.beyond is None:
            return "no samples"
        found = bracket(tried)
        if found.missed is None and found.kept == self.to_users:
            return "all kept"
        if found.kept is None and found.missed == 1:
            return "all missed"
        if found.kept is not None and found.missed is not None and self._narrow(found.kept, found.missed):
            return "found"
        return self._between(tried, found) if len(tried) < self.steps else "steps"

    def _narrow(self, kept: int, missed: int) -> bool:
        return missed - kept <= max(1, self.resolution * missed)

    def _between(self, tried: Sequence[Tried], found: Bracket) -> int:
        if found.kept is None:
            assert found.missed is not None
            return max(1, found.missed // GROWTH)
        if found.missed is None:
            return min(self.to_users, found.kept * GROWTH)
        share = _share(tried, found.kept, found.missed)
        users = found.kept + round(share * (found.missed - found.kept))
        return min(max(users, found.kept + 1), found.missed - 1)

    def sentence(self, tried: Sequence[Tried], why: Why) -> str:
        """What was found, for whoever watches the run."""
        found = bracket(tried)
        text, steps = self.slo.text, counted(len(tried), "step")
        if why == "no samples":
            return f"The search ends after {steps}: nothing was measured that {text} is about."
        rest = " More steps would tell more." if why == "steps" else ""
        if found.missed is None:
            most = "the most that may be tried" if why == "all kept" else "and more were not tried"
            return f"{text} is kept with {_users(found.kept)}, {most}, after {steps}.{rest}"
        if found.kept is None:
            return f"{text} is missed even with {_users(found.missed)}, after {steps}.{rest}"
        missed = f"missed with {found.missed:,}"
        return f"{text} is kept with {_users(found.kept)} and {missed}, after {steps}.{rest}"


def bracket(tried: Sequence[Tried]) -> Bracket:
    """The bracket that some steps give. Of two at the same users, both undecided, their mean decides."""
    kept = {users: _kept(tried, users) for users in sorted({each.users for each in tried})}
    missed = min((users for users, is_kept in kept.items() if not is_kept), default=None)
    below = [users for users, is_kept in kept.items() if is_kept and (missed is None or users < missed)]
    return Bracket(max(below, default=None), missed)


def _kept(tried: Sequence[Tried], users: int) -> bool:
    here = [each for each in tried if each.users == users]
    decided = [each.kept for each in here if each.kept is not None]
    if decided:
        return decided[-1]
    return _beyond(tried, users) <= 0


def _beyond(tried: Sequence[Tried], users: int) -> float:
    known = [each.beyond for each in tried if each.users == users and each.beyond is not None]
    # without any figure, it did not keep the objective
    return sum(known) / len(known) if known else float("inf")


def _share(tried: Sequence[Tried], kept: int, missed: int) -> float:
    """Where between the ends of the bracket to try next: 0 at ``kept``, 1 at ``missed``."""
    before = bracket(tried[:-1]).width
    if before is not None and HALVED * before < missed - kept:
        return 0.5
    below, above = _beyond(tried, kept), _beyond(tried, missed)
    if not below < above < float("inf"):
        return 0.5
    return min(max(-below / (above - below), OUTER_SHARE), 1 - OUTER_SHARE)


def _users(count: int | None) -> str:
    return counted(count or 0, "user")
