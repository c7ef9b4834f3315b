"""Names: what one room writes and another reads."""

from __future__ import annotations

from typing import Final

CLOCK: Final = "clock"
"""The source of the readings of a server's clock beside ours."""
CLOCK_OFFSET: Final = "clock_offset_ms"
"""Milliseconds that the server's clock is ahead of ours."""
CLOCK_UNCERTAINTY: Final = "clock_uncertainty_ms"
"""Milliseconds that the offset may be off, either way."""
CLOCK_UNKNOWN: Final = "clock_unknown"
"""1 when a server does not say what time it has: its clock is taken for ours then."""

CALLBACKS: Final = ("reply_id", "usable_when", "expect", "subscribe", "hello")
"""The callbacks of a scenario, as ``records.UserError`` names them: they run while a message is read."""
DNS: Final = "dns"
"""The source of what is known of the addresses of a host: gauges named ``HOST ADDRESS``."""
TAKES: Final = 1.0
"""The address is in the host's record, and takes connections for all we know."""
TAKES_NONE: Final = 0.0
"""It is in the record, and took no connection lately."""
GONE: Final = -1.0
"""It was in the record before."""

USERS: Final = "users"
"""The source of readings of users by class; each gauge is one of the words below and the class."""
DUE: Final = "due"
"""Users that Locust had asked this process for at that moment: of a ramp, those of it so far."""
THERE: Final = "there"
"""Of those, the ones that were running."""
DONE: Final = "done"
"""Of those, the ones that were not running as they had ended themselves (``StopUser``)."""
LEFT: Final = "left"
"""Of those, the ones that were not running as ``--reconnect none`` had ended them."""
FINISHED: Final = "finished"
"""Users that had ended themselves so far."""
POLICY: Final = "policy"
"""Users that ``--reconnect none`` had ended so far."""
FAILED: Final = "failed"
"""Users that had died of an exception, or that could not log in, so far."""


def users_gauge(what: str, user_class: str) -> str:
    """The name of a gauge of ``USERS``."""
    return f"{what} {user_class}"


REPLY_CLUE: Final = "reply-clue"
"""An observation: whether what came holds the id of a request that timed out; its text says where."""
CAME_INSTEAD: Final = "came-instead"
"""An observation: what came on the socket of a request that timed out, where it holds no such id."""
