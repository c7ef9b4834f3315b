"""Shares: which part of a run's accounts each worker draws from, also when workers come and go."""

from __future__ import annotations

from collections.abc import Collection, Iterable


class Shares:
    """Shares 0 to ``count - 1``, one a worker.

    Args:
        count: how many workers there should be.
        present: those that are there at the start.

    Attributes:
        by_worker: the share of each.
    """

    def __init__(self, count: int, present: Iterable[str] = ()) -> None:
        self.by_worker = {worker: share for share, worker in enumerate(present)}
        self.count = max(count, len(self.by_worker), 1)

    def take(self, worker: str, alive: Collection[str]) -> bool:
        """Give a worker a share: its own again, else a free one, else that of a worker that is gone.

        Args:
            alive: the workers that still draw from theirs.

        Returns:
            whether nobody else draws from it; where none was left, it is one that somebody has.
        """
        if worker in self.by_worker:
            return True
        taken = {share for holder, share in self.by_worker.items() if holder in alive}
        free = [share for share in range(self.count) if share not in taken]
        self.by_worker[worker] = free[0] if free else len(self.by_worker) % self.count
        return bool(free)


def turned(addresses: tuple[str, ...], index: int) -> tuple[str, ...]:
    """Addresses that are taken in turn, as the worker with this index takes them: each begins with another.

    Forks of one host have them all in common. None is kept from anybody: which ports are free at an address,
    the kernel says of all together.
    """
    at = index % len(addresses) if addresses else 0
    return addresses[at:] + addresses[:at]
