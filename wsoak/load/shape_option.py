"""Shape option: ``--shape KIND:key=value,…`` as a shape.

``KINDS`` is the one table of what there is: parsing, checks and help read it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from wsoak.judge.slo import BadSlo, slo
from wsoak.judge.terminal import quoted
from wsoak.load import shapes
from wsoak.load.arrivals import BadArrivals, read_arrivals
from wsoak.load.search import Search
from wsoak.load.shapes import Point, Shape

MOST_USERS: Final = 1_000_000
MOST_STEPS: Final = 1_000
LONGEST_S: Final = 31 * 86_400
LEAST_HOLD_S: Final = 5
"""What is shorter has no seconds left when it has settled; see ``judge.steps``."""
LEAST_STAY_S: Final = 1
"""Locust looks at a shape about once a second: what is shorter cannot be followed."""

QUOTED: Final = 60
"""How many characters of a mistaken text are shown."""


class BadShape(ValueError):
    """An option that describes no shape; ``mistakes`` are sentences, one for each mistake.

    As text: the sentences without the last full stop, as in ``ValueError("… is not a number")``.
    """

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__(" ".join(mistakes).removesuffix("."))
        self.mistakes = list(mistakes)


# ------------------------------------------------------------------------------------------------- values


@dataclass(frozen=True, slots=True)
class Unit:
    """What values look like: in a usage line, in words, with a unit, and how they are read.

    ``read`` raises ``ValueError`` where a text is no such value.
    """

    letter: str
    words: str
    suffix: str
    read: Callable[[str], Any]


_DURATION: Final = re.compile(r"(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s?)?")


def seconds(text: str) -> int:
    """A duration in seconds: ``90``, ``90s``, ``2m``, ``1h``, or these joined: ``1h30m``.

    Raises:
        ValueError: when it is none.
    """
    found = _DURATION.fullmatch(text)
    if not text or not found:
        raise ValueError(text)
    hours, minutes, rest = (int(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + rest


def _count(text: str) -> int:
    # int() would also take "1_0" and " 7"
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise ValueError(text)
    return int(text)


def _factor(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        raise ValueError(text)
    return float(text)


def _share(text: str) -> float:
    return _factor(text.removesuffix("%")) / 100 if text.endswith("%") else _factor(text)


def _curve(text: str) -> tuple[Point, ...]:
    if not text:
        raise ValueError(text)
    return read_arrivals(Path(text))


COUNT: Final = Unit("N", "a whole number", "", _count)
DURATION: Final = Unit("T", "a duration such as 90, 90s, 2m or 1h", " seconds", seconds)
FACTOR: Final = Unit("X", "a number such as 2 or 0.5", "", _factor)
SHARE: Final = Unit("P", "a share such as 5% or 0.05", "", _share)
OBJECTIVE: Final = Unit("EXPR", "an objective such as response p(99) < 250ms", "", slo)
CURVE: Final = Unit("FILE", "a CSV file with the columns seconds and users", "", _curve)


# ------------------------------------------------------------------------------------------------- table


@dataclass(frozen=True, slots=True)
class Key:
    """One ``key=value`` of a kind.

    Attributes:
        argument: the parameter of the kind's function in ``shapes``.
        default: as it would be written; ``None``: the key must be given; empty: the function decides.
    """

    name: str
    argument: str
    unit: Unit
    meaning: str
    default: str | None = None
    least: float = 0
    most: float | None = None

    @property
    def usage(self) -> str:
        """The key in a usage line, such as ``to=N`` or ``[,from=0]``."""
        if self.default is None:
            return f"{self.name}={self.unit.letter}"
        return f"[,{self.name}={self.default or self.unit.letter}]"


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold between values: of these keys, and what to say where it does not.

    Attributes:
        sentence: formatted with the keys' values; durations are seconds.
    """

    keys: tuple[str, ...]
    holds: Callable[..., bool]
    sentence: str


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of shape: its keys, those that must be given first, and the function that makes it."""

    summary: str
    make: Callable[..., Shape | Search]
    keys: tuple[Key, ...]
    rules: tuple[Rule, ...] = ()


def _users(name: str, argument: str, meaning: str, default: str | None = None, least: int = 0) -> Key:
    return Key(name, argument, COUNT, meaning, default, least, MOST_USERS)


def _time(name: str, argument: str, meaning: str, default: str | None = None, least: int = 0) -> Key:
    return Key(name, argument, DURATION, meaning, default, least, LONGEST_S)


KINDS: Final[dict[str, Kind]] = {
    "ramp": Kind(
        "a straight line from one number of users to another",
        shapes.ramp,
        (
            _users("to", "to_users", "users at the end"),
            _time("over", "over_s", "how long the line takes", least=LEAST_STAY_S),
            _users("from", "from_users", "users at the start", "0"),
            _time("hold", "hold_s", "how long to stay there", "0s"),
        ),
    ),
    "step": Kind(
        "stairs, each step marked in the run's record",
        shapes.step,
        (
            _users("start", "start_users", "users on the first step"),
            _users("step", "step_users", "users more on each further step", least=1),
            _time("every", "every_s", "how long a step lasts", least=LEAST_STAY_S),
            Key("steps", "steps", COUNT, "how many steps", None, 1, MOST_STEPS),
        ),
        (
            Rule(
                ("start", "step", "steps"),
                lambda start, step, steps: start + step * (steps - 1) <= MOST_USERS,
                f"The last step has more than {MOST_USERS:,} users.",
            ),
        ),
    ),
    "soak": Kind(
        "up, a long hold, and down",
        shapes.soak,
        (
            _users("users", "users", "users during the hold", least=1),
            _time("ramp", "ramp_s", "how long the way up takes"),
            _time("hold", "hold_s", "how long they stay", least=LEAST_STAY_S),
            _time("down", "down_s", "how long the way down takes", "0s"),
        ),
    ),
    "spike": Kind(
        "a sudden peak on a steady base",
        shapes.spike,
        (
            _users("base", "base_users", "users before and after"),
            _users("peak", "peak_users", "users during the peak"),
            _time("at", "at_s", "when the peak begins"),
            _time("for", "for_s", "how long the peak lasts", least=LEAST_STAY_S),
            _time("end", "end_s", "when the shape is over; else as long after the peak as before it", ""),
        ),
        (
            Rule(
                ("base", "peak"),
                lambda base, peak: peak > base,
                "The peak of {peak} users is not above the base of {base}.",
            ),
            Rule(
                ("at", "for", "end"),
                lambda at, lasts, end: end is None or end >= at + lasts,
                "The shape ends at {end} s, before its peak does: at={at} and for={for} seconds.",
            ),
        ),
    ),
    "storm": Kind(
        "a hold during which all sockets are dropped, and must come back",
        shapes.storm,
        (
            _users("users", "users", "users during the hold", least=1),
            _time("ramp", "ramp_s", "how long the way up takes"),
            _time("hold", "hold_s", "how long they stay, all drops and recoveries included"),
            _time("every", "every_s", "how long before each drop", least=LEAST_STAY_S),
            Key("drops", "drops", COUNT, "how many drops", "1", 1, MOST_STEPS),
        ),
        (
            Rule(
                ("hold", "every", "drops"),
                lambda hold, every, drops: hold > every * drops,
                "The hold of {hold} s leaves no time after the last of {drops} drops, one every {every} s.",
            ),
        ),
    ),
    "replay": Kind(
        "a recorded curve",
        shapes.replay,
        (
            Key("file", "arrivals", CURVE, "the curve"),
            Key("scale", "scale", FACTOR, "multiplies the users", "1", 0.001, MOST_USERS),
            Key("speed", "speed", FACTOR, "how many times faster than recorded", "1", 0.001, LONGEST_S),
        ),
        (
            Rule(
                ("file", "scale"),
                lambda points, scale: max(point.users for point in points) * scale <= MOST_USERS,
                f"The curve has more than {MOST_USERS:,} users.",
            ),
            Rule(
                ("file", "speed"),
                lambda points, speed: LEAST_STAY_S <= (points[-1].at_s - points[0].at_s) / speed <= LONGEST_S,
                f"The curve lasts less than {LEAST_STAY_S} s, or more than {LONGEST_S // 86_400} days.",
            ),
        ),
    ),
    "search": Kind(
        "steps that close in on the most users that keep an objective",
        Search,
        (
            _users("from", "from_users", "users on the first step", least=1),
            _users("to", "to_users", "the most users that may be tried", least=1),
            Key("slo", "slo", OBJECTIVE, "what is to be kept"),
            _time("hold", "hold_s", "how long a step lasts", "30s", LEAST_HOLD_S),
            Key(
                "resolution",
                "resolution",
                SHARE,
                "how close to come, as a share of the users",
                "0.05",
                0.001,
                1,
            ),
            Key("steps", "steps", COUNT, "how many steps at most", "15", 1, MOST_STEPS),
        ),
        (
            Rule(
                ("from", "to"),
                lambda start, most: most > start,
                "The most users, {to}, are not above the first step's {from}.",
            ),
        ),
    ),
}


# --------------------------------------------------------------------------------------------------- text


def usage(name: str) -> str:
    """How a kind is written, such as ``ramp:to=N,over=T[,from=0][,hold=0s]``."""
    written = [key.usage for key in KINDS[name].keys]
    required = sum(key.default is None for key in KINDS[name].keys)
    return f"{name}:{','.join(written[:required])}{''.join(written[required:])}"


HELP: Final = (
    "Load shape, instead of a number of users: "
    + "; ".join(f"{usage(name)} ({kind.summary})" for name, kind in KINDS.items())
    + ". N: a whole number; T: 90, 90s, 2m or 1h; X: a number; "
    "FILE: CSV with the columns seconds,users; EXPR: an objective such as response p(99) < 250ms; "
    "P: a share. --run-time ends it early."
)
"""For the command line and the web form."""


def parse_shape(text: str) -> Shape | Search:
    """The shape that an option's text describes.

    Raises:
        BadShape: with every mistake in it.
    """
    name, _, rest = text.strip().partition(":")
    kind = KINDS.get(name.strip())
    if kind is None:
        raise BadShape([f"There is no shape {quoted(name.strip(), QUOTED)}, only {_listed(list(KINDS))}."])
    mistakes: list[str] = []
    given = _pairs(rest, kind, mistakes)
    mistakes += [
        f"The shape {name.strip()} needs {key.name}=, {key.meaning}: {key.unit.words}."
        for key in kind.keys
        if key.default is None and key.name not in given
    ]
    values = _values(given, kind, mistakes)
    mistakes += [
        rule.sentence.format(**values)
        for rule in kind.rules
        if values.keys() >= set(rule.keys) and not rule.holds(*(values[key] for key in rule.keys))
    ]
    if mistakes:
        raise BadShape(mistakes)
    return kind.make(**{key.argument: values[key.name] for key in kind.keys})


_COMMA: Final = re.compile(r",(?![^{}]*\})")
"""A comma between pairs, and not one between the labels of an objective."""


def _pairs(text: str, kind: Kind, mistakes: list[str]) -> dict[str, str]:
    """The texts by key. What cannot be a pair, or is of no use to the kind, is a mistake."""
    known = [key.name for key in kind.keys]
    given: dict[str, str] = {}
    for part in _COMMA.split(text) if text.strip() else []:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not name:
            mistakes.append(f"{quoted(part, QUOTED)} is not key=value.")
        elif name not in known:
            mistakes.append(f"There is no key {quoted(name, QUOTED)}, only {_listed(known)}.")
        elif name in given:
            mistakes.append(f"The key {name} is given twice.")
        else:
            given[name] = value
    return given


def _values(given: Mapping[str, str], kind: Kind, mistakes: list[str]) -> dict[str, Any]:
    """The values by key, of all keys that have a good one; a bad one is a mistake."""
    values: dict[str, Any] = {}
    for key in kind.keys:
        text = given.get(key.name, key.default)
        if text == "" and key.name not in given:
            values[key.name] = None
        elif text is not None:
            try:
                values[key.name] = _value(key, text)
            except BadArrivals as error:
                mistakes += error.mistakes
            except BadSlo as error:
                mistakes.append(f"{key.name}: {error}")
            except ValueError as error:
                mistakes.append(str(error))
    return values


def _value(key: Key, text: str) -> Any:
    try:
        value = key.unit.read(text)
    except (BadArrivals, BadSlo):
        raise
    except ValueError:
        raise ValueError(f"{key.name}={quoted(text, QUOTED)} is not {key.unit.words}.") from None
    if key.most is not None and not key.least <= value <= key.most:
        limits = f"{key.least:g} and {key.most:,.0f}{key.unit.suffix}"
        raise ValueError(f"{key.name}={text} is not between {limits}.")
    return value


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
