"""Echo: any server that sends back what it is sent; no code needed, only a URL.

    locust EchoUser --headless --host ws://127.0.0.1:8765/path -u 200 -r 50 -t 20s

Each user holds ``--sockets-per-user`` sockets open for the whole run, and sends ``--message-rate`` messages
of ``--message-size`` bytes a second on each. The rate is a schedule: a slow answer does not slow the next
send down, and its waiting counts in the response time. At rate 0 each message waits for the last answer.
"""

from functools import partial
from itertools import count, islice

import gevent
from locust import task

from wsoak.load import WebSocketUser
from wsoak.wire.connection import Connection
from wsoak.wire.message import Message
from wsoak.wire.replies import Reply
from wsoak.wire.schedule import every

ID_DIGITS = 10
"""A message begins with its number, so that its echo is known from any other."""

SESSION_MESSAGES = 20
"""How many messages a session of the open model has."""


def message_number(message: Message) -> str | None:
    """The number that an echo begins with; ``None`` for anything else that a server may say."""
    text = message.data
    return text[:ID_DIGITS] if isinstance(text, str) and text[:ID_DIGITS].isdigit() else None


class EchoUser(WebSocketUser):
    """Sends messages, and expects each of them back."""

    health_path = None

    def rehearse(self) -> None:
        """One socket, one message and its echo."""
        with self.open(0) as ws:
            self.say_one(ws)

    @task
    def echo(self) -> None:
        """Hold the sockets open until the run ends."""
        self.gather([partial(self.hold, slot) for slot in range(self.options.sockets_per_user)])

    def hold(self, slot: int) -> None:
        """Open one socket, talk on it, and open it again when it ends, as ``--reconnect`` says.

        In the open model (``--arrival-rate``) a session is one socket with ``SESSION_MESSAGES`` messages.
        """
        while True:
            ws = self.open(slot)
            if self.options.arrival_rate:
                with ws:
                    self.talk(ws, SESSION_MESSAGES)
                return
            if ws.is_open:
                self.talk(ws)

    def open(self, slot: int) -> Connection:
        """A socket of this user's."""
        path = "/echo" if self.generator.embedded else ""
        return self.connect(path, name="echo", reply_id=message_number, usable_when=message_number, slot=slot)

    def say_one(self, ws: Connection) -> None:
        """Send one message, and wait for its echo."""
        key = f"{0:0{ID_DIGITS}}"
        ws.request(key.ljust(self.options.message_size, "x"), reply_to=key)

    def talk(self, ws: Connection, messages: int | None = None) -> None:
        """Send so many messages on one socket, or as many as it takes, while it is open."""
        padding = "x" * max(0, self.options.message_size - ID_DIGITS)
        keys = (f"{number:0{ID_DIGITS}}" for number in islice(count(), messages))
        rate = self.options.message_rate
        if rate == 0:
            for key in keys:
                if ws.request(key + padding, reply_to=key) is None and not ws.is_open:
                    return
            return
        # users that start together must not send together
        gevent.sleep(self.random.uniform(0, 1 / rate))
        last: Reply | None = None
        for key, intended_ns in zip(keys, ws.paced(every(1 / rate)), strict=False):
            last = ws.submit(key + padding, reply_to=key, intended_ns=intended_ns)
        if last is not None:
            last.wait()
