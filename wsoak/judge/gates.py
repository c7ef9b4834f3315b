"""Gates: what a run must meet, as ``gates.toml`` says it.

    [[gates]]
    expr  = "handshake.success >= 99.9%"    # the only key that must be there
    name  = "users get in"                  # for tables and JUnit; the expression unless given
    after = "30s"                           # judge only what happened from here on, after the start
    until = "5m"                            # … and up to here
    abort = true                            # stop the run as soon as the gate has failed
    delay = "10s"                           # … but not before so long after ``after``

``gates = ["usable >= 99%", …]`` is the same for gates that are an expression alone.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from wsoak.judge.expression import BadExpression, Expression, parse
from wsoak.judge.meters import Window
from wsoak.judge.quantity import seconds
from wsoak.judge.sense import live_mistake, mistakes

KEYS: Final = ("expr", "name", "after", "until", "abort", "delay")
TOP: Final = "gates"
LONGEST_NAME: Final = 200
MOST_GATES: Final = 500


class BadGates(ValueError):
    """A file of gates that cannot be used; one sentence for each mistake in ``mistakes``."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition on a run. Times in seconds: ``after_s`` and ``until_s`` from the run's start."""

    name: str
    expression: Expression
    after_s: float = 0.0
    until_s: float | None = None
    abort: bool = False
    delay_s: float = 0.0

    def window(self, started_at: float) -> Window:
        """The window of a run that started at this Unix time."""
        # a run begins within a second, all of which is its own
        begin = started_at + self.after_s if self.after_s else float(int(started_at))
        return Window(begin) if self.until_s is None else Window(begin, started_at + self.until_s)


def parse_gates(raw: bytes, source: str) -> list[Gate]:
    """The gates in a TOML file.

    Args:
        source: what the file is called in messages.

    Raises:
        BadGates: with every mistake.
    """
    try:
        text = raw.decode()
        table = tomllib.loads(text)
    except UnicodeDecodeError:
        raise BadGates([f"{source} is not UTF-8 text."]) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadGates([f"{source} is not TOML: {error}."]) from None
    return _Reader(text, source).gates(table)


class _Reader:
    """Collects gates and mistakes."""

    def __init__(self, text: str, source: str) -> None:
        self._text = text
        self._source = source
        self._mistakes: list[str] = []
        self._names: list[str] = []

    def gates(self, table: dict[str, Any]) -> list[Gate]:
        for key in table:
            if key != TOP:
                self._mistakes.append(
                    f'{self._source}: unknown key "{key}"; gates are listed under [[{TOP}]].'
                )
        listed = table.get(TOP, [])
        if not isinstance(listed, list) or not listed or len(listed) > MOST_GATES:
            if TOP not in table or isinstance(listed, list):
                self._mistakes.append(
                    f"{self._source}: there must be 1 to {MOST_GATES} gates under [[{TOP}]]."
                )
            else:
                self._mistakes.append(f'{self._source}: "{TOP}" must be a list: write [[{TOP}]].')
            listed = []
        found = [self._gate(index, entry) for index, entry in enumerate(listed)]
        for name in sorted({name for name in self._names if self._names.count(name) > 1}):
            self._mistakes.append(f'{self._source}: two gates are called "{name}"; give one another name.')
        if self._mistakes:
            raise BadGates(self._mistakes)
        return [gate for gate in found if gate is not None]

    def _gate(self, index: int, entry: Any) -> Gate | None:
        if isinstance(entry, str):
            entry = {"expr": entry}
        if not isinstance(entry, dict):
            self._say(index, None, ["a gate is an expression, or a table with expr = …"])
            return None
        values = {**dict.fromkeys(KEYS), **entry}
        wrong = [*_unknown_keys(entry), *_wrong_types(entry)]
        expression = self._expression(values["expr"], wrong)
        after_s = _seconds(values["after"], "after", wrong)
        until_s = _seconds(values["until"], "until", wrong)
        delay_s = _seconds(values["delay"], "delay", wrong)
        if until_s is not None and until_s <= (after_s or 0.0):
            wrong.append("until must be later than after")
        abort = values["abort"] is True
        if delay_s is not None and not abort:
            wrong.append("delay goes with abort = true")
        if abort and expression is not None and (refused := live_mistake(expression)) is not None:
            wrong.append(refused)
        name = values["name"] if isinstance(values["name"], str) and values["name"].strip() else None
        self._say(index, name or (values["expr"] if isinstance(values["expr"], str) else None), wrong)
        if name is None and expression is not None:
            name = _default_name(expression, after_s, until_s)
        if name is not None:
            # also of a gate with a mistake: all are said at once
            self._names.append(name.strip())
        if wrong or expression is None or name is None:
            return None
        return Gate(
            name.strip(),
            expression,
            after_s or 0.0,
            until_s,
            abort,
            delay_s or 0.0,
        )

    def _expression(self, text: Any, wrong: list[str]) -> Expression | None:
        if text is None:
            wrong.append('it has no expr, such as expr = "usable >= 99%"')
        if not isinstance(text, str):
            return None
        try:
            expression = parse(text)
        except BadExpression as error:
            wrong.append(str(error))
            return None
        wrong += mistakes(expression)
        return expression

    def _say(self, index: int, name: str | None, wrong: Sequence[str]) -> None:
        line = self._line(index, name)
        where = f"{self._source}{f', line {line}' if line else ''}"
        shown = f' "{name[:LONGEST_NAME]}"' if name else ""
        self._mistakes += [
            f"{where}, gate {index + 1}{shown}: {clause}{'' if clause.endswith('?') else '.'}"
            for clause in wrong
        ]

    def _line(self, index: int, name: str | None) -> int | None:
        """The line at which a gate begins, as far as the text shows it: tomllib does not say."""
        heads = [m.start() for m in re.finditer(rf"^\s*\[\[\s*{TOP}\s*\]\]", self._text, re.MULTILINE)]
        at = heads[index] if index < len(heads) else self._text.find(name) if name else -1
        if index < len(heads):
            at += len(self._text[at:]) - len(self._text[at:].lstrip())
        return self._text.count("\n", 0, at) + 1 if at >= 0 else None


def _default_name(expression: Expression, after_s: float | None, until_s: float | None) -> str:
    window = [f"after {after_s:g} s"] if after_s else []
    window += [f"until {until_s:g} s"] if until_s is not None else []
    return f"{expression.text} ({', '.join(window)})" if window else expression.text


def _unknown_keys(entry: dict[str, Any]) -> Iterator[str]:
    for key in entry:
        if key not in KEYS:
            close = get_close_matches(key, KEYS, n=1)
            yield f'unknown key "{key}"' + (
                f'; did you mean "{close[0]}"?' if close else f"; there are {', '.join(KEYS)}"
            )


def _wrong_types(entry: dict[str, Any]) -> Iterator[str]:
    for key, value in entry.items():
        if key == "abort":
            if not isinstance(value, bool):
                yield "abort must be true or false"
        elif key in KEYS and not isinstance(value, str):
            yield f"{key} must be a text between quotes" + (
                "" if key in ("expr", "name") else ', such as "30s"'
            )


def _seconds(text: Any, key: str, wrong: list[str]) -> float | None:
    if not isinstance(text, str):
        return None
    try:
        return seconds(text)
    except ValueError as error:
        wrong.append(f"{key}: {error}")
        return None
