"""Closed loops: scenarios that go on calling a closed socket, named in the log and the run's findings."""

from __future__ import annotations

import logging
from typing import Any, Final

from wsoak.ledger.raised import place_of
from wsoak.ledger.recorder import Recorder

log = logging.getLogger(__name__)

FINDING: Final = "closed-socket-in-a-loop"
"""The finding that it is observed for."""


class ClosedLoops:
    """Says once for each user class, call and socket name that a closed socket is called in a loop."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._said: set[tuple[str, str]] = set()

    def looped(self, name: str, method: str, code: Any, user: Any) -> None:
        """A socket is called in a loop after its end; see ``wire.client.Client``.

        Args:
            name: the socket's name.
            method: which of its methods is called.
            code: the frame that calls it, or ``None``.
            user: who opened the socket, or ``None``.
        """
        place = "" if code is None else f", at {place_of(code)}"
        text = f"{type(user).__name__ if user is not None else 'a user'} calls `{method}` in a loop{place}"
        self._recorder.observe(FINDING, name, 1, 1, text)
        if (name, text) not in self._said:
            self._said.add((name, text))
            log.warning(
                "The socket %s is closed, and %s: each call comes back at once. End the loop when `is_open` "
                "is false, or let the task end, so that the socket is opened again.",
                name,
                text,
            )
