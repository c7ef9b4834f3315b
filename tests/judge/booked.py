"""Books made by hand: connection records with few fields given, counted as a recorder would."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from wsoak.ledger.books import Books
from wsoak.ledger.outcomes import CANCELLED, OPEN, RUN_ENDED, observed_code, whose
from wsoak.ledger.records import ConnectionRecord, Gauge, Observation
from wsoak.ledger.timeline import COUNTERS, CounterRow

START_S: Final = 1_700_000_000

_ATTEMPT: Final = ConnectionRecord(
    id="0.1",
    worker="0",
    name="dialogue",
    path="/v1/dialogues/ws/7?token=***",
    started_at=START_S,
    outcome=OPEN,
    phase="",
    status=101,
    error="",
    body="",
    resolve_ms=None,
    tcp_ms=0.3,
    tls_ms=None,
    upgrade_ms=2.0,
    hello_ms=None,
    usable_ms=9.0,
    usable=True,
    attempt=0,
    age_s=10.0,
    code=1000,
    sent_code=1000,
    received_code=1000,
    reason="",
    initiator="client",
    clean=True,
    detail="",
    errno=None,
    state="talking",
    server_error="",
    idle_s=0.5,
    messages_sent=4,
    messages_received=4,
    bytes_sent=100,
    bytes_received=200,
)


def healthy(at_s: float = 0.0, **fields: Any) -> ConnectionRecord:
    """A socket that the run's end closed."""
    return _ATTEMPT._replace(started_at=START_S + at_s, **{"reason": RUN_ENDED, **fields})


def failed(outcome: str, phase: str = "upgrade", at_s: float = 0.0, **fields: Any) -> ConnectionRecord:
    """An attempt that did not open."""
    nothing: dict[str, Any] = {
        **dict.fromkeys(("upgrade_ms", "usable_ms", "usable", "age_s", "code", "sent_code"), None),
        **dict.fromkeys(("received_code", "initiator", "clean", "idle_s", "status"), None),
        **dict.fromkeys(("messages_sent", "messages_received", "bytes_sent", "bytes_received"), 0),
        "state": "",
    }
    wanted = {"outcome": outcome, "phase": phase, "started_at": START_S + at_s, **fields}
    return _ATTEMPT._replace(**{**nothing, **wanted})


def closed(code: int | None, at_s: float = 0.0, **fields: Any) -> ConnectionRecord:
    """A socket that the server closed with this code (``None``: a close frame without one)."""
    wanted = {"code": observed_code(True, code), "received_code": code, "sent_code": code}
    more = {"initiator": "server", "started_at": START_S + at_s, **fields}
    return _ATTEMPT._replace(**{**wanted, **more})


def broken(detail: str, at_s: float = 0.0, **fields: Any) -> ConnectionRecord:
    """A socket that ended without a close frame."""
    wanted = {"code": 1006, "received_code": None, "sent_code": None, "initiator": "network"}
    more = {"clean": False, "detail": detail, "started_at": START_S + at_s, **fields}
    return _ATTEMPT._replace(**{**wanted, **more})


def row(**counters: float) -> CounterRow:
    """A timeline row with these counters, and zeros."""
    return tuple(counters.get(counter, 0) for counter in COUNTERS)


def books(
    records: Iterable[ConnectionRecord] = (),
    *,
    observed: Iterable[tuple[str, int, int]] = (),
    gauges: Iterable[tuple[str, float]] = (),
    name: str = "dialogue",
) -> Books:
    """Books of these attempts, observations ``(id, count, of)`` and generator's gauges ``(name, value)``."""
    made = Books()
    for record in records:
        second = int(record.started_at)
        if record.outcome == OPEN:
            made.add_row(second, record.name, row(opened=1, usable=int(record.usable is True)))
            made.add_row(int(record.ended_at), record.name, row(closed=1))
        else:
            counter = {"generator": "generator_failed", "nobody": "cancelled"}
            made.add_row(second, record.name, row(**{counter.get(whose(record.outcome), "failed"): 1}))
        made.add_connection(record)
    for id_, count, of in observed:
        made.add_observation(Observation(START_S + 5.0, "0", id_, name, count, of, f"{id_} was seen"))
    for gauge, value in gauges:
        made.add_gauge(Gauge(START_S + 1.0, "0", "generator", gauge, value))
    return made


__all__ = ["CANCELLED", "START_S", "books", "broken", "closed", "failed", "healthy", "row"]
