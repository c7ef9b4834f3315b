"""Streams: never blocking, nothing lost, and errors in the operating system's terms."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator

import gevent
import pytest

from tests.wire.harness import until
from wsoak.wire.stream import Stream, TlsStream, open_socket

Pair = tuple[Stream, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A stream, and the blocking socket at its other end."""
    with gevent.socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        sock = open_socket(socket.AF_INET)
        sock.connect_ex(listener.getsockname())
        other, _ = listener.accept()
    stream = Stream(sock)
    yield stream, other
    stream.close()
    other.close()


def test_nothing_to_read_is_blocking_io_and_the_end_is_empty(pair: Pair) -> None:
    stream, other = pair
    with pytest.raises(BlockingIOError):
        stream.recv()
    other.close()
    until(lambda: _has_ended(stream))


def _has_ended(stream: Stream) -> bool:
    try:
        return stream.recv() == b""
    except BlockingIOError:
        return False


def test_what_the_kernel_does_not_take_is_kept_and_sent_in_order(pair: Pair) -> None:
    stream, other = pair
    told: list[OSError | None] = []
    stream.notify(told.append)
    sent = b""
    while not stream.unsent_bytes:
        piece = os.urandom(100_000)
        stream.send(piece)
        sent += piece
    for size in (1, 70_000, 3):
        piece = os.urandom(size)
        stream.send(piece)
        sent += piece
    assert told == []
    received = b""
    while len(received) < len(sent):
        received += other.recv(1 << 20)
    assert received == sent
    until(lambda: told)
    assert told == [None]
    assert stream.unsent_bytes == 0


def test_the_write_watcher_is_there_only_while_something_is_kept(pair: Pair) -> None:
    stream, other = pair
    loop = gevent.get_hub().loop
    before = loop.activecnt
    stream.send(b"small")
    assert loop.activecnt == before
    while not stream.unsent_bytes:
        stream.send(b"x" * 100_000)
    assert loop.activecnt == before + 1
    stream.close()
    assert loop.activecnt == before
    assert other.fileno() != -1


def test_a_send_that_fails_later_is_told_once(pair: Pair) -> None:
    stream, other = pair
    told: list[OSError | None] = []
    stream.notify(told.append)
    while not stream.unsent_bytes:
        stream.send(b"x" * 100_000)
    other.close()  # with bytes unread: TCP resets
    until(lambda: told)
    assert [error.errno for error in told if error] in ([errno.ECONNRESET], [errno.EPIPE])
    assert stream.unsent_bytes == 0


def test_a_send_over_broken_tls_fails_without_a_number(pair: Pair) -> None:
    """An SSLError's number is none of the operating system's: 8 would read as ENOEXEC."""
    stream, other = pair
    tls = TlsStream(stream.sock, ssl.create_default_context(), "localhost")
    with pytest.raises(BlockingIOError):
        tls.handshake() or tls.recv()
    other.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    until(lambda: _fails(tls))
    with pytest.raises(ConnectionAbortedError) as raised:
        tls.send(b"x")
    assert raised.value.errno is None
    assert tls.recv() == b""


def _fails(tls: TlsStream) -> bool:
    try:
        tls.handshake()
    except ssl.SSLError:
        return True
    return False
