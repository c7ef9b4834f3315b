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
from itertools import cycle
from typing import Any, Final

from gevent import get_hub, getcurrent
from gevent import socket as cooperative_socket
from gevent.event import AsyncResult

from wsoak.ledger import outcomes
from wsoak.ledger.units import NS_PER_MS
from wsoak.wire.deadlines import Deadlines
from wsoak.wire.endpoint import Endpoint
from wsoak.wire.handshake import HandshakeResult, HeadParser, LastUpgrade, build_request, new_key
from wsoak.wire.stream import WRITE, Stream, TlsStream, open_socket

IP_BIND_ADDRESS_NO_PORT: Final = 24
"""Linux: choose the port at connect, by the whole four-tuple, so that ports are not used up by bind."""

BODY_PATIENCE_NS: Final = 500 * NS_PER_MS
"""How long the body of a rejection is waited for: its status says the outcome already."""

Address = tuple[int, Any]
"""Address family and what ``connect`` takes."""

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


_UNDER_WAY: Final = frozenset({errno.EINPROGRESS, errno.EALREADY})
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE})


class OutOfTime(BaseException):
    """Thrown into a greenlet at its deadline; never leaves this package."""


@dataclass(slots=True)
class Opening:
    """What became of one attempt to open a socket.

    ``phases_ns`` has the phases that ended well; ``phase`` is the one under way, or the last. ``stream`` and
    ``tail`` (what followed the response head) are there only when ``outcome`` is ``open``.
    """

    started_ns: int
    outcome: str = ""
    phase: str = "resolve"
    phases_ns: dict[str, int] = field(default_factory=dict)
    status: int | None = None
    error: str = ""
    body: str = ""
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


class Resolver:
    """Name look-ups, each done once: later openings to the same host have no ``resolve`` phase.

    Openings that begin while a look-up is under way wait for that one.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], list[Address]] = {}
        self._under_way: dict[tuple[str, int], AsyncResult] = {}

    def known(self, host: str, port: int) -> list[Address] | None:
        """The addresses found before, the one that worked last first."""
        return self._known.get((host, port))

    def resolve(self, host: str, port: int) -> list[Address]:
        """Look the name up, cooperatively.

        Raises:
            OSError: when there is no such name.
        """
        while (under_way := self._under_way.get((host, port))) is not None:
            under_way.wait()
            if isinstance(under_way.exception, (OSError, UnicodeError)):
                raise under_way.exception
            known = self.known(host, port)
            # none: whoever asked was killed, and the next one asks
            if known is not None:
                return known
        return self._ask(host, port)

    def _ask(self, host: str, port: int) -> list[Address]:
        answer = self._under_way[host, port] = AsyncResult()
        try:
            found = cooperative_socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = [(int(family), address) for family, _, _, _, address in found]
            self._known[host, port] = addresses
        except BaseException as error:
            answer.set_exception(error)
            raise
        else:
            answer.set(addresses)
        finally:
            del self._under_way[host, port]
        return addresses

    def prefer(self, host: str, port: int, address: Address) -> None:
        """Try this address first from now on."""
        addresses = self._known[host, port]
        addresses.remove(address)
        addresses.insert(0, address)


@dataclass(frozen=True, slots=True)
class Request:
    """What an opening asks for besides the host: path with query, headers, subprotocols, origin."""

    path: str
    headers: Sequence[tuple[str, str]] = ()
    subprotocols: Sequence[str] = ()
    origin: str | None = None


class Dialer:
    """Opens sockets to one endpoint after another, with one TLS context and one look-up a name.

    Args:
        deadlines: of the hub that the calling greenlets run on.
        tls: the context for ``wss``; one for all, as building one reads the whole CA file.
        source_addresses: local addresses to bind to in turn; each gives another 28,000 ports.
    """

    def __init__(
        self, deadlines: Deadlines, tls: ssl.SSLContext | None = None, source_addresses: Sequence[str] = ()
    ) -> None:
        self._deadlines = deadlines
        self._tls = tls
        self._sources = cycle(source_addresses) if source_addresses else None
        self._alarms: set[Alarm] = set()
        self._cancelled = False
        self._last_upgrade = LastUpgrade()
        self.resolver = Resolver()

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

        What is thrown into it by its alarm, and its OSErrors, are taken care of here.

        Raises:
            gevent.GreenletExit: as ``dial``.
        """
        if opening is None:
            opening = Opening(time.perf_counter_ns())
        if self._is_cancelled():
            return opening.failed(outcomes.CANCELLED)
        with Alarm(self._deadlines, opening.started_ns + timeout_ns, self._alarms) as alarm:
            try:
                addresses = self._resolve(opening, endpoint)
                if not opening.outcome:
                    self._connect_tcp(opening, endpoint, addresses)
                if not opening.outcome and endpoint.secure:
                    self._connect_tls(opening, endpoint)
                if not opening.outcome:
                    opening.phase = "upgrade"
                    upgrade(opening, alarm)
            except OutOfTime:
                return self._out_of_time(opening)
            except OSError as error:
                return opening.failed(*outcome_of(error, opening.phase))
            except BaseException:
                opening.drop()
                raise
        if opening.is_open and self._is_cancelled():
            return opening.failed(outcomes.CANCELLED)
        return opening

    def _out_of_time(self, opening: Opening) -> Opening:
        """The opening did not end in its time, or the run's end came first."""
        if self._cancelled:
            return opening.failed(outcomes.CANCELLED)
        # a look-up that takes for ever has failed, and has no time-out word of its own
        outcome = f"{outcomes.TIMEOUT_PREFIX}{opening.phase}"
        return opening.failed(outcomes.RESOLVE_FAILED if opening.phase == "resolve" else outcome)

    def _is_cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        """End what is under way, within a tick of ``Deadlines``, and whatever begins later: ``cancelled``."""
        self._cancelled = True
        for alarm in list(self._alarms):
            alarm.bring_forward(time.perf_counter_ns())

    def _resolve(self, opening: Opening, endpoint: Endpoint) -> list[Address]:
        known = self.resolver.known(endpoint.host, endpoint.port)
        if known is not None:
            return known
        started_ns = time.perf_counter_ns()
        try:
            addresses = self.resolver.resolve(endpoint.host, endpoint.port)
        except (OSError, UnicodeError) as error:
            if isinstance(error, OSError) and error.errno in _EXHAUSTED:
                opening.failed(*outcome_of(error, opening.phase))
                return []
            text = error.strerror if isinstance(error, OSError) else "not a host name"
            opening.failed(outcomes.RESOLVE_FAILED, f"{outcomes.RESOLVE_FAILED}: {text}")
            return []
        opening.phases_ns["resolve"] = time.perf_counter_ns() - started_ns
        return addresses

    def _connect_tcp(self, opening: Opening, endpoint: Endpoint, addresses: list[Address]) -> None:
        opening.phase = "tcp"
        started_ns = time.perf_counter_ns()
        for address in list(addresses):
            try:
                opening.stream = self._connect_address(opening, address)
            except OSError as error:
                opening.failed(*outcome_of(error, opening.phase))
                continue
            opening.outcome, opening.error, opening.errno = "", "", None
            opening.phases_ns["tcp"] = time.perf_counter_ns() - started_ns
            if address is not addresses[0]:
                self.resolver.prefer(endpoint.host, endpoint.port, address)
            return

    def _connect_address(self, opening: Opening, address: Address) -> Stream:
        family, target = address
        sock = open_socket(family)
        # kept at once: a kill or deadline in the wait below must find it
        opening.stream = Stream(sock)
        if self._sources is not None:
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((next(self._sources), 0))
        number = sock.connect_ex(target)
        if number == errno.EINPROGRESS:
            # asked again, the kernel says how far it is: on the loopback it is done by now, and a turn of the
            # hub would be most of the phase
            number = sock.connect_ex(target)
            if number in _UNDER_WAY:
                _wait_until_connected(sock)
                number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number == errno.EISCONN:
            number = 0
        if not number and sock.getsockname() == target:
            # nothing listens, and the kernel chose the very port that we asked for: TCP then connects the
            # socket with itself, and the server could not even start while we hold its port
            number = errno.ECONNREFUSED
        if number:
            raise OSError(number, os.strerror(number))
        return opening.stream

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
            reason = (error.reason or "error").replace("_", " ").lower()
            opening.failed(outcomes.TLS_FAILED, f"{outcomes.TLS_FAILED}: {reason}")
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
    opening.body = result.body.decode("utf-8", errors="replace")
    opening.failed(result.outcome, result.error or result.outcome)


def _wait_until_connected(sock: socket.SocketType) -> None:
    hub = get_hub()
    watcher = hub.loop.io(sock.fileno(), WRITE)
    try:
        hub.wait(watcher)
    finally:
        watcher.close()


def outcome_of(error: OSError, phase: str) -> tuple[str, str, int | None]:
    """Outcome, text and errno of a failed connect, send or recv (RFC 9293's events as Linux names them)."""
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
