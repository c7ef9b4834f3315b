"""Latency limit: the response time that matters to a run's user, of which the generator may add a tenth.

It is what ``--latency-limit`` says; else the least that a gate asks for, or a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from wsoak.judge.expression import Expression
from wsoak.judge.gates import Gate
from wsoak.judge.terminal import safe

OPTION: Final = "--latency-limit"
DEFAULT: Final = "default"

DEFAULT_MS: Final = 1000.0
"""The latency limit where neither the option nor a gate names one."""
LEAST_MS: Final = 100.0
"""Gates make it no less than this: a tenth of it is what an event loop may run late on an idle machine."""
LONGEST_NAME: Final = 60

KINDS: Final = ("response", "service", "handshake")
_BELOW: Final = ("<", "<=")
_ABOVE: Final = (">", ">=")


@dataclass(frozen=True, slots=True)
class LatencyLimit:
    """The limit in milliseconds, and who named it: the option, a gate, or nobody (``DEFAULT``)."""

    ms: float
    of: str

    def to_json(self) -> dict[str, Any]:
        """What ``run.json`` says of it."""
        return {"latency_limit_ms": self.ms, "latency_limit_of": self.of}


def latency_limit(given_ms: float, gates: Sequence[Gate]) -> LatencyLimit:
    """The latency limit of a run.

    Args:
        given_ms: what ``--latency-limit`` says; 0 where it was not given.
    """
    if given_ms:
        return LatencyLimit(given_ms, OPTION)
    asked = [(limit_ms, gate.name) for gate in gates if (limit_ms := asked_ms(gate.expression)) is not None]
    least_ms, name = min(asked, default=(DEFAULT_MS, ""))
    if least_ms >= DEFAULT_MS:
        return LatencyLimit(DEFAULT_MS, DEFAULT)
    of = f'gate "{safe(name, LONGEST_NAME)}"'
    if least_ms < LEAST_MS:
        return LatencyLimit(LEAST_MS, f"{of}, but no less than {LEAST_MS:.0f} ms")
    return LatencyLimit(least_ms, of)


def asked_ms(expression: Expression) -> float | None:
    """The time in ms that an expression gives answers or openings at most; ``None`` where it gives none."""
    if expression.figure.partition(".")[0] not in KINDS:
        return None
    bound, upper = expression.limit, _BELOW
    if expression.within is not None:
        bound, upper = expression.within, _ABOVE
    if bound.dimension != "seconds" or bound.per or expression.comparison not in upper:
        return None
    return 1000 * bound.value


def with_gates(header: Mapping[str, Any], gates: Sequence[Gate]) -> Mapping[str, Any]:
    """What ``run.json`` says, with the latency limit that it would have had with these gates.

    With the run's own gates it stays as it is, and so does what the option said.
    """
    found = latency_limit(0.0, gates)
    told_ms, of = header.get("latency_limit_ms"), header.get("latency_limit_of")
    if of in (None, OPTION) or not isinstance(told_ms, int | float) or told_ms <= found.ms:
        return header
    return {**header, **found.to_json()}
