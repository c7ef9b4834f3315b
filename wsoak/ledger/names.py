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
