"""An answer with the server's close right behind it: the answer is delivered, and the server closed."""

from __future__ import annotations

import select
from typing import Any

import gevent
import pytest

from tests.wire.harness import Certificates, Peer, Run, both, close_frame, frame, holds, until
from wsoak.wire.client import Settings
from wsoak.wire.dial import tls_context
from wsoak.wire.frames import PING, TEXT

ANSWER = frame(TEXT, '{"reply_to": 1}')


def ask_once(run: Run) -> None:
    with run.open() as ws:
        assert ws.request({"id": 1}, reply_to=1) is not None


@pytest.mark.parametrize("between", [b"", frame(PING, b"x"), frame(TEXT, "more")])
@pytest.mark.parametrize("code", [1000, 1008, None])
def test_in_one_read_the_server_closed(between: bytes, code: int | None) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.hear_text()
        peer.send(ANSWER + between + close_frame(code, "done" if code else ""))
        peer.hear_close()

    facts = both(script, ask_once)
    holds(facts.record, initiator="server", received_code=code, usable=True, clean=True)
    assert facts.count("replies") == 1


def test_with_the_handshake_in_one_read_the_server_closed() -> None:
    def script(peer: Peer) -> None:
        peer.accept(frame(TEXT, "welcome") + close_frame(1000))
        peer.hear_close()

    def scenario(run: Run) -> None:
        with run.open() as ws:
            assert ws.expect(lambda _: True) is not None

    holds(both(script, scenario).record, initiator="server", received_code=1000)


def test_in_two_tls_records_the_server_closed(certificates: Certificates) -> None:
    tls = (certificates.of_server(), tls_context(str(certificates.authority)))

    def script(peer: Peer) -> None:
        peer.accept()
        peer.hear_text()
        peer.send(ANSWER)
        peer.send(close_frame(1000))
        peer.hear_close()

    def scenario(run: Run) -> None:
        ws = run.open()
        reply = ws.submit({"id": 1}, reply_to=1)
        # both records are there when the client looks
        until(lambda: reply.done)
        ws.close()

    holds(both(script, scenario, tls=tls).record, initiator="server", received_code=1000)


@pytest.mark.parametrize("code", [1000, 4000])
def test_a_close_frame_that_nobody_has_read_yet_came_first(code: int) -> None:
    """The user closes while the server's close frame waits in the kernel."""

    def script(peer: Peer) -> None:
        peer.accept()
        peer.hear_text()
        peer.send(ANSWER)
        assert peer.hear_text() == "answered"
        peer.send(close_frame(code))
        peer.hear_close()

    def scenario(run: Run) -> None:
        ws = run.open()
        link: Any = ws._link
        assert ws.request({"id": 1}, reply_to=1) is not None
        # as on a busy hub: nothing is read until the close
        link._watcher.stop()
        ws.send("answered")
        until(lambda: select.select([link._stream.fd], [], [], 0)[0])
        ws.close()

    facts = both(script, scenario)
    holds(facts.record, initiator="server", received_code=code, clean=True)


def test_an_end_of_stream_behind_the_answer_leaves_the_close_to_the_client() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.hear_text()
        peer.send(ANSWER)

    facts = both(script, ask_once, Settings(close_timeout_s=30))
    holds(facts.record, initiator="client", code=1006, usable=True)
    assert facts.count("replies") == 1


def test_who_waits_for_several_things_of_one_read_is_woken_in_order() -> None:
    order: list[str] = []

    def script(peer: Peer) -> None:
        peer.accept()
        for _ in range(2):
            peer.hear_text()
        peer.send(frame(TEXT, '{"reply_to": 2}') + frame(TEXT, '{"reply_to": 1}') + close_frame(1000))
        peer.hear_close()

    def scenario(run: Run) -> None:
        order.clear()
        ws = run.open()

        def ask(number: int) -> None:
            assert ws.request({"id": number}, reply_to=number) is not None
            order.append(f"{number}, open: {ws.is_open}")

        gevent.joinall([gevent.spawn(ask, 1), gevent.spawn(ask, 2)], raise_error=True)
        assert order == ["2, open: False", "1, open: False"]

    both(script, scenario)
