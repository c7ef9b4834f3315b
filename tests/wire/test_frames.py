"""The frame codec, by section of RFC 6455, and against two codecs that this project did not write."""

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import pytest
from gevent.monkey import get_original
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websocket import ABNF
from websocket._abnf import frame_buffer
from websockets.exceptions import ProtocolError
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, OPEN, SERVER, Protocol

from wsoak.wire.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    DEFAULT_MAX_MESSAGE_BYTES,
    MAX_CONTROL_BYTES,
    PING,
    PONG,
    TEXT,
    VIOLATION,
    CloseFrame,
    Event,
    FrameDecoder,
    Violation,
    client_frame,
    close_payload,
    encode_frame,
    may_be_sent,
)

MASK = b"\x37\xfa\x21\x3d"  # RFC 6455, Section 5.7
# Around every border: control limit, 16-bit and 64-bit lengths, whole and broken words, the change of XOR.
SIZES = [
    0,
    1,
    2,
    3,
    4,
    5,
    63,
    64,
    124,
    125,
    126,
    127,
    128,
    129,
    130,
    131,
    255,
    511,
    512,
    513,
    4095,
    65535,
    65536,
]


def plain_frame(first: int, payload: bytes) -> bytes:
    """An unmasked frame in the test's own hand: the code under test must not check itself."""
    if len(payload) < 126:
        return struct.pack("!BB", first, len(payload)) + payload
    if len(payload) < 65536:
        return struct.pack("!BBH", first, 126, len(payload)) + payload
    return struct.pack("!BBQ", first, 127, len(payload)) + payload


def masked_frame(first: int, payload: bytes, key: bytes = MASK) -> bytes:
    """The same, masked byte by byte as RFC 6455, section 5.3, writes it."""
    plain = plain_frame(first, payload)
    head = plain[: len(plain) - len(payload)]
    masked = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    return bytes((head[0], head[1] | 0x80)) + head[2:] + key + masked


def fed(decoder: FrameDecoder, pieces: Iterable[bytes]) -> list[Event]:
    return [event for piece in pieces for event in decoder.feed(piece)]


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    borders = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(borders)]


def assert_decodes(
    data: bytes,
    expected: list[Event],
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
    require_unmasked: bool = True,
) -> None:
    """Whole, byte by byte, cut in two at every place (of short data), and behind another message."""

    def read(*pieces: bytes) -> list[Event]:
        return fed(FrameDecoder(max_message_bytes, require_unmasked), pieces)

    assert read(data) == expected
    first = plain_frame(0x89, b"first") if require_unmasked else masked_frame(0x89, b"first")
    assert read(first + data) == [(PING, b"first"), *expected]
    if len(data) > 1000:
        assert read(*cut(data, [1, 3, 9, 500])) == expected
        return
    assert read(*byte_by_byte(data)) == expected
    for place in range(len(data)):
        assert read(data[:place], data[place:]) == expected


def violation(code: int, text: str) -> list[Event]:
    return [(VIOLATION, Violation(code, text))]


# -------------------------------------------------------------------------------- 5.7 the examples of the RFC


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param("810548656c6c6f", [(TEXT, "Hello")], id="a single-frame unmasked text message"),
        pytest.param("010348656c80026c6f", [(TEXT, "Hello")], id="a fragmented unmasked text message"),
        pytest.param("890548656c6c6f", [(PING, b"Hello")], id="an unmasked ping"),
        pytest.param("8a0548656c6c6f", [(PONG, b"Hello")], id="an unmasked pong"),
        pytest.param("827e0100" + "00" * 256, [(BINARY, bytes(256))], id="256 bytes in a single frame"),
        pytest.param("827f0000000000010000" + "00" * 65536, [(BINARY, bytes(65536))], id="64 KiB"),
    ],
)
def test_the_examples_of_section_5_7_are_understood(data: str, expected: list[Event]) -> None:
    assert_decodes(bytes.fromhex(data), expected)


def test_the_masked_examples_of_section_5_7_are_made_and_understood_by_a_server() -> None:
    for example_hex, opcode in (("818537fa213d7f9f4d5158", TEXT), ("8a8537fa213d7f9f4d5158", PONG)):
        data = bytes.fromhex(example_hex)
        assert encode_frame(opcode, b"Hello", MASK) == data
        assert_decodes(data, [(opcode, "Hello" if opcode == TEXT else b"Hello")], require_unmasked=False)  # type: ignore[list-item]


# ------------------------------------------------------------------------------------------- 5.2 base framing


@pytest.mark.parametrize("size", SIZES)
def test_every_form_of_length_is_read_and_written(size: int) -> None:
    payload = os.urandom(size)
    data = plain_frame(0x82, payload)
    assert encode_frame(BINARY, payload, None) == data
    assert encode_frame(BINARY, payload, MASK) == masked_frame(0x82, payload)
    assert_decodes(data, [(BINARY, payload)])
    assert_decodes(masked_frame(0x82, payload), [(BINARY, payload)], require_unmasked=False)


@pytest.mark.parametrize("size", SIZES)
def test_a_client_frame_is_the_frame_of_the_rfc_with_a_key_of_its_own(size: int) -> None:
    for opcode, payload in ((TEXT, b"x" * size), (BINARY, os.urandom(size))):
        frame = client_frame(opcode, payload.decode() if opcode == TEXT else payload)
        head_size = len(plain_frame(0x82, payload)) - size
        key = frame[head_size : head_size + 4]
        assert frame == masked_frame(0x80 | opcode, payload, key)


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 124, 125])
def test_a_control_frame_of_a_client_is_the_frame_of_the_rfc(opcode: int, size: int) -> None:
    payload = os.urandom(size)
    frame = client_frame(opcode, payload)
    assert frame == masked_frame(0x80 | opcode, payload, frame[2:6])


BROKEN_FRAMES = {
    "RSV1": (plain_frame(0xC1, b"hi"), 1002, "a reserved bit is set and no extension was negotiated"),
    "RSV2": (plain_frame(0xA1, b"hi"), 1002, "a reserved bit is set and no extension was negotiated"),
    "RSV3": (plain_frame(0x91, b"hi"), 1002, "a reserved bit is set and no extension was negotiated"),
    "RSV1 on a ping": (plain_frame(0xC9, b""), 1002, "a reserved bit is set and no extension was negotiated"),
    **{
        f"opcode {opcode}": (plain_frame(0x80 | opcode, b""), 1002, f"opcode 0x{opcode:X} is reserved")
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    },
    "masked": (masked_frame(0x81, b"hi"), 1002, "a frame is masked"),
    "masked and empty": (masked_frame(0x81, b""), 1002, "a frame is masked"),
    "125 bytes in 16 bits": (b"\x82\x7e\x00\x7d" + bytes(125), 1002, "a length is not in its shortest form"),
    "none in 16 bits": (b"\x82\x7e\x00\x00", 1002, "a length is not in its shortest form"),
    "65535 bytes in 64 bits": (
        b"\x82\x7f" + struct.pack("!Q", 65535) + bytes(65535),
        1002,
        "a length is not in its shortest form",
    ),
    "5 bytes in 64 bits": (
        b"\x82\x7f" + struct.pack("!Q", 5) + bytes(5),
        1002,
        "a length is not in its shortest form",
    ),
    "the highest bit": (
        b"\x82\x7f" + struct.pack("!Q", 1 << 63),
        1002,
        "the most significant bit of a 64-bit length is set",
    ),
    "a fragmented ping": (plain_frame(0x09, b""), 1002, "a control frame is fragmented"),
    "a fragmented close": (plain_frame(0x08, b""), 1002, "a control frame is fragmented"),
    "a ping of 126 bytes": (
        plain_frame(0x89, bytes(126)),
        1002,
        "a control frame is longer than 125 bytes",
    ),
    "a pong of 64 KiB": (
        plain_frame(0x8A, bytes(65536)),
        1002,
        "a control frame is longer than 125 bytes",
    ),
    "a close of one byte": (plain_frame(0x88, b"\x03"), 1002, "a close frame has a body of one byte"),
    "a continuation of nothing": (plain_frame(0x80, b"x"), 1002, "a continuation frame continues nothing"),
    "a middle of nothing": (plain_frame(0x00, b"x"), 1002, "a continuation frame continues nothing"),
    "a text in a text": (
        plain_frame(0x01, b"a") + plain_frame(0x81, b"b"),
        1002,
        "a message begins inside a fragmented one",
    ),
    "a binary in a text": (
        plain_frame(0x01, b"a") + plain_frame(0x02, b"b"),
        1002,
        "a message begins inside a fragmented one",
    ),
    "text that is not UTF-8": (plain_frame(0x81, b"\xff"), 1007, "a text message is not UTF-8"),
    "text cut in a character": (plain_frame(0x81, b"\xe2\x82"), 1007, "a text message is not UTF-8"),
    "fragments that are not UTF-8": (
        plain_frame(0x01, b"\xe2\x82") + plain_frame(0x80, b"A"),
        1007,
        "a text message is not UTF-8",
    ),
    "long text that is not UTF-8": (
        plain_frame(0x81, b"x" * 200 + b"\xff"),
        1007,
        "a text message is not UTF-8",
    ),
}


@pytest.mark.parametrize(("data", "code", "text"), BROKEN_FRAMES.values(), ids=BROKEN_FRAMES)
def test_what_breaks_the_protocol_is_one_violation_and_the_end(data: bytes, code: int, text: str) -> None:
    expected = violation(code, text)
    assert_decodes(data, expected)
    decoder = FrameDecoder()
    before, after = plain_frame(0x81, b"before"), plain_frame(0x81, b"after")
    assert decoder.feed(before + data + after) == [(TEXT, "before"), *expected]
    assert decoder.finished
    assert not decoder.in_message
    assert decoder.feed(plain_frame(0x81, b"after")) == []
    assert decoder.whole_message(plain_frame(0x81, b"after")) is None


def test_a_server_refuses_frames_that_are_not_masked() -> None:
    data = plain_frame(0x81, b"hi")
    assert_decodes(data, violation(1002, "a frame is not masked"), require_unmasked=False)
    assert FrameDecoder(require_unmasked=False).whole_message(data) is None


# --------------------------------------------------------------------------------------------- 5.3 masking


def test_masking_keys_differ_from_frame_to_frame() -> None:
    # Among 3,000 random keys two are equal once in a thousand runs; three pairs never are.
    keys = [client_frame(BINARY, b"")[2:] for _ in range(3000)]
    assert len(set(keys)) >= len(keys) - 2


def test_a_masking_key_leaves_no_bit_constant() -> None:
    keys = [int.from_bytes(client_frame(BINARY, b"")[2:]) for _ in range(200)]
    ones = zeros = 0
    for key in keys:
        ones |= key
        zeros |= ~key & 0xFFFFFFFF
    assert ones == zeros == 0xFFFFFFFF


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_worker_does_not_repeat_the_masking_keys_of_its_parent() -> None:
    client_frame(BINARY, b"")  # so that a batch of keys is in use when the fork comes
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write_end, b"".join(client_frame(BINARY, b"")[2:] for _ in range(256)))
        finally:
            os._exit(0)
    # the plain one: under gevent's the pipe stays open until the hub turns, and read would wait for ever
    get_original("os", "close")(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    assert len(told) == 1024
    of_child = {told[at : at + 4] for at in range(0, len(told), 4)}
    of_parent = {client_frame(BINARY, b"")[2:] for _ in range(256)}
    assert len(of_child & of_parent) <= 1


# --------------------------------------------------------------------------------------- 5.4 fragmentation


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        pytest.param([(0x01, b""), (0x80, b"")], [(TEXT, "")], id="an empty text in two"),
        pytest.param([(0x02, b"a"), (0x00, b""), (0x80, b"b")], [(BINARY, b"ab")], id="an empty middle"),
        pytest.param(
            [(0x01, b"\xe2"), (0x00, b"\x82"), (0x80, b"\xac")], [(TEXT, "€")], id="a character in three"
        ),
        pytest.param(
            [(0x01, b"He"), (0x89, b"?"), (0x00, b"l"), (0x8A, b"!"), (0x80, b"lo")],
            [(PING, b"?"), (PONG, b"!"), (TEXT, "Hello")],
            id="control frames between fragments come when they came",
        ),
        pytest.param(
            [(0x01, b"He"), (0x88, b"\x03\xe8bye")],
            [(CLOSE, CloseFrame(1000, "bye"))],
            id="a close ends an unfinished message",
        ),
        pytest.param(
            [(0x02, b"a"), (0x80, b"b"), (0x81, b"c"), (0x01, b"d"), (0x80, b"e")],
            [(BINARY, b"ab"), (TEXT, "c"), (TEXT, "de")],
            id="one message after another",
        ),
    ],
)
def test_fragments_make_one_message(frames: list[tuple[int, bytes]], expected: list[Event]) -> None:
    assert_decodes(b"".join(plain_frame(*frame) for frame in frames), expected)
    masked = b"".join(masked_frame(*frame) for frame in frames)
    assert_decodes(masked, expected, require_unmasked=False)


def test_a_message_that_has_ended_is_not_continued() -> None:
    data = plain_frame(0x02, b"a") + plain_frame(0x80, b"b") + plain_frame(0x80, b"c")
    fault = violation(1002, "a continuation frame continues nothing")
    assert_decodes(data, [(BINARY, b"ab"), *fault])


def test_the_decoder_knows_that_a_message_has_begun_and_not_ended() -> None:
    decoder = FrameDecoder()
    for data, in_message in (
        (b"\x81", True),
        (b"\x01a", False),
        (b"\x01\x01a", True),
        (b"\x89\x00", True),
        (b"\x80\x00", False),
    ):
        decoder.feed(data)
        assert decoder.in_message is in_message, data


# ---------------------------------------------------------------------------------------------- the limit


@pytest.mark.parametrize("limit", [0, 1, 100, 124, 125, 126, 300, 70_000])
def test_a_message_may_be_as_long_as_the_limit_and_not_longer(limit: int) -> None:
    too_big = violation(1009, "a message is longer than the limit")
    longest, longer = b"x" * limit, b"x" * (limit + 1)
    assert_decodes(plain_frame(0x82, longest), [(BINARY, longest)], max_message_bytes=limit)
    assert_decodes(plain_frame(0x82, longer), too_big, max_message_bytes=limit)
    fragments = plain_frame(0x02, longest) + plain_frame(0x00, b"")
    assert_decodes(fragments + plain_frame(0x80, b""), [(BINARY, longest)], max_message_bytes=limit)
    assert_decodes(fragments + plain_frame(0x80, b"y"), too_big, max_message_bytes=limit)
    decoder = FrameDecoder(max_message_bytes=limit)
    assert decoder.whole_message(plain_frame(0x82, longer)) is None
    if MAX_CONTROL_BYTES <= limit <= 0xFFFF:
        assert decoder.whole_message(plain_frame(0x82, longest)) == longest


def test_a_length_beyond_the_limit_is_refused_before_its_payload_comes() -> None:
    head = b"\x82\x7f" + struct.pack("!Q", 64 * 1024 * 1024 + 1)
    assert FrameDecoder().feed(head) == violation(1009, "a message is longer than the limit")
    assert FrameDecoder().feed(b"\x82\x7f" + struct.pack("!Q", 64 * 1024 * 1024)) == []


def test_control_frames_do_not_count_towards_the_limit() -> None:
    data = plain_frame(0x02, b"12345") + plain_frame(0x89, b"x" * 125) + plain_frame(0x80, b"")
    assert_decodes(data, [(PING, b"x" * 125), (BINARY, b"12345")], max_message_bytes=5)


# ------------------------------------------------------------------------------- 5.5.1 and 7.4: the close

UNSENDABLE_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65535]
SENDABLE_CODES = [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999]


@pytest.mark.parametrize("code", SENDABLE_CODES)
def test_a_close_code_of_the_registry_is_read_and_written(code: int) -> None:
    assert may_be_sent(code)
    assert_decodes(plain_frame(0x88, struct.pack("!H", code)), [(CLOSE, CloseFrame(code))])
    assert close_payload(code, "why") == struct.pack("!H", code) + b"why"


@pytest.mark.parametrize("code", UNSENDABLE_CODES)
def test_a_close_code_that_may_not_be_on_the_wire_is_kept_flagged_and_never_sent(code: int) -> None:
    assert not may_be_sent(code)
    expected = CloseFrame(code, "why", invalid_on_wire=True)
    assert_decodes(plain_frame(0x88, struct.pack("!H", code) + b"why"), [(CLOSE, expected)])
    with pytest.raises(ValueError, match=f"^close code {code} may not be sent$"):
        close_payload(code)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"", CloseFrame(None), id="nothing"),
        pytest.param(b"\x03\xe8", CloseFrame(1000), id="a code"),
        pytest.param(b"\x03\xf0" + "genug ✓".encode(), CloseFrame(1008, "genug ✓"), id="a reason"),
        pytest.param(
            b"\x03\xe8" + "über€".encode()[:-1],
            CloseFrame(1000, "über\ufffd", reason_damaged=True),
            id="a reason cut in a character",
        ),
        pytest.param(
            b"\x03\xe8\xff\x00", CloseFrame(1000, "\ufffd\x00", reason_damaged=True), id="a reason of garbage"
        ),
        pytest.param(
            b"\x03\xee\xff",
            CloseFrame(1006, "\ufffd", invalid_on_wire=True, reason_damaged=True),
            id="both wrong",
        ),
        pytest.param(b"\x03\xe8" + b"x" * 123, CloseFrame(1000, "x" * 123), id="the longest reason"),
    ],
)
def test_a_close_frame_is_kept_as_it_came(body: bytes, expected: CloseFrame) -> None:
    assert_decodes(plain_frame(0x88, body), [(CLOSE, expected)])


def test_what_follows_a_close_frame_is_ignored() -> None:
    decoder = FrameDecoder()
    data = plain_frame(0x81, b"a") + plain_frame(0x88, b"") + plain_frame(0x81, b"b") + b"\xff\xff"
    assert decoder.feed(data) == [(TEXT, "a"), (CLOSE, CloseFrame(None))]
    assert decoder.finished
    assert decoder.feed(plain_frame(0x81, b"c")) == []
    assert decoder.whole_message(plain_frame(0x81, b"c")) is None
    assert not decoder.in_message


@given(st.text(max_size=200))
@example("é" * 61 + "xx")
@example("€" * 41)
@example("x" * 122 + "😀")
@example("\ud800" * 123)
def test_a_reason_is_cut_between_characters_and_never_longer_than_a_control_frame(reason: str) -> None:
    body = close_payload(4000, reason)
    assert len(body) <= MAX_CONTROL_BYTES
    kept = body[2:].decode()
    sendable = reason.encode(errors="replace").decode()
    assert sendable.startswith(kept)
    assert kept == sendable or len((kept + sendable[len(kept)]).encode()) > 123
    client_frame(CLOSE, body)


def test_a_close_without_a_code_is_empty_and_has_no_reason() -> None:
    assert close_payload(None) == b""
    with pytest.raises(ValueError, match="carries no reason"):
        close_payload(None, "why")


# ------------------------------------------------------------------------------------- what is not encoded


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda: client_frame(PING, bytes(126)), id="a ping of 126 bytes"),
        pytest.param(lambda: client_frame(PONG, bytes(126)), id="a pong of 126 bytes"),
        pytest.param(lambda: client_frame(CLOSE, bytes(126)), id="a close of 126 bytes"),
        pytest.param(lambda: client_frame(CLOSE, bytes(600)), id="a close of 600 bytes"),
        pytest.param(lambda: client_frame(CONTINUATION, b"x"), id="a lone continuation"),
        pytest.param(lambda: client_frame(CONTINUATION, bytes(600)), id="a long lone continuation"),
        pytest.param(lambda: client_frame(3, b"x"), id="a reserved opcode"),
        pytest.param(lambda: client_frame(0x81, b"x"), id="a first byte for an opcode"),
        pytest.param(lambda: client_frame(TEXT, "\ud800"), id="half a surrogate pair"),
        pytest.param(lambda: encode_frame(PING, bytes(126), None), id="encode: a ping of 126 bytes"),
        pytest.param(lambda: encode_frame(PING, b"", None, fin=False), id="encode: a fragmented ping"),
        pytest.param(lambda: encode_frame(11, b"", None), id="encode: a reserved opcode"),
        pytest.param(lambda: encode_frame(0x81, b"", None), id="encode: a first byte for an opcode"),
        pytest.param(lambda: encode_frame(-1, b"", None), id="encode: a negative opcode"),
        pytest.param(lambda: encode_frame(TEXT, b"", b"123"), id="encode: a key of three bytes"),
    ],
)
def test_a_frame_that_would_break_the_protocol_is_refused(build: Callable[[], bytes]) -> None:
    with pytest.raises(ValueError):
        build()


# ------------------------------------------------------------------------------------------- the short cut


@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: plain_frame(0x81, text.encode())))
@example(plain_frame(0x82, b"x" * 126))
@example(plain_frame(0x82, b"x" * 125))
@example(b"\x82\x7e" + bytes(126))
@example(plain_frame(0x81, b"x" * 300))
@example(b"\x82\x7e\x00\x05" + bytes(5))
@example(plain_frame(0x81, b"\xff"))
@example(b"")
def test_the_short_cut_says_what_feed_says_or_nothing(data: bytes) -> None:
    decoder = FrameDecoder()
    message = decoder.whole_message(data)
    expected = FrameDecoder().feed(data)
    if message is None:
        assert decoder.feed(data) == expected
    else:
        assert expected == [(TEXT if isinstance(message, str) else BINARY, message)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 300, 65535])
def test_the_short_cut_takes_every_message_with_a_short_length(size: int) -> None:
    payload = b"x" * size
    assert FrameDecoder().whole_message(plain_frame(0x81, payload)) == payload.decode()
    assert FrameDecoder().whole_message(plain_frame(0x82, payload)) == payload


@pytest.mark.parametrize("before", [b"\x81", b"\x01\x01a", b"\x82\x05a", b"\x82\x7e\x01"])
def test_the_short_cut_is_not_taken_in_the_middle_of_something(before: bytes) -> None:
    decoder = FrameDecoder()
    assert decoder.feed(before) == []
    assert decoder.whole_message(plain_frame(0x81, b"hi")) is None


def test_the_short_cut_is_taken_again_once_the_middle_is_over() -> None:
    decoder = FrameDecoder()
    for piece in (b"\x81\x02h", b"i", b"\x01\x01a", b"\x80\x00"):
        decoder.feed(piece)
    assert decoder.whole_message(plain_frame(0x81, b"hi")) == "hi"


# ------------------------------------------------------------------------------------------- UTF-8 (8.1)

EDGES_OF_UTF8 = [
    "7f", "80", "c080", "c1bf", "c280", "dfbf", "e08080", "e09fbf", "e0a080", "ed9fbf", "eda080", "edbfbf",
    "ee8080", "efbfbf", "f0808080", "f08fbfbf", "f0908080", "f48fbfbf", "f4908080", "f5808080", "f8888080",
    "fc84808080", "fe", "ff", "c2", "e282", "f09f98", "61c2", "c261", "e28261", "efbbbf", "00",
    "cebae1bdb9cf83eda080",
]  # fmt: skip


def assert_text_as_bytes_decode(payload: bytes, places: list[int]) -> None:
    try:
        expected: list[Event] = [(TEXT, payload.decode())]
    except UnicodeDecodeError:
        expected = violation(1007, "a text message is not UTF-8")
    assert_decodes(plain_frame(0x81, payload), expected)
    pieces = cut(payload, places)
    firsts = [0x01] + [0x00] * (len(pieces) - 1)
    firsts[-1] |= 0x80
    fragments = b"".join(map(plain_frame, firsts, pieces))
    assert FrameDecoder().feed(fragments) == expected


@pytest.mark.parametrize("payload", [bytes.fromhex(edge) for edge in EDGES_OF_UTF8], ids=EDGES_OF_UTF8)
def test_the_edges_of_utf8_are_those_of_bytes_decode(payload: bytes) -> None:
    assert_text_as_bytes_decode(payload, [1])
    assert_text_as_bytes_decode(payload, [1, 2, 3])


@settings(deadline=None, max_examples=60)
@given(
    st.binary(max_size=12)
    | st.text(max_size=8).map(str.encode)
    | st.text(max_size=8).map(lambda t: t.encode()[:-1]),
    st.lists(st.integers(0, 1000), max_size=4),
)
def test_text_is_read_as_bytes_decode_reads_it(payload: bytes, places: list[int]) -> None:
    assert_text_as_bytes_decode(payload, places)


# ------------------------------------------------------------------------------------------- conversations

cuts = st.lists(st.integers(0, 10_000), max_size=12)
texts = st.text(max_size=200) | st.sampled_from([125, 126, 127, 65535, 65536]).map(lambda size: "x" * size)
binaries = st.binary(max_size=200) | st.sampled_from([125, 126, 511, 512, 65536]).map(bytes)
controls = st.lists(st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125)), max_size=2)
Control = tuple[int, bytes]
Message = tuple[str | bytes, list[int], list[Control]]
messages = st.lists(
    st.tuples(texts | binaries, st.lists(st.integers(0, 100_000), max_size=3), controls), max_size=5
)


def frames_of(message: Message) -> Iterator[tuple[int, bytes, bool]]:
    """A message as fragments, with its control frames after the first of them: opcode, payload, fin."""
    content, places, between = message
    payload = content.encode() if isinstance(content, str) else content
    pieces = cut(payload, places)
    for index, piece in enumerate(pieces):
        opcode = CONTINUATION if index else (TEXT if isinstance(content, str) else BINARY)
        yield opcode, piece, index == len(pieces) - 1
        if index == 0:
            yield from ((control, body, True) for control, body in between)


def events_of(message: Message) -> list[tuple[int, str | bytes]]:
    content, places, between = message
    whole = (TEXT if isinstance(content, str) else BINARY, content)
    return [*between, whole] if places else [whole, *between]


@settings(deadline=None, max_examples=150)
@given(messages, cuts)
def test_any_conversation_is_understood_however_it_is_cut(
    conversation: list[Message], places: list[int]
) -> None:
    expected = [event for message in conversation for event in events_of(message)]
    for key in (None, MASK):
        frames = [frame for message in conversation for frame in frames_of(message)]
        data = b"".join(encode_frame(opcode, payload, key, fin) for opcode, payload, fin in frames)
        decoder = FrameDecoder(require_unmasked=key is None)
        assert fed(decoder, cut(data, places)) == expected
        assert not decoder.in_message


@settings(deadline=None, max_examples=300)
@given(
    st.lists(
        st.binary(max_size=40) | st.sampled_from(range(256)).map(lambda b: bytes((b, 2, 3, 0xE8))), max_size=8
    ),
    cuts,
)
def test_garbage_never_raises_and_ends_with_its_first_violation(
    pieces: list[bytes], places: list[int]
) -> None:
    data = b"".join(pieces)
    for require_unmasked in (True, False):
        decoder = FrameDecoder(1000, require_unmasked)
        events = fed(decoder, pieces)
        last = [event[0] in (VIOLATION, CLOSE) for event in events]
        assert not any(last[:-1])
        assert decoder.finished is (last[-1:] == [True])
        assert fed(FrameDecoder(1000, require_unmasked), cut(data, places)) == events
        assert FrameDecoder(1000, require_unmasked).feed(data) == events


# ------------------------------------------------------- against websocket-client and the websockets library


def raw_payload(data: str | bytes) -> bytes:
    return data.encode() if isinstance(data, str) else bytes(data)


def read_by_websocket_client(data: bytes) -> list[tuple[int, bytes, bool]]:
    stream = bytearray(data)

    def read(size: int) -> bytes:
        taken = bytes(stream[:size])
        del stream[:size]
        return taken

    reader = frame_buffer(read, skip_utf8_validation=True)
    frames = []
    while stream:
        frame = reader.recv_frame()
        frames.append((frame.opcode, raw_payload(frame.data), bool(frame.fin)))
    return frames


def read_by_websockets(data: bytes, protocol: Protocol) -> list[tuple[int, bytes, bool]]:
    protocol.receive_data(data)
    frames = [event for event in protocol.events_received() if isinstance(event, Frame)]
    return [(int(frame.opcode), bytes(frame.data), frame.fin) for frame in frames]


@pytest.mark.real
@settings(deadline=None, max_examples=100)
@given(messages)
def test_both_libraries_read_our_frames_as_they_were_meant(conversation: list[Message]) -> None:
    frames = [frame for message in conversation for frame in frames_of(message)]
    data = b"".join(encode_frame(opcode, payload, MASK, fin) for opcode, payload, fin in frames)
    assert read_by_websocket_client(data) == frames
    assert read_by_websockets(data, Protocol(SERVER, state=OPEN)) == frames
    plain = b"".join(encode_frame(opcode, payload, None, fin) for opcode, payload, fin in frames)
    assert read_by_websocket_client(plain) == frames
    assert read_by_websockets(plain, Protocol(CLIENT, state=OPEN)) == frames


@pytest.mark.real
@settings(deadline=None, max_examples=100)
@given(
    st.lists(texts | binaries, max_size=5), controls, st.sampled_from(SENDABLE_CODES), st.text(max_size=150)
)
def test_both_libraries_read_our_client_frames_as_they_were_meant(
    contents: list[str | bytes], between: list[Control], code: int, reason: str
) -> None:
    data = b""
    expected = []
    for content in contents:
        opcode = TEXT if isinstance(content, str) else BINARY
        data += client_frame(opcode, content)
        expected.append((opcode, content.encode() if isinstance(content, str) else content, True))
    body = close_payload(code, reason)
    for opcode, payload in [*between, (CLOSE, body)]:
        data += client_frame(opcode, payload)
        expected.append((opcode, payload, True))
    assert read_by_websocket_client(data) == expected
    assert read_by_websockets(data, Protocol(SERVER, state=OPEN)) == expected


@pytest.mark.real
@settings(deadline=None, max_examples=100)
@given(messages, cuts)
def test_we_read_the_frames_of_both_libraries_as_they_were_meant(
    conversation: list[Message], places: list[int]
) -> None:
    expected = [event for message in conversation for event in events_of(message)]
    frames = [frame for message in conversation for frame in frames_of(message)]
    of_websocket_client = b"".join(
        ABNF(int(fin), 0, 0, 0, opcode, 1, payload).format() for opcode, payload, fin in frames
    )
    assert fed(FrameDecoder(require_unmasked=False), cut(of_websocket_client, places)) == expected
    for mask in (True, False):
        of_websockets = b"".join(
            Frame(Opcode(opcode), payload, fin).serialize(mask=mask) for opcode, payload, fin in frames
        )
        assert fed(FrameDecoder(require_unmasked=not mask), cut(of_websockets, places)) == expected


# ASCII, the close code 4096 too, except in close frames: the library's codec leaves UTF-8 to others.
wild_frames = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from([0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A]), st.sampled_from([b"", b"hey"])
        ),
        st.tuples(st.integers(0, 255), st.sampled_from([b"", b"x", b"\x10\x00", b"\x10\x00bye", b"x" * 126])),
        st.tuples(st.just(0x88), st.integers(0, 65535).map(lambda code: struct.pack("!H", code))),
    ),
    max_size=6,
)


@pytest.mark.real
@settings(deadline=None, max_examples=300)
@given(wild_frames, st.booleans())
def test_we_refuse_what_the_websockets_library_refuses(frames: list[tuple[int, bytes]], masked: bool) -> None:
    data = b"".join(masked_frame(*frame) if masked else plain_frame(*frame) for frame in frames)
    events = FrameDecoder().feed(data)
    protocol = Protocol(CLIENT, state=OPEN)
    protocol.receive_data(data)
    # RFC 6455, Section 5.4: a control frame, a close too, may come between fragments.  The library disagrees.
    close_between_fragments = str(protocol.parser_exc) == "incomplete fragmented message"
    refused = isinstance(protocol.parser_exc, ProtocolError) and not close_between_fragments
    # What we forgive and flag: codes that may not be on the wire are what a ledger is for.
    ours = any(
        isinstance(payload, Violation) or (isinstance(payload, CloseFrame) and payload.invalid_on_wire)
        for _, payload in events
    )
    assert ours is refused
