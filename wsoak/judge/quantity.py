"""Quantity: a number with its unit, as gates write it: ``99.9%``, ``250ms``, ``2%/h``, ``1.5GB``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from wsoak.judge.words import duration, figure, percent
from wsoak.ledger.units import NS_PER_S

Dimension = Literal["share", "seconds", "bytes", "number"]
Per = Literal["", "s", "h"]

UNITS: Final[Mapping[str, tuple[Dimension, float]]] = MappingProxyType(
    {
        "": ("number", 1.0),
        "%": ("share", 0.01),
        "ns": ("seconds", 1e-9),
        "us": ("seconds", 1e-6),
        "µs": ("seconds", 1e-6),
        "μs": ("seconds", 1e-6),
        "ms": ("seconds", 1e-3),
        "s": ("seconds", 1.0),
        "m": ("seconds", 60.0),
        "min": ("seconds", 60.0),
        "h": ("seconds", 3600.0),
        "B": ("bytes", 1.0),
        "kB": ("bytes", 1e3),
        "KB": ("bytes", 1e3),
        "MB": ("bytes", 1e6),
        "GB": ("bytes", 1e9),
        "KiB": ("bytes", 2.0**10),
        "MiB": ("bytes", 2.0**20),
        "GiB": ("bytes", 2.0**30),
    }
)
"""What a unit measures, and how many base units it is: shares of 1, seconds, bytes, things."""

RATES: Final[Mapping[str, tuple[Per, float]]] = MappingProxyType(
    {"s": ("s", 1.0), "min": ("h", 60.0), "h": ("h", 1.0), "d": ("h", 1 / 24)}
)
"""What may stand after a ``/``: a rate is kept by the second, or by the hour."""

EXAMPLES: Final[Mapping[tuple[Dimension, Per], str]] = MappingProxyType(
    {
        ("share", ""): "a share, such as 99.9%",
        ("seconds", ""): "a duration, such as 250ms or 30s",
        ("bytes", ""): "bytes, such as 500MB",
        ("number", ""): "a plain number",
        ("number", "s"): "a number a second, such as 500/s",
        ("share", "h"): "a share an hour, such as 2%/h",
        ("seconds", "h"): "a duration an hour, such as 5ms/h",
        ("bytes", "h"): "bytes an hour, such as 10MB/h",
        ("number", "h"): "a number an hour, such as 3/h",
    }
)

PATTERN: Final = re.compile(
    r"([+-]?\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*([%A-Za-zµμ]*)(?:\s*/\s*([A-Za-z]+))?"
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """``value`` in base units (shares of 1, seconds, bytes, things); a rate by ``per`` second or hour.

    ``text`` is how it was written.
    """

    value: float
    dimension: Dimension
    per: Per = ""
    text: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.text or self.show(self.value)

    def show(self, value: float) -> str:
        """Another value of the same kind, in words."""
        rate = f"/{self.per}" if self.per else ""
        return _SHOWN[self.dimension](value) + rate


def quantity(text: str) -> Quantity:
    """The quantity that a text says.

    Raises:
        ValueError: when it says none; the message is a clause for a sentence.
    """
    matched = PATTERN.fullmatch(text.strip())
    if matched is None:
        raise ValueError(f"{text.strip()!r} is no number with a unit, such as 99.9%, 250ms or 30s")
    number, unit, rate = matched.groups()
    written = "".join(text.split())
    if unit not in UNITS:
        raise ValueError(f"{text.strip()!r} has an unknown unit; known are {', '.join(filter(None, UNITS))}")
    dimension, factor = UNITS[unit]
    value = float(number) * factor
    if not math.isfinite(value):
        raise ValueError(f"{text.strip()!r} is too large")
    # 99.9 × 0.01 is 0.9990000000000001: what was written is what is meant
    value = float(f"{value:.15g}")
    if rate is None:
        return Quantity(value, dimension, text=written)
    if rate not in RATES:
        raise ValueError(
            f"{text.strip()!r} has an unknown rate; known are {', '.join(f'/{r}' for r in RATES)}"
        )
    per, times = RATES[rate]
    return Quantity(value * times, dimension, per, written)


def seconds(text: str) -> float:
    """A duration such as ``30s`` or ``2m``, in seconds.

    Raises:
        ValueError: when it is none.
    """
    found = quantity(text)
    if found.dimension != "seconds" or found.per or found.value < 0:
        raise ValueError(f"{text!r} is no duration, such as 30s or 2m")
    return found.value


def _show_share(value: float) -> str:
    if not math.isfinite(value):
        return "unknown"
    return (
        f"-{percent(-value, 1)}" if value < 0 else percent(value, 1) if value <= 1 else f"{100 * value:.1f} %"
    )


def _show_seconds(value: float) -> str:
    if value == math.inf:
        return "never"
    return f"-{duration(-value * NS_PER_S)}" if value < 0 else duration(value * NS_PER_S)


def _show_bytes(value: float) -> str:
    for unit in ("GB", "MB", "kB"):
        if abs(value) >= UNITS[unit][1]:
            return f"{_show_number(value / UNITS[unit][1])} {unit}"
    return f"{_show_number(value)} B"


def _show_number(value: float) -> str:
    if not math.isfinite(value):
        return "unknown"
    whole = f"{abs(value):,.0f}" if value == int(value) else figure(abs(value))
    return f"-{whole}" if value < 0 else whole


_SHOWN: Final = {
    "share": _show_share,
    "seconds": _show_seconds,
    "bytes": _show_bytes,
    "number": _show_number,
}
