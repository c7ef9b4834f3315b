"""Attendance: whether the users were there for the whole of the load, against what was asked for.

Each second each process reads, by class of user, how many were due and how many were there. Due is what was
asked for at that moment: of a ramp, those of it so far. So their sums are times: users × seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from wsoak.judge.doubt import Doubt, Header
from wsoak.judge.terminal import safe
from wsoak.judge.user_code import said, user_errors
from wsoak.judge.words import counted, listed, percent, were
from wsoak.ledger.books import Books, GaugeSummary
from wsoak.ledger.names import DONE, DUE, FAILED, FINISHED, LEFT, POLICY, THERE, USERS

_STOPPED_BY_GATE: Final = "gate"

AT_THE_END_S: Final = 3.0
"""A process whose last reading is older than this, by the newest of all, was not there at the end."""

MISSING_SHARE: Final = 0.02
"""Users that were missing for more than this share of the time for which they were asked: not the load."""


@dataclass(frozen=True, slots=True)
class Attendance:
    """The users of one class over the run; times are users × readings, one reading a second.

    Attributes:
        due, there: users that were asked for, and of those the ones that ran, as times.
        done: those that had ended themselves, as a time.
        left: those that ended with their socket under ``--reconnect none``, as a time.
        most_due, most_there: the greatest numbers.
        last_due, last_there: at the last readings.
        finished, policy, failed: how many users ended in these ways.
    """

    name: str
    due: float = 0.0
    there: float = 0.0
    done: float = 0.0
    left: float = 0.0
    most_due: float = 0.0
    last_due: float = 0.0
    last_there: float = 0.0
    finished: float = 0.0
    policy: float = 0.0
    failed: float = 0.0

    @property
    def all_done(self) -> bool:
        """Whether no user of the class is left, and some ended themselves: their work is finished."""
        return self.finished > 0 and self.last_due > 0 and self.last_there == 0

    @property
    def missing(self) -> float:
        """The time for which users were missing: not there, and neither done nor ended by the policy."""
        return max(0.0, self.due - self.there - self.left - (self.done if self.all_done else 0.0))


def attendances(books: Books) -> list[Attendance]:
    """The users by class, all workers added up; none in a run that did not read it."""
    return [_attendance(books, name) for name in _classes(books)]


def most_due(books: Books) -> int | None:
    """The greatest number of users that were asked for; ``None`` in a run that did not read it."""
    found = attendances(books)
    return round(sum(each.most_due for each in found)) if found else None


def users_missing(books: Books, header: Header) -> Iterator[Doubt]:
    """Users that were asked for, and were not there for a part of the load."""
    found = attendances(books)
    due, missing = sum(each.due for each in found), sum(each.missing for each in found)
    share = missing / due if due else 0.0
    if round(missing, 6) > 0:
        yield Doubt(
            "users-missing",
            f"Users were missing for {percent(missing, due)} of the time for which they were asked, over the "
            f"whole of the load: {_numbers(found)}.{_ends(found)}{_raised(books)}",
            "Mend what ended them: the log has each exception. Users may end themselves (StopUser) where all "
            "of them do, as they have done a fixed amount of work.",
            # a gate that has failed under less load than was asked for has failed
            invalid=share > MISSING_SHARE and header.get("ended_by") != _STOPPED_BY_GATE,
        )
    left = sum(each.left for each in found)
    if due and left / due > MISSING_SHARE:
        policy = round(sum(each.policy for each in found))
        yield Doubt(
            "users-ended-by-policy",
            f"{counted(policy, 'user')} ended with a socket, as --reconnect none says: they made no load for "
            f"{percent(left, due)} of the time for which users were asked.",
            "See the findings for what ended the sockets; for a load that stays, use --reconnect backoff.",
            invalid=False,
        )


def _numbers(found: list[Attendance]) -> str:
    """``6 of 9 users were there at the end``; of each class that lacks some, where there are several."""
    short = [each for each in found if each.missing > 0]
    parts = [
        f"{round(each.last_there):,} of {counted(round(each.last_due), f'{safe(each.name, 60)}')} "
        f"{were(round(each.last_there))} there at the end"
        for each in short
    ]
    return listed(parts)


def _ends(found: list[Attendance]) -> str:
    short = [each for each in found if each.missing > 0]
    ways = (
        (FAILED, "died of an exception or could not log in"),
        (FINISHED, "ended themselves (StopUser) while others went on"),
    )
    parts = [
        f"{counted(number, 'user')} {text}"
        for field, text in ways
        if (number := round(sum(getattr(each, field) for each in short)))
    ]
    return f" {listed(parts)}." if parts else ""


def _raised(books: Books) -> str:
    errors = user_errors(books, lambda kind: kind.where == "on_start")
    return f" Raised: {said(errors)}." if errors else ""


def _classes(books: Books) -> list[str]:
    prefix = f"{DUE} "
    return sorted(
        {
            name.removeprefix(prefix)
            for _, source, name in books.gauges
            if source == USERS and name.startswith(prefix)
        }
    )


def _attendance(books: Books, name: str) -> Attendance:
    def summaries(what: str) -> list[GaugeSummary]:
        return [
            summary
            for (_, source, gauge), summary in books.gauges.items()
            if source == USERS and gauge == f"{what} {name}"
        ]

    def time_of(what: str) -> float:
        return sum(summary.sum for summary in summaries(what))

    def so_far(what: str) -> float:
        return sum(summary.last for summary in summaries(what))

    def at_the_end(what: str) -> float:
        found = summaries(what)
        newest = max((summary.last_at for summary in found), default=0.0)
        return sum(summary.last for summary in found if summary.last_at >= newest - AT_THE_END_S)

    return Attendance(
        name,
        due=time_of(DUE),
        there=time_of(THERE),
        done=time_of(DONE),
        left=time_of(LEFT),
        most_due=sum(summary.greatest for summary in summaries(DUE)),
        last_due=at_the_end(DUE),
        last_there=at_the_end(THERE),
        finished=so_far(FINISHED),
        policy=so_far(POLICY),
        failed=so_far(FAILED),
    )
