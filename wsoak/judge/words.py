"""Words: counts, shares and durations as people read them, in one place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from wsoak.ledger.histogram import Histogram
from wsoak.ledger.units import NS_PER_MS, NS_PER_S, NS_PER_US

_IRREGULAR: Final = {"time-out": "time-outs", "reply": "replies", "retry": "retries"}


def plural(noun: str, count: float) -> str:
    """The noun in the number that ``count`` asks for; its last word takes the ending."""
    if count == 1:
        return noun
    head, _, last = noun.rpartition(" ")
    many = _IRREGULAR.get(last) or (last + ("es" if last.endswith(("s", "x", "ch", "sh")) else "s"))
    return f"{head} {many}".strip()


def counted(count: int, noun: str) -> str:
    """``1 socket``, ``40,012 sockets``."""
    return f"{count:,} {plural(noun, count)}"


def were(count: int) -> str:
    """``was`` for one, else ``were``."""
    return "was" if count == 1 else "were"


def of_all(count: int, total: int, noun: str) -> str:
    """``3 of 200 sockets (1.5 %)``; the noun is in the number of the whole."""
    return f"{count:,} of {total:,} {plural(noun, total)} ({percent(count, total)})"


def percent(count: float, total: float) -> str:
    """The share in per cent: never ``0 %`` or ``100 %`` unless it is exactly that."""
    if not total:
        return "no share"
    share = 100 * count / total
    if share in (0, 100):
        return f"{share:.0f} %"
    if share < 0.01:
        return "under 0.01 %"
    if share > 99.99:
        return "over 99.99 %"
    digits = 2 if share < 1 or share > 99 else 1
    return f"{share:.{digits}f} %"


def duration(duration_ns: float | None) -> str:
    """Nanoseconds with the unit that suits them: ``850 µs``, ``2.1 ms``, ``3.4 s``."""
    if duration_ns is None:
        return "no figure"
    if duration_ns < NS_PER_MS:
        return f"{duration_ns / NS_PER_US:.0f} µs"
    if duration_ns < NS_PER_S:
        return f"{figure(duration_ns / NS_PER_MS)} ms"
    return f"{figure(duration_ns / NS_PER_S)} s"


def span(duration_s: float) -> str:
    """Seconds as ``8.2 s``, ``2 min 5 s`` or ``3 h 20 min``."""
    if duration_s < 120:
        return f"{figure(duration_s)} s"
    minutes, seconds = divmod(round(duration_s), 60)
    if minutes < 120:
        return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def percentile(histogram: Histogram, percent_: float) -> str:
    """A percentile in words; ``over 60 s`` where it lies beyond the histogram's range."""
    if histogram.saturated_at(percent_):
        return "over 60 s"
    return duration(histogram.percentile_ns(percent_))


def listed(items: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    words = list(items)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def figure(number: float) -> str:
    """A number with the digits that say something: ``1,234``, ``28.6``, ``0.05``."""
    if number >= 100:
        return f"{number:,.0f}"
    text = f"{number:.1f}" if number >= 10 else f"{number:.2f}"
    return text.rstrip("0").rstrip(".")


def age(seconds: float) -> str:
    """A time in seconds, of which parts of one count: ``250 ms``, ``6.2 s``, ``2 min``."""
    return duration(seconds * NS_PER_S) if seconds < 1 else span(seconds)
