"""One way: numbered messages from one socket to another of the same user, each timed, and none forgotten.

sender ── send ──► server ── relays ──► receiver          delivery = receipt − send, by one clock

numbers sent       0 1 2 3 4
numbers received   0 2 1 1            4 is lost, one 1 repeated, 1 reordered
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from gevent.event import Event

from wsoak.ledger.units import ns_to_s
from wsoak.load.sequence import Sequence
from wsoak.wire.connection import Connection
from wsoak.wire.message import Message

if TYPE_CHECKING:
    from wsoak.load.user import WebSocketUser

NUMBER: Final = "n"
LOOK_EVERY_S: Final = 0.5


class OneWay:
    """What one socket of a user sends to another one, through a server that relays it.

    The receiver's messages are taken as they come, until it ends: nobody else may ``expect`` or ``subscribe``
    on it.

    Args:
        number_of: the number that a message carries, if it is one of this way's; else ``None``.
    """

    def __init__(
        self,
        user: WebSocketUser,
        sender: Connection,
        receiver: Connection,
        number_of: Callable[[Message], Any] = lambda message: message.get(NUMBER),
    ) -> None:
        self.sender = sender
        self.receiver = receiver
        self._user = user
        self._number_of = number_of
        self._sent_ns: list[int] = []
        self._arrived: set[int] = set()
        self._lost: set[int] = set()
        self._told = 0
        self._numbers = Sequence(first=0)
        self._changed = Event()
        receiver.client.spawn(self._hear)

    @property
    def is_open(self) -> bool:
        """Whether a message can still get from one end to the other."""
        return self.sender.is_open and self.receiver.is_open

    @property
    def missing(self) -> int:
        """How many messages were sent, have not arrived, and are not given up as lost."""
        return len(self._sent_ns) - len(self._arrived) - len(self._lost)

    def send(self, message: Mapping[str, Any], intended_ns: int | None = None) -> bool:
        """Send a JSON object with its number added, as ``n``; see ``Connection.send``."""
        # before the send: on a fast network it may be there before this goes on
        self._sent_ns.append(time.perf_counter_ns())
        sent = self.sender.send({**message, NUMBER: len(self._sent_ns) - 1}, intended_ns=intended_ns)
        if not sent:
            self._sent_ns.pop()
        return sent

    def settled(self) -> bool:
        """Wait until all that was sent has arrived; at most for the reply time-out, while both are open."""
        give_up_ns = time.perf_counter_ns() + self.receiver.client.reply_timeout_ns
        while self.missing and self.is_open:
            left_s = ns_to_s(give_up_ns - time.perf_counter_ns())
            if left_s <= 0:
                break
            self._changed.clear()
            # the receiver's end wakes us, and the sender's does not
            self._changed.wait(min(left_s, LOOK_EVERY_S))
        return not self.missing

    def verify(self) -> int:
        """Observe what was lost, came twice or out of order since the last time; how many messages were lost.

        Call it after ``settled``: what is missing is given up, and not counted if it comes after all. What a
        socket that closed took with it is not lost by the server.
        """
        counts = self._numbers.take()
        lost = self.missing if self.is_open else 0
        if lost:
            self._lost.update(set(range(len(self._sent_ns))) - self._arrived)
        due = len(self._arrived) + len(self._lost) - self._told
        self._told += due
        for finding, wrong, text in (
            ("relay-lost", lost, f"{lost} of {due} had not come when the reply time-out was over"),
            ("messages-repeated", counts.repeated, "relayed messages by their number"),
            ("messages-reordered", counts.reordered, "relayed messages by their number"),
        ):
            if due:
                self._user.observe(finding, self.receiver.name, wrong, due, text if wrong else "")
        return lost

    def _hear(self) -> None:
        message: Message | None = None
        # what came in one read with the close is still to be taken after it
        while message is not None or not self.receiver.ended:
            message = self.receiver.expect(lambda message: self._number_of(message) is not None)
            if message is not None:
                self._take(self._number_of(message), message.received_ns)
            self._changed.set()

    def _take(self, number: object, received_ns: int) -> None:
        # what a server sends may be anything
        if type(number) is not int or not 0 <= number < len(self._sent_ns) or number in self._lost:
            return
        self._numbers.feed(number)
        if number not in self._arrived:
            self._arrived.add(number)
            self._user.delivery(self.receiver.name, ns_to_s(received_ns - self._sent_ns[number]))
