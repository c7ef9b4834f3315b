"""A locustfile whose users ask on a schedule and wait for each answer: a slow server makes them late."""

from __future__ import annotations

from scenarios.echo import EchoUser
from wsoak.wire.connection import Connection
from wsoak.wire.schedule import every

__all__ = ["EchoUser", "WaitingUser"]


class WaitingUser(EchoUser):
    """The closed model: one message at a time on each socket, ``--message-rate`` a second at most."""

    def talk(self, ws: Connection, messages: int | None = None) -> None:
        """See ``EchoUser``; the next message waits for the answer to the last."""
        for intended_ns in ws.paced(every(1 / self.options.message_rate), messages):
            key = self.new_id()
            if ws.request(key, reply_to=key, intended_ns=intended_ns) is None and not ws.is_open:
                return
