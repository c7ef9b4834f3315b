"""Shapes: how many users there are at each moment of a run. Pure: times in, counts out; no clock, no Locust.

Each kind is a function that makes a ``Shape``, and its docstring draws one. A column of a drawing is 1 s and
a row is 1 user, labelled with sums of the shape's symbols; a second's label begins under its tick ``┬``.
``•`` is the count in that second, ``▲`` a mark for the run's record, and ``▼`` a mark at which all sockets
are dropped. Behind the last ``•`` the shape is over. The tests read the drawings and compare.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter


@dataclass(frozen=True, slots=True)
class Point:
    """A corner of a curve; ``at_s`` counts from the run's start, ``users`` may have a fraction."""

    at_s: float
    users: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment that the run's record should know, such as the begin of a step.

    Attributes:
        drop: whether all sockets are to be dropped then.
    """

    at_s: float
    text: str
    drop: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """A load curve: straight lines between points, and marks on it.

    Attributes:
        points: by time, the first at 0. Two at the same time are a jump, and the later one holds.
        marks: by time.
    """

    points: tuple[Point, ...]
    marks: tuple[Mark, ...] = ()

    def users_at(self, t_s: float) -> int | None:
        """How many users there are to be so many seconds after the start; ``None``: the shape is over."""
        if t_s > self.duration_s:
            return None
        later = bisect_right(self.points, t_s, key=attrgetter("at_s"))
        before, after = self.points[later - 1], self.points[later : later + 1]
        if not after:
            return _whole(before.users)
        share = (t_s - before.at_s) / (after[0].at_s - before.at_s)
        return _whole(before.users + (after[0].users - before.users) * share)

    @property
    def duration_s(self) -> float:
        """The last second that belongs to the shape."""
        return self.points[-1].at_s

    @property
    def peak_users(self) -> int:
        """The most users that there are at any moment."""
        return _whole(max(point.users for point in self.points))

    @property
    def drops(self) -> tuple[float, ...]:
        """The seconds at which all sockets are to be dropped."""
        return tuple(mark.at_s for mark in self.marks if mark.drop)


def ramp(*, from_users: int, to_users: int, over_s: float, hold_s: float) -> Shape:
    """A straight line from one count to another, up or down, and then a hold.

        users
           to ┤             ••••••••••••
            4 ┤         ••••
            3 ┤      •••
            2 ┤  ••••
         from ┤••
            0 ┤
              └┬─────────────┬─────────┬─ seconds
               0             over      over+hold
        marks                ▲

    Drawn: ``ramp:from=1,to=5,over=14s,hold=10s``. Without a hold there is no mark.
    """
    points = [Point(0, from_users), Point(over_s, to_users), Point(over_s + hold_s, to_users)]
    return _shape(points, [Mark(over_s, f"hold: {_users(to_users)}")] if hold_s else [])


def step(*, start_users: int, step_users: int, every_s: float, steps: int) -> Shape:
    """Stairs; the begin of each step is a mark.

               users
        start+2*step ┤                •••••••••
                   4 ┤
          start+step ┤        ••••••••
                   2 ┤
               start ┤••••••••
                   0 ┤
                     └┬───────┬───────┬───────┬─ seconds
                      0       every   2*every 3*every
               marks  ▲       ▲       ▲

    Drawn: ``step:start=1,step=2,every=8s,steps=3``.
    """
    points, marks = [], []
    for number in range(steps):
        users = start_users + number * step_users
        points += [Point(number * every_s, users), Point((number + 1) * every_s, users)]
        marks += [Mark(number * every_s, f"step {number + 1} of {steps}: {_users(users)}")]
    return _shape(points, marks)


def soak(*, users: int, ramp_s: float, hold_s: float, down_s: float) -> Shape:
    """Up, a long hold, and down to nobody: what the server keeps afterwards has leaked.

        users
        users ┤       •••••••••••••••
            3 ┤     ••               •••
            2 ┤   ••                    •••
            1 ┤ ••                         •••
            0 ┤•                              ••
              └┬───────┬───────────┬───────────┬─ seconds
               0       ramp        ramp+hold   ramp+hold+down
        marks          ▲           ▲

    Drawn: ``soak:users=4,ramp=8s,hold=12s,down=12s``.
    """
    begin_s, end_s = ramp_s, ramp_s + hold_s
    points = [Point(0, 0), Point(begin_s, users), Point(end_s, users), Point(end_s + down_s, 0)]
    marks = [Mark(begin_s, f"hold: {_users(users)}"), Mark(end_s, "down: 0 users")]
    # without a way down the run ends with all its users
    return _shape(points if down_s else points[:-1], marks if down_s else marks[:-1])


def spike(*, base_users: int, peak_users: int, at_s: float, for_s: float, end_s: float | None) -> Shape:
    """A jump up and back; unless told its ``end``, it goes on after the peak for as long as before it.

        users
         peak ┤      ••••••••
            4 ┤
            3 ┤
            2 ┤
         base ┤••••••        •••••••••••
            0 ┤
              └┬─────┬───────┬─────────┬─ seconds
               0     at      at+for    end
        marks        ▲       ▲

    Drawn: ``spike:base=1,peak=5,at=6s,for=8s,end=24s``.
    """
    back_s = at_s + for_s
    last_s = back_s + at_s if end_s is None else end_s
    points = [
        Point(0, base_users),
        *(Point(at_s, base_users), Point(at_s, peak_users)),
        *(Point(back_s, peak_users), Point(back_s, base_users)),
        Point(last_s, base_users),
    ]
    return _shape(
        points, [Mark(at_s, f"peak: {_users(peak_users)}"), Mark(back_s, f"base: {_users(base_users)}")]
    )


def storm(*, users: int, ramp_s: float, hold_s: float, drops: int, every_s: float) -> Shape:
    """A hold during which all sockets are dropped time and again: the users stay, and must come back.

        users
        users ┤       •••••••••••••••••••••••••••••••••••••••••
            3 ┤     ••
            2 ┤   ••
            1 ┤ ••
            0 ┤•
              └┬───────┬───────────┬───────────┬──────────────┬─ seconds
               0       ramp        ramp+every  ramp+2*every   ramp+hold
        marks          ▲           ▼           ▼

    Drawn: ``storm:users=4,ramp=8s,hold=39s,drops=2,every=12s``.
    """
    points = [Point(0, 0), Point(ramp_s, users), Point(ramp_s + hold_s, users)]
    begin = Mark(ramp_s, f"hold: {_users(users)}")
    dropped = [
        Mark(ramp_s + number * every_s, f"drop {number} of {drops}", drop=True)
        for number in range(1, drops + 1)
    ]
    return _shape(points, [begin, *dropped])


def replay(*, arrivals: Sequence[Point], scale: float, speed: float) -> Shape:
    """A recorded curve: ``scale`` multiplies its users, and ``speed`` divides its seconds.

        users
            5 ┤       ••••••••
            4 ┤     ••        ••
            3 ┤   ••            •
            2 ┤ ••               •••
            1 ┤•                    ••••
            0 ┤                         ••
              └┬───────┬────┬────┬───────┬─ seconds
               0       8    13   18      26

    Drawn: ``replay:file=arrivals.csv`` with the lines ``seconds,users``, ``0,1``, ``8,5``, ``13,5``,
    ``18,3``, ``18,2`` and ``26,0``. Time counts from the first of them.
    """
    begin_s = arrivals[0].at_s
    return _shape([Point((point.at_s - begin_s) / speed, point.users * scale) for point in arrivals], [])


def _shape(points: Sequence[Point], marks: Sequence[Mark]) -> Shape:
    return Shape(tuple(points), tuple(marks))


def _users(count: int) -> str:
    return f"{count:,} user{'' if count == 1 else 's'}"


def _whole(users: float) -> int:
    """The nearest whole count; of two, the greater (Python's ``round`` would take the even one)."""
    return int(users + 0.5)
