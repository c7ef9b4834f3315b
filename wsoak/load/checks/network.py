"""Network: look-up, connection, TLS and health of the server that a user class goes to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import gevent

from wsoak.judge.words import duration
from wsoak.ledger import outcomes
from wsoak.ledger.units import s_to_ns
from wsoak.load.checks.steps import Step
from wsoak.load.clock import READ_TIMEOUT_S
from wsoak.load.options import REFERENCE
from wsoak.wire.connection import Connection
from wsoak.wire.dial import Alarm, Opening
from wsoak.wire.endpoint import Endpoint, mask_query
from wsoak.wire.proxy import passed_by

if TYPE_CHECKING:
    from wsoak.load.user import WebSocketUser

CONNECT_S: Final = 10.0
HEALTH_S: Final = 10.0
"""At most so long for each, whatever the time-outs of the load are."""

_WORDS: Final = {"resolve": "look-up", "tcp": "connect", "tls": "TLS"}


def network_steps(user: WebSocketUser) -> Iterator[Step]:
    """One after the other, until one fails; that one is in the books of the user's generator, as in a run."""
    endpoint, scenario = user.endpoint, type(user).__name__
    passed = passed_by(endpoint, os.environ) if user.options.client != REFERENCE else ""
    if passed:
        yield Step(scenario, "proxy", "warning", passed)
    opening = _connect(user, endpoint)
    for phase, took_ns in opening.phases_ns.items():
        yield Step(scenario, _WORDS[phase], "ok", f"{endpoint.authority}, {duration(took_ns)}")
    if not opening.is_open:
        finding = _finding_of(opening)
        text = f"{endpoint.http_url} cannot be reached: {opening.error}"
        if finding == opening.outcome:
            user.generator.recorder.observe(finding, scenario, 1, 1, text)
        yield Step(scenario, _WORDS[opening.phase], "failed", text, finding)
    elif user.health_path is not None:
        yield _health(user, endpoint, scenario, user.health_path)


def _finding_of(opening: Opening) -> str:
    if outcomes.whose(opening.outcome) == "generator":
        # these findings have the names of their outcomes
        return opening.outcome
    return "tls-failed" if opening.phase == "tls" else "server-unreachable"


def _connect(user: WebSocketUser, endpoint: Endpoint) -> Opening:
    """Connect, and go; a failure is in the books then."""
    generator = user.generator
    client = generator.client
    timeout_ns = s_to_ns(min(client.settings.handshake_timeout_s, CONNECT_S))

    def connected(opening: Opening, _: Alarm) -> None:
        opening.outcome = outcomes.OPEN

    opening = client.dialer.connect(endpoint, timeout_ns, connected)
    if opening.is_open:
        opening.drop()
    else:
        recorder, name = generator.recorder, type(user).__name__
        failed = Connection(client, name, mask_query(endpoint.resource("")), opening, None)
        recorder.opening_ended(recorder.series(name), opening.outcome)
        recorder.connection_ended(failed.record(recorder.clock_ns()))
    return opening


def _health(user: WebSocketUser, endpoint: Endpoint, scenario: str, path: str) -> Step:
    recorder = user.generator.recorder
    error = "no answer in time"
    started_ns = recorder.clock_ns()
    with gevent.Timeout(HEALTH_S, False):
        error = user.api("GET", path).error
    took_ns = recorder.clock_ns() - started_ns
    if error:
        text = f"GET {endpoint.http_path(path)}: {error}"
        recorder.observe("health-failed", scenario, 1, 1, text)
        return Step(scenario, "health", "failed", text, "health-failed")
    return Step(scenario, "health", "ok", f"{path}, {duration(took_ns)}, {_clock(user, endpoint, path)}")


def _clock(user: WebSocketUser, endpoint: Endpoint, path: str) -> str:
    recorder = user.generator.recorder
    offset = None
    with gevent.Timeout(READ_TIMEOUT_S, False):
        offset = user.generator.clocks.offset(endpoint, path)
    if offset is None:
        return "does not say what time it has"
    now_ns = recorder.unix_ns(recorder.clock_ns())
    sign = "ahead of" if offset.offset_ns >= 0 else "behind"
    ahead, about = duration(abs(offset.offset_ns)), duration(offset.uncertainty_at(now_ns))
    return f"clock {ahead} {sign} ours (± {about})"
