"""Messages whose id is of no request in flight: events of a subscription, second answers, late ones."""

from __future__ import annotations

import json
from typing import Any

from tests.wire.harness import Peer, Run, both, frame, holds, until
from wsoak.wire.client import Settings
from wsoak.wire.frames import TEXT
from wsoak.wire.inbox import INBOX_MESSAGES, STRAYS_KEPT
from wsoak.wire.message import Message


def id_of(message: Message) -> Any:
    return message.get("id")


def text(**members: Any) -> bytes:
    return frame(TEXT, json.dumps(members))


def test_events_with_the_id_of_an_answered_request_reach_expect() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.hear_text()
        peer.send(text(id=1, type="result") + text(id=1, type="event", n=0))
        assert peer.hear_text() == "subscribed"
        peer.send(text(id=1, type="event", n=1))
        peer.answer_close()

    def scenario(run: Run) -> None:
        ws = run.open(reply_id=id_of)
        answer = ws.request({"id": 1}, reply_to=1)
        assert answer is not None
        assert answer["type"] == "result"
        ws.send("subscribed")
        for n in range(2):
            event = ws.expect(lambda message: message.get("type") == "event")
            assert event is not None
            assert event["n"] == n
        ws.close()

    facts = both(script, scenario)
    assert facts.count("unmatched") == 2
    assert facts.count("replies") == facts.count("requests") == 1


def test_events_with_the_id_of_an_answered_request_reach_subscribers() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.hear_text()
        peer.send(text(id=1, n=-1) + text(id=1, n=0) + text(n=1) + text(id=1, n=2))
        assert peer.hear_text() == "subscribed"
        peer.send(text(id=1, n=3))
        peer.answer_close()

    def scenario(run: Run) -> None:
        ws = run.open(reply_id=id_of)
        heard: list[int] = []
        assert ws.request({"id": 1}, reply_to=1) is not None
        until(lambda: ws.messages_received == 4)
        ws.subscribe(lambda message: heard.append(message["n"]))
        ws.send("subscribed")
        until(lambda: len(heard) == 4)
        assert sorted(heard[:3]) == [0, 1, 2]
        assert heard[3] == 3
        ws.close()

    assert both(script, scenario).count("unmatched") == 3


def test_a_second_answer_to_a_request_is_found_by_expect() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.hear_text()
        peer.send(text(reply_to=1, state="accepted"))
        assert peer.hear_text() == "waiting"
        peer.send(text(reply_to=1, state="done"))
        peer.answer_close()

    def scenario(run: Run) -> None:
        ws = run.open()
        first = ws.request({"id": 1}, reply_to=1)
        assert first is not None
        assert first["state"] == "accepted"
        ws.send("waiting")
        second = ws.expect(lambda message: message.get("state") == "done")
        assert second is not None
        ws.close()

    facts = both(script, scenario)
    assert facts.count("unmatched") == facts.count("replies") == 1


def test_one_message_answers_several_requests() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        for _ in range(3):
            peer.hear_text()
        peer.send(text(id=[2, [], 1, 99], state="done"))
        peer.send(text(id=[3]) + text(id=[1, 2]) + text(id=[]) + text(id={"no": "id"}))
        peer.answer_close()

    def scenario(run: Run) -> None:
        ws = run.open(reply_id=id_of)
        replies = [ws.submit({"id": number}, reply_to=number) for number in (1, 2, 3)]
        assert [reply.wait() is not None for reply in replies] == [True, True, True]
        assert replies[0].message is replies[1].message
        until(lambda: ws.messages_received == 5)
        ws.close()

    facts = both(script, scenario)
    assert facts.count("requests") == facts.count("replies") == 3
    assert facts.count("replies_received") == 2
    assert facts.count("unmatched") == 3
    assert facts.durations["response", "s"] == 3


def test_a_late_answer_is_still_seen_by_expect() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.hear_text()
        assert peer.hear_text() == "timed out"
        peer.send(text(reply_to=1))
        peer.answer_close()

    def scenario(run: Run) -> None:
        ws = run.open()
        assert ws.request({"id": 1}, reply_to=1, timeout=0.05) is None
        ws.send("timed out")
        assert ws.expect(lambda message: message.get("reply_to") == 1) is not None
        ws.close()

    facts = both(script, scenario, Settings(reply_timeout_s=30))
    assert facts.count("late_replies") == facts.count("reply_timeouts") == 1
    assert facts.count("unmatched") == 0
    holds(facts.record, messages_received=1)


def test_strays_are_kept_in_small_numbers_and_take_no_room_from_others() -> None:
    strays = STRAYS_KEPT + 3

    def script(peer: Peer) -> None:
        peer.accept()
        peer.hear_text()
        peer.send(text(reply_to=1))
        peer.send(b"".join(text(n=number) for number in range(INBOX_MESSAGES)))
        peer.send(b"".join(text(reply_to=1, stray=number) for number in range(strays)))
        peer.answer_close()

    def scenario(run: Run) -> None:
        ws = run.open()
        assert ws.request({"id": 1}, reply_to=1) is not None
        until(lambda: ws.messages_received == 1 + INBOX_MESSAGES + strays)
        stray = ws.expect(lambda message: message.get("stray") is not None)
        other = ws.expect(lambda message: message.get("n") is not None)
        assert stray is not None
        assert other is not None
        assert (stray["stray"], other["n"]) == (3, 0)
        ws.close()

    facts = both(script, scenario)
    assert facts.count("dropped") == 0
    assert facts.count("unmatched") == strays
