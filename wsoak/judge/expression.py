"""Expression: a gate's condition as text, and as a tree.

    response{name=dialogue, code!=4*} p(99) <  250ms
    ╰figure╯╰────── labels ─────────╯╰form╯ ╰╯ ╰limit╯
                                            comparison

    expression  = path [labels] ["." path] [form] comparison quantity
    path        = word *("." word)
    labels      = "{" label *("," label) "}"
    label       = word ("=" / "!=") (bare / quoted)        a * in a value stands for any text
    form        = ["."] ("p(" number ")" / "p" number / "within" quantity)
    comparison  = "<" / "<=" / ">" / ">=" / "==" / "!="

What a figure is, and which labels and units go with it, is the business of ``figures``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import Final, NoReturn

from wsoak.judge.quantity import PATTERN as QUANTITY
from wsoak.judge.quantity import Quantity, quantity

COMPARISONS: Final = ("<=", ">=", "==", "!=", "<", ">")
"""Longest first, as they are looked for."""

LONGEST: Final = 500

_WORD: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SPACE: Final = re.compile(r"\s*")
_PERCENTILE: Final = re.compile(r"p\s*\(\s*(\d+(?:\.\d+)?)\s*\)|p(\d+(?:\.\d+)?)(?![\w.])")
_WITHIN: Final = re.compile(r"within\b")
_LABEL: Final = re.compile(
    r"""\s*([A-Za-z_]\w*)\s*(!=|==|=)\s*("(?:[^"\\]|\\.)*"|'[^']*'|[^\s,{}"'=!]+)\s*""", re.ASCII
)


class BadExpression(ValueError):
    """A text that is no expression; the message is a clause that says where and why."""


@dataclass(frozen=True, slots=True)
class Label:
    """One condition on a label; ``value`` may hold ``*`` for any text."""

    key: str
    value: str
    negated: bool = False

    def admits(self, text: str) -> bool:
        """Whether a label's text meets the condition."""
        return matches(self.value, text) is not self.negated

    def __str__(self) -> str:
        return f"{self.key}{'!=' if self.negated else '='}{self.value}"


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition, parsed. ``percent``: of a form ``p(99)``; ``within``: of a form ``within 200ms``."""

    text: str
    figure: str
    labels: tuple[Label, ...]
    percent: float | None
    within: Quantity | None
    comparison: str
    limit: Quantity

    def admits(self, key: str, text: str) -> bool:
        """Whether a label's text meets all conditions on it."""
        return all(label.admits(text) for label in self.labels if label.key == key)

    def names(self, key: str) -> bool:
        """Whether there is a condition on this label."""
        return any(label.key == key for label in self.labels)


def matches(pattern: str, text: str) -> bool:
    """Whether a text is the pattern, in which ``*`` stands for any text."""
    return _compiled(pattern).fullmatch(text) is not None if "*" in pattern else pattern == text


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str]:
    # of fnmatch's signs only the star is meant
    return re.compile(translate(re.sub(r"[\[?]", lambda sign: f"[{sign[0]}]", pattern)))


def parse(text: str) -> Expression:
    """The expression that a text says.

    Raises:
        BadExpression: when it says none.
    """
    if len(text) > LONGEST:
        raise BadExpression(f"it is longer than {LONGEST} characters")
    return _Parser(text).expression()


class _Parser:
    """Reads one expression from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def expression(self) -> Expression:
        path = [self._word("the name of a figure, such as handshake.success")]
        labels: tuple[Label, ...] = ()
        percent, within = None, None
        while True:
            if self._peek("{"):
                if labels:
                    self._fail("a second set of labels")
                labels = self._labels()
                continue
            dotted = self._take(".")
            percent = self._percentile()
            if percent is None and self._matched(_WITHIN):
                within = self._quantity()
            if percent is not None or within is not None:
                break
            if not dotted:
                break
            path.append(self._word("a word after the dot"))
        comparison = self._comparison()
        limit = self._quantity()
        if self._rest():
            self._fail(f"nothing more after the limit, but {self._found()} is there")
        figure = ".".join(path)
        return Expression(self._text.strip(), figure, labels, percent, within, comparison, limit)

    def _labels(self) -> tuple[Label, ...]:
        self._take("{")
        labels: list[Label] = []
        while not self._take("}"):
            if labels and not self._take(","):
                self._fail(f'"," or "}}" after a label is missing before {self._found()}')
            matched = _LABEL.match(self._text, self._at)
            if matched is None:
                self._fail(f"a label such as name=dialogue or code=1006 is expected, not {self._found()}")
            key, sign, value = matched.groups()
            labels.append(Label(key, _unquoted(value), negated=sign == "!="))
            self._at = matched.end()
        return tuple(labels)

    def _percentile(self) -> float | None:
        matched = self._matched(_PERCENTILE)
        return None if matched is None else float(matched[1] or matched[2])

    def _comparison(self) -> str:
        for comparison in COMPARISONS:
            if self._take(comparison):
                return comparison
        before = self._text[: self._at].strip()
        return self._fail(
            f"after {before!r} a comparison ({', '.join(COMPARISONS)}) is expected, not {self._found()}"
        )

    def _quantity(self) -> Quantity:
        matched = self._matched(QUANTITY)
        if matched is None:
            self._fail(f"a number with its unit is expected, such as 99.9% or 250ms, not {self._found()}")
        try:
            return quantity(matched[0])
        except ValueError as error:
            raise BadExpression(str(error)) from None

    def _word(self, what: str) -> str:
        matched = self._matched(_WORD)
        if matched is None:
            self._fail(f"{what} is expected, not {self._found()}")
        return matched[0]

    def _skip(self) -> None:
        space = _SPACE.match(self._text, self._at)
        assert space is not None
        self._at = space.end()

    def _matched(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        self._skip()
        matched = pattern.match(self._text, self._at)
        if matched is not None:
            self._at = matched.end()
        return matched

    def _peek(self, sign: str) -> bool:
        self._skip()
        return self._text.startswith(sign, self._at)

    def _take(self, sign: str) -> bool:
        found = self._peek(sign)
        if found:
            self._at += len(sign)
        return found

    def _rest(self) -> str:
        return self._text[self._at :].strip()

    def _found(self) -> str:
        rest = self._rest()
        return repr(rest[:20]) if rest else "the end"

    def _fail(self, why: str) -> NoReturn:
        self._skip()
        raise BadExpression(f"at character {self._at + 1}: {why}")


def _unquoted(value: str) -> str:
    if value.startswith('"'):
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value[1:-1] if value.startswith("'") else value
