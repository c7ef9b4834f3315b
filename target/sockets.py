"""Sockets: the protocol class that uvicorn hands every upgrade to, and what an application sees of it.

The opening handshake, control frames, fragments, extensions and all that is malformed go through the
sans-I/O protocol of ``websockets``. Whole unfragmented data frames, nearly all there is under load, are
taken apart here and given straight to the application, without a task, a queue or a turn of the loop for
each socket or message:

    transport → SocketProtocol → Channel.text(...) → SocketProtocol.send_text(...) → transport

An ASGI application could not do what some incidents need: reset the connection inside the upgrade, end it
before any answer, close without a status. Hence a protocol class, and the faults of the handshake in it
(``faults.Step``).

    connecting ──101──▶ open ──close frame sent──▶ closing ──▶ lost
        │                └────close frame received───────────────▲
        └──rejected, reset, end of stream───────────────────────┘
"""

import asyncio
import contextlib
import inspect
import logging
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import cached_property, partial
from http import HTTPStatus
from typing import Any, ClassVar, cast
from urllib.parse import parse_qs, unquote

from websockets.datastructures import Headers
from websockets.exceptions import PayloadTooBig
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from target.capacity import CapacityQueue
from target.drops import Drops
from target.faults import Delay, Eof, Faults, Reject, Reset, Step
from target.leaks import Leaks
from target.metrics import Metrics, Traffic

try:
    from websockets.speedups import apply_mask
except ImportError:
    from websockets.utils import apply_mask

logger = logging.getLogger(__name__)

HEAD_END = b"\r\n\r\n"
MAX_HEAD_BYTES = 64 * 1024
MAX_EARLY_BYTES = 64 * 1024
CLOSE_TIMEOUT_S = 3.0
FINAL_TEXT, FINAL_BINARY = 0x81, 0x82
"""First byte of a frame with FIN, no reserved bit, and the opcode (RFC 6455, Section 5.2)."""
PING_FRAME = b"\x89\x00"
"""A ping without a body."""

CRASH = "the application failed on a socket"
HTTP_STATUSES = frozenset(status.value for status in HTTPStatus)

NO_SYSTEM = "none"
"""Metrics label of a path that no system answers."""


@dataclass(frozen=True)
class Handshake:
    """An opening handshake as an application sees it; ``parameters`` are those of the route's path."""

    path: str
    query_string: str
    headers: Headers
    parameters: dict[str, str] = field(default_factory=dict)

    @cached_property
    def query(self) -> dict[str, str]:
        """Query parameters; of one that is repeated, the first value."""
        return {key: values[0] for key, values in parse_qs(self.query_string, keep_blank_values=True).items()}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer to a handshake other than 101."""

    status: int
    body: str = ""


def plain_response(refusal: Refusal) -> Response:
    """The HTTP answer of a refusal, with any status, known or not."""
    body = refusal.body.encode()
    headers = Headers(
        [
            ("Date", formatdate(usegmt=True)),
            ("Connection", "close"),
            ("Content-Length", str(len(body))),
            ("Content-Type", "text/plain; charset=utf-8"),
        ]
    )
    phrase = HTTPStatus(refusal.status).phrase if refusal.status in HTTP_STATUSES else "Unknown"
    return Response(refusal.status, phrase, headers, body)


class Channel:
    """The application's side of one socket: override what is of interest.

    An exception out of any of these is logged and closes the socket with 1011.
    """

    __slots__ = ("socket",)
    socket: "SocketProtocol"

    def opened(self) -> None:
        """The 101 was sent."""

    def text(self, text: str) -> None:
        """A text message came."""

    def binary(self, payload: bytes) -> None:
        """A binary message came."""

    def pong(self) -> None:
        """A pong came, asked for or not."""

    def last_word(self, message: str) -> str | None:
        """Text to send before a close that a message forced (too big, not UTF-8), or None."""
        del message
        return None

    def closed(self) -> None:
        """The connection is gone, for whatever reason."""


Opening = Channel | Refusal


@dataclass(frozen=True, slots=True)
class SocketRoute:
    """A socket route: ``path`` may hold ``{parameters}``, each one segment long.

    ``open`` decides on a handshake, at once or as a coroutine: a channel answers 101, a refusal its status.
    """

    system: str
    path: str
    open: Callable[[Handshake], Opening | Awaitable[Opening]]


class SocketRouter:
    """Finds the route of a path: plain paths by one look-up, the others by their patterns in order."""

    def __init__(self, routes: Iterable[SocketRoute]) -> None:
        self._plain: dict[str, SocketRoute] = {}
        self._patterns: list[tuple[re.Pattern[str], SocketRoute]] = []
        for route in routes:
            if "{" in route.path:
                pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(route.path))
                self._patterns.append((re.compile(pattern), route))
            else:
                self._plain[route.path] = route

    def find(self, path: str) -> tuple[SocketRoute, dict[str, str]] | None:
        """The route and its path parameters, or None."""
        plain = self._plain.get(path)
        if plain is not None:
            return plain, {}
        for pattern, route in self._patterns:
            match = pattern.fullmatch(path)
            if match is not None:
                return route, match.groupdict()
        return None


@dataclass(frozen=True, slots=True)
class SocketPlan:
    """What every socket of one server shares."""

    router: SocketRouter
    faults: Faults
    metrics: Metrics
    max_message_bytes: int = 1 << 20
    compression: bool = False
    drops: Drops = field(default_factory=Drops)
    queue: CapacityQueue = field(default_factory=CapacityQueue)
    leaks: Leaks = field(default_factory=Leaks)

    def switched(self) -> None:
        """Faults were switched, or the server begins: what runs by itself begins, changes or ends."""
        capacity = self.faults.active("server", "capacity")
        self.queue.switched(capacity.params if capacity else None)
        self.leaks.switched(self.faults, self.metrics.messages_received)


class SocketProtocol(asyncio.BufferedProtocol):
    """One WebSocket connection, from its request head to its end.

    uvicorn makes it, by ``Config(ws=…)``, with the arguments below, and calls ``shutdown``; the application
    sends and closes. Everything runs on the loop's thread.
    """

    plan: ClassVar[SocketPlan]

    # One buffer for all sockets, as each read is used up before the next: a fresh one of 256 KiB a read, as
    # asyncio.Protocol gets, costs three system calls for its memory, more than the echo itself.
    _buffer: ClassVar[bytearray] = bytearray(128 * 1024)

    __slots__ = (
        "_channel",
        "_codec",
        "_connections",
        "_corked",
        "_deaf",
        "_decided",
        "_fragments",
        "_fragments_are_text",
        "_half_closed",
        "_judged",
        "_loop",
        "_out",
        "_plain",
        "_system",
        "_tail",
        "_tasks",
        "_timer",
        "_traffic",
        "_transport",
        "_writable",
        "is_open",
    )

    def __init__(
        self,
        config: Any,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        del config, app_state
        self._connections: set[Any] = server_state.connections
        self._loop = _loop or asyncio.get_running_loop()
        self._codec = ServerProtocol(
            extensions=[ServerPerMessageDeflateFactory()] if self.plan.compression else None,
            max_size=self.plan.max_message_bytes,
            logger=logger,
        )
        self._transport: asyncio.Transport
        self._system = NO_SYSTEM
        self._traffic: Traffic = self.plan.metrics.of(NO_SYSTEM)
        self._channel: Channel | None = None
        self._judged = False
        self._decided = False
        self.is_open = False
        self._plain = True
        self._half_closed = False
        self._deaf = False
        self._fragments: list[bytes] | None = None
        self._fragments_are_text = False
        self._tail = b""
        self._corked = False
        self._out: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] | None = None
        self._writable: asyncio.Event | None = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def get_buffer(self, sizehint: int) -> bytearray:
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(memoryview(self._buffer)[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Take what the client sent; uvicorn calls this with the request head."""
        if self._half_closed or self._deaf:
            return
        self._corked = True
        try:
            if self._channel is not None:
                self._receive(data)
            elif self._judged:
                self._keep_early(data)
            else:
                self._receive_head(data)
        finally:
            self._corked = False
            self._flush()

    def eof_received(self) -> None:
        # Returning None makes the transport close itself.
        return None

    def pause_writing(self) -> None:
        # A client that does not read is not read from, so that the buffer of its answers stays bounded.
        self._writable = asyncio.Event()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set()
            self._writable = None
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._connections.discard(self)
        self._cancel_timer()
        vanished, self.is_open = self.is_open, False
        if self._writable is not None:
            self._writable.set()
            self._writable = None
        for task in self._tasks or ():
            task.cancel()
        if self._channel is None:
            self._count_handshake("abandoned")
            return
        self.plan.drops.lost(self._system, self)
        closure = self._closure()
        ended = partial(self._traffic.ended, closure)
        leaked = (vanished or closure[1] == "client") and self.plan.leaks.strikes(self._system)
        if not (leaked and self.plan.leaks.sockets.keep(self._transport.get_extra_info("socket"), ended)):
            ended()
        with self._guarded():
            self._channel.closed()

    # What uvicorn calls.

    def shutdown(self) -> None:
        """Service restart: a close handshake with 1012 where the socket is open, else 503."""
        if self.is_open:
            self.close(1012, "service restart")
        elif self._deaf:
            self._transport.abort()
        elif self._channel is None and not self._decided:
            self._reject(Refusal(503, "service restart"))

    # What applications call.

    def send_text(self, text: str) -> bool:
        """Send a text message; False where the socket is not open any more."""
        return self._send(FINAL_TEXT, text.encode())

    def send_binary(self, payload: bytes) -> bool:
        """Send a binary message; False where the socket is not open any more."""
        return self._send(FINAL_BINARY, payload)

    def send_ping(self) -> bool:
        """Send a ping (RFC 6455, Section 5.5.2); False where the socket is not open any more."""
        if self.is_open:
            self._write(PING_FRAME)
        return self.is_open

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Start the close handshake; ``None`` sends a close frame without a code (1005). No-op unless open.

        Bounded: a client that does not answer within ``CLOSE_TIMEOUT_S`` seconds is dropped.
        """
        if not self.is_open:
            return
        self._codec.send_close(code, reason)
        self.is_open = False
        self._write_codec()
        self._linger()

    def drop(self) -> None:
        """End the connection without a close frame (the client sees the end of the stream)."""
        self.is_open = False
        self._decided = True
        self._flush()
        with contextlib.suppress(OSError):
            self._transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
        self._transport.abort()

    def reset(self) -> None:
        """End the connection by a TCP reset (the client sees ECONNRESET)."""
        self.is_open = False
        self._decided = True
        # SO_LINGER on, 0 seconds: close() discards what is unsent and sends RST.
        self._transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self._transport.abort()

    def end_stream(self) -> None:
        """End our stream without a close frame, and discard what still comes until the client closes.

        Unlike ``drop``, this is the end of the stream to the client whatever it has sent meanwhile: closing
        TCP with bytes unread would send a reset.
        """
        self.is_open = False
        self._half_close()

    def go_deaf(self) -> None:
        """Take in and discard whatever comes from now on, and say nothing, not even pongs; TCP stays open."""
        self._flush()
        self.is_open = False
        self._deaf = True

    def deliver(self, payload: bytes, is_text: bool) -> None:
        """Give a message to the application; an exception out of it closes with 1011."""
        channel = cast(Channel, self._channel)
        try:
            if not is_text:
                channel.binary(payload)
                return
            try:
                text = payload.decode()
            except UnicodeDecodeError:
                # RFC 6455, Section 8.1.
                self._say_last_word("Message is not UTF-8")
                self.close(1007, "not UTF-8")
                return
            channel.text(text)
        except Exception:
            logger.exception(CRASH)
            self.close(1011, "internal error")

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine that ends with the connection; an exception out of it closes with 1011."""
        if self._tasks is None:
            self._tasks = set()
        task = self._loop.create_task(self._run(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drained(self) -> None:
        """Wait until the client has read enough of what was sent; returns at once as a rule."""
        if self._writable is not None:
            await self._writable.wait()

    # The opening handshake.

    def _receive_head(self, data: bytes) -> None:
        head = self._tail + data
        end = head.find(HEAD_END)
        if end < 0:
            self._tail = head
            if len(head) > MAX_HEAD_BYTES:
                self._reject(Refusal(431, "Request Header Fields Too Large"))
            return
        end += len(HEAD_END)
        self._tail = head[end:]
        self._judged = True
        self._codec.receive_data(head[:end])
        events = self._codec.events_received()
        if events and isinstance(events[0], Request):
            self._judge(events[0])
        else:
            self._count_handshake("bad-request")
            self._write_codec()
            self._end()

    def _keep_early(self, data: bytes) -> None:
        """Keep what a client sends before it has its answer."""
        self._tail += data
        if len(self._tail) > MAX_EARLY_BYTES:
            self._transport.pause_reading()

    def _judge(self, request: Request) -> None:
        raw_path, _, query = request.path.partition("?")
        path = unquote(raw_path)
        found = self.plan.router.find(path)
        self._system = system = found[0].system if found else NO_SYSTEM
        self._traffic = self.plan.metrics.of(system)
        if not self.plan.drops.asked(system):
            self._reject(Refusal(503, "coming back"))
            return
        handshake = Handshake(path, query, request.headers, found[1] if found else {})
        self._step(self.plan.faults.upgrade_steps(system), request, handshake, found[0] if found else None)

    def _step(
        self, steps: list[Step], request: Request, handshake: Handshake, route: SocketRoute | None
    ) -> None:
        """Take the faults' steps one by one; the handshake goes on where none of them ended it."""
        if not steps:
            self._admit(request, handshake, route)
            return
        match steps[0]:
            case Delay(seconds):
                self._timer = self._loop.call_later(seconds, self._step, steps[1:], request, handshake, route)
            case Reject(status, body):
                self._reject(Refusal(status, body))
            case Reset():
                self._count_handshake("reset")
                self.reset()
            case Eof():
                self._count_handshake("eof")
                self.drop()

    def _admit(self, request: Request, handshake: Handshake, route: SocketRoute | None) -> None:
        response = self._codec.accept(request)
        if response.status_code != 101:
            self._answer(response)
            return
        if route is None:
            self._reject(Refusal(404, "Not Found"))
            return
        try:
            opening = route.open(handshake)
        except Exception:
            logger.exception("the application failed in a handshake")
            self._reject(Refusal(500, "Internal Server Error"))
            return
        if inspect.isawaitable(opening):
            self.spawn(self._await_opening(opening, response))
        else:
            self._open(opening, response)

    async def _await_opening(self, opening: Awaitable[Opening], response: Response) -> None:
        try:
            decided = await opening
        except Exception:
            logger.exception("the application failed in a handshake")
            decided = Refusal(500, "Internal Server Error")
        self._open(decided, response)

    def _open(self, opening: Opening, response: Response) -> None:
        if self._decided or self._transport.is_closing():
            return
        if isinstance(opening, Refusal):
            self._reject(opening)
            return
        self._codec.send_response(response)
        self._write_codec()
        self._count_handshake("accepted")
        self._plain = not self._codec.extensions
        self._channel = opening
        self._traffic.open_sockets += 1
        self.is_open = True
        self.plan.drops.opened(self._system, self)
        opening.socket = self
        with self._guarded():
            opening.opened()
        tail, self._tail = self._tail, b""
        if not self._transport.is_reading() and self._writable is None:
            self._transport.resume_reading()
        if tail:
            self.data_received(tail)

    def _reject(self, refusal: Refusal) -> None:
        self._answer(plain_response(refusal))

    def _answer(self, response: Response) -> None:
        self._count_handshake(f"rejected-{response.status_code}")
        if self._judged:
            self.plan.drops.rejected(self._system)
        self._codec.send_response(response)
        self._write_codec()
        self._end()

    def _count_handshake(self, result: str) -> None:
        """Count how the handshake ended, the first time it does."""
        if not self._decided:
            self._decided = True
            self._traffic.handshakes[result] += 1

    # Frames.

    def _receive(self, data: bytes) -> None:
        if not self._plain:
            self._receive_by_codec(data)
            return
        if self._tail:
            data = self._tail + data
        at = self._receive_frames(data)
        self._tail = data[at:]

    def _receive_frames(self, data: bytes) -> int:
        """Handle every whole frame; returns where the first incomplete one starts (RFC 6455, Section 5.2)."""
        at, size = 0, len(data)
        largest = self.plan.max_message_bytes
        traffic = self._traffic
        while size - at >= 2:
            first, second = data[at], data[at + 1]
            length, head = second & 0x7F, at + 6
            if length == 126:
                if size - at < 4:
                    break
                length, head = (data[at + 2] << 8) | data[at + 3], at + 8
            elif length == 127:
                if size - at < 10:
                    break
                length, head = int.from_bytes(data[at + 2 : at + 10]), at + 14
            if length > largest or second < 0x80:
                # Too big, or not masked: the codec fails the connection and discards whatever follows.
                self._receive_by_codec(data[at:])
                return size
            end = head + length
            if end > size:
                break
            if first in (FINAL_TEXT, FINAL_BINARY) and self._fragments is None:
                traffic.messages_received += 1
                traffic.bytes_received += length
                if self.is_open:
                    self._deliver(apply_mask(data[head:end], data[head - 4 : head]), first == FINAL_TEXT)
            else:
                self._receive_by_codec(data[at:end])
            at = end
        return at

    def _receive_by_codec(self, data: bytes) -> None:
        if self._deaf:
            # The rest of the read in which it became so.
            return
        self._codec.receive_data(data)
        for event in self._codec.events_received():
            if isinstance(event, Frame):
                self._receive_frame(event)
        failure = self._codec.parser_exc
        if isinstance(failure, PayloadTooBig):
            self._say_last_word("Message too large")
        self._write_codec()
        if failure is not None:
            self._fail()
        elif self._codec.close_rcvd is not None:
            # RFC 6455, Section 7.1.1: the server closes TCP first.
            self.is_open = False
            self._end()

    def _receive_frame(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._fragments = []
            self._fragments_are_text = frame.opcode is Opcode.TEXT
        elif frame.opcode is Opcode.PONG and self.is_open:
            with self._guarded():
                cast(Channel, self._channel).pong()
            return
        elif frame.opcode is not Opcode.CONT:
            return
        if self._fragments is None:
            return
        self._fragments.append(bytes(frame.data))
        if frame.fin:
            payload, self._fragments = b"".join(self._fragments), None
            self._traffic.messages_received += 1
            self._traffic.bytes_received += len(payload)
            if self.is_open:
                self._deliver(payload, self._fragments_are_text)

    def _deliver(self, payload: bytes, is_text: bool) -> None:
        capacity = self.plan.faults.active("server", "capacity")
        if capacity is None:
            self.deliver(payload, is_text)
        else:
            capacity.strikes()
            self.plan.queue.take(self, payload, is_text, capacity.params)

    def _say_last_word(self, message: str) -> None:
        if not self.is_open:
            return
        with self._guarded():
            text = cast(Channel, self._channel).last_word(message)
            if text is not None:
                # Past the codec, which may have taken the close frame already.
                self._write_message(FINAL_TEXT, text.encode())

    def _send(self, first: int, payload: bytes) -> bool:
        if not self.is_open:
            return False
        if self._plain:
            self._write_message(first, payload)
            return True
        self._traffic.messages_sent += 1
        self._traffic.bytes_sent += len(payload)
        send = self._codec.send_text if first == FINAL_TEXT else self._codec.send_binary
        send(payload)
        self._write_codec()
        return True

    def _write_message(self, first: int, payload: bytes) -> None:
        """Write one frame as it is, unmasked (RFC 6455, Section 5.1)."""
        length = len(payload)
        self._traffic.messages_sent += 1
        self._traffic.bytes_sent += length
        if length < 126:
            self._write(bytes((first, length)) + payload)
        elif length < 65536:
            self._write(struct.pack("!BBH", first, 126, length) + payload)
        else:
            self._write(struct.pack("!BBQ", first, 127, length) + payload)

    # Writing and ending.

    def _write(self, data: bytes) -> None:
        """Write, or keep until the end of ``data_received``: many small answers make one system call."""
        if self._deaf:
            return
        if self._corked:
            self._out.append(data)
        else:
            self._transport.write(data)

    def _write_codec(self) -> None:
        """Write what the codec has to say; its mark for the end of the stream is left to ``_end``."""
        for data in self._codec.data_to_send():
            if data:
                self._write(data)

    def _flush(self) -> None:
        if self._out:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def _end(self) -> None:
        """Close TCP after what was written."""
        self._flush()
        self._transport.close()

    def _fail(self) -> None:
        """End a connection that the codec failed: half-close, and discard until the client closes as well.

        Closing TCP at once, with unread bytes of the client's in the kernel, would send a reset, which can
        overtake the close frame.
        """
        self._plain = False
        self.is_open = False
        self._half_close()

    def _half_close(self) -> None:
        if self._half_closed:
            return
        self._half_closed = True
        self._flush()
        if not self._transport.is_closing():
            self._transport.write_eof()
            self._linger()

    def _linger(self) -> None:
        """Wait for the client to end the close handshake, but not for ever."""
        self._cancel_timer()
        self._timer = self._loop.call_later(CLOSE_TIMEOUT_S, self._transport.abort)
        if not self._transport.is_reading() and not self._transport.is_closing():
            self._transport.resume_reading()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _closure(self) -> tuple[int, str]:
        """Code and initiator of the close, as ``Metrics`` defines them."""
        received, sent = self._codec.close_rcvd, self._codec.close_sent
        if received is not None and (sent is None or self._codec.close_rcvd_then_sent):
            return int(received.code), "client"
        if sent is not None:
            return int(sent.code), "server"
        return 1006, "network"

    async def _run(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            logger.exception(CRASH)
            self.close(1011, "internal error")

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            logger.exception(CRASH)
            self.close(1011, "internal error")
