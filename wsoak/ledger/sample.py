"""Sample: a hundred ends of sockets, kept whole, so that moments can be compared with ages.

Summaries such as least and greatest age cannot tell sockets that ended at one same age from sockets that
ended at one same moment. A sample can: it keeps the ends whose ids have the smallest checksums ("bottom-k"),
so that it is the same in whatever order records and parts of a run are added up.
"""

from __future__ import annotations

import zlib
from bisect import insort
from typing import Final, NamedTuple

from wsoak.ledger.records import ConnectionRecord

MOST: Final = 128
"""How many ends a sample keeps: about 20 KiB."""


class End(NamedTuple):
    """One socket's end. ``key`` says whether it is kept; ``at_s`` is Unix seconds; the others are seconds.

    ``idle_s`` is the time since the last bytes, ``quiet_s`` since the last message.
    """

    key: int
    at_s: float
    age_s: float
    idle_s: float
    quiet_s: float
    messages: int


class EndSample:
    """Up to ``MOST`` ends, in the order of their keys."""

    __slots__ = ("ends",)

    def __init__(self) -> None:
        self.ends: list[End] = []

    def add_record(self, record: ConnectionRecord) -> None:
        """Keep this end, if it is one of those to be kept; one without an age is none."""
        if record.age_s is None or record.idle_s is None:
            return
        key = zlib.crc32(record.id.encode("utf-8", "surrogatepass"))
        if len(self.ends) < MOST or key <= self.ends[-1].key:
            quiet_s = record.idle_s if record.quiet_s is None else record.quiet_s
            self._keep(
                End(key, record.ended_at, record.age_s, record.idle_s, quiet_s, record.messages_received)
            )

    def add(self, other: EndSample) -> None:
        """Keep the other's ends too, as far as they are to be kept."""
        for end in other.ends:
            self._keep(end)

    def _keep(self, end: End) -> None:
        insort(self.ends, end)
        del self.ends[MOST:]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EndSample) and self.ends == other.ends

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"EndSample({len(self.ends)} ends)"
