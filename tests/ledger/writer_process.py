"""Programs that write a run in a process of their own; tests run them with ``-m``.

``writer_process append DIR``  appends for ever; prints how many connections are on disk after each delta
``writer_process fill DIR``    appends until the disk refuses, then lets it go on; prints JSON lines
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.ledger.samples import connection
from wsoak.ledger.delta import Delta
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.records import Gauge, Observation
from wsoak.ledger.rundir import RunWriter, UnwritableRun
from wsoak.ledger.timeline import COUNTERS

STARTED_AT = 1_700_000_000
PER_DELTA = 20


def deltas() -> Iterator[Delta]:
    """A delta a second, for ever."""
    second = STARTED_AT
    while True:
        yield Delta(
            worker="local",
            seq=second - STARTED_AT,
            timeline={(second, "dialogue"): (1,) * len(COUNTERS)},
            latency={(second, "response", "dialogue"): Histogram.of([5_000, 7_000_000, 10**12])},
            connections=[connection(id=f"0.{second}.{count}", reason="x\ny") for count in range(PER_DELTA)],
            gauges=[Gauge(float(second), "local", "generator", "cpu", 0.5)],
            observations=[Observation(float(second), "local", "history-lost", "dialogue", 0, 9, "")],
        )
        second += 1


def append(path: Path) -> None:
    """Write until killed."""
    writer = RunWriter(path, {"started_at": STARTED_AT})
    for count, delta in enumerate(deltas(), 1):
        writer.append(delta)
        print(count * PER_DELTA, flush=True)


def fill(path: Path, limit_bytes: int = 30_000) -> None:
    """Write until files may not grow, try ``update`` then, write on when they may, and end."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = RunWriter(path, {"started_at": STARTED_AT})
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    written = deltas()
    whole = 0
    try:
        for delta in written:
            writer.append(delta)
            whole += 1
    except UnwritableRun as error:
        print(json.dumps({"append": str(error), "deltas": whole}))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        writer.update(note="x")
    except UnwritableRun as error:
        print(json.dumps({"update": str(error)}))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    writer.append(next(written))
    writer.finish(ended_at=STARTED_AT + 99)
    print(json.dumps({"finished": True}))


if __name__ == "__main__":
    {"append": append, "fill": fill}[sys.argv[1]](Path(sys.argv[2]))
