"""Drops: when many sockets were ended at once, and how their users came back.

    open sockets
    before ┤──────┐                    ┌──────  95 % of before: recovered
           │      │              ┌─────┘
           │      │      ┌───────┘
         0 ┤      └──────┘
                  at     until …       back_at

A mass drop is found from the sockets' own times: within ``WINDOW_S``, at least ``LEAST`` sockets and
``LEAST_SHARE`` of those that were open at its beginning were ended by the server, the network or the run's
shape, and ``UNUSUAL`` times more than in the run's quieter seconds (lower quartile). What ends with the run,
or by the server with 1000 after its work, is none.

``drops`` finds them in ``Lives``; ``mass_drops`` measures how users came back, from a run's ``Attempts``,
and ``sentences`` says so.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from wsoak.judge.storms import users_of
from wsoak.judge.terminal import safe
from wsoak.judge.words import counted, duration, listed, of_all, percent, span
from wsoak.ledger.books import Books
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.outcomes import CANCELLED, DROPPED, OPEN, REJECTED_PREFIX
from wsoak.ledger.records import ConnectionRecord, Gauge, Observation
from wsoak.ledger.timeline import CounterRow, value
from wsoak.ledger.units import NS_PER_S

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
_WAYS_SHOWN: Final = 4

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


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


def by_others(initiator: Any, code: Any, by_shape: Any) -> Any:
    """Whether the server, the network or the run's shape ended an opened socket, and not its user.

    What the server ends with 1000 has done its work. Values, or columns of them.

    Args:
        by_shape: whether the reason of the first close frame is ``outcomes.DROPPED``; only where we sent that
            frame it is the shape's.
    """
    by_server = (initiator == "server") & (code != 1000)
    return (initiator == "network") | by_server | ((initiator == "client") & by_shape)


def ended_by_others(record: ConnectionRecord) -> bool:
    """Whether this socket was ended ``by_others``."""
    return (
        record.outcome == OPEN
        and record.age_s is not None
        and bool(by_others(record.initiator, record.code, record.reason == DROPPED))
    )


def way(code: int | str | None, detail: str, by: str) -> str:
    """How a socket ended: ``1001 by server``, ``1006 reset by network``, ``1001 dropped by the shape``."""
    return " ".join(filter(None, (str(code or "no code"), detail, by)))


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


# ---------------------------------------------------------------------------------------------- attempts

NO_WAY: Final = -1
"""Among ``Attempts.ways``: not ended by others."""

_NO_RECONNECT, _OPENED, _REJECTED, _FAILED = range(4)


def fate(outcome: str, reconnect: bool = True) -> int:
    """What became of an attempt, for ``Attempts.fates``: a reconnect that opened, was rejected, or failed."""
    if not reconnect or outcome == CANCELLED:
        return _NO_RECONNECT
    return _OPENED if outcome == OPEN else _REJECTED if outcome.startswith(REJECTED_PREFIX) else _FAILED


@dataclass(frozen=True)
class Attempts:
    """A run's ended attempts to open a socket, as columns with an entry each.

    ``names`` and ``ways`` are positions in ``all_names`` and ``all_ways`` (``NO_WAY``: not ended by others);
    ``fates`` are those of ``fate``; ``opened`` says which were open once. Times are Unix seconds.
    """

    all_names: tuple[str, ...]
    all_ways: tuple[str, ...]
    names: Ints
    ways: Ints
    fates: Ints
    opened: Bools
    started_at: Floats
    opened_at: Floats
    ended_at: Floats

    def of(self, name: int) -> Attempts:
        """Those of one name alone."""
        columns = ("names", "ways", "fates", "opened", "started_at", "opened_at", "ended_at")
        kept = self.names == name
        return Attempts(
            self.all_names, self.all_ways, **{column: getattr(self, column)[kept] for column in columns}
        )


class AttemptLog:
    """Collects ``Attempts`` while a run's books are read: a ``rundir.Sink``. It keeps 49 bytes an attempt."""

    def __init__(self) -> None:
        self._all_names: dict[str, int] = {}
        self._all_ways: dict[str, int] = {}
        self._name, self._way, self._fate = array("q"), array("q"), array("q")
        self._started_at, self._opened_at, self._ended_at = array("d"), array("d"), array("d")
        self._opened = bytearray()

    def take_connection(self, record: ConnectionRecord, /) -> None:
        """Keep what drops and recoveries are told from."""
        ended_at = record.ended_at
        if not math.isfinite(ended_at):
            return
        ended = NO_WAY
        if ended_by_others(record):
            by = DROPPED if record.initiator == "client" else f"by {record.initiator}"
            ended = self._all_ways.setdefault(way(record.code, record.detail, by), len(self._all_ways))
        self._name.append(self._all_names.setdefault(record.name, len(self._all_names)))
        self._way.append(ended)
        self._fate.append(fate(record.outcome, record.attempt > 0))
        self._started_at.append(record.started_at)
        self._opened_at.append(ended_at - (record.age_s or 0.0))
        self._ended_at.append(ended_at)
        self._opened.append(record.outcome == OPEN and record.age_s is not None)

    def take_row(self, second: int, name: str, row: CounterRow, /) -> None:
        """Of no use here: the books keep it."""

    def take_durations(self, second: int, kind: str, name: str, durations: Histogram, /) -> None:
        """Of no use here."""

    def take_gauge(self, gauge: Gauge, /) -> None:
        """Of no use here."""

    def take_observation(self, seen: Observation, /) -> None:
        """Of no use here."""

    def attempts(self) -> Attempts:
        """All that were taken."""
        return Attempts(
            tuple(self._all_names),
            tuple(self._all_ways),
            names=np.array(self._name, dtype=np.int64),
            ways=np.array(self._way, dtype=np.int64),
            fates=np.array(self._fate, dtype=np.int64),
            opened=np.frombuffer(bytes(self._opened), dtype=np.bool_),
            started_at=np.array(self._started_at, dtype=np.float64),
            opened_at=np.array(self._opened_at, dtype=np.float64),
            ended_at=np.array(self._ended_at, dtype=np.float64),
        )


# --------------------------------------------------------------------------------------------- measuring


@dataclass(frozen=True, slots=True)
class MassDrop:
    """One mass drop, of the sockets of one name, or of all (``None``).

    ``at`` is the Unix time in seconds of the first end, ``took_s`` the time to the last one;
    ``recovered_s`` seconds from ``at`` until 95 % of ``open_before`` were open, ``None`` where the run ended
    first, with ``most_back`` open at best. ``attempts`` are the reconnects that began until then, of which
    ``rejected`` got an HTTP status other than 101 and ``failed`` nothing better; ``peak`` began in the
    busiest second, by ``users`` users (0: not known). ``exact`` is false where a part of the sockets had no
    row yet: then times hold to the second.
    """

    name: str | None
    at: float
    took_s: float
    open_before: int
    dropped: int
    ways: Mapping[str, int]
    recovered_s: float | None
    most_back: int
    attempts: int
    rejected: int
    failed: int
    peak: int
    users: int
    exact: bool

    @property
    def peak_per_user_s(self) -> float | None:
        """Reconnects a second and user in the busiest second; ``None`` where the users are not known."""
        return self.peak / self.users if self.users else None

    @property
    def rejected_share(self) -> float | None:
        """Reconnects that got a status other than 101, of all; ``None`` without reconnects."""
        return self.rejected / self.attempts if self.attempts else None

    def to_json(self) -> dict[str, Any]:
        """The drop as plain values."""
        return {
            "name": self.name,
            "at": self.at,
            "took_s": self.took_s,
            "open_before": self.open_before,
            "dropped": self.dropped,
            "ways": dict(self.ways),
            "recovered_95_s": self.recovered_s,
            "most_back": self.most_back,
            "attempts": self.attempts,
            "rejected_share": self.rejected_share,
            "failed": self.failed,
            "peak_attempts_per_s": self.peak,
            "peak_attempts_per_s_and_user": self.peak_per_user_s,
            "exact": self.exact,
        }


def mass_drops(attempts: Attempts, books: Books) -> list[MassDrop]:
    """The mass drops of a run, in the order of their times.

    Of all sockets together; and of one name alone where the others were not dropped with it.

    Args:
        attempts: all that have ended.
        books: the run's books, for the seconds in which sockets opened that have no row yet.
    """
    found = list(_drops_of(attempts, books, None))
    if len(attempts.all_names) > 1:
        ended = np.bincount(attempts.names[attempts.ways != NO_WAY], minlength=len(attempts.all_names))
        for name in np.flatnonzero(ended >= LEAST):
            alone = list(_drops_of(attempts.of(int(name)), books, attempts.all_names[name]))
            found += [drop for drop in alone if not any(_same(drop, other) for other in found)]
    return sorted(found, key=lambda drop: (drop.at, drop.name or ""))


def _same(drop: MassDrop, other: MassDrop) -> bool:
    return other.name is None and other.at - WINDOW_S <= drop.at <= other.at + other.took_s + WINDOW_S


def _drops_of(attempts: Attempts, books: Books, name: str | None) -> Iterator[MassDrop]:
    unseen = _unseen(attempts, books, name)
    opened, ended = attempts.opened, attempts.ended_at
    bad = np.flatnonzero(attempts.ways != NO_WAY)
    rows = bad[np.argsort(ended[bad], kind="stable")]
    lives = Lives.of(attempts.opened_at[opened], ended[opened], attempts.ways[opened] != NO_WAY, unseen)
    for drop in drops(lives):
        ways = np.bincount(attempts.ways[rows[drop.ends]], minlength=len(attempts.all_ways))
        often = {attempts.all_ways[one]: int(ways[one]) for one in np.argsort(-ways, kind="stable")}
        named = {told: count for told, count in often.items() if count}
        yield _measured(attempts, books, name, lives, drop, named, exact=not len(unseen))


def _unseen(attempts: Attempts, books: Books, name: str | None) -> Floats:
    """When the sockets without a row opened: at the end of their second in the timeline."""
    per_second = {
        second: sum(value(row, "opened") for of, row in rows.items() if name in (None, of))
        for second, rows in books.seconds.items()
    }
    seconds = np.array(sorted(per_second), dtype=np.int64)
    counted_so_far = np.cumsum([per_second[int(second)] for second in seconds])
    with_row = np.searchsorted(np.sort(attempts.opened_at[attempts.opened]), seconds + 1, "left")
    missing = np.maximum(0, counted_so_far - with_row)
    # a row that rounding puts into the next second is not missing
    missing = np.minimum.accumulate(missing[::-1])[::-1]
    began = np.diff(missing, prepend=0).astype(np.int64)
    return np.repeat(seconds + 1.0, began)


def _measured(
    attempts: Attempts,
    books: Books,
    name: str | None,
    lives: Lives,
    drop: Drop,
    ways: dict[str, int],
    exact: bool,
) -> MassDrop:
    at, ends = drop.at, lives.bad_ends[drop.ends]
    back = back_at(lives, drop)
    started = attempts.started_at
    until = started <= (back if back is not None else math.inf)
    tried = (attempts.fates != _NO_RECONNECT) & (started >= at) & until
    fates = attempts.fates[tried]
    busiest = np.bincount((started[tried] - at).astype(np.int64), minlength=1)
    return MassDrop(
        name=name,
        at=at,
        took_s=float(ends[-1] - at),
        open_before=drop.open_before,
        dropped=len(ends),
        ways=ways,
        recovered_s=None if back is None else round(back - at, 6),
        most_back=int(lives.held_from(float(ends[-1]))[1].max()),
        attempts=len(fates),
        rejected=int((fates == _REJECTED).sum()),
        failed=int((fates == _FAILED).sum()),
        peak=int(busiest.max()),
        users=users_of(books),
        exact=exact,
    )


# ------------------------------------------------------------------------------------------------- words


def sentences(drops: list[MassDrop], started_at: float) -> list[str]:
    """A sentence or three for each drop; ``started_at`` is the run's start, Unix seconds."""
    return [" ".join(_told(drop, started_at)) for drop in drops]


def _told(drop: MassDrop, started_at: float) -> Iterator[str]:
    ways = [f"{count:,} × {safe(way)}" for way, count in list(drop.ways.items())[:_WAYS_SHOWN]]
    whose = f" of {safe(drop.name, 60)}" if drop.name is not None else ""
    took = duration(drop.took_s * NS_PER_S) if drop.took_s < 120 else span(drop.took_s)
    yield (
        f"At {max(0.0, drop.at - started_at):,.3f} s, {of_all(drop.dropped, drop.open_before, 'open socket')}"
        f"{whose} ended within {took}: {listed(ways)}."
    )
    roughly = "" if drop.exact else " (to the second: the run is not over, or was cut)"
    if drop.recovered_s is not None:
        yield f"95 % as many were open again after {drop.recovered_s:,.3f} s{roughly}."
    else:
        yield f"95 % as many were never open again in this run: {drop.most_back:,} at best{roughly}."
    if not drop.attempts:
        yield "Nobody reconnected."
        return
    a_user = f", {drop.peak_per_user_s:.3g} a user" if drop.peak_per_user_s is not None else ""
    failed = f", {percent(drop.failed, drop.attempts)} failed in another way" if drop.failed else ""
    yield (
        f"Until then there were {counted(drop.attempts, 'reconnect')}, {drop.peak:,} in the busiest second"
        f"{a_user}; {percent(drop.rejected, drop.attempts)} of them were rejected{failed}."
    )
