"""Replies: the requests of one connection that wait for their answers, known by their ids.

submit ──► in flight ──► answered ─────► response and service time
               ├───────► timed out ────► both at the time-out; an answer after that is late
               └───────► lost ─────────► the socket closed first

A message can answer several requests: its ``ReplyId`` gives a list of ids then. A request has one answer;
what carries its id afterwards (events of a subscription, a second or a late answer) goes to the inbox.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, Literal

from wsoak.ledger.names import CAME_INSTEAD, REPLY_CLUE
from wsoak.ledger.outcomes import REPLY_LOST, REPLY_TIMEOUT
from wsoak.ledger.recorder import Series
from wsoak.wire.clues import clue, describe
from wsoak.wire.listener import Listener
from wsoak.wire.message import Message
from wsoak.wire.waiting import Waiter

if TYPE_CHECKING:
    from wsoak.wire.client import Client

REMEMBERED_TIMEOUTS: Final = 128
"""How many timed-out requests a connection remembers, to know a late reply from an unmatched one."""

COMPARED: Final = 64
"""With the ids of at most so many requests in flight a message is compared."""

ReplyId = Callable[[Message], Any]
"""Gives the id of the request that a message answers, a list of ids where it answers several, or ``None``.

Must not block. A tuple is one id.
"""


def reply_to(message: Message) -> Any:
    """The default ``ReplyId``: the member ``reply_to`` of a JSON object."""
    return message.get("reply_to")


class Reply(Waiter):
    """A request that was sent: ``wait`` for its answer, or look at ``message`` later.

    ``message`` is ``None`` until the answer comes, and stays so after a time-out or a close.
    """

    __slots__ = ("_replies", "intended_ns", "key", "sent_ns", "series", "timeout_ns")

    def __init__(self, replies: Replies, series: Series, key: Any, timeout_ns: int) -> None:
        super().__init__()
        self._replies = replies
        self.series = series
        self.key = key
        self.timeout_ns = timeout_ns
        self.sent_ns = 0
        self.intended_ns = 0

    @property
    def message(self) -> Message | None:
        """The answer, if it has come."""
        answer: Message | None = self.result
        return answer

    def wait(self) -> Message | None:
        """Block the calling greenlet until the answer, the time-out or the close, whichever is first."""
        answer: Message | None = super().wait()
        return answer

    def expire(self) -> None:
        """See ``deadlines.Expirable``."""
        self._replies.expire(self)

    def abandon(self) -> None:
        """Whoever waited was killed: the request is in flight all the same, and its deadline stands."""


class Together:
    """Several requests that one message answered."""

    __slots__ = ("_replies",)

    def __init__(self, replies: list[Reply]) -> None:
        self._replies = replies

    def wake(self, message: Message) -> None:
        """Wake whoever waits for one of them, in the order of the ids."""
        for reply in self._replies:
            reply.wake(message)


class Replies:
    """The requests in flight on one connection.

    Attributes:
        timeouts: how many requests timed out so far.
        missed: the last message that answered none.
    """

    __slots__ = (
        "_client",
        "_in_flight",
        "_listener",
        "_reply_id",
        "_series",
        "_timed_out",
        "missed",
        "timeouts",
    )

    def __init__(
        self, client: Client, series: Series, reply_id: ReplyId, listener: Listener | None = None
    ) -> None:
        self._client = client
        self._listener = listener
        self._series = series
        self._reply_id = reply_id
        self._in_flight: dict[Any, Reply] = {}
        self._timed_out: deque[Any] | None = None
        self.missed: Message | None = None
        self.timeouts = 0

    def prepare(self, series: Series, key: Any, timeout_ns: int) -> Reply:
        """A request that is about to be sent.

        Raises:
            ValueError: when one with this id is in flight.
        """
        if key in self._in_flight:
            raise ValueError(f"a request with the id {key!r} is in flight on this socket")
        return Reply(self, series, key, timeout_ns)

    def begin(self, reply: Reply, sent_ns: int, intended_ns: int | None) -> None:
        """The request is being sent: its time runs."""
        reply.sent_ns = sent_ns
        reply.intended_ns = sent_ns if intended_ns is None else intended_ns
        reply.series.requests += 1
        self._series.requests_sent += 1
        self._in_flight[reply.key] = reply
        self._client.in_flight += 1
        reply.set_deadline(self._client.deadlines, sent_ns + reply.timeout_ns)

    def answer(self, message: Message, now_ns: int) -> Reply | Together | Literal[False] | None:
        """Find the request or requests that a message answers, and count them.

        Returns:
            what the caller wakes; ``False``: no such request is in flight; ``None``: it is no answer.
        """
        key = self._reply_id(message)
        if key is None:
            self.missed = message
            return None
        try:
            reply = self._in_flight.pop(key, None)
        except TypeError:
            return self._answer_several(key, message, now_ns)
        if reply is None:
            self._count_stray(message, key)
            return False
        if not self._answered(reply, message, now_ns):
            self._count_stray(message, key)
            return False
        self._series.replies_received += 1
        return reply

    def _answer_several(self, keys: Any, message: Message, now_ns: int) -> Together | Literal[False]:
        """``answer`` for an id that is a JSON array, or a value that no request can have for an id."""
        found: list[Reply] = []
        several = list(keys) if isinstance(keys, list | set) else []
        for key in several:
            try:
                reply = self._in_flight.pop(key, None)
            except TypeError:
                continue
            if reply is not None and self._answered(reply, message, now_ns):
                found.append(reply)
        if not found:
            self._count_stray(message, *several)
            return False
        self._series.replies_received += 1
        return Together(found)

    def _answered(self, reply: Reply, message: Message, now_ns: int) -> bool:
        """Count a request that has left the ones in flight; whether its answer came in time."""
        service_ns = now_ns - reply.sent_ns
        if not 0 < service_ns <= reply.timeout_ns:
            if service_ns > 0:
                # its time was up, and only the timer had not looked yet
                self.time_out(reply)
            else:
                # it was read before the request was sent, such as by a callback: it answers something else
                self._in_flight[reply.key] = reply
            return False
        series = reply.series
        size = message.size
        series.replies += 1
        series.reply_bytes += size
        series.response_ns.append(now_ns - reply.intended_ns)
        series.service_ns.append(service_ns)
        self._client.in_flight -= 1
        if self._listener is not None:
            self._listener.request_ended(series.name, now_ns - reply.intended_ns, size, "")
        return True

    def expire(self, reply: Reply) -> None:
        """The deadline of a request is past."""
        self._client.recorder.tick(time.perf_counter_ns())
        # not in ``time_out``: an answer that was only read too late, as this process stood still, is none
        self._series.unanswered += 1
        self._look_for_its_answer(reply.key)
        self.time_out(reply)

    def time_out(self, reply: Reply) -> None:
        """A request's time is up: it failed, and counts in the histograms at its time-out."""
        self._in_flight.pop(reply.key, None)
        if self._timed_out is None:
            self._timed_out = deque(maxlen=REMEMBERED_TIMEOUTS)
        self._timed_out.append(reply.key)
        self.timeouts += 1
        series = reply.series
        series.reply_timeouts += 1
        series.response_ns.append(reply.timeout_ns + reply.sent_ns - reply.intended_ns)
        series.service_ns.append(reply.timeout_ns)
        self._client.in_flight -= 1
        if self._listener is not None:
            waited_ns = reply.timeout_ns + reply.sent_ns - reply.intended_ns
            self._listener.request_ended(series.name, waited_ns, 0, REPLY_TIMEOUT)
        reply.wake(None)

    def _look_for_its_answer(self, key: Any) -> None:
        """Once a second and name, observe whether the last message that answered nothing was an answer."""
        recorder, name = self._client.recorder, self._series.name
        if self._client.compared.get(name) == recorder.second_end_ns:
            return
        self._client.compared[name] = recorder.second_end_ns
        message, self.missed = self.missed, None
        place: str | None = None
        if message is not None:
            # the latest first: what came last answers one of those
            others = chain(islice(reversed(self._in_flight), COMPARED), reversed(self._timed_out or ()))
            place = clue(chain([key], others), message)
            if place is None:
                recorder.observe(CAME_INSTEAD, name, 1, 1, describe(message))
        recorder.observe(REPLY_CLUE, name, int(place is not None), 1, place or "")

    def lose(self, by_run: bool) -> list[Reply]:
        """The socket closed: none of these will be answered. The caller wakes them.

        Args:
            by_run: the run ended before they could be; that is nobody's failure, and they stay in flight.
        """
        lost = list(self._in_flight.values())
        self._in_flight.clear()
        for reply in () if by_run else lost:
            reply.series.reply_lost += 1
            if self._listener is not None:
                self._listener.request_ended(reply.series.name, None, 0, REPLY_LOST)
        self._client.in_flight -= len(lost)
        return lost

    def _count_stray(self, message: Message, *keys: Any) -> None:
        """Count a message with the ids of requests none of which is in flight."""
        late = [key for key in keys if self._timed_out is not None and key in self._timed_out]
        for key in late:
            assert self._timed_out is not None
            self._timed_out.remove(key)
        if late:
            self._series.late_replies += 1
        else:
            self._series.unmatched += 1
            self.missed = message
