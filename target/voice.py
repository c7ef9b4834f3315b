"""Voice: a spoken exchange with a device.

| step | request | answer |
|---|---|---|
| log in | ``POST /v1/voice/login`` ``{"device_id", "password"}`` | access and refresh ``_token``, or 401 |
| refresh | ``POST /v1/voice/refresh`` ``{"refresh_token"}`` | ``{"access_token"}``, or 401 |
| talk | ``WS /v1/voice/ws``, ``Authorization: Bearer {access_token}``, ``Device-Id`` | see below |
| list | ``GET /v1/voice/sessions[?run_id=]`` | ``{"sessions": [{"session_id", "device_id", ...}]}`` |
| delete | ``DELETE /v1/voice/sessions/{session_id}`` | 204 |
| clean up | ``DELETE /v1/voice/sessions?run_id=`` | ``{"deleted": count}`` |

The contract does not say where a token comes from: here devices ``device-000000``, ``device-000001``, … log
in, as many as ``--accounts`` says, all with one password. Listing and deleting take the access token; a
listing or a deletion by run takes in all devices, a listing without a run those of the caller; somebody
else's session is 403, an unknown one 404.

    client: {"type": "hello", "device_id", "audio": {"format", "sample_rate", "frame_ms"}, "heartbeat_s"?}
    server: {"type": "hello", "session_id", "audio", "heartbeat_s"}
    client: {"type": "listen", "state": "start", "mode": "auto", "session_id"}
            binary frames of audio, one each 60 ms
            {"type": "listen", "state": "stop"}
    server: {"type": "stt", "text"}, {"type": "tts", "state": "start"}
            binary frames of audio, one each 60 ms from then on, as many as were heard
            {"type": "tts", "state": "stop"}, when the last frame is over

    connected ──hello──► idle ──start──► listening ──stop──► answering ──tts stop──► idle

Accept first, then check: credentials are looked at with the hello, when the device of the token, of the
header and of the hello must be the same; not again after it. A hello creates the session, to which the
``X-Run-Id`` of the handshake belongs, and the end of the socket releases it; a device may have several. Audio
is neither decoded nor kept. An utterance without a frame is answered without audio.

Heartbeat: the server pings at the interval that its hello names, which is the client's ``heartbeat_s`` within
``HEARTBEAT_S``, or its default; pings of the client's are answered. After three pings without a pong or a
message it closes with 1011. Other errors are ``{"type": "error", "message"}``, then a close:

| what | code |
|---|---|
| no hello within ``HELLO_TIMEOUT_S``; anything else before the hello, or a second one | 1008 |
| token missing, expired, invalid or of the wrong kind; a device that is not the token's | 1008 |
| an unknown type; fields missing or wrong; audio other than ``AUDIO``; another's ``session_id`` | 1008 |
| start while not idle, stop or audio while not listening | 1008 |
| not JSON, not an object, not UTF-8; a frame of audio without a byte (RFC 6716, Section 3.1) | 1007 |
| too large a message or frame of audio; an utterance beyond ``MAX_FRAMES`` | 1009 |
| the session was deleted while the socket was open | 1000, without an error |
"""

import asyncio
import hmac
import re
import uuid
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from websockets.datastructures import Headers

from target.httpd import MAX_RUN_ID_CHARACTERS, bearer_subject, json_object, text_field, utc_now
from target.messages import MessageError, encode, error_text, read_object
from target.sockets import Channel, Handshake, Opening, Refusal, SocketRoute
from target.system import Routes, Services, System
from target.tokens import TokenError, Tokens

NAME = "voice"
PASSWORD = "Test@123456"
DEVICE = re.compile(r"device-([0-9]{6}|[1-9][0-9]{6,8})")
ACCESS, REFRESH = "voice", "voice-refresh"
"""Kinds of tokens: another system's are of other kinds."""
REFRESH_TOKEN_TTL_S = 30 * 24 * 3600

HELLO_TIMEOUT_S = 10.0
HEARTBEAT_S = (0.1, 60.0)
DEFAULT_HEARTBEAT_S = 10.0
HEARTBEATS_MISSED = 3
KEEPALIVE_REASON = "keepalive ping timeout"

AUDIO = {"format": "opus", "sample_rate": 16000, "frame_ms": 60}
FRAME_S = 0.06
MAX_FRAME_BYTES = 4096
MAX_FRAMES = 1000
SPEECH = bytes(range(120))
"""A frame of the answer: 60 ms at 16 kbit/s."""

HEARD = (
    "今天天气怎么样？",
    "Turn the light on, please.",
    "明日の予定は？",
    "Que temps fait-il ?",
    "放一首歌。",
)

CONNECTED, IDLE, LISTENING, ANSWERING = "connected", "idle", "listening", "answering"


def text_heard(frames: int) -> str:
    """What the recogniser makes of so many frames of audio: the same of as many."""
    return f"{HEARD[frames % len(HEARD)]} ({frames * FRAME_S:.2f} s)" if frames else ""


def agreed_heartbeat_s(asked: object) -> float:
    """The interval of the heartbeat, in seconds, if this is what a hello asks for; raises MessageError."""
    if asked is None:
        return DEFAULT_HEARTBEAT_S
    if isinstance(asked, bool) or not isinstance(asked, int | float) or not asked > 0:
        raise MessageError(1008, 'Field "heartbeat_s" must be a number above 0')
    least, most = HEARTBEAT_S
    return float(min(max(asked, least), most))


def only(headers: Headers, name: str) -> str | None:
    """A header that was sent once; None for one that was not, or of which it is not clear which one holds."""
    values = headers.get_all(name)
    return values[0] if len(values) == 1 else None


class Voice:
    """The voice system: its HTTP routes, and what its sockets share."""

    def __init__(self, services: Services) -> None:
        self.faults = services.faults
        self.sessions: dict[str, VoiceChannel] = {}
        self.traffic = services.metrics.of(NAME)
        self._devices = services.options.accounts
        lifetimes_s = {ACCESS: services.options.access_token_ttl_s, REFRESH: REFRESH_TOKEN_TTL_S}
        self._tokens = Tokens(services.secret, lifetimes_s)

    async def log_in(self, request: Request) -> Response:
        """Tokens for a device and its password."""
        body = await json_object(request)
        device_id, password = text_field(body, "device_id"), text_field(body, "password")
        right = hmac.compare_digest(password.encode(), PASSWORD.encode())
        if not right or not self._knows(device_id):
            raise HTTPException(401, "Wrong device or password")
        tokens = {"access_token": ACCESS, "refresh_token": REFRESH}
        return JSONResponse({name: self._tokens.issue(kind, device_id) for name, kind in tokens.items()})

    def _knows(self, device_id: str) -> bool:
        number = DEVICE.fullmatch(device_id)
        return number is not None and int(number[1]) < self._devices

    async def refresh(self, request: Request) -> Response:
        """A new access token for a refresh token."""
        body = await json_object(request)
        try:
            device_id = self._tokens.check(text_field(body, "refresh_token"), REFRESH)
        except TokenError as exc:
            raise HTTPException(401, f"Authentication failed: {exc}") from None
        return JSONResponse({"access_token": self._tokens.issue(ACCESS, device_id)})

    async def list_sessions(self, request: Request) -> Response:
        """The sessions of a run, or of the caller."""
        device_id = bearer_subject(request, self._tokens, ACCESS)
        run_id = request.query_params.get("run_id")
        listed = [
            channel.describe()
            for channel in self.sessions.values()
            if (channel.device_id == device_id if run_id is None else channel.run_id == run_id)
        ]
        return JSONResponse({"sessions": listed})

    async def delete(self, request: Request) -> Response:
        """Delete one session."""
        device_id = bearer_subject(request, self._tokens, ACCESS)
        channel = self.sessions.get(request.path_params["session_id"])
        if channel is None:
            raise HTTPException(404, "Session not found")
        if channel.device_id != device_id:
            raise HTTPException(403, "Session access denied")
        channel.delete()
        return Response(status_code=204)

    async def delete_run(self, request: Request) -> Response:
        """Delete all sessions of a run."""
        bearer_subject(request, self._tokens, ACCESS)
        run_id = request.query_params.get("run_id")
        if not run_id:
            raise HTTPException(400, "run_id is missing")
        channels = [channel for channel in self.sessions.values() if channel.run_id == run_id]
        for channel in channels:
            channel.delete()
        return JSONResponse({"deleted": len(channels)})

    def open_socket(self, handshake: Handshake) -> Opening:
        """A channel for any handshake whose X-Run-Id can be kept: accept first, then check."""
        run_id = only(handshake.headers, "X-Run-Id")
        if run_id is not None and not 0 < len(run_id) <= MAX_RUN_ID_CHARACTERS:
            return Refusal(400, f"X-Run-Id must have 1 to {MAX_RUN_ID_CHARACTERS} characters")
        return VoiceChannel(self, handshake.headers, run_id)

    def admit(self, authorization: str | None, device_ids: set[object]) -> str:
        """The device that a token opens, if all that was said of the device agrees; raises MessageError."""
        scheme, _, token = (authorization or "").partition(" ")
        try:
            device_id = self._tokens.check(token.strip() if scheme.lower() == "bearer" else None, ACCESS)
        except TokenError as exc:
            raise MessageError(1008, f"Authentication failed: {exc}") from None
        if device_ids != {device_id}:
            raise MessageError(1008, "Device does not match its token")
        return device_id


class VoiceChannel(Channel):
    """One socket, and the session that its hello creates."""

    __slots__ = (
        "_beat_timer",
        "_created_at",
        "_frames",
        "_headers",
        "_heartbeat_s",
        "_loop",
        "_speech_began",
        "_spoken",
        "_state",
        "_timer",
        "_unanswered",
        "_voice",
        "device_id",
        "run_id",
        "session_id",
    )

    def __init__(self, voice: Voice, headers: Headers, run_id: str | None) -> None:
        self.run_id = run_id
        self.device_id = self.session_id = ""
        self._voice = voice
        self._headers: Headers | None = headers
        self._created_at = ""
        self._state = CONNECTED
        self._frames = self._spoken = self._unanswered = 0
        self._heartbeat_s = self._speech_began = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._beat_timer: asyncio.TimerHandle | None = None

    # What the socket tells.

    def opened(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(HELLO_TIMEOUT_S, self._fail, 1008, "No hello in time")

    def text(self, text: str) -> None:
        self._unanswered = 0
        try:
            self._take(read_object(text))
        except MessageError as exc:
            self._fail(exc.code, exc.message)

    def binary(self, payload: bytes) -> None:
        self._unanswered = 0
        try:
            self._hear(payload)
        except MessageError as exc:
            self._fail(exc.code, exc.message)

    def pong(self) -> None:
        self._unanswered = 0

    def last_word(self, message: str) -> str | None:
        return error_text(message)

    def closed(self) -> None:
        self._rest()
        self._release()

    # The session.

    def describe(self) -> dict[str, object]:
        """The session as it is listed."""
        return {
            "session_id": self.session_id,
            "device_id": self.device_id,
            "run_id": self.run_id,
            "created_at": self._created_at,
            "state": self._state,
        }

    def delete(self) -> None:
        """End the session, and its socket."""
        self._rest()
        self._release()
        self.socket.close(1000, "session deleted")

    def _release(self) -> None:
        if self._voice.sessions.pop(self.session_id, None) is not None:
            self._voice.traffic.sessions_open -= 1

    def _rest(self) -> None:
        """Neither beat nor speak any more."""
        for timer in (self._timer, self._beat_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._beat_timer = None

    def _take(self, message: dict[str, Any]) -> None:
        """One message in the state that this is in; raises MessageError."""
        what = (message.get("type"), message.get("state"))
        if what[0] == "hello":
            self._greet(message)
        elif self._state == CONNECTED:
            raise MessageError(1008, "Say hello first")
        elif what == ("listen", "start"):
            self._start(message)
        elif what == ("listen", "stop"):
            self._stop()
        else:
            raise MessageError(1008, "Unknown message type")

    def _greet(self, message: dict[str, Any]) -> None:
        if self._state != CONNECTED:
            raise MessageError(1008, "Hello was said already")
        assert self._headers is not None
        device_ids: set[object] = {only(self._headers, "Device-Id"), str(message.get("device_id"))}
        self.device_id = self._voice.admit(only(self._headers, "Authorization"), device_ids)
        if message.get("audio") != AUDIO:
            raise MessageError(1008, f"Audio must be {encode(AUDIO)}")
        self._heartbeat_s = agreed_heartbeat_s(message.get("heartbeat_s"))
        # A token is not kept for longer than it is needed.
        self._headers = None
        self._rest()
        self._state = IDLE
        self._created_at = utc_now()
        self.session_id = str(uuid.uuid4())
        self._voice.sessions[self.session_id] = self
        self._voice.traffic.sessions_open += 1
        self._send(type="hello", session_id=self.session_id, audio=AUDIO, heartbeat_s=self._heartbeat_s)
        if self._voice.faults.strikes(NAME, "close-after-hello"):
            self.socket.close(None)
            return
        self._beat_timer = self._loop.call_later(self._heartbeat_s, self._beat)

    def _start(self, message: dict[str, Any]) -> None:
        if self._state != IDLE:
            raise MessageError(1008, f"Not idle but {self._state}")
        if message.get("session_id") != self.session_id:
            raise MessageError(1008, "Session access denied")
        if message.get("mode") != "auto":
            raise MessageError(1008, 'Field "mode" must be "auto"')
        self._state = LISTENING
        self._frames = 0
        if self._voice.faults.strikes(NAME, "deaf"):
            self._rest()
            self.socket.go_deaf()

    def _hear(self, payload: bytes) -> None:
        """A frame of audio; raises MessageError."""
        if self._state != LISTENING:
            raise MessageError(1008, "Say hello first" if self._state == CONNECTED else "Not listening")
        if not payload:
            raise MessageError(1007, "Frame of audio is empty")
        self._frames += 1
        if len(payload) > MAX_FRAME_BYTES or self._frames > MAX_FRAMES:
            raise MessageError(1009, "Frame of audio too large, or utterance too long")
        drop = self._voice.faults.active(NAME, "drop-mid-utterance")
        if drop is not None and self._frames == drop.params["frame"] and drop.strikes():
            self.socket.reset()

    def _stop(self) -> None:
        if self._state != LISTENING:
            raise MessageError(1008, "Not listening")
        self._state = ANSWERING
        self._send(type="stt", text=text_heard(self._frames))
        self._send(type="tts", state="start")
        self._spoken = 0
        self._speech_began = self._loop.time()
        self._speak()

    def _speak(self) -> None:
        """Send what is due now; the rest is due at its own times, so that lateness does not add up."""
        if self._spoken == self._frames:
            self._state = IDLE
            self._send(type="tts", state="stop")
        elif self.socket.send_binary(SPEECH):
            self._spoken += 1
            self._timer = self._loop.call_at(self._speech_began + self._spoken * FRAME_S, self._speak)

    def _beat(self) -> None:
        if self._unanswered == HEARTBEATS_MISSED:
            self.socket.close(1011, KEEPALIVE_REASON)
        elif self.socket.send_ping():
            self._unanswered += 1
            self._beat_timer = self._loop.call_later(self._heartbeat_s, self._beat)

    def _send(self, **fields: object) -> None:
        self.socket.send_text(encode(fields))

    def _fail(self, code: int, message: str) -> None:
        self.socket.send_text(error_text(message))
        self.socket.close(code, message)


def routes(services: Services) -> Routes:
    """The routes of voice."""
    voice = Voice(services)
    return Routes(
        http=[
            Route("/v1/voice/login", voice.log_in, methods=["POST"]),
            Route("/v1/voice/refresh", voice.refresh, methods=["POST"]),
            Route("/v1/voice/sessions", voice.list_sessions, methods=["GET"]),
            Route("/v1/voice/sessions", voice.delete_run, methods=["DELETE"]),
            Route("/v1/voice/sessions/{session_id}", voice.delete, methods=["DELETE"]),
        ],
        sockets=[SocketRoute(NAME, "/v1/voice/ws", voice.open_socket)],
    )


SYSTEM = System(NAME, routes)
