"""Ids: what tells a message from every other one of the run, whichever socket, user or worker sends it.

A server may send to all what one of its clients says. Numbers that each user counts for itself would then
let another user's message pass for the answer to one's own, and its response time come out too short.
"""

from __future__ import annotations

import re
import secrets
from itertools import count
from typing import Final

TAG_BYTES: Final = 4
"""Drawn at random by each process: of a hundred workers two agree once in a million runs."""
COUNTER_DIGITS: Final = 8
LENGTH: Final = 2 * TAG_BYTES + COUNTER_DIGITS
"""Characters in an id, all of them hexadecimal digits."""

_ID: Final = re.compile(rf"[0-9a-f]{{{LENGTH}}}")


class Ids:
    """The ids of one process: its tag, and a count."""

    def __init__(self) -> None:
        self._tag = secrets.token_hex(TAG_BYTES)
        self._numbers = count()

    def new(self) -> str:
        """An id that no other message has."""
        return f"{self._tag}{next(self._numbers):0{COUNTER_DIGITS}x}"


def leading_id(text: str) -> str | None:
    """The id that a text begins with, whoever made it; ``None`` where it begins with anything else."""
    found = _ID.match(text)
    return found.group() if found is not None else None
