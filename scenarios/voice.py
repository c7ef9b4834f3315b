"""Voice: devices that each hold a spoken exchange over one socket.

    connecting ──► hello ──► idle ──► listening ──► answering ──► idle ──► …
        ▲            │         │          │             │
        └────────────┴── any fault: the start state ────┘    waits as --reconnect says, and says hello again

A user is ``--sockets-per-user`` devices. Each logs in, and then speaks: a frame of audio each 60 ms for one
to two seconds, by a schedule, so that a late frame counts as send lag and delays no other; ``--message-rate``
does not apply. Pings go each way, ours each ``--heartbeat`` seconds, or ``HEARTBEAT_S``.

Response time is from the end of speech, as the schedule has it, to the words that were understood. Trends:
``voice: first audio``, from the end of speech to the first byte of the answer's audio; ``voice: jitter``, |D|
of each frame after it, by RFC 3550 section 6.4.1 (see ``hear``).

Accounts come from ``--accounts`` (columns ``device_id``, ``password``), else they are the target's, with the
password in ``WSOAK_PASSWORD``. A session ends with its socket, so that none is left behind.
"""

import os
from collections.abc import Sequence
from functools import partial
from urllib.parse import quote

from locust import between, task

from wsoak.ledger.outcomes import OPEN
from wsoak.ledger.units import ns_to_s
from wsoak.load import WebSocketUser
from wsoak.load.accounts_file import Account
from wsoak.load.door import Door
from wsoak.load.forgeries import forge
from wsoak.load.target_process import shared_secret
from wsoak.load.tokens import FreshToken
from wsoak.wire.client import Hello
from wsoak.wire.connection import Connection
from wsoak.wire.message import Message
from wsoak.wire.schedule import every

NAME, PATH, SESSIONS_PATH = "voice", "/v1/voice/ws", "/v1/voice/sessions"
AUDIO = {"format": "opus", "sample_rate": 16000, "frame_ms": 60}
FRAME_S, FRAME_BYTES = 0.06, 120  # at 16 kbit/s
UTTERANCE_FRAMES, PAUSE_S = (17, 33), (0.2, 1.0)
"""Least and most: of frames in an utterance, of seconds before it in which nobody speaks."""
EXCHANGES_A_SESSION, HEARTBEAT_S = 5, 2.0


def test_device(index: int) -> Account:
    """The n-th device that the target seeds."""
    return {"device_id": f"device-{index:06}", "password": os.environ.get("WSOAK_PASSWORD", "Test@123456")}


def understood(message: Message) -> str | None:
    """What a message answers: the end of speech, with the words that were understood; else nothing."""
    return "stt" if isinstance(message.data, str) and message.get("type") == "stt" else None


def credentials(device_id: str, token: str) -> list[tuple[str, str]]:
    """The headers by which a device is known; without a token where that is empty."""
    return [("Device-Id", device_id), *([("Authorization", f"Bearer {token}")] if token else [])]


def hello(device_id: str, heartbeat_s: float) -> dict[str, object]:
    """The first message: who speaks, how, and how often each side pings."""
    return {"type": "hello", "device_id": device_id, "audio": AUDIO, "heartbeat_s": heartbeat_s}


class VoiceUser(WebSocketUser):
    """Somebody who speaks to one or more devices, one session after another."""

    wait_time = between(0.5, 1.5)
    health_path = "/health"
    account_columns = tuple(test_device(0))
    devices: Sequence["Device"] = ()

    @task
    def speak(self) -> None:
        """Hold a session with each device."""
        self.log_in(self.options.sockets_per_user)
        self.gather([partial(device.hold_session, EXCHANGES_A_SESSION) for device in self.devices])

    def log_in(self, devices: int = 1) -> None:
        """Log so many devices in, unless that is done."""
        if not self.devices:
            made = [Device(self, slot) for slot in range(devices)]
            for device in made:
                device.log_in()
            self.devices = made
            self.logged_in()
            self.drop_http()

    def rehearse(self) -> None:
        """One device, one exchange."""
        self.log_in()
        self.devices[0].hold_session(1, patient=False)

    def doors(self) -> list[Door]:
        """A hello is for a device with an access token of its own, in time, and signed by who may."""
        self.log_in()
        device = self.devices[0]
        id_, token = device.id, device.access.value

        def door(finding: str, shown: str, of: str = id_) -> Door:
            return Door(finding, NAME, PATH, credentials(of, shown), hello(of, HEARTBEAT_S))

        return [
            door("unauthenticated-accepted", ""),
            *forge(token, shared_secret(self.generator.embedded), door),
            door("wrong-token-kind-accepted", device.refresh_token),
            door("identity-mismatch-accepted", token, of=f"{id_}0"),
        ]

    def clear(self, run_id: str) -> int:
        """End the sessions of a run whose sockets the server still has, whosever they are."""
        self.log_in()
        path, token = f"{SESSIONS_PATH}?run_id={quote(run_id, safe='')}", self.devices[0].access.value
        answer = self.api("DELETE", path, name=SESSIONS_PATH, token=token, needs=("deleted",))
        return int(answer.json["deleted"]) if answer.ok else 0


class Device:
    """One device: its account, its socket, and the steps of its session; each gives the next state."""

    ws: Connection
    access: FreshToken

    def __init__(self, user: VoiceUser, slot: int) -> None:
        self.user, self.slot = user, slot
        account = user.account(test_device)
        self.id = account["device_id"]
        self.login = {"device_id": self.id, "password": account["password"]}
        self.audio = user.random.randbytes(FRAME_BYTES)
        self.session_id = self.refresh_token = ""
        self.answered = self.spoken_ns = 0

    def log_in(self) -> None:
        """Get the tokens."""
        tokens = ("access_token", "refresh_token")
        answer = self.user.api("POST", "/v1/voice/login", json=self.login, needs=tokens)
        if not answer.ok:
            self.user.log_in_failed(answer)
        self.refresh_token = answer.json["refresh_token"]
        self.access = FreshToken(answer.json["access_token"], self.renewed)

    def renewed(self) -> str | None:
        """A new token, if the server gives one."""
        body = {"refresh_token": self.refresh_token}
        answer = self.user.api("POST", "/v1/voice/refresh", json=body, needs=("access_token",))
        return answer.json["access_token"] if answer.ok else None

    def hold_session(self, exchanges: int, patient: bool = True) -> None:
        """So many exchanges that are answered, over as many sockets as that takes, if patient; then close."""
        steps = {step.__name__: step for step in (self.connecting, self.idle, self.listening, self.answering)}
        self.answered, state = 0, "connecting"
        while self.answered < exchanges or state != "idle":
            state = steps[state]()
            if state != "connecting":
                self.ws.state = state
            elif not patient:
                break
        self.ws.close()

    def connecting(self) -> str:
        """The start state, before the first socket and after any fault."""
        heartbeat_s = self.user.options.heartbeat or HEARTBEAT_S
        self.ws = self.user.connect(
            PATH,
            name=NAME,
            headers=[*credentials(self.id, self.access.value), ("X-Run-Id", self.user.run_id)],
            hello=Hello(hello(self.id, heartbeat_s), self.welcomed),
            reply_id=understood,
            usable_when=understood,
            heartbeat_s=heartbeat_s,
            slot=self.slot,
            fresh=False,
        )
        return "idle" if self.ws.outcome == OPEN else "connecting"

    def welcomed(self, message: Message) -> bool:
        """Whether a message answers our hello: it names the session."""
        self.session_id = message.get("session_id", "")
        return bool(message.get("type") == "hello")

    def idle(self) -> str:
        """Nobody speaks, until somebody does, or the socket is lost."""
        self.ws.pause(self.user.random.uniform(*PAUSE_S))
        start = {"type": "listen", "state": "start", "mode": "auto", "session_id": self.session_id}
        return "listening" if self.ws.send(start) else "connecting"

    def listening(self) -> str:
        """Send the frames of an utterance, each at its time."""
        for intended_ns in self.ws.paced(every(FRAME_S), self.user.random.randint(*UTTERANCE_FRAMES)):
            self.ws.send_binary(self.audio, intended_ns=intended_ns)
            self.spoken_ns = intended_ns
        return "answering"

    def answering(self) -> str:
        """Say that the speech has ended, and hear the answer."""
        words = self.ws.request({"type": "listen", "state": "stop"}, "stt", intended_ns=self.spoken_ns)
        if self.user.check("voice: answered", words is not None and self.hear()):
            self.answered += 1
            return "idle"
        self.ws.close()  # as an answer that comes too late must not be taken for the next one's
        return "connecting"

    def hear(self) -> bool:
        """The answer's audio until it ends; whether there was any, and it ended.

        D is the time between two frames' receipts, less the 60 ms between their times of play. The RFC keeps
        its running mean, which hides a late frame: here are percentiles.
        """
        last_ns = 0
        while (message := self.ws.expect(lambda _: True)) is not None:
            if isinstance(message.data, bytes):
                since_s = ns_to_s(message.received_ns - (last_ns or self.spoken_ns))
                if last_ns:
                    since_s = abs(since_s - FRAME_S)
                self.user.metric("voice: jitter" if last_ns else "voice: first audio", since_s, "trend")
                last_ns = message.received_ns
            elif message.get("type") == "tts" and message.get("state") == "stop":
                return last_ns > 0
        return False
