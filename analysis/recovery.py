"""Recovery: mass drops of sockets in a run, and how their users came back.

    open sockets
    before ┤──────┐                    ┌──────  95 % of before: recovered
           │      │              ┌─────┘
           │      │      ┌───────┘
         0 ┤      └──────┘
                  at     reconnects …  at + recovered_s

What a mass drop is, and how it is found, is told in ``wsoak.judge.drops``. Times are those of the sockets'
own rows, to the microsecond; the seconds of the timeline are used only for sockets that have no row yet, in a
run that was cut or goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from wsoak.judge.drops import LEAST, WINDOW_S, Drop, Lives, back_at, drops
from wsoak.judge.storms import users_of
from wsoak.judge.terminal import safe
from wsoak.judge.words import counted, duration, listed, of_all, percent, span
from wsoak.ledger.books import Books
from wsoak.ledger.outcomes import CANCELLED, OPEN, REJECTED_PREFIX
from wsoak.ledger.timeline import value
from wsoak.ledger.units import NS_PER_S

_WAYS_SHOWN: Final = 4

_Floats = npt.NDArray[np.float64]


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


def mass_drops(connections: pd.DataFrame, books: Books) -> list[MassDrop]:
    """The mass drops of a run, in the order of their times.

    Of all sockets together; and of one name alone where the others were not dropped with it.

    Args:
        connections: the run's rows, as ``frames.read_connections`` gives them.
        books: the run's books.
    """
    found = list(_drops(connections, books, None))
    names = connections["name"].astype("object")
    ended = names[_ended_by_others(connections)].value_counts()
    if names.nunique() > 1:
        for name in ended.index[ended >= LEAST]:
            alone = list(_drops(connections[names == name], books, str(name)))
            found += [drop for drop in alone if not any(_same(drop, other) for other in found)]
    return sorted(found, key=lambda drop: (drop.at, drop.name or ""))


def _same(drop: MassDrop, other: MassDrop) -> bool:
    return other.name is None and other.at - WINDOW_S <= drop.at <= other.at + other.took_s + WINDOW_S


# ----------------------------------------------------------------------------------------------- finding


def _ended_by_others(connections: pd.DataFrame) -> pd.Series:
    by_server = connections["initiator"] == "server"
    by_network = connections["initiator"] == "network"
    ended = (connections["outcome"] == OPEN) & connections["age_s"].notna()
    return ended & (by_network | (by_server & (connections["code"] != 1000)))


def _lives(connections: pd.DataFrame, unseen: _Floats) -> tuple[Lives, npt.NDArray[np.int64]]:
    """The sockets' lives; and the positions in the frame of those that others ended, sorted by their end."""
    opened = (connections["outcome"] == OPEN) & connections["age_s"].notna()
    bad = _ended_by_others(connections).to_numpy(dtype=bool)
    opens = connections["opened_at"].to_numpy(dtype=np.float64)
    ends = connections["ended_at"].to_numpy(dtype=np.float64)
    rows = np.flatnonzero(bad)
    order = np.argsort(ends[rows], kind="stable")
    known = opened.to_numpy(dtype=bool)
    return Lives.of(opens[known], ends[known], bad[known], unseen), rows[order].astype(np.int64)


def _unseen(connections: pd.DataFrame, books: Books, name: str | None) -> _Floats:
    """When the sockets without a row opened: at the end of their second in the timeline."""
    per_second = {
        second: sum(value(row, "opened") for of, row in rows.items() if name in (None, of))
        for second, rows in books.seconds.items()
    }
    seconds = np.array(sorted(per_second), dtype=np.int64)
    counted_so_far = np.cumsum([per_second[int(second)] for second in seconds])
    opened = connections[(connections["outcome"] == OPEN) & connections["age_s"].notna()]
    with_row = np.searchsorted(np.sort(opened["opened_at"].to_numpy(dtype=np.float64)), seconds + 1, "left")
    missing = np.maximum(0, counted_so_far - with_row)
    # a row that rounding puts into the next second is not missing
    missing = np.minimum.accumulate(missing[::-1])[::-1]
    began = np.diff(missing, prepend=0).astype(np.int64)
    return np.repeat(seconds + 1.0, began)


def _drops(connections: pd.DataFrame, books: Books, name: str | None) -> Iterator[MassDrop]:
    unseen = _unseen(connections, books, name)
    lives, rows = _lives(connections, unseen)
    for drop in drops(lives):
        ways = _ways(connections.iloc[rows[drop.ends]])
        yield _measured(connections, books, name, lives, drop, ways, exact=not len(unseen))


# --------------------------------------------------------------------------------------------- measuring


def _measured(
    connections: pd.DataFrame,
    books: Books,
    name: str | None,
    lives: Lives,
    drop: Drop,
    ways: dict[str, int],
    exact: bool,
) -> MassDrop:
    at, ends = drop.at, lives.bad_ends[drop.ends]
    back = back_at(lives, drop)
    started = connections["started_at"]
    tried = connections[
        (connections["attempt"] > 0)
        & (connections["outcome"] != CANCELLED)
        & (started >= at)
        & (started <= (back if back is not None else float("inf")))
    ]
    outcomes = tried["outcome"].astype("object")
    rejected = int(outcomes.str.startswith(REJECTED_PREFIX).sum()) if len(tried) else 0
    busiest = np.bincount((tried["started_at"] - at).astype("int64")) if len(tried) else np.zeros(1)
    return MassDrop(
        name=name,
        at=at,
        took_s=float(ends[-1] - at),
        open_before=drop.open_before,
        dropped=len(ends),
        ways=ways,
        recovered_s=None if back is None else round(back - at, 6),
        most_back=int(lives.held_from(float(ends[-1]))[1].max()),
        attempts=len(tried),
        rejected=rejected,
        failed=int((outcomes != OPEN).sum()) - rejected,
        peak=int(busiest.max()),
        users=users_of(books),
        exact=exact,
    )


def _ways(ended: pd.DataFrame) -> dict[str, int]:
    code = ended["code"].astype("Int64").astype("string").fillna("no code").astype("object")
    detail = ended["detail"].astype("object")
    words = code + np.where(detail == "", "", " ") + detail + " by " + ended["initiator"].astype("object")
    return {str(way): int(count) for way, count in words.value_counts().items()}


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
