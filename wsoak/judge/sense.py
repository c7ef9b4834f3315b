"""Sense: whether an expression that could be parsed asks for something that there is, in its own units.

A gate that can never fail, or never pass, is a mistake as much as a misspelt figure: all are said before a
run starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final

from wsoak.judge.expression import Expression, Label, matches
from wsoak.judge.figures import DURATION_LABELS, DURATIONS, FIGURES, SECONDS, SHARE, Figure, Unit
from wsoak.judge.quantity import EXAMPLES
from wsoak.judge.rule import SEVERITIES
from wsoak.ledger import outcomes
from wsoak.ledger.histogram import HIGHEST_NS, LOWEST_NS
from wsoak.ledger.outcomes import OPEN, OUTCOMES, PHASES, is_failure, rejected_status
from wsoak.ledger.units import NS_PER_S

_NO_EQUALITY: Final = frozenset({"==", "!="})
_GROWS_TOO_FAR: Final = frozenset({"<", "<="})


def mistakes(expression: Expression) -> list[str]:
    """All that is wrong with an expression that could be parsed, a clause each."""
    if expression.percent is not None or expression.within is not None:
        return list(_duration_mistakes(expression))
    figure = FIGURES.get(expression.figure)
    if figure is None:
        return [_unknown(expression)]
    return [
        *_label_mistakes(expression, figure.labels, figure.needs),
        *_unit_mistakes(expression, figure.units),
        *_comparison_mistakes(expression, figure),
    ]


def live_mistake(expression: Expression) -> str | None:
    """Why this cannot be judged while the run goes on; ``None`` where it can."""
    figure = FIGURES.get(expression.figure)
    if figure is None or expression.percent is not None or expression.within is not None:
        return None
    if not figure.live:
        return f"{figure.name} is known only when the run is over, so that it cannot abort one"
    falls = expression.comparison in _GROWS_TOO_FAR or (
        expression.comparison == "==" and expression.limit.value == 0
    )
    if figure.counts and not falls:
        return f"{figure.name} grows from 0 on, so that only an upper limit can abort a run"
    return None


def _duration_mistakes(expression: Expression) -> Iterator[str]:
    if expression.figure not in DURATIONS:
        kinds = ", ".join(DURATIONS)
        like = _like(expression.figure, DURATIONS)
        yield f'"{expression.figure}" is no duration{like}; p(…) and within go with {kinds}'
        return
    needs = ("name",) if expression.figure == "metric" else ()
    yield from _label_mistakes(expression, DURATION_LABELS[expression.figure], needs)
    limit, unit = expression.limit, (expression.limit.dimension, expression.limit.per)
    if expression.comparison in _NO_EQUALITY:
        yield f"{expression.comparison} fits no measured figure: ask for < or >"
    if expression.percent is not None:
        if not 0 < expression.percent < 100:
            yield f"p({expression.percent:g}) is no percentile: take one above 0 and below 100"
        yield from _unit_mistakes(expression, (SECONDS,))
        bound = limit if unit == SECONDS else None
    else:
        yield from _unit_mistakes(expression, (SHARE,))
        if unit == SHARE:
            yield from _share_mistakes(expression)
        bound = expression.within
        if bound is not None and (bound.dimension, bound.per) != SECONDS:
            yield "within needs a duration, such as 200ms"
            bound = None
    if bound is not None and not LOWEST_NS <= bound.value * NS_PER_S <= HIGHEST_NS:
        yield f"{bound} lies outside what is measured: 1 µs to 60 s"


def _label_mistakes(expression: Expression, known: tuple[str, ...], needs: tuple[str, ...]) -> Iterator[str]:
    for label in expression.labels:
        if label.key not in known:
            listed = f"it has {', '.join(known)}" if known else "it has none"
            yield f'{expression.figure} has no label "{label.key}"{_like(label.key, known)}; {listed}'
        elif label.key in VOCABULARY and (wrong := VOCABULARY[label.key](label)) is not None:
            yield wrong
    if needs and not any(expression.names(key) for key in needs):
        asked = " or ".join(f"{key}=…" for key in needs)
        yield f"{expression.figure} needs a label: {{{asked}}}"


def _unit_mistakes(expression: Expression, units: tuple[Unit, ...]) -> Iterator[str]:
    if (expression.limit.dimension, expression.limit.per) not in units:
        wanted = " or ".join(EXAMPLES[unit] for unit in units)
        yield f"the limit of {expression.figure} must be {wanted}, not {expression.limit}"


def _comparison_mistakes(expression: Expression, figure: Figure) -> Iterator[str]:
    if expression.comparison in _NO_EQUALITY and not figure.counts:
        yield (
            f"{expression.comparison} fits no measured figure: ask for < or >, or for a .count, "
            "which is exact"
        )
    elif figure.units == (SHARE,) and expression.limit.dimension == "share":
        yield from _share_mistakes(expression)


def _share_mistakes(expression: Expression) -> Iterator[str]:
    limit, comparison = expression.limit.value, expression.comparison
    if not 0 <= limit <= 1:
        yield f"{expression.limit} is no share: take one from 0 % to 100 %"
    elif (limit == 1 and comparison in (">=", ">")) or (limit == 0 and comparison in ("<=", "<")):
        yield (
            f"no number of samples can show {comparison} {expression.limit}: ask for a share such as 99.9% "
            "or 0.1%, or for a .count, which is exact"
        )


def _unknown(expression: Expression) -> str:
    name = expression.figure
    if name in DURATIONS:
        return f'"{name}" is a duration: ask for {name} p(99) < 250ms, or {name} within 200ms >= 99%'
    base = [known for known in FIGURES if known.split(".")[0] == name]
    if base:
        return f'"{name}" alone is no figure: ask for {" or ".join(base)}'
    return f'unknown figure "{name}"{_like(name, [*FIGURES, *DURATIONS]) or "; docs/gates.md lists them"}'


def _like(word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{close[0]}"?' if close else ""


# ---------------------------------------------------------------------------------------- labels' values


def _one_of(words: frozenset[str]) -> Callable[[Label], str | None]:
    def check(label: Label) -> str | None:
        if any(matches(label.value, word) for word in words):
            return None
        like = _like(label.value, words) or f"; there are {', '.join(sorted(words))}"
        return f'"{label.value}" is no {label.key}{like}'

    return check


def _code(label: Label) -> str | None:
    text = label.value
    if "*" in text:
        return (
            None
            if any(matches(text, str(code)) for code in range(1000, 5000))
            else f'"{text}" is no close code'
        )
    if text.isascii() and text.isdigit() and len(text) == 4 and 1000 <= int(text) <= 4999:
        return None
    return f'"{text}" is no close code: take 1000 to 4999, or 4* for all that begin with a 4'


_OUTCOMES: Final = frozenset(word for word in OUTCOMES if word == OPEN or is_failure(word))


def _outcome(label: Label) -> str | None:
    status = rejected_status(label.value)
    if status is not None:
        possible = status in _STATUSES and status != _SWITCHING
        return (
            None
            if possible
            else f'no handshake is "{label.value}": take a status from 100 to 999, and not 101'
        )
    if label.value.startswith("rejected-*"):
        return None
    if label.value in OUTCOMES and label.value not in _OUTCOMES:
        return f'"{label.value}" is not the server\'s doing, and in no rate'
    return _one_of(_OUTCOMES)(label)


_STATUSES: Final = range(100, 1000)
_SWITCHING: Final = 101

_DETAILS: Final = frozenset(
    word for name, word in vars(outcomes).items() if name.startswith("DETAIL_") and isinstance(word, str)
)
_CLASSES: Final = frozenset({*outcomes.CLOSE_CLASSES.values(), "private", "unknown"})
_TRUTHS: Final = frozenset({"true", "false"})

VOCABULARY: Final[Mapping[str, Callable[[Label], str | None]]] = MappingProxyType(
    {
        "severity": _one_of(frozenset(SEVERITIES)),
        "code": _code,
        "outcome": _outcome,
        "phase": _one_of(frozenset(PHASES)),
        "class": _one_of(_CLASSES),
        "initiator": _one_of(frozenset({"server", "client", "network"})),
        "detail": _one_of(_DETAILS),
        "clean": _one_of(_TRUTHS),
        "by_run": _one_of(_TRUTHS),
    }
)
"""Labels whose values are known words: a misspelt one would match nothing, and pass for ever."""
