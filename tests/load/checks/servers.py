"""Servers of the checks' tests: what is answered at which path, and over HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

from tests.wire.harness import Listener, Peer, listening

Play = Callable[[Peer], object]


def status(line: str, body: str = "", *, whatever_version: bool = False) -> Play:
    """Answers a handshake with a status; as RFC 6455 section 4.2.2 wants it, after a look at the version."""

    def play(peer: Peer) -> None:
        versioned = b"Sec-WebSocket-Version: 13" in peer.read_head() or b"Upgrade" not in peer.read_head()
        first = line if versioned or whatever_version else "426 Upgrade Required"
        text = body.replace("PATH", peer.path.partition("?")[0]).encode()
        length = f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n"
        peer.send(f"HTTP/1.1 {first}\r\n{length}".encode() + text)

    return play


def of_origin(allowed: str, refusal: str) -> Play:
    """Opens for pages of an origin, by how that begins; all others get a status."""

    def play(peer: Peer) -> None:
        (echo if f"Origin: {allowed}".encode() in peer.read_head() else status(refusal))(peer)

    return play


def echo(peer: Peer) -> None:
    """Opens, and sends back what comes."""
    if b"Sec-WebSocket-Version: 13" not in peer.read_head():
        status("426 Upgrade Required")(peer)
    else:
        peer.accept().echo()


def json(text: str, line: str = "200 OK") -> Play:
    """Answers one HTTP request."""
    return status(line, text)


@contextlib.contextmanager
def routed(routes: Mapping[str, Play], otherwise: Play) -> Iterator[Listener]:
    """A server with these paths; its clients may go whenever they like."""

    def play(peer: Peer) -> None:
        with contextlib.suppress(EOFError, ConnectionError):
            routes.get(peer.path.partition("?")[0], otherwise)(peer)

    with listening(play, may_fail=True) as listener:
        yield listener
