"""Both bench servers count what a client that is not ours does to them, and end as they say."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import websocket

from bench.contenders import ROOT
from bench.processes import BenchError, Server, ServerSample

MODES = pytest.mark.parametrize("handshake_only", [False, True], ids=["echo", "handshake-only"])
HEAD = (
    b"GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
ACCEPT = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, Section 1.3
WAIT_S = 60


def counts(sample: ServerSample) -> dict[str, int]:
    return {name: getattr(sample, name) for name in ("handshakes", "messages", "closes", "drops", "open")}


def sample_when(server: Server, reached: Callable[[ServerSample], bool]) -> ServerSample:
    """The first sample that is as wanted; the test's own time-out bounds the wait."""
    while not reached(sample := server.sample()):
        pass
    return sample


@contextmanager
def raw(url: str) -> Iterator[socket.socket]:
    address = urlsplit(url)
    with closing(socket.create_connection((address.hostname, address.port), timeout=WAIT_S)) as sock:
        yield sock


def read_all(sock: socket.socket) -> bytes:
    received = b""
    while chunk := sock.recv(4096):
        received += chunk
    return received


def read_head(sock: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        assert byte, f"the head ended early: {head!r}"
        head += byte
    return head


@MODES
def test_a_handshake_and_a_close_are_counted_and_the_close_is_answered(handshake_only: bool) -> None:
    with Server(None, handshake_only) as server:
        connection = websocket.create_connection(server.url, timeout=WAIT_S)
        begun = sample_when(server, lambda sample: sample.handshakes > 0)
        assert counts(begun) == {"handshakes": 1, "messages": 0, "closes": 0, "drops": 0, "open": 1}
        connection.close(4001, b"enough", timeout=WAIT_S)
        assert connection.close_frame is not None
        assert connection.close_frame.data == b"\x0f\xa1enough"
        ended = sample_when(server, lambda sample: sample.closes > 0 and not sample.open)
        assert counts(ended) == {"handshakes": 1, "messages": 0, "closes": 1, "drops": 0, "open": 0}
    assert server.totals is not None
    assert counts(server.totals)["closes"] == 1


@MODES
def test_a_connection_that_ends_without_a_close_frame_is_a_drop(handshake_only: bool) -> None:
    with Server(None, handshake_only) as server:
        with raw(server.url) as sock:
            sock.sendall(HEAD)
            read_head(sock)
        assert sample_when(server, lambda sample: sample.drops > 0).open == 0


@MODES
@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("whole", [HEAD]),
        ("byte by byte", [HEAD[i : i + 1] for i in range(len(HEAD))]),
        ("with a tail", [HEAD + b"\x88\x82\x00\x00\x00\x00\x03\xe8"]),
    ],
)
def test_the_head_may_come_in_any_pieces(handshake_only: bool, name: str, pieces: list[bytes]) -> None:
    with Server(None, handshake_only) as server, raw(server.url) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            sock.sendall(piece)
        assert ACCEPT.lower() in read_head(sock).lower()
        if name == "with a tail":
            assert read_all(sock) == b"\x88\x02\x03\xe8"


@MODES
def test_a_close_frame_without_a_code_gets_one_that_may_be_sent(handshake_only: bool) -> None:
    with Server(None, handshake_only) as server, raw(server.url) as sock:
        sock.sendall(HEAD)
        read_head(sock)
        sock.sendall(b"\x88\x80\x00\x00\x00\x00")
        assert read_all(sock) in (b"\x88\x00", b"\x88\x02\x03\xe8")


@MODES
def test_what_is_no_websocket_request_is_refused_and_not_counted(handshake_only: bool) -> None:
    with Server(None, handshake_only) as server, raw(server.url) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
        assert read_all(sock).startswith(b"HTTP/1.1 400")
        assert counts(server.sample()) == {"handshakes": 0, "messages": 0, "closes": 0, "drops": 0, "open": 0}


def test_every_message_is_echoed_and_counted() -> None:
    texts = ["", "x" * 64, "ümläut", "y" * 70_000] * 5
    blobs = [b"", b"\x00\xff" * 40_000] * 5
    with Server(None, handshake_only=False) as server:
        with closing(websocket.create_connection(server.url, timeout=WAIT_S)) as connection:
            for text in texts:
                connection.send(text)
                assert connection.recv() == text
            for blob in blobs:
                connection.send_binary(blob)
                assert connection.recv() == blob
        assert server.sample().messages == len(texts) + len(blobs)


def test_the_handshake_server_refuses_messages_with_1003() -> None:
    with Server(None, handshake_only=True) as server:
        with closing(websocket.create_connection(server.url, timeout=WAIT_S)) as connection:
            connection.send("hello")
            opcode, payload = connection.recv_data()
            assert (opcode, payload) == (websocket.ABNF.OPCODE_CLOSE, b"\x03\xeb")
        assert server.sample().messages == 0


def server_process(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.echo_server", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def json_line(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    record: dict[str, Any] = json.loads(process.stdout.readline())
    return record


@pytest.mark.parametrize("mode", [[], ["--handshake-only"]], ids=["echo", "handshake-only"])
@pytest.mark.parametrize("end", ["SIGTERM", "stdin"])
def test_it_says_where_it_listens_and_at_its_end_what_it_counted(mode: list[str], end: str) -> None:
    with server_process("--stop-with-stdin", *mode) as process:
        ready = json_line(process)
        assert ready["pid"] == process.pid
        connection = websocket.create_connection(ready["url"], timeout=WAIT_S)
        assert process.stdin is not None
        handshakes = 0
        while not handshakes:
            process.stdin.write("stats\n")
            process.stdin.flush()
            handshakes = json_line(process)["handshakes"]
        if end == "SIGTERM":
            process.send_signal(signal.SIGTERM)
        else:
            process.stdin.close()
        totals = json_line(process)
        assert process.wait(WAIT_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert totals["handshakes"] == 1
        connection.close()


def test_a_server_that_was_killed_is_reported_and_not_waited_for() -> None:
    with pytest.raises(BenchError, match="echo server"), Server(None, handshake_only=False) as server:
        server.kill()
        server.sample()
