"""Link: the fast lower half of a connection: a read watcher on gevent's hub, and our own frame codec.

No greenlet belongs to a socket. The watcher's callback reads, stamps the time, decodes and tells the
connection; the connection may run the greenlet that waited right there. So anything may have happened when
a call of the connection's comes back, its close included, and the callback looks again each time. Where one
read brought several frames, such as an answer and a close, all of them are told before anyone runs: a
greenlet that closes in reply to the answer must find that the server has closed already.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from gevent import get_hub

from wsoak.ledger.units import NS_PER_S
from wsoak.wire.frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    CloseFrame,
    Event,
    FrameDecoder,
    Violation,
    client_frame,
)
from wsoak.wire.stream import READ_BYTES, Stream
from wsoak.wire.waiting import Duty, Waiter, hold, holding, let_run

if TYPE_CHECKING:
    from wsoak.wire.client import Client
    from wsoak.wire.connection import Connection

READS_A_TURN: Final = 4
"""One busy socket must not starve the others."""

READS_OF_A_DRAIN: Final = 1_024
"""More than any kernel keeps for one socket."""

LINGER_NS: Final = NS_PER_S
"""How long the server may take to end TCP after the close handshake (RFC 6455 section 7.1.1)."""


class Link(Protocol):
    """The lower half of a connection: frames out, calls of the connection's ``on_…`` for what comes in."""

    __slots__ = ()

    def start(self, connection: Connection) -> None:
        """Begin to tell ``connection`` what comes, first what came with the handshake."""

    def send_frame(self, opcode: int, payload: bytes) -> int:
        """Send one whole frame, now or when the kernel takes it; returns how many bytes are unsent.

        Raises:
            OSError: when the connection is broken.
        """

    @property
    def unsent_bytes(self) -> int:
        """How many bytes the kernel has not taken yet."""

    def when_sent(self, waiter: Waiter) -> None:
        """Wake ``waiter`` with ``True`` when nothing is unsent any more, or the connection broke."""

    def drain(self) -> None:
        """On the hub, after a failed send: tell the connection what the peer had sent before it went."""

    def catch_up(self) -> None:
        """Tell the connection what has come by now; the end of the stream is left for the hub."""

    def finish(self) -> None:
        """The close handshake is done: let the server end TCP first (RFC 6455 section 7.1.1), then let go."""

    def abort(self) -> None:
        """Let go of the socket at once; no call of the connection follows."""


class StreamLink(Link):
    """What links over a ``Stream`` have in common: the watcher, the end, and what is not sent yet."""

    __slots__ = ("_client", "_connection", "_linger", "_stream", "_waiters", "_watcher")

    def __init__(self, client: Client, stream: Stream) -> None:
        self._client = client
        self._stream = stream
        self._connection: Connection | None = None
        self._watcher: Any = None
        self._linger: Duty | None = None
        self._waiters: list[Waiter] | None = None

    @property
    def unsent_bytes(self) -> int:
        """See ``Link``."""
        return self._stream.unsent_bytes

    def when_sent(self, waiter: Waiter) -> None:
        """See ``Link``."""
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)

    def finish(self) -> None:
        """See ``Link``."""
        self._connection = None
        self._client.lingering.add(self)
        self._linger = Duty(self._client.deadlines, time.perf_counter_ns() + LINGER_NS, self.abort)
        self._wake()

    def abort(self) -> None:
        """See ``Link``."""
        self._connection = None
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._watcher is not None:
            self._watcher = None
            self._stream.close()
        self._wake()
        self._client.let_go(self)

    def _listen(self, connection: Connection) -> None:
        """Take the watcher for what comes, and hear when all is sent."""
        self._connection = connection
        self._watcher = self._stream.reader
        self._stream.notify(self._sent)

    def _lost(self, connection: Connection | None, error: OSError | None) -> None:
        if connection is None:
            # resets after a clean close handshake are common (Daphne), and mean nothing
            self.abort()
        else:
            connection.on_lost(error)

    def _sent(self, error: OSError | None) -> None:
        """The write watcher has sent all that was kept, or failed."""
        connection = self._connection
        if error is not None:
            self.drain()
            self._lost(connection, error)
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters or (), None
        for waiter in waiters:
            waiter.wake(True)


class FastLink(StreamLink):
    """A link over our own stream and codec."""

    __slots__ = ("_decoder", "_tail")

    def __init__(self, client: Client, stream: Stream, tail: bytes, max_message_bytes: int) -> None:
        super().__init__(client, stream)
        self._tail = tail
        self._decoder = FrameDecoder(max_message_bytes)

    def start(self, connection: Connection) -> None:
        """See ``Link``."""
        self._listen(connection)
        self._watcher.start(self._readable)
        tail, self._tail = self._tail, b""
        if tail:
            self._take(connection, tail, time.perf_counter_ns())
        if self._watcher is not None and self._stream.pending():
            # TLS has taken more from the kernel than the handshake read: no watcher will tell
            get_hub().loop.run_callback(self._readable)

    def send_frame(self, opcode: int, payload: bytes) -> int:
        """See ``Link``."""
        stream = self._stream
        stream.send(client_frame(opcode, payload))
        return stream.unsent_bytes

    def drain(self) -> None:
        """See ``Link``."""
        self._readable(READS_OF_A_DRAIN)

    def catch_up(self) -> None:
        """See ``Link``."""
        if not holding():
            self._readable(READS_A_TURN, heed_end=False)

    def _readable(self, reads: int = READS_A_TURN, heed_end: bool = True) -> None:
        stream = self._stream
        try:
            for _ in range(reads):
                connection = self._connection
                if self._watcher is None:
                    return
                try:
                    data = stream.recv()
                except BlockingIOError:
                    return
                except OSError as error:
                    self._lost(connection, error)
                    return
                if not data:
                    if heed_end:
                        self._lost(connection, None)
                    return
                # after the close handshake nothing is read but the end of the stream
                if connection is not None:
                    self._take(connection, data, time.perf_counter_ns())
                if len(data) < READ_BYTES and not stream.pending():
                    return
        except BaseException:
            # gevent stops the watcher of a callback that raises: the socket would be deaf from here on
            self._fail()
            raise
        if self._watcher is not None and stream.pending():
            get_hub().loop.run_callback(self._readable)

    def _take(self, connection: Connection, data: bytes, now_ns: int) -> None:
        """Decode what was read at ``now_ns``, and tell the connection."""
        recorder = self._client.recorder
        if now_ns >= recorder.second_end_ns:
            recorder.tick(now_ns)
        message = self._decoder.whole_message(data)
        if message is not None:
            size = len(data)
            connection.on_message(message, size - 2 if size < 128 else size - 4, now_ns)
        else:
            self._tell_all(connection, self._decoder.feed(data), now_ns)
        # last: while it ends, the connection still sees how long the silence before these bytes was
        connection.last_read_ns = now_ns

    def _tell_all(self, connection: Connection, events: list[Event], now_ns: int) -> None:
        hold()
        try:
            for event in events:
                if connection.ended:
                    break
                tell(connection, event, now_ns)
        finally:
            let_run()

    def _fail(self) -> None:
        if self._connection is None:
            self.abort()
        else:
            self._connection.fail()


def tell(connection: Connection, event: Event, now_ns: int) -> None:
    opcode, payload = event
    if opcode == TEXT:
        text = cast("str", payload)
        connection.on_message(text, len(text.encode()), now_ns)
    elif opcode == BINARY:
        data = cast("bytes", payload)
        connection.on_message(data, len(data), now_ns)
    elif opcode == PING:
        connection.on_ping(cast("bytes", payload))
    elif opcode == PONG:
        connection.on_pong(cast("bytes", payload), now_ns)
    elif opcode == CLOSE:
        connection.on_close_frame(cast("CloseFrame", payload))
    else:
        connection.on_violation(cast("Violation", payload))
