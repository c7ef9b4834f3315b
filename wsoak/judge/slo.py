"""SLO: one objective, read from the text that gates use, and measured on the books of a step.

What a capacity can be found for gets worse with load: percentiles of durations (``response p(99) < 250ms``)
and shares of success (``handshake.success >= 99.5%``). A step at which everything failed keeps no objective,
though it has no durations, and a request whose socket closed first took longer than any limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from wsoak.judge.expression import BadExpression, Expression, parse
from wsoak.judge.figures import name_filter
from wsoak.judge.quantity import Quantity
from wsoak.judge.sense import mistakes
from wsoak.ledger.books import Books
from wsoak.ledger.histogram import HIGHEST_NS, Histogram
from wsoak.ledger.timeline import value
from wsoak.ledger.units import NS_PER_S


class BadSlo(ValueError):
    """A text that is no objective; the message is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Slo:
    """An objective. ``figure`` measures it, in ``limit``'s unit; ``None`` where nothing happened at all.

    ``least``: the figure must stay above its limit, not below. ``kind``: of which durations it is measured
    (see ``ledger.delta.KINDS``); empty where it is of none. ``percent``: of which percentile, if of one.
    """

    text: str
    limit: Quantity
    least: bool
    figure: Callable[[Books], float | None]
    kind: str = ""
    percent: float | None = None

    def bad(self, value: float) -> float:
        """The figure such that more is worse and noise is even: logarithms of durations."""
        if self.limit.dimension == "seconds":
            return math.log(max(value, 1e-9))
        return -value if self.least else value

    def good(self, bad: float) -> float:
        """The figure that ``bad`` was made of."""
        if self.limit.dimension == "seconds":
            return math.exp(bad)
        return -bad if self.least else bad

    def beyond(self, value: float) -> float:
        """How far a figure is beyond its limit, in terms of ``bad``: below 0 where it keeps it."""
        return self.bad(value) - self.bad(self.limit.value)

    def kept(self, value: float) -> bool:
        """Whether a figure keeps the objective."""
        return value >= self.limit.value if self.least else value <= self.limit.value


def _success(good: str, *bad: str) -> Callable[[Books, Expression], float | None]:
    def share(books: Books, expression: Expression) -> float | None:
        asked_for = name_filter(expression)
        rows = [row for name, row in books.totals.items() if asked_for(name)]
        done = sum(value(row, good) for row in rows)
        missed = sum(value(row, counter) for row in rows for counter in bad)
        return done / (done + missed) if done + missed else (0.0 if _all_failed(books) else None)

    return share


def _all_failed(books: Books) -> bool:
    """Whether nothing that would have been measured came about, for want of sockets."""
    return books.count("failed") > 0 and not books.count("opened")


SHARES: Final[Mapping[str, Callable[[Books, Expression], float | None]]] = {
    "handshake.success": _success("opened", "failed"),
    "request.success": _success("replies", "reply_timeouts", "reply_lost"),
    "http.success": _success("http_ok", "http_failed"),
    "check": _success("check_passed", "check_failed"),
}
"""Shares of success by the figure's name, as gates have them."""


def slo(text: str) -> Slo:
    """The objective that a text says.

    Raises:
        BadSlo: when it says none, or one that no load could be found for.
    """
    try:
        expression = parse(text)
    except BadExpression as error:
        raise BadSlo(f"The objective {text!r} cannot be read: {error}.") from error
    if wrong := mistakes(expression):
        raise BadSlo(f"The objective {text!r} makes no sense: {wrong[0]}.")
    least = expression.comparison in (">", ">=")
    if expression.percent is not None and not least:
        measured = partial(_percentile, expression)
        return Slo(expression.text, expression.limit, False, measured, expression.figure, expression.percent)
    if expression.within is not None and least:
        return Slo(expression.text, expression.limit, True, partial(_within, expression), expression.figure)
    if expression.figure in SHARES and expression.percent is None and least:
        of = SHARES[expression.figure]
        return Slo(expression.text, expression.limit, True, lambda books: of(books, expression))
    raise BadSlo(
        f"No capacity can be found for the objective {text!r}: it should bound a percentile from above "
        "(response p(99) < 250ms), or a share from below (response within 250ms >= 99%, "
        f"{', '.join(SHARES)})."
    )


def _durations(expression: Expression, books: Books) -> Histogram:
    merged, asked_for = Histogram(), name_filter(expression)
    for (kind, name), histogram in books.latency.items():
        if kind == expression.figure and asked_for(name):
            merged.add(histogram)
    if expression.figure in ("response", "service"):
        lost = sum(int(value(row, "reply_lost")) for name, row in books.totals.items() if asked_for(name))
        merged.count_beyond(lost)
    return merged


def _percentile(expression: Expression, books: Books) -> float | None:
    assert expression.percent is not None
    value_ns = _durations(expression, books).percentile_ns(expression.percent)
    if value_ns is None:
        return HIGHEST_NS / NS_PER_S if _all_failed(books) else None
    return min(value_ns, HIGHEST_NS) / NS_PER_S


def _within(expression: Expression, books: Books) -> float | None:
    assert expression.within is not None
    durations = _durations(expression, books)
    total = durations.total
    if not total:
        return 0.0 if _all_failed(books) else None
    return durations.count_within(round(expression.within.value * NS_PER_S)) / total
