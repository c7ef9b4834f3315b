"""Long runs: run directories of minutes, written second by second with known figures, in no time.

A run is what its ``Second`` says at each second; equal arguments give equal files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.analysis.runs import STARTED_AT, attended, header
from wsoak.ledger.delta import Delta
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.records import Gauge
from wsoak.ledger.rundir import RunWriter
from wsoak.ledger.timeline import COUNTERS
from wsoak.ledger.units import NS_PER_MS

NAME: Final = "echo"


@dataclass(frozen=True)
class Second:
    """What one second of a run holds: sockets open, responses and the event loop's lag in ms, and gauges."""

    sockets: int
    responses_ms: Iterable[float] = ()
    timed_out: int = 0
    lags_ms: Iterable[float] = ()
    target: Mapping[str, float] = field(default_factory=dict)
    generator: Mapping[str, float] = field(default_factory=dict)


def written(
    path: Path, seconds: int, at: Callable[[int], Second], ended_by: str = "shape", **fields: Any
) -> Path:
    """A run directory of so many seconds."""
    with under_way(path, seconds, at, ended_by, **fields):
        return path


@contextmanager
def under_way(
    path: Path, seconds: int, at: Callable[[int], Second], ended_by: str = "shape", **fields: Any
) -> Iterator[Path]:
    """The same for a run that goes on for the length of a block."""
    writer = RunWriter(path, header(0, workers=[attended("0", 0)], **fields))
    before = 0
    for second in range(seconds):
        now = at(second)
        writer.append(_delta(second, now, max(0, now.sockets - before)))
        before = now.sockets
    try:
        yield path
    finally:
        writer.finish(ended_at=float(STARTED_AT + seconds), ended_by=ended_by)


def _delta(second: int, now: Second, opened: int) -> Delta:
    unix_s = STARTED_AT + second
    responses = np.asarray(list(now.responses_ms), float)
    row = dict.fromkeys(COUNTERS, 0.0) | {
        "opened": opened,
        "usable": opened,
        "requests": len(responses) + now.timed_out,
        "replies": len(responses),
        "reply_timeouts": now.timed_out,
    }
    histogram = Histogram()
    histogram.record((responses * NS_PER_MS).astype(np.int64))
    mean_s = float(responses.mean()) / 1000 if len(responses) else 0.0
    generator = {
        "cpu_share": 0.2,
        "cpu_saturated": 0.0,
        "users": now.sockets,
        "users_target": now.sockets,
        "open_sockets": now.sockets,
        "in_flight": len(responses) * mean_s,
        "rss_bytes": 80e6,
        "fds": 30 + now.sockets,
        **now.generator,
    }
    at = unix_s + 0.6
    gauges = [Gauge(at, "0", "generator", name, float(value)) for name, value in generator.items()]
    gauges += [Gauge(at, "0", "target", name, float(value)) for name, value in now.target.items()]
    durations = (
        {(unix_s, kind, NAME): histogram for kind in ("response", "service")} if len(responses) else {}
    )
    if len(lags := np.asarray(list(now.lags_ms), float)):
        durations[unix_s, "hub", "0"] = hub = Histogram()
        hub.record((lags * NS_PER_MS).astype(np.int64))
    return Delta("0", second, {(unix_s, NAME): tuple(row.values())}, durations, [], gauges)
