"""The harness of the wire's tests: scripted servers, and what a run left in the ledger.

A script is a function that is given one accepted connection (``Peer``) and plays the server, byte by byte. It
runs on a greenlet of the same hub; a script that fails, fails the test.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Self

import gevent
from gevent import socket as cooperative

from wsoak.ledger.outcomes import PHASES
from wsoak.ledger.recorder import Recorder
from wsoak.ledger.records import ConnectionRecord
from wsoak.ledger.timeline import COUNTERS
from wsoak.ledger.units import NS_PER_MS, s_to_ns
from wsoak.wire.client import Client, FastOpener, Opener, Settings
from wsoak.wire.connection import Connection
from wsoak.wire.dial import Request
from wsoak.wire.endpoint import Endpoint
from wsoak.wire.frames import BINARY, CLOSE, PING, PONG, TEXT, CloseFrame, Event, FrameDecoder, encode_frame
from wsoak.wire.handshake import accept_for
from wsoak.wire.reference import ReferenceOpener

PATIENCE_S: Final = 60.0
"""After this a test fails; nothing takes that long, however busy the machine is."""

LONGEST_STEP_NS: Final = 25 * NS_PER_MS
"""Longer than a turn of ``Deadlines``: where the machine has time for us, a steady clock is as any."""

OpenerOf = Callable[[Client, "ssl.SSLContext | None"], Opener]

OPENERS: Final[dict[str, OpenerOf]] = {"fast": FastOpener, "reference": ReferenceOpener}

_SILENT_DURATIONS: Final = {"age_s", "idle_s", "quiet_s", "usable_ms", *(f"{phase}_ms" for phase in PHASES)}
_NOT_COMPARED: Final = {"id", "worker", "started_at"}


@dataclasses.dataclass(frozen=True)
class Certificates:
    """PEM files."""

    authority: Path
    certificate: Path
    key: Path

    def of_server(self) -> ssl.SSLContext:
        """The TLS context of a server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


class SteadyClock:
    """``perf_counter_ns`` without the time that a busy machine takes from this process.

    A client and its scripted server are greenlets of one process: while that does not run, neither could
    answer, and no time-out of theirs should come nearer. Between two looks at it this clock moves on by
    ``LONGEST_STEP_NS`` at the most.
    """

    def __init__(self) -> None:
        self._real = time.perf_counter_ns
        self._seen_ns = self._now_ns = self._real()

    def __call__(self) -> int:
        seen_ns = self._real()
        self._now_ns += min(seen_ns - self._seen_ns, LONGEST_STEP_NS)
        self._seen_ns = seen_ns
        return self._now_ns


def until(condition: Callable[[], Any]) -> None:
    """Let the hub run until ``condition`` holds."""
    deadline_ns = time.perf_counter_ns() + s_to_ns(PATIENCE_S)
    while not condition():
        assert time.perf_counter_ns() < deadline_ns, "the condition never came true"
        gevent.sleep(0.001)


def frame(opcode: int, payload: str | bytes = b"", fin: bool = True) -> bytes:
    """A frame as a server sends it."""
    return encode_frame(opcode, payload, None, fin)


def close_frame(code: int | None, reason: str | bytes = "") -> bytes:
    """A server's close frame, with any code and any bytes for a reason."""
    encoded = reason.encode() if isinstance(reason, str) else reason
    return frame(CLOSE, b"" if code is None else struct.pack("!H", code) + encoded)


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: Any, number: int) -> None:
        self.sock = sock
        self.number = number
        self.head = b""
        self._decoder = FrameDecoder(require_unmasked=False, max_message_bytes=1 << 26)
        self._events: deque[Event] = deque()

    def read_head(self) -> bytes:
        """The client's opening request."""
        while b"\r\n\r\n" not in self.head:
            data = self.sock.recv(65536)
            assert data, "the client went before its request was complete"
            self.head += data
        return self.head

    @property
    def path(self) -> str:
        """What the client asked for."""
        return self.read_head().split(b" ")[1].decode()

    @property
    def key(self) -> str:
        """The client's Sec-WebSocket-Key."""
        line = self.read_head().lower().index(b"sec-websocket-key:")
        return self.head[line:].split(b"\r\n")[0].split(b":")[1].strip().decode()

    def upgrade(self, headers: bytes = b"") -> bytes:
        """The head of a 101 that takes the request."""
        return (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_for(self.key).encode() + b"\r\n" + headers + b"\r\n"
        )

    def accept(self, after: bytes = b"", headers: bytes = b"") -> Self:
        """Answer 101, and ``after`` in the same segment."""
        self.send(self.upgrade(headers) + after)
        return self

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.sock.sendall(data)

    def say(self, text: str) -> None:
        """Send a text message."""
        self.send(frame(TEXT, text))

    def hear(self) -> Event:
        """The next frame of the client's, as an event."""
        while not self._events:
            data = self.sock.recv(1 << 20)
            if not data:
                raise EOFError("the client has gone")
            self._events.extend(self._decoder.feed(data))
        return self._events.popleft()

    def hear_text(self) -> str:
        """The next frame, which must be text."""
        opcode, payload = self.hear()
        assert opcode == TEXT, (opcode, payload)
        return str(payload)

    def hear_then_say(self, text: str) -> None:
        """Wait for a frame, send a text, and read to the end."""
        self.hear()
        self.say(text)
        self.wait_for_end()

    def hear_close(self) -> CloseFrame:
        """The client's close frame; other frames before it are passed over."""
        while True:
            _, payload = self.hear()
            if isinstance(payload, CloseFrame):
                return payload

    def answer_close(self) -> CloseFrame:
        """Wait for the client's close frame, and send it back."""
        close = self.hear_close()
        self.send(close_frame(close.code))
        return close

    def wait_for_end(self) -> None:
        """Read until the client has ended TCP."""
        with contextlib.suppress(ConnectionError):
            while self.sock.recv(1 << 20):
                pass

    def echo(self) -> None:
        """Send back what comes, answer pings, and the close."""
        while True:
            opcode, payload = self.hear()
            if isinstance(payload, CloseFrame):
                self.send(close_frame(payload.code))
                return
            assert isinstance(payload, (str, bytes))
            if opcode == PING:
                self.send(frame(PONG, payload))
            elif opcode in (TEXT, BINARY):
                self.send(frame(opcode, payload))

    def reset(self) -> None:
        """End with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Script = Callable[[Peer], Any]


class Listener:
    """A listening socket whose connections a script plays."""

    def __init__(
        self,
        script: Script,
        tls: ssl.SSLContext | None = None,
        buffer_bytes: int = 0,
        may_fail: bool = False,
    ) -> None:
        self._script = script
        self._may_fail = may_fail
        self._tls = tls
        self._sock = cooperative.socket(socket.AF_INET, socket.SOCK_STREAM)
        if buffer_bytes:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        self._sock.bind(("127.0.0.1", 0))
        self._sock.listen(512)
        self.port = self._sock.getsockname()[1]
        self.url = f"{'wss' if tls else 'ws'}://127.0.0.1:{self.port}"
        self._errors: list[BaseException] = []
        self._peers: list[Any] = []
        self._acceptor = gevent.spawn(self._accept)

    @property
    def accepted(self) -> int:
        """How many connections came."""
        return len(self._peers)

    def close(self, patience_s: float = PATIENCE_S) -> None:
        """Wait for the scripts to end, and pass their errors on."""
        self._acceptor.kill()
        self._sock.close()
        late = set(self._peers) - set(gevent.joinall(self._peers, timeout=patience_s))
        gevent.killall(late)
        if self._errors and not self._may_fail:
            raise self._errors[0]
        assert not late, "a script did not end"

    def _accept(self) -> None:
        while True:
            sock, _ = self._sock.accept()
            self._peers.append(gevent.spawn(self._play, sock, len(self._peers)))

    def _play(self, sock: Any, number: int) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            self._script(Peer(sock, number))
        except BaseException as error:  # noqa: BLE001 - the test is failed with it
            self._errors.append(error)
        finally:
            sock.close()


@contextlib.contextmanager
def listening(
    script: Script, tls: ssl.SSLContext | None = None, buffer_bytes: int = 0, may_fail: bool = False
) -> Iterator[Listener]:
    """A scripted server; with ``may_fail`` its clients may go in the middle of the script."""
    listener = Listener(script, tls, buffer_bytes, may_fail)
    try:
        yield listener
    except BaseException as error:
        try:
            listener.close(patience_s=0)
        except BaseException as of_script:
            raise error from of_script
        raise
    listener.close()


class Run:
    """A client, and what it wrote down."""

    def __init__(
        self, opener: OpenerOf, url: str, settings: Settings, tls: ssl.SSLContext | None = None
    ) -> None:
        # by the clock of now: the parameter's default is older than a steady one
        self.recorder = Recorder("0", time.perf_counter_ns)
        self.client = Client(self.recorder, settings, tls, opener=opener)
        self.endpoint = Endpoint.of(url)
        self.left = 0

    def open(
        self, path: str = "/", name: str = "s", request: Request | None = None, **more: Any
    ) -> Connection:
        """Open a socket."""
        return self.client.open(self.endpoint, request or Request(path), name, **more)

    def stop(self) -> Facts:
        """End the run; what the ledger says of it."""
        self.left = self.client.stop(PATIENCE_S)
        return Facts.of(self.recorder)


@dataclasses.dataclass
class Facts:
    """A run's books without its durations: only whether there was one is kept.

    ``counters`` by name, zeros left out; ``durations`` counted by kind and name; ``records`` as dicts.
    """

    counters: dict[str, dict[str, float]]
    durations: dict[tuple[str, str], int]
    records: list[dict[str, Any]]

    @classmethod
    def of(cls, recorder: Recorder) -> Facts:
        """What ``recorder`` has."""
        delta = recorder.take()
        counters: dict[str, dict[str, float]] = {}
        for (_, name), row in delta.timeline.items():
            found = counters.setdefault(name, {})
            for counter, value in zip(COUNTERS, row, strict=True):
                if value:
                    found[counter] = found.get(counter, 0) + value
        durations: dict[tuple[str, str], int] = {}
        for (_, kind, name), histogram in delta.latency.items():
            durations[kind, name] = durations.get((kind, name), 0) + histogram.total
        return cls(counters, durations, sorted(map(_comparable, delta.connections), key=repr))

    @property
    def record(self) -> dict[str, Any]:
        """The only record."""
        assert len(self.records) == 1, self.records
        return self.records[0]

    def count(self, counter: str, name: str = "s") -> float:
        """One counter."""
        return self.counters.get(name, {}).get(counter, 0)


def _comparable(record: ConnectionRecord) -> dict[str, Any]:
    found = {}
    for column in record.COLUMNS:
        value = getattr(record, column)
        if column in _SILENT_DURATIONS:
            found[column] = value is not None
        elif column not in _NOT_COMPARED:
            found[column] = value
    return found


def both(
    script: Script,
    scenario: Callable[[Run], Any],
    settings: Settings | None = None,
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
) -> Facts:
    """Play the same run with each client; their books must be equal, and are returned.

    ``tls`` is the server's context and the client's.
    """
    found: dict[str, Facts] = {}
    for name, opener in OPENERS.items():
        with listening(script, tls[0] if tls else None) as listener:
            run = Run(opener, listener.url, settings or Settings(), tls[1] if tls else None)
            try:
                scenario(run)
            finally:
                found[name] = run.stop()
            assert run.left == 0
            assert not run.client.open_connections
            assert not run.client.lingering
            assert run.client.in_flight == 0
    assert found["reference"] == found["fast"]
    return found["fast"]


def holds(record: dict[str, Any], **expected: Any) -> None:
    """The record's fields are as expected."""
    assert {name: record[name] for name in expected} == expected


class RealServer:
    """The process of ``real_server``."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.wire.real_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert self._process.stdout is not None
        self.url = f"ws://127.0.0.1:{int(self._process.stdout.readline())}"

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        self._process.send_signal(number)

    def close(self) -> None:
        """End the process, whatever state it is in."""
        self._process.kill()
        self._process.communicate()
