"""Course: how far a run has come on its shape. Pure: it is told the time, and never looks.

Locust asks for users about once a second, and later where it is busy. However late it asks, no mark is
skipped, nor the users that belong to it, nor the shape's last count:

    shape     ▲ 1 user ┊ ▲ 2 users ┊ ▲ 3 users ┊ over
    asked     0                        ↑ late: step 2 and step 3 have both begun
    answer    1                        2 (mark 2), next time 3 (mark 3), then over
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from wsoak.load.shapes import Mark, Shape

Ended = Literal["shape", "run-time"]

LEAST_RATE: Final = 1.0
"""Users a second; Locust refuses 0."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer: how many users from now on (``None``: the run is over), and the mark reached with it."""

    users: int | None
    mark: Mark | None = None


class Course:
    """A run's way along a shape.

    Args:
        limit_s: when the run is over in any case, in seconds; ``None`` for no such limit.

    Attributes:
        ended: what ended it; ``None`` while it is under way.
    """

    def __init__(self, shape: Shape, limit_s: float | None = None) -> None:
        self.ended: Ended | None = None
        self._shape = shape
        self._limit_s = limit_s
        self._marks_reached = 0
        self._users: int | None = None

    def at(self, t_s: float) -> Turn:
        """What to do now, ``t_s`` seconds after the start; ``t_s`` never falls from call to call."""
        turn = self._turn(t_s)
        self._users = turn.users
        return turn

    def _turn(self, t_s: float) -> Turn:
        if self.ended is not None:
            return Turn(None)
        if self._limit_s is not None and t_s >= self._limit_s:
            self.ended = "run-time"
            return Turn(None)
        last = self._shape.users_at(self._shape.duration_s)
        due = self._shape.marks[self._marks_reached : self._marks_reached + 2]
        if due and due[0].at_s <= t_s:
            self._marks_reached += 1
            late = len(due) > 1 and due[1].at_s <= t_s
            users = self._shape.users_at(due[0].at_s if late else t_s)
            return Turn(last if users is None else users, due[0])
        users = self._shape.users_at(t_s)
        if users is None and self._users == last:
            self.ended = "shape"
            return Turn(None)
        return Turn(last if users is None else users)


def spawn_rate(users_before: int, users: int) -> float:
    """The rate, in users a second, at which Locust makes this change at once.

    A curve is followed if what changed since the last time is there before the next. Locust adds the whole
    part of the rate at once, and the next part a second later: any rate below the change lags behind.
    """
    return max(LEAST_RATE, float(abs(users - users_before)))
