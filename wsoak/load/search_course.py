"""Search course: a run's way through a search. Pure: it is told the time and the books, and never looks.

    step ──► kept, or undecided ──► the next step
      └────► missed ──► a rest, until the objective is kept again ──► the next step

A step that has clearly missed is cut short at its half: what an overloaded server has not done by then, it
would have to do after the step. The rest lets it: with half as many users as kept the objective so far.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from wsoak.judge.quantity import Quantity
from wsoak.judge.step_watch import NOTHING, Reading, StepWatch
from wsoak.judge.words import counted
from wsoak.ledger.delta import Delta
from wsoak.load.course import Ended, Turn
from wsoak.load.search import Search, Tried, Why, bracket
from wsoak.load.shapes import Mark

CUT_AT: Final = 0.5
"""After this share of it, a step that has clearly missed is cut short."""
CLEARLY: Final = 2
"""… when it has missed at so many looks in a row."""
REST_S: Final = 2
"""A rest is longer than this, and over when its last seconds, so many, keep the objective."""


@dataclass(frozen=True, slots=True)
class _Stay:
    """A number of users that stays for a while: a step, or, with the users of the step after it, a rest."""

    begin_s: float
    users: int
    watch: StepWatch
    then: int | None = None


class SearchCourse:
    """A run's way through a search; see ``course.Course``, which is the same for a shape.

    Args:
        limit_s: when the run is over in any case, in seconds; ``None`` for no such limit.

    Attributes:
        ended: what ended it; ``None`` while it is under way.
        news: sentences since they were last taken, one a step.
    """

    def __init__(self, search: Search, limit_s: float | None = None) -> None:
        self.ended: Ended | None = None
        self.news: list[str] = []
        self._search = search
        self._limit_s = limit_s
        self._started_at = 0.0
        self._stay: _Stay | None = None
        self._tried: list[Tried] = []
        self._told: list[dict[str, Any]] = []
        self._why: Why | None = None
        self._missed_looks = 0

    def begin(self, started_at: float) -> None:
        """Time is 0 now, which is this Unix time."""
        self._started_at = started_at

    def take(self, delta: Delta) -> None:
        """Take in what was recorded."""
        if self._stay is not None:
            self._stay.watch.take(delta)

    def at(self, t_s: float) -> Turn:
        """What to do now, ``t_s`` seconds after the start; ``t_s`` never falls from call to call."""
        if self.ended is None and self._limit_s is not None and t_s >= self._limit_s:
            self.ended = "run-time"
        if self.ended is not None:
            return Turn(None)
        stay = self._stay
        if stay is None:
            return self._step(t_s, self._search.from_users)
        if stay.then is not None:
            return self._step(t_s, stay.then) if self._has_rested(stay, t_s) else Turn(stay.users)
        found = self._read(stay, t_s)
        return Turn(stay.users) if found is None else self._after(t_s, stay, found)

    def told(self) -> dict[str, Any]:
        """The search so far, as plain values for ``run.json``; times in seconds after the start."""
        found = bracket(self._tried)
        return {
            "slo": self._search.slo.text,
            "resolution": self._search.resolution,
            "tried": list(self._told),
            "kept_users": found.kept,
            "missed_users": found.missed,
            "ended_because": self._why,
        }

    def _read(self, stay: _Stay, t_s: float) -> Reading | None:
        """What the step says, if it is over; ``None``: it goes on."""
        after_s = t_s - stay.begin_s
        if after_s < CUT_AT * self._search.hold_s:
            return None
        found = stay.watch.read(t_s)
        if after_s >= self._search.hold_s:
            return found
        self._missed_looks = self._missed_looks + 1 if found.kept is False else 0
        return found if self._missed_looks >= CLEARLY else None

    def _after(self, t_s: float, stay: _Stay, found: Reading) -> Turn:
        """The step is over: what comes next."""
        self._missed_looks = 0
        self._tried.append(Tried(stay.users, found.kept, found.beyond))
        self._tell(t_s, stay, found)
        going_on = self._search.next_users(self._tried)
        if isinstance(going_on, str):
            self._why, self.ended = going_on, "shape"
            self.news.append(self._search.sentence(self._tried, going_on))
            return Turn(None)
        if found.beyond is not None and found.beyond > 0 and going_on <= stay.users:
            return self._rest(t_s, going_on)
        return self._step(t_s, going_on)

    def _step(self, t_s: float, users: int) -> Turn:
        watch = StepWatch(self._search.slo, self._started_at, t_s, self._search.hold_s)
        self._stay = _Stay(t_s, users, watch)
        return Turn(users, Mark(t_s, f"step {len(self._tried) + 1}: {counted(users, 'user')}"))

    def _rest(self, t_s: float, then: int) -> Turn:
        users = (bracket(self._tried).kept or 0) // 2
        watch = StepWatch(self._search.slo, self._started_at, t_s, REST_S)
        self._stay = _Stay(t_s, users, watch, then)
        return Turn(users, Mark(t_s, f"rest: {counted(users, 'user')}"))

    def _has_rested(self, stay: _Stay, t_s: float) -> bool:
        after_s = t_s - stay.begin_s
        if after_s < REST_S + 1 or after_s >= self._search.hold_s:
            return after_s >= self._search.hold_s
        last = stay.watch.read_last(t_s, REST_S)
        # nobody is left to say how the server does
        return stay.users == 0 or (last.beyond is not None and last.beyond <= 0)

    def _tell(self, t_s: float, stay: _Stay, found: Reading) -> None:
        self._told.append(
            {
                "users": stay.users,
                "from_s": round(stay.begin_s, 3),
                "to_s": round(t_s, 3),
                "figure": found.value,
                "kept": found.kept,
            }
        )
        words = f"{_word(found)}{_figure(self._search.slo.limit, found)}"
        self.news.append(f"Step {len(self._tried)}, {counted(stay.users, 'user')}: {words}.")


def _word(found: Reading) -> str:
    if found == NOTHING:
        return "nothing was measured"
    return {True: "kept", False: "missed", None: "too near to the limit to say"}[found.kept]


def _figure(limit: Quantity, found: Reading) -> str:
    return "" if found.value is None else f", {limit.show(found.value)} where the limit is {limit}"
