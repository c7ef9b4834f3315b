"""Stream: a non-blocking byte stream over TCP, with or without TLS, that never blocks the hub.

``recv`` gives what has come, ``send`` takes everything and keeps what the kernel does not take yet; a write
watcher runs only while something is kept. TLS runs over memory BIOs, so that the same socket, watchers and
callbacks serve both.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from gevent import get_hub
from gevent.monkey import get_original

READ: Final = 1
WRITE: Final = 2

READ_BYTES: Final = 65_536

# Locust monkey-patches socket: a cooperative socket would switch greenlets inside the hub's callbacks. This
# is the type below socket.socket, without what that one does in Python when it is made and closed.
_plain_socket = get_original("socket", "SocketType")


def open_socket(family: int) -> socket.SocketType:
    """A non-blocking TCP socket of the operating system, with Nagle's algorithm off.

    Raises:
        OSError: EMFILE, ENFILE, ENOBUFS.
    """
    sock: socket.SocketType = _plain_socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class Stream:
    """A connected TCP socket."""

    __slots__ = ("_on_sent", "_out", "_reader", "_writer", "fd", "sock")

    def __init__(self, sock: socket.SocketType) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self._out: bytearray | None = None
        self._reader: Any = None
        self._writer: Any = None
        self._on_sent: Callable[[OSError | None], None] | None = None

    @property
    def reader(self) -> Any:
        """The watcher for what comes; the same one as long as the stream is open.

        To start a watcher anew costs nothing while the hub does not turn in between; a new watcher of the
        same socket costs three system calls.
        """
        if self._reader is None:
            self._reader = get_hub().loop.io(self.fd, READ)
        return self._reader

    def wait_readable(self) -> None:
        """Have the calling greenlet wait until bytes, or the end of the stream, have come."""
        get_hub().wait(self.reader)

    def recv(self) -> bytes:
        """What has come, up to 64 KiB; empty at the end of the stream.

        Raises:
            BlockingIOError: when nothing has come.
            OSError: when the connection was reset.
        """
        return self.sock.recv(READ_BYTES)

    def send(self, data: bytes) -> None:
        """Send all of ``data``, now or when the kernel takes it.

        Raises:
            OSError: when the connection is broken (not when the kernel's buffer is full).
        """
        out = self._out
        if out is not None:
            out += data
            return
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._out = bytearray(memoryview(data)[sent:])
            self._start_writer()

    @property
    def unsent_bytes(self) -> int:
        """How many bytes the kernel has not taken yet."""
        return 0 if self._out is None else len(self._out)

    def notify(self, on_sent: Callable[[OSError | None], None]) -> None:
        """Have ``on_sent`` called on the hub when all kept bytes are gone, or with the error that broke."""
        self._on_sent = on_sent

    def pending(self) -> bool:
        """Whether bytes already taken from the kernel wait for ``recv`` (TLS only)."""
        return False

    def last_alert(self) -> str:
        """The alert with which the peer ended TLS, in OpenSSL's words; empty where none came (TLS only)."""
        return ""

    def close(self) -> None:
        """Give socket and watchers back; what was not sent is lost."""
        # before the socket: the next one may get the same number
        if self._reader is not None:
            self._reader.stop()
            self._reader.close()
            self._reader = None
        self._stop_writer()
        self._out = None
        self._on_sent = None
        self.sock.close()

    def reset(self) -> None:
        """Close with a TCP reset: the peer has not answered, and no port should wait for it."""
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        finally:
            self.close()

    def _start_writer(self) -> None:
        self._writer = get_hub().loop.io(self.fd, WRITE)
        self._writer.start(self._writable)

    def _stop_writer(self) -> None:
        if self._writer is not None:
            self._writer.stop()
            self._writer.close()
            self._writer = None

    def _writable(self) -> None:
        out = self._out
        if out is None:
            return
        try:
            sent = self.sock.send(out)
        except BlockingIOError:
            return
        except OSError as error:
            self._stop_writer()
            self._out = None
            if self._on_sent is not None:
                self._on_sent(error)
            return
        del out[:sent]
        if not out:
            self._out = None
            self._stop_writer()
            if self._on_sent is not None:
                self._on_sent(None)


class TlsStream(Stream):
    """A TCP socket with TLS over it: ``handshake`` until it is done, then as ``Stream``."""

    __slots__ = ("_alert", "_incoming", "_outgoing", "_tls")

    def __init__(self, sock: socket.SocketType, context: ssl.SSLContext, server_name: str) -> None:
        super().__init__(sock)
        self._alert = ""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)

    def handshake(self) -> bool:
        """Go on with the TLS handshake: true when done, false when the peer's next bytes are needed.

        Raises:
            ssl.SSLError: when the peer's certificate or protocol will not do.
            OSError: when the connection was reset; EOFError when it ended.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                try:
                    self._fill()
                except BlockingIOError:
                    return False
            except ssl.SSLError:
                # the alert that says why belongs to the peer, whether it can still be sent or not
                try:
                    self._flush()
                except OSError:
                    self._outgoing.read()
                raise
            else:
                self._flush()
                return True

    def recv(self) -> bytes:
        """See ``Stream.recv``; an end without TLS's close_notify is the end all the same."""
        while True:
            try:
                return self._tls.read(READ_BYTES)
            except ssl.SSLWantReadError:
                self._flush()
                try:
                    self._fill()
                except EOFError:
                    return b""
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            except ssl.SSLError as error:
                if error.reason and "ALERT" in error.reason:
                    self._alert = reason_of(error)
                raise _aborted(error) from error

    def last_alert(self) -> str:
        """See ``Stream.last_alert``; also where a write was the first to meet the end that follows it."""
        while not self._alert:
            try:
                if not self.recv():
                    break
            except OSError:
                break
        return self._alert

    def send(self, data: bytes) -> None:
        """See ``Stream.send``."""
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            # an SSLError's number is none of the operating system's
            raise _aborted(error) from error
        self._flush()

    def pending(self) -> bool:
        """See ``Stream.pending``."""
        return self._tls.pending() > 0 or self._incoming.pending > 0

    def _fill(self) -> None:
        data = self.sock.recv(READ_BYTES)
        if not data:
            self._incoming.write_eof()
            raise EOFError
        self._incoming.write(data)

    def _flush(self) -> None:
        if self._outgoing.pending:
            super().send(self._outgoing.read())


def reason_of(error: ssl.SSLError) -> str:
    """OpenSSL's reason in small letters, such as ``tlsv13 alert certificate required``."""
    return (error.reason or "error").replace("_", " ").lower()


def _aborted(error: ssl.SSLError) -> OSError:
    return ConnectionAbortedError(None, f"TLS: {error.reason or 'error'}")
