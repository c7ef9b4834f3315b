"""Drops: when many sockets were ended at once, and when as many were open again.

    open sockets
    before ┤──────┐                    ┌──────  95 % of before: recovered
           │      │              ┌─────┘
           │      │      ┌───────┘
         0 ┤      └──────┘
                  at     until …       back_at

A mass drop is found from the sockets' own times: within ``WINDOW_S``, at least ``LEAST`` sockets and
``LEAST_SHARE`` of those that were open at its beginning were ended by the server or the network, and
``UNUSUAL`` times more than in the run's quieter seconds (lower quartile). What ends with the run, or by the
server with 1000 after its work, is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from wsoak.ledger.outcomes import OPEN
from wsoak.ledger.records import ConnectionRecord

WINDOW_S: Final = 1.0
LEAST: Final = 10
LEAST_SHARE: Final = 0.2
UNUSUAL: Final = 3.0
RECOVERED_PERCENT: Final = 95

_ONSET_SHARE: Final = 0.05
_ONSET_SLACK: Final = 2.0
"""A drop begins where this share of its sockets end in no more than twice the time that they would take if
all but the first and last of it were even: what ended by chance shortly before is not its beginning."""
_TOGETHER_S: Final = 0.02
"""Ends that follow one another so soon are of one drop, however slowly it begins."""
_FEWEST_SECONDS: Final = 4

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Drop:
    """One mass drop: Unix seconds of its first end, and of the end of its last window.

    ``open_before`` sockets were open, ``ends`` are those that it ended, as positions in ``Lives.bad_ends``.
    """

    at: float
    until: float
    open_before: int
    ends: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Lives:
    """When sockets opened and ended, sorted; and of those that others ended, sorted by their end, both."""

    opens: Floats
    ends: Floats
    bad_opens: Floats
    bad_ends: Floats

    @classmethod
    def of(cls, opened: Floats, ended: Floats, bad: npt.NDArray[np.bool_], unseen: Floats) -> Lives:
        """The lives of sockets.

        Args:
            opened, ended: Unix seconds.
            bad: which of them the server or the network ended.
            unseen: when sockets opened whose end is not known.
        """
        order = np.argsort(ended[bad], kind="stable")
        opens = np.sort(np.concatenate([opened, unseen]))
        return cls(opens, np.sort(ended), opened[bad][order], ended[bad][order])

    def open_at(self, times: Any, side: Any = "left") -> Any:
        """How many sockets were open just before these times; with ``right``: just after."""
        return np.searchsorted(self.opens, times, side) - np.searchsorted(self.ends, times, side)

    def hit(self, begin: float, until: float, opened_before: float) -> npt.NDArray[np.int64]:
        """Which of those that others ended between these times had been open before."""
        low = int(np.searchsorted(self.bad_ends, begin, "left"))
        high = int(np.searchsorted(self.bad_ends, until, "right"))
        return low + np.flatnonzero(self.bad_opens[low:high] < opened_before)

    def held_from(self, after: float) -> tuple[Floats, npt.NDArray[np.int64]]:
        """How many were open at this time, and whenever one more had opened."""
        times = np.concatenate([[after], self.opens[self.opens > after]])
        return times, self.open_at(times, "right")


def ended_by_others(record: ConnectionRecord) -> bool:
    """Whether the server or the network ended this socket, and not after its work with 1000."""
    return (
        record.outcome == OPEN
        and record.age_s is not None
        and (record.initiator == "network" or (record.initiator == "server" and record.code != 1000))
    )


def drops(lives: Lives) -> Iterator[Drop]:
    """The mass drops among these sockets, in the order of their times."""
    share = max(LEAST_SHARE, UNUSUAL * _usual_share(lives))
    resume_at = float("-inf")
    for candidate in _candidates(lives, share):
        if candidate < resume_at or not _is_drop(lives, candidate, share):
            continue
        at = _onset(lives, candidate)
        until = at + WINDOW_S
        before = int(lives.open_at(at))
        while len(lives.hit(until, until + WINDOW_S, at)) >= max(LEAST, share * before):
            until += WINDOW_S
        yield Drop(at, until, before, lives.hit(at, until, at))
        resume_at = until


def back_at(lives: Lives, drop: Drop) -> float | None:
    """The Unix time at which 95 % as many were open again; ``None``: never."""
    ends = lives.bad_ends[drop.ends]
    # until nearly all have ended, sockets that are open again say nothing
    mostly_over = float(ends[-(-len(ends) * RECOVERED_PERCENT // 100) - 1])
    times, held = lives.held_from(mostly_over)
    back = np.flatnonzero(held >= -(-drop.open_before * RECOVERED_PERCENT // 100))
    return float(times[back[0]]) if len(back) else None


def _candidates(lives: Lives, share: float) -> Floats:
    """The ends at which a drop may begin, by what is quickly known: a bound on how many it hits."""
    times = lives.bad_ends
    soon = np.searchsorted(times, times + WINDOW_S, "right") - np.arange(len(times))
    doomed = np.searchsorted(np.sort(lives.bad_opens), times, "left") - np.searchsorted(times, times, "left")
    enough = np.maximum(LEAST, share * lives.open_at(times))
    found: Floats = times[np.minimum(soon, doomed) >= enough]
    return found


def _is_drop(lives: Lives, at: float, share: float) -> bool:
    return len(lives.hit(at, at + WINDOW_S, at)) >= max(LEAST, share * int(lives.open_at(at)))


def _usual_share(lives: Lives) -> float:
    """Of the run's seconds with sockets enough, the lower quartile of the shares that others ended in them.

    Not the median: the drops' own seconds can be half of a short run. 0 where seconds are too few to say.
    """
    if not len(lives.bad_ends):
        return 0.0
    seconds = np.arange(lives.opens[0], max(lives.opens[-1], lives.ends[-1]), WINDOW_S)
    held = lives.open_at(seconds)
    shares = [
        len(lives.hit(second, second + WINDOW_S, second)) / count
        for second, count in zip(seconds, held, strict=True)
        if count >= LEAST
    ]
    return float(np.quantile(shares, 0.25, method="lower")) if len(shares) >= _FEWEST_SECONDS else 0.0


def _onset(lives: Lives, candidate: float) -> float:
    """The first end of the drop that a candidate's window has met."""
    times = lives.bad_ends[lives.hit(candidate, candidate + WINDOW_S, candidate)]
    first_few = max(2, math.ceil(_ONSET_SHARE * len(times)))
    took_s = times[first_few - 1 :] - times[: len(times) - first_few + 1]
    early, late = np.quantile(times, [_ONSET_SHARE, 1 - _ONSET_SHARE])
    even_s = (late - early) / (1 - 2 * _ONSET_SHARE) * first_few / len(times)
    onset = int(np.flatnonzero(took_s <= max(_ONSET_SLACK * even_s, took_s.min()))[0])
    while onset > 0 and times[onset] - times[onset - 1] <= _TOGETHER_S:
        onset -= 1
    return float(times[onset])
