"""Where the two clients differ, and only there: what websocket-client cannot do, as its module says."""

from __future__ import annotations

import pytest
from websocket._handshake import CookieJar

from tests.wire.harness import (
    OPENERS,
    OpenerOf,
    Peer,
    Run,
    Script,
    close_frame,
    frame,
    holds,
    listening,
    until,
)
from wsoak.wire.client import FastOpener, Settings
from wsoak.wire.dial import Request
from wsoak.wire.frames import TEXT, encode_frame
from wsoak.wire.reference import ReferenceOpener


def answering(change: tuple[bytes, bytes]) -> Script:
    """A server whose 101 has something replaced; it closes at once."""

    def script(peer: Peer) -> None:
        head = peer.upgrade()
        assert change[0] in head
        peer.send(head.replace(*change) + close_frame(1000))
        peer.wait_for_end()

    return script


def swapped_accept_key(peer: Peer) -> None:
    """A server that cannot spell."""
    name = b"Sec-WebSocket-Accept: "
    before, _, rest = peer.upgrade().partition(name)
    key, _, after = rest.partition(b"\r\n")
    peer.send(before + name + key.swapcase() + b"\r\n" + after + close_frame(1000))
    peer.wait_for_end()


OPENINGS: dict[str, tuple[Script, str, str]] = {
    "an accept key in another case": (swapped_accept_key, "bad-upgrade", "open"),
    "a header with two values": (
        answering((b"Upgrade: w", b"Upgrade: h2c\r\nUpgrade: w")),
        "bad-upgrade",
        "open",
    ),
    "HTTP of another version": (answering((b"HTTP/1.1", b"HTTP/1.0")), "bad-upgrade", "open"),
    "a head that is not UTF-8": (answering((b"\r\n\r\n", b"\r\nX: \xff\r\n\r\n")), "open", "bad-upgrade"),
    "an interim response": (
        answering((b"HTTP", b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP")),
        "open",
        "rejected-103",
    ),
}


@pytest.mark.parametrize("case", OPENINGS)
def test_openings_that_only_one_of_the_clients_takes(case: str) -> None:
    script, fast, reference = OPENINGS[case]
    assert (_outcome(FastOpener, script), _outcome(ReferenceOpener, script)) == (fast, reference)


def _outcome(opener: OpenerOf, script: Script) -> str:
    with listening(script) as listener:
        run = Run(opener, listener.url, Settings())
        outcome = run.open().outcome
        run.stop()
    return outcome


FRAMES = {
    "a masked frame": encode_frame(TEXT, "hello", b"mask"),
    "a length not in its shortest form": b"\x81\x7e\x00\x05hello",
}


@pytest.mark.parametrize("case", FRAMES)
def test_frames_that_only_websocket_client_takes(case: str) -> None:
    def script(peer: Peer) -> None:
        peer.accept(FRAMES[case] + close_frame(1000))
        peer.hear_close()

    received = {}
    for name, opener in OPENERS.items():
        with listening(script) as listener:
            run = Run(opener, listener.url, Settings())
            ws = run.open()
            until(lambda ws=ws: ws.ended)  # type: ignore[misc]
            received[name] = run.stop().record["messages_received"]
    assert received == {"fast": 0, "reference": 1}


@pytest.mark.parametrize("path", ["/a;b", "/a/b;c=1?d=2"])
def test_a_path_that_websocket_client_would_change_is_refused(path: str) -> None:
    with listening(Peer.wait_for_end) as listener:
        run = Run(ReferenceOpener, listener.url, Settings())
        with pytest.raises(ValueError, match="semicolons"):
            run.open(path)
        assert run.stop().records == []


def test_no_cookie_of_one_socket_is_sent_by_another() -> None:
    heads: list[bytes] = []

    def script(peer: Peer) -> None:
        heads.append(peer.read_head())
        peer.accept(close_frame(1000), b"Set-Cookie: session=secret; Domain=127.0.0.1\r\n")
        peer.hear_close()

    with listening(script) as listener:
        run = Run(ReferenceOpener, listener.url, Settings())
        run.open()
        assert CookieJar.jar, "websocket-client keeps no cookies any more: the emptying of its jar can go"
        run.open(request=Request("/", [("Cookie", "mine=1")]))
        run.stop()
    assert b"session" not in heads[1]
    assert b"Cookie: mine=1\r\n" in heads[1]


@pytest.mark.parametrize(
    "cookie", [b"a[]=1; Domain=x", b"\x01=2", b'"', b"a=\x7f;;;=", b"expires=1; a:b=2; Domain=y"]
)
def test_a_hostile_cookie_ends_in_an_outcome(opener: OpenerOf, cookie: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.accept(close_frame(1000), b"Set-Cookie: " + cookie + b"\r\n")
        peer.wait_for_end()

    with listening(script) as listener:
        run = Run(opener, listener.url, Settings())
        assert run.open().outcome in ("open", "bad-upgrade")
        run.stop()


def test_a_frame_that_comes_byte_by_byte_is_put_together(opener: OpenerOf) -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        for byte in frame(TEXT, "x" * 300) + frame(TEXT, "y"):
            peer.send(bytes([byte]))
        peer.answer_close()

    with listening(script) as listener:
        run = Run(opener, listener.url, Settings())
        ws = run.open()
        until(lambda: ws.messages_received == 2)
        assert ws.is_open
        ws.close()
        holds(run.stop().record, bytes_received=301, clean=True)
