"""Paced sending beside work that keeps the event loop busy: nothing leaves before its time.

``WSOAK_PACED_SENDS=1000000 python -m pytest tests/wire/test_pacing.py`` is the same at length.
"""

from __future__ import annotations

import os
import time
from functools import partial

import gevent
import pytest

from tests.wire.harness import OPENERS, OpenerOf, Peer, Run, listening, until
from wsoak.ledger.books import Books
from wsoak.wire.client import FastOpener, Settings
from wsoak.wire.connection import Connection
from wsoak.wire.message import Message
from wsoak.wire.replies import Reply
from wsoak.wire.schedule import every
from wsoak.wire.waiting import Waiter, rest

SENDS = int(os.environ.get("WSOAK_PACED_SENDS", "2000"))
SOCKETS = max(20, min(200, SENDS // 5000))
INTERVAL_S = 0.02
WORK_NS = 5_000_000


def work() -> None:
    """Hold the event loop for some milliseconds, as a big JSON or a signature does."""
    until_ns = time.perf_counter_ns() + WORK_NS
    while time.perf_counter_ns() < until_ns:
        pass


def hog() -> None:
    while True:
        work()
        gevent.sleep(0.001)


def listen(peer: Peer) -> None:
    peer.accept()
    while peer.sock.recv(1 << 16):
        pass


def test_a_rest_lasts_as_long_as_was_asked_however_old_the_loops_clock_is() -> None:
    for _ in range(20):
        work()
        began_ns = time.perf_counter_ns()
        rest(Waiter(), 2_000_000)
        assert time.perf_counter_ns() - began_ns >= 2_000_000


@pytest.mark.parametrize("busy", ["another greenlet", "the sender"])
def test_no_paced_message_leaves_before_it_is_due(busy: str) -> None:
    early_ns: list[int] = []

    def send(ws: Connection) -> None:
        for due_ns in ws.paced(every(INTERVAL_S), count=SENDS // SOCKETS // 2):
            ahead_ns = due_ns - time.perf_counter_ns()
            if ahead_ns > 0:
                early_ns.append(ahead_ns)
            ws.send("x", intended_ns=due_ns)
            if busy == "the sender" and ws is sockets[0]:
                work()

    with listening(listen, may_fail=True) as listener:
        run = Run(FastOpener, listener.url, Settings(close_timeout_s=0.1))
        sockets = [run.open() for _ in range(SOCKETS)]
        hogs = [gevent.spawn(hog)] if busy == "another greenlet" else []
        gevent.joinall([gevent.spawn(partial(send, ws)) for ws in sockets], raise_error=True)
        gevent.killall(hogs)
        books = Books()
        books.add(run.recorder.take())
        run.client.stop(0.1)
    assert early_ns == []
    assert books.count("sent") == SENDS // 2
    assert books.histogram("lag").total == SENDS // 2
    assert books.count("sent_early") == 0


def test_a_message_that_leaves_early_is_counted() -> None:
    with listening(listen, may_fail=True) as listener:
        run = Run(FastOpener, listener.url, Settings(close_timeout_s=0.1))
        ws = run.open()
        now_ns = time.perf_counter_ns()
        ws.send("in time", intended_ns=now_ns)
        ws.send("early", intended_ns=now_ns + 3_600_000_000_000)
        ws.submit("early too", 1, intended_ns=now_ns + 3_600_000_000_000, name="asked")
        books = Books()
        books.add(run.recorder.take())
        run.client.stop(0.1)
    assert (books.count("sent_early", "s"), books.count("sent_early", "asked")) == (1, 1)


@pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)
def test_what_was_read_before_a_request_was_sent_does_not_answer_it(opener: OpenerOf) -> None:
    def script(peer: Peer) -> None:
        peer.accept().hear_text()
        peer.say('{"reply_to": 1}')
        peer.hear_text()
        peer.say('{"reply_to": 1}')
        peer.answer_close()

    replies: list[Reply] = []

    def asks(_message: Message) -> bool:
        # while the first message is being told
        replies.append(ws.submit("ask", 1))
        return True

    with listening(script) as listener:
        run = Run(opener, listener.url, Settings())
        ws = run.open(usable_when=asks)
        ws.send("go")
        until(lambda: replies)
        assert replies[0].wait() is not None
        ws.close()
        books = Books()
        books.add(run.recorder.take())
        run.client.stop(1)
    assert books.count("unmatched", "s") == 1
    assert books.histogram("service").total == 1
    assert books.histogram("service").under == 0
