"""Dialogue: what a history must hold, and a whole conversation with the target."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from locust import constant

from scenarios.dialogue import (
    FIRST_PHONE,
    MESSAGES_A_SESSION,
    NAME,
    Conversation,
    DialogueUser,
    answered_id,
)
from scenarios.dialogue import (
    test_account as account_number,
)
from tests.load.session import Session, rest, session
from tests.target.client import PASSWORD, Target, running
from tests.wire.harness import until
from wsoak.load.api import Answer
from wsoak.wire.message import Message

FINDINGS = ("history-lost", "messages-repeated", "messages-reordered")


class Observer:
    """In a user's place: remembers what was observed."""

    def __init__(self) -> None:
        self.told: dict[str, list[tuple[int, int, int]]] = {}
        """What was told of each finding: of which nanosecond, how many were wrong, and of how many."""

    def observe(
        self, finding: str, name: str, count: int, of: int, text: str = "", at_ns: int | None = None
    ) -> None:
        """See ``WebSocketUser.observe``."""
        assert name == NAME
        assert bool(text) is bool(count)
        assert at_ns is not None
        self.told.setdefault(finding, []).append((at_ns, count, of))

    def count(self, finding: str) -> int:
        """How many were wrong."""
        return sum(count for _, count, _ in self.told[finding])


def told_of(answered: Mapping[str, int], remembered: Iterable[str]) -> Observer:
    """What is told of messages that were answered at these nanoseconds, and of what a history holds."""
    observer = Observer()
    conversation = Conversation(cast("DialogueUser", observer), 0)
    conversation.acknowledged = dict(answered)
    conversation.verify(list(remembered))
    assert conversation.acknowledged == {}
    assert tuple(observer.told) == FINDINGS
    return observer


def verified(acknowledged: list[str], remembered: list[str]) -> tuple[int, int, int]:
    """How many messages were lost, repeated, and whether they were reordered."""
    observer = told_of({key: number for number, key in enumerate(acknowledged)}, remembered)
    for told in observer.told.values():
        assert sum(of for _, _, of in told) == len(acknowledged)
    lost, repeated, reordered = (observer.count(finding) for finding in FINDINGS)
    return lost, repeated, reordered


@pytest.mark.parametrize(
    ("acknowledged", "remembered", "expected"),
    [
        ("abc", "abc", (0, 0, 0)),
        # stored, though its answer never came: that is allowed
        ("abc", "abcd", (0, 0, 0)),
        ("abc", "xabyc", (0, 0, 0)),
        ("ac", "abc", (0, 0, 0)),
        ("abc", "ab", (1, 0, 0)),
        ("abc", "ac", (1, 0, 0)),
        ("abc", "", (3, 0, 0)),
        ("abc", "xyz", (3, 0, 0)),
        ("abc", "abbc", (0, 1, 0)),
        ("abc", "aabbcc", (0, 3, 0)),
        ("abc", "aaaa", (2, 3, 0)),
        # what is repeated keeps its first place
        ("abc", "abca", (0, 1, 0)),
        ("abc", "acb", (0, 0, 1)),
        ("abc", "cba", (0, 0, 1)),
        ("abc", "ca", (1, 0, 1)),
        ("abc", "ccaa", (1, 2, 1)),
        ("a", "a", (0, 0, 0)),
    ],
)
def test_every_acknowledged_message_is_there_once_in_order(
    acknowledged: str, remembered: str, expected: tuple[int, int, int]
) -> None:
    assert verified(list(acknowledged), list(remembered)) == expected


MESSAGES = st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1)


@given(MESSAGES, st.lists(st.sampled_from("vwxyz")), st.randoms())
def test_a_history_that_only_holds_more_is_in_order(
    acknowledged: list[str], more: list[str], random: Any
) -> None:
    remembered = list(acknowledged)
    for message in more:
        remembered.insert(random.randint(0, len(remembered)), message)
    assert verified(acknowledged, remembered) == (0, 0, 0)


@given(MESSAGES, st.lists(st.sampled_from("abcdefghxyz")))
def test_lost_and_repeated_are_counted_by_message(acknowledged: list[str], remembered: list[str]) -> None:
    lost, repeated, _ = verified(acknowledged, remembered)
    assert lost == sum(message not in remembered for message in acknowledged)
    assert repeated == sum(max(0, remembered.count(message) - 1) for message in acknowledged)


ANSWERED = {"a": 10, "b": 20, "c": 20, "d": 30, "e": 40}


@pytest.mark.parametrize(
    ("remembered", "finding", "told"),
    [
        ("abcde", "history-lost", [(40, 0, 5)]),
        ("abde", "history-lost", [(20, 1, 5)]),
        ("", "history-lost", [(10, 1, 1), (40, 4, 4)]),
        ("acde", "history-lost", [(20, 1, 5)]),
        # both were answered at once
        ("ade", "history-lost", [(20, 2, 5)]),
        ("ace", "history-lost", [(20, 1, 3), (30, 1, 2)]),
        ("ab", "history-lost", [(20, 1, 3), (40, 2, 2)]),
        ("abcded", "messages-repeated", [(30, 1, 5)]),
        ("abcdeda", "messages-repeated", [(10, 1, 1), (30, 1, 4)]),
        ("abcdeaaa", "messages-repeated", [(10, 3, 5)]),
        # the first that is not where it should be
        ("abced", "messages-reordered", [(30, 1, 5)]),
        ("eabcd", "messages-reordered", [(10, 1, 5)]),
    ],
)
def test_what_is_wrong_is_dated_by_the_answers_to_the_first_and_the_last(
    remembered: str, finding: str, told: list[tuple[int, int, int]]
) -> None:
    assert told_of(ANSWERED, remembered).told[finding] == told


@given(MESSAGES, st.lists(st.sampled_from("abcdefgh"), unique=True), st.data())
def test_no_more_is_lost_than_was_looked_at_and_none_before_or_after(
    acknowledged: list[str], remembered: list[str], data: st.DataObject
) -> None:
    times = sorted(
        data.draw(st.lists(st.integers(1, 5), min_size=len(acknowledged), max_size=len(acknowledged)))
    )
    answered = dict(zip(acknowledged, times, strict=True))
    told = told_of(answered, remembered).told["history-lost"]
    assert all(count <= of for _, count, of in told)
    lost = [at_ns for key, at_ns in answered.items() if key not in remembered]
    dates = [at_ns for at_ns, count, _ in told if count]
    assert (dates[:1], dates[-1:]) == (lost[:1], lost[-1:])


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ('{"type": "response", "reply_to": "m1"}', "m1"),
        ('{"type": "response_chunk", "reply_to": "m1"}', None),
        ('{"type": "error", "reply_to": "m1"}', None),
        ('{"reply_to": "m1"}', None),
        ('{"type": "response"}', None),
        ("[]", None),
        ("not JSON", None),
    ],
)
def test_only_a_response_answers_a_message(text: str, answers: str | None) -> None:
    assert answered_id(Message(text, 0)) == answers


def test_accounts_are_those_that_the_target_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WSOAK_PASSWORD", raising=False)
    assert account_number(0) == {"phone": str(FIRST_PHONE), "password": PASSWORD}
    monkeypatch.setenv("WSOAK_PASSWORD", "other")
    assert account_number(7) == {"phone": "13900000009", "password": "other"}


def sessions(target: Target) -> float:
    """Sessions that were created and not deleted."""
    return target.metric("wsoak_target_sessions_open", system=NAME)


def files_of(path: Path) -> str:
    """The whole text of a run directory."""
    return "\n".join(file.read_text() for file in path.iterdir())


def test_readers_talk_and_leave_nothing_behind(
    target: Target, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    before = sessions(target)
    # with a stop time-out, as a request that is under way when its user is killed may have made a session
    arguments = ("--message-rate", "0", "--sockets-per-user", "2", "--stop-timeout", "60")
    with session(DialogueUser, host=target.url, run_dir=tmp_path / "r", arguments=arguments) as made:
        made.start(3)
        stats = made.environment.stats
        until(
            lambda: (
                stats.get("/v1/dialogues/{session_id}", "DELETE").num_requests >= 12
                and made.books().count("check_passed", "there are books") == 3
            )
        )
        reader = made.stop()
        assert sessions(target) == before
    books = reader.books()
    conversations = stats.get("/v1/dialogues/{session_id}", "DELETE").num_requests
    assert books.count("replies", NAME) >= 12 * MESSAGES_A_SESSION
    lost = books.observations["history-lost", NAME]
    assert (lost.count, lost.of) == (0, books.count("replies", NAME))
    assert books.count("check_passed", "there are books") == 3
    assert {record.path for record in reader.connections()} != set()
    assert all("token=***" in record.path for record in reader.connections())
    assert sorted(key for key in stats.entries if not key[1].startswith("WS")) == [
        ("/v1/auth/login", "POST"),
        ("/v1/books", "GET"),
        ("/v1/dialogues/book/start", "POST"),
        ("/v1/dialogues/{session_id}", "DELETE"),
        ("/v1/dialogues/{session_id}/history", "GET"),
    ]
    assert stats.get("/v1/dialogues/book/start", "POST").num_requests == conversations
    assert stats.get("/v1/auth/login", "POST").num_requests == 3
    assert not stats.errors
    # a token begins with the JSON of its header
    for text in (files_of(tmp_path / "r"), caplog.text, *capfd.readouterr()):
        assert "eyJ" not in text
        assert PASSWORD not in text
        assert str(FIRST_PHONE) not in text


def test_a_conversation_that_the_run_cuts_off_is_verified_and_deleted(target: Target, tmp_path: Path) -> None:
    before = sessions(target)
    arguments = ("--message-rate", "50")
    with session(DialogueUser, host=target.url, run_dir=tmp_path / "r", arguments=arguments) as made:
        made.start(2)
        sockets = made.generator.client.open_connections
        # the sockets last: what is asked of the target takes a while, in which a conversation may end
        until(
            lambda: (
                sessions(target) == before + 2
                and replies(made) > 4
                and sorted(ws.usable for ws in sockets) == [True] * 2
            )
        )
        reader = made.stop()
        assert sessions(target) == before
    books = reader.books()
    assert books.observations["history-lost", NAME].of > 0
    assert sum(group.count for kind, group in books.ends.items() if kind.ended_by_run) == 2


def test_a_deletion_whose_answer_a_kill_cut_off_is_asked_for_again_and_may_be_done(
    target: Target, tmp_path: Path
) -> None:
    before = sessions(target)
    deletions: defaultdict[str, list[Any]] = defaultdict(list)
    histories: Counter[str] = Counter()

    class Cut(DialogueUser):
        """Is killed when the server has deleted its session, and before it knows."""

        def api(self, method: str, path: str, **more: Any) -> Any:
            """See ``WebSocketUser``."""
            if path.endswith("/history"):
                # what was not verified stays to be verified, as long as there is something to look at
                histories[path] += 1
                return Answer(0, None, "no answer")
            answer = super().api(method, path, **more)
            if method == "DELETE":
                deletions[path].append(more["accepts"])
                if len(deletions[path]) == 1:
                    rest()
            return answer

    with session(Cut, host=target.url, run_dir=tmp_path / "r", arguments=("--message-rate", "0")) as made:
        made.start(2)
        until(lambda: len(deletions) == 2)
        assert sessions(target) == before
        made.stop()
    # the first time, a session that the server does not know is one that it has lost
    assert list(deletions.values()) == [[(), (404,)]] * 2
    assert list(histories.values()) == [1, 1]
    stats = made.environment.stats
    assert stats.get("/v1/dialogues/{session_id}", "DELETE").num_requests == 4
    assert not stats.errors


def test_a_session_whose_start_a_kill_cut_off_is_found_and_deleted(target: Target, tmp_path: Path) -> None:
    before = sessions(target)
    begun: list[str] = []

    class Cut(DialogueUser):
        """Is killed when the server has begun its session, and before it knows."""

        def api(self, method: str, path: str, **more: Any) -> Any:
            """See ``WebSocketUser``."""
            answer = super().api(method, path, **more)
            if method == "POST" and path.endswith("/start"):
                begun.append(path)
                rest()
            return answer

    with session(Cut, host=target.url, run_dir=tmp_path / "r") as made:
        made.start(2)
        until(lambda: len(begun) == 2)
        assert sessions(target) == before + 2
        made.stop()
    assert sessions(target) == before
    assert [error.to_name() for error in made.environment.stats.errors.values()] == []


def replies(made: Session) -> int:
    """Answers in the books so far."""
    return int(made.books().count("replies", NAME))


def test_a_reader_outlives_its_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSOAK_JWT_SECRET", "a secret of the tests, thirty-two bytes or more")

    class Patient(DialogueUser):
        """Waits longer than a token lives."""

        wait_time = constant(1.1)

    with running("--access-token-ttl", "1", "--ws-token-ttl", "1") as target:
        arguments = ("--message-rate", "0")
        with session(Patient, host=target.url, run_dir=tmp_path / "r", arguments=arguments) as made:
            made.start()
            stats = made.environment.stats
            until(lambda: stats.get("/v1/dialogues/{session_id}", "DELETE").num_requests >= 2)
            reader = made.stop()
    assert stats.get("/v1/auth/refresh", "POST").num_requests >= 1
    assert not stats.errors
    assert [record.outcome for record in reader.connections()][:2] == ["open"] * 2
    assert reader.books().count("replies", NAME) >= 2 * MESSAGES_A_SESSION


def test_a_wrong_password_stops_the_run(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WSOAK_PASSWORD", "wrong-passw0rd")
    with session(DialogueUser, host=target.url, run_dir=tmp_path / "r") as made:
        made.runner.start(10, 100)
        until(lambda: made.runner.state == "stopped" and not made.under_way)
        assert made.quit() == 4
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("wsoak")]
    assert len(ours) == 1
    assert ours[0].startswith("Nobody can log in (HTTP 401)")
    assert "wrong-passw0rd" not in caplog.text + files_of(tmp_path / "r")
