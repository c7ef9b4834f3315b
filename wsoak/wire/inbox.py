"""Inbox: the messages of one connection that answer no request.

Each goes to the greenlet that expects it, else to the subscriber, else it is kept for a later ``expect``.
*Strays* carry the id of no request in flight: events of a subscription, second answers, late ones. They are
kept apart, and fewer of them, as a slow server's late answers come on every socket, and mostly nobody asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from heapq import merge
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from wsoak.ledger.recorder import Series
from wsoak.wire.message import Message, Predicate
from wsoak.wire.waiting import Waiter

if TYPE_CHECKING:
    from wsoak.wire.client import Client

INBOX_MESSAGES: Final = 1_000
"""How many messages that nobody asked for are kept; the oldest go first."""

STRAYS_KEPT: Final = 100
"""How many strays are kept besides; the oldest go first."""

HANDLER_MESSAGES: Final = 10_000
"""How many messages may wait for a subscriber that is slower than they come; the oldest go first.

More than come in one turn of the event loop, so that a quick subscriber misses none.
"""

Handler = Callable[[Message], Any]

_RECEIVED: Final = attrgetter("received_ns")


class Expectation(Waiter):
    """A greenlet that waits for a message of some kind."""

    __slots__ = ("predicate",)

    def __init__(self, predicate: Predicate) -> None:
        super().__init__()
        self.predicate = predicate


class Inbox:
    """Messages that answer no request, and those who want them."""

    __slots__ = ("_client", "_expectations", "_handing", "_handler", "_kept", "_most", "_series", "_strays")

    def __init__(self, client: Client, series: Series) -> None:
        self._client = client
        self._series = series
        self._expectations: list[Expectation] = []
        self._kept: deque[Message] = deque()
        self._strays: deque[Message] | None = None
        self._handler: Handler | None = None
        self._most = HANDLER_MESSAGES
        self._handing: deque[Message] | None = None

    def put(self, message: Message, stray: bool = False) -> bool:
        """Pass a message on; whether somebody expected it."""
        for expectation in self._expectations:
            if not expectation.done and expectation.predicate(message):
                expectation.wake(message)
                return True
        if self._handler is not None:
            self._hand_over(message)
            return False
        if stray:
            if self._strays is None:
                self._strays = deque(maxlen=STRAYS_KEPT)
            self._strays.append(message)
            return False
        if len(self._kept) >= INBOX_MESSAGES:
            self._kept.popleft()
            self._series.dropped += 1
        self._kept.append(message)
        return False

    def take(self, predicate: Predicate) -> Message | None:
        """The oldest kept message for which ``predicate`` is true; it is kept no longer."""
        if not self._strays:
            return _take(predicate, self._kept, self._kept)
        return _take(predicate, self._in_order(), self._kept, self._strays)

    def expect(self, predicate: Predicate, at_ns: int) -> Message | None:
        """Block until such a message comes; ``None`` at the deadline, or when none can come any more."""
        expectation = Expectation(predicate)
        expectation.set_deadline(self._client.deadlines, at_ns)
        self._expectations.append(expectation)
        try:
            found: Message | None = expectation.wait()
        finally:
            self._expectations.remove(expectation)
        return found

    def subscribe(self, handler: Handler, most: int = HANDLER_MESSAGES) -> None:
        """Hand each message that nobody expects to ``handler``, on a greenlet, in order, kept ones first.

        Raises:
            ValueError: when ``most``, how many may wait, is less than one.
        """
        if most < 1:
            raise ValueError(f"at least one message must have room to wait for a subscriber, not {most}")
        self._handler, self._most = handler, most
        kept = list(self._in_order())
        self._kept, self._strays = deque(), None
        for message in kept:
            self._hand_over(message)

    def waiters(self) -> list[Waiter]:
        """Those who wait, to be woken when the socket has closed."""
        return list(self._expectations)

    def _in_order(self) -> Iterable[Message]:
        """All that is kept, by when it came."""
        return merge(self._kept, self._strays or (), key=_RECEIVED)

    def _hand_over(self, message: Message) -> None:
        if self._handing is None:
            self._handing = deque([message], maxlen=self._most)
            self._client.spawn(self._hand_all)
            return
        if len(self._handing) == self._most:
            # the deque drops its oldest: a handler that lags sees what is nearest to now
            self._series.overrun += 1
        self._handing.append(message)

    def _hand_all(self) -> None:
        queue = self._handing
        try:
            while queue and self._handler is not None:
                self._handler(queue.popleft())
        finally:
            self._handing = None


def _take(predicate: Predicate, messages: Iterable[Message], *kept_in: deque[Message]) -> Message | None:
    """The first of ``messages`` for which ``predicate`` is true, removed from where it is kept."""
    for message in messages:
        if predicate(message):
            for kept in kept_in:
                if message in kept:
                    kept.remove(message)
            return message
    return None
