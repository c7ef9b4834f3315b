"""The protocol class, fed by hand: every cut of the byte stream, every malformed frame, every way to end."""

import asyncio
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.uri import parse_uri

from target.faults import Faults, parse_fault
from target.metrics import Metrics
from target.server import socket_protocol
from target.sockets import (
    CLOSE_TIMEOUT_S,
    Channel,
    Handshake,
    Refusal,
    SocketPlan,
    SocketProtocol,
    SocketRoute,
    SocketRouter,
)

LARGEST = 70_000
HEAD = (
    b"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class FakeTransport:
    """What the protocol wrote, and how it ended."""

    def __init__(self) -> None:
        self.written = b""
        self.ended = ""
        self.half_closed = False
        self.reading = True

    def write(self, data: bytes) -> None:
        assert not self.half_closed and not self.ended
        self.written += data

    def write_eof(self) -> None:
        self.half_closed = True

    def close(self) -> None:
        self.ended = self.ended or "close"

    def abort(self) -> None:
        self.ended = "abort"

    def is_closing(self) -> bool:
        return bool(self.ended)

    def is_reading(self) -> bool:
        return self.reading and not self.ended

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_extra_info(self, name: str) -> Any:
        raise AssertionError(name)


class TestChannel(Channel):
    """Echoes, and does what some words ask for."""

    __test__ = False

    def text(self, text: str) -> None:
        match text:
            case "crash":
                raise RuntimeError("a crash that the test asked for")
            case "close":
                self.socket.close(4001, "as you wish")
            case "close-without-code":
                self.socket.close(None)
            case _:
                self.socket.send_text(text)

    def binary(self, payload: bytes) -> None:
        self.socket.send_binary(payload)

    def last_word(self, message: str) -> str | None:
        return message


class State:
    """The part of uvicorn's server state that the protocol uses."""

    def __init__(self) -> None:
        self.connections: set[Any] = set()
        self.tasks: set[Any] = set()


async def open_later(_handshake: Handshake) -> Channel:
    await asyncio.sleep(0)
    return TestChannel()


def open_broken(_handshake: Handshake) -> Channel:
    raise RuntimeError("a crash that the test asked for")


ROUTES = [
    SocketRoute("echo", "/echo", lambda _: TestChannel()),
    SocketRoute("echo", "/later", open_later),
    SocketRoute("echo", "/broken", open_broken),
    SocketRoute("echo", "/private/{name}", lambda handshake: Refusal(401, handshake.parameters["name"])),
]


class Server:
    """One protocol on a fake transport."""

    def __init__(self, path: str = "/echo", *, faults: str = "", opened: bool = True) -> None:
        self.faults = Faults([parse_fault(faults)] if faults else [])
        self.metrics = Metrics(self.faults, ["echo", "none"])
        self.loop = asyncio.new_event_loop()
        self.state = State()
        plan = SocketPlan(SocketRouter(ROUTES), self.faults, self.metrics, max_message_bytes=LARGEST)
        self.protocol: SocketProtocol = socket_protocol(plan)(None, self.state, {}, self.loop)
        self.transport = FakeTransport()
        self.protocol.connection_made(self.transport)  # type: ignore[arg-type]
        self.head = HEAD.replace(b"{path}", path.encode())
        if opened:
            self.protocol.data_received(self.head)
            self.answer = self.answer_head()

    def answer_head(self) -> bytes:
        """What was answered to the handshake, taken out of what was written."""
        head, _, self.transport.written = self.transport.written.partition(b"\r\n\r\n")
        return head

    def turn(self) -> None:
        """Let the loop do what is due."""
        self.loop.run_until_complete(asyncio.sleep(0.001))

    def frames(self) -> list[Frame]:
        """The frames that the server sent, as a client that trusts nobody reads them."""
        client = ClientProtocol(parse_uri("ws://x/"), max_size=None)
        client.state = client.state.OPEN
        client.parser = super(ClientProtocol, client).parse()
        next(client.parser)
        client.receive_data(self.transport.written)
        assert client.parser_exc is None
        return [event for event in client.events_received() if isinstance(event, Frame)]

    def close_code(self) -> int:
        """The code of the close frame that the server sent last."""
        last = self.frames()[-1]
        assert last.opcode is Opcode.CLOSE
        return int(Close.parse(last.data).code)

    def lose(self) -> None:
        self.protocol.connection_lost(None)
        self.loop.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.lose()


def sent(opcode: Opcode, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A client's frame."""
    return Frame(opcode, payload, fin).serialize(mask=True)


def raw(first: int, second: int, rest: bytes = b"") -> bytes:
    """Bytes that need not be a frame."""
    return bytes([first, second]) + rest


EDGES = [125, 126, 127, 65535, 65536, LARGEST]
"""Sizes where the frame head changes (RFC 6455, Section 5.2), and the largest that is taken."""
MESSAGES = st.tuples(
    st.sampled_from([Opcode.TEXT, Opcode.BINARY]),
    st.one_of(st.text(max_size=300), st.sampled_from(EDGES).map("x".__mul__)),
    st.integers(1, 4),
    st.booleans(),
)


@settings(deadline=None)
@given(messages=st.lists(MESSAGES, max_size=6), data=st.data())
def test_messages_come_back_whole_and_in_order_however_the_stream_is_cut(
    messages: list[tuple[Opcode, str, int, bool]], data: st.DataObject
) -> None:
    stream, expected, pings = b"", [], 0
    for opcode, text, parts, pinged in messages:
        payload = text.encode()
        step = max(1, -(-len(payload) // parts))
        pieces = [payload[at : at + step] for at in range(0, len(payload), step)] or [b""]
        for number, piece in enumerate(pieces):
            final = number == len(pieces) - 1
            stream += sent(opcode if number == 0 else Opcode.CONT, piece, fin=final)
            if pinged:
                stream += sent(Opcode.PING, b"p")
                pings += 1
        expected.append((opcode, payload))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    server = Server()
    try:
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            if start < end:
                server.protocol.data_received(stream[start:end])
        frames = server.frames()
        assert [(f.opcode, bytes(f.data)) for f in frames if f.opcode is not Opcode.PONG] == expected
        assert [bytes(f.data) for f in frames if f.opcode is Opcode.PONG] == [b"p"] * pings
        traffic = server.metrics.of("echo")
        assert traffic.messages_received == traffic.messages_sent == len(expected)
        assert traffic.bytes_received == traffic.bytes_sent == sum(len(payload) for _, payload in expected)
    finally:
        server.lose()


def test_a_stream_that_comes_byte_by_byte_is_understood() -> None:
    server = Server(opened=False)
    for byte in server.head + sent(Opcode.TEXT, b"hello") + sent(Opcode.PING) + sent(Opcode.TEXT, b"x" * 200):
        server.protocol.data_received(bytes([byte]))
    assert server.answer_head().startswith(b"HTTP/1.1 101 ")
    assert [bytes(frame.data) for frame in server.frames()] == [b"hello", b"", b"x" * 200]
    server.lose()


def test_frames_that_come_with_the_head_are_not_lost() -> None:
    server = Server(opened=False)
    server.protocol.data_received(server.head + sent(Opcode.TEXT, b"early"))
    assert server.answer_head().startswith(b"HTTP/1.1 101 ")
    assert [bytes(frame.data) for frame in server.frames()] == [b"early"]
    server.lose()


TOO_BIG = LARGEST + 1
MALFORMED = {
    "an unmasked frame": (raw(0x81, 5, b"hello"), 1002),
    "an unmasked empty frame": (raw(0x81, 0), 1002),
    "a reserved bit": (raw(0xC1, 0x80, b"mask"), 1002),
    "an unknown opcode": (raw(0x83, 0x80, b"mask"), 1002),
    "an unknown control opcode": (raw(0x8B, 0x80, b"mask"), 1002),
    "a fragmented ping": (raw(0x09, 0x80, b"mask"), 1002),
    "a ping of 126 bytes": (raw(0x89, 0xFE, b"\0\x7emask" + b"x" * 126), 1002),
    "a continuation of nothing": (sent(Opcode.CONT, b"x"), 1002),
    "a message inside a message": (sent(Opcode.TEXT, b"a", fin=False) + sent(Opcode.TEXT, b"b"), 1002),
    "a close frame of one byte": (sent(Opcode.CLOSE, b"x"), 1002),
    "a close code that may not be sent": (sent(Opcode.CLOSE, struct.pack("!H", 1006)), 1002),
    "a close reason that is not UTF-8": (sent(Opcode.CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007),
    "a text that is not UTF-8": (sent(Opcode.TEXT, b"\xff"), 1007),
    "a fragmented text that is not UTF-8": (
        sent(Opcode.TEXT, b"\xc3", fin=False) + sent(Opcode.CONT, b"x"),
        1007,
    ),
    "a message that is too big": (sent(Opcode.BINARY, bytes(TOO_BIG)), 1009),
    "the head of a message that is too big": (sent(Opcode.BINARY, bytes(TOO_BIG))[:14], 1009),
    "fragments that are too big together": (
        sent(Opcode.BINARY, bytes(LARGEST), fin=False) + sent(Opcode.CONT, b"x"),
        1009,
    ),
    "a length of 63 bits": (raw(0x82, 0xFF, b"\x7f" + b"\xff" * 7 + b"mask"), 1009),
}


@pytest.mark.parametrize(("stream", "code"), MALFORMED.values(), ids=MALFORMED)
def test_what_is_malformed_is_closed_with_the_code_for_it(server: Server, stream: bytes, code: int) -> None:
    server.protocol.data_received(sent(Opcode.TEXT, b"fine"))
    server.protocol.data_received(stream)
    assert server.close_code() == code
    assert not server.protocol.is_open
    server.protocol.data_received(sent(Opcode.TEXT, b"ignored"))
    assert server.frames()[-1].opcode is Opcode.CLOSE


@pytest.mark.parametrize("kind", ["a message that is too big", "fragments that are too big together"])
def test_a_last_word_goes_before_the_close_for_size(server: Server, kind: str) -> None:
    server.protocol.data_received(MALFORMED[kind][0])
    assert [bytes(frame.data) for frame in server.frames()][:-1] == [b"Message too large"]
    assert server.transport.half_closed


def test_a_last_word_goes_before_the_close_for_text(server: Server) -> None:
    server.protocol.data_received(MALFORMED["a text that is not UTF-8"][0])
    assert [bytes(frame.data) for frame in server.frames()][:-1] == [b"Message is not UTF-8"]


CLOSES = {
    "the client, with a code": ([sent(Opcode.CLOSE, struct.pack("!H", 4000) + b"bye")], (4000, "client")),
    "the client, without a code": ([sent(Opcode.CLOSE)], (1005, "client")),
    "the server, answered": (
        [sent(Opcode.TEXT, b"close"), sent(Opcode.CLOSE, struct.pack("!H", 4001))],
        (4001, "server"),
    ),
    "the server, without a code": ([sent(Opcode.TEXT, b"close-without-code")], (1005, "server")),
    "the server, after a crash": ([sent(Opcode.TEXT, b"crash")], (1011, "server")),
    "the server, for a malformed frame": ([raw(0x81, 0)], (1002, "server")),
    "nobody": ([sent(Opcode.TEXT, b"hello")], (1006, "network")),
}


@pytest.mark.parametrize(("streams", "closure"), CLOSES.values(), ids=CLOSES)
def test_a_close_is_counted_once_with_its_code_and_its_initiator(
    streams: list[bytes], closure: tuple[int, str]
) -> None:
    server = Server()
    traffic = server.metrics.of("echo")
    assert traffic.open_sockets == 1
    for stream in streams:
        server.protocol.data_received(stream)
    server.lose()
    assert traffic.open_sockets == 0
    assert dict(traffic.closes) == {closure: 1}
    assert server.state.connections == set()


def test_a_clients_close_is_echoed_and_tcp_is_closed_by_the_server(server: Server) -> None:
    server.protocol.data_received(sent(Opcode.CLOSE, struct.pack("!H", 1000) + b"bye"))
    assert [bytes(frame.data) for frame in server.frames()] == [struct.pack("!H", 1000) + b"bye"]
    assert server.transport.ended == "close"


def test_a_servers_close_waits_for_the_clients_answer(server: Server) -> None:
    server.protocol.close(1000, "bye")
    server.protocol.data_received(sent(Opcode.TEXT, b"crossed on the way"))
    assert (server.close_code(), server.transport.ended) == (1000, "")
    assert not server.protocol.send_text("late")
    server.protocol.close(1011)
    server.protocol.data_received(sent(Opcode.CLOSE, struct.pack("!H", 1000)))
    assert (len(server.frames()), server.transport.ended) == (1, "close")


def test_a_client_that_never_answers_a_close_is_dropped(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("target.sockets.CLOSE_TIMEOUT_S", 0.0)
    server.protocol.close(1000)
    server.turn()
    assert server.transport.ended == "abort"
    assert CLOSE_TIMEOUT_S > 0


def test_a_client_that_does_not_read_is_not_read_from(server: Server) -> None:
    server.protocol.pause_writing()
    assert not server.transport.reading
    server.protocol.resume_writing()
    assert server.transport.reading


def test_who_waits_for_the_client_to_read_goes_on_when_it_did(server: Server) -> None:
    done: list[bool] = []

    async def push() -> None:
        await server.protocol.drained()
        done.append(True)

    server.protocol.pause_writing()
    server.protocol.spawn(push())
    server.turn()
    assert not done
    server.protocol.resume_writing()
    server.turn()
    assert done


def test_a_spawned_coroutine_that_crashes_closes_with_1011(server: Server) -> None:
    async def crash() -> None:
        raise RuntimeError("a crash that the test asked for")

    server.protocol.spawn(crash())
    server.turn()
    assert server.close_code() == 1011


def test_a_spawned_coroutine_ends_with_the_connection() -> None:
    server = Server()
    ended: list[bool] = []

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    server.protocol.spawn(endless())
    server.turn()
    server.protocol.connection_lost(None)
    server.turn()
    assert ended
    server.loop.close()


HANDSHAKES = {
    "an unknown path": ("/nowhere", "", b"404 Not Found", "none", "rejected-404"),
    "a refusal": ("/private/me", "", b"401 Unauthorized", "echo", "rejected-401"),
    "a crash": ("/broken", "", b"500 Internal Server Error", "echo", "rejected-500"),
    "an encoded path": ("/%65cho?a=b", "", b"101 Switching Protocols", "echo", "accepted"),
    "a rejection": ("/echo", "server:reject:status=599", b"599 Unknown", "echo", "rejected-599"),
    "a missing route": ("/echo", "server:missing-route", b"404 Not Found", "echo", "rejected-404"),
    "a fault for others": (
        "/echo",
        "server:missing-route:only=dialogue",
        b"101 Switching Protocols",
        "echo",
        "accepted",
    ),
}


@pytest.mark.parametrize(
    ("path", "faults", "status", "system", "result"), HANDSHAKES.values(), ids=HANDSHAKES
)
def test_a_handshake_is_answered_and_counted_by_its_system(
    path: str, faults: str, status: bytes, system: str, result: str
) -> None:
    server = Server(path, faults=faults)
    assert server.answer.split(b"\r\n")[0] == b"HTTP/1.1 " + status
    server.lose()
    assert dict(server.metrics.of(system).handshakes) == {result: 1}


def test_a_handshake_that_is_no_websocket_is_refused() -> None:
    server = Server(opened=False)
    server.protocol.data_received(server.head.replace(b"Version: 13", b"Version: 8"))
    assert server.answer_head().startswith(b"HTTP/1.1 400 ")
    assert server.transport.ended == "close"
    server.lose()
    assert dict(server.metrics.of("echo").handshakes) == {"rejected-400": 1}


def test_a_head_without_an_end_is_refused() -> None:
    server = Server(opened=False)
    server.protocol.data_received(server.head[:-2] + b"X: " + b"x" * 70_000)
    assert server.answer_head().startswith(b"HTTP/1.1 431 ")
    server.lose()


def test_a_route_may_decide_later_and_keeps_what_comes_meanwhile() -> None:
    server = Server("/later")
    server.protocol.data_received(sent(Opcode.TEXT, b"early"))
    assert server.answer == b""
    server.turn()
    assert server.answer_head().startswith(b"HTTP/1.1 101 ")
    assert [bytes(frame.data) for frame in server.frames()] == [b"early"]
    server.lose()


def test_a_delayed_handshake_goes_on_and_one_whose_client_left_does_not() -> None:
    delayed = Server(faults="server:slow-upgrade:delay_s=0")
    assert delayed.answer == b""
    delayed.turn()
    assert delayed.answer_head().startswith(b"HTTP/1.1 101 ")
    delayed.lose()
    left = Server(faults="server:slow-upgrade:delay_s=0")
    left.protocol.connection_lost(None)
    left.turn()
    assert left.transport.written == b""
    left.loop.close()
    assert dict(left.metrics.of("echo").handshakes) == {"abandoned": 1}


def test_a_shutdown_closes_with_1012_and_refuses_a_handshake_that_waits() -> None:
    open_one, waiting = Server(), Server(faults="server:slow-upgrade:delay_s=60")
    open_one.protocol.shutdown()
    waiting.protocol.shutdown()
    assert open_one.close_code() == 1012
    assert waiting.answer_head().startswith(b"HTTP/1.1 503 ")
    open_one.lose()
    waiting.lose()


def test_of_a_query_the_first_value_counts() -> None:
    handshake = Handshake("/", "token=a%2Bb&token=c&empty=", None, {})  # type: ignore[arg-type]
    assert handshake.query == {"token": "a+b", "empty": ""}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/echo", {}),
        ("/echo/", None),
        ("/private/x", {"name": "x"}),
        ("/private/", None),
        ("/private/x/y", None),
        ("/private/x\n", {"name": "x\n"}),
        ("", None),
    ],
)
def test_a_path_finds_its_route(path: str, found: dict[str, str] | None) -> None:
    route = SocketRouter(ROUTES).find(path)
    assert (route and route[1]) == found
