"""Connection: one WebSocket as a scenario uses it, and its story as the ledger keeps it.

    scenario's greenlet ── request, send, expect, ping, close ──►┐
                                                                 Connection ──► Link ──► server
    hub ── message, ping, pong, close frame, loss ──────────────►┘     │
                                                                       └──► Recorder

A connection is passive: its ``Link`` tells it what came (``on_…``), and it counts, answers, and wakes the
greenlet that waits. It owns no greenlet, except one that hands messages to a subscriber while there are
any. Nothing that a server does raises in a scenario: ``request`` and ``expect`` give ``None``, ``send`` gives
``False``, and the ledger knows why.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Self

from gevent import GreenletExit, get_hub, getcurrent

from wsoak.ledger import outcomes
from wsoak.ledger.outcomes import Initiator, close_error
from wsoak.ledger.records import ConnectionRecord
from wsoak.ledger.units import NS_PER_S, ns_to_ms, ns_to_s, s_to_ns
from wsoak.wire.after_end import AfterEnd
from wsoak.wire.closing import Closing
from wsoak.wire.dial import Opening
from wsoak.wire.frames import BINARY, CLOSE, PING, PONG, TEXT, CloseFrame, Violation
from wsoak.wire.guard import Guard, Owner
from wsoak.wire.headers import Headers, record_text
from wsoak.wire.inbox import HANDLER_MESSAGES, Inbox
from wsoak.wire.listener import Listener
from wsoak.wire.message import Message, Predicate, Sendable, encode, error_text
from wsoak.wire.pings import Heartbeat, Pings
from wsoak.wire.replies import Replies, Reply, ReplyId, reply_to
from wsoak.wire.waiting import Duty, Waiter, rest

if TYPE_CHECKING:
    from wsoak.wire.client import Client
    from wsoak.wire.link import Link

HIGH_WATER_BYTES: Final = 1 << 20
"""A sender waits while more than this is unsent."""


class Connection:
    """One socket, open or failed: ask ``is_open``, or just use it.

    Attributes:
        name: the scenario's name for this kind of socket.
        state: the scenario's own word for what the socket is doing; it goes into the record.
        opening: how the opening went: outcome, status, start of a rejection's body, subprotocol.
        is_open: whether messages can be sent: the handshake succeeded, and no close has begun.
        last_read_ns: when bytes came last, those that are being looked at left out.
        listener: hears of each event, where there is one.
        owner: gives whoever opened it, where that is known.
    """

    __slots__ = (
        "_after_end",
        "_attempt",
        "_bytes_received",
        "_bytes_sent",
        "_close_began_ns",
        "_close_deadline",
        "_closers",
        "_closing",
        "_expected",
        "_heartbeat",
        "_inbox",
        "_last_message_ns",
        "_last_push",
        "_last_push_at",
        "_link",
        "_opened_ns",
        "_path",
        "_pings",
        "_recorder",
        "_replies",
        "_reply_id",
        "_series",
        "_under_way",
        "_usable_ns",
        "_usable_when",
        "_waited_in_vain",
        "_waited_s",
        "_write_error",
        "client",
        "id",
        "is_open",
        "last_read_ns",
        "listener",
        "messages_received",
        "messages_sent",
        "name",
        "opening",
        "owner",
        "state",
    )

    def __init__(
        self,
        client: Client,
        name: str,
        path: str,
        opening: Opening,
        link: Link | None,
        *,
        attempt: int = 0,
        reply_id: ReplyId = reply_to,
        usable_when: Predicate | None = None,
        listener: Listener | None = None,
        under_way: int | None = None,
        owner: Owner | None = None,
        waited_s: float | None = None,
    ) -> None:
        self.client = client
        self.listener = listener
        self.id = client.next_id()
        self.state = ""
        self.opening = opening
        self.is_open = opening.is_open
        self.messages_sent = 0
        self.messages_received = 0
        self.last_read_ns = self._last_message_ns = self._opened_ns = time.perf_counter_ns()
        self._bytes_sent = 0
        self._bytes_received = 0
        self._path = path
        self._attempt = attempt
        self._under_way = under_way
        self._waited_s = waited_s
        self._link = link
        self._recorder = client.recorder
        self._series = series = client.recorder.series(name)
        self.name = series.name
        # what few sockets need is made when it is needed: a hundred thousand of them must fit
        self._replies: Replies | None = None
        self._inbox: Inbox | None = None
        self._pings: Pings | None = None
        self._heartbeat: Heartbeat | None = None
        self._closers: list[Waiter] | None = None
        self._close_deadline: Duty | None = None
        self._close_began_ns: int | None = None
        self._closing = Closing(over=link is None)
        self.owner = owner
        self._reply_id = reply_id if reply_id is reply_to else self._guarded(reply_id, "reply_id")
        self._usable_when = None if usable_when is None else self._guarded(usable_when, "usable_when")
        self._usable_ns: int | None = None
        self._expected = usable_when is not None
        self._waited_in_vain = False
        self._write_error: OSError | None = None
        self._after_end: AfterEnd | None = None
        self._last_push: Message | None = None
        self._last_push_at = 0

    # -------------------------------------------------------------------------------- a scenario's view

    @property
    def ended(self) -> bool:
        """Whether it is over: failed, or closed to the end."""
        return self._closing.stage == "closed"

    @property
    def usable(self) -> bool:
        """Whether the first message that the scenario expected has come."""
        return self._usable_ns is not None

    @property
    def initiator(self) -> Initiator | None:
        """Who sent the first close frame; ``network`` when it went without one, ``None`` while it is open."""
        return self._closing.initiator

    @property
    def code(self) -> int | None:
        """The close code (RFC 6455 section 7.1.5) of a socket that opened and ended; else ``None``."""
        return self._closing.code if self.ended and self.initiator is not None else None

    @property
    def reason(self) -> str:
        """The reason in the close frame that came first."""
        return self._closing.reason

    @property
    def age_s(self) -> float:
        """Seconds since it opened, or since its opening failed."""
        return ns_to_s(time.perf_counter_ns() - self._opened_ns)

    @property
    def close_error(self) -> str:
        """What was wrong with the close, in a few stable words; empty for one in order, or none yet."""
        closing = self._closing
        if closing.initiator is None:
            return ""
        return close_error(closing.code, closing.initiator, closing.detail, closing.by_run)

    @property
    def headers(self) -> Headers:
        """The headers of the server's answer to the upgrade; none where no answer came."""
        return Headers(self.opening.headers)

    @property
    def outcome(self) -> str:
        """How the opening ended: a word of ``ledger.outcomes``."""
        return self.opening.outcome

    def send(self, message: Sendable, *, name: str | None = None, intended_ns: int | None = None) -> bool:
        """Send a message that has no answer: text, bytes (binary), or a JSON object or array (text).

        Args:
            name: for the send lag in the books; the socket's name unless given.
            intended_ns: when it was meant to be sent, on ``perf_counter_ns`` (see ``paced``).

        Returns:
            whether it was sent; ``False`` on a socket that is closed (counted) or never opened.
        """
        is_text, payload = encode(message)
        return self._send(TEXT if is_text else BINARY, payload, name, intended_ns, None)

    def send_binary(self, payload: bytes, *, name: str | None = None, intended_ns: int | None = None) -> bool:
        """Send a binary message; see ``send``."""
        return self.send(bytes(payload), name=name, intended_ns=intended_ns)

    def request(
        self,
        message: Sendable,
        reply_to: Any,
        timeout: float | None = None,
        *,
        name: str | None = None,
        intended_ns: int | None = None,
    ) -> Message | None:
        """Send a message and wait for its answer; see ``submit``.

        Returns:
            the answer, or ``None`` when none came in time or the socket closed (both are in the books).
        """
        return self.submit(message, reply_to, timeout, name=name, intended_ns=intended_ns).wait()

    def submit(
        self,
        message: Sendable,
        reply_to: Any,
        timeout: float | None = None,
        *,
        name: str | None = None,
        intended_ns: int | None = None,
    ) -> Reply:
        """Send a message that has an answer, and go on; several may be in flight.

        Args:
            reply_to: by which the answer will be known: what the connection's ``reply_id`` gives for it.
            timeout: seconds until the request counts as failed; the client's reply time-out unless given.
            name: under which it appears in the books; the socket's name unless given.
            intended_ns: when it was meant to be sent, on ``perf_counter_ns``; response time counts from then.

        Raises:
            ValueError: when a request with this id is in flight on this socket.
        """
        replies = self._replies
        if replies is None:
            replies = self._replies = Replies(self.client, self._series, self._reply_id, self.listener)
        series = self._series if name is None else self._recorder.series(name)
        timeout_ns = self.client.reply_timeout_ns if timeout is None else s_to_ns(timeout)
        reply = replies.prepare(series, reply_to, timeout_ns)
        is_text, payload = encode(message)
        if not self._send(TEXT if is_text else BINARY, payload, name, intended_ns, reply):
            reply.wake(None)
        return reply

    def expect(self, predicate: Predicate, timeout: float | None = None) -> Message | None:
        """Wait for a message for which ``predicate`` is true: one that came unasked for, or the next.

        Returns:
            the message, or ``None`` when none came within ``timeout`` seconds or the socket closed.
        """
        self._expected = True
        predicate = self._guarded(predicate, "expect")
        inbox = self._made_inbox()
        found = inbox.take(predicate)
        if found is None and not self.ended:
            timeout_ns = self.client.reply_timeout_ns if timeout is None else s_to_ns(timeout)
            found = inbox.expect(predicate, time.perf_counter_ns() + timeout_ns)
            self._waited_in_vain |= found is None and not self.ended
        elif found is None:
            self._give_way()
        if found is not None and self._usable_when is None:
            self._became_usable(found.received_ns)
        return found

    def subscribe(self, handler: Callable[[Message], Any], most: int = HANDLER_MESSAGES) -> None:
        """Have ``handler`` called with each message that answers no request and that nobody expects.

        That includes messages with the id of a request that has been answered, such as the events of a
        subscription, and answers that come too late. It runs on a greenlet, in order, and may block; what
        came before, and was not asked for, comes first.

        Args:
            most: how many messages may wait while the handler is busy. Beyond it the oldest are dropped,
                counted as ``overrun``, and told by the finding ``handler-slow``.

        Raises:
            ValueError: when ``most`` is less than one.
        """
        self._made_inbox().subscribe(self._guarded(handler, "subscribe"), most)

    def ping(self, timeout: float | None = None) -> float | None:
        """Send a protocol ping and wait for its pong (RFC 6455 section 5.5.2).

        Returns:
            the round trip in milliseconds, or ``None`` when no pong came in time or the socket closed.
        """
        if not self.is_open:
            self._give_way()
            return None
        waiter = Waiter()
        timeout_ns = self.client.reply_timeout_ns if timeout is None else s_to_ns(timeout)
        waiter.set_deadline(self.client.deadlines, time.perf_counter_ns() + timeout_ns)
        payload = self.send_ping(waiter)
        try:
            rtt_ns: int | None = waiter.wait()
        finally:
            if self._pings is not None:
                self._pings.forget(payload)
        return ns_to_ms(rtt_ns)

    def paced(self, schedule: Iterable[float], count: int | None = None) -> Iterator[int]:
        """Wait for each of a schedule's moments in turn, while the socket is open.

        Yields:
            when the message was meant to be sent: hand it on as ``intended_ns``. Moments that passed while
            the scenario was busy come at once and are not left out (no coordinated omission). None comes
            after the end of the socket, or of the load (see ``Client.load_ends``), which end the waiting too.
        """
        client, start_ns = self.client, time.perf_counter_ns()
        for at_s in itertools.islice(schedule, count):
            intended_ns = start_ns + s_to_ns(at_s)
            while (ahead_ns := intended_ns - time.perf_counter_ns()) > 0:
                if self.ended or client.load_ended:
                    break
                self._rest(ahead_ns)
            if client.load_ended and self.is_open:
                client.await_end()
                return
            if not self.is_open:
                self._give_way()
                return
            yield intended_ns

    def pause(self, seconds: float) -> bool:
        """Sleep, but no longer than the socket and the load last: who loses it comes back at once.

        Returns:
            whether the socket is still open.
        """
        client, until_ns = self.client, time.perf_counter_ns() + s_to_ns(seconds)
        if not self.is_open:
            self._give_way()
        while not (self.ended or client.load_ended) and (ahead_ns := until_ns - time.perf_counter_ns()) > 0:
            self._rest(ahead_ns)
        if client.load_ended and self.is_open:
            client.await_end()
        return self.is_open

    def _give_way(self) -> None:
        """Let others run: the caller asks something of a closed socket; see ``after_end``."""
        if getcurrent() is get_hub():
            return
        if self._after_end is None:
            self._after_end = AfterEnd()
        self._after_end.called(self)

    def _rest(self, duration_ns: int) -> None:
        """Sleep, but no longer than the socket and the load last: who loses it comes back at once."""
        waiter = self._until_closed()
        self.client.resting.add(waiter)
        try:
            rest(waiter, duration_ns)
        finally:
            self.client.resting.discard(waiter)
            if self._closers is not None and waiter in self._closers:
                self._closers.remove(waiter)

    def close(self, code: int = 1000, reason: str = "", timeout: float | None = None) -> None:
        """Close with a close handshake, and wait until it is done: at most ``timeout`` seconds.

        Raises:
            ValueError: for a code that may not be sent (RFC 6455 section 7.4).
        """
        self.begin_close(code, reason, timeout)
        if not self.ended and getcurrent() is not get_hub():
            self._until_closed().wait()

    def begin_close(self, code: int = 1000, reason: str = "", timeout: float | None = None) -> None:
        """Send a close frame and come back at once; the rest happens by itself, in ``timeout`` seconds.

        Where the server's close frame has come already, the server closed first, and the books say so.
        """
        if self.is_open and self._link is not None and reason not in outcomes.OF_THE_RUN:
            self._link.catch_up()
        self._close_with(self._closing.begin(code, reason), timeout)

    def mark_usable(self) -> None:
        """Say that the socket does what it is for, where no single message shows it."""
        self._became_usable(time.perf_counter_ns())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, GreenletExit):
            # the user is being stopped: leave without waiting, whoever stops the run waits for all
            self.begin_close(1000, self.client.end_reason)
        else:
            self.close()

    def __repr__(self) -> str:
        return f"<Connection {self.id} {self.name}: {self.outcome}, {self._closing.stage}>"

    # -------------------------------------------------------------------------------- the client's view

    def start(self, heartbeat_ns: int) -> None:
        """The socket is open: begin to listen, and to beat where an interval is given."""
        assert self._link is not None
        self._link.start(self)
        if heartbeat_ns and self.is_open:
            self._heartbeat = Heartbeat(self, heartbeat_ns)

    def say_hello(self, message: Sendable, answered_by: Predicate, deadline_ns: int) -> None:
        """Log in with a first message; without its answer the opening has failed."""
        opening = self.opening
        opening.phase = "hello"
        started_ns = time.perf_counter_ns()
        answered_by = self._guarded(answered_by, "hello")

        def answers(answer: Message) -> bool:
            if not answered_by(answer):
                return False
            # here, as a close may come in the same read, before whoever waits runs again
            opening.phase = ""
            opening.phases_ns["hello"] = answer.received_ns - started_ns
            if self._usable_when is None:
                self._became_usable(answer.received_ns)
            return True

        self.send(message)
        answer = self.expect(answers, (deadline_ns - started_ns) / NS_PER_S)
        if answer is None and not self.ended:
            opening.outcome = opening.error = outcomes.TIMEOUT_HELLO
            self.begin_close(1000, "hello not answered")

    def give_up(self) -> None:
        """End now: the peer has not answered our close frame in the time that it had."""
        if not self.ended:
            self._closing.timed_out()
            self._end(abort=True)

    def cancel(self) -> None:
        """Whoever opened it was killed before it was said to be open: nobody will have this socket."""
        if not self.ended:
            self.opening.outcome = self.opening.error = outcomes.CANCELLED
            self.begin_close(1000, self.client.end_reason)

    def fail(self) -> None:
        """Something of ours broke while it read: say so to the peer, and end."""
        # what it read, and could not take, is not looked at again
        self._close_with(self._closing.begin(1011, "the client failed"), None)
        self.give_up()

    # -------------------------------------------------------------------------------- the link's view

    def on_message(self, data: str | bytes, size: int, now_ns: int) -> None:
        """A whole message came; ``size`` is its payload in bytes."""
        series = self._series
        series.received += 1
        series.bytes_received += size
        self.messages_received += 1
        self._bytes_received += size
        self._last_message_ns = now_ns
        message = Message(data, now_ns)
        stray = False
        if self._usable_when is not None and self._usable_when(message):
            self._usable_when = None
            self._became_usable(now_ns)
        if self._replies is not None:
            answered = self._replies.answer(message, now_ns)
            if answered:
                if self._usable_ns is None and self._usable_when is None:
                    self._became_usable(now_ns)
                # last: whoever waits runs at once
                answered.wake(message)
                return
            stray = answered is not None
        self._last_push = message
        self._last_push_at = self.messages_received
        if self.listener is not None:
            self.listener.received(self.name, size)
        self._made_inbox().put(message, stray)

    def on_ping(self, payload: bytes) -> None:
        """A ping came: answer it (RFC 6455 section 5.5.3)."""
        # a peer that pings and does not read must not fill our memory
        if self.is_open and self._link is not None and self._link.unsent_bytes <= HIGH_WATER_BYTES:
            self._transmit(PONG, payload)

    def on_pong(self, payload: bytes, now_ns: int) -> None:
        """A pong came."""
        if self._pings is not None:
            self._pings.answer(payload, now_ns)

    def on_close_frame(self, frame: CloseFrame) -> None:
        """A close frame came: answer it if it is the first, and end."""
        if not self.ended:
            self._answer_close(self._closing.received(frame))

    def on_violation(self, violation: Violation) -> None:
        """The peer broke the protocol: say so, and end."""
        if not self.ended:
            self._answer_close(self._closing.violated(violation))

    def on_lost(self, error: OSError | None) -> None:
        """The byte stream ended (``None``) or broke, without a close frame."""
        if not self.ended:
            # a reset that met a send first is an ordinary end to the next read
            self._closing.lost(error or self._write_error)
            self._end(abort=True)

    def on_heartbeat_lost(self) -> None:
        """The peer has been silent for too long: say so to whom it may still reach, and end."""
        payload = self._closing.heartbeat_lost()
        if payload is not None:
            self._transmit(CLOSE, payload)
            self._end(abort=True)

    # -------------------------------------------------------------------------------- sending

    def send_ping(self, waiter: Waiter | None) -> bytes:
        """Send a ping whose pong wakes ``waiter`` with the round trip in ns; the ping's payload."""
        if self._pings is None:
            self._pings = Pings(self._series, self.listener)
        payload = self.client.next_ping()
        now_ns = time.perf_counter_ns()
        self._recorder.tick(now_ns)
        self._pings.add(payload, now_ns, waiter)
        self._transmit(PING, payload)
        return payload

    def _send(
        self, opcode: int, payload: bytes, name: str | None, intended_ns: int | None, reply: Reply | None
    ) -> bool:
        now_ns = time.perf_counter_ns()
        recorder = self._recorder
        if now_ns >= recorder.second_end_ns:
            recorder.tick(now_ns)
        series = self._series
        if reply is not None:
            self._expected = True
        if not self.is_open:
            if self.opening.is_open:
                self._expected = True
                series.send_on_closed += 1
            self._give_way()
            return False
        size = len(payload)
        series.sent += 1
        series.bytes_sent += size
        self.messages_sent += 1
        self._bytes_sent += size
        if intended_ns is not None:
            of_message = series if name is None else recorder.series(name)
            of_message.lag_ns.append(now_ns - intended_ns)
        if reply is not None and self._replies is not None:
            # before the send: on a fast network the answer must find its request
            self._replies.begin(reply, now_ns, intended_ns)
        elif self.listener is not None:
            self.listener.sent(name or self.name, size)
        if self._transmit(opcode, payload) > HIGH_WATER_BYTES:
            self._wait_for_room()
        return True

    def _transmit(self, opcode: int, payload: bytes) -> int:
        assert self._link is not None
        try:
            return self._link.send_frame(opcode, payload)
        except OSError as error:
            self._write_failed(error)
            return 0

    def _write_failed(self, error: OSError) -> None:
        self._write_error = error

        # what the peer said before it went, perhaps a close frame, is still to be read, on the hub
        def look() -> None:
            if self._link is not None:
                self._link.drain()
                self.on_lost(error)

        get_hub().loop.run_callback(look)

    def _wait_for_room(self) -> None:
        """Hold the sender back while the peer does not read, as a blocking socket would."""
        if self._link is not None and getcurrent() is not get_hub():
            waiter = Waiter()
            self._link.when_sent(waiter)
            waiter.wait()

    def _until_closed(self) -> Waiter:
        """What is woken when the socket has closed."""
        waiter = Waiter()
        if self._closers is None:
            self._closers = []
        self._closers.append(waiter)
        return waiter

    def _guarded(self, function: Callable[[Message], Any], where: str) -> Guard:
        return Guard(function, where, self.client, self.owner)

    def _made_inbox(self) -> Inbox:
        if self._inbox is None:
            self._inbox = Inbox(self.client, self._series)
        return self._inbox

    def _became_usable(self, now_ns: int) -> None:
        if self._usable_ns is None:
            self._usable_ns = now_ns - self.opening.started_ns
            self._series.usable += 1
            self._series.usable_ns.append(self._usable_ns)

    # -------------------------------------------------------------------------------- the end

    def _close_with(self, payload: bytes | None, timeout: float | None) -> None:
        """Send our close frame, if there is one to send, and bound the wait for the peer's."""
        if payload is None:
            return
        self.is_open = False
        if self._heartbeat is not None:
            # no frame may follow a close frame (RFC 6455 section 5.5.1)
            self._heartbeat.stop()
        timeout_ns = self.client.close_timeout_ns if timeout is None else s_to_ns(timeout)
        self._close_began_ns = time.perf_counter_ns()
        self._close_deadline = Duty(self.client.deadlines, self._close_began_ns + timeout_ns, self.give_up)
        self._transmit(CLOSE, payload)

    def _answer_close(self, payload: bytes | None) -> None:
        if payload is not None:
            self._close_began_ns = time.perf_counter_ns()
            self._transmit(CLOSE, payload)
        self._end()

    def _end(self, *, abort: bool = False) -> None:
        """Write the record, let the link go, and wake all who wait."""
        self.is_open = False
        now_ns = time.perf_counter_ns()
        self._recorder.tick(now_ns)
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None
        if self._close_deadline is not None:
            self._close_deadline.cancel()
        if self.opening.phase == "hello" and self.opening.is_open:
            self.opening.outcome = outcomes.CANCELLED if self._closing.by_run else outcomes.CLOSED_HELLO
            self.opening.error = self.opening.outcome
        waiters: list[Waiter] = [] if self._replies is None else [*self._replies.lose(self._closing.by_run)]
        for part in (self._inbox, self._pings):
            waiters += [] if part is None else part.waiters()
        waiters += self._closers or ()
        self._recorder.connection_ended(self.record(now_ns))
        if self.opening.is_open:
            self._count_close(now_ns)
        link, self._link = self._link, None
        assert link is not None
        if abort:
            link.abort()
        else:
            link.finish()
        self.client.forget(self)
        for waiter in waiters:
            waiter.wake(None)

    def _count_close(self, now_ns: int) -> None:
        closing_ns = None if self._close_began_ns is None else now_ns - self._close_began_ns
        if closing_ns is not None:
            self._series.closing_ns.append(closing_ns)
        if self.listener is not None:
            self.listener.closed(self.name, closing_ns, self.close_error)

    def record(self, now_ns: int) -> ConnectionRecord:
        """The connection's row in the ledger, when it ends at ``now_ns``."""
        closing = self._closing
        opening = self.opening
        phase_ms = {phase: ns_to_ms(duration_ns) for phase, duration_ns in opening.phases_ns.items()}.get
        existed = closing.initiator is not None
        return ConnectionRecord(
            id=self.id,
            worker=self._recorder.worker,
            name=self.name,
            path=self._path,
            started_at=self._recorder.unix_s(opening.started_ns),
            outcome=opening.outcome,
            phase=opening.phase,
            status=opening.status,
            error=opening.error,
            body=opening.body,
            resolve_ms=phase_ms("resolve"),
            tcp_ms=phase_ms("tcp"),
            tls_ms=phase_ms("tls"),
            upgrade_ms=phase_ms("upgrade"),
            hello_ms=phase_ms("hello"),
            usable_ms=ns_to_ms(self._usable_ns),
            usable=self._was_usable(),
            attempt=self._attempt,
            age_s=ns_to_s(now_ns - self._opened_ns) if existed else None,
            code=closing.code if existed else None,
            sent_code=closing.sent_code,
            received_code=closing.received_code,
            reason=closing.reason,
            initiator=closing.initiator,
            clean=closing.clean if existed else None,
            detail=closing.detail,
            errno=closing.errno if existed else opening.errno,
            state=self.state,
            server_error=self._server_error(),
            idle_s=ns_to_s(now_ns - self.last_read_ns) if existed else None,
            messages_sent=self.messages_sent,
            messages_received=self.messages_received,
            bytes_sent=self._bytes_sent,
            bytes_received=self._bytes_received,
            opening=self._under_way,
            quiet_s=ns_to_s(now_ns - self._last_message_ns) if existed else None,
            address=opening.address,
            headers="" if opening.status in (None, 101) else record_text(opening.headers),
            waited_s=self._waited_s,
        )

    def _was_usable(self) -> bool | None:
        """See ``records.ConnectionRecord.usable``."""
        if self._usable_ns is not None:
            return True
        if not self.opening.is_open:
            return None if self.outcome == outcomes.CANCELLED else False
        if self._closing.initiator != "client":
            # a server that goes without a word was not usable, whether or not we had asked yet
            return False if self._expected or not self.messages_received else None
        timed_out = self._waited_in_vain or (self._replies is not None and self._replies.timeouts > 0)
        cut_short = self._closing.reason in outcomes.OF_AN_END and not timed_out
        return False if self._expected and not cut_short else None

    def _server_error(self) -> str:
        """The error message in what the server sent last, if that was one."""
        last = self._last_push
        if last is None or self._last_push_at != self.messages_received:
            return ""
        return error_text(last.data)
