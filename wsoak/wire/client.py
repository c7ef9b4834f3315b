"""Client: opens connections, knows which are open, and closes them all at the end of a run.

Everything that connections share is here: the recorder, the deadlines, the dialer with its TLS context and
look-ups, the limits. One client serves one process; all of it runs on one gevent hub.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, Protocol

import gevent
from gevent.event import Event
from gevent.pool import Group, Pool

from wsoak.ledger import outcomes
from wsoak.ledger.names import DNS
from wsoak.ledger.raised import raised
from wsoak.ledger.recorder import Recorder
from wsoak.ledger.units import NS_PER_S, s_to_ns
from wsoak.wire import redirect
from wsoak.wire.addresses import Pinned, Policy
from wsoak.wire.connection import Connection
from wsoak.wire.deadlines import Deadlines
from wsoak.wire.dial import Dialer, Opening, Request
from wsoak.wire.endpoint import Endpoint, mask_query
from wsoak.wire.frames import DEFAULT_MAX_MESSAGE_BYTES
from wsoak.wire.guard import Owner
from wsoak.wire.headers import Headers
from wsoak.wire.link import FastLink, Link
from wsoak.wire.listener import Listener
from wsoak.wire.message import Predicate, Sendable
from wsoak.wire.replies import ReplyId, reply_to
from wsoak.wire.resolver import DEFAULT as DEFAULT_POLICY
from wsoak.wire.resolver import Resolver
from wsoak.wire.waiting import Waiter

if TYPE_CHECKING:
    import ssl

OPENINGS_AT_ONCE: Final = 200
"""How many handshakes ``open_many`` has under way at a time."""

KILLED_WITHIN_S: Final = 5.0
"""A user that is to be killed waits for it so long, and then ends itself."""
GRACE_NS: Final = NS_PER_S
"""How long ``stop`` may take after its time, for what needs a turn of the hub to end."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The limits of a client. Times in seconds.

    ``handshake_timeout_s`` bounds an opening from the look-up to the end of its hello; ``heartbeat_s`` is the
    interval of protocol pings, 0 for none. ``dns`` says how names are looked up, ``pins`` which are not.
    """

    handshake_timeout_s: float = 10.0
    reply_timeout_s: float = 10.0
    close_timeout_s: float = 5.0
    heartbeat_s: float = 0.0
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
    source_addresses: Sequence[str] = ()
    dns: Policy = DEFAULT_POLICY
    pins: Pinned = field(default_factory=dict)


DEFAULTS: Final = Settings()


@dataclass(frozen=True, slots=True)
class Hello:
    """A first-message log-in, the last phase of an opening: what to send, and how its answer is known.

    A socket that is closed instead, or not answered in time, did not open: ``closed-hello``,
    ``timeout-hello``.
    """

    message: Sendable
    answered_by: Predicate


class Opener(Protocol):
    """The half of a client that makes links: the fast one, or the reference one."""

    def open(self, opening: Opening, endpoint: Endpoint, request: Request, timeout_ns: int) -> Link | None:
        """Open a socket; the link where it went well.

        Args:
            opening: takes how it went, as far as it went.

        Raises:
            ValueError: when the request cannot be sent.
            gevent.GreenletExit: when the calling greenlet is killed; what was opened is closed.
        """

    dialer: Dialer
    """Connects as the sockets do, such as through a proxy."""

    def cancel(self) -> None:
        """The run ends: what is under way, and what is asked for later, ends as ``cancelled``."""


class FastOpener:
    """Opens sockets with our own handshake, for our own codec."""

    def __init__(self, client: Client, tls: ssl.SSLContext | None) -> None:
        self._client = client
        self.dialer = Dialer(client.deadlines, tls, client.settings.source_addresses, client.resolver)

    def open(self, opening: Opening, endpoint: Endpoint, request: Request, timeout_ns: int) -> Link | None:
        """See ``Opener``."""
        self.dialer.dial(endpoint, request, timeout_ns, opening)
        stream, opening.stream = opening.stream, None
        if stream is None:
            return None
        tail, opening.tail = opening.tail, b""
        return FastLink(self._client, stream, tail, self._client.settings.max_message_bytes)

    def cancel(self) -> None:
        """See ``Opener``."""
        self.dialer.cancel()


class Client:
    """One process's sockets.

    Args:
        recorder: where everything is written down.
        tls: the TLS context of all sockets; the system's defaults unless given.
        worker_index: makes the connections' ids unique in a distributed run.
        opener: makes the links; the fast one unless given.
        callback_failed: told when a callback of the scenario's raised: its name, the exception, and who
            opened the socket. It may be called on the hub, and must not block. The recorder counts it unless
            given.
        looped: told when a scenario calls a closed socket in a loop: the socket's name, the method, the
            frame that calls it, and who opened the socket.

    Attributes:
        open_connections: those that opened and have not ended.
        lingering: links that wait for the server to end TCP after a close handshake.
        in_flight: requests that wait for an answer.
        opening: handshakes under way.
        load_ended: the run was told to stop: see ``load_ends``.
        resting: those who wait for a moment of their schedules.
        compared: in which second what came was last compared with the requests of a name that timed out.
    """

    def __init__(
        self,
        recorder: Recorder,
        settings: Settings = DEFAULTS,
        tls: ssl.SSLContext | None = None,
        worker_index: int = 0,
        opener: Callable[[Client, ssl.SSLContext | None], Opener] = FastOpener,
        callback_failed: Callable[[str, BaseException, Any], None] | None = None,
        looped: Callable[[str, str, FrameType | None, Any], None] | None = None,
    ) -> None:
        self.recorder = recorder
        self.settings = settings
        self.reply_timeout_ns = s_to_ns(settings.reply_timeout_s)
        self.close_timeout_ns = s_to_ns(settings.close_timeout_s)
        self.deadlines = Deadlines()
        self.open_connections: set[Connection] = set()
        self.lingering: set[Link] = set()
        self.in_flight = 0
        self.opening = 0
        self._under_way: dict[str, int] = {}
        self.compared: dict[str, int] = {}
        self.stopping = False
        self.load_ended = False
        self._graceful = False
        self.resting: set[Waiter] = set()
        self.resolver = Resolver(settings.dns, settings.pins, worker_index, self._note_address)
        self._opener = opener(self, tls)
        self._worker_index = worker_index
        self._ids = count()
        self._ping_ids = count()
        self._greenlets = Group()
        self._drained: list[Waiter] = []
        self._callback_failed = callback_failed
        self._looped = looped

    def open(
        self,
        endpoint: Endpoint,
        request: Request,
        name: str,
        *,
        hello: Hello | None = None,
        attempt: int = 0,
        waited_s: float | None = None,
        reply_id: ReplyId = reply_to,
        usable_when: Predicate | None = None,
        heartbeat_s: float | None = None,
        handshake_timeout_s: float | None = None,
        listener: Listener | None = None,
        owner: Owner | None = None,
    ) -> Connection:
        """Open a socket; what goes wrong is the connection's ``outcome``, and in the books.

        Args:
            name: for the books; the same for all sockets of one kind (see ``Recorder.series``).
            attempt: 0 for a first attempt, then 1, 2, … for reconnects.
            waited_s: seconds since the last attempt at this socket failed, for the books.
            reply_id: gives the id of the request that a message answers.
            usable_when: says which message makes the socket usable; else the first answer, or the first
                message that ``expect`` was asked for.
            heartbeat_s, handshake_timeout_s: instead of the client's settings.
            listener: hears of each of the socket's events.
            owner: gives whoever opens it, to be told when a callback fails; a weak reference, as the socket
                must not keep its owner.

        Raises:
            ValueError: when the request cannot be sent (a line break in a header, …).
            gevent.GreenletExit: when the calling greenlet is killed; the attempt is then ``cancelled``.
        """
        patience_s = self.settings.handshake_timeout_s if handshake_timeout_s is None else handshake_timeout_s
        timeout_ns = s_to_ns(patience_s)
        heartbeat_ns = s_to_ns(self.settings.heartbeat_s if heartbeat_s is None else heartbeat_s)

        def connection_of(link: Link | None) -> Connection:
            return Connection(
                self,
                name,
                mask_query(endpoint.resource(request.path)),
                opening,
                link,
                attempt=attempt,
                waited_s=waited_s,
                reply_id=reply_id,
                usable_when=usable_when,
                listener=listener,
                under_way=under_way,
                owner=owner,
            )

        name = self.recorder.series(name).name
        self.opening += 1
        under_way = self._under_way.get(name, 0) + 1
        self._under_way[name] = under_way
        opening = Opening(time.perf_counter_ns())
        try:
            try:
                link = self._opener.open(opening, endpoint, request, timeout_ns)
            except Exception:
                raise
            except BaseException:
                # killed, or a gevent.Timeout of the scenario's own
                opening.failed(outcomes.CANCELLED)
                self._count(connection_of(None))
                raise
            if opening.status in redirect.STATUSES and not opening.is_open:
                location = Headers(opening.headers).get("location")
                said = redirect.meaning(location, endpoint, endpoint.resource(request.path))
                opening.error = f"{opening.outcome}: {said}"
            connection = connection_of(link)
            if link is not None:
                self._greet(connection, heartbeat_ns, hello, opening.started_ns + timeout_ns)
        finally:
            self.opening -= 1
            self._one_less_under_way(name)
            if self._drained:
                self._look_drained()
        self._count(connection)
        return connection

    def open_many(self, number: int, open_one: Callable[[int], Connection]) -> list[Connection]:
        """Call ``open_one`` with 0 to ``number - 1``, many at a time; the connections in that order.

        Where one of the calls raises, or the caller is killed, no more begin, and those that did open are
        closed.
        """
        connections: dict[int, Connection] = {}

        def open_and_keep(index: int) -> None:
            connections[index] = open_one(index)

        pool = Pool(min(number, OPENINGS_AT_ONCE) or 1)
        begun = pool.imap(open_and_keep, range(number))
        try:
            list(begun)
        except BaseException:
            # it begins one as another ends, on a greenlet of its own, which is not in the pool
            begun.kill()
            pool.kill()
            for connection in connections.values():
                connection.begin_close(1000, self.end_reason)
            raise
        return [connections[index] for index in range(number)]

    def load_ends(self, graceful: bool) -> None:
        """The run was told to stop: ``paced`` gives no more moments, and nobody is to open a socket.

        Sockets stay as they are until ``stop``, and their heartbeats go on; a peer that is silent now is not
        lost, as it is this process that may not listen.

        Args:
            graceful: who waits for a moment goes on at once, and may finish what he is at; else he is about
                to be killed.
        """
        self.load_ended, self._graceful = True, graceful
        if graceful:
            for waiter in list(self.resting):
                waiter.wake(None)

    def await_end(self) -> None:
        """What the caller does no more after the end of the load; he waits for his own, if he is killed."""
        if not self._graceful:
            Event().wait(KILLED_WITHIN_S)

    def stop(self, timeout_s: float) -> int:
        """Close all that is open as ``run ended``, with close handshakes, in at most ``timeout_s`` seconds.

        What has not answered by then is dropped, and its record says ``close-timeout``. After it no socket,
        watcher, timer or greenlet of this client is left, and ``open`` gives ``cancelled``.

        Returns:
            how many sockets did not close in time.
        """
        self.stopping = True
        deadline_ns = time.perf_counter_ns() + s_to_ns(timeout_s)
        self._opener.cancel()
        for connection in list(self.open_connections):
            # the time is the stop's own: one deadline for all, and all that miss it are counted
            connection.begin_close(1000, outcomes.RUN_ENDED, timeout_s + GRACE_NS / NS_PER_S)
        self._wait_until_drained(deadline_ns)
        left = list(self.open_connections)
        for connection in left:
            connection.give_up()
        for link in list(self.lingering):
            link.abort()
        # an opening that has just been cancelled needs a turn of the hub to come to its end
        self._wait_until_drained(time.perf_counter_ns() + GRACE_NS)
        self._greenlets.kill(timeout=GRACE_NS / NS_PER_S)
        self.deadlines.stop()
        return len(left)

    def drop_all(self) -> None:
        """Close all that is open at once, as a shape's mass drop; come back without waiting."""
        for connection in list(self.open_connections):
            connection.begin_close(1001, outcomes.DROPPED)

    @property
    def end_reason(self) -> str:
        """Why what is closed with its user is closed: the run ends, or the user alone."""
        return outcomes.RUN_ENDED if self.load_ended or self.stopping else outcomes.USER_ENDED

    @property
    def dialer(self) -> Dialer:
        """Connects to a host as the sockets do."""
        return self._opener.dialer

    # ------------------------------------------------------------------------- what connections ask for

    def next_id(self) -> str:
        """An id that no other connection of the run has."""
        return f"{self._worker_index}.{next(self._ids)}"

    def next_ping(self) -> bytes:
        """The body of the next ping; no two of a process are the same."""
        return next(self._ping_ids).to_bytes(8)

    def spawn(self, function: Callable[[], Any]) -> None:
        """Run ``function`` on a greenlet that ends with the client."""
        self._greenlets.start(gevent.Greenlet(function))

    def callback_failed(self, where: str, error: BaseException, owner: Owner | None) -> None:
        """A callback of the scenario's raised; see ``guard``."""
        if self._callback_failed is None:
            self.recorder.user_error("", where, raised(error))
        else:
            self._callback_failed(where, error, None if owner is None else owner())

    def looped(self, connection: Connection, method: str, frame: FrameType | None) -> None:
        """A scenario calls a closed socket in a loop; see ``after_end``."""
        if self._looped is not None:
            owner = connection.owner
            self._looped(connection.name, method, frame, None if owner is None else owner())

    def forget(self, connection: Connection) -> None:
        """The connection has ended."""
        self.open_connections.discard(connection)
        if self._drained:
            self._look_drained()

    def let_go(self, link: Link) -> None:
        """The link has given its socket back."""
        self.lingering.discard(link)
        if self._drained:
            self._look_drained()

    # ------------------------------------------------------------------------------------------ the rest

    def _note_address(self, host: str, address: str, state: float) -> None:
        self.recorder.gauge(DNS, f"{host} {address}", state)

    def _greet(
        self, connection: Connection, heartbeat_ns: int, hello: Hello | None, deadline_ns: int
    ) -> None:
        """Start the connection, and say hello where the protocol wants it."""
        self.open_connections.add(connection)
        try:
            connection.start(heartbeat_ns)
            if hello is not None:
                connection.say_hello(hello.message, hello.answered_by, deadline_ns)
        except BaseException:
            # killed, or a hello that cannot be sent: nobody will have this socket
            connection.cancel()
            self._count(connection)
            raise

    def _count(self, connection: Connection) -> None:
        """Write down how an opening ended."""
        now_ns = time.perf_counter_ns()
        self.recorder.tick(now_ns)
        opening = connection.opening
        series = self.recorder.series(connection.name)
        self.recorder.opening_ended(series, opening.outcome)
        took_ns = opening.duration_ns if opening.is_open else now_ns - opening.started_ns
        if connection.listener is not None and opening.outcome != outcomes.CANCELLED:
            connection.listener.opening_ended(connection.name, took_ns, opening.error)
        if opening.is_open:
            for phase, duration_ns in opening.phases_ns.items():
                getattr(series, f"{phase}_ns").append(duration_ns)
            series.handshake_ns.append(took_ns)
            return
        if opening.outcome != outcomes.CANCELLED:
            series.failed_handshake_ns.append(took_ns)
        if connection.ended and connection.initiator is None:
            # one that had a link writes its own record, when it ends
            self.recorder.connection_ended(connection.record(now_ns))

    def _one_less_under_way(self, name: str) -> None:
        left = self._under_way[name] - 1
        if left:
            self._under_way[name] = left
        else:
            # a name may hold an id, and be new each time
            del self._under_way[name]

    def _wait_until_drained(self, deadline_ns: int) -> None:
        while not self._is_drained():
            waiter = Waiter()
            waiter.set_deadline(self.deadlines, deadline_ns)
            self._drained.append(waiter)
            if not waiter.wait():
                return

    def _is_drained(self) -> bool:
        return not (self.open_connections or self.lingering or self.opening)

    def _look_drained(self) -> None:
        if self._is_drained():
            waiters, self._drained = self._drained, []
            for waiter in waiters:
                # later: a connection that is about to end must come to its end first
                gevent.get_hub().loop.run_callback(waiter.wake, True)
