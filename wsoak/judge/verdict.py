"""Verdict: what the gates say of a run: pass, fail or inconclusive, each with its interval.

    limit ≥ 99.9 %        low ──┤ interval ├── high
    pass                        │ low ≥ limit
    inconclusive          low < limit ≤ high            too few samples to say, or no data at all
    fail                                 high < limit │

A percentile is judged as a share: p(99) < 250 ms says that 99 % are within 250 ms. A count is what it is, and
has no interval. A gate without data never passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Literal

from wsoak.judge.figures import meter
from wsoak.judge.gates import Gate
from wsoak.judge.intervals import LEVEL, smallest_samples
from wsoak.judge.meters import Material, Measured, Meter
from wsoak.judge.quantity import Quantity
from wsoak.judge.user_code import CALLBACKS_FAILED
from wsoak.judge.validity import Doubt, is_valid
from wsoak.ledger.delta import Delta
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.records import ConnectionRecord, Gauge, Observation
from wsoak.ledger.timeline import CounterRow

Word = Literal["pass", "fail", "inconclusive"]

PASS: Final = "pass"
FAIL: Final = "fail"
INCONCLUSIVE: Final = "inconclusive"
INVALID: Final = "invalid"
MISUSE: Final = "error"
"""The scenario itself is at fault: none of its figures is a verdict on the server."""

EXIT_CODES: Final[Mapping[str, int]] = MappingProxyType(
    {PASS: 0, FAIL: 1, INCONCLUSIVE: 3, INVALID: 4, MISUSE: 2}
)
EXIT_USAGE: Final = EXIT_CODES[MISUSE]
PRECEDENCE: Final = (
    EXIT_USAGE,
    EXIT_CODES[INVALID],
    EXIT_CODES[FAIL],
    EXIT_CODES[INCONCLUSIVE],
    EXIT_CODES[PASS],
)
"""Of several exit codes that hold, the first of these is given."""

SCHEMA_VERSION: Final = 1


def exit_code(codes: Iterable[int]) -> int:
    """The one of several exit codes that goes before the others; 3 for none: nothing was judged."""
    held = set(codes)
    return next((code for code in PRECEDENCE if code in held), EXIT_CODES[INCONCLUSIVE])


@dataclass(frozen=True, slots=True)
class GateResult:
    """What one gate says, with the measurement that it says it from; ``note`` is a clause, or empty."""

    gate: Gate
    verdict: Word
    measured: Measured
    note: str = ""

    @property
    def actual(self) -> str:
        """The figure's value in words."""
        value = self.measured.value
        if value is None:
            return "no data"
        if value == math.inf and self.gate.expression.percent is not None:
            return "over 60 s, or no answer"
        return self.gate.expression.limit.show(value)

    @property
    def limit(self) -> str:
        """The comparison and the limit in words."""
        return f"{self.gate.expression.comparison} {self.gate.expression.limit}"

    @property
    def interval(self) -> str:
        """The interval in words; ``exact`` for a count."""
        measured = self.measured
        if measured.value is None:
            return "–"
        if measured.exact:
            return "exact" if measured.low == measured.high else f"{self._show(measured.low)} or more"
        if not (math.isfinite(measured.low) and math.isfinite(measured.high)):
            return "unknown"
        return f"{self._show(measured.low)} to {self._show(measured.high)}" + (
            f" {measured.of}" if measured.of else ""
        )

    @property
    def samples(self) -> str:
        """The samples in words, and how many independent ones they are worth where that is fewer."""
        measured = self.measured
        if measured.effective is None or round(measured.effective) >= measured.samples:
            return f"{measured.samples:,}"
        return f"{measured.samples:,} (worth {measured.effective:,.0f})"

    def to_json(self) -> dict[str, Any]:
        """The result as plain values for ``verdict.json``: in base units, ``None`` where unbounded."""
        measured, expression = self.measured, self.gate.expression
        unit = _unit(expression.limit)
        return {
            "name": self.gate.name,
            "expr": expression.text,
            "after_s": self.gate.after_s,
            "until_s": self.gate.until_s,
            "abort": self.gate.abort,
            "verdict": self.verdict,
            "actual": {"value": _finite(measured.value), "unit": unit, "text": self.actual},
            "limit": {
                "comparison": expression.comparison,
                "value": expression.limit.value,
                "unit": unit,
                "text": self.limit,
            },
            "interval": {
                "low": _finite(measured.low),
                "high": _finite(measured.high),
                "unit": "share" if measured.of else unit,
                "of": measured.of,
                "level": None if measured.exact else LEVEL,
                "text": self.interval,
            },
            "samples": measured.samples,
            "effective_samples": _finite(measured.effective),
            "samples_text": self.samples,
            "note": self.note,
        }

    def _show(self, bound: float) -> str:
        shown = Quantity(0.0, "share") if self.measured.of else self.gate.expression.limit
        return shown.show(bound)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run's gates say together, and whether the run is to be believed at all."""

    run_id: str
    results: tuple[GateResult, ...]
    doubts: tuple[Doubt, ...]

    @property
    def valid(self) -> bool:
        """Whether the run is to be believed."""
        return is_valid(self.doubts)

    @property
    def word(self) -> str:
        """``error``, ``invalid``, ``fail``, ``inconclusive`` or ``pass``; the first that holds."""
        return next(word for word, code in EXIT_CODES.items() if code == self.exit_code)

    @property
    def exit_code(self) -> int:
        """0 pass, 1 a gate failed, 2 the scenario's own mistake, 3 inconclusive, 4 the run is not valid."""
        codes = [EXIT_CODES[result.verdict] for result in self.results]
        codes += [] if self.valid else [EXIT_CODES[INVALID]]
        codes += [EXIT_USAGE for doubt in self.doubts if doubt.id == CALLBACKS_FAILED]
        return exit_code(codes)

    def to_json(self) -> dict[str, Any]:
        """The verdict as plain values for ``verdict.json``."""
        return {
            "schema_version": SCHEMA_VERSION,
            "run_id": self.run_id,
            "verdict": self.word,
            "exit_code": self.exit_code,
            "valid": self.valid,
            "doubts": [doubt.to_json() for doubt in self.doubts],
            "gates": [result.to_json() for result in self.results],
        }


def measured_from_json(told: Mapping[str, Any]) -> Measured:
    """The measurement in a gate's entry of ``verdict.json``; see ``GateResult.to_json``."""
    value, interval = told["actual"]["value"], told["interval"]
    low, high = interval["low"], interval["high"]
    return Measured(
        value,
        -math.inf if low is None else low,
        math.inf if high is None else high,
        told["samples"],
        told["effective_samples"],
        exact=interval["level"] is None,
        of=interval["of"],
        note=told["note"],
    )


class Trial:
    """Gates and their meters: told what a run holds, and then asked what the gates say.

    It is a ``ledger.rundir.Sink``: ``RunReader.books`` tells it all of a run while it adds up the books.
    """

    def __init__(self, gates: Sequence[Gate], started_at: float) -> None:
        self.gates = tuple(gates)
        self._started_at = started_at
        self._meters: list[Meter] = [meter(gate.expression, gate.window(started_at)) for gate in gates]

    def take(self, delta: Delta) -> None:
        """Take in all that a delta holds."""
        for (second, name), row in delta.timeline.items():
            self.take_row(second, name, row)
        for (second, kind, name), durations in delta.latency.items():
            self.take_durations(second, kind, name, durations)
        for record in delta.connections:
            self.take_connection(record)
        for gauge in delta.gauges:
            self.take_gauge(gauge)
        for seen in delta.observations:
            self.take_observation(seen)

    def take_row(self, second: int, name: str, row: CounterRow) -> None:
        """A second's counters of one name (and worker)."""
        for each in self._meters:
            each.take_row(second, name, row)

    def take_durations(self, second: int, kind: str, name: str, durations: Histogram) -> None:
        """A second's durations of one kind and name."""
        for each in self._meters:
            each.take_durations(second, kind, name, durations)

    def take_connection(self, record: ConnectionRecord) -> None:
        """An attempt that has ended."""
        for each in self._meters:
            each.take_connection(record)

    def take_gauge(self, gauge: Gauge) -> None:
        """A reading."""
        for each in self._meters:
            each.take_gauge(gauge)

    def take_observation(self, seen: Observation) -> None:
        """An observation."""
        for each in self._meters:
            each.take_observation(seen)

    def results(self, material: Material, stopped_by: Mapping[str, Any] | None = None) -> list[GateResult]:
        """What each gate says of what was taken in so far.

        Args:
            stopped_by: the gate that stopped the run, as ``abort.Stopped.to_json`` has it: it has failed.
        """
        return [
            _stopped(judge(gate, each.measure(gate.window(self._started_at), material)), stopped_by)
            for gate, each in zip(self.gates, self._meters, strict=True)
        ]


def judge(gate: Gate, measured: Measured) -> GateResult:
    """What a gate says of a measurement."""
    if measured.value is None:
        return GateResult(gate, INCONCLUSIVE, measured, measured.note)
    comparison, limit = _as_share(gate)
    verdict = decide(comparison, limit, measured.low, measured.high)
    note = measured.note
    if verdict == INCONCLUSIVE and not note:
        note = _too_few(comparison, limit, measured)
    return GateResult(gate, verdict, measured, note)


def decide(comparison: str, limit: float, low: float, high: float) -> Word:
    """Whether all values from ``low`` to ``high`` meet the limit, none does, or some do."""
    all_meet, none_meets = _DECISIONS[comparison](limit, low, high)
    return PASS if all_meet else FAIL if none_meets else INCONCLUSIVE


_DECISIONS: Final[Mapping[str, Callable[[float, float, float], tuple[bool, bool]]]] = MappingProxyType(
    {
        ">=": lambda limit, low, high: (low >= limit, high < limit),
        ">": lambda limit, low, high: (low > limit, high <= limit),
        "<=": lambda limit, low, high: (high <= limit, low > limit),
        "<": lambda limit, low, high: (high < limit, low >= limit),
        "==": lambda limit, low, high: (low == high == limit, not low <= limit <= high),
        "!=": lambda limit, low, high: (not low <= limit <= high, low == high == limit),
    }
)

_PERCENTILE_AS_SHARE: Final = MappingProxyType({"<": ">=", "<=": ">=", ">": "<", ">=": "<"})


def _as_share(gate: Gate) -> tuple[str, float]:
    """The comparison and limit of what was measured: of a percentile, those of its share."""
    expression = gate.expression
    if expression.percent is None:
        return expression.comparison, expression.limit.value
    return _PERCENTILE_AS_SHARE[expression.comparison], float(f"{expression.percent / 100:.15g}")


def _too_few(comparison: str, limit: float, measured: Measured) -> str:
    if measured.effective is None:
        return "too short a time to say" if not measured.exact else ""
    needed = 0
    if comparison.startswith(">") and 0 < limit < 1:
        needed = smallest_samples(limit)
    elif comparison.startswith("<") and 0 < limit < 1:
        needed = smallest_samples(1.0 - limit)
    if measured.effective < needed:
        return (
            f"it takes {needed:,} independent samples at least, and these are worth {measured.effective:,.0f}"
        )
    return "the interval holds the limit: more samples can tell"


def _stopped(result: GateResult, stopped_by: Mapping[str, Any] | None) -> GateResult:
    """A gate that stopped the run has failed, whatever the samples of the run's last moments add."""
    gate = result.gate
    if not stopped_by or not gate.abort:
        return result
    if (stopped_by.get("name"), stopped_by.get("expr")) != (gate.name, gate.expression.text):
        return result
    at_s, actual = stopped_by.get("at_s"), stopped_by.get("actual")
    return replace(result, verdict=FAIL, note=f"it stopped the run after {at_s} s, at {actual}")


def _unit(quantity: Quantity) -> str:
    return f"{quantity.dimension}/{quantity.per}" if quantity.per else quantity.dimension


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
