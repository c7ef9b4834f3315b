"""Voice: devices that speak to the target, what its faults do to them, and that they come back to work."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from locust import constant

from scenarios.voice import NAME, Device, VoiceUser, credentials, hello, understood
from scenarios.voice import test_device as device_account
from tests.load.session import Session, rest, session
from tests.target.client import PASSWORD, Target, running
from tests.wire.harness import until
from wsoak.judge.findings import find
from wsoak.ledger.books import Books
from wsoak.ledger.outcomes import CANCELLED, OPEN, RUN_ENDED
from wsoak.wire.message import Message

CLIENTS = ("fast", "reference")
MS = 1_000_000


class Busy(VoiceUser):
    """Does not wait between sessions."""

    wait_time = constant(0)


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Utterances of a few frames, with pauses that tell a reset from a server that was writing."""
    monkeypatch.setattr("scenarios.voice.UTTERANCE_FRAMES", (3, 5))
    monkeypatch.setattr("scenarios.voice.PAUSE_S", (0.15, 0.2))
    monkeypatch.setattr("scenarios.voice.EXCHANGES_A_SESSION", 2)


def sessions(target: Target) -> float:
    """Sessions that the target has."""
    return target.metric("wsoak_target_sessions_open", system=NAME)


def answered(made: Session) -> int:
    """Exchanges in the books so far."""
    return made.books().count("check_passed", "voice: answered")


def files_of(path: Path) -> str:
    """The whole text of a run directory."""
    return "\n".join(file.read_text() for file in path.iterdir())


# ------------------------------------------------------------------------------------------- small parts


@pytest.mark.parametrize(
    ("data", "answers"),
    [
        ('{"type": "stt", "text": "你好"}', "stt"),
        ('{"type": "tts", "state": "start"}', None),
        ('{"type": "error", "message": "stt"}', None),
        ("[]", None),
        (b'{"type": "stt"}', None),
        (bytes(120), None),
    ],
)
def test_only_the_words_that_were_understood_answer_an_utterance(
    data: str | bytes, answers: str | None
) -> None:
    assert understood(Message(data, 0)) == answers


def test_accounts_are_those_that_the_target_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WSOAK_PASSWORD", raising=False)
    assert device_account(0) == {"device_id": "device-000000", "password": PASSWORD}
    monkeypatch.setenv("WSOAK_PASSWORD", "other")
    assert device_account(1234567) == {"device_id": "device-1234567", "password": "other"}


class Speaker:
    """In the place of a user and of its socket: gives messages, and remembers what was timed."""

    def __init__(self, *messages: tuple[str | bytes, int]) -> None:
        self._messages = iter([Message(data, at_ms * MS) for data, at_ms in messages])
        self.timed: list[tuple[str, int]] = []

    def expect(self, predicate: Any) -> Message | None:
        """The next message."""
        message = next(self._messages, None)
        assert message is None or predicate(message)
        return message

    def metric(self, name: str, value: float, kind: str) -> None:
        """See ``WebSocketUser.metric``; whole milliseconds."""
        assert kind == "trend"
        self.timed.append((name.removeprefix("voice: "), round(1000 * value)))


STARTED, ENDED = '{"type": "tts", "state": "start"}', '{"type": "tts", "state": "stop"}'


@pytest.mark.parametrize(
    ("messages", "whole", "timed"),
    [
        # the speech had ended at 1000 ms
        (
            [(STARTED, 1001), (b"a", 1250), (b"b", 1310), (b"c", 1400), (b"d", 1430), (ENDED, 1490)],
            True,
            [("first audio", 250), ("jitter", 0), ("jitter", 30), ("jitter", 30)],
        ),
        ([(STARTED, 1001), (b"a", 1250), (ENDED, 1310)], True, [("first audio", 250)]),
        # no audio; an end that never comes; nothing at all
        ([(STARTED, 1001), (ENDED, 1002)], False, []),
        ([(STARTED, 1001), (b"a", 1250), (b"b", 1370)], False, [("first audio", 250), ("jitter", 60)]),
        ([], False, []),
    ],
)
def test_the_first_audio_is_timed_from_the_end_of_speech_and_jitter_from_frame_to_frame(
    messages: list[tuple[str | bytes, int]], whole: bool, timed: list[tuple[str, int]]
) -> None:
    speaker = Speaker(*messages)
    device = Device.__new__(Device)
    device.user, device.ws = cast("VoiceUser", speaker), cast("Any", speaker)
    device.spoken_ns = 1000 * MS
    assert device.hear() is whole
    assert speaker.timed == timed


# -------------------------------------------------------------------------------------- with the target


def test_devices_speak_by_their_schedule_and_leave_nothing_behind(
    target: Target, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    before = sessions(target)
    with session(
        Busy, host=target.url, run_dir=tmp_path / "r", arguments=("--sockets-per-user", "2")
    ) as made:
        made.start(2)
        stats = made.environment.stats
        # one device at least ends a session, and begins another
        until(lambda: answered(made) >= 9 and stats.get("/v1/voice/login", "POST").num_requests == 4)
        assert sessions(target) > before
        reader = made.stop()
        until(lambda: sessions(target) == before)
    books = reader.books()
    records = list(reader.connections())
    assert find(books, 0) == []
    assert {record.outcome for record in records} - {CANCELLED} == {OPEN}
    records = [record for record in records if record.outcome == OPEN]
    assert {record.reason for record in records} == {"", RUN_ENDED}
    assert all(record.hello_ms and record.attempt == 0 for record in records)
    assert {record.state for record in records} <= {"idle", "listening", "answering"}
    assert books.count("check_failed") == 0
    exchanges = books.count("check_passed", "voice: answered")
    spoken = books.count("requests", NAME)
    assert exchanges <= books.count("replies", NAME) <= spoken
    assert spoken <= exchanges + 4
    # each frame has a time at which it was meant to be sent, and each end of speech
    starts = books.count("sent", NAME) - len(records) - books.histogram("lag", NAME).total
    assert spoken <= starts <= spoken + 4
    heard = books.histogram("metric", "voice: first audio").total
    assert exchanges <= heard <= spoken
    assert 2 * exchanges <= books.histogram("metric", "voice: jitter").total <= 4 * spoken
    assert sorted(key for key in stats.entries if not key[1].startswith("WS")) == [
        ("/v1/voice/login", "POST")
    ]
    assert stats.get("/v1/voice/login", "POST").num_requests == 4
    assert not stats.errors
    # a token begins with the JSON of its header
    for text in (files_of(tmp_path / "r"), caplog.text, *capfd.readouterr()):
        assert "eyJ" not in text
        assert PASSWORD not in text


@dataclass(frozen=True, slots=True)
class Case:
    """A fault, what must be found, how each socket that met it ended, and what its device was doing."""

    fault: str
    finding: str
    end: tuple[int, str, str]
    states: frozenset[str]
    arguments: tuple[str, ...] = ()
    params: tuple[tuple[str, Any], ...] = ()


CASES = [
    # who comes to a stand itself begins its next step before it reads that the socket has ended
    Case("close-after-hello", "closed-no-status", (1005, "server", ""), frozenset({"", "idle", "listening"})),
    Case(
        "drop-mid-utterance",
        "connection-reset",
        (1006, "network", "reset"),
        frozenset({"listening", "answering"}),
        params=(("frame", 2),),
    ),
    Case(
        "deaf",
        "peer-silent",
        (1006, "client", "heartbeat-lost"),
        frozenset({"answering"}),
        # a healthy server, and we, may come to a stand for some seconds on a busy machine
        ("--heartbeat", "1.5", "--close-timeout", "3"),
    ),
]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("case", CASES, ids=[case.fault for case in CASES])
def test_a_fault_is_found_by_its_name_and_the_devices_come_back_to_work(
    target: Target, tmp_path: Path, case: Case, client: str
) -> None:
    def met(books: Books) -> int:
        wanted = (case.end[0], case.end[1], case.end[2])
        ends = books.ends.items()
        return sum(group.count for kind, group in ends if (kind.code, kind.initiator, kind.detail) == wanted)

    before = sessions(target)
    arguments = ("--client", client, *case.arguments)
    with session(Busy, host=target.url, run_dir=tmp_path / "r", arguments=arguments) as made:
        with target.fault("voice", case.fault, **dict(case.params)):
            made.start(3)
            until(lambda: met(made.books()) >= 3)
            assert answered(made) == 0
        until(lambda: answered(made) >= 6)
        reader = made.stop()
        until(lambda: sessions(target) == before)
    books = reader.books()
    records = [record for record in reader.connections() if record.outcome != CANCELLED]
    (found,) = find(books, records[0].started_at)
    assert (found.id, found.system, found.count) == (case.finding, NAME, met(books))
    struck = [record for record in records if record.reason != RUN_ENDED and record.code != 1000]
    assert {record.state for record in struck} <= case.states
    assert [record for record in struck if not record.hello_ms] == []
    assert any(record.attempt > 0 and record.usable for record in records)
    if case.fault == "deaf":
        assert {record.sent_code for record in struck} == {1011}
        assert books.count("reply_lost", NAME) == len(struck)
    else:
        told = books.count("send_on_closed", NAME) + books.count("reply_lost", NAME)
        assert len(struck) - 1 <= told <= len(struck)


def test_a_device_outlives_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSOAK_JWT_SECRET", "a secret of the tests, thirty-two bytes or more")
    monkeypatch.setattr("scenarios.voice.EXCHANGES_A_SESSION", 1)
    with (
        running("--access-token-ttl", "1", "--accounts", "1") as target,
        session(Busy, host=target.url, run_dir=tmp_path / "r") as made,
    ):
        made.start()
        stats = made.environment.stats
        until(lambda: stats.get("/v1/voice/refresh", "POST").num_requests >= 1 and answered(made) >= 3)
        reader = made.stop()
    assert not stats.errors
    assert {record.outcome for record in reader.connections()} - {CANCELLED} == {OPEN}
    assert find(reader.books(), 0) == []


def test_a_wrong_password_stops_the_run(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WSOAK_PASSWORD", "wrong-passw0rd")
    with session(VoiceUser, host=target.url, run_dir=tmp_path / "r") as made:
        made.runner.start(10, 100)
        until(lambda: made.runner.state == "stopped" and not made.under_way)
        assert made.quit() == 4
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("wsoak")]
    assert len(ours) == 1
    assert ours[0].startswith("Nobody can log in (HTTP 401)")
    assert "wrong-passw0rd" not in caplog.text + files_of(tmp_path / "r")


# ------------------------------------------------------------------------- what it says of itself beside


class Caretaker(VoiceUser):
    """Does what the preflight, the probes and the clean-up do, once, and keeps what came of it."""

    found: dict[str, Any]

    def care(self) -> None:
        """In place of the load."""
        found: dict[str, Any] = {}
        self.rehearse()
        found["after the rehearsal"] = self.devices[0].ws.ended
        for slot, door in enumerate(self.doors()):
            ws = self.connect(door.path, name="door", headers=door.headers, slot=slot)
            assert door.knock is not None
            ws.send(dict(door.knock))
            said = ws.expect(lambda _: True)
            assert said is not None
            # an error, then a close
            assert ws.expect(lambda _: True) is None
            found[door.finding] = (ws.initiator, ws.code, said.get("message"))
        device = self.devices[0]
        headers = [*credentials(device.id, device.access.value), ("X-Run-Id", "a killed run&=")]
        left = self.connect("/v1/voice/ws", name="left", headers=headers)
        left.send(dict(hello(device.id, 5.0)))
        welcome = left.expect(lambda _: True)
        assert welcome is not None
        found["left"] = (welcome.get("type"), welcome.get("heartbeat_s"))
        found["cleared"] = [self.clear("a killed run&="), self.clear("a killed run&=")]
        until(lambda: left.ended)
        found["afterwards"] = (left.initiator, left.code, left.reason)
        type(self).found = found
        rest()


class Rehearsing(VoiceUser):
    """Only rehearses, once."""

    def once(self) -> None:
        """In place of the load."""
        self.rehearse()
        rest()


# Locust adds a class's tasks to those of its bases
Caretaker.tasks = [Caretaker.care]
Rehearsing.tasks = [Rehearsing.once]


def test_it_rehearses_knows_its_doors_and_clears_up(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSOAK_JWT_SECRET", "a secret of the tests, thirty-two bytes or more")
    with session(Caretaker, host=target.url, run_dir=tmp_path / "r") as made:
        made.start()
        (kind,) = made.environment.user_classes
        until(lambda: hasattr(kind, "found"))
        reader = made.stop()
    found: dict[str, Any] = cast("Any", kind).found
    refused = "Authentication failed: "
    assert found == {
        "after the rehearsal": True,
        "unauthenticated-accepted": ("server", 1008, refused + "token missing"),
        "forged-token-accepted": ("server", 1008, refused + "token invalid"),
        "unsigned-token-accepted": ("server", 1008, refused + "token invalid"),
        "wrong-token-kind-accepted": ("server", 1008, refused + "token of the wrong kind"),
        "identity-mismatch-accepted": ("server", 1008, "Device does not match its token"),
        "expired-token-accepted": ("server", 1008, refused + "token expired"),
        "left": ("hello", 5.0),
        "cleared": [1, 0],
        "afterwards": ("server", 1000, "session deleted"),
    }
    assert reader.books().count("check_passed", "voice: answered") == 1


def test_a_rehearsal_against_a_broken_server_ends(target: Target, tmp_path: Path) -> None:
    with (
        target.fault("voice", "close-after-hello"),
        session(Rehearsing, host=target.url, run_dir=tmp_path / "r") as made,
    ):
        made.start()
        until(lambda: made.books().count("send_on_closed", NAME))
        reader = made.stop()
    assert [finding.id for finding in find(reader.books(), 0)] == ["closed-no-status"]
    assert len(list(reader.connections())) == 1
