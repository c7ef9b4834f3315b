"""Storms: clients that reconnect without waiting, told from the reconnects that began in each second.

    attempts a second and user
     5 ┄┄┄┄┄┄┄┄┄┄┄┄┄┄  any reconnects: a back-off that starts at half a second, with full jitter, makes 4
                        when each socket works for a moment and is closed at once
     2 ┄┄┄┄┄┄┄┄┄┄┄┄┄┄  reconnects after a failed attempt: such a back-off doubles, and makes 1 at most

Both over ``WINDOW_S`` seconds, and beyond what chance explains where users are few: by three standard
deviations of a Poisson count.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from wsoak.ledger.books import Books, Reconnects

WINDOW_S: Final = 3
"""A client's first, quick attempts after a drop are none of a storm: it must go on for so long."""
RECONNECTS_PER_USER_S: Final = 5.0
RETRIES_PER_USER_S: Final = 2.0
_DEVIATIONS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Storm:
    """The reconnects of one name in all seconds that belong to a storm.

    ``repeated`` of the ``attempts`` came after a failed one; ``worst`` is the most in ``WINDOW_S``
    seconds; ``first_s`` and ``last_s`` are Unix seconds, the last one included.
    """

    users: int
    attempts: int
    repeated: int
    worst: int
    first_s: int
    last_s: int

    @property
    def per_user_s(self) -> float:
        """Attempts a second and user at the worst."""
        return self.worst / WINDOW_S / self.users


def storms(books: Books) -> dict[str, Storm]:
    """The storms by the name of the sockets; none where no gauge says how many users there were."""
    by_name: dict[str, dict[int, Reconnects]] = defaultdict(dict)
    for second, begun in books.reconnects.items():
        for name, reconnects in begun.items():
            by_name[name][second] = reconnects
    users = users_of(books)
    found = {name: _storm(begun, users) for name, begun in by_name.items()} if users else {}
    return {name: storm for name, storm in found.items() if storm is not None}


def _storm(begun: Mapping[int, Reconnects], users: int) -> Storm | None:
    stormy: set[int] = set()
    worst = 0
    for first in begun:
        seconds = [second for second in range(first, first + WINDOW_S) if second in begun]
        window = _sum(begun[second] for second in seconds)
        if _is_storm(window, users):
            stormy.update(seconds)
            worst = max(worst, window.attempts)
    if not stormy:
        return None
    whole = _sum(begun[second] for second in stormy)
    return Storm(users, whole.attempts, whole.repeated, worst, min(stormy), max(stormy))


def users_of(books: Books) -> int:
    """The greatest number of users, over all workers; 0 where no gauge says."""
    return round(
        sum(
            summary.greatest
            for (_, source, name), summary in books.gauges.items()
            if source == "generator" and name == "users"
        )
    )


def _is_storm(window: Reconnects, users: int) -> bool:
    return _beyond(window.attempts, RECONNECTS_PER_USER_S, users) or _beyond(
        window.repeated, RETRIES_PER_USER_S, users
    )


def _beyond(count: int, per_user_s: float, users: int) -> bool:
    expected = per_user_s * users * WINDOW_S
    return count > expected + _DEVIATIONS * math.sqrt(expected)


def _sum(parts: Iterable[Reconnects]) -> Reconnects:
    attempts, repeated = 0, 0
    for part in parts:
        attempts += part.attempts
        repeated += part.repeated
    return Reconnects(attempts, repeated)
