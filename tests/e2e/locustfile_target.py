"""A locustfile that loads both systems of a target that is not embedded: its echo lies under ``/echo``."""

from typing import Any

from scenarios import echo
from scenarios.dialogue import DialogueUser
from tests.distributed import liveness
from wsoak.wire.connection import Connection

__all__ = ["DialogueUser", "EchoUser", "liveness"]


class EchoUser(echo.EchoUser):
    """Echo, where it is no server of its own."""

    def connect(self, path: str = "", **more: Any) -> Connection:
        return super().connect(path or "/echo", **more)
