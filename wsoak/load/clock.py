"""Clock: how far a server's clock is ahead of ours, from what it says of its time over HTTP.

    our clock      sent ──────────────┬────────────── received
                      ╲               │ midpoint    ╱
                       ╲──────────► time ──────────╱          the server's clock

    offset = time − midpoint,     uncertainty = (received − sent) / 2

The server read its clock at some moment between our two (F. Cristian, "Probabilistic clock synchronization",
Distributed Computing 3, 1989, section 4), so the true offset cannot lie further away than half the round
trip. Of several readings the one with the shortest round trip is the best (RFC 5905 section 10, the
clock filter); as two clocks part by some millionths, an estimate grows less certain with its age (the same,
PHI).

"Our clock" is the recorder's: Unix time, of which a step of the machine's clock during the run is no part.
"""

from __future__ import annotations

import http.client
import json
import logging
import socket
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import gevent
from gevent.event import Event

from wsoak.ledger.names import CLOCK, CLOCK_OFFSET, CLOCK_UNCERTAINTY, CLOCK_UNKNOWN
from wsoak.ledger.recorder import Recorder
from wsoak.ledger.units import NS_PER_MS, NS_PER_US, s_to_ns
from wsoak.wire.addresses import NO_PINS, Pinned, pin_of
from wsoak.wire.endpoint import Endpoint

log = logging.getLogger(__name__)

READINGS: Final = 8
READ_TIMEOUT_S: Final = 3.0
"""For all the readings of an estimate, and how long the first to need it waits for it."""
MAX_BODY_BYTES: Final = 1 << 16
FIRST_REFRESH_S: Final = 10.0
LAST_REFRESH_S: Final = 320.0
"""A new estimate after 10 s, as the first is made while all users begin, then each time twice as late."""
DRIFT: Final = 15e-6
"""What a quartz may be off, seconds a second (RFC 5905, PHI)."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the server's clock, in Unix nanoseconds: ours before and after, and its own."""

    sent_ns: int
    server_ns: int
    received_ns: int


@dataclass(frozen=True, slots=True)
class Offset:
    """How far the server's clock is ahead of ours, and how far that may be off; ``at_ns`` on our clock."""

    offset_ns: int
    uncertainty_ns: int
    at_ns: int

    def uncertainty_at(self, now_ns: int) -> int:
        """How far it may be off later, in nanoseconds."""
        return self.uncertainty_ns + round(DRIFT * max(0, now_ns - self.at_ns))


def offset_of(reading: Reading) -> Offset:
    """The offset that one reading shows."""
    trip_ns = reading.received_ns - reading.sent_ns
    midpoint_ns = reading.sent_ns + trip_ns // 2
    # rounded up: the bound holds to the nanosecond
    return Offset(reading.server_ns - midpoint_ns, (trip_ns + 1) // 2, reading.received_ns)


def best(offsets: Iterable[Offset], now_ns: int) -> Offset | None:
    """The most certain one by now; ``None`` of none."""
    return min(offsets, key=lambda offset: offset.uncertainty_at(now_ns), default=None)


def agrees(old: Offset, new: Offset) -> bool:
    """Whether one clock can have shown both; otherwise it was set in between, and the old one is past."""
    reach_ns = old.uncertainty_at(new.at_ns) + new.uncertainty_ns
    return abs(new.offset_ns - old.offset_ns) <= reach_ns


def unix_ns_of(stamp: object) -> int | None:
    """Unix nanoseconds of an ISO 8601 time, UTC where it names no zone; ``None`` where it is none."""
    if not isinstance(stamp, str):
        return None
    try:
        moment = datetime.fromisoformat(stamp)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        # not timestamp(): a float holds no microsecond of this century for sure
        return (moment - _EPOCH) // _MICROSECOND * NS_PER_US
    except (ValueError, OverflowError):
        return None


class Clocks:
    """The servers' clocks beside one recorder's: an estimate a server, made when it is first needed.

    Args:
        tls: for https.
        pins: addresses of hosts that are not looked up.
    """

    def __init__(self, recorder: Recorder, tls: ssl.SSLContext, pins: Pinned = NO_PINS) -> None:
        self._recorder = recorder
        self._tls = tls
        self._pins = pins
        self._clocks: dict[tuple[Endpoint, str], _Clock] = {}

    def offset(self, endpoint: Endpoint, path: str | None) -> Offset | None:
        """The estimate for a server; the first to ask wait for it, about ``READ_TIMEOUT_S`` at the most.

        Args:
            path: answers a JSON object whose ``time`` is the server's; ``None``: there is no such path.

        Returns:
            the estimate, or ``None`` where the server does not say.
        """
        key = (endpoint, path or "")
        clock = self._clocks.get(key)
        if clock is None:
            clock = self._clocks[key] = _Clock(self._recorder, self._tls, self._pins, endpoint, path)
        return clock.look()

    def doubt(self, endpoint: Endpoint, path: str | None) -> None:
        """Say that a time-stamp does not fit the estimate: it is made anew soon."""
        clock = self._clocks.get((endpoint, path or ""))
        if clock is not None:
            clock.doubt()

    def stop(self) -> None:
        """Estimate no more."""
        for clock in self._clocks.values():
            clock.stop()


class _Clock:
    """One server's clock."""

    def __init__(
        self, recorder: Recorder, tls: ssl.SSLContext, pins: Pinned, endpoint: Endpoint, path: str | None
    ) -> None:
        self._recorder = recorder
        self._tls = tls
        self._pins = pins
        self._endpoint = endpoint
        self._path = path
        self._offset: Offset | None = None
        self._interval_ns = s_to_ns(FIRST_REFRESH_S)
        self._due_ns = 0
        self._known = Event()
        self._estimating: gevent.Greenlet | None = None
        self._stopped = False

    def look(self) -> Offset | None:
        if self._recorder.clock_ns() >= self._due_ns:
            self._refresh()
        # bounded, as the estimate is
        self._known.wait()
        return self._offset

    def doubt(self) -> None:
        soon_ns = self._recorder.clock_ns() + s_to_ns(FIRST_REFRESH_S)
        self._due_ns = min(self._due_ns, soon_ns)

    def stop(self) -> None:
        self._stopped = True
        self._known.set()
        if self._estimating is not None:
            self._estimating.kill()

    def _refresh(self) -> None:
        if self._stopped or self._estimating:
            return
        self._due_ns = self._recorder.clock_ns() + self._interval_ns
        self._interval_ns = min(2 * self._interval_ns, s_to_ns(LAST_REFRESH_S))
        self._estimating = gevent.spawn(self._estimate)
        self._estimating.rawlink(lambda _: self._known.set())

    def _estimate(self) -> None:
        readings: list[Reading] = []
        if self._path is not None:
            try:
                with gevent.Timeout(READ_TIMEOUT_S, TimeoutError):
                    for reading in read(self._endpoint, self._path, self._tls, self._recorder, self._pins):
                        # one by one: what was read before a time-out counts
                        readings.append(reading)  # noqa: PERF402
            except (OSError, ValueError, http.client.HTTPException) as error:
                log.debug("The clock of %s: %s", self._endpoint.authority, type(error).__name__)
        now_ns = self._recorder.unix_ns(self._recorder.clock_ns())
        self._keep(best(map(offset_of, readings), now_ns), now_ns)

    def _keep(self, new: Offset | None, now_ns: int) -> None:
        old = self._offset
        if new is None:
            if old is None:
                self._recorder.gauge(CLOCK, CLOCK_UNKNOWN, 1.0)
                log.warning(
                    "%s does not say what time it has: delivery times take its clock for ours.",
                    self._endpoint.authority,
                )
            return
        if old is not None and agrees(old, new):
            new = best((old, new), now_ns) or new
        self._offset = new
        self._recorder.gauge(CLOCK, CLOCK_OFFSET, new.offset_ns / NS_PER_MS)
        self._recorder.gauge(CLOCK, CLOCK_UNCERTAINTY, new.uncertainty_at(now_ns) / NS_PER_MS)


def read(
    endpoint: Endpoint, path: str, tls: ssl.SSLContext, recorder: Recorder, pins: Pinned = NO_PINS
) -> Iterator[Reading]:
    """Look at a server's clock ``READINGS`` times, over one connection; fewer where it does not say.

    Args:
        pins: addresses of hosts that are not looked up.

    Raises:
        OSError, ValueError, http.client.HTTPException: when the server cannot be asked, or answers otherwise.
    """
    connection = (
        http.client.HTTPSConnection(endpoint.server_name, endpoint.port, context=tls)
        if endpoint.secure
        else http.client.HTTPConnection(endpoint.server_name, endpoint.port)
    )
    pin = pin_of(pins, endpoint.host, endpoint.port)
    address = (pin[0] if pin else endpoint.host, endpoint.port)
    # the name is for the certificate; where to connect to is another matter
    connection._create_connection = lambda _, *more: socket.create_connection(address, *more)  # type: ignore[attr-defined]
    headers = dict(endpoint.headers([("Accept", "application/json"), ("Host", endpoint.authority)]))
    try:
        # apart: the way there and back is to be short
        connection.connect()
        for _ in range(READINGS):
            sent_ns = recorder.clock_ns()
            connection.request("GET", endpoint.http_path(path), headers=headers)
            answer = connection.getresponse()
            received_ns = recorder.clock_ns()
            body = answer.read(MAX_BODY_BYTES)
            server_ns = _time_in(body) if 200 <= answer.status < 300 else None
            if server_ns is None or not answer.isclosed():
                return
            yield Reading(recorder.unix_ns(sent_ns), server_ns, recorder.unix_ns(received_ns))
    finally:
        connection.close()


def _time_in(body: bytes) -> int | None:
    try:
        value = json.loads(body)
    except RecursionError:
        return None
    return unix_ns_of(value.get("time")) if isinstance(value, dict) else None
