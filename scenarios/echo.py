"""Echo: any server that sends back what it is sent; no code needed, only a URL.

    locust EchoUser --headless --host ws://127.0.0.1:8765/path -u 200 -r 50 -t 20s

Each user holds ``--sockets-per-user`` sockets open for the whole run, and sends ``--message-rate`` messages
of ``--message-size`` bytes a second on each. The rate is a schedule: a slow answer does not slow the next
send down, and its waiting counts in the response time. At rate 0 each message waits for the last answer.
"""

from functools import partial
from itertools import repeat

from locust import task

from wsoak.load import WebSocketUser
from wsoak.load.ids import LENGTH, leading_id
from wsoak.wire.connection import Connection
from wsoak.wire.message import Message
from wsoak.wire.replies import Reply
from wsoak.wire.schedule import every

SESSION_MESSAGES = 20
"""How many messages a session of the open model has."""


def message_id(message: Message) -> str | None:
    """The id that an echo begins with, as its message did; ``None`` for whatever else a server may say."""
    return leading_id(message.data) if isinstance(message.data, str) else None


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
        return self.connect(path, name="echo", reply_id=message_id, usable_when=message_id, slot=slot)

    def say_one(self, ws: Connection) -> None:
        """Send one message, and wait for its echo."""
        key = self.new_id()
        ws.request(key.ljust(self.options.message_size, "x"), reply_to=key)

    def talk(self, ws: Connection, messages: int | None = None) -> None:
        """Send so many messages on one socket, or as many as it takes, while it is open."""
        padding = "x" * max(0, self.options.message_size - LENGTH)
        rate = self.options.message_rate
        if rate == 0:
            for _ in repeat(None) if messages is None else range(messages):
                key = self.new_id()
                if ws.request(key + padding, reply_to=key) is None and not ws.is_open:
                    return
            return
        # users that start together must not send together
        ws.pause(self.random.uniform(0, 1 / rate))
        last: Reply | None = None
        for intended_ns in ws.paced(every(1 / rate), messages):
            key = self.new_id()
            last = ws.submit(key + padding, reply_to=key, intended_ns=intended_ns)
        if last is not None:
            last.wait()
