"""The same run with either client gives the same ledger, and the ledger says what happened."""

from __future__ import annotations

import json
import random
import socket
import ssl
import time
from functools import partial
from itertools import pairwise
from typing import Any

import gevent
import pytest

from tests.wire.harness import (
    OPENERS,
    PATIENCE_S,
    Certificates,
    Facts,
    OpenerOf,
    Peer,
    Run,
    Script,
    both,
    close_frame,
    frame,
    holds,
    listening,
    until,
)
from wsoak.ledger.delta import Delta
from wsoak.ledger.timeline import value
from wsoak.wire.client import Hello, Settings
from wsoak.wire.connection import HIGH_WATER_BYTES, Connection
from wsoak.wire.dial import Request, tls_context
from wsoak.wire.frames import BINARY, CONTINUATION, PING, PONG, TEXT, CloseFrame
from wsoak.wire.inbox import Inbox
from wsoak.wire.message import Message
from wsoak.wire.schedule import every

SHORT = Settings(reply_timeout_s=0.1, close_timeout_s=0.1)
"""For tests in which a reply or a close does not come; an opening has its time."""
IMPATIENT = Settings(handshake_timeout_s=0.5)
"""For tests in which an opening does not come to its end."""


def just_open(run: Run) -> None:
    """Open a socket, and wait until it has ended."""
    ws = run.open()
    until(lambda: ws.ended)


# ------------------------------------------------------------------------------------------------ openings


def answering(answer: bytes, then: str = "close") -> Script:
    """A server that gives this answer to the request."""

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(answer)
        if then == "reset":
            peer.reset()
        elif then == "wait":
            peer.wait_for_end()

    return script


def http(status: str, body: bytes, *headers: str) -> bytes:
    """An HTTP answer."""
    lines = [f"HTTP/1.1 {status}", *(headers or (f"Content-Length: {len(body)}",)), "", ""]
    return "\r\n".join(lines).encode() + body


REJECTIONS = {
    "401": (http("401 Unauthorized", b"no token"), 401, "no token"),
    "403": (http("403 Forbidden", b'{"error":"expired"}'), 403, '{"error":"expired"}'),
    "404": (http("404 Not Found", b"nothing here"), 404, "nothing here"),
    "500": (http("500 Internal Server Error", b"oops"), 500, "oops"),
    "503 in chunks": (
        http("503 Service Unavailable", b"3\r\nful\r\n1\r\nl\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
        503,
        "full",
    ),
    "502 until the end": (http("502 Bad Gateway", b"<html>", "Connection: close"), 502, "<html>"),
    "400 without a body": (http("400 Bad Request", b""), 400, ""),
    "200 instead of 101": (http("200 OK", b"hello"), 200, "hello"),
    "a long body, of which the start is kept": (http("500 X", b"x" * 5000), 500, "x" * 2048),
    "a body that is not UTF-8": (http("500 X", b"\xff!"), 500, "�!"),
}


@pytest.mark.parametrize("case", REJECTIONS)
def test_an_answer_other_than_101_is_a_rejection_with_the_start_of_its_body(case: str) -> None:
    answer, status, body = REJECTIONS[case]
    facts = both(answering(answer), just_open)
    holds(
        facts.record,
        outcome=f"rejected-{status}",
        error=f"rejected-{status}",
        status=status,
        body=body,
        phase="upgrade",
        tcp_ms=True,
        upgrade_ms=False,
        code=None,
        initiator=None,
        age_s=False,
    )
    assert facts.counters == {"s": {"failed": 1}}
    # no figure of a success: neither of the opening nor of a phase
    assert facts.durations == {("failed_handshake", "s"): 1}


@pytest.mark.parametrize("then", ["wait", "reset"])
def test_a_rejection_stands_when_its_body_never_comes_to_its_end(then: str) -> None:
    facts = both(answering(http("503 Busy", b"half", "Content-Length: 100"), then), just_open)
    holds(facts.record, outcome="rejected-503", status=503)


BAD_UPGRADES = {
    "the accept key of somebody else": (
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "does not match",
    ),
    "no accept key": (b"X-Nothing: here", "is missing"),
}


@pytest.mark.parametrize("case", BAD_UPGRADES)
def test_a_101_with_a_bad_accept_key_is_a_bad_upgrade(case: str) -> None:
    header, words = BAD_UPGRADES[case]
    head = b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + header + b"\r\n\r\n"
    facts = both(answering(head), just_open)
    holds(facts.record, outcome="bad-upgrade", status=101, phase="upgrade")
    assert words in facts.record["error"]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"Sec-WebSocket-Extensions: permessage-deflate\r\n", "an extension was not asked for"),
        (b"Sec-WebSocket-Protocol: chat\r\n", "the subprotocol was not asked for"),
    ],
)
def test_a_101_with_what_was_not_asked_for_is_a_bad_upgrade(header: bytes, words: str) -> None:
    facts = both(lambda peer: peer.accept(headers=header), just_open)
    holds(facts.record, outcome="bad-upgrade", status=101, error=f"bad-upgrade: {words}")


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n"])
def test_an_answer_that_is_no_http_is_a_bad_upgrade(answer: bytes) -> None:
    facts = both(answering(answer), just_open)
    holds(facts.record, outcome="bad-upgrade", status=None)


def test_a_head_without_end_is_too_large() -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        peer.sock.settimeout(10)
        try:
            while True:
                peer.send(
                    b"X-Filler: " + b"x" * 1000 + b"\r\n" if peer.head[:1] == b"-" else b"HTTP/1.1 101 X\r\n"
                )
                peer.head = b"-"
        except ConnectionError:
            return

    facts = both(script, just_open)
    holds(facts.record, outcome="head-too-large", status=None)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 101 Switching Protocols\r\nUpgr"])
@pytest.mark.parametrize("then", ["close", "reset"])
def test_a_connection_that_ends_before_the_head_is_eof_or_reset(then: str, sent: bytes) -> None:
    facts = both(answering(sent, then), just_open)
    expected = {"close": "eof", "reset": "reset"}[then]
    holds(facts.record, outcome=expected, phase="upgrade", status=None, code=None)


def test_a_port_where_nobody_listens_is_refused() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

        def scenario(run: Run) -> None:
            run.endpoint = type(run.endpoint)("ws", "127.0.0.1", port)
            just_open(run)

        facts = both(Peer.wait_for_end, scenario)
    holds(facts.record, outcome="refused", phase="tcp", error="refused: Connection refused", errno=111)


def dribbling(peer: Peer) -> None:
    """A server that sends its answer byte by byte, and never ends."""
    peer.read_head()
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\nX-Slow: ")
    try:
        while True:
            peer.send(b"x")
            gevent.sleep(0.01)
    except ConnectionError:
        return


@pytest.mark.parametrize("script", [dribbling, lambda peer: peer.wait_for_end()], ids=["dribbled", "silent"])
def test_the_whole_upgrade_has_one_deadline(script: Script) -> None:
    facts = both(script, just_open, IMPATIENT)
    holds(facts.record, outcome="timeout-upgrade", phase="upgrade", error="timeout-upgrade")


def test_a_request_says_what_it_was_asked_to_say() -> None:
    heads: list[dict[bytes, bytes]] = []

    def script(peer: Peer) -> None:
        lines = peer.read_head().split(b"\r\n")
        assert lines[0] == b"GET /chat?token=secret HTTP/1.1"
        fields = dict(line.lower().split(b": ", 1) for line in lines[1:] if line)
        fields.pop(b"sec-websocket-key")
        heads.append({key: value for key, value in fields.items() if key != b"host"})
        assert fields[b"host"].startswith(b"127.0.0.1:")
        peer.accept(close_frame(1000), b"Sec-WebSocket-Protocol: b\r\nSet-Cookie: a=1; Domain=127.0.0.1\r\n")
        peer.hear_close()

    def scenario(run: Run) -> None:
        asked = Request("/chat?token=secret", [("Authorization", "Bearer x")], ["a", "b"], "http://o")
        for _ in range(2):
            ws = run.open(request=asked)
            assert ws.opening.subprotocol == "b"

    facts = both(script, scenario)
    assert [record["path"] for record in facts.records] == ["/chat?token=***"] * 2
    assert len(heads) == 4
    assert heads == [heads[0]] * 4, "the clients ask for different things, or a cookie was kept"
    assert b"cookie" not in heads[0]
    assert heads[0][b"authorization"] == b"bearer x"


def test_a_subprotocol_need_not_be_chosen() -> None:
    def scenario(run: Run) -> None:
        assert run.open(request=Request("/", subprotocols=["a"])).opening.subprotocol is None

    holds(
        both(lambda peer: peer.accept(close_frame(1000)).hear_close(), scenario).record,
        outcome="open",
    )


@pytest.mark.parametrize("header", [("X", "a\r\nInjected: yes"), ("Upgrade", "h2c"), ("no token", "x")])
def test_a_request_that_cannot_be_sent_is_refused_before_anything_is_sent(
    opener: OpenerOf, header: tuple[str, str]
) -> None:
    with listening(lambda peer: peer.wait_for_end()) as listener:
        run = Run(opener, listener.url, Settings())
        with pytest.raises(ValueError, match=r"header|value"):
            run.open(request=Request("/", [header]))
        assert run.stop().records == []
        assert listener.accepted == 0


# ------------------------------------------------------------------------------------------------ closes


CLOSES: dict[str, tuple[bytes, int | None, int | None, dict[str, Any]]] = {
    "1000": (close_frame(1000, "bye"), 1000, 1000, {"reason": "bye", "detail": ""}),
    "1001": (close_frame(1001), 1001, 1001, {"detail": ""}),
    "no code": (close_frame(None), 1005, None, {"received_code": None, "detail": ""}),
    "1008": (close_frame(1008, "policy"), 1008, 1008, {"reason": "policy"}),
    "1011": (close_frame(1011), 1011, 1011, {}),
    "1012": (close_frame(1012, "service restart"), 1012, 1012, {}),
    "4401": (close_frame(4401, "who are you"), 4401, 4401, {"reason": "who are you"}),
    "1006 on the wire": (close_frame(1006), 1006, None, {"received_code": 1006, "detail": "invalid-on-wire"}),
    "0 on the wire": (close_frame(0), 0, None, {"received_code": 0, "detail": "invalid-on-wire"}),
    "a reason cut in a character": (
        close_frame(1011, "é".encode()[:1]),
        1011,
        1011,
        {"detail": "bad-reason", "reason": "�"},
    ),
}


@pytest.mark.parametrize("case", CLOSES)
@pytest.mark.parametrize("split", [False, True], ids=["in the 101's segment", "later"])
def test_a_close_by_the_server_is_answered_and_kept_as_it_came(case: str, split: bool) -> None:
    raw, code, answered, expected = CLOSES[case]

    def script(peer: Peer) -> None:
        if split:
            peer.accept(frame(TEXT, "hello"))
            for byte in raw:
                peer.send(bytes([byte]))
        else:
            peer.accept(raw)
        assert peer.hear_close().code == answered

    facts = both(script, just_open)
    holds(facts.record, outcome="open", code=code, sent_code=answered, initiator="server", clean=True)
    holds(facts.record, usable=None if split else False, upgrade_ms=True, age_s=True, **expected)
    assert facts.count("opened") == facts.count("closed") == 1


def test_a_close_in_the_101s_segment_is_known_when_open_comes_back() -> None:
    def scenario(run: Run) -> None:
        ws = run.open()
        assert ws.opening.is_open
        assert not ws.is_open
        assert ws.send("too late") is False

    facts = both(lambda peer: peer.accept(close_frame(1008)).hear_close(), scenario)
    assert facts.count("send_on_closed") == 1


ENDS: dict[str, tuple[Script, dict[str, Any]]] = {
    "eof": (lambda peer: peer.accept(), {"detail": "eof", "errno": None}),
    "reset": (lambda peer: peer.accept().reset(), {"detail": "reset", "errno": 104}),
    "eof in a frame": (lambda peer: peer.accept(frame(TEXT, "hello")[:3]), {"detail": "eof"}),
    "eof after a message": (
        lambda peer: peer.accept(frame(TEXT, "x")),
        {"detail": "eof", "messages_received": 1},
    ),
}


@pytest.mark.parametrize("case", ENDS)
def test_an_end_without_a_close_frame_is_1006_and_the_networks(case: str) -> None:
    script, expected = ENDS[case]
    facts = both(script, just_open)
    holds(facts.record, outcome="open", code=1006, sent_code=None, received_code=None, clean=False)
    holds(facts.record, initiator="network", **expected)


def test_a_reset_that_a_send_meets_first_is_still_a_reset() -> None:
    peers: list[Peer] = []

    def script(peer: Peer) -> None:
        peer.accept()
        peers.append(peer)
        until(lambda: not peers)

    def scenario(run: Run) -> None:
        ws = run.open()
        until(lambda: peers)
        # without a turn of the hub between: the send takes the error, and the next read sees an ordinary end
        peers[0].reset()
        ws.send("anybody there?")
        until(lambda: ws.ended)
        peers.clear()

    holds(both(script, scenario).record, code=1006, detail="reset", initiator="network")


def test_a_reset_right_after_a_clean_close_means_nothing() -> None:
    def script(peer: Peer) -> None:
        peer.accept(close_frame(1000))
        peer.hear_close()
        peer.reset()

    holds(both(script, just_open).record, code=1000, clean=True, detail="", errno=None, initiator="server")


@pytest.mark.parametrize(("answer", "code"), [(1000, 1000), (1001, 1001), (None, 1005)])
def test_a_close_of_ours_waits_for_the_servers_answer(answer: int | None, code: int) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        assert peer.hear_close() == CloseFrame(4000, "enough")
        peer.say("one more")
        peer.send(close_frame(answer))

    def scenario(run: Run) -> None:
        ws = run.open()
        ws.close(4000, "enough")
        assert ws.ended

    facts = both(script, scenario)
    holds(facts.record, code=code, sent_code=4000, initiator="client", clean=True, reason="enough")
    holds(facts.record, messages_received=1, detail="")


def test_a_close_of_ours_that_is_not_answered_ends_at_its_time_out() -> None:
    def scenario(run: Run) -> None:
        ws = run.open()
        ws.close()
        assert ws.ended

    facts = both(lambda peer: peer.accept().wait_for_end(), scenario, SHORT)
    holds(facts.record, code=1006, sent_code=1000, initiator="client", clean=False, detail="close-timeout")


def test_a_close_of_ours_that_is_answered_with_eof_is_not_clean() -> None:
    facts = both(lambda peer: peer.accept().hear_close(), lambda run: run.open().close())
    holds(facts.record, code=1006, sent_code=1000, initiator="client", clean=False, detail="eof")


def test_a_code_that_may_not_be_sent_is_refused_and_the_socket_stays_open() -> None:
    def scenario(run: Run) -> None:
        ws = run.open()
        with pytest.raises(ValueError, match="1006"):
            ws.close(1006)
        assert ws.is_open
        ws.close(3000)

    holds(both(lambda peer: peer.accept().echo(), scenario).record, code=3000, clean=True)


def test_with_closes_the_socket_at_its_end() -> None:
    def scenario(run: Run) -> None:
        with run.open() as ws:
            assert ws.send("x")
        assert ws.ended

    facts = both(lambda peer: peer.accept().echo(), scenario)
    holds(facts.record, code=1000, initiator="client", clean=True, messages_sent=1)


# ------------------------------------------------------------------------------------------------ violations


VIOLATIONS = {
    "a reserved bit": (b"\xc1\x01x", 1002, "a reserved bit is set and no extension was negotiated"),
    "a reserved opcode": (b"\x83\x00", 1002, "opcode 0x3 is reserved"),
    "a continuation of nothing": (frame(CONTINUATION, b"x"), 1002, "a continuation frame continues nothing"),
    "a message inside a message": (
        frame(TEXT, "x", fin=False) + frame(TEXT, "y"),
        1002,
        "a message begins inside a fragmented one",
    ),
    "a fragmented ping": (b"\x09\x00", 1002, "a control frame is fragmented"),
    "a close of one byte": (b"\x88\x01x", 1002, "a close frame has a body of one byte"),
    "a long ping": (b"\x89\x7e\x00\x7e" + b"x" * 126, 1002, "a control frame is longer than 125 bytes"),
    "text that is not UTF-8": (b"\x81\x02\xc3\x28", 1007, "a text message is not UTF-8"),
    "fragments that are not UTF-8": (
        frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"\x28"),
        1007,
        "a text message is not UTF-8",
    ),
    "a message beyond the limit": (
        b"\x82\x7e\x03\xe9" + b"x" * 1001,
        1009,
        "a message is longer than the limit",
    ),
    "an announced message of exabytes": (
        b"\x82\x7f\x70" + b"\0" * 7,
        1009,
        "a message is longer than the limit",
    ),
    "fragments beyond the limit": (
        frame(BINARY, b"x" * 900, fin=False) + b"\x80\x7d" + b"x" * 125,
        1009,
        "a message is longer than the limit",
    ),
}


@pytest.mark.parametrize("case", VIOLATIONS)
def test_a_violation_is_answered_with_its_code_and_ends_the_connection(case: str) -> None:
    raw, code, words = VIOLATIONS[case]

    def script(peer: Peer) -> None:
        peer.accept(frame(TEXT, "fine"))
        peer.send(raw)
        assert peer.hear_close() == CloseFrame(code, words)

    facts = both(script, just_open, Settings(max_message_bytes=1000))
    holds(facts.record, code=1006, sent_code=code, reason=words, detail="protocol-violation", clean=False)
    holds(facts.record, initiator="client", messages_received=1)


# ------------------------------------------------------------------------------------------------ messages


def echoing(peer: Peer) -> None:
    """A server that takes every socket, and sends back what comes."""
    peer.accept()
    peer.echo()


def answer_for(request: str) -> str:
    """The JSON answer to a JSON request."""
    return json.dumps({"reply_to": json.loads(request)["id"]})


def test_a_request_is_answered_and_makes_the_socket_usable() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.say(answer_for(peer.hear_text()))
        peer.answer_close()

    def scenario(run: Run) -> None:
        ws = run.open()
        answer = ws.request({"id": 7}, reply_to=7, name="ask")
        assert answer is not None
        assert answer["reply_to"] == 7
        assert ws.usable
        ws.close()

    facts = both(script, scenario)
    holds(facts.record, usable=True, usable_ms=True, messages_sent=1, messages_received=1, bytes_sent=8)
    assert facts.counters["ask"] == {
        "requests": 1,
        "replies": 1,
        "reply_bytes": facts.record["bytes_received"],
    }
    assert facts.durations["response", "ask"] == facts.durations["service", "ask"] == 1
    assert facts.count("usable") == 1
    assert {kind for kind, name in facts.durations if name == "s"} == {
        "handshake",
        "resolve",
        "tcp",
        "upgrade",
        "usable",
        "closing",
    }


def test_requests_in_flight_are_known_by_their_ids_in_any_order() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        asked = [peer.hear_text() for _ in range(3)]
        peer.send(b"".join(frame(TEXT, answer_for(text)) for text in reversed(asked)))
        peer.answer_close()

    def scenario(run: Run) -> None:
        ws = run.open()
        replies = [ws.submit({"id": number}, reply_to=number) for number in range(3)]
        with pytest.raises(ValueError, match="in flight"):
            ws.submit({"id": 1}, reply_to=1)
        for number, reply in enumerate(replies):
            message = reply.wait()
            assert message is not None
            assert message["reply_to"] == number
        ws.close()

    facts = both(script, scenario)
    assert facts.count("requests") == facts.count("replies") == 3


def test_a_reply_after_its_time_out_is_late_and_one_to_nothing_is_unmatched() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.hear_text()
        # only now has the request timed out: the client says so
        assert peer.hear_text() == "timed out"
        peer.say('{"reply_to": 1}')
        peer.say('{"reply_to": 99}')
        peer.answer_close()

    def scenario(run: Run) -> None:
        ws = run.open()
        assert ws.request({"id": 1}, reply_to=1) is None
        ws.send("timed out")
        until(lambda: ws.messages_received == 2)
        ws.close()

    facts = both(script, scenario, Settings(reply_timeout_s=0.1))
    assert facts.count("reply_timeouts") == facts.count("late_replies") == 1
    assert facts.count("unmatched") == 1
    assert facts.count("replies") == 0
    holds(facts.record, usable=False)


def test_a_time_out_enters_the_histograms_at_the_time_out(opener: OpenerOf) -> None:
    with listening(lambda peer: peer.accept().wait_for_end()) as listener:
        run = Run(opener, listener.url, SHORT)
        ws = run.open()
        intended_ns = time.perf_counter_ns() - 1_000_000_000
        assert ws.request({"id": 1}, reply_to=1, timeout=0.05, intended_ns=intended_ns) is None
        delta = run.recorder.take()
        run.client.stop(0.1)
    latency = {kind: histogram for (_, kind, _), histogram in delta.latency.items()}
    assert latency["service"].percentiles_ns([100])[0] == pytest.approx(50e6, rel=0.002)
    assert (latency["response"].percentiles_ns([100])[0] or 0) >= 1_050e6


def test_a_time_out_counts_in_the_second_in_which_it_happens(opener: OpenerOf) -> None:
    with listening(lambda peer: peer.accept().wait_for_end()) as listener:
        run = Run(opener, listener.url, SHORT)
        ws = run.open()
        asked_ns = time.perf_counter_ns()
        assert ws.request({"id": 1}, reply_to=1, timeout=1.1) is None
        # nothing else happened that would have moved the recorder on
        assert run.recorder.second_end_ns > asked_ns + 1_100_000_000
        delta = run.recorder.take()
        run.client.stop(0.1)
    (asked,), (timed_out,) = (
        [second for (second, _), row in delta.timeline.items() if value(row, counter)]
        for counter in ("requests", "reply_timeouts")
    )
    assert asked < timed_out


def test_requests_without_an_answer_are_lost_when_the_socket_closes() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.hear_text()
        peer.send(close_frame(1011))
        peer.hear_close()

    def scenario(run: Run) -> None:
        assert run.open().request({"id": 1}, reply_to=1) is None

    facts = both(script, scenario)
    assert facts.count("reply_lost") == 1
    assert facts.count("reply_timeouts") == 0
    holds(facts.record, usable=False, code=1011)


def test_a_send_on_a_closed_socket_is_counted_and_raises_nothing() -> None:
    def scenario(run: Run) -> None:
        ws = run.open()
        until(lambda: ws.ended)
        assert ws.send("x") is False
        assert ws.send_binary(b"x") is False
        assert ws.request({"id": 1}, reply_to=1) is None
        assert ws.ping() is None
        assert ws.expect(lambda _: True) is None
        ws.close()

    facts = both(lambda peer: peer.accept(close_frame(1000)).hear_close(), scenario)
    assert facts.count("send_on_closed") == 3
    assert facts.count("requests") == facts.count("sent") == 0


def test_a_socket_that_never_opened_can_be_used_without_a_trace() -> None:
    def scenario(run: Run) -> None:
        ws = run.open()
        assert ws.outcome == "rejected-503"
        assert not ws.send("x")
        assert ws.request({"id": 1}, reply_to=1) is None
        assert ws.expect(lambda _: True) is None
        assert list(ws.paced(every(1.0))) == []
        ws.close()

    facts = both(answering(http("503 X", b"")), scenario)
    assert facts.counters == {"s": {"failed": 1}}


def test_pings_are_answered_and_ours_are_timed() -> None:
    def script(peer: Peer) -> None:
        peer.accept(frame(PING, b"here?") + frame(PING))
        assert peer.hear() == (PONG, b"here?")
        assert peer.hear() == (PONG, b"")
        peer.send(frame(PONG, b"nobody asked"))
        peer.echo()

    def scenario(run: Run) -> None:
        ws = run.open()
        assert ws.ping() is not None
        ws.close()

    facts = both(script, scenario)
    assert facts.count("pings") == facts.count("pongs") == facts.durations["ping", "s"] == 1
    holds(facts.record, messages_sent=0, messages_received=0)


def test_a_ping_without_a_pong_gives_none_at_its_time_out() -> None:
    def scenario(run: Run) -> None:
        assert run.open().ping() is None

    facts = both(lambda peer: peer.accept().answer_close(), scenario, SHORT)
    assert (facts.count("pings"), facts.count("pongs")) == (1, 0)


def test_a_deaf_server_loses_its_heartbeat(opener: OpenerOf) -> None:
    # not with both, and then compared: how many pings fit in is a matter of how busy the machine is
    with listening(lambda peer: peer.accept().wait_for_end()) as listener:
        # nobody waits for a peer that is known to be silent
        run = Run(opener, listener.url, Settings(close_timeout_s=3600.0))
        ws = run.open(heartbeat_s=0.06)
        until(lambda: ws.ended)
        facts = run.stop()
    assert facts.count("pings") >= 1
    holds(facts.record, code=1006, sent_code=1011, initiator="client", detail="heartbeat-lost", clean=False)


def test_a_process_that_stood_still_does_not_blame_the_server(
    opener: OpenerOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = time.perf_counter_ns
    behind_ns = 0
    monkeypatch.setattr(time, "perf_counter_ns", lambda: clock() + behind_ns)
    with listening(echoing) as listener:
        run = Run(opener, listener.url, Settings(heartbeat_s=0.5))
        ws = run.open()
        for _ in range(3):
            read_ns = ws.last_read_ns
            until(lambda: ws.ended or ws.last_read_ns > read_ns)  # noqa: B023 - called at once
            # for ten beats nobody has pinged or read
            behind_ns += 5_000_000_000
        read_ns = ws.last_read_ns
        until(lambda: ws.ended or ws.last_read_ns > read_ns)
        facts = run.stop()
    holds(facts.record, code=1000, clean=True)


def test_a_heartbeat_that_is_answered_goes_on(opener: OpenerOf) -> None:
    with listening(echoing) as listener:
        run = Run(opener, listener.url, Settings(heartbeat_s=0.1))
        ws = run.open()
        # beyond the three intervals after which a silent peer is lost
        until(lambda: run.recorder.series("s").pongs >= 6)
        assert ws.is_open
        facts = run.stop()
    holds(facts.record, code=1000, clean=True)
    record = ws.record(time.perf_counter_ns())
    # the pongs are bytes, and no word of the application's
    assert record.idle_s is not None
    assert record.age_s is not None
    assert record.quiet_s == record.age_s > record.idle_s + 0.1


def test_no_ping_follows_a_close_frame(opener: OpenerOf) -> None:
    followed = b""

    def script(peer: Peer) -> None:
        nonlocal followed
        peer.accept()
        assert peer.hear_close().code == 1000
        while data := peer.sock.recv(65536):
            followed += data

    with listening(script) as listener:
        run = Run(opener, listener.url, Settings(heartbeat_s=0.1, close_timeout_s=0.25))
        run.open().close()
        run.stop()
    assert followed == b""


def test_fragments_with_a_ping_between_are_one_message() -> None:
    def script(peer: Peer) -> None:
        peer.accept(frame(TEXT, "grü".encode()[:3], fin=False) + frame(PING, b"p"))
        assert peer.hear() == (PONG, b"p")
        peer.send(frame(CONTINUATION, "grü".encode()[3:], fin=False) + frame(CONTINUATION, "ße".encode()))
        peer.answer_close()

    def scenario(run: Run) -> None:
        ws = run.open()
        message = ws.expect(lambda _: True)
        assert message is not None
        assert message.data == "grüße"
        ws.close()

    holds(both(script, scenario).record, messages_received=1, bytes_received=7, usable=True)


def test_what_came_before_it_was_expected_is_found_in_the_inbox() -> None:
    def script(peer: Peer) -> None:
        peer.accept(b"".join(frame(TEXT, text) for text in "abc"))
        peer.answer_close()

    def scenario(run: Run) -> None:
        ws = run.open()
        until(lambda: ws.messages_received == 3)
        assert [
            found.data
            for found in (ws.expect(lambda m: m.data in ("b", "c")), ws.expect(lambda _: True))
            if found
        ] == [
            "b",
            "a",
        ]
        assert ws.expect(lambda m: m.data == "z", timeout=0.01) is None
        ws.close()

    holds(both(script, scenario).record, messages_received=3)


def test_a_subscriber_is_handed_messages_in_order_and_those_kept_first() -> None:
    def script(peer: Peer) -> None:
        peer.accept(frame(TEXT, "0") + frame(TEXT, "1"))
        assert peer.hear_text() == "subscribed"
        for number in range(2, 50):
            peer.say(str(number))
        peer.answer_close()

    def scenario(run: Run) -> None:
        ws = run.open()
        until(lambda: ws.messages_received == 2)
        got: list[str | bytes] = []

        def handle(message: Message) -> None:
            gevent.sleep(0)
            got.append(message.data)
            if message.data == "7":
                raise RuntimeError("a scenario's own mistake stops nothing")

        ws.subscribe(handle)
        ws.send("subscribed")
        until(lambda: len(got) == 50)
        assert got == [str(number) for number in range(50)]
        ws.close()

    holds(both(script, scenario).record, messages_received=50)


def test_a_full_inbox_drops_the_oldest_and_counts_them() -> None:
    def script(peer: Peer) -> None:
        peer.accept(b"".join(frame(TEXT, str(number)) for number in range(1003)))
        peer.answer_close()

    def scenario(run: Run) -> None:
        ws = run.open()
        until(lambda: ws.messages_received == 1003)
        first = ws.expect(lambda _: True)
        assert first is not None
        assert first.data == "3"
        ws.close()

    assert both(script, scenario).count("dropped") == 3


def test_a_function_of_the_scenario_that_fails_leaves_the_socket_working() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        for _ in range(2):
            peer.say(answer_for(peer.hear_text()))
        peer.answer_close()

    def fail_once(message: Message, calls: list[int] = []) -> Any:  # noqa: B006 - counts its calls
        calls.append(1)
        if len(calls) % 2:
            raise RuntimeError("once")
        return message.get("reply_to")

    def scenario(run: Run) -> None:
        ws = run.open(reply_id=fail_once)
        first = ws.submit({"id": 1}, reply_to=1)
        until(lambda: ws.messages_received == 1)
        assert ws.request({"id": 2}, reply_to=2) is not None
        ws.close()
        assert first.wait() is None

    facts = both(script, scenario)
    assert (facts.count("replies"), facts.count("reply_lost")) == (1, 1)


def test_usable_is_what_the_scenario_says_it_is() -> None:
    def script(peer: Peer) -> None:
        peer.accept(frame(TEXT, "no") + (frame(TEXT, "yes") if peer.path == "/good" else b""))
        peer.answer_close()

    def scenario(run: Run) -> None:
        for path in ("/good", "/bad"):
            ws = run.open(path, usable_when=lambda m: m.data == "yes")
            until(partial(_received, ws, 2 if path == "/good" else 1))
            ws.close()

    facts = both(script, scenario)
    assert {record["path"]: record["usable"] for record in facts.records} == {"/good": True, "/bad": False}


def _received(ws: Connection, number: int) -> bool:
    return ws.messages_received == number


def test_a_servers_last_error_message_is_kept() -> None:
    def script(peer: Peer) -> None:
        peer.accept(frame(TEXT, '{"type":"error","message":"quota"}') + close_frame(1008))
        peer.hear_close()

    holds(both(script, just_open).record, server_error="quota", code=1008)


# ------------------------------------------------------------------------------------------------ hello


HELLO = Hello({"type": "login"}, lambda message: message.get("type") == "welcome")


def test_a_hello_is_the_last_phase_of_an_opening() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        assert json.loads(peer.hear_text()) == {"type": "login"}
        peer.say('{"type":"news"}')
        peer.say('{"type":"welcome"}')
        peer.answer_close()

    def scenario(run: Run) -> None:
        with run.open(hello=HELLO) as ws:
            assert ws.is_open

    facts = both(script, scenario)
    holds(facts.record, outcome="open", hello_ms=True, phase="")
    assert facts.durations["hello", "s"] == 1


def test_a_hello_that_is_not_answered_is_a_time_out() -> None:
    def scenario(run: Run) -> None:
        ws = run.open(hello=HELLO)
        assert not ws.is_open
        until(lambda: ws.ended)

    facts = both(lambda peer: peer.accept().answer_close(), scenario, IMPATIENT)
    holds(facts.record, outcome="timeout-hello", phase="hello", hello_ms=False, upgrade_ms=True, usable=False)
    assert facts.count("failed") == 1
    assert facts.count("opened") == facts.count("closed") == 0


def test_a_close_during_the_hello_is_a_failed_opening() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.hear_text()
        peer.send(close_frame(4401, "bad token"))
        peer.hear_close()

    facts = both(script, lambda run: run.open(hello=HELLO))
    holds(facts.record, outcome="closed-hello", phase="hello", received_code=4401, reason="bad token")
    assert (facts.count("failed"), facts.count("opened"), facts.count("closed")) == (1, 0, 0)


@pytest.mark.parametrize("apart", [False, True], ids=["in one segment", "in two segments"])
def test_a_close_right_after_the_hello_is_the_close_of_an_open_socket(apart: bool) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.hear_text()
        welcome, close = frame(TEXT, '{"type":"welcome"}'), close_frame(None)
        for piece in (welcome, close) if apart else (welcome + close,):
            peer.send(piece)
        peer.hear_close()

    def scenario(run: Run) -> None:
        ws = run.open(hello=HELLO)
        until(lambda: ws.ended)
        assert not ws.send("start listening")

    facts = both(script, scenario)
    holds(facts.record, outcome="open", phase="", hello_ms=True, code=1005, initiator="server", usable=True)
    assert facts.count("send_on_closed") == 1
    assert (facts.count("failed"), facts.count("opened"), facts.count("closed")) == (0, 1, 1)
    assert facts.durations["hello", "s"] == 1


def test_a_hello_that_cannot_be_sent_leaves_no_socket_behind() -> None:
    def scenario(run: Run) -> None:
        with pytest.raises(TypeError):
            run.open(hello=Hello({"token": object()}, lambda _: True))
        until(lambda: not run.client.open_connections)

    holds(both(lambda peer: peer.accept().answer_close(), scenario).record, outcome="cancelled")


# ------------------------------------------------------------------------------------------------ many, large


def test_many_sockets_at_once_keep_one_story_each() -> None:
    def scenario(run: Run) -> None:
        sockets = run.client.open_many(60, lambda number: run.open(f"/{number}"))
        assert [ws.is_open for ws in sockets] == [True] * 60
        gevent.joinall(
            [gevent.spawn(ws.send, "x" * number) for number, ws in enumerate(sockets)], raise_error=True
        )
        for ws in sockets:
            ws.expect(lambda _: True)
        gevent.joinall([gevent.spawn(ws.close) for ws in sockets], raise_error=True)

    facts = both(echoing, resolved_before(scenario))
    assert facts.count("opened") == facts.count("closed") == facts.count("usable") == 60
    assert facts.count("bytes_sent") == facts.count("bytes_received") == sum(range(60))
    paths = {record["path"] for record in facts.records if record["name"] == "s"}
    assert paths == {f"/{number}" for number in range(60)}


def resolved_before(scenario: Any) -> Any:
    """The scenario, with one look-up before it, so that it is certain which opening has that phase."""

    def resolved(run: Run) -> None:
        run.open("/first", "first").close()
        scenario(run)

    return resolved


def test_openings_that_are_not_wanted_any_more_are_closed(opener: OpenerOf) -> None:
    with listening(echoing) as listener:
        run = Run(opener, listener.url, Settings())

        def open_one(number: int) -> Connection:
            if number == 5:
                until(lambda: run.client.opening == 0)
                raise RuntimeError("the scenario fails")
            return run.open()

        with pytest.raises(RuntimeError):
            run.client.open_many(10, open_one)
        until(lambda: not run.client.open_connections)
        facts = run.stop()
    assert {record["reason"] for record in facts.records} == {"user ended"}


SIZES = [0, 125, 126, 65535, 65536, 1 << 20]


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
def test_messages_of_any_size_go_both_ways(secure: bool, certificates: Certificates) -> None:
    def scenario(run: Run) -> None:
        ws = run.open()
        for size in SIZES:
            payload = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
            assert ws.send(payload)
            echoed = ws.expect(lambda _: True)
            assert echoed is not None
            assert echoed.data == payload
        ws.close()

    tls = (certificates.of_server(), tls_context(str(certificates.authority))) if secure else None
    facts = both(echoing, scenario, tls=tls)
    holds(facts.record, bytes_sent=sum(SIZES), bytes_received=sum(SIZES), tls_ms=secure, clean=True)


def test_sixteen_mebibytes_go_both_ways() -> None:
    payload = "ä" * (1 << 23)

    def scenario(run: Run) -> None:
        ws = run.open()
        assert ws.send(payload)
        echoed = ws.expect(lambda _: True, timeout=60)
        assert echoed is not None
        assert echoed.data == payload
        ws.close(timeout=60)

    holds(both(echoing, scenario).record, bytes_sent=1 << 24, bytes_received=1 << 24)


def slow_reader(go: gevent.event.Event, heard: list[int]) -> Script:
    """A server that does not read until ``go``."""

    def script(peer: Peer) -> None:
        peer.accept()
        go.wait()
        while True:
            _, payload = peer.hear()
            if isinstance(payload, CloseFrame):
                peer.send(close_frame(payload.code))
                return
            assert isinstance(payload, bytes)
            heard.append(len(payload))

    return script


def test_a_sender_waits_while_a_peer_does_not_read(opener: OpenerOf) -> None:
    go = gevent.event.Event()
    heard: list[int] = []
    sent = 0
    with listening(slow_reader(go, heard), buffer_bytes=4096) as listener:
        run = Run(opener, listener.url, Settings())
        ws = run.open()

        def send_all() -> None:
            nonlocal sent
            for _ in range(400):
                assert ws.send_binary(b"x" * 65536)
                sent += 1

        sender = gevent.spawn(send_all)
        # while nobody reads, the sender must come to a stand, with a bounded buffer
        until(lambda: ws._link is not None and ws._link.unsent_bytes > HIGH_WATER_BYTES)
        stood = sent
        assert ws._link.unsent_bytes < 2 * HIGH_WATER_BYTES  # type: ignore[union-attr]
        assert stood < 400
        go.set()
        sender.get(timeout=PATIENCE_S)
        ws.close()
        facts = run.stop()
    assert heard == [65536] * 400
    holds(facts.record, bytes_sent=400 * 65536, clean=True)


@pytest.mark.parametrize("end", ["reset", "close", "give up"])
def test_a_sender_that_waits_is_released_when_the_socket_ends(opener: OpenerOf, end: str) -> None:
    go, released = gevent.event.Event(), gevent.event.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        go.wait()
        if end == "reset":
            peer.reset()
        elif end == "close":
            peer.send(close_frame(1013))
            released.wait()

    with listening(script, buffer_bytes=4096) as listener:
        run = Run(opener, listener.url, SHORT)
        ws = run.open()

        def send_all() -> None:
            while ws.send_binary(b"x" * 65536):
                pass

        sender = gevent.spawn(send_all)
        until(lambda: ws._link is not None and ws._link.unsent_bytes > HIGH_WATER_BYTES)
        if end == "give up":
            ws.begin_close()
            until(lambda: ws.ended)
        go.set()
        sender.get(timeout=PATIENCE_S)
        assert ws.ended
        if end == "close":
            # not only when TCP has ended too
            assert run.client.lingering
        released.set()
        facts = run.stop()
    expected = {"reset": (1006, "reset"), "close": (1013, ""), "give up": (1006, "close-timeout")}
    holds(facts.record, code=expected[end][0], detail=expected[end][1])


def test_a_close_frame_is_found_behind_a_send_that_failed() -> None:
    """The server says why it goes, and resets: our next send fails before the reason was read."""
    sockets: list[Connection] = []

    def script(peer: Peer) -> None:
        peer.accept()
        peer.hear_text()
        peer.send(b"".join(frame(TEXT, "x" * 1000) for _ in range(5)) + close_frame(1012))
        peer.reset()
        # the hub has not turned since, so nothing of it was read
        assert sockets[-1].send("too late") is True
        assert not sockets[-1].ended

    def scenario(run: Run) -> None:
        sockets.append(run.open())
        sockets[-1].send("go")
        until(lambda: sockets[-1].ended)

    facts = both(script, scenario)
    holds(facts.record, code=1012, messages_received=5, initiator="server", clean=True)


# ------------------------------------------------------------------------------- pace, and greenlets


def test_who_paces_hears_of_the_end_at_once() -> None:
    def script(peer: Peer) -> None:
        peer.accept().hear_text()
        peer.send(close_frame(1012))
        peer.hear_close()

    def scenario(run: Run) -> None:
        ws = run.open()
        # not in an hour
        assert [ws.send("once") for _ in ws.paced(every(3600.0))] == [True]
        assert ws.ended
        assert ws._closers == []

    holds(both(script, scenario).record, code=1012)


def test_who_pauses_hears_of_the_end_at_once() -> None:
    def script(peer: Peer) -> None:
        peer.accept().hear_text()
        peer.send(close_frame(1012))
        peer.hear_close()

    def scenario(run: Run) -> None:
        ws = run.open()
        assert ws.pause(0.01)
        ws.send("once")
        # not in an hour
        assert not ws.pause(3600)
        assert not ws.pause(3600)
        assert ws.ended
        assert ws._closers == []

    holds(both(script, scenario).record, code=1012)


def test_a_paced_send_has_its_lag_and_counts_from_its_intended_time(opener: OpenerOf) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        for _ in range(5):
            peer.say(answer_for(peer.hear_text()))
        peer.answer_close()

    with listening(script) as listener:
        run = Run(opener, listener.url, Settings())
        ws = run.open()
        intended: list[int] = []
        for number, at_ns in enumerate(ws.paced(every(0.02), count=5)):
            if number == 0:
                # a scenario that is late: the moments that passed come at once, and are not left out
                until(partial(_is_past, at_ns + 90_000_000))
            intended.append(at_ns)
            assert ws.request({"id": number}, reply_to=number, intended_ns=at_ns, name="paced") is not None
        ws.close()
        delta = run.recorder.take()
        run.client.stop(1)
    gaps = [later - sooner for sooner, later in pairwise(intended)]
    assert gaps == [20_000_000] * 4
    response = _largest(delta, "response", "paced")
    assert _largest(delta, "lag", "paced") >= 85_000_000
    assert response >= _largest(delta, "lag", "paced") * 0.99
    assert response > _largest(delta, "service", "paced")


def _is_past(at_ns: int) -> bool:
    return time.perf_counter_ns() > at_ns


def _largest(delta: Delta, kind: str, name: str) -> int:
    return max(
        histogram.percentiles_ns([100])[0] or 0
        for (_, of_kind, of_name), histogram in delta.latency.items()
        if (of_kind, of_name) == (kind, name)
    )


def test_an_opening_whose_greenlet_is_killed_is_cancelled() -> None:
    def scenario(run: Run) -> None:
        opening = gevent.spawn(run.open)
        until(lambda: heads)
        opening.kill()
        heads.clear()
        assert run.client.opening == 0

    heads: list[bytes] = []

    def script(peer: Peer) -> None:
        heads.append(peer.read_head())
        peer.wait_for_end()

    facts = both(script, scenario)
    # the server has met it, and the ledger says so
    holds(facts.record, outcome="cancelled", phase="upgrade", tcp_ms=True, upgrade_ms=False, code=None)
    assert facts.counters == {"s": {"cancelled": 1}}


def test_a_hello_whose_greenlet_is_killed_is_cancelled_and_closed() -> None:
    said: list[str] = []

    def script(peer: Peer) -> None:
        peer.accept()
        said.append(peer.hear_text())
        peer.answer_close()

    def scenario(run: Run) -> None:
        said.clear()
        opening = gevent.spawn(run.open, hello=HELLO)
        until(lambda: said)
        opening.kill()
        until(lambda: not run.client.open_connections)

    facts = both(script, scenario)
    holds(facts.record, outcome="cancelled", phase="hello", reason="user ended")
    assert facts.count("cancelled") == 1
    assert facts.count("failed") == 0


def test_a_time_out_of_the_scenarios_own_cancels_an_opening() -> None:
    reached: list[str] = []

    def time_out(scenario: Any, path: str) -> None:
        until(lambda: path in reached)
        # as a gevent.Timeout does it, but where we want it and not after some time
        gevent.get_hub().loop.run_callback(scenario.throw, gevent.Timeout())

    def scenario(run: Run) -> None:
        reached.clear()
        for path, hello in (("/", None), ("/hello", HELLO)):
            gevent.spawn(time_out, gevent.getcurrent(), path)
            with pytest.raises(gevent.Timeout):
                run.open(path, hello=hello)
        until(lambda: not run.client.open_connections)

    def script(peer: Peer) -> None:
        if peer.path == "/hello":
            peer.accept()
            peer.hear_text()
            reached.append(peer.path)
            peer.answer_close()
        else:
            reached.append(peer.path)
            peer.wait_for_end()

    facts = both(script, scenario)
    assert {record["phase"]: record["outcome"] for record in facts.records} == {
        "upgrade": "cancelled",
        "hello": "cancelled",
    }


@pytest.mark.parametrize("waiting", ["request", "expect", "ping", "close", "reply"])
def test_a_greenlet_that_is_killed_while_it_waits_leaves_nothing_behind(waiting: str) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.hear()
        peer.say('{"reply_to": 1}')
        peer.say("for expect")
        peer.wait_for_end() if waiting == "close" else peer.answer_close()

    def scenario(run: Run) -> None:
        ws = run.open()
        wait = {
            "request": lambda: ws.request({"id": 1}, reply_to=1),
            "reply": lambda: ws.submit({"id": 1}, reply_to=1).wait(),
            "expect": lambda: (ws.send("x"), ws.expect(lambda m: m.data == "never")),
            "ping": lambda: ws.ping(),
            "close": lambda: ws.close(),
        }[waiting]
        greenlet = gevent.spawn(wait)
        gevent.sleep(0)
        assert not greenlet.dead
        greenlet.kill()
        assert greenlet.dead
        until(lambda: ws.messages_received == 2)
        if waiting != "close":
            # nobody waits any more, and the socket works on
            assert ws.is_open
        ws.close()

    # one that answers a close has the time for it
    both(script, scenario, SHORT if waiting == "close" else None)


def test_a_user_that_is_stopped_leaves_its_with_block_without_waiting() -> None:
    def scenario(run: Run) -> None:
        sockets: list[Connection] = []

        def user() -> None:
            with run.open() as ws:
                sockets.append(ws)
                ws.expect(lambda _: False)

        greenlet = gevent.spawn(user)
        until(lambda: sockets)
        gevent.sleep(0)
        greenlet.kill()
        assert greenlet.dead
        until(lambda: sockets[0].ended)

    facts = both(lambda peer: peer.accept().answer_close(), scenario)
    holds(facts.record, initiator="client", reason="user ended", clean=True, usable=None)


def test_one_connection_serves_several_greenlets() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        while True:
            _, payload = peer.hear()
            if isinstance(payload, CloseFrame):
                peer.send(close_frame(payload.code))
                return
            peer.say(answer_for(str(payload)))

    def scenario(run: Run) -> None:
        ws = run.open()

        def ask(first: int) -> int:
            return sum(ws.request({"id": first + n}, reply_to=first + n) is not None for n in range(30))

        asking = [gevent.spawn(ask, 1000 * number) for number in range(10)]
        assert [greenlet.get(timeout=PATIENCE_S) for greenlet in asking] == [30] * 10
        gevent.joinall([gevent.spawn(ws.close) for _ in range(3)], timeout=PATIENCE_S, raise_error=True)
        assert ws.ended

    facts = both(script, scenario)
    assert facts.count("requests") == facts.count("replies") == 300
    assert facts.count("closed") == 1


# ------------------------------------------------------------------------------------------------ TLS


def test_a_certificate_of_a_stranger_fails_tls(certificates: Certificates) -> None:
    facts = {name: _open_untrusted(opener, certificates) for name, opener in OPENERS.items()}
    assert facts["fast"] == facts["reference"]
    holds(facts["fast"].record, outcome="tls-failed", phase="tls", tcp_ms=True, tls_ms=False)
    assert "certificate" in facts["fast"].record["error"]


def _open_untrusted(opener: OpenerOf, certificates: Certificates) -> Facts:
    server = certificates.of_server()

    def script(peer: Peer) -> None:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            server.wrap_socket(peer.sock, server_side=True)

    with listening(script) as listener:
        run = Run(opener, listener.url.replace("ws:", "wss:"), Settings(), tls_context())
        run.open()
        return run.stop()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("client", OPENERS)
def test_a_client_certificate_that_is_asked_for_and_not_given_fails_tls(
    client: str, version: ssl.TLSVersion, certificates: Certificates
) -> None:
    server = certificates.of_server()
    server.minimum_version = server.maximum_version = version
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(certificates.authority)

    def script(peer: Peer) -> None:
        with pytest.raises(ssl.SSLError):
            server.wrap_socket(peer.sock, server_side=True).recv(1)

    records = []
    for _ in range(10):
        # whether a write or a read meets the end first is a matter of microseconds
        with listening(script) as listener:
            run = Run(
                OPENERS[client],
                listener.url.replace("ws:", "wss:"),
                Settings(),
                tls_context(str(certificates.authority)),
            )
            run.open()
            records.append(run.stop().record)
    assert {record["outcome"] for record in records} == {"tls-failed"}
    assert {record["phase"] for record in records} == {"tls"}
    said = "certificate required" if version == ssl.TLSVersion.TLSv1_3 else "alert handshake failure"
    assert all(said in record["error"] for record in records), records


def test_a_server_without_tls_fails_tls() -> None:
    def scenario(run: Run) -> None:
        run.endpoint = type(run.endpoint)("wss", "127.0.0.1", run.endpoint.port)
        run.open()

    def script(peer: Peer) -> None:
        peer.sock.recv(1)
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.wait_for_end()

    holds(both(script, scenario).record, outcome="tls-failed", phase="tls")


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        (lambda peer: peer.wait_for_end(), "timeout-tls"),
        (lambda peer: peer.sock.recv(65536), "eof"),
        (lambda peer: peer.reset(), "reset"),
    ],
    ids=["silent", "eof", "reset"],
)
def test_a_tls_handshake_that_does_not_end_has_its_own_outcome(script: Script, outcome: str) -> None:
    def scenario(run: Run) -> None:
        run.endpoint = type(run.endpoint)("wss", "127.0.0.1", run.endpoint.port)
        run.open()

    holds(both(script, scenario, IMPATIENT).record, outcome=outcome, phase="tls", tls_ms=False)


def test_over_tls_frames_that_come_with_the_101_are_not_left_lying(certificates: Certificates) -> None:
    def script(peer: Peer) -> None:
        peer.accept(b"".join(frame(TEXT, f"{number:05}" * 3000) for number in range(20)))
        peer.answer_close()

    def scenario(run: Run) -> None:
        ws = run.open()
        until(lambda: ws.messages_received == 20)
        ws.close()

    tls = (certificates.of_server(), tls_context(str(certificates.authority)))
    holds(both(script, scenario, tls=tls).record, messages_received=20, tls_ms=True, clean=True)


def test_over_tls_a_record_that_was_read_with_the_101_is_not_left_lying(certificates: Certificates) -> None:
    """No watcher tells of bytes that TLS has taken from the kernel already."""

    def script(peer: Peer) -> None:
        peer.send(peer.upgrade())
        peer.say("in a record of its own, and in the same segment")
        peer.answer_close()

    def scenario(run: Run) -> None:
        ws = run.open()
        assert ws.expect(lambda _: True) is not None
        ws.close()

    tls = (certificates.of_server(), tls_context(str(certificates.authority)))
    holds(both(script, scenario, tls=tls).record, messages_received=1)


def test_over_tls_an_end_without_a_close_frame_is_an_eof(certificates: Certificates) -> None:
    tls = (certificates.of_server(), tls_context(str(certificates.authority)))
    holds(both(lambda peer: peer.accept(), just_open, tls=tls).record, detail="eof", code=1006)


# -------------------------------------------------------------------------------------------- hostile peers


class _BrokenInbox(Inbox):
    def put(self, message: Message, stray: bool = False) -> bool:
        raise RuntimeError(f"wsoak's own mistake with {message}, {stray}")


def test_a_message_that_breaks_us_ends_the_connection_and_leaves_it_not_deaf(
    opener: OpenerOf, capfd: pytest.CaptureFixture[str]
) -> None:
    """gevent stops the watcher of a callback that raises: nothing more would ever be read."""
    with listening(lambda peer: peer.accept().hear_then_say("x")) as listener:
        run = Run(opener, listener.url, Settings())
        ws = run.open()

        ws._inbox = _BrokenInbox(run.client, run.recorder.series("s"))
        ws.send("go")
        until(lambda: ws.ended)
        facts = run.stop()
    holds(facts.record, initiator="client", sent_code=1011)
    assert "wsoak's own mistake" in capfd.readouterr().err


HOSTILE_IDS = ["[1]", "{}", "1e999", '"\\ud800"', "true", "null", "[[[]]]", "1" * 5000]


@pytest.mark.parametrize("hostile", HOSTILE_IDS)
def test_an_answer_with_a_hostile_id_answers_nothing_and_breaks_nothing(hostile: str) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        asked = peer.hear_text()
        # while a request is in flight: an id is looked up only then
        peer.say(f'{{"reply_to": {hostile}}}')
        peer.say(answer_for(asked))
        peer.answer_close()

    def scenario(run: Run) -> None:
        ws = run.open()
        assert ws.request({"id": "mine"}, reply_to="mine") is not None
        ws.close()

    holds(both(script, scenario).record, messages_received=2, clean=True)


def test_a_flood_on_one_socket_does_not_starve_another(opener: OpenerOf) -> None:
    over = gevent.event.Event()

    def script(peer: Peer) -> None:
        peer.accept()
        if peer.path == "/flood":
            chunk = frame(BINARY, b"x" * 60000) * 20
            try:
                while not over.is_set():
                    peer.send(chunk)
            except ConnectionError:
                return
        else:
            peer.echo()

    with listening(script) as listener:
        run = Run(opener, listener.url, Settings(close_timeout_s=0.2))
        flood = run.open("/flood", "flood")
        flood.subscribe(lambda _: None)
        ws = run.open("/calm", "calm", reply_id=lambda m: m.data)
        for number in range(20):
            assert ws.request(str(number), str(number)) is not None
        over.set()
        run.client.stop(2)


def test_pongs_are_not_kept_without_bound_for_a_peer_that_does_not_read(opener: OpenerOf) -> None:
    held: list[int] = []

    def script(peer: Peer) -> None:
        peer.accept()
        chunk = frame(PING, b"x" * 125) * 500
        for _ in range(200):
            peer.send(chunk)
        peer.reset()

    with listening(script, buffer_bytes=4096) as listener:
        run = Run(opener, listener.url, Settings())
        ws = run.open()

        def look() -> bool:
            if ws._link is not None:
                held.append(ws._link.unsent_bytes)
            return ws.ended

        until(look)
        run.stop()
    assert max(held) < 2 * HIGH_WATER_BYTES


def test_linger_ends_tcp_when_the_server_does_not(opener: OpenerOf) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.answer_close()
        peer.wait_for_end()

    with listening(script) as listener:
        run = Run(opener, listener.url, Settings())
        run.open().close()
        assert len(run.client.lingering) == 1
        until(lambda: not run.client.lingering)
        holds(run.stop().record, clean=True)


def _hostile(seed: int) -> tuple[bytes, bytes]:
    """Bytes in place of the head's end, and bytes for frames: random, and frames that are nearly right."""
    source = random.Random(seed)
    pieces = []
    for _ in range(source.randrange(1, 8)):
        opcode = source.choice([0x81, 0x82, 0x01, 0x02, 0x80, 0x00, 0x88, 0x89, 0x8A, source.randrange(256)])
        payload = source.randbytes(source.choice([0, 1, 2, 3, 125, 126, 300]))
        size = source.choice([len(payload), len(payload), len(payload), source.randrange(128)])
        pieces.append(bytes([opcode, size & 0xFF]) + payload)
    return source.choice([b"", b"\r\n", source.randbytes(20)]), b"".join(pieces)


@pytest.mark.parametrize("seed", range(60))
def test_no_bytes_whatever_break_a_client(
    opener: OpenerOf, seed: int, capfd: pytest.CaptureFixture[str]
) -> None:
    in_head, frames = _hostile(seed)

    def script(peer: Peer) -> None:
        head = peer.upgrade()
        peer.send(head[:-2] + in_head + b"\r\n" if seed % 4 == 0 else head)
        cut = len(frames) // 2
        peer.send(frames[:cut])
        gevent.sleep(0)
        peer.send(frames[cut:])

    with listening(script, may_fail=True) as listener:
        run = Run(opener, listener.url, SHORT)
        ws = run.open()
        until(lambda: ws.ended)
        assert len(run.stop().records) == 1
    assert "Traceback" not in capfd.readouterr().err
