"""The opening handshake, by section of RFC 6455, and against a server that this project did not write."""

import base64
import re
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.server import ServerProtocol

from wsoak.wire.handshake import (
    BAD_UPGRADE,
    HEAD_TOO_LARGE,
    OPEN,
    HandshakeResult,
    HeadParser,
    LastUpgrade,
    accept_for,
    build_request,
    new_key,
)

# RFC 6455, Section 1.3.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
OTHER_KEY = "x3JJHMbDL1EzLkh9GBhXDw=="
OTHER_ACCEPT = "HSmrc0sMlYUkAGmm5OPpG2HaGWk="
GOOD = [
    "HTTP/1.1 101 Switching Protocols",
    "Upgrade: websocket",
    "Connection: Upgrade",
    f"Sec-WebSocket-Accept: {ACCEPT}",
]


def head(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


def changed(old: str, *new: str) -> bytes:
    """The good answer with the line that begins with `old` replaced by the lines `new`."""
    at = next(index for index, line in enumerate(GOOD) if line.startswith(old))
    return head(*GOOD[:at], *new, *GOOD[at + 1 :])


def with_lines(*lines: str) -> bytes:
    return head(*GOOD, *lines)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(borders)]


def fed(parser: HeadParser, pieces: Iterable[bytes]) -> tuple[HandshakeResult | None, bytes]:
    """The result, and the pieces that were not read because it was there."""
    rest = iter(pieces)
    for piece in rest:
        result = parser.feed(piece)
        if result is not None:
            return result, b"".join(rest)
    return None, b""


def answered(
    data: bytes, subprotocols: tuple[str, ...] = (), head_limit: int = 65536, body_limit: int = 2048
) -> HandshakeResult | None:
    """What the parser makes of `data`: the same whole, byte by byte, and cut in two at many places."""

    # what it has read before, with another key, makes no difference
    last = LastUpgrade()
    before = data.replace(ACCEPT.encode(), OTHER_ACCEPT.encode())
    fed(HeadParser(OTHER_KEY, subprotocols, head_limit, body_limit, last), [before])

    def read(pieces: Iterable[bytes], last: LastUpgrade | None = None) -> HandshakeResult | None:
        result, unread = fed(HeadParser(KEY, subprotocols, head_limit, body_limit, last), pieces)
        if result is not None and result.outcome == OPEN:
            return result._replace(tail=result.tail + unread)
        return result

    whole = read([data])
    assert read([data], last) == whole
    assert read(data[at : at + 1] for at in range(len(data))) == whole
    for place in range(1, len(data), 1 + len(data) // 400):
        assert read([data[:place], data[place:]]) == whole
    return whole


# ------------------------------------------------------------------------------------------ keys (4.1, 4.2.2)


def test_the_accept_of_the_rfc_is_computed() -> None:
    assert accept_for(KEY) == ACCEPT


def test_keys_are_sixteen_fresh_bytes() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(len(base64.b64decode(key, validate=True)) == 16 for key in keys)


# ---------------------------------------------------------------------------------------- the request (4.1)


def test_the_request_is_that_of_the_rfc() -> None:
    request = build_request(
        "server.example.com", "/chat?a=b", KEY, (), ("chat", "superchat"), "http://example.com"
    )
    assert request == (
        b"GET /chat?a=b HTTP/1.1\r\n"
        b"Host: server.example.com\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: chat, superchat\r\n"
        b"Origin: http://example.com\r\n"
        b"User-Agent: wsoak\r\n"
        b"\r\n"
    )


@pytest.mark.parametrize("name", ["Host", "host", "Origin", "ORIGIN", "User-Agent", "user-agent"])
def test_a_header_of_the_user_takes_the_place_of_ours(name: str) -> None:
    request = build_request("ours", "/", KEY, [(name, "theirs")], origin="ours").decode()
    lines = request.split("\r\n")
    assert [line for line in lines if line.lower().startswith(f"{name.lower()}:")] == [f"{name}: theirs"]


def test_headers_keep_their_order_and_may_repeat() -> None:
    request = build_request("h", "/", KEY, [("Cookie", "a=1"), ("X-e", "ü"), ("Cookie", "b=2")])
    assert request.endswith("Cookie: a=1\r\nX-e: ü\r\nCookie: b=2\r\n\r\n".encode())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        *(
            ({"headers": [(name, "x")]}, f"the header {name} belongs to the handshake and cannot be replaced")
            for name in ("Upgrade", "connection", "Sec-WebSocket-Key", "SEC-WEBSOCKET-VERSION")
        ),
        (
            {"headers": [("Sec-WebSocket-Protocol", "chat")]},
            "give subprotocols instead of a Sec-WebSocket-Protocol header",
        ),
        (
            {"headers": [("sec-websocket-extensions", "permessage-deflate")]},
            "extensions are not spoken: Sec-WebSocket-Extensions may not be sent",
        ),
        *(
            ({"headers": [(name, "x")]}, "a header's name must be a token of RFC 9110")
            for name in ("", "a b", "a:", "a\r\nb", "a\n", "é", "a\0")
        ),
        *(
            ({"headers": [("X-A", f"secret{character}x: y")]}, "the value of X-A holds a line break or NUL")
            for character in ("\r", "\n", "\0", "\r\n")
        ),
        ({"headers": [("X", "secret\ud800")]}, "a header holds half a surrogate pair"),
        ({"host": "h\r\nX: y"}, "the value of Host holds a line break or NUL"),
        ({"key": "secret\r\nX: y"}, "the value of Sec-WebSocket-Key holds a line break or NUL"),
        ({"origin": "http://secret\n"}, "the value of Origin holds a line break or NUL"),
        *(
            (
                {"resource": resource},
                "the path holds a control character or a #: in a path, a # must be written %23",
            )
            for resource in ("", "secret", "/a b", "/\r\nX: y", "/a\n", "/\0", "/é", "/#b", "ws://h", "/\x7f")
        ),
        *(
            ({"subprotocols": [name]}, "a subprotocol must be a token of RFC 9110")
            for name in ("", "a b", "a,b", "a\r\n")
        ),
        ({"subprotocols": ["a", "b", "a"]}, "a subprotocol is asked for twice"),
    ],
)  # fmt: skip
def test_what_would_break_the_request_is_refused_in_one_sentence_without_values(
    arguments: dict[str, object], sentence: str
) -> None:
    arguments = {"host": "h", "resource": "/", "key": KEY} | arguments
    host, resource, key = (arguments.pop(name) for name in ("host", "resource", "key"))
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$") as refusal:
        build_request(host, resource, key, **arguments)  # type: ignore[arg-type]
    assert "secret" not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None


@settings(deadline=None, max_examples=200)
@given(
    st.text(max_size=20),
    st.text(max_size=20),
    st.lists(st.tuples(st.text(max_size=10), st.text(max_size=10)), max_size=3),
    st.lists(st.text(max_size=10), max_size=2),
    st.none() | st.text(max_size=10),
)
def test_no_argument_smuggles_a_line_into_the_request(
    host: str, path: str, headers: list[tuple[str, str]], subprotocols: list[str], origin: str | None
) -> None:
    try:
        request = build_request(host, "/" + path, KEY, headers, subprotocols, origin)
    except ValueError:
        return
    lines = request.split(b"\r\n")
    names = {name.lower() for name, _ in headers}
    ours = 5 + ("host" not in names) + ("user-agent" not in names) + bool(subprotocols)
    ours += origin is not None and "origin" not in names
    assert len(lines) == ours + len(headers) + 2
    assert lines[-2:] == [b"", b""]
    assert b"\r" not in b"".join(lines) and b"\n" not in b"".join(lines) and b"\0" not in request


# ------------------------------------------------------------------------------------- the answer that opens


def test_the_answer_of_the_rfc_opens_and_the_tail_is_kept() -> None:
    result = answered(head(*GOOD) + b"\x81\x02hi")
    assert result == HandshakeResult(
        outcome="open",
        status=101,
        reason_phrase="Switching Protocols",
        headers=(("upgrade", "websocket"), ("connection", "Upgrade")),
        subprotocol=None,
        body=b"",
        tail=b"\x81\x02hi",
        error="",
    )


def outcome_of(data: bytes) -> str | None:
    result = answered(data)
    return result.outcome if result is not None else None


@pytest.mark.parametrize("line", GOOD[1:])
def test_a_header_that_is_there_twice_with_the_same_value_costs_nothing(line: str) -> None:
    assert outcome_of(head(*GOOD, line)) == "open"
    name, _, value = line.partition(": ")
    others = [other for other in GOOD if other != line]
    assert outcome_of(head(*others, f"{name}: {value}, {value}")) == "open"


def test_an_accept_that_is_there_twice_is_looked_at_twice() -> None:
    last = LastUpgrade()
    fed(
        HeadParser(OTHER_KEY, last=last),
        [head(*GOOD, GOOD[3]).replace(ACCEPT.encode(), OTHER_ACCEPT.encode())],
    )
    forged = head(*GOOD, f"Sec-WebSocket-Accept: {OTHER_ACCEPT}")
    result, _ = fed(HeadParser(KEY, last=last), [forged])
    assert result is not None and result.outcome == "bad-upgrade"


def test_an_upgrade_that_was_read_before_is_known_by_its_bytes() -> None:
    last = LastUpgrade()
    for asked in (("chat",), ()):
        lines = GOOD[1:] + [f"Sec-WebSocket-Protocol: {name}" for name in asked]
        before = head(GOOD[0], *lines).replace(ACCEPT.encode(), OTHER_ACCEPT.encode())
        assert last.again(before, OTHER_ACCEPT, asked, len(before)) is None
        fed(HeadParser(OTHER_KEY, asked, last=last), [before])
        data = head(GOOD[0], *lines) + b"tail"
        known = last.again(data, ACCEPT, asked, len(before))
        assert known == fed(HeadParser(KEY, asked), [data])[0]
        assert known is not None and (known.outcome, known.tail) == (OPEN, b"tail")
        # what is not the same is looked at anew
        assert last.again(data, OTHER_ACCEPT, asked, len(before)) is None
        assert last.again(data, ACCEPT, ("other",), len(before)) is None
        assert last.again(data, ACCEPT, asked, len(before) - 1) is None
        assert last.again(data[: len(before) - 1], ACCEPT, asked, len(before)) is None


def test_a_result_cannot_be_changed() -> None:
    result = answered(head(*GOOD))
    assert result is not None
    with pytest.raises(AttributeError):
        result.outcome = "bad-upgrade"  # type: ignore[misc]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(changed("HTTP", "HTTP/1.1 101"), id="no reason and no space"),
        pytest.param(changed("HTTP", "HTTP/1.1 101 "), id="no reason"),
        pytest.param(changed("HTTP", "HTTP/1.1 101 Gr\xfc\xdfe\tan alle"), id="a reason in Latin-1"),
        pytest.param(changed("Upgrade", "UPGRADE: WebSocket"), id="another case"),
        pytest.param(changed("Upgrade", "Upgrade:\t websocket \t"), id="white space around a value"),
        pytest.param(changed("Upgrade", "Upgrade:websocket"), id="no white space"),
        pytest.param(changed("Connection", "connection: keep-alive , UPGRADE"), id="a list of options"),
        pytest.param(
            changed("Connection", "Connection: keep-alive", "Connection: upgrade"), id="two Connections"
        ),
        pytest.param(
            with_lines("Set-Cookie: a=1", "Set-Cookie: b=2", "X-Empty:", "Server: \xe9"), id="more fields"
        ),
        pytest.param(with_lines("Content-Length: 0"), id="a length that means nothing here"),
        pytest.param(head("HTTP/1.1 100 Continue") + head(*GOOD), id="after 100"),
        pytest.param(head("HTTP/1.1 103 Early Hints", "Link: </a>") * 2 + head(*GOOD), id="after 103 twice"),
        pytest.param(head("HTTP/1.1 100 Continue") * 10 + head(*GOOD), id="after ten interim responses"),
        pytest.param(b"HTTP/1.1 100 Continue\n\n" + head(*GOOD), id="after a sloppy interim response"),
    ],
)
def test_what_the_rfc_allows_opens(data: bytes) -> None:
    for tail in (b"", b"\x88\x00", b"\r\n\r\n", data):
        result = answered(data + tail)
        assert result is not None
        assert (result.outcome, result.status, result.error, result.tail) == ("open", 101, "", tail)


def test_a_subprotocol_that_was_asked_for_is_chosen() -> None:
    result = answered(with_lines("Sec-WebSocket-Protocol: v2"), ("v1", "v2"))
    assert result is not None
    assert (result.outcome, result.subprotocol) == ("open", "v2")


def test_a_server_may_choose_no_subprotocol() -> None:
    result = answered(head(*GOOD), ("v1", "v2"))
    assert result is not None
    assert (result.outcome, result.subprotocol) == ("open", None)


# -------------------------------------------------------------------------- the 101 that breaks RFC 6455, 4.1

NOT_WELL_FORMED = "the response head is not well-formed HTTP/1.1"
UNASKED_PROTOCOL = "the subprotocol was not asked for"
MISMATCH = "Sec-WebSocket-Accept does not match"
BAD_UPGRADES = {
    "no Upgrade": (changed("Upgrade"), "Upgrade is missing"),
    "another Upgrade": (changed("Upgrade", "Upgrade: h2c"), "Upgrade is not websocket"),
    "two upgrades": (changed("Upgrade", "Upgrade: websocket, h2c"), "Upgrade is not websocket"),
    "Upgrade with a version": (changed("Upgrade", "Upgrade: websocket/13"), "Upgrade is not websocket"),
    "an empty Upgrade": (changed("Upgrade", "Upgrade:"), "Upgrade is not websocket"),
    "no Connection": (changed("Connection"), "Connection is missing"),
    "another Connection": (
        changed("Connection", "Connection: keep-alive"),
        "Connection does not say upgrade",
    ),
    "a longer option": (changed("Connection", "Connection: upgraded"), "Connection does not say upgrade"),
    "no accept": (changed("Sec-"), "Sec-WebSocket-Accept is missing"),
    "an empty accept": (changed("Sec-", "Sec-WebSocket-Accept:"), MISMATCH),
    "accept in another case": (changed("Sec-", f"Sec-WebSocket-Accept: {ACCEPT.swapcase()}"), MISMATCH),
    "accept in lower case": (changed("Sec-", f"Sec-WebSocket-Accept: {ACCEPT.lower()}"), MISMATCH),
    "accept and more": (changed("Sec-", f"Sec-WebSocket-Accept: {ACCEPT}x"), MISMATCH),
    "accept cut": (changed("Sec-", f"Sec-WebSocket-Accept: {ACCEPT[:-1]}"), MISMATCH),
    "accept quoted": (changed("Sec-", f'Sec-WebSocket-Accept: "{ACCEPT}"'), MISMATCH),
    "the key for accept": (changed("Sec-", f"Sec-WebSocket-Accept: {KEY}"), MISMATCH),
    "another accept behind": (with_lines("Sec-WebSocket-Accept: other"), MISMATCH),
    "another accept before": (changed("Upgrade", "Sec-WebSocket-Accept: other", GOOD[1]), MISMATCH),
    "an extension": (
        with_lines("Sec-WebSocket-Extensions: permessage-deflate"),
        "an extension was not asked for",
    ),
    "no extension in words": (with_lines("Sec-WebSocket-Extensions:"), "an extension was not asked for"),
    "a subprotocol": (with_lines("Sec-WebSocket-Protocol: v3"), UNASKED_PROTOCOL),
    "a subprotocol in another case": (with_lines("Sec-WebSocket-Protocol: V1"), UNASKED_PROTOCOL),
    "two subprotocols": (with_lines("Sec-WebSocket-Protocol: v1, v2"), UNASKED_PROTOCOL),
    "two of its fields": (
        with_lines("Sec-WebSocket-Protocol: v1", "Sec-WebSocket-Protocol: v2"),
        UNASKED_PROTOCOL,
    ),
    "an empty subprotocol": (with_lines("Sec-WebSocket-Protocol:"), UNASKED_PROTOCOL),
    "a folded field": (with_lines("X-Long: a", " b"), NOT_WELL_FORMED),
    "a folded accept": (changed("Sec-", "Sec-WebSocket-Accept:", f" {ACCEPT}"), NOT_WELL_FORMED),
    "a line without a colon": (with_lines("garbage"), NOT_WELL_FORMED),
    "a space before the colon": (with_lines("X-Space : a"), NOT_WELL_FORMED),
    "an empty name": (with_lines(": a"), NOT_WELL_FORMED),
    "a name that is no token": (with_lines("X(Y): a"), NOT_WELL_FORMED),
    "a NUL in a value": (with_lines("X: a\0b"), NOT_WELL_FORMED),
    "a NUL in a name": (with_lines("X\0: a"), NOT_WELL_FORMED),
    "a NUL in the reason": (changed("HTTP", "HTTP/1.1 101 a\0"), NOT_WELL_FORMED),
    "a bare carriage return": (with_lines("X: a\rb"), NOT_WELL_FORMED),
    "a bare line feed": (with_lines("X: a\nY: b"), NOT_WELL_FORMED),
    "line feeds only": (head(*GOOD).replace(b"\r\n", b"\n"), NOT_WELL_FORMED),
    "a DEL": (with_lines("X: \x7f"), NOT_WELL_FORMED),
    "HTTP/1.0": (changed("HTTP", "HTTP/1.0 101 Switching Protocols"), NOT_WELL_FORMED),
    "two spaces": (changed("HTTP", "HTTP/1.1  101 Switching Protocols"), NOT_WELL_FORMED),
    "a long line of blanks": (with_lines("X:" + " " * 5000 + "\0"), NOT_WELL_FORMED),
    "many lines and then garbage": (with_lines(*["X: y"] * 500, "garbage"), NOT_WELL_FORMED),
}


@pytest.mark.parametrize(("data", "fault"), BAD_UPGRADES.values(), ids=BAD_UPGRADES)
def test_a_101_that_breaks_the_rfc_does_not_open(data: bytes, fault: str) -> None:
    for tail in (b"", b"\x81\x02hi"):
        result = answered(data + tail, ("v1", "v2"))
        assert result is not None
        assert (result.outcome, result.status, result.error) == (BAD_UPGRADE, 101, f"bad-upgrade: {fault}")
        assert (result.subprotocol, result.body, result.tail) == (None, b"", b"")


def test_a_subprotocol_nobody_asked_for_does_not_open() -> None:
    result = answered(with_lines("Sec-WebSocket-Protocol: v1"))
    assert result is not None
    assert result.error == "bad-upgrade: the subprotocol was not asked for"


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "bad-upgrade: the answer is not HTTP/1"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "bad-upgrade: the server answered in TLS"),
        (b"\x81\x02hi", "bad-upgrade: the answer is not HTTP/1"),
        (b"http/1.1 101 Switching Protocols\r\n\r\n", "bad-upgrade: the answer is not HTTP/1"),
        (b"\r\n" + head(*GOOD), "bad-upgrade: the answer is not HTTP/1"),
        (head("HTTP/2 101 Switching Protocols"), "bad-upgrade: the answer is not HTTP/1"),
        (head("HTTP/1.1 01 No"), "bad-upgrade: the answer is not HTTP/1"),
        (head("HTTP/1.1 1011 No"), "bad-upgrade: the answer is not HTTP/1"),
        (head("HTTP/1.1 099 No"), "bad-upgrade: the answer is not HTTP/1"),
        (head("HTTP/1.1101 No"), "bad-upgrade: the answer is not HTTP/1"),
        (head("HTTP/1.1 \u00b9\u00b2\u00b3 No"), "bad-upgrade: the answer is not HTTP/1"),
        (head("HTTP/1.1 100 Continue") + b"garbage", "bad-upgrade: the answer is not HTTP/1"),
    ],
)
def test_an_answer_that_is_not_http_is_a_bad_upgrade_without_a_status(data: bytes, error: str) -> None:
    assert answered(data) == HandshakeResult(BAD_UPGRADE, None, "", (), None, b"", b"", error)


def test_interim_responses_without_end_are_a_bad_upgrade() -> None:
    result = answered(head("HTTP/1.1 103 Early Hints") * 11 + head(*GOOD))
    assert result is not None
    assert (result.outcome, result.status) == (BAD_UPGRADE, 103)
    assert result.error == "bad-upgrade: too many interim responses"


# ----------------------------------------------------------------------------------------------- the bounds


def test_a_head_may_be_as_long_as_the_limit_and_not_longer() -> None:
    data = with_lines("X: " + "y" * 500)
    fits, too_large = answered(data, head_limit=len(data)), answered(data, head_limit=len(data) - 1)
    assert fits is not None and fits.outcome == OPEN
    error = "head-too-large: the response head is longer than the limit"
    assert too_large == HandshakeResult(HEAD_TOO_LARGE, None, "", (), None, b"", b"", error)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"HTTP/1.1 101 " + b"x" * 70_000, id="one line"),
        pytest.param(b"HTTP/1.1 101 OK\r\n" + b"a: b\r\n" * 12_000, id="many lines"),
        pytest.param(b"HTTP/1.1 101 OK\r\nX: " + b" " * 70_000, id="blanks"),
        pytest.param(b"HTTP/1.1 503 No\r\nX: " + b"\r" * 70_000, id="carriage returns"),
        pytest.param(
            head("HTTP/1.1 103 Hints", "Link: " + "x" * 10_000) * 7, id="interim responses together"
        ),
    ],
)
def test_a_head_without_end_is_given_up_at_the_limit(data: bytes) -> None:
    for step in (len(data), 1000, 7):
        pieces = [data[at : at + step] for at in range(0, len(data), step)]
        result, unread = fed(HeadParser(KEY), pieces)
        assert result is not None
        assert result.outcome == HEAD_TOO_LARGE
        assert len(data) - len(unread) <= 65_536 + step


def test_what_is_kept_of_a_head_is_bounded() -> None:
    result = answered(head("HTTP/1.1 503 " + "x" * 3000, *["a: b"] * 300, "Content-Length: 0"))
    assert result is not None
    assert len(result.headers) == 100
    assert len(result.reason_phrase) == 128
    assert result.outcome == "rejected-503"


def test_fields_beyond_those_kept_still_count() -> None:
    many = ["a: b"] * 200
    opened = answered(head(GOOD[0], *many, *GOOD[1:]))
    assert opened is not None and opened.outcome == OPEN
    refused = answered(head(*GOOD, *many, "Sec-WebSocket-Extensions: x"))
    assert refused is not None and refused.outcome == BAD_UPGRADE


# ----------------------------------------------------------------------------------------- another status


@pytest.mark.parametrize(
    "status", [200, 204, 301, 304, 400, 401, 403, 404, 426, 429, 500, 502, 503, 599, 999]
)
def test_any_other_status_is_a_rejection_with_that_status(status: int) -> None:
    result = answered(head(f"HTTP/1.1 {status} Because", "Content-Length: 0", "Set-Cookie: secret"))
    assert result == HandshakeResult(
        f"rejected-{status}",
        status,
        "Because",
        (("content-length", "0"), ("set-cookie", "secret")),
        None,
        b"",
        b"",
        f"rejected-{status}",
    )


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(head("HTTP/1.1 503 Busy", *GOOD[1:], "Content-Length: 0"), id="with all that opens"),
        pytest.param(head("HTTP/1.1 503 Busy", "garbage", "Content-Length: 0"), id="with garbage"),
        pytest.param(head("HTTP/1.1 503 Busy", "X: a", " b", "Content-Length: 0"), id="with a folded line"),
        pytest.param(head("HTTP/1.1 503 Busy", "X: a\0", "Content-Length: 0"), id="with a NUL"),
        pytest.param(head("HTTP/1.0 503 Busy", "Content-Length: 0"), id="in HTTP/1.0"),
        pytest.param(b"HTTP/1.1 503 Busy\nContent-Length: 0\n\n", id="with line feeds only"),
        pytest.param(b"HTTP/1.1 503 Busy\nContent-Length: 0\n\r\n", id="with ends of both kinds"),
        pytest.param(
            head("HTTP/1.1 100 Continue", "", "HTTP/1.1 503 Busy", "Content-Length: 0"), id="after 100"
        ),
    ],
)
def test_a_status_rules_however_sloppy_its_head(data: bytes) -> None:
    result = answered(data)
    assert result is not None
    assert (result.outcome, result.status, result.reason_phrase) == ("rejected-503", 503, "Busy")


CHUNKED = "Transfer-Encoding: chunked"
COMPLETE_BODIES = {
    "by length": (["Content-Length: 4"], b"busy", b"busy"),
    "by length, with more behind": (["Content-Length: 4"], b"busyHTTP/1.1", b"busy"),
    "none by length": (["Content-Length: 0"], b"", b""),
    "by chunks": ([CHUNKED], b"2\r\nbu\r\n2\r\nsy\r\n0\r\n\r\n", b"busy"),
    "by chunks with extensions": ([CHUNKED], b"4;a=b\r\nbusy\r\n0;c\r\nTrailer: x\r\n\r\n", b"busy"),
    "by chunks in capitals": (["TRANSFER-ENCODING: Chunked"], b"A\r\n0123456789\r\n00\r\n", b"0123456789"),
    "by chunks with line feeds": ([CHUNKED], b"2\nbu\n2\nsy\n0\n", b"busy"),
    "by chunks and not by length": ([CHUNKED, "Content-Length: 1"], b"4\r\nbusy\r\n0\r\n\r\n", b"busy"),
    "no chunk": ([CHUNKED], b"0\r\n\r\n", b""),
    "chunks broken at a size": ([CHUNKED], b"4\r\nbusy\r\nzz\r\n", b"busy"),
    "chunks broken after data": ([CHUNKED], b"4\r\nbusyness\r\n", b"busy"),
    "chunks broken by a sign": ([CHUNKED], b"-4\r\nbusy\r\n", b""),
    "chunks broken by a prefix": ([CHUNKED], b"0x4\r\nbusy\r\n", b""),
    "a size line of 256 bytes": ([CHUNKED], b"4;" + b"x" * 254 + b"\nbusy\n0\n", b"busy"),
    "a size line of 257 bytes": ([CHUNKED], b"4;" + b"x" * 255 + b"\nbusy\n0\n", b""),
    "chunks broken by length": ([CHUNKED], b"4\r\nbusy\r\n" + b"0" * 257, b"busy"),
    "longer than the limit by length": (["Content-Length: 999999"], b"x" * 60, b"x" * 50),
    "as long as the limit by length": (["Content-Length: 50"], b"x" * 50, b"x" * 50),
    "longer than the limit by chunks": (
        [CHUNKED], b"28\r\n" + b"x" * 40 + b"\r\n28\r\n" + b"y" * 40, b"x" * 40 + b"y" * 10
    ),
    "longer than the limit without length": ([], b"x" * 60, b"x" * 50),
}  # fmt: skip


@pytest.mark.parametrize(("fields", "sent", "body"), COMPLETE_BODIES.values(), ids=COMPLETE_BODIES)
def test_a_rejection_is_complete_with_the_start_of_its_body(
    fields: list[str], sent: bytes, body: bytes
) -> None:
    result = answered(head("HTTP/1.1 503 Busy", *fields) + sent, body_limit=50)
    assert result is not None
    assert (result.outcome, result.body, result.tail) == ("rejected-503", body, b"")


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_does_not_wait_for_one(status: int) -> None:
    result = answered(head(f"HTTP/1.1 {status} None", "Content-Length: 10"))
    assert result is not None
    assert (result.outcome, result.body) == (f"rejected-{status}", b"")


def test_a_caller_who_wants_no_body_does_not_wait_for_one() -> None:
    result = answered(head("HTTP/1.1 503 Busy"), body_limit=0)
    assert result is not None
    assert result.outcome == "rejected-503"


UNFINISHED_BODIES = {
    "no length": ([], b"busy", b"busy"),
    "a length that is none": (["Content-Length: many"], b"busy", b"busy"),
    "two lengths": (["Content-Length: 1", "Content-Length: 2"], b"busy", b"busy"),
    "a length that is not reached": (["Content-Length: 5"], b"busy", b"busy"),
    "another coding": (["Transfer-Encoding: gzip"], b"busy", b"busy"),
    "a chunk that is not reached": ([CHUNKED], b"5\r\nbusy", b"busy"),
    "a last chunk that is not reached": ([CHUNKED], b"4\r\nbusy\r\n", b"busy"),
    "nothing yet": (["Content-Length: 5"], b"", b""),
}


@pytest.mark.parametrize(("fields", "sent", "body"), UNFINISHED_BODIES.values(), ids=UNFINISHED_BODIES)
def test_a_body_that_is_not_complete_ends_with_the_stream_or_the_callers_patience(
    fields: list[str], sent: bytes, body: bytes
) -> None:
    data = head("HTTP/1.1 503 Busy", *fields) + sent
    assert answered(data, body_limit=50) is None
    for end in (HeadParser.eof, HeadParser.finish):
        parser = HeadParser(KEY, max_body_bytes=50)
        assert parser.feed(data) is None
        assert parser.head_complete
        result = end(parser)
        assert result is not None
        assert (result.outcome, result.body, result.error) == ("rejected-503", body, "rejected-503")


# -------------------------------------------------------------------------------------- the parser's states


def test_a_head_that_is_not_complete_has_no_result_at_the_end_of_the_stream() -> None:
    data = head("HTTP/1.1 100 Continue") + head(*GOOD)
    parser = HeadParser(KEY)
    for at in range(len(data) - 1):
        assert parser.feed(data[at : at + 1]) is None
        assert not parser.head_complete
        assert parser.eof() is None
        assert parser.finish() is None
    result = parser.feed(data[-1:])
    assert parser.head_complete
    assert parser.eof() is parser.finish() is result


def test_what_comes_after_the_result_is_not_swallowed() -> None:
    parser = HeadParser(KEY)
    assert parser.feed(head(*GOOD)) is not None
    with pytest.raises(RuntimeError, match="belongs to the frame codec"):
        parser.feed(b"\x81\x00")


def test_nothing_read_is_nothing_known() -> None:
    parser = HeadParser(KEY)
    assert parser.feed(b"") is None
    assert parser.eof() is None


# ----------------------------------------------------------------------------------------------- properties

PARTS = [
    *(f"{line}\r\n".encode() for line in GOOD),
    b"\r\n",
    b"\n",
    b"HTTP/1.1 ",
    b"101",
    b"503 ",
    b": ",
    b"x",
]
places = st.lists(st.integers(0, 10_000), max_size=6)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(PARTS) | st.binary(max_size=8), max_size=14).map(b"".join), places)
@example(head(*GOOD), [])
def test_garbage_never_raises_and_means_the_same_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    whole, _ = fed(HeadParser(KEY, (), 200, 20), [data])
    parser = HeadParser(KEY, (), 200, 20)
    result, unread = fed(parser, cut(data, cuts))
    if whole is None or result is None:
        assert result is whole
        assert (parser.eof() is not None) is parser.head_complete
        return
    assert result._replace(tail=b"") == whole._replace(tail=b"")
    if whole.outcome == OPEN:
        assert result.tail + unread == whole.tail


def server_answer(request: bytes, subprotocols: list[str]) -> bytes:
    """What the websockets library answers."""
    server = ServerProtocol(subprotocols=subprotocols or None)  # type: ignore[arg-type]
    server.receive_data(request)
    (received,) = server.events_received()
    server.send_response(server.accept(received))  # type: ignore[arg-type]
    return b"".join(server.data_to_send())


names = st.text("abc", min_size=1, max_size=3)


@pytest.mark.real
@settings(deadline=None, max_examples=100)
@given(st.lists(names, max_size=3, unique=True), st.lists(names, max_size=3, unique=True), places)
def test_the_websockets_library_and_we_understand_each_other(
    asked: list[str], offered: list[str], cuts: list[int]
) -> None:
    key = new_key()
    request = build_request("127.0.0.1:80", "/a?b=c", key, [("Cookie", "a=b")], asked, "http://127.0.0.1")
    answer = server_answer(request, offered)
    parser = HeadParser(key, asked)
    result, unread = fed(parser, cut(answer + b"\x81\x00", cuts))
    if result is None:
        result = parser.eof()
    assert result is not None
    if offered and not set(asked) & set(offered):
        assert result.outcome == "rejected-400"
        return
    assert (result.outcome, result.tail + unread) == (OPEN, b"\x81\x00")
    assert (result.subprotocol in asked) if offered else result.subprotocol is None
    assert ("upgrade", "websocket") in result.headers


def judged_by_hand(data: bytes, key: str) -> bool:
    """Whether a mutated answer still opens, in another way of reading: line by line, and field by field."""
    lines = data.partition(b"\r\n\r\n")[0].split(b"\r\n")
    if b"\r\n\r\n" not in data or not re.fullmatch(rb"HTTP/1\.1 101( [^\0-\x08\n-\x1f\x7f]*)?", lines[0]):
        return False
    fields: dict[bytes, list[bytes]] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not re.fullmatch(rb"[!#-'*+\-.^_`|~0-9A-Za-z]+", name):
            return False
        if any((byte < 32 and byte != 9) or byte == 127 for byte in value):
            return False
        fields.setdefault(name.lower(), []).append(value.strip(b" \t"))
    options = [
        option.strip(b" \t").lower()
        for value in fields.get(b"connection", [])
        for option in value.split(b",")
    ]
    return (
        [value.lower() for value in fields.get(b"upgrade", [])] == [b"websocket"]
        and b"upgrade" in options
        and fields.get(b"sec-websocket-accept") == [accept_for(key).encode()]
        and b"sec-websocket-extensions" not in fields
        and b"sec-websocket-protocol" not in fields
    )


INSERTED = [b"\r", b"\n", b" ", b":", b"\0", b"a", b"A", b"=", b",", b""]
mutations_of_answers = st.tuples(st.integers(0, 300), st.integers(0, 2), st.sampled_from(INSERTED))


@pytest.mark.real
@settings(deadline=None, max_examples=400)
@given(st.lists(mutations_of_answers, min_size=1, max_size=3))
def test_a_mutated_answer_opens_only_if_it_is_still_valid(mutations: list[tuple[int, int, bytes]]) -> None:
    data = server_answer(build_request("h", "/", KEY), [])
    for place, removed, inserted in mutations:
        at = place % len(data)
        data = data[:at] + inserted + data[at + removed :]
    result, _ = fed(HeadParser(KEY), [data])
    assert (result is not None and result.outcome == OPEN) is judged_by_hand(data, KEY), data
