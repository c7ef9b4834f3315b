"""Waiting: greenlets that wait for something to come over a socket, with a deadline.

A waiter is woken either on the hub, where it runs at once, or by another greenlet, where it runs when the hub
next turns: a greenlet must never switch to another one directly, as nothing would ever switch back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gevent import get_hub, getcurrent

from wsoak.ledger.units import NS_PER_S
from wsoak.wire.deadlines import Bucket, Deadlines

_held: list[Waiter] | None = None
"""Those woken since ``hold``; ``None`` while nothing is held."""


def hold() -> None:
    """Let nobody who is woken run before ``let_run``: all that came in one read is to be known first."""
    global _held
    _held = []


def let_run() -> None:
    """Resume those who were woken since ``hold``, in that order."""
    global _held
    held, _held = _held or (), None
    hub = get_hub()
    for waiter in held:
        if getcurrent() is hub:
            waiter.resume()
        else:
            hub.loop.run_callback(waiter.resume)


def holding() -> bool:
    """Whether what came in one read is being told at this moment."""
    return _held is not None


class Waiter:
    """One greenlet that waits for one result; ``None`` stands for the deadline, or for nothing to come."""

    __slots__ = ("_bucket", "_greenlet", "done", "result")

    def __init__(self) -> None:
        self._greenlet: Any = None
        self._bucket: Bucket | None = None
        self.done = False
        self.result: Any = None

    def set_deadline(self, deadlines: Deadlines, at_ns: int) -> None:
        """Give up at ``at_ns``."""
        self._bucket = deadlines.add(self, at_ns)

    def wait(self) -> Any:
        """Block the calling greenlet until ``wake`` was called.

        Raises:
            RuntimeError: when another greenlet waits for the same already.
        """
        if not self.done:
            if self._greenlet is not None:
                raise RuntimeError("only one greenlet can wait for this")
            self._greenlet = getcurrent()
            try:
                get_hub().switch()
            finally:
                # killed while waiting: nobody may switch here any more
                self._greenlet = None
                if not self.done:
                    self.abandon()
        return self.result

    def wake(self, result: Any) -> None:
        """End the waiting with ``result``; later calls change nothing."""
        if self.done:
            return
        self.done = True
        self.result = result
        self._cancel_deadline()
        if self._greenlet is None:
            return
        if _held is not None:
            _held.append(self)
            return
        hub = get_hub()
        if getcurrent() is hub:
            self._greenlet.switch()
        else:
            hub.loop.run_callback(self.resume)

    def expire(self) -> None:
        """See ``deadlines.Expirable``."""
        self._bucket = None
        self.wake(None)

    def abandon(self) -> None:
        """The waiting greenlet was killed."""
        self._cancel_deadline()

    def _cancel_deadline(self) -> None:
        if self._bucket is not None:
            self._bucket.discard(self)
            self._bucket = None

    def resume(self) -> None:
        """On the hub: switch to whoever waits, if he was not killed meanwhile."""
        if self._greenlet is not None:
            self._greenlet.switch()


def rest(waiter: Waiter, duration_ns: int) -> None:
    """Block the calling greenlet for so long, or until ``waiter`` is woken with another cause.

    The one timer of ours that a message waits for. libev counts a timer from the time that the loop read when
    its turn began: after work in the same turn it would end early by as much as that work took.
    ``update=True`` has the loop read the clock first, as ``gevent.sleep`` and ``gevent.Timeout`` do.
    """
    with get_hub().loop.timer(duration_ns / NS_PER_S) as timer:
        timer.start(waiter.wake, True, update=True)
        waiter.wait()


class Duty:
    """An action that is due at a deadline, unless it is cancelled before."""

    __slots__ = ("_action", "_bucket")

    def __init__(self, deadlines: Deadlines, at_ns: int, action: Callable[[], None]) -> None:
        self._action: Callable[[], None] | None = action
        self._bucket: Bucket | None = deadlines.add(self, at_ns)

    def expire(self) -> None:
        """See ``deadlines.Expirable``."""
        self._bucket = None
        action, self._action = self._action, None
        if action is not None:
            action()

    def cancel(self) -> None:
        """Take the duty back, if it is not done yet."""
        # most often a method of whoever holds this duty: together they would wait for the collector
        self._action = None
        if self._bucket is not None:
            self._bucket.discard(self)
            self._bucket = None
