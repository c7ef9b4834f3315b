"""Messages whose id is of no request in flight: events of a subscription, second answers, late ones."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import Any

import pytest
from gevent.event import Event
from gevent.monkey import get_original

from tests.wire.harness import OpenerOf, Peer, RealServer, Run, both, frame, holds, listening, until
from wsoak.ledger.names import REPLY_CLUE
from wsoak.ledger.timeline import value
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


def test_messages_for_a_slow_handler_wait_in_bounded_numbers_and_the_rest_is_counted() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        for numbers in (range(1), range(1, 1_001)):
            peer.hear_text()
            peer.send(b"".join(text(n=number) for number in numbers))
        peer.answer_close()

    def scenario(run: Run) -> None:
        ws = run.open()
        heard: list[int] = []
        may_go_on = Event()

        def handle(message: Message) -> None:
            heard.append(message["n"])
            may_go_on.wait()

        ws.subscribe(handle, most=10)
        ws.send("the first")
        until(lambda: heard == [0])
        ws.send("all others")
        until(lambda: ws.messages_received == 1_001)
        may_go_on.set()
        until(lambda: heard[-1] == 1_000)
        assert heard == [0, *range(991, 1_001)]
        ws.close()

    assert both(script, scenario).count("overrun") == 990


def test_a_quick_handler_misses_nothing_of_a_burst() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.hear_text()
        peer.send(b"".join(text(n=number) for number in range(5_000)))
        peer.answer_close()

    def scenario(run: Run) -> None:
        ws = run.open()
        heard: list[int] = []
        ws.subscribe(lambda message: heard.append(message["n"]))
        ws.send("subscribed")
        until(lambda: len(heard) == 5_000)
        ws.close()

    assert both(script, scenario).count("overrun") == 0


def test_a_handler_needs_room_for_one_message(opener: OpenerOf) -> None:
    with listening(lambda peer: peer.accept().answer_close()) as listener:
        run = Run(opener, listener.url, Settings())
        with run.open() as ws, pytest.raises(ValueError, match="at least one message"):
            ws.subscribe(print, most=0)
        run.stop()


def test_what_came_for_a_request_that_timed_out_is_compared_once_a_second(opener: OpenerOf) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        while peer.hear()[0] == TEXT:
            peer.send(text(data={"request": "r-1"}, secret="s3cret") + text(tick="s3cret"))
            peer.send(text(data={"request": "r-1"}, secret="s3cret"))

    with listening(script, may_fail=True) as listener:
        run = Run(opener, listener.url, Settings(reply_timeout_s=0.05))
        ws = run.open()
        seconds = set()
        for number in range(30):
            ws.request({"id": f"r-{number}"}, reply_to=f"r-{number}")
            seconds.add(run.recorder.second_end_ns)
        delta = run.recorder.take()
        run.client.stop(0.1)
    seen = [(each.count, each.text) for each in delta.observations if each.id == REPLY_CLUE]
    assert (1, "in the field `data.request`") in seen
    assert len(seen) <= len(seconds) + 1
    assert sum(value(row, "unanswered") for row in delta.timeline.values()) == 30
    assert "s3cret" not in repr(delta.observations)


def test_an_answer_that_was_read_too_late_as_we_stood_still_is_not_the_servers_fault(
    opener: OpenerOf, real_server: RealServer
) -> None:
    run = Run(opener, real_server.url, Settings())
    ws = run.open()
    link: Any = ws._link
    reply = ws.submit({"reply_to": 1}, reply_to=1, timeout=0.05)
    # no turn of the hub until the answer is here, and its time is over
    due_ns = time.perf_counter_ns() + 100_000_000
    has_come = partial(get_original("select", "select"), [link._stream.fd], [], [], 0.01)
    while not has_come()[0] or time.perf_counter_ns() < due_ns:
        pass
    assert reply.wait() is None
    until(lambda: ws.messages_received == 1)
    ws.close()
    facts = run.stop()
    assert facts.count("reply_timeouts") == facts.count("late_replies") == 1
    assert facts.count("unanswered") == 0
