"""wsoak's way to do the same work: many sockets a user, answers matched by id, everything in the ledger."""

from __future__ import annotations

import os
from functools import partial
from itertools import count

import gevent
from locust import constant, task

from wsoak.load import WebSocketUser
from wsoak.wire.connection import Connection
from wsoak.wire.message import Message

SOCKETS = int(os.environ["BENCH_SOCKETS_PER_USER"])
KEY_DIGITS = 8
PADDING = "x" * (64 - KEY_DIGITS)


def key_of(message: Message) -> str | bytes:
    """The id that an echo begins with."""
    return message.data[:KEY_DIGITS]


class WsoakUser(WebSocketUser):
    """What the three users share: their sockets."""

    abstract = True
    wait_time = constant(0)

    def open_all(self) -> list[Connection]:
        """Open this user's sockets."""
        return self.connect_many(SOCKETS, lambda slot: self.connect(name="bench", reply_id=key_of, slot=slot))


class WsoakEchoUser(WsoakUser):
    """Closed loop on each socket: sends 64 bytes, waits for the echo, sends again."""

    @task
    def echo(self) -> None:
        """Talk on all sockets until the run ends."""
        self.gather([partial(self.talk, ws) for ws in self.open_all()])

    def talk(self, ws: Connection) -> None:
        """One message there and back, again and again."""
        for number in count():
            key = f"{number:0{KEY_DIGITS}}"
            if ws.request(key + PADDING, reply_to=key) is None:
                return


class WsoakHandshakeUser(WsoakUser):
    """Connects, closes, and connects again."""

    @task
    def handshake(self) -> None:
        """One connection, opened and closed."""
        self.connect(name="bench").close()


class WsoakIdleUser(WsoakUser):
    """Holds its connections open, and waits for messages that do not come."""

    @task
    def hold(self) -> None:
        """Open all sockets, and leave them be."""
        self.open_all()
        gevent.sleep(3_600)
