"""Samples: hostile texts, records and deltas for the ledger's tests."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st

from wsoak.ledger.delta import KINDS, Delta
from wsoak.ledger.histogram import HIGHEST_NS, Histogram
from wsoak.ledger.outcomes import OUTCOMES, rejected
from wsoak.ledger.records import ConnectionRecord, Gauge, Observation, UserError
from wsoak.ledger.rundir import COLUMN_TYPES
from wsoak.ledger.timeline import COUNTERS, CounterRow

HOSTILE_TEXTS: Final = (
    "",
    " ",
    '"',
    '""',
    '"quoted"',
    "'; DROP TABLE connections; --",
    "a,b,,c",
    "two\nlines",
    "carriage\rreturn",
    "\r\n",
    "\x00",
    "\x1b[2J\x1b]0;owned\x07",
    "\x7f\x85\u2028\u2029",
    "\ud800",
    "half \udc80 a pair",
    "\ude00\ud83d",
    "你好，世界",
    "😀" * 3,
    "\ufeffbom",
    "null",
    "true",
    "[1, 2]",
    "\\u0000\\",
    "#[Outside: 1,2]",
    "Tag=response:x,1.000,1.000,1.000,HISTFAAA",
    "a:b:c",
    "%00%2C",
    "=1+1",
    "x" * 200_000,
)


def joined(text: str) -> str:
    """The text, with halves of a pair that stand side by side joined to the character that they are."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


TEXTS: Final = st.one_of(
    st.sampled_from([text for text in HOSTILE_TEXTS if len(text) < 100]),
    st.text(st.characters(), max_size=20).map(joined),
)
"""Any text, lone surrogates and control characters included."""

DYADIC: Final = st.integers(-(2**20), 2**20).map(lambda eighths: eighths / 8)
"""Floats whose sums are exact in any order."""

_OUTCOMES: Final = st.sampled_from([*OUTCOMES, rejected(401), rejected(503)])
_INITIATORS: Final = st.sampled_from(["server", "client", "network", None])
_REALS: Final = st.floats(allow_nan=False)
_DURATIONS_MS: Final = st.none() | st.integers(0, 10**8).map(lambda us: us / 1000)
_WHOLE: Final = st.integers(0, 2**53)

_BY_COLUMN: Final[dict[str, st.SearchStrategy[Any]]] = {
    "outcome": _OUTCOMES,
    "initiator": _INITIATORS,
    "started_at": st.integers(0, 2**41).map(lambda us: us / 2**10),
    "age_s": _DURATIONS_MS,
    "idle_s": _DURATIONS_MS,
    "quiet_s": _DURATIONS_MS,
    "waited_s": _DURATIONS_MS,
    "attempt": st.integers(0, 5),
    "opening": st.none() | st.integers(1, 2**20),
    **{f"{phase}_ms": _DURATIONS_MS for phase in ("resolve", "tcp", "tls", "upgrade", "hello", "usable")},
    **dict.fromkeys(
        ("status", "code", "sent_code", "received_code", "errno"), st.none() | st.integers(0, 65535)
    ),
    **dict.fromkeys(("messages_sent", "messages_received", "bytes_sent", "bytes_received"), _WHOLE),
}


def _value_of(column: str) -> st.SearchStrategy[Any]:
    if column in _BY_COLUMN:
        return _BY_COLUMN[column]
    return st.none() | st.booleans() if COLUMN_TYPES.get(column) is bool else TEXTS


CONNECTIONS: Final = st.tuples(*map(_value_of, ConnectionRecord.COLUMNS)).map(
    lambda row: ConnectionRecord(*row)
)
GAUGES: Final = st.builds(Gauge, at=_REALS, worker=TEXTS, source=TEXTS, name=TEXTS, value=DYADIC)
OBSERVATIONS: Final = st.builds(
    Observation, at=_REALS, worker=TEXTS, id=TEXTS, name=TEXTS, count=_WHOLE, of=_WHOLE, text=TEXTS
)
USER_ERRORS: Final = st.builds(
    UserError, at=_REALS, worker=TEXTS, user=TEXTS, where=TEXTS, error=TEXTS, place=TEXTS, count=_WHOLE
)
COUNTER_ROWS: Final[st.SearchStrategy[CounterRow]] = st.tuples(
    *[DYADIC if counter == "metric_sum" else st.integers(0, 2**40) for counter in COUNTERS]
)
DURATIONS_NS: Final = st.integers(-1_000, 4 * HIGHEST_NS) | st.integers(0, 3_000_000)
HISTOGRAMS: Final = st.lists(DURATIONS_NS, max_size=100).map(Histogram.of)
SECONDS: Final = st.integers(1_700_000_000, 1_700_000_003)


@st.composite
def deltas(draw: st.DrawFn) -> Delta:
    """A delta of few but arbitrary parts."""
    return Delta(
        worker=draw(TEXTS),
        seq=draw(st.integers(0, 10**6)),
        timeline=draw(st.dictionaries(st.tuples(SECONDS, TEXTS), COUNTER_ROWS, max_size=3)),
        latency=draw(
            st.dictionaries(st.tuples(SECONDS, st.sampled_from(KINDS), TEXTS), HISTOGRAMS, max_size=3)
        ),
        connections=draw(st.lists(CONNECTIONS, max_size=3)),
        gauges=draw(st.lists(GAUGES, max_size=3)),
        observations=draw(st.lists(OBSERVATIONS, max_size=3)),
        user_errors=draw(st.lists(USER_ERRORS, max_size=3)),
    )


def connection(**changes: Any) -> ConnectionRecord:
    """An unremarkable record, with these fields changed."""
    row: dict[str, Any] = dict.fromkeys(ConnectionRecord.COLUMNS)
    row |= {column: "" for column in row if column not in COLUMN_TYPES and column != "initiator"}
    row |= dict.fromkeys(("messages_sent", "messages_received", "bytes_sent", "bytes_received"), 7)
    row |= {"id": "0.1", "worker": "local", "name": "dialogue", "path": "/ws?token=***", "attempt": 0}
    row |= {"started_at": 1_700_000_000.25, "outcome": "open", "status": 101, "upgrade_ms": 1.5}
    row |= {"age_s": 2.0, "code": 1000, "sent_code": 1000, "received_code": 1000, "reason": "bye"}
    row |= {"initiator": "server", "clean": True, "usable": True, "idle_s": 0.5}
    return ConnectionRecord(**(row | changes))
