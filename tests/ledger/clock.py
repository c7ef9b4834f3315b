"""A clock that stands still until a test moves it."""

from __future__ import annotations

from wsoak.ledger.recorder import Recorder

S = 1_000_000_000
EPOCH_S = 1_700_000_000


class Clock:
    """A monotonic clock with a wall clock beside it; both move together.

    Args:
        now_ns: the monotonic time at the start.
        wall_ns: Unix time at the start.
    """

    def __init__(self, now_ns: int = 5 * S, wall_ns: int = EPOCH_S * S) -> None:
        self.now_ns = now_ns
        self._wall_minus_now_ns = wall_ns - now_ns

    def recorder(self, worker: str = "local") -> Recorder:
        """A recorder that goes by this clock."""
        return Recorder(worker, lambda: self.now_ns, lambda: self.now_ns + self._wall_minus_now_ns)

    def advance(self, seconds: float) -> int:
        """Move on, and say what time it is."""
        self.now_ns += round(seconds * S)
        return self.now_ns
