"""A WebSocket server that shakes hands, answers the close frame, and does nothing else, on bare sockets.

An asyncio server spends about 70 µs on a connection that opens and closes, which can be more than a fast
client does: the bench would measure its own server. This one needs about half.
"""

from __future__ import annotations

import base64
import hashlib
import re
import selectors
import signal
import socket
from collections.abc import Callable
from types import FrameType

from bench.counters import Counters

HEAD_LIMIT_BYTES = 8192
_READ_SIZE_BYTES = 4096
_ACCEPTS_A_TURN = 64
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, Section 1.3
_KEY = re.compile(rb"\r\nsec-websocket-key:[ \t]*([A-Za-z0-9+/]{22}==)[ \t]*\r\n", re.IGNORECASE)
_SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_CLOSE_OPCODE_FIN = 0x88
_MASKED, _LENGTH = 0x80, 0x7F
_CONTROL_LIMIT_BYTES = 125
_UNSUPPORTED_DATA = b"\x88\x02\x03\xeb"  # a close frame with 1003


def switching_response(head: bytes) -> bytes | None:
    """The 101 response to a request head (RFC 6455, Section 4.2.2), or None if it is no WebSocket request."""
    key = _KEY.search(head)
    if key is None or not head.startswith(b"GET "):
        return None
    accept = base64.b64encode(hashlib.sha1(key[1] + _GUID, usedforsecurity=False).digest())
    return _SWITCHING + accept + b"\r\n\r\n"


def close_reply(data: bytes) -> bytes | None:
    """The answer to a client's first frame, or None while it is incomplete.

    A close frame is answered with its own payload (RFC 6455, Section 5.5.1), anything else with 1003: this
    server takes no data.
    """
    if len(data) < 2:
        return None
    length = data[1] & _LENGTH
    if data[0] != _CLOSE_OPCODE_FIN or not data[1] & _MASKED or length > _CONTROL_LIMIT_BYTES:
        return _UNSUPPORTED_DATA
    if len(data) < 6 + length:
        return None
    mask, masked = data[2:6], data[6 : 6 + length]
    return bytes((_CLOSE_OPCODE_FIN, length)) + bytes(byte ^ mask[i & 3] for i, byte in enumerate(masked))


class _Peer:
    """One accepted socket: what it sent so far, and whether its handshake is done."""

    __slots__ = ("data", "socket", "upgraded")

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.data = b""
        self.upgraded = False


class HandshakeServer:
    """The loop over one listening socket, in the main thread; SIGTERM or SIGINT ends it."""

    def __init__(self, listener: socket.socket, counters: Counters) -> None:
        self._listener = listener
        self._counters = counters
        self._selector = selectors.DefaultSelector()
        self._running = True

    def run(self, on_ready: Callable[[], None]) -> None:
        """Serve until a signal comes; `on_ready` is called once signals are handled."""
        wake_reader, wake_writer = socket.socketpair()
        wake_writer.setblocking(False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.set_wakeup_fd(wake_writer.fileno())
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(wake_reader, selectors.EVENT_READ)
        on_ready()
        while self._running:
            for key, _ in self._selector.select():
                if key.data is not None:
                    self._read(key.data)
                elif key.fileobj is self._listener:
                    self._accept()
        signal.set_wakeup_fd(-1)
        self._close_all()
        wake_reader.close()
        wake_writer.close()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._running = False

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            try:
                sock, _address = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, _Peer(sock))

    def _read(self, peer: _Peer) -> None:
        try:
            chunk = peer.socket.recv(_READ_SIZE_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            chunk = b""
        if not chunk:
            self._end(peer)
            return
        peer.data += chunk
        if not peer.upgraded:
            self._upgrade(peer)
        if peer.upgraded and (reply := close_reply(peer.data)) is not None:
            self._counters.closes += 1
            peer.upgraded = False
            self._end(peer, reply)

    def _upgrade(self, peer: _Peer) -> None:
        head, end, rest = peer.data.partition(b"\r\n\r\n")
        if not end:
            if len(head) > HEAD_LIMIT_BYTES:
                self._end(peer, _BAD_REQUEST)
            return
        response = switching_response(head + end)
        if response is None:
            self._end(peer, _BAD_REQUEST)
        elif self._send(peer, response):
            peer.data = rest
            peer.upgraded = True
            self._counters.handshakes += 1
        else:
            self._end(peer)

    def _send(self, peer: _Peer, data: bytes) -> bool:
        try:
            # A few hundred bytes always fit into the empty send buffer of a new socket.
            return peer.socket.send(data) == len(data)
        except (BlockingIOError, ConnectionError):
            return False

    def _end(self, peer: _Peer, last_words: bytes = b"") -> None:
        if peer.upgraded:
            self._counters.drops += 1
        if last_words:
            self._send(peer, last_words)
        self._selector.unregister(peer.socket)
        peer.socket.close()

    def _close_all(self) -> None:
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, _Peer):
                self._end(key.data)
        self._selector.close()
        self._listener.close()
