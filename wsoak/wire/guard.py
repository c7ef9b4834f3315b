"""Guard: a scenario's callback, whose exceptions are counted as the scenario's own mistake.

A callback runs while a message is read, so its exception must not stop the socket: it is reported, and the
callback then says ``None``: no id, no match.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gevent

from wsoak.wire.message import Message

if TYPE_CHECKING:
    from wsoak.wire.client import Client

Owner = Callable[[], Any]
"""Gives whoever opened a socket, such as a weak reference; ``None`` where that is gone."""


class Guard:
    """A callback of the scenario's, under the name by which its author knows it, such as ``reply_id``."""

    __slots__ = ("_client", "_function", "_owner", "_where")

    def __init__(
        self, function: Callable[[Message], Any], where: str, client: Client, owner: Owner | None
    ) -> None:
        self._function = function
        self._where = where
        self._client = client
        self._owner = owner

    def __call__(self, message: Message) -> Any:
        try:
            return self._function(message)
        # a time-out that the callback set for itself is no Exception
        except (Exception, gevent.Timeout) as error:  # noqa: BLE001 - whatever it is, it is the scenario's
            self._client.callback_failed(self._where, error, self._owner)
            return None
