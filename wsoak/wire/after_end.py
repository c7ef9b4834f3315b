"""After the end: calls of a scenario on a socket that is closed.

They come back at once, so a loop over them would keep the event loop from its turn: no other user would run,
no run time would end, no signal would be heard. Each such call gives the others a turn. A socket that is
called in a tight loop is reported once, and each further call pauses, so that the loop costs no CPU.
"""

from __future__ import annotations

import sys
import time
from types import FrameType
from typing import TYPE_CHECKING, Final

import gevent

from wsoak.ledger.units import NS_PER_S

if TYPE_CHECKING:
    from wsoak.wire.connection import Connection

LOOP_CALLS: Final = 100
"""So many calls within ``LOOP_NS`` are a loop."""
LOOP_NS: Final = 5 * NS_PER_S
PAUSE_S: Final = 0.02
"""In ``LOOP_NS`` there is time for more than ``LOOP_CALLS`` of them."""


class AfterEnd:
    """The calls on one closed socket."""

    __slots__ = ("_calls", "_looping", "_since_ns", "_told")

    def __init__(self) -> None:
        self._calls = 0
        self._since_ns = time.perf_counter_ns()
        self._looping = self._told = False

    def called(self, connection: Connection) -> None:
        """A call was made on ``connection``, by a greenlet; let the others run."""
        self._calls += 1
        if self._calls >= LOOP_CALLS:
            now_ns = time.perf_counter_ns()
            self._looping = now_ns - self._since_ns <= LOOP_NS
            self._calls, self._since_ns = 0, now_ns
            if self._looping and not self._told:
                self._told = True
                connection.client.looped(connection, *_caller())
        gevent.sleep(PAUSE_S if self._looping else 0)


def _caller() -> tuple[str, FrameType | None]:
    """The connection's method that the scenario called, and the scenario's frame."""
    frame: FrameType | None = sys._getframe(1)
    method = ""
    while frame is not None and frame.f_globals.get("__name__", "").startswith("wsoak.wire."):
        method = frame.f_code.co_name
        frame = frame.f_back
    return method, frame
