"""HTTP in the books: Locust's ``request`` event of each HTTP call, counted and timed.

Log-ins and API calls of ``WebSocketUser``, and the calls of Locust's own ``HttpUser`` and ``FastHttpUser``,
are counted under Locust's method and name, such as ``POST /login``. Locust's clients time whole calls: there
are no phases.
"""

from __future__ import annotations

from typing import Final

from wsoak.ledger.recorder import Recorder
from wsoak.ledger.timeline import http_name
from wsoak.ledger.units import NS_PER_MS

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
"""RFC 9110 section 9.3 and RFC 5789. Events of other types are no HTTP, such as a user's own client's."""


def count_call(
    recorder: Recorder,
    method: str,
    name: str,
    response_time_ms: float | None,
    exception: BaseException | str | None,
) -> None:
    """Count one event of Locust's, unless it is no HTTP call; with its duration where it has one."""
    if method not in METHODS:
        return
    recorder.tick(recorder.clock_ns())
    series = recorder.series(http_name(method, name))
    if exception:
        series.http_failed += 1
    else:
        series.http_ok += 1
    if response_time_ms is not None:
        series.http_ns.append(round(response_time_ms * NS_PER_MS))
