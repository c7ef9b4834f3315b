"""Open model: sessions arrive at a rate of their own, however fast the earlier ones end.

    arrivals    |  | |    |  ||   |            a Poisson process, ``rate`` a second
                ▼  ▼ ▼    ▼  ▼▼   ▼
    waiting    ─────────────────────►  the oldest first; whoever waits longer than the patience is unserved
                ▼    ▼     ▼
    users       task  task  task               each free user takes the next arrival, and runs one task

With Locust's users alone (the closed model) a server that answers slowly is asked less often: the slower it
is, the gentler its test (Schroeder, Wierman and Harchol-Balter, "Open Versus Closed: A Cautionary Tale",
NSDI 2006). Here the users are only hands; the rate is the load.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import gevent
from gevent.event import Event

from wsoak.ledger.recorder import Recorder
from wsoak.ledger.timeline import ARRIVALS
from wsoak.ledger.units import NS_PER_S, s_to_ns
from wsoak.load.background import Guarded, unguarded

NAME: Final = ARRIVALS
"""The name under which they are in the timeline."""


LOOK_EVERY_S: Final = 0.5
"""How often a long wait for the next arrival looks whether the run is being stopped."""


class Arrivals:
    """The arrivals of one process, and those that wait.

    Args:
        rate_per_s: this process's share of the rate.
        patience_s: how long one waits for a free user before it counts as unserved.
        seed: the same seed gives the same arrivals.
        going: whether users still take any; nobody arrives at a run that is being stopped.
    """

    def __init__(
        self,
        recorder: Recorder,
        rate_per_s: float,
        patience_s: float,
        seed: str,
        going: Callable[[], bool] = lambda: True,
        guard: Guarded = unguarded,
    ) -> None:
        self._going = going
        self._over = False
        self._series = recorder.series(NAME)
        self._recorder = recorder
        self._rate_per_s = rate_per_s
        self._patience_ns = s_to_ns(patience_s)
        self._random = random.Random(seed)
        self._waiting: deque[int] = deque()
        self._arrived = Event()
        self._loop = gevent.spawn(guard("the arrivals", self._arrive_for_ever))

    @property
    def waiting(self) -> int:
        """How many wait for a free user."""
        return len(self._waiting)

    def take(self) -> bool:
        """Block the calling user until an arrival is there for it; ``False`` when nobody arrives any more."""
        while not self._over:
            self._forget_unserved(time.perf_counter_ns())
            if self._waiting:
                self._serve(self._waiting.popleft())
                return True
            self._arrived.clear()
            self._arrived.wait()
        return False

    def stop(self) -> None:
        """Nobody arrives any more."""
        self._loop.kill()

    def _serve(self, arrived_ns: int) -> None:
        now_ns = time.perf_counter_ns()
        self._recorder.tick(now_ns)
        self._series.served += 1
        self._series.metric_ns.append(now_ns - arrived_ns)

    def _forget_unserved(self, now_ns: int) -> None:
        while self._waiting and now_ns - self._waiting[0] > self._patience_ns:
            self._waiting.popleft()
            self._recorder.tick(now_ns)
            self._series.unserved += 1

    def _arrive_for_ever(self) -> None:
        next_ns = time.perf_counter_ns()
        while True:
            next_ns += s_to_ns(self._random.expovariate(self._rate_per_s))
            ahead_ns = next_ns - time.perf_counter_ns()
            while ahead_ns > 0 and self._going():
                gevent.sleep(min(ahead_ns / NS_PER_S, LOOK_EVERY_S))
                ahead_ns = next_ns - time.perf_counter_ns()
            if not self._going():
                self._over = True
                self._arrived.set()
                return
            now_ns = time.perf_counter_ns()
            self._recorder.tick(now_ns)
            self._series.arrived += 1
            self._waiting.append(next_ns)
            self._forget_unserved(now_ns)
            self._arrived.set()
