"""The voice contract, step by step: its clockwork on a stepped clock, the rest over real sockets."""

import asyncio
import json
import signal
import socket as sockets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection

from target.faults import Faults, parse_fault
from target.messages import MessageError, encode
from target.metrics import Metrics
from target.options import Options
from target.sockets import SocketProtocol
from target.store import Store
from target.system import Services
from target.tokens import Tokens
from target.voice import (
    ACCESS,
    AUDIO,
    DEFAULT_HEARTBEAT_S,
    FRAME_S,
    HEARTBEAT_S,
    HEARTBEATS_MISSED,
    HELLO_TIMEOUT_S,
    MAX_FRAME_BYTES,
    MAX_FRAMES,
    Voice,
    VoiceChannel,
    agreed_heartbeat_s,
    text_heard,
)
from tests.target.client import PASSWORD, PATIENCE_S, Account, Target, closing, connect, eventually, running
from tests.target.conftest import SECRET
from tests.target.test_capacity import stepped

STOP = {"type": "listen", "state": "stop"}
FRAME = b"\x0b" * 120


def error(text: str) -> str:
    return json.dumps({"type": "error", "message": text}, separators=(",", ":"))


class Device:
    """A device that has logged in."""

    def __init__(self, target: Target, number: int = 0) -> None:
        self.target = target
        self.id = f"device-{number:06}"
        status, tokens = target.http("POST", "/v1/voice/login", {"device_id": self.id, "password": PASSWORD})
        assert status == 200, tokens
        self.access: str = tokens["access_token"]
        self.refresh: str = tokens["refresh_token"]

    def http(self, method: str, path: str) -> tuple[int, Any]:
        """Status and JSON body of a request with the access token."""
        return self.target.http(method, path, Authorization=f"Bearer {self.access}")

    def sessions(self, query: str = "") -> list[dict[str, Any]]:
        """The sessions that are listed."""
        status, body = self.http("GET", f"/v1/voice/sessions{query}")
        assert status == 200, body
        listed: list[dict[str, Any]] = body["sessions"]
        return listed

    def hello(self, **changes: Any) -> dict[str, Any]:
        """A hello of this device's."""
        return {"type": "hello", "device_id": self.id, "audio": AUDIO, **changes}

    def open(self, **headers: str) -> ClientConnection:
        """A socket on which nothing was said; headers instead of those that are right, empty for none."""
        given = {"Authorization": f"Bearer {self.access}", "Device-Id": self.id}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        return connect(
            f"{self.target.ws}/v1/voice/ws",
            additional_headers={name: value for name, value in given.items() if value},
        )

    @contextmanager
    def session(self, heartbeat_s: float = 30.0, **headers: str) -> Iterator[tuple[ClientConnection, str]]:
        """A socket after the hello, and the session's id."""
        with self.open(**headers) as socket:
            yield socket, ask(socket, self.hello(heartbeat_s=heartbeat_s))["session_id"]


@pytest.fixture
def device(target: Target) -> Device:
    return Device(target)


def say(socket: ClientConnection, message: Any) -> None:
    socket.send(message if isinstance(message, str | bytes) else json.dumps(message))


def ask(socket: ClientConnection, message: Any) -> dict[str, Any]:
    say(socket, message)
    answer: dict[str, Any] = json.loads(socket.recv(PATIENCE_S))
    return answer


def start(session_id: str) -> dict[str, str]:
    return {"type": "listen", "state": "start", "mode": "auto", "session_id": session_id}


def answer_to(socket: ClientConnection, session_id: str, frames: int) -> list[Any]:
    """All that comes in answer to an utterance."""
    for message in (start(session_id), *[FRAME] * frames, STOP):
        say(socket, message)
    heard: list[Any] = []
    while not heard or heard[-1] != {"type": "tts", "state": "stop"}:
        message = socket.recv(PATIENCE_S)
        heard.append(message if isinstance(message, bytes) else json.loads(message))
    return heard


# The clockwork, on a clock that jumps from timer to timer.


class Line:
    """In a socket's place: notes what was sent, and when; a binary message takes ``slow_s`` of the clock."""

    def __init__(self, slow_s: float = 0.0) -> None:
        self.is_open = True
        self.sent: list[tuple[float, Any]] = []
        self.closed: tuple[float, int | None, str] | None = None
        self.slow_s = slow_s

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def send_text(self, text: str) -> bool:
        self.sent.append((self.now, json.loads(text)))
        return self.is_open

    def send_binary(self, payload: bytes) -> bool:
        self.sent.append((self.now, payload))
        cast(Any, asyncio.get_running_loop()).now += self.slow_s
        return self.is_open

    def send_ping(self) -> bool:
        self.sent.append((self.now, "ping"))
        return self.is_open

    def go_deaf(self) -> None:
        self.is_open = False

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        if self.is_open:
            self.is_open, self.closed = False, (self.now, code, reason)

    def times(self, of: Callable[[Any], bool]) -> list[float]:
        """When such messages were sent."""
        return [at for at, message in self.sent if of(message)]


def channel_on(line: Line, *faults: str) -> VoiceChannel:
    """An opened channel with the credentials of ``device-000000``."""
    chosen = Faults(parse_fault(fault) for fault in faults)
    services = Services(Options(), SECRET, cast(Store, None), chosen, Metrics(chosen, ["voice"]))
    token = Tokens(SECRET, {ACCESS: 3600}).issue(ACCESS, "device-000000")
    headers = Headers({"Authorization": f"Bearer {token}", "Device-Id": "device-000000"})
    channel = VoiceChannel(Voice(services), headers, None)
    channel.socket = cast(SocketProtocol, line)
    channel.opened()
    return channel


def greeted(line: Line, *faults: str, heartbeat_s: float = 60.0) -> VoiceChannel:
    """A channel after the hello."""
    channel = channel_on(line, *faults)
    hello = {"type": "hello", "device_id": "device-000000", "audio": AUDIO, "heartbeat_s": heartbeat_s}
    channel.text(json.dumps(hello))
    return channel


def timers() -> list[Any]:
    """What the running loop will still do at its time."""
    scheduled: list[Any] = cast(Any, asyncio.get_running_loop())._scheduled
    return [timer for timer in scheduled if not timer.cancelled() and timer._callback is not None]


def of_channels(found: list[Any]) -> list[Any]:
    return [timer for timer in found if isinstance(getattr(timer._callback, "__self__", None), VoiceChannel)]


def test_a_connection_that_says_no_hello_is_closed_in_time() -> None:
    async def scene() -> None:
        line = Line()
        channel_on(line)
        await asyncio.sleep(2 * HELLO_TIMEOUT_S)
        assert line.sent == [(HELLO_TIMEOUT_S, {"type": "error", "message": "No hello in time"})]
        assert line.closed == (HELLO_TIMEOUT_S, 1008, "No hello in time")

    stepped(scene())


@pytest.mark.parametrize("slow_s", [0.0, 0.02, 0.059])
def test_an_answer_keeps_to_its_schedule_however_long_each_frame_takes(slow_s: float) -> None:
    async def scene() -> None:
        line = Line(slow_s)
        channel = greeted(line)
        channel.text(json.dumps(start(channel.session_id)))
        for _ in range(50):
            channel.binary(FRAME)
        await asyncio.sleep(1.0)
        began = line.now
        channel.text(json.dumps(STOP))
        await asyncio.sleep(10.0)
        times = line.times(lambda message: isinstance(message, bytes))
        assert [round(at - began, 6) for at in times] == [round(n * FRAME_S, 6) for n in range(50)]
        (over,) = line.times(lambda message: message == {"type": "tts", "state": "stop"})
        assert round(over - began, 6) == round(50 * FRAME_S, 6)

    stepped(scene())


def test_an_answer_that_cannot_keep_up_is_late_by_no_more_than_its_frames_take() -> None:
    async def scene() -> None:
        line = Line(slow_s=0.1)
        channel = greeted(line)
        channel.text(json.dumps(start(channel.session_id)))
        for _ in range(10):
            channel.binary(FRAME)
        channel.text(json.dumps(STOP))
        await asyncio.sleep(10.0)
        times = line.times(lambda message: isinstance(message, bytes))
        assert [round(at, 6) for at in times] == [round(0.1 * n, 6) for n in range(10)]

    stepped(scene())


def test_a_client_that_misses_three_pings_is_closed_with_1011() -> None:
    async def scene() -> None:
        line = Line()
        greeted(line, heartbeat_s=2.0)
        await asyncio.sleep(60.0)
        assert line.times(lambda message: message == "ping") == [2.0, 4.0, 6.0]
        assert line.closed == (8.0, 1011, "keepalive ping timeout")

    stepped(scene())


@pytest.mark.parametrize("sign", ["pong", "text", "binary"])
def test_any_sign_of_life_begins_the_count_of_missed_pings_anew(sign: str) -> None:
    async def scene() -> None:
        line = Line()
        channel = greeted(line, heartbeat_s=2.0)
        channel.text(json.dumps(start(channel.session_id)))
        signs: dict[str, Callable[[], None]] = {
            "pong": channel.pong,
            "text": lambda: channel.text(json.dumps(STOP)),
            "binary": lambda: channel.binary(FRAME),
        }
        await asyncio.sleep(7.0)
        signs[sign]()
        await asyncio.sleep(60.0)
        assert line.closed == (14.0, 1011, "keepalive ping timeout")

    stepped(scene())


def test_a_deaf_server_pings_no_more_and_closes_nothing() -> None:
    async def scene() -> None:
        line = Line()
        channel = greeted(line, "voice:deaf", heartbeat_s=2.0)
        await asyncio.sleep(3.0)
        assert line.times(lambda message: message == "ping") == [2.0]
        channel.text(json.dumps(start(channel.session_id)))
        said = list(line.sent)
        await asyncio.sleep(60.0)
        assert (line.sent, line.closed) == (said, None)
        assert of_channels(timers()) == []

    stepped(scene())


@pytest.mark.parametrize("speaks", [False, True])
def test_a_socket_that_has_ended_costs_no_timer(speaks: bool) -> None:
    async def scene() -> None:
        line = Line()
        channel = greeted(line)
        if speaks:
            channel.text(json.dumps(start(channel.session_id)))
            channel.binary(FRAME)
            channel.binary(FRAME)
            channel.text(json.dumps(STOP))
        assert of_channels(timers())
        line.is_open = False
        channel.closed()
        assert of_channels(timers()) == []

    stepped(scene())


@pytest.mark.parametrize(
    ("asked", "agreed"),
    [(None, DEFAULT_HEARTBEAT_S), (2, 2.0), (0.5, 0.5), (1e-9, HEARTBEAT_S[0]), (10**400, HEARTBEAT_S[1])],
)
def test_the_heartbeat_is_what_is_asked_for_within_bounds(asked: object, agreed: float) -> None:
    assert agreed_heartbeat_s(asked) == agreed


@given(st.one_of(st.floats(), st.integers(), st.booleans(), st.text(), st.lists(st.integers())))
def test_a_heartbeat_is_within_bounds_or_refused(asked: object) -> None:
    try:
        agreed = agreed_heartbeat_s(asked)
    except MessageError as refused:
        assert refused.code == 1008
        assert isinstance(asked, bool | str | list) or not cast(float, asked) > 0
    else:
        assert HEARTBEAT_S[0] <= agreed <= HEARTBEAT_S[1]


def test_words_are_understood_in_several_scripts_and_none_without_a_frame() -> None:
    assert text_heard(0) == ""
    understood = "".join(text_heard(frames) for frames in range(1, 6))
    assert any("一" <= letter <= "鿿" for letter in understood) and "light" in understood
    assert text_heard(20).endswith("(1.20 s)")


# Log-in and tokens.


def test_a_log_in_gives_tokens_that_name_the_device_and_their_kind(device: Device) -> None:
    for token, kind in ((device.access, "voice"), (device.refresh, "voice-refresh")):
        claims = jwt.decode(token, SECRET, ["HS256"])
        assert (claims["kind"], claims["sub"]) == (kind, device.id)
        assert claims["exp"] > time.time()


def test_as_many_devices_are_seeded_as_there_are_accounts(target: Target) -> None:
    assert Device(target, 999).access
    body = {"device_id": "device-001000", "password": PASSWORD}
    assert target.http("POST", "/v1/voice/login", body)[0] == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"device_id": "device-000000", "password": "wrong"}, 401),
        ({"device_id": "device-0000000", "password": PASSWORD}, 401),
        ({"device_id": "device-0", "password": PASSWORD}, 401),
        ({"device_id": "device-٠٠٠٠٠٠", "password": PASSWORD}, 401),
        ({"device_id": "", "password": PASSWORD}, 401),
        ({"device_id": "device-000000"}, 400),
        ({"device_id": 0, "password": PASSWORD}, 400),
        ({"device_id": "device-000000", "password": "\ud800"}, 400),
        ([], 400),
    ],
)
def test_a_wrong_log_in_is_refused_in_json(target: Target, body: Any, status: int) -> None:
    answered, answer = target.http("POST", "/v1/voice/login", body)
    assert (answered, list(answer)) == (status, ["detail"])


def test_a_refresh_gives_an_access_token_that_opens_a_session(target: Target, device: Device) -> None:
    status, tokens = target.http("POST", "/v1/voice/refresh", {"refresh_token": device.refresh})
    assert (status, list(tokens)) == (200, ["access_token"])
    device.access = tokens["access_token"]
    with device.session() as (_, session_id):
        assert session_id


def test_only_a_refresh_token_refreshes(target: Target, device: Device, account: Account) -> None:
    for token in (device.access, account.refresh, "nonsense"):
        assert target.http("POST", "/v1/voice/refresh", {"refresh_token": token})[0] == 401


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("path", ["/v1/voice/sessions?run_id=x", "/v1/voice/sessions/x"])
def test_everything_else_takes_an_access_token_of_voice(
    target: Target, device: Device, account: Account, method: str, path: str
) -> None:
    if (method, path) == ("GET", "/v1/voice/sessions/x"):
        assert target.http(method, path)[0] == 405
        return
    assert target.http(method, path)[0] == 401
    for token in (device.refresh, account.access, "nonsense"):
        assert target.http(method, path, Authorization=f"Bearer {token}")[0] == 401


# An exchange.


def test_an_exchange_is_answered_with_words_and_as_much_audio_as_was_heard(device: Device) -> None:
    with device.open() as socket:
        answer = ask(socket, device.hello(heartbeat_s=7))
        session_id = answer.pop("session_id")
        assert answer == {"type": "hello", "audio": AUDIO, "heartbeat_s": 7.0}
        for frames in (5, 1, 0):
            heard = answer_to(socket, session_id, frames)
            assert heard[:2] == [
                {"type": "stt", "text": text_heard(frames)},
                {"type": "tts", "state": "start"},
            ]
            assert [len(frame) for frame in heard[2:-1]] == [120] * frames


def test_the_state_of_a_session_is_listed_while_it_changes(device: Device) -> None:
    def state() -> str:
        (listed,) = [each for each in device.sessions() if each["session_id"] == session_id]
        assert listed["device_id"] == device.id
        return str(listed["state"])

    with device.session() as (socket, session_id):
        assert state() == "idle"
        answer_to(socket, session_id, 1)
        assert state() == "idle"
        say(socket, start(session_id))
        eventually(lambda: state() == "listening")
        # an answer of a minute: it is still under way whenever it is asked for
        for message in [*[FRAME] * MAX_FRAMES, STOP]:
            say(socket, message)
        eventually(lambda: state() == "answering")


class Pings:
    """The pings that a socket gets, which are then answered or not."""

    def __init__(self, socket: ClientConnection, answer: bool) -> None:
        self.count = 0
        protocol = cast(Any, socket.protocol)
        receive = protocol.recv_frame

        def recv_frame(frame: Frame) -> None:
            if frame.opcode is Opcode.PING:
                self.count += 1
                if not answer:
                    return
            receive(frame)

        protocol.recv_frame = recv_frame


def keeps_up(device: Device, heartbeat_s: float) -> bool:
    """Whether a device that answers pings stays; False where it was closed for answering too late."""
    with device.session(heartbeat_s=heartbeat_s) as (socket, session_id):
        pings = Pings(socket, answer=True)
        eventually(lambda: pings.count > HEARTBEATS_MISSED + 1 or socket.close_code is not None)
        try:
            return bool(answer_to(socket, session_id, 1))
        except ConnectionClosed as closed:
            assert closed.rcvd is not None and closed.rcvd.code == 1011
            return False


def test_the_server_pings_and_is_content_with_pongs(device: Device) -> None:
    # three heartbeats are all that a machine may take to answer one ping
    assert any(keeps_up(device, heartbeat_s) for heartbeat_s in (0.1, 1.0, 5.0))


def test_a_device_that_answers_no_ping_is_closed_with_1011(device: Device) -> None:
    with device.session(heartbeat_s=0.1) as (socket, _):
        pings = Pings(socket, answer=False)
        assert closing(socket) == ([], 1011, "keepalive ping timeout")
        assert pings.count == 3


def test_a_ping_of_the_devices_is_answered(device: Device) -> None:
    with device.session() as (socket, _):
        assert socket.ping().wait(PATIENCE_S)


# What is refused on the socket.

LONG = [FRAME] * MAX_FRAMES
"""An utterance whose answer takes a minute."""
LATER: dict[str, tuple[list[Any], str, int]] = {
    "a second hello": (["hello"], "Hello was said already", 1008),
    "a start in an utterance": (["start", "start"], "Not idle but listening", 1008),
    "a start in an answer": (["start", *LONG, STOP, "start"], "Not idle but answering", 1008),
    "a stop while idle": ([STOP], "Not listening", 1008),
    "audio while idle": ([FRAME], "Not listening", 1008),
    "audio in an answer": (["start", *LONG, STOP, FRAME], "Not listening", 1008),
    "another session": ([start("x")], "Session access denied", 1008),
    "no session": ([{"type": "listen", "state": "start", "mode": "auto"}], "Session access denied", 1008),
    "another mode": (["manual"], 'Field "mode" must be "auto"', 1008),
    "an unknown type": ([{"type": "sing"}], "Unknown message type", 1008),
    "an unknown state": ([{"type": "listen", "state": "pause"}], "Unknown message type", 1008),
    "types of other types": ([{"type": ["listen"], "state": {}}], "Unknown message type", 1008),
    "not JSON": (["{"], "Message is not JSON", 1007),
    "endless nesting": (["[" * 60_000], "Message is not JSON", 1007),
    "a list": (["[]"], "Message is not a JSON object", 1007),
    "audio without a byte": (["start", b""], "Frame of audio is empty", 1007),
    "too large a frame": (
        ["start", bytes(MAX_FRAME_BYTES + 1)],
        "Frame of audio too large, or utterance too long",
        1009,
    ),
    "too long an utterance": (
        ["start", *[FRAME] * (MAX_FRAMES + 1)],
        "Frame of audio too large, or utterance too long",
        1009,
    ),
    "too large a message": ([bytes((1 << 20) + 1)], "Message too large", 1009),
}


@pytest.mark.parametrize(("steps", "says", "code"), LATER.values(), ids=LATER)
def test_a_wrong_step_gets_an_error_and_then_a_close(
    device: Device, steps: list[Any], says: str, code: int
) -> None:
    with device.session() as (socket, session_id):
        named = {
            "hello": device.hello(),
            "start": start(session_id),
            "manual": start(session_id) | {"mode": "manual"},
        }
        for step in steps:
            say(socket, named.get(step, step) if isinstance(step, str) else step)
        messages, closed, _ = closing(socket)
    assert (messages[-1], closed) == (error(says), code)


FIRST: dict[str, tuple[Any, str, int]] = {
    "audio": (FRAME, "Say hello first", 1008),
    "a start": (start("x"), "Say hello first", 1008),
    "an unknown type": ({"type": "sing"}, "Say hello first", 1008),
    "not JSON": ("hello", "Message is not JSON", 1007),
    "a hello without audio": (
        {"audio": None},
        f"Audio must be {encode(AUDIO)}",
        1008,
    ),
    "a hello with other audio": (
        {"audio": AUDIO | {"sample_rate": 8000}},
        f"Audio must be {encode(AUDIO)}",
        1008,
    ),
    "a hello without heartbeat": ({"heartbeat_s": 0}, 'Field "heartbeat_s" must be a number above 0', 1008),
    "a hello of another device": ({"device_id": "device-000001"}, "Device does not match its token", 1008),
    "a hello of no device": ({"device_id": None}, "Device does not match its token", 1008),
    "a hello of a list": ({"device_id": ["device-000000"]}, "Device does not match its token", 1008),
}


@pytest.mark.parametrize(("message", "says", "code"), FIRST.values(), ids=FIRST)
def test_a_wrong_first_message_gets_an_error_and_then_a_close(
    device: Device, message: Any, says: str, code: int
) -> None:
    if isinstance(message, dict) and "type" not in message:
        message = device.hello(**message)
    with device.open() as socket:
        say(socket, message)
        assert closing(socket) == ([error(says)], code, says)


def test_text_that_is_not_utf8_gets_an_error_and_then_1007(device: Device) -> None:
    with device.session() as (socket, _):
        socket.send(b"\xff\xfe", text=True)
        assert closing(socket)[:2] == ([error("Message is not UTF-8")], 1007)


CLAIMS = {"sub": "device-000000", "kind": "voice", "exp": 2**33}
CREDENTIALS = {
    "no token": ({"Authorization": ""}, "Authentication failed: token missing"),
    "another scheme": ({"Authorization": "Basic x"}, "Authentication failed: token missing"),
    "nonsense": ({"Authorization": "Bearer nonsense"}, "Authentication failed: token invalid"),
    "an expired token": (
        {"Authorization": "Bearer " + jwt.encode(CLAIMS | {"exp": 1}, SECRET, "HS256")},
        "Authentication failed: token expired",
    ),
    "a forged token": (
        {"Authorization": "Bearer " + jwt.encode(CLAIMS, "another secret of 32 bytes or more", "HS256")},
        "Authentication failed: token invalid",
    ),
    "an unsigned token": (
        {"Authorization": "Bearer " + jwt.encode(CLAIMS, "", "none")},
        "Authentication failed: token invalid",
    ),
    "a refresh token": (
        {"Authorization": "Bearer " + jwt.encode(CLAIMS | {"kind": "voice-refresh"}, SECRET, "HS256")},
        "Authentication failed: token of the wrong kind",
    ),
    "another system's token": (
        {"Authorization": "Bearer " + jwt.encode(CLAIMS | {"kind": "access"}, SECRET, "HS256")},
        "Authentication failed: token of the wrong kind",
    ),
    "another device's token": (
        {"Authorization": "Bearer " + jwt.encode(CLAIMS | {"sub": "device-000001"}, SECRET, "HS256")},
        "Device does not match its token",
    ),
    "no device": ({"Device_Id": ""}, "Device does not match its token"),
    "another device": ({"Device_Id": "device-000001"}, "Device does not match its token"),
}


@pytest.mark.parametrize(("headers", "says"), CREDENTIALS.values(), ids=CREDENTIALS)
def test_bad_credentials_are_refused_at_the_hello_with_a_reason(
    device: Device, headers: dict[str, str], says: str
) -> None:
    with device.open(**headers) as socket:
        say(socket, device.hello())
        assert closing(socket) == ([error(says)], 1008, says)


def test_a_header_that_comes_twice_is_no_identity(device: Device) -> None:
    headers = [("Authorization", f"Bearer {device.access}"), ("Device-Id", device.id), ("Device-Id", "x")]
    with connect(f"{device.target.ws}/v1/voice/ws", additional_headers=headers) as socket:
        say(socket, device.hello())
        assert closing(socket)[:2] == ([error("Device does not match its token")], 1008)


# Sessions.


def test_a_session_is_from_the_hello_to_the_end_of_its_socket(device: Device) -> None:
    def sessions_open() -> float:
        return device.target.metric("wsoak_target_sessions_open", system="voice")

    # no other test's session is open any more
    eventually(lambda: sessions_open() == 0)
    with device.open() as socket:
        assert sessions_open() == 0
        session_id = ask(socket, device.hello())["session_id"]
        assert sessions_open() == 1
        assert session_id in [each["session_id"] for each in device.sessions()]
    eventually(lambda: sessions_open() == 0)
    assert session_id not in [each["session_id"] for each in device.sessions()]


def test_a_run_is_listed_and_cleaned_up_whosever_its_sessions_are(target: Target, device: Device) -> None:
    other, stranger = Device(target, 1), Device(target, 2)
    with (
        device.session(X_Run_Id="a run") as (one, first),
        other.session(X_Run_Id="a run") as (two, second),
        device.session(X_Run_Id="another") as (kept, third),
    ):
        listed = stranger.sessions("?run_id=a%20run")
        assert [(each["session_id"], each["run_id"]) for each in listed] == [
            (first, "a run"),
            (second, "a run"),
        ]
        assert {each["session_id"] for each in device.sessions()} == {first, third}
        assert stranger.http("DELETE", "/v1/voice/sessions?run_id=a%20run") == (200, {"deleted": 2})
        assert closing(one) == closing(two) == ([], 1000, "session deleted")
        assert stranger.sessions("?run_id=a%20run") == []
        assert stranger.http("DELETE", "/v1/voice/sessions?run_id=a%20run") == (200, {"deleted": 0})
        assert answer_to(kept, third, 1)


def test_a_session_is_deleted_by_its_own_device_alone(target: Target, device: Device) -> None:
    with device.session() as (socket, session_id):
        path = f"/v1/voice/sessions/{session_id}"
        assert Device(target, 1).http("DELETE", path)[0] == 403
        assert device.http("DELETE", path) == (204, None)
        assert closing(socket) == ([], 1000, "session deleted")
        assert device.http("DELETE", path)[0] == 404


@pytest.mark.parametrize("query", ["", "?run_id="])
def test_a_clean_up_names_its_run(device: Device, query: str) -> None:
    assert device.http("DELETE", "/v1/voice/sessions" + query)[0] == 400


def test_a_run_id_that_cannot_be_kept_is_refused(device: Device) -> None:
    with pytest.raises(InvalidStatus) as refused, device.open(X_Run_Id="x" * 129):
        pass
    assert refused.value.response.status_code == 400


# Faults, from the start and while it runs.


def is_healthy(device: Device) -> bool:
    with device.session() as (socket, session_id):
        heard = answer_to(socket, session_id, 10)
        return len(heard) == 13 and socket.ping().wait(PATIENCE_S)


def closes_after_hello(device: Device) -> bool:
    with device.session() as (socket, _):
        return closing(socket) == ([], 1005, "")


def resets(socket: ClientConnection) -> bool:
    """Whether the connection ends by a TCP reset, and not by a close frame or the end of the stream."""
    with pytest.raises(ConnectionClosed) as closed:
        socket.recv(PATIENCE_S)
    return closed.value.rcvd is None and isinstance(closed.value.__cause__, ConnectionResetError)


def drops_at(frame: int) -> Callable[[Device], bool]:
    def shows(device: Device) -> bool:
        with device.session() as (socket, session_id):
            # an utterance that ends before is answered
            assert len(answer_to(socket, session_id, frame - 1)) == frame + 2
            for message in (start(session_id), *[FRAME] * frame):
                say(socket, message)
            return resets(socket)

    return shows


def is_deaf(device: Device) -> bool:
    with device.session() as (socket, session_id):
        assert socket.ping().wait(PATIENCE_S)
        # a start and a ping in one read
        socket.protocol.send_text(json.dumps(start(session_id)).encode())
        socket.protocol.send_ping(b"before")
        socket.socket.sendall(b"".join(socket.protocol.data_to_send()))
        eventually(lambda: device.sessions()[0]["state"] == "listening")
        pong = socket.ping()
        say(socket, FRAME)
        say(socket, STOP)
        with pytest.raises(TimeoutError):
            socket.recv(1.0)
        assert not pong.is_set()
        assert [each["session_id"] for each in device.sessions()] == [session_id]
        # without a close handshake, which would not be answered
        socket.socket.shutdown(sockets.SHUT_RDWR)
    eventually(lambda: device.sessions() == [])
    return True


FAULTS: dict[str, tuple[str, Callable[[Device], bool]]] = {
    "close-after-hello": ("close-after-hello", closes_after_hello),
    "drop-mid-utterance": ("drop-mid-utterance", drops_at(8)),
    "drop-mid-utterance at a frame": ("drop-mid-utterance:frame=3", drops_at(3)),
    "deaf": ("deaf", is_deaf),
}


@pytest.mark.parametrize(("fault", "shows"), FAULTS.values(), ids=FAULTS)
def test_a_fault_switches_on_and_off_while_the_target_runs(
    target: Target, fault: str, shows: Callable[[Device], bool]
) -> None:
    # of whom no other test has sessions
    device = Device(target, 7)
    choice = parse_fault(f"voice:{fault}")
    with target.fault("voice", choice.name, **choice.params):
        assert shows(device)
    assert is_healthy(device)


def test_faults_hit_their_share_of_hellos_and_utterances(target: Target, device: Device) -> None:
    with target.fault("voice", "close-after-hello", share=0.5):
        seen = []
        for _ in range(4):
            with device.session() as (socket, session_id):
                try:
                    seen.append(len(answer_to(socket, session_id, 1)))
                except ConnectionClosed:
                    seen.append(0)
        assert seen == [4, 0, 4, 0]
    with (
        target.fault("voice", "drop-mid-utterance", share=0.5, frame=1),
        device.session() as (socket, session_id),
    ):
        assert len(answer_to(socket, session_id, 2)) == 5
        for message in (start(session_id), FRAME):
            say(socket, message)
        assert resets(socket)


def test_a_target_that_starts_with_a_fault_ends_in_order_with_its_deaf_sockets() -> None:
    with running("--fault", "voice:deaf", "--accounts", "1") as target:
        device = Device(target)
        with device.session() as (socket, session_id):
            say(socket, start(session_id))
            eventually(lambda: device.sessions()[0]["state"] == "listening")
            target.process.send_signal(signal.SIGTERM)
            assert target.process.wait(PATIENCE_S) == 0
            assert closing(socket)[1] == 1006
