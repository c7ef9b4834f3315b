"""Delta: what one recorder has recorded since it was last asked.

Deltas are the only way out of a recorder. They travel from worker to master as plain values (msgpack
takes nothing else), are appended to the run directory, and are added into the books. Adding is
commutative and associative, so it does not matter how a run's events were split over recorders.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any, Self

from wsoak.ledger.histogram import Histogram
from wsoak.ledger.records import ConnectionRecord, Gauge, Observation, UserError
from wsoak.ledger.timeline import COUNTERS, CounterRow

KINDS = (
    "response",
    "service",
    "lag",
    "ping",
    "delivery",
    "handshake",
    "failed_handshake",
    "resolve",
    "tcp",
    "tls",
    "upgrade",
    "hello",
    "usable",
    "closing",
    "hub",
    "metric",
    "http",
)
"""The kinds of duration.

``response`` from the intended send to the receipt, ``service`` from the actual send, ``lag`` between the two
sends; ``ping`` a protocol ping's round trip; ``delivery`` a push's way by the server's stamp; ``handshake``
a whole successful opening, and its phases by their own names; ``usable`` from the start of an attempt to its
first expected message; ``failed_handshake`` an opening until it had failed; ``closing`` from the first close
frame, sent or received, to the connection's end, where there was one; ``hub`` how late the generator's own
event loop was; ``metric`` the scenario's own; ``http`` a whole HTTP call, whatever came of it, as Locust's
clients time it.
"""

LatencyKey = tuple[int, str, str]
"""Unix second, kind, name."""


def layout() -> int:
    """A number that changes when the counters or the columns do; plain rows carry no names."""
    columns = (COUNTERS, ConnectionRecord.COLUMNS, Gauge.COLUMNS, Observation.COLUMNS, UserError.COLUMNS)
    return zlib.crc32(repr(columns).encode())


@dataclass(slots=True)
class Delta:
    """Timeline rows, histograms by second, ended connections, readings, observations, user code's errors.

    ``seq`` counts a worker's deltas from 0, so that a missing or repeated one is seen.
    """

    worker: str
    seq: int
    timeline: dict[tuple[int, str], CounterRow] = field(default_factory=dict)
    latency: dict[LatencyKey, Histogram] = field(default_factory=dict)
    connections: list[ConnectionRecord] = field(default_factory=list)
    gauges: list[Gauge] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    user_errors: list[UserError] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether nothing at all was recorded."""
        return not (
            self.timeline
            or self.latency
            or self.connections
            or self.gauges
            or self.observations
            or self.user_errors
        )

    def to_plain(self) -> dict[str, Any]:
        """The delta as dicts, lists, strings, bytes and numbers, fit for msgpack."""
        return {
            "layout": layout(),
            "worker": _pack(self.worker),
            "seq": self.seq,
            "timeline": [[second, _pack(name), *row] for (second, name), row in self.timeline.items()],
            "latency": [
                [second, kind, _pack(name), histogram.under, histogram.over, histogram.encode()]
                for (second, kind, name), histogram in self.latency.items()
            ],
            "connections": [_pack_row(record.as_row()) for record in self.connections],
            "gauges": [_pack_row(gauge.as_row()) for gauge in self.gauges],
            "observations": [_pack_row(observation.as_row()) for observation in self.observations],
            "user_errors": [_pack_row(error.as_row()) for error in self.user_errors],
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """The delta that ``to_plain`` gave ``plain``.

        Raises:
            ValueError: when it comes from a wsoak whose counters or columns differ, or is damaged.
        """
        if plain.get("layout") != layout():
            raise ValueError(
                "the delta comes from another version of wsoak; run the same one on every worker"
            )
        try:
            return cls(
                worker=_unpack(plain["worker"]),
                seq=plain["seq"],
                timeline={(row[0], _unpack(row[1])): _counters(row[2:]) for row in plain["timeline"]},
                latency={
                    (second, kind, _unpack(name)): Histogram.decode(encoded, under, over)
                    for second, kind, name, under, over, encoded in plain["latency"]
                },
                connections=[ConnectionRecord.from_row(_unpack_row(row)) for row in plain["connections"]],
                gauges=[Gauge.from_row(_unpack_row(row)) for row in plain["gauges"]],
                observations=[Observation.from_row(_unpack_row(row)) for row in plain["observations"]],
                user_errors=[UserError.from_row(_unpack_row(row)) for row in plain["user_errors"]],
            )
        except (LookupError, TypeError) as error:
            raise ValueError(f"the delta is damaged: {error!r}") from error


# msgpack takes UTF-8 only, and a server's JSON can hold half a surrogate pair: such a text travels as bytes


def _pack(text: str) -> str | bytes:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def _unpack(text: str | bytes) -> str:
    return text.decode("utf-8", "surrogatepass") if isinstance(text, bytes) else text


def _pack_row(row: list[Any]) -> list[Any]:
    return [_pack(value) if type(value) is str and not value.isascii() else value for value in row]


def _unpack_row(row: list[Any]) -> list[Any]:
    return [_unpack(value) if type(value) is bytes else value for value in row]


def _counters(row: list[float]) -> CounterRow:
    if len(row) != len(COUNTERS):
        raise ValueError(f"the delta is damaged: {len(row)} counters, wanted {len(COUNTERS)}")
    return tuple(row)
