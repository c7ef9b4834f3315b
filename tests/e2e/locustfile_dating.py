"""A locustfile whose sockets come and go all the time, so that a fault meets some whenever it is there."""

import gevent
from locust import constant, task

from scenarios import dialogue, echo
from wsoak.load import WebSocketUser

__all__ = ["DialogueUser", "EchoUser"]

MESSAGES = 5


class DialogueUser(dialogue.DialogueUser):
    """A reader who begins the next conversation at once."""

    wait_time = constant(0)


class EchoUser(WebSocketUser):
    """Opens a socket, says a few words on it, closes it, and begins anew."""

    @task
    def visit(self) -> None:
        is_echo = echo.message_id
        with self.connect("/echo", name="echo", reply_id=is_echo, usable_when=is_echo) as ws:
            for _ in range(MESSAGES):
                text = self.new_id()
                if ws.request(text, reply_to=text) is None:
                    return
                gevent.sleep(1 / self.options.message_rate)
