"""A locustfile with a class of users for each door of the proxies, as ``DOORS`` in the environment says.

``DOORS`` is a JSON object: URLs by the name that the sockets have in the books, such as ``nginx idle``. Its
last word says what the users do there: ``idle`` ones keep silent, ``dialogue`` ones talk about books, and all
others send messages.
"""

from __future__ import annotations

import json
import os
from typing import Any

from locust import task

from scenarios import echo
from scenarios.dialogue import DialogueUser
from wsoak.load import WebSocketUser
from wsoak.wire.connection import Connection


class EchoUser(echo.EchoUser):
    """Echo, where it is no server of its own, under the door's name."""

    abstract = True
    door = ""

    def connect(self, path: str = "", **more: Any) -> Connection:
        del path
        return super().connect("/echo", **more | {"name": self.door})


class IdleUser(WebSocketUser):
    """Says one word on each socket, and waits for it to end."""

    abstract = True
    door = ""

    @task
    def wait(self) -> None:
        ws = self.connect("/echo", name=self.door, reply_id=lambda _: 1)
        if ws.request("anybody there?", reply_to=1) is not None:
            # nothing comes: it returns when the socket has ended, or the run has
            ws.expect(lambda _: False, timeout=3600)


KINDS = {"idle": IdleUser, "dialogue": DialogueUser}

for _door, _url in json.loads(os.environ["DOORS"]).items():
    _class = "".join(word.capitalize() for word in _door.split()) + "User"
    globals()[_class] = type(
        _class,
        (KINDS.get(_door.split()[-1], EchoUser),),
        {"host": _url, "door": _door, "abstract": False, "__module__": __name__},
    )
# Locust would count it as one that the file names
del DialogueUser
