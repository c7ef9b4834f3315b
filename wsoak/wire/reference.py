"""Reference: the same work done by websocket-client, for whoever doubts the fast path.

    Dialer ── tcp, tls ──► ReadAhead ◄── WebSocket (websocket-client) ◄── ReferenceLink ── on_… ──► Connection

Addresses, TCP and TLS come from our dialer, so that phases mean the same; the upgrade, the frames out and the
frames in are websocket-client's. It is handed a socket of ours, because its own ways would not do for a
ledger (seen in websocket-client 1.9):

- its time-out is for each ``recv``: a head that is dribbled, or has no end, would never time out. Ours ends
  the whole upgrade at one deadline and one size;
- ``close()`` waits for a lock that a reader holds, and swallows ``GreenletExit``; ``recv_data_frame`` answers
  each close with 1000, and pings even after a close. Only ``recv_frame`` and ``send_frame`` are used;
- it drops a close frame whose code may not be sent, or whose reason is not UTF-8: that frame is read again;
- one cookie jar serves the whole process (it is emptied before each opening), redirects are followed unless
  forbidden, and a rejection's body is read without a bound, or not at all (we read its start);
- its proxy is asked for here, as it is handed a connected socket: the variables are read by ``proxy``, and
  the tunnel is opened by its own ``_tunnel``;
- its UTF-8 validation in Python costs 100 µs a KiB: ``bytes.decode`` checks instead.

What it does not check, this client does not find either, and the fast path does: an accept key that is right
but for its case, a head that is no well-formed HTTP/1.1, repeated headers; masked frames, lengths not in
their shortest form, fragmented pongs and closes. It is stricter with heads that are not UTF-8, and takes an
interim response for a rejection. A path with ``;`` in its last segment it cannot ask for (ValueError).
"""

from __future__ import annotations

import os
import re
import ssl
import time
from functools import partial
from http.cookies import CookieError
from typing import TYPE_CHECKING, Any, Final

import gevent
import websocket
from gevent import get_hub
from websocket import ABNF
from websocket._abnf import frame_buffer
from websocket._handshake import CookieJar
from websocket._http import _tunnel
from websocket._url import parse_url

from wsoak.ledger import outcomes
from wsoak.wire.dial import Alarm, Detour, Dialer, Opening, Request, read_answer, refused
from wsoak.wire.endpoint import Endpoint
from wsoak.wire.frames import (
    CLOSE,
    MAX_CONTROL_BYTES,
    PING,
    PONG,
    TEXT,
    VIOLATION,
    Event,
    FrameDecoder,
    Violation,
)
from wsoak.wire.handshake import (
    DEFAULT_MAX_HEAD_BYTES,
    MAX_HEADERS_KEPT,
    HandshakeResult,
    HeadParser,
    build_request,
    new_key,
    read_fields,
)
from wsoak.wire.headers import Pairs
from wsoak.wire.link import READS_A_TURN, READS_OF_A_DRAIN, StreamLink, tell
from wsoak.wire.proxy import Proxy, proxy_for
from wsoak.wire.stream import READ_BYTES, Stream

if TYPE_CHECKING:
    from wsoak.wire.client import Client
    from wsoak.wire.connection import Connection
    from wsoak.wire.link import Link

_REFUSED: Final = f"{outcomes.BAD_UPGRADE}: websocket-client does not take the answer"

_find_status = re.compile(r"status: (\d{3})\Z").search
_key_in = re.compile(rb"\r\nSec-WebSocket-Key: ([^\r]*)\r\n").search


class ReferenceOpener:
    """Opens sockets with websocket-client."""

    def __init__(self, client: Client, tls: ssl.SSLContext | None) -> None:
        self._client = client
        self.dialer = Dialer(
            client.deadlines, tls, client.settings.source_addresses, client.resolver, _detour_of
        )

    def open(self, opening: Opening, endpoint: Endpoint, request: Request, timeout_ns: int) -> Link | None:
        """See ``client.Opener``."""
        url, options = _options(endpoint, request)
        ws = websocket.WebSocket(skip_utf8_validation=True)
        ahead: ReadAhead | None = None

        def upgrade(opening: Opening, alarm: Alarm) -> None:
            nonlocal ahead
            assert opening.stream is not None
            ahead = ReadAhead(opening.stream)
            _upgrade(opening, ws, ahead, alarm, url, options, request)

        self.dialer.connect(endpoint, timeout_ns, upgrade, opening)
        opening.stream = None
        if ahead is None or not opening.is_open:
            return None
        return ReferenceLink(self._client, ws, ahead, self._client.settings.max_message_bytes)

    def cancel(self) -> None:
        """See ``client.Opener``."""
        self.dialer.cancel()


def _detour_of(endpoint: Endpoint) -> Detour | None:
    """The way through the proxy that the environment names."""
    proxy = proxy_for(endpoint, os.environ)
    if proxy is None:
        return None
    words = f"by way of the proxy that {proxy.variable} names"
    return Detour(proxy.host, proxy.port, words, partial(_open_tunnel, endpoint, proxy))


def _open_tunnel(endpoint: Endpoint, proxy: Proxy, opening: Opening) -> None:
    """Have the proxy connect us to the host (CONNECT, RFC 9110 section 9.3.6), in websocket-client's way."""
    assert opening.stream is not None
    ahead = ReadAhead(opening.stream)
    host = _bracketed(endpoint.host)
    auth = None if proxy.user is None else (proxy.user, proxy.password or "")
    try:
        _tunnel(ahead, host, endpoint.port, auth)  # type: ignore[arg-type]
    except _HeadTooLarge:
        _no_tunnel(opening, "its answer is too long")
    except (_HeadComplete, websocket.WebSocketException, ValueError) as error:
        status = _find_status(str(error))
        if status is not None:
            _no_tunnel(opening, f"it answered {status[1]} to CONNECT")
        else:
            _no_tunnel(opening, "it answered no HTTP" if ahead.all_read else "it closed the connection")


def _no_tunnel(opening: Opening, why: str) -> None:
    opening.failed(outcomes.PROXY_FAILED, f"{outcomes.PROXY_FAILED}: {why}")


def _upgrade(
    opening: Opening,
    ws: websocket.WebSocket,
    ahead: ReadAhead,
    alarm: Alarm,
    url: str,
    options: dict[str, Any],
    request: Request,
) -> None:
    # the jar is read before the request is sent, and nothing switches greenlets in between
    CookieJar.jar.clear()
    started_ns = time.perf_counter_ns()
    try:
        ws.connect(url, socket=ahead, redirect_limit=0, **options)  # type: ignore[no-untyped-call]
    except _HeadTooLarge:
        error = f"{outcomes.HEAD_TOO_LARGE}: the response head is longer than the limit"
        opening.failed(outcomes.HEAD_TOO_LARGE, error)
        return
    except websocket.WebSocketConnectionClosedException:
        opening.failed(outcomes.EOF)
        return
    except (_HeadComplete, websocket.WebSocketException, CookieError, ValueError) as error:
        _explain(opening, ahead, alarm, request, _status_of(ws, error))
        return
    opening.status = ws.status
    opening.headers = _headers_in(ahead.all_read)
    headers = ws.headers or {}
    fault = _fault(headers, request)
    if fault:
        opening.failed(outcomes.BAD_UPGRADE, f"{outcomes.BAD_UPGRADE}: {fault}")
        return
    opening.phases_ns["upgrade"] = time.perf_counter_ns() - started_ns
    opening.outcome = outcomes.OPEN
    opening.phase = ""
    opening.subprotocol = headers.get("sec-websocket-protocol")


def _options(endpoint: Endpoint, request: Request) -> tuple[str, dict[str, Any]]:
    """The URL and options that make websocket-client send the request that the fast path sends.

    Raises:
        ValueError: when the request cannot be sent.
    """
    resource = endpoint.resource(request.path)
    given_headers = endpoint.headers(request.headers)
    # for its checks: websocket-client would send a line break inside a header's value
    build_request(
        endpoint.authority, resource, new_key(), given_headers, request.subprotocols, request.origin
    )
    url = f"{endpoint.scheme}://{_bracketed(endpoint.host)}:{endpoint.port}{resource}"
    if parse_url(url)[2] != resource:
        raise ValueError("websocket-client cannot ask for this path: percent-encode its semicolons")
    given = {name.lower() for name, _ in given_headers}
    headers = [f"{name}: {value}" for name, value in given_headers]
    if "user-agent" not in given:
        headers.append("User-Agent: wsoak")
    if request.subprotocols:
        # as its option, a server that chooses none would fail the handshake, against RFC 6455 section 4.1
        headers.append(f"Sec-WebSocket-Protocol: {', '.join(request.subprotocols)}")
    return url, {
        "header": headers,
        "host": endpoint.authority,
        "suppress_host": "host" in given,
        "origin": request.origin,
        "suppress_origin": request.origin is None or "origin" in given,
    }


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _fault(headers: dict[str, str], request: Request) -> str:
    """What RFC 6455 section 4.1 has a client check, and websocket-client does not."""
    if "sec-websocket-extensions" in headers:
        return "an extension was not asked for"
    subprotocol = headers.get("sec-websocket-protocol")
    if subprotocol is not None and subprotocol not in request.subprotocols:
        return "the subprotocol was not asked for"
    return ""


def _headers_in(head: bytes) -> Pairs:
    """The headers of an answer that websocket-client took; its own dict joins those of one name."""
    fields = read_fields(head.partition(b"\r\n\r\n")[0].partition(b"\n")[2].decode("latin-1"))
    return tuple(pair for pair in fields[:MAX_HEADERS_KEPT] if pair[0] != "sec-websocket-accept")


def _status_of(ws: websocket.WebSocket, error: BaseException) -> int | None:
    """The status for which websocket-client refused, where it told."""
    if isinstance(error, websocket.WebSocketBadStatusException):
        status: int | None = error.status_code
        return status
    answer = ws.handshake_response
    return None if answer is None else int(answer.status)


def _explain(opening: Opening, ahead: ReadAhead, alarm: Alarm, request: Request, status: int | None) -> None:
    """Say how the answer failed that websocket-client refused.

    The verdict is its own. For the words, and for the start of a rejection's body, the same bytes are read
    again; an answer that we would take is a ``bad-upgrade`` all the same.
    """
    parser = HeadParser(ahead.key, request.subprotocols)
    result: HandshakeResult | None = None
    seen = ahead.all_read
    if seen:
        result = parser.feed(seen)
    if result is None and parser.head_complete:
        result = read_answer(ahead.stream, parser, alarm)
    if result is not None and result.outcome != outcomes.OPEN and status in (None, result.status):
        refused(opening, result)
    elif status is not None and status != 101:
        opening.status = status
        opening.failed(outcomes.rejected(status), outcomes.rejected(status))
    else:
        opening.status = status
        opening.failed(outcomes.BAD_UPGRADE, _REFUSED)


class _HeadTooLarge(Exception):
    """The head of the answer is beyond the limit."""


class _HeadComplete(Exception):
    """websocket-client asks for what follows the head: the body of a rejection."""


class ReadAhead:
    """The socket that websocket-client is handed: a ``Stream`` that is read in large pieces.

    During the upgrade ``recv`` blocks the greenlet; after it, it raises BlockingIOError where nothing has
    come, and websocket-client keeps its place in the frame. ``send`` never blocks.

    Attributes:
        all_read: during the upgrade, every byte that was read.
        key: the Sec-WebSocket-Key that websocket-client sent.
        read_ns: when bytes were read last.
        reads_left: how often the kernel may still be asked in this turn.
    """

    _closed = False

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.all_read = b""
        self.key = ""
        self.read_ns = 0
        self.reads_left = 0
        self._data = b""
        self._at = 0
        self._upgrading = True
        self._head_size = 0
        self._line = bytearray()
        self._head_complete = False

    # ------------------------------------------------------------------------- what websocket-client calls

    def recv(self, size: int) -> bytes:
        """Up to ``size`` bytes; empty at the end of the stream."""
        if self._upgrading and self._head_complete:
            raise _HeadComplete
        if self._at >= len(self._data) and not self._read():
            return b""
        piece = self._data[self._at : self._at + size]
        self._at += len(piece)
        if self._upgrading:
            self._look_for_head_end(piece)
        return piece

    def send(self, data: bytes) -> int:
        """Send all of it, now or when the kernel takes it."""
        if self._upgrading:
            found = _key_in(data)
            self.key = found[1].decode() if found else self.key
        self.stream.send(data)
        return len(data)

    def gettimeout(self) -> float | None:
        """0 once frames are read: websocket-client then passes BlockingIOError on."""
        return None if self._upgrading else 0.0

    def settimeout(self, timeout: float | None) -> None:
        """Deadlines are not websocket-client's business."""

    def close(self) -> None:
        """The link, or whoever opened it, gives the socket back."""

    # ------------------------------------------------------------------------------------- what we call

    def upgraded(self) -> None:
        """What comes from here on is frames."""
        self._upgrading = False
        self.all_read = b""
        self._line = bytearray()

    @property
    def buffered(self) -> bool:
        """Whether ``recv`` would give something without asking the kernel."""
        return self._at < len(self._data)

    def look(self) -> bool:
        """Whether there are bytes to ``recv``, once the kernel was asked for them; its end does not count.

        Raises:
            OSError: when the connection was reset.
        """
        if self.buffered:
            return True
        try:
            data = self.stream.recv()
        except BlockingIOError:
            return False
        if data:
            self._data = data
            self._at = 0
            self.read_ns = time.perf_counter_ns()
        return bool(data)

    def _read(self) -> bool:
        while True:
            if not self._upgrading:
                if not self.reads_left:
                    raise BlockingIOError
                self.reads_left -= 1
            try:
                self._data = self.stream.recv()
            except BlockingIOError:
                if not self._upgrading:
                    raise
                self.stream.wait_readable()
                continue
            self._at = 0
            self.read_ns = time.perf_counter_ns()
            if len(self._data) < READ_BYTES and not self.stream.pending():
                # as on the fast path: whoever got an answer acts on it before the end of the stream is seen
                self.reads_left = 0
            if self._upgrading:
                self.all_read += self._data
            return bool(self._data)

    def _look_for_head_end(self, piece: bytes) -> None:
        # websocket-client reads heads byte by byte, and ends them at a line of white space
        self._head_size += len(piece)
        self._line += piece
        if piece == b"\n":
            self._head_complete = not self._line.strip()
            self._line.clear()
        if self._head_size >= DEFAULT_MAX_HEAD_BYTES and not self._head_complete:
            raise _HeadTooLarge


class _TooLong(Exception):
    """A message is longer than the limit."""


class _Frames(frame_buffer):
    """websocket-client's frame reader, with a bound, and a memory of how the last frame began."""

    def __init__(self, ws: websocket.WebSocket, max_message_bytes: int) -> None:
        super().__init__(ws._recv, True)
        self._fragments = ws.cont_frame
        self._max_message_bytes = max_message_bytes
        self.begun = bytearray()

    def recv_header(self) -> None:
        """See ``frame_buffer``."""
        self.begun.clear()
        super().recv_header()

    def recv_length(self) -> None:
        """See ``frame_buffer``."""
        super().recv_length()
        length = self.length or 0
        known = len(self._fragments.cont_data[1]) if self._fragments.cont_data else 0
        if self.header is not None and self.header[4] & 0x08:
            if length > MAX_CONTROL_BYTES:
                raise websocket.WebSocketProtocolException("a control frame is too long")
        elif known + length > self._max_message_bytes:
            raise _TooLong

    def recv_strict(self, bufsize: int) -> bytes:
        """See ``frame_buffer``."""
        data: bytes = super().recv_strict(bufsize)
        self.begun += data[: 2 * MAX_CONTROL_BYTES - len(self.begun)]
        return data


class ReferenceLink(StreamLink):
    """A link over websocket-client, with a greenlet that reads."""

    __slots__ = ("_ahead", "_frames", "_reader", "_ws")

    def __init__(
        self, client: Client, ws: websocket.WebSocket, ahead: ReadAhead, max_message_bytes: int
    ) -> None:
        super().__init__(client, ahead.stream)
        self._ws = ws
        self._ahead = ahead
        self._frames = ws.frame_buffer = _Frames(ws, max_message_bytes)
        self._reader: Any = None
        ahead.upgraded()

    def start(self, connection: Connection) -> None:
        """See ``Link``."""
        self._listen(connection)
        if self._ahead.buffered:
            self._take(READS_A_TURN)
        if self._watcher is not None:
            self._client.spawn(self._read)

    def send_frame(self, opcode: int, payload: bytes) -> int:
        """See ``Link``."""
        self._ws.send_frame(ABNF.create_frame(payload, opcode))
        return self._stream.unsent_bytes

    def drain(self) -> None:
        """See ``Link``."""
        self._take(READS_OF_A_DRAIN)

    def catch_up(self) -> None:
        """See ``Link``."""
        try:
            for _ in range(READS_A_TURN):
                # an end that websocket-client sees would close it, and our close frame could not be sent
                if self._watcher is None or self._connection is None or not self._ahead.look():
                    return
                self._take(0)
        except OSError as error:
            self._lost(self._connection, error)

    def abort(self) -> None:
        """See ``Link``."""
        super().abort()
        reader, self._reader = self._reader, None
        if reader is not None:
            get_hub().loop.run_callback(reader.switch)

    def _read(self) -> None:
        """The reader: takes what comes until the link lets go."""
        while self._watcher is not None:
            if self._stream.pending():
                gevent.sleep(0)
            else:
                self._wait()
            self._take(READS_A_TURN)

    def _wait(self) -> None:
        """Block the reader until bytes have come, or the link has let go."""
        reader = self._reader = gevent.getcurrent()
        self._watcher.start(reader.switch)
        try:
            get_hub().switch()
        finally:
            self._reader = None
            if self._watcher is not None:
                self._watcher.stop()

    def _take(self, reads: int) -> None:
        """Have websocket-client read frames, in so many reads at most, and tell the connection."""
        connection = self._connection
        if self._watcher is None:
            return
        try:
            self._ahead.reads_left = reads
            if connection is None:
                self._discard()
            else:
                self._take_frames(connection)
                connection.last_read_ns = self._ahead.read_ns or connection.last_read_ns
        except BlockingIOError:
            if connection is not None:
                connection.last_read_ns = self._ahead.read_ns or connection.last_read_ns
        except websocket.WebSocketConnectionClosedException:
            self._lost(connection, None)
        except OSError as error:
            self._lost(connection, error)
        except BaseException:
            if self._connection is None:
                self.abort()
            else:
                self._connection.fail()
            raise

    def _discard(self) -> None:
        """After the close handshake nothing is read but the end of the stream."""
        while self._ahead.recv(READ_BYTES):
            pass
        self.abort()

    def _take_frames(self, connection: Connection) -> None:
        while not connection.ended:
            event = self._next_event()
            if event is None:
                continue
            now_ns = self._ahead.read_ns
            self._client.recorder.tick(now_ns)
            tell(connection, event, now_ns)

    def _next_event(self) -> Event | None:
        """The next frame as an event; ``None`` for a fragment that ends no message."""
        try:
            frame = self._ws.recv_frame()  # type: ignore[no-untyped-call]
            if frame.opcode in (PING, PONG):
                return frame.opcode, frame.data
            if frame.opcode == CLOSE:
                return self._judged()
            fragments = self._ws.cont_frame
            fragments.validate(frame)
            fragments.add(frame)
            if not fragments.is_fire(frame):
                return None
            opcode, whole = fragments.extract(frame)
            return (TEXT, whole.data.decode()) if opcode == TEXT else (opcode, whole.data)
        except _TooLong:
            return VIOLATION, Violation(1009, "a message is longer than the limit")
        except UnicodeDecodeError:
            return VIOLATION, Violation(1007, "a text message is not UTF-8")
        except websocket.WebSocketProtocolException:
            return self._judged()

    def _judged(self) -> Event:
        """What the last frame, which websocket-client threw away or cannot word, means to our decoder."""
        decoder = FrameDecoder()
        if self._ws.cont_frame.recving_frames:
            # it came inside a message
            decoder.feed(b"\1\0")
        events = decoder.feed(bytes(self._frames.begun))
        return events[0] if events else (VIOLATION, Violation(1002, "websocket-client does not take a frame"))
