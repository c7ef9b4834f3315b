"""One way: what a server that relays does to numbered messages, and what is said of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from gevent.queue import Queue

from tests.wire.conftest import steady_clock
from tests.wire.harness import OPENERS, Peer, Run, close_frame, listening, until
from wsoak.ledger.units import NS_PER_MS
from wsoak.load.one_way import OneWay
from wsoak.load.user import WebSocketUser
from wsoak.wire.client import Settings
from wsoak.wire.message import Message

__all__ = ["steady_clock"]

SENT = 5
FINDINGS = ("relay-lost", "messages-repeated", "messages-reordered")
Play = Callable[[list[str]], list[str]]


class Observer:
    """In a user's place: remembers what it was told."""

    def __init__(self) -> None:
        self.deliveries: list[tuple[str, float]] = []
        self.seen: dict[str, tuple[int, int]] = {}

    def delivery(self, name: str, duration_s: float) -> None:
        """See ``WebSocketUser.delivery``."""
        self.deliveries.append((name, duration_s))

    def observe(self, finding: str, name: str, count: int, of: int, text: str = "") -> None:
        """See ``WebSocketUser.observe``."""
        assert name == "receiver"
        assert bool(text) is bool(count)
        assert finding not in self.seen
        self.seen[finding] = (count, of)

    @property
    def found(self) -> dict[str, int]:
        """How much was wrong, by finding."""
        return {finding: count for finding, (count, _) in self.seen.items() if count}


class Relay:
    """A server that takes so many messages from ``/sender``, and gives ``play`` of them to the other socket.

    Args:
        then: what it does to the receiver afterwards; by default it waits for the end.
    """

    def __init__(self, play: Play, sent: int = SENT, then: Callable[[Peer], Any] | None = None) -> None:
        self._play = play
        self._sent = sent
        self._then = then or Peer.answer_close
        self._texts: Any = Queue()

    def __call__(self, peer: Peer) -> None:
        peer.accept()
        if peer.path == "/sender":
            self._texts.put([peer.hear_text() for _ in range(self._sent)])
            peer.answer_close()
            return
        for text in self._play(self._texts.get()):
            peer.say(text)
        self._then(peer)


@contextmanager
def one_way(relay: Relay, opener: str = "fast", **more: Any) -> Iterator[tuple[OneWay, Observer]]:
    """A way through a server, on real sockets."""
    observer = Observer()
    with listening(relay) as listener:
        run = Run(OPENERS[opener], listener.url, Settings(reply_timeout_s=0.3))
        sender, receiver = (run.open(f"/{name}", name) for name in ("sender", "receiver"))
        try:
            yield OneWay(cast("WebSocketUser", observer), sender, receiver, **more), observer
        finally:
            run.stop()


def numbers(*kept: int) -> Play:
    """Relay these of the messages, in this order."""
    return lambda texts: [texts[number] for number in kept]


def added(*texts: str) -> Play:
    """Relay all messages, and these before."""
    return lambda relayed: [*texts, *relayed]


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize(
    ("play", "arrived", "found"),
    [
        (numbers(0, 1, 2, 3, 4), 5, {}),
        (numbers(0, 1, 3, 4), 4, {"relay-lost": 1}),
        (numbers(0, 1, 2), 3, {"relay-lost": 2}),
        (numbers(), 0, {"relay-lost": 5}),
        (numbers(0, 1, 1, 2, 3, 4), 5, {"messages-repeated": 1}),
        (numbers(1, 0, 2, 3, 4), 5, {"messages-reordered": 1}),
        (numbers(0, 2, 1, 1), 3, {"relay-lost": 2, "messages-repeated": 1, "messages-reordered": 1}),
    ],
)
def test_what_is_lost_repeated_or_out_of_order_is_observed(
    play: Play, arrived: int, found: dict[str, int], opener: str
) -> None:
    with one_way(Relay(play), opener) as (way, observer):
        for _ in range(SENT):
            assert way.send({"type": "ice"})
        assert way.settled() is (arrived == SENT)
        assert way.missing == SENT - arrived
        assert way.verify() == found.get("relay-lost", 0)
    assert observer.found == found
    assert observer.seen == {finding: (found.get(finding, 0), SENT) for finding in FINDINGS}
    assert [name for name, _ in observer.deliveries] == ["receiver"] * arrived
    assert all(0 < duration_s < 20 for _, duration_s in observer.deliveries)


def test_what_was_given_up_is_not_waited_for_again_nor_counted_when_it_comes_late() -> None:
    late: Any = Queue()

    def hold_back(texts: list[str]) -> list[str]:
        late.put(texts[0])
        return texts[1:]

    def come_late(peer: Peer) -> None:
        peer.hear_text()
        peer.say(late.get())
        peer.say('{"n": 5}')
        peer.answer_close()

    # the last one is sent when the first one is given up
    with one_way(Relay(hold_back, then=come_late)) as (way, observer):
        for _ in range(SENT):
            way.send({})
        assert not way.settled()
        assert way.verify() == 1
        assert observer.seen == {
            "relay-lost": (1, 5),
            "messages-repeated": (0, 5),
            "messages-reordered": (0, 5),
        }
        observer.seen.clear()
        way.send({})
        way.receiver.send("go on")
        assert way.settled()
        assert way.verify() == 0
        assert observer.seen == dict.fromkeys(FINDINGS, (0, 1))
    assert len(observer.deliveries) == SENT


def test_a_delivery_is_from_the_send_to_the_receipt() -> None:
    def late(texts: list[str]) -> list[str]:
        late_ns = time.perf_counter_ns() + 100 * NS_PER_MS
        until(lambda: time.perf_counter_ns() > late_ns)
        return texts

    with one_way(Relay(late, sent=1)) as (way, observer):
        way.send({})
        assert way.settled()
    ((_, duration_s),) = observer.deliveries
    assert duration_s > 0.1


NOISE = [
    "not JSON",
    "[]",
    "{}",
    '{"n": null}',
    '{"n": 99}',
    '{"n": -1}',
    '{"n": true}',
    '{"n": "0"}',
    '{"n": [0]}',
]


@pytest.mark.parametrize("noise", NOISE)
def test_what_carries_no_number_of_ours_is_no_delivery(noise: str) -> None:
    with one_way(Relay(added(noise))) as (way, observer):
        for _ in range(SENT):
            way.send({})
        assert way.settled()
        way.verify()
    assert len(observer.deliveries) == SENT
    assert observer.found == {}


def test_only_messages_of_this_way_are_counted() -> None:
    def number_of(message: Message) -> Any:
        return message.get("n") if message.get("from") == "alice" else None

    def alternate(texts: list[str]) -> list[str]:
        senders = ("alice", "mallory")
        return [
            json.dumps(json.loads(text) | {"from": senders[number % 2]}) for number, text in enumerate(texts)
        ]

    with one_way(Relay(alternate), number_of=number_of) as (way, observer):
        for _ in range(SENT):
            way.send({})
        assert not way.settled()
        assert way.verify() == 2
    assert observer.found == {"relay-lost": 2}


@pytest.mark.parametrize("code", [1000, 1011])
def test_what_a_closed_socket_took_with_it_is_not_lost_by_the_relay(code: int) -> None:
    def close(peer: Peer) -> None:
        peer.send(close_frame(code))
        peer.hear_close()

    with one_way(Relay(numbers(0, 1), then=close)) as (way, observer):
        for _ in range(SENT):
            way.send({})
        assert not way.settled()
        assert not way.is_open
        assert way.verify() == 0
    assert observer.seen == dict.fromkeys(FINDINGS, (0, 2))


def test_a_send_on_a_closed_socket_is_no_message_that_is_missing() -> None:
    with one_way(Relay(numbers(), sent=0)) as (way, observer):
        way.sender.close()
        assert not way.send({})
        assert way.missing == 0
        assert way.settled()
        way.verify()
    assert observer.seen == {}
