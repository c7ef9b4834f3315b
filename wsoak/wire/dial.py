"""Dial: the I/O of an opening, phase by phase, under one deadline for the whole of it.

    resolve ──► tcp ──► tls ──► upgrade ──► Opening (an open stream, or what went wrong and where)

Nothing that a server or network does raises: it becomes the outcome of the opening.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from gevent import getcurrent

from wsoak.ledger import outcomes
from wsoak.ledger.units import NS_PER_MS
from wsoak.wire.addresses import Address, Known, text_of
from wsoak.wire.bodies import readable
from wsoak.wire.deadlines import Deadlines
from wsoak.wire.endpoint import Endpoint
from wsoak.wire.handshake import (
    DEFAULT_MAX_BODY_BYTES,
    HandshakeResult,
    HeadParser,
    LastUpgrade,
    build_request,
    new_key,
)
from wsoak.wire.headers import Headers, Pairs
from wsoak.wire.race import HEAD_START_NS, OURS, Race, begin_connecting
from wsoak.wire.resolver import Resolver
from wsoak.wire.sources import Sources, SourceUnusable
from wsoak.wire.stream import Stream, TlsStream, open_socket, reason_of

BODY_PATIENCE_NS: Final = 500 * NS_PER_MS
"""How long the body of a rejection is waited for: its status says the outcome already."""

_CONNECT_OUTCOMES: Final = {
    errno.ECONNREFUSED: outcomes.REFUSED,
    errno.ECONNRESET: outcomes.RESET,
    errno.ECONNABORTED: outcomes.RESET,
    errno.EPIPE: outcomes.RESET,
    errno.EADDRNOTAVAIL: outcomes.PORTS_EXHAUSTED,
    errno.EAGAIN: outcomes.PORTS_EXHAUSTED,
    errno.EMFILE: outcomes.DESCRIPTORS_EXHAUSTED,
    errno.ENFILE: outcomes.DESCRIPTORS_EXHAUSTED,
    errno.ENOBUFS: outcomes.DESCRIPTORS_EXHAUSTED,
}


class OutOfTime(BaseException):
    """Thrown into a greenlet at its deadline; never leaves this package."""


@dataclass(slots=True)
class Opening:
    """What became of one attempt to open a socket.

    ``phases_ns`` has the phases that ended well; ``phase`` is the one under way, or the last. ``address`` is
    the IP address that was connected to, or that was tried last. ``stream`` and ``tail`` (what followed the
    response head) are there only when ``outcome`` is ``open``. ``headers`` are the answer's, names in lower
    case.
    """

    started_ns: int
    outcome: str = ""
    phase: str = "resolve"
    phases_ns: dict[str, int] = field(default_factory=dict)
    address: str = ""
    status: int | None = None
    error: str = ""
    body: str = ""
    headers: Pairs = ()
    errno: int | None = None
    subprotocol: str | None = None
    stream: Stream | None = None
    tail: bytes = b""

    @property
    def is_open(self) -> bool:
        """Whether the socket opened."""
        return self.outcome == outcomes.OPEN

    @property
    def duration_ns(self) -> int:
        """The phases that ended well, added up."""
        return sum(self.phases_ns.values())

    def failed(self, outcome: str, error: str = "", number: int | None = None) -> Opening:
        """Say how it failed, and give back what it held."""
        self.outcome = outcome
        self.error = error or (f"{outcome}: {os.strerror(number)}" if number else outcome)
        self.errno = number
        self.drop()
        return self

    def drop(self) -> None:
        """Close the stream, if there is one."""
        if self.stream is not None:
            self.stream.close()
            self.stream = None


@dataclass(frozen=True, slots=True)
class Request:
    """What an opening asks for besides the host: path with query, headers, subprotocols, origin."""

    path: str
    headers: Sequence[tuple[str, str]] = ()
    subprotocols: Sequence[str] = ()
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class Detour:
    """A proxy on the way: its host and port, and how a tunnel through it is opened.

    Attributes:
        words: which proxy it is, for errors.
        open_tunnel: is given the opening, whose stream leads to the proxy; says of it what went wrong.
    """

    host: str
    port: int
    words: str
    open_tunnel: Callable[[Opening], None]


class Dialer:
    """Opens sockets to one endpoint after another, with one TLS context and one look-up a name.

    Args:
        deadlines: of the hub that the calling greenlets run on.
        tls: the context for ``wss``; one for all, as building one reads the whole CA file.
        source_addresses: local addresses to bind to in turn; each gives another 28,000 ports. A socket binds
            to those of its own family alone.
        resolver: gives the addresses of names; one of its own unless given.
        detour_of: the proxy on the way to an endpoint, where there is one.
    """

    def __init__(
        self,
        deadlines: Deadlines,
        tls: ssl.SSLContext | None = None,
        source_addresses: Sequence[str] = (),
        resolver: Resolver | None = None,
        detour_of: Callable[[Endpoint], Detour | None] = lambda _: None,
    ) -> None:
        self._deadlines = deadlines
        self._tls = tls
        self._sources = Sources(source_addresses) if source_addresses else None
        self._detour_of = detour_of
        self._alarms: set[Alarm] = set()
        self._cancelled = False
        self._last_upgrade = LastUpgrade()
        self.resolver = Resolver() if resolver is None else resolver

    def dial(
        self, endpoint: Endpoint, request: Request, timeout_ns: int, opening: Opening | None = None
    ) -> Opening:
        """Open a socket; returns within ``timeout_ns`` (and a tick of ``Deadlines``), whatever the peer does.

        Args:
            opening: takes what becomes of it, also where the calling greenlet is killed; a new one unless
                given.

        Raises:
            ValueError: when the request cannot be sent (a line break in a header, …).
            gevent.GreenletExit: when the calling greenlet is killed; what was opened is closed.
        """
        key = new_key()
        head = build_request(
            endpoint.authority,
            endpoint.resource(request.path),
            key,
            endpoint.headers(request.headers),
            request.subprotocols,
            request.origin,
        )
        parser = HeadParser(key, request.subprotocols, last=self._last_upgrade)
        return self.connect(
            endpoint, timeout_ns, lambda opening, alarm: _upgrade(opening, head, parser, alarm), opening
        )

    def connect(
        self,
        endpoint: Endpoint,
        timeout_ns: int,
        upgrade: Callable[[Opening, Alarm], None],
        opening: Opening | None = None,
    ) -> Opening:
        """As ``dial``, with an ``upgrade`` of the caller's own: it says of the opening what became of it.

        What is thrown into it by its alarm, and its OSErrors, are taken care of here. With a proxy on the
        way, ``resolve`` and ``tcp`` are the proxy's, and ``tcp`` lasts until the tunnel is open.

        Raises:
            ValueError: when the proxy that the environment names is none.
            gevent.GreenletExit: as ``dial``.
        """
        if opening is None:
            opening = Opening(time.perf_counter_ns())
        if self._is_cancelled():
            return opening.failed(outcomes.CANCELLED)
        detour = self._detour_of(endpoint)
        place = (endpoint.host, endpoint.port) if detour is None else (detour.host, detour.port)
        with Alarm(self._deadlines, opening.started_ns + timeout_ns, self._alarms) as alarm:
            try:
                known = self._resolve(opening, *place)
                if known is not None:
                    self._connect(opening, endpoint, detour, known, alarm)
                if not opening.outcome:
                    opening.phase = "upgrade"
                    upgrade(opening, alarm)
            except OutOfTime:
                self._out_of_time(opening)
            except OSError as error:
                alert = opening.stream.last_alert() if opening.stream is not None else ""
                if alert and opening.phase == "upgrade":
                    # TLS 1.3's client is done before the server has looked at its certificate (RFC 8446, 4.4)
                    opening.phase = "tls"
                    opening.phases_ns.pop("tls", None)
                    opening.failed(outcomes.TLS_FAILED, f"{outcomes.TLS_FAILED}: {alert}")
                else:
                    opening.failed(*outcome_of(error, opening.phase))
            except BaseException:
                opening.drop()
                raise
        if detour is not None and opening.error and opening.phase in ("resolve", "tcp"):
            opening.error += f" ({detour.words})"
        if opening.is_open and self._is_cancelled():
            return opening.failed(outcomes.CANCELLED)
        return opening

    def _out_of_time(self, opening: Opening) -> None:
        """The opening did not end in its time, or the run's end came first."""
        if self._cancelled:
            opening.failed(outcomes.CANCELLED)
            return
        # a look-up that takes for ever has failed, and has no time-out word of its own
        outcome = f"{outcomes.TIMEOUT_PREFIX}{opening.phase}"
        opening.failed(outcomes.RESOLVE_FAILED if opening.phase == "resolve" else outcome)

    def _is_cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        """End what is under way, within a tick of ``Deadlines``, and whatever begins later: ``cancelled``."""
        self._cancelled = True
        for alarm in list(self._alarms):
            alarm.bring_forward(time.perf_counter_ns())

    def _resolve(self, opening: Opening, host: str, port: int) -> Known | None:
        known = self.resolver.known(host, port)
        if known is not None:
            return known
        started_ns = time.perf_counter_ns()
        try:
            known = self.resolver.resolve(host, port)
        except (OSError, UnicodeError) as error:
            if isinstance(error, OSError) and error.errno in OURS:
                opening.failed(*outcome_of(error, opening.phase))
                return None
            text = error.strerror if isinstance(error, OSError) else "not a host name"
            opening.failed(outcomes.RESOLVE_FAILED, f"{outcomes.RESOLVE_FAILED}: {text}")
            return None
        opening.phases_ns["resolve"] = time.perf_counter_ns() - started_ns
        return known

    def _connect(
        self, opening: Opening, endpoint: Endpoint, detour: Detour | None, known: Known, alarm: Alarm
    ) -> None:
        """TCP, a tunnel where there is a proxy, and TLS where it is wanted."""
        host = endpoint.host if detour is None else detour.host
        started_ns = time.perf_counter_ns()
        address = self._connect_tcp(opening, host, known, alarm)
        if address is None:
            return
        self.resolver.worked(host, known, address)
        if detour is not None:
            detour.open_tunnel(opening)
            if opening.outcome:
                return
        opening.phases_ns["tcp"] = time.perf_counter_ns() - started_ns
        if endpoint.secure:
            try:
                self._connect_tls(opening, endpoint)
            finally:
                if "tls" not in opening.phases_ns and not self._cancelled:
                    # the name may have moved, and its old address be another's
                    self.resolver.missed(host, known, address)

    def _connect_tcp(self, opening: Opening, host: str, known: Known, alarm: Alarm) -> Address | None:
        """Connect to the first of the name's addresses that can be connected to; see ``race``."""
        opening.phase = "tcp"
        started_ns = time.perf_counter_ns()
        addresses = known.order(started_ns)
        if self._sources is not None:
            addresses = [address for address in addresses if address[0] in self._sources.families]
            if not addresses:
                text = self._sources.none_for(known.addresses)
                opening.failed(outcomes.SOURCE_UNUSABLE, f"{outcomes.SOURCE_UNUSABLE}: {text}")
                return None

        def begin(address: Address) -> tuple[socket.SocketType, bool]:
            opening.address = text_of(address)
            return self._begin(address)

        # a time-out that is shorter than the head starts is shared
        head_start_ns = min(HEAD_START_NS, (alarm.at_ns - started_ns) // len(addresses))
        race = Race(begin, partial(self.resolver.missed, host, known), head_start_ns)
        try:
            sock, address = race.run(addresses)
        except OutOfTime:
            for address in race.unanswered if not self._cancelled else ():
                self.resolver.missed(host, known, address)
            raise
        opening.stream = Stream(sock)
        opening.address = text_of(address)
        return address

    def _begin(self, address: Address) -> tuple[socket.SocketType, bool]:
        """A socket that is being connected, and whether it is connected already."""
        sock = open_socket(address[0])
        try:
            if self._sources is None:
                return sock, begin_connecting(sock, address)
            self._sources.bind(sock, address[0])
            try:
                return sock, begin_connecting(sock, address)
            except OSError as error:
                if error.errno == errno.EINVAL:
                    raise SourceUnusable(error.errno, "the source address cannot reach this host") from error
                raise
        except BaseException:
            sock.close()
            raise

    def _connect_tls(self, opening: Opening, endpoint: Endpoint) -> None:
        opening.phase = "tls"
        assert opening.stream is not None
        if self._tls is None:
            self._tls = ssl.create_default_context()
        started_ns = time.perf_counter_ns()
        try:
            stream = TlsStream(opening.stream.sock, self._tls, endpoint.server_name)
            opening.stream = stream
            while not stream.handshake():
                stream.wait_readable()
        except ssl.SSLCertVerificationError as error:
            opening.failed(outcomes.TLS_FAILED, f"{outcomes.TLS_FAILED}: {error.verify_message}")
        except ssl.SSLError as error:
            opening.failed(outcomes.TLS_FAILED, f"{outcomes.TLS_FAILED}: {reason_of(error)}")
        except EOFError:
            opening.failed(outcomes.EOF)
        except OSError as error:
            opening.failed(*outcome_of(error, opening.phase))
        else:
            opening.phases_ns["tls"] = time.perf_counter_ns() - started_ns


class Alarm:
    """Throws ``OutOfTime`` into the greenlet of its ``with`` block at a deadline."""

    __slots__ = ("_alarms", "_bucket", "_deadlines", "_greenlet", "at_ns")

    def __init__(self, deadlines: Deadlines, at_ns: int, alarms: set[Alarm]) -> None:
        self._deadlines = deadlines
        self._greenlet: Any = getcurrent()
        self._alarms = alarms
        self.at_ns = at_ns
        self._bucket = deadlines.add(self, at_ns)
        alarms.add(self)

    def expire(self) -> None:
        """See ``deadlines.Expirable``."""
        self._greenlet.throw(OutOfTime)

    def bring_forward(self, at_ns: int) -> None:
        """Expire at ``at_ns`` where that is sooner."""
        if at_ns < self.at_ns:
            self._bucket.discard(self)
            self.at_ns = at_ns
            self._bucket = self._deadlines.add(self, at_ns)

    def __enter__(self) -> Alarm:
        return self

    def __exit__(self, *_: object) -> None:
        self._bucket.discard(self)
        self._alarms.discard(self)


def _upgrade(opening: Opening, head: bytes, parser: HeadParser, alarm: Alarm) -> None:
    stream = opening.stream
    assert stream is not None
    started_ns = time.perf_counter_ns()
    stream.send(head)
    result = read_answer(stream, parser, alarm)
    if result is None:
        opening.failed(outcomes.EOF)
        return
    if result.outcome != outcomes.OPEN:
        refused(opening, result)
        return
    opening.status = result.status
    opening.headers = result.headers
    opening.phases_ns["upgrade"] = time.perf_counter_ns() - started_ns
    opening.outcome = outcomes.OPEN
    opening.phase = ""
    opening.subprotocol = result.subprotocol
    opening.tail = result.tail


def read_answer(stream: Stream, parser: HeadParser, alarm: Alarm) -> HandshakeResult | None:
    """Feed ``parser`` until it has its result; ``None`` when the stream ended before the head did.

    Raises:
        OutOfTime, OSError: before the head was complete; what happens to a rejection's body is no fault.
    """
    body_awaited = False
    ready = stream.pending()
    try:
        while True:
            if parser.head_complete and not body_awaited:
                body_awaited = True
                alarm.bring_forward(time.perf_counter_ns() + BODY_PATIENCE_NS)
            if not ready:
                stream.wait_readable()
            try:
                data = stream.recv()
            except BlockingIOError:
                ready = False
                continue
            ready = True
            result = parser.feed(data) if data else parser.eof()
            if result is not None or not data:
                return result
    except (OutOfTime, OSError):
        result = parser.finish()
        if result is None:
            raise
        return result


def refused(opening: Opening, result: HandshakeResult) -> None:
    """The answer was another than an upgrade by the rules."""
    opening.status = result.status
    opening.headers = result.headers
    opening.body = readable(result.body, Headers(result.headers), DEFAULT_MAX_BODY_BYTES)
    opening.failed(result.outcome, result.error or result.outcome)


def outcome_of(error: OSError, phase: str) -> tuple[str, str, int | None]:
    """Outcome, text and errno of a failed connect, send or recv (RFC 9293's events as Linux names them)."""
    if isinstance(error, SourceUnusable):
        return outcomes.SOURCE_UNUSABLE, f"{outcomes.SOURCE_UNUSABLE}: {error.strerror}", error.errno
    number = error.errno
    outcome = _CONNECT_OUTCOMES.get(number or 0, outcomes.UNREACHABLE)
    if number == errno.ETIMEDOUT:
        # the kernel gave up sending, in whichever phase that was
        outcome = f"{outcomes.TIMEOUT_PREFIX}{phase}"
    if number is None:
        return outcomes.RESET, f"{outcomes.RESET}: {error.strerror or 'connection aborted'}", None
    return outcome, f"{outcome}: {os.strerror(number)}", number


def tls_context(
    ca_file: str | None = None, certificate: str | None = None, insecure: bool = False
) -> ssl.SSLContext:
    """The TLS context of a run.

    Args:
        ca_file: PEM file of the certificates to trust, instead of the system's.
        certificate: PEM file with our own certificate and key, for servers that ask for one.
        insecure: accept any certificate and any name.

    Raises:
        OSError, ssl.SSLError: when a file is missing or holds no certificate.
    """
    context = ssl.create_default_context(cafile=ca_file)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(certificate)
    return context
