"""Live: one line a moment on how a headless run goes. Pure: books in, text out."""

from __future__ import annotations

from collections import deque
from typing import Final

from wsoak.ledger.books import Books
from wsoak.ledger.delta import Delta
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.timeline import value
from wsoak.ledger.units import NS_PER_MS

WINDOW_S: Final = 10
"""Rates and percentiles are those of the last seconds; counts, success and closes those of the run so far."""


class Window:
    """The last seconds of a run: messages by second, and response times."""

    def __init__(self) -> None:
        self._messages: dict[int, float] = {}
        self._response: deque[tuple[int, Histogram]] = deque()
        self._first: int | None = None
        self._newest = 0

    def add(self, delta: Delta) -> None:
        """Take a delta in, and forget what is older than the window."""
        for (second, _), row in delta.timeline.items():
            count = value(row, "sent") + value(row, "received")
            self._messages[second] = self._messages.get(second, 0.0) + count
        for (second, kind, _), histogram in delta.latency.items():
            if kind == "response":
                self._response.append((second, histogram))
        # all that has a time, such as the hub lag: when no message goes any more, the window moves on
        seconds = {second for second, _ in delta.timeline} | {second for second, _, _ in delta.latency}
        self._newest = max(seconds, default=self._newest)
        if self._first is None and seconds:
            self._first = min(seconds)
        oldest = self._newest - WINDOW_S
        self._messages = {at: count for at, count in self._messages.items() if at > oldest}
        self._response = deque((at, histogram) for at, histogram in self._response if at > oldest)

    @property
    def messages_per_s(self) -> float:
        """Sent and received messages a second; the newest second, not yet over, is left out."""
        whole = min(WINDOW_S - 1, self._newest - self._first) if self._first is not None else 0
        count = sum(count for at, count in self._messages.items() if at < self._newest)
        return count / whole if whole else 0.0

    @property
    def p99_ms(self) -> float | None:
        """The 99th percentile of response time; ``None`` without answers."""
        merged = Histogram()
        for _, histogram in self._response:
            merged.add(histogram)
        found = merged.percentile_ns(99)
        return None if found is None else found / NS_PER_MS


def line(elapsed_s: float, users: int, books: Books, window: Window) -> str:
    """The line, such as ``0:20 | 200 users, 200 open | handshakes 100.0 % of 200 | … | p99 3.2 ms | …``."""
    minutes, seconds = divmod(int(elapsed_s), 60)
    p99_ms = window.p99_ms
    parts = [
        f"{minutes}:{seconds:02d}",
        f"{users:,} users, {books.open_now:,} open",
        f"handshakes {_handshakes(books)}",
        f"usable {_usable(books)}",
        f"{window.messages_per_s:,.0f} msg/s",
        "p99 –" if p99_ms is None else f"p99 {p99_ms:,.1f} ms",
        f"closes {_closes(books)}",
    ]
    return " | ".join(parts)


def _handshakes(books: Books) -> str:
    opened, failed = books.count("opened"), books.count("failed")
    return _percent(opened, opened + failed)


def _usable(books: Books) -> str:
    """Of the sockets that have ended, or have become usable while open."""
    unusable = sum(group.count for kind, group in books.ends.items() if kind.usable is False)
    usable = books.count("usable")
    return _percent(usable, usable + unusable)


def _closes(books: Books) -> str:
    counts: dict[str, int] = {}
    for kind, group in books.ends.items():
        if kind.code is not None and kind.initiator is not None:
            key = f"{kind.code} by {kind.initiator}"
            counts[key] = counts.get(key, 0) + group.count
    if not counts:
        return "none"
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{count:,} × {key}" for key, count in ranked[:3])
    return shown + (f" and {len(ranked) - 3} kinds more" if len(ranked) > 3 else "")


def _percent(part: int, whole: int) -> str:
    return "–" if not whole else f"{_floor_percent(part, whole)} % of {whole:,}"


def _floor_percent(part: int, whole: int) -> str:
    """One decimal, rounded down: 99.96 % is not 100 %."""
    return f"{part * 1000 // whole / 10:.1f}"
