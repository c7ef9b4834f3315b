"""What a refusal says besides its status: headers, redirects, bodies; and HTTP where frames should be."""

from __future__ import annotations

import gzip
import zlib

import pytest

from tests.wire.harness import Peer, Run, Script, both, holds, until
from wsoak.wire.bodies import readable
from wsoak.wire.connection import Connection
from wsoak.wire.endpoint import Endpoint
from wsoak.wire.frames import VIOLATION, FrameDecoder
from wsoak.wire.headers import Headers, record_text
from wsoak.wire.redirect import meaning


def answering(*lines: str, body: bytes = b"") -> Script:
    """A server that gives this answer."""

    def script(peer: Peer) -> None:
        peer.read_head()
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
        peer.send(head.encode() + body)

    return script


REFUSAL = (
    "HTTP/1.1 302 Found",
    "Location: https://user:secret@login.example/a?token=secret&next=/ws#secret",
    "Retry-After: 5",
    "WWW-Authenticate: Negotiate c2VjcmV0c2VjcmV0c2VjcmV0",
    "Set-Cookie: session=secret; Path=/; Secure",
    "X-Api-Key: secret",
)


def test_the_headers_of_a_refusal_are_kept_and_no_secret_is() -> None:
    seen: list[Connection] = []
    facts = both(answering(*REFUSAL), lambda run: seen.append(run.open()))

    holds(
        facts.record,
        outcome="rejected-302",
        error="rejected-302: redirected to what looks like a log-in page",
        headers="Location: https://***@login.example/a?token=***&next=***\n"
        "Retry-After: 5\n"
        "WWW-Authenticate: Negotiate ***\n"
        "Set-Cookie: session=***; Path=/; Secure",
    )
    assert "secret" not in repr(facts.record)
    for ws in seen:
        assert ws.headers["RETRY-after"] == "5"
        assert "x-api-key" in ws.headers
        assert "secret" not in repr(ws.headers)


def test_the_headers_of_a_101_can_be_read_and_are_in_no_record() -> None:
    seen: list[Connection] = []

    def script(peer: Peer) -> None:
        peer.accept(headers=b"Set-Cookie: node=7\r\nset-cookie: b=2; Path=/\r\nX-Node: n1\r\n")
        peer.answer_close()

    def scenario(run: Run) -> None:
        with run.open() as ws:
            seen.append(ws)

    facts = both(script, scenario)

    holds(facts.record, outcome="open", headers="")
    for ws in seen:
        assert ws.headers.all("Set-Cookie") == ["node=7", "b=2; Path=/"]
        assert ws.headers.get("x-node") == "n1"
        assert ws.headers.get("x-other") is None


HERE = Endpoint("ws", "app.example", 80)
REDIRECTS = [
    (HERE, "/ws", "https://app.example/ws", "to TLS"),
    (HERE, "/ws", "https://APP.example:443/ws/", "to TLS"),
    (HERE, "/ws", "wss://app.example/ws", "to TLS"),
    (Endpoint("wss", "app.example", 443), "/ws", "http://app.example/ws", "to plain text, without TLS"),
    (HERE, "/ws?token=1", "/ws/?token=1", "to the path with a last slash"),
    (HERE, "/ws", "ws/", "to the path with a last slash"),
    (Endpoint("ws", "app.example", 8080), "/ws", "http://app.example/ws/", "to the path with a last slash"),
    (HERE, "/login/ws", "/oauth2/start?rd=/x", "to what looks like a log-in page"),
    (HERE, "/ws/", "http://app.example/ws", "to the path without its last slash"),
    (HERE, "/ws", "/accounts/login/?next=/ws", "to what looks like a log-in page"),
    (
        HERE,
        "/ws",
        "https://id.example/realms/a/protocol/openid-connect/auth",
        "to what looks like a log-in page",
    ),
    (HERE, "/ws", "https://id.example/x?client_id=1&redirect_uri=y", "to what looks like a log-in page"),
    (HERE, "/auth/ws", "/auth/socket", "to another path"),
    (HERE, "/ws", "https://cdn.example/ws", "to another host"),
    (HERE, "/ws", "http://app.example:8080/ws", "to another port"),
    (HERE, "/ws", "/socket", "to another path"),
    (HERE, "/ws", "/ws", "to the same place"),
    (HERE, "/ws", "http://[", "to something that is no URL"),
    (HERE, "/ws", "javascript:alert(1)", "to something that is no URL of this kind"),
    (HERE, "/ws", None, "without saying where to"),
]


@pytest.mark.parametrize(("endpoint", "resource", "location", "expected"), REDIRECTS)
def test_a_redirect_is_named_with_what_it_means(
    endpoint: Endpoint, resource: str, location: str | None, expected: str
) -> None:
    assert meaning(location, endpoint, resource) == f"redirected {expected}"


RAW_DEFLATE = zlib.compress(b"full")[2:-4]
BODIES = {
    "plain": ({}, b"full", "full"),
    "gzip": ({"content-encoding": "gzip"}, gzip.compress(b"full"), "full"),
    "gzip, cut": ({"content-encoding": "gzip"}, gzip.compress(b"over " * 99)[:40], "over over"),
    "gzip that grows": ({"content-encoding": "gzip"}, gzip.compress(b"x" * 999_999), "x" * 2048),
    "deflate": ({"content-encoding": "deflate"}, zlib.compress(b"full"), "full"),
    "deflate without its frame": ({"content-encoding": "Deflate"}, RAW_DEFLATE, "full"),
    "twice": ({"content-encoding": "deflate, gzip"}, gzip.compress(zlib.compress(b"full")), "full"),
    "said to be gzip": ({"content-encoding": "gzip"}, b"full", "(4 bytes of gzip)"),
    "brotli": ({"content-encoding": "br"}, b"\x0b\x01\x80full\x03", "(8 bytes of br)"),
    "Latin-1": ({"content-type": "text/html; charset=ISO-8859-1"}, "zu groß".encode("latin-1"), "zu groß"),
    "Shift JIS": ({"content-type": 'text/html; charset="shift_jis"'}, "満員".encode("shift_jis"), "満員"),
    "UTF-16 by its mark": ({}, "voll".encode("utf-16"), "voll"),
    "UTF-8, cut in a character": ({}, "groß".encode()[:-1], "gro"),
    "an unknown charset": ({"content-type": "text/html; charset=klingon"}, b"full", "full"),
    "a codec that is no charset": ({"content-type": "text/html; charset=zlib"}, b"full", "full"),
    "a charset with a NUL": ({"content-type": "text/html; charset=a\0b"}, b"full", "full"),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_body_can_be_read_whatever_it_was_sent_in(case: str) -> None:
    headers, body, expected = BODIES[case]
    text = readable(body, Headers(headers.items()), 2048)
    assert text.startswith(expected) and len(text) <= 2048


def test_a_packed_body_is_in_the_record_as_text() -> None:
    packed = gzip.compress(b"over capacity")
    facts = both(
        answering("HTTP/1.1 503 Full", "Content-Encoding: gzip", body=packed), lambda run: run.open()
    )
    holds(facts.record, outcome="rejected-503", body="over capacity")


def test_long_and_many_headers_are_bounded() -> None:
    text = record_text([("location", "/" + "x" * 9999), *[("set-cookie", f"a{n}=b") for n in range(99)]])
    assert len(text) < 1024


@pytest.mark.parametrize("before", [b"", b"\x81\x02hi"])
def test_http_on_an_upgraded_socket_is_named(before: bytes) -> None:
    events = FrameDecoder().feed(before + b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    kind, violation = events[-1]
    assert kind == VIOLATION
    assert getattr(violation, "text", None) == "HTTP came instead of a frame: 400"


def test_http_after_the_101_is_a_protocol_violation_that_says_so() -> None:
    def script(peer: Peer) -> None:
        peer.accept(
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 60\r\nConnection: close\r\n\r\n" + b"x" * 60
        )
        peer.wait_for_end()

    def scenario(run: Run) -> None:
        ws = run.open()
        until(lambda: ws.ended)

    facts = both(script, scenario)
    holds(facts.record, detail="protocol-violation", reason="HTTP came instead of a frame: 400")
