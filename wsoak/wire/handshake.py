"""The opening handshake of RFC 6455, section 4: request to bytes, bytes to a result.  No socket, no clock.

    key = new_key()
    build_request("example.org", "/chat", key) ──► bytes to write
    bytes read ──► HeadParser(key).feed ──► None until the answer is complete, then a HandshakeResult

It is strict (RFC 6455, section 4.1) about what opens a connection, and lenient about every other answer: a
server that says 503 in a sloppy way has said 503.
"""

import hashlib
import os
import re
from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

__all__ = [
    "BAD_UPGRADE",
    "DEFAULT_MAX_BODY_BYTES",
    "DEFAULT_MAX_HEAD_BYTES",
    "HEAD_TOO_LARGE",
    "MAX_HEADERS_KEPT",
    "OPEN",
    "HandshakeResult",
    "HeadParser",
    "LastUpgrade",
    "accept_for",
    "build_request",
    "new_key",
    "read_fields",
]

# Outcomes, in the ledger's words; the fourth is `rejected-<status>`.
OPEN: Final = "open"
BAD_UPGRADE: Final = "bad-upgrade"
HEAD_TOO_LARGE: Final = "head-too-large"

DEFAULT_MAX_HEAD_BYTES: Final = 65_536
DEFAULT_MAX_BODY_BYTES: Final = 2_048

# What a result keeps of a head, so that a hostile server cannot fill the ledger.
MAX_HEADERS_KEPT: Final = 100
_MAX_REASON_CHARACTERS: Final = 128
_MAX_INTERIM_RESPONSES: Final = 10
_MAX_CHUNK_LINE_BYTES: Final = 256

# RFC 6455, Section 1.3.
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# RFC 9110, Section 5.6.2.  This loop and those below are possessive: a hostile head must not make a match
# backtrack.
_TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"


def new_key() -> str:
    """A fresh Sec-WebSocket-Key: 16 random bytes in base64 (RFC 6455, section 4.1)."""
    return b2a_base64(os.urandom(16), newline=False).decode()


def accept_for(key: str) -> str:
    """The Sec-WebSocket-Accept that answers `key` (RFC 6455, section 4.2.2)."""
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return b2a_base64(digest, newline=False).decode()


# ------------------------------------------------------------------------------------------------ the request

_is_token = re.compile(_TOKEN).fullmatch
# RFC 9112, Section 3.2.1, and RFC 6455, Section 3: no fragment, for which "#" must be written %23.
_is_resource = re.compile(r"/[!\"$-~]*").fullmatch
_breaks_line = re.compile(r"[\r\n\0]").search

_OURS: Final = frozenset({"upgrade", "connection", "sec-websocket-key", "sec-websocket-version"})
_NEGOTIATED: Final = {
    "sec-websocket-protocol": "give subprotocols instead of a Sec-WebSocket-Protocol header",
    "sec-websocket-extensions": "extensions are not spoken: Sec-WebSocket-Extensions may not be sent",
}


def build_request(
    host_header: str,
    resource: str,
    key: str,
    headers: Sequence[tuple[str, str]] = (),
    subprotocols: Sequence[str] = (),
    origin: str | None = None,
) -> bytes:
    """The opening request as it goes on the wire (RFC 6455, section 4.1).

    `resource` is the path and query, already percent-encoded.  A header in `headers` takes the place of ours
    with the same name (Host, Origin, User-Agent), except those that make the upgrade.  Values are sent in
    UTF-8.

    Raises ValueError, in one sentence that never repeats a value (values may be secrets), for a line break or
    NUL anywhere, a name that is no token, a resource that is no path, and a header that the handshake itself
    owns.
    """
    if not _is_resource(resource):
        raise ValueError("the path holds a control character or a #: in a path, a # must be written %23")
    _refuse_line_breaks("Host", host_header)
    _refuse_line_breaks("Sec-WebSocket-Key", key)
    lines = [
        f"GET {resource} HTTP/1.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
    ]
    if subprotocols:
        lines.append(f"Sec-WebSocket-Protocol: {_joined_subprotocols(subprotocols)}")
    given = _checked_headers(headers)
    if "host" not in given:
        lines.insert(1, f"Host: {host_header}")
    if origin is not None and "origin" not in given:
        _refuse_line_breaks("Origin", origin)
        lines.append(f"Origin: {origin}")
    if "user-agent" not in given:
        lines.append("User-Agent: wsoak")
    lines += [f"{name}: {value}" for name, value in headers]
    lines.append("\r\n")
    try:
        return "\r\n".join(lines).encode()
    except UnicodeEncodeError:
        # The codec's own error carries the text, and so a token that may be in it.
        raise ValueError("a header holds half a surrogate pair") from None


def _checked_headers(headers: Iterable[tuple[str, str]]) -> set[str]:
    """The lower-cased names of `headers`; ValueError where one may not be sent."""
    names = set()
    for name, value in headers:
        if not _is_token(name):
            raise ValueError("a header's name must be a token of RFC 9110")
        lowered = name.lower()
        if lowered in _OURS:
            raise ValueError(f"the header {name} belongs to the handshake and cannot be replaced")
        if lowered in _NEGOTIATED:
            raise ValueError(_NEGOTIATED[lowered])
        _refuse_line_breaks(name, value)
        names.add(lowered)
    return names


def _joined_subprotocols(subprotocols: Sequence[str]) -> str:
    """RFC 6455, Section 4.1, item 10: tokens, all of them different."""
    if not all(map(_is_token, subprotocols)):
        raise ValueError("a subprotocol must be a token of RFC 9110")
    if len(set(subprotocols)) != len(subprotocols):
        raise ValueError("a subprotocol is asked for twice")
    return ", ".join(subprotocols)


def _refuse_line_breaks(name: str, value: str) -> None:
    if _breaks_line(value):
        raise ValueError(f"the value of {name} holds a line break or NUL")


# ------------------------------------------------------------------------------------------------- the answer


class HandshakeResult(NamedTuple):
    """What the server answered.

    `outcome` is `open`, `rejected-<status>`, `bad-upgrade` or `head-too-large`.  `status` is None where no
    status line could be read, or the head was too large.  `headers` are those of the final answer, names in
    lower case, values as Latin-1, the first 100; of a 101 that opens, without the accept value.  With
    `reason_phrase` (128 characters) and `body` they are the server's text: hostile, perhaps secret.  `body`
    is the start of a rejection's body, `tail` is what followed an opening head and belongs to the frame
    codec.  `error` is ours: short, the same for the same fault, without a word of the server's; "" when open.
    """

    outcome: str
    status: int | None
    reason_phrase: str
    headers: tuple[tuple[str, str], ...]
    subprotocol: str | None
    body: bytes
    tail: bytes
    error: str


_Headers = list[tuple[str, str]]

# RFC 9110, Section 5.5: neither a field's value nor a reason phrase has control characters besides the tab.
_NO_CONTROL: Final = r"[^\x00-\x08\x0a-\x1f\x7f]*+"
# One field a line, no space before the colon, no folded lines (RFC 9112, Sections 5.1 and 5.2).
_FIELD: Final = rf"{_TOKEN}:{_NO_CONTROL}\r\n"
# A whole head without a fault.  RFC 9112, Section 4, wants a space after the status even where no reason
# follows; many servers leave it out.
_match_strict_head = re.compile(
    rf"HTTP/1\.1 [1-9][0-9]{{2}}(?: {_NO_CONTROL})?\r\n(?:{_FIELD})*+\r\n".encode()
).match
# What can be understood as an answer of some HTTP/1: for all that is not an upgrade.
_match_status_line = re.compile(r"HTTP/1\.[0-9] +([1-9][0-9]{2})(?:[ \t]([^\n]*))?\r?\n").match
_find_head_end = re.compile(rb"\n\r?\n").search
_is_content_length = re.compile(r"[0-9]{1,18}").fullmatch
_match_chunk_size = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;|\r?$)").match

_HTTP: Final = b"HTTP/"
# RFC 8446, Section 5.1: the first byte of the alert that a TLS server sends to one who does not speak TLS.
_TLS_ALERT: Final = 0x15


class LastUpgrade:
    """The last upgrade that was found to be by the rules: who answers in the same bytes needs no second look.

    A server answers one opening like the other; what differs is the accept value, and once a second the date.
    What is the same around the right accept value means the same.
    """

    __slots__ = ("_after", "_before", "_result", "_subprotocols")

    def __init__(self) -> None:
        self._result: HandshakeResult | None = None
        self._before = self._after = b""
        self._subprotocols: Sequence[str] = ()

    def note(self, head: bytes, accept: str, subprotocols: Sequence[str], result: HandshakeResult) -> None:
        """`head`, the first thing that was read, has opened a connection whose accept value is `accept`."""
        self._before, _, self._after = head.partition(accept.encode())
        self._subprotocols = subprotocols
        # an accept value that is there twice would have to be looked at twice
        self._result = result if accept.encode() not in self._after else None

    def again(
        self, data: bytes, accept: str, subprotocols: Sequence[str], max_head_bytes: int
    ) -> HandshakeResult | None:
        """What the first bytes read say, where they are the same again; None where somebody must look."""
        known = self._result
        start = len(self._before)
        end = start + len(accept)
        if (
            known is None
            or data[start:end] != accept.encode()
            or end + len(self._after) > max_head_bytes
            or not data.startswith(self._before)
            or not data.startswith(self._after, end)
            or subprotocols != self._subprotocols
        ):
            return None
        # the headers are shared: ten thousand sockets hold one tuple
        return known._replace(tail=data[end + len(self._after) :])


class HeadParser:
    """Reader of the answer to one opening request: `feed` it what was read until it returns a result.

    It takes interim responses (RFC 9110, section 15.2) before the answer, up to ten.  A rejection is complete
    with its body, or with the first `max_body_bytes` of it; a caller who will not wait for the body that long
    (`head_complete` says that only the body is missing) calls `finish`, and at the end of the stream `eof`.
    The result does not depend on how the bytes were cut into reads, nor on `last`, which parsers share to
    read what they have read before in less time.  No input raises; feeding after the result does
    (RuntimeError), because what follows belongs to another reader.
    """

    __slots__ = (
        "_accept",
        "_body",
        "_buffer",
        "_interim",
        "_last",
        "_max_body_bytes",
        "_max_head_bytes",
        "_rejection",
        "_result",
        "_subprotocols",
    )

    def __init__(
        self,
        key: str,
        subprotocols: Sequence[str] = (),
        max_head_bytes: int = DEFAULT_MAX_HEAD_BYTES,
        max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
        last: LastUpgrade | None = None,
    ) -> None:
        self._accept = accept_for(key)
        self._last = last
        self._subprotocols = subprotocols
        self._max_head_bytes = max_head_bytes  # what is left of it, after interim responses
        self._max_body_bytes = max_body_bytes
        self._buffer = bytearray()
        self._interim = 0
        self._rejection: HandshakeResult | None = None  # without its body, which is being read
        self._body: _BodyStart | None = None
        self._result: HandshakeResult | None = None

    @property
    def head_complete(self) -> bool:
        """Whether the head of the final answer was read: what may still be missing is a rejection's body."""
        return self._rejection is not None or self._result is not None

    def feed(self, data: bytes) -> HandshakeResult | None:
        """The result, if `data`, the next bytes read, completes it."""
        if self._result is not None:
            raise RuntimeError("the handshake has its result: what follows belongs to the frame codec")
        if self._body is not None:
            return self._feed_body(data)
        if self._last is not None and not self._buffer and not self._interim:
            self._result = self._last.again(data, self._accept, self._subprotocols, self._max_head_bytes)
            if self._result is not None:
                return self._result
        return self._feed_head(data)

    def finish(self) -> HandshakeResult | None:
        """The result as far as it has come: a rejection with part of its body; None before the head's end."""
        if self._result is None and self._rejection is not None and self._body is not None:
            self._result = self._rejection._replace(body=bytes(self._body.start))
        return self._result

    def eof(self) -> HandshakeResult | None:
        """The result now that the stream has ended, None if it ended before the head did (outcome `eof`)."""
        return self.finish()

    def _feed_head(self, data: bytes) -> HandshakeResult | None:
        buffer = self._buffer
        # The blank line may have begun with the last two bytes.
        searched = max(0, len(buffer) - 2)
        buffer += data
        while buffer and self._result is None and self._body is None:
            if buffer[:5] != _HTTP[: len(buffer)]:
                return self._bad_upgrade(None, "", [], _fault_of_first_bytes(buffer))
            end = _find_head_end(buffer, searched)
            size = len(buffer) if end is None else end.end()
            if size > self._max_head_bytes:
                return self._end(HEAD_TOO_LARGE, None, "", [], "the response head is longer than the limit")
            if end is None:
                return None
            head = bytes(buffer[:size])
            del buffer[:size]
            self._max_head_bytes -= size
            searched = 0
            self._take_head(head)
        return self._result

    def _take_head(self, head: bytes) -> None:
        """Judges one whole head, with its blank line."""
        strict = _match_strict_head(head) is not None
        text = head.decode("latin-1")
        status_line = _match_status_line(text)
        if status_line is None:
            self._bad_upgrade(None, "", [], _NOT_HTTP)
            return
        status = int(status_line[1])
        reason = (status_line[2] or "").strip()[:_MAX_REASON_CHARACTERS]
        if 100 <= status < 200 and status != 101:
            self._interim += 1
            if self._interim > _MAX_INTERIM_RESPONSES:
                self._bad_upgrade(status, reason, [], "too many interim responses")
            return
        headers = read_fields(text[status_line.end() :])
        if status != 101:
            self._reject(status, reason, headers)
        elif not strict:
            self._bad_upgrade(status, reason, headers, "the response head is not well-formed HTTP/1.1")
        else:
            result = self._take_upgrade(reason, headers)
            if self._last is not None and not self._interim and result.outcome == OPEN:
                self._last.note(head, self._accept, self._subprotocols, result)

    def _take_upgrade(self, reason: str, headers: _Headers) -> HandshakeResult:
        """RFC 6455, Section 4.1: what the client must check of a 101."""
        fields = _combined(headers)
        subprotocol = _single(fields.get("sec-websocket-protocol"))
        if "upgrade" not in fields:
            fault = "Upgrade is missing"
        elif _single(fields["upgrade"].lower()) != "websocket":
            fault = "Upgrade is not websocket"
        elif "connection" not in fields:
            fault = "Connection is missing"
        elif not _has_token(fields["connection"], "upgrade"):
            fault = "Connection does not say upgrade"
        elif "sec-websocket-accept" not in fields:
            fault = "Sec-WebSocket-Accept is missing"
        elif _single(fields["sec-websocket-accept"]) != self._accept:
            fault = "Sec-WebSocket-Accept does not match"
        elif "sec-websocket-extensions" in fields:
            fault = "an extension was not asked for"
        elif subprotocol is not None and subprotocol not in self._subprotocols:
            fault = "the subprotocol was not asked for"
        else:
            kept = tuple(pair for pair in headers[:MAX_HEADERS_KEPT] if pair[0] != "sec-websocket-accept")
            tail = bytes(self._buffer)
            self._result = HandshakeResult(OPEN, 101, reason, kept, subprotocol, b"", tail, "")
            return self._result
        return self._bad_upgrade(101, reason, headers, fault)

    def _reject(self, status: int, reason: str, headers: _Headers) -> None:
        """The answer is another than 101: what remains is the start of its body."""
        outcome = f"rejected-{status}"
        kept = tuple(headers[:MAX_HEADERS_KEPT])
        self._rejection = HandshakeResult(outcome, status, reason, kept, None, b"", b"", outcome)
        self._body = _BodyStart(status, _combined(headers), self._max_body_bytes)
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._feed_body(rest)

    def _feed_body(self, data: bytes) -> HandshakeResult | None:
        if self._body is not None:
            self._body.feed(data)
            if self._body.complete:
                self.finish()
        return self._result

    def _bad_upgrade(self, status: int | None, reason: str, headers: _Headers, fault: str) -> HandshakeResult:
        return self._end(BAD_UPGRADE, status, reason, headers, fault)

    def _end(
        self, outcome: str, status: int | None, reason: str, headers: _Headers, fault: str
    ) -> HandshakeResult:
        self._buffer.clear()
        kept = tuple(headers[:MAX_HEADERS_KEPT])
        self._result = HandshakeResult(outcome, status, reason, kept, None, b"", b"", f"{outcome}: {fault}")
        return self._result


_NOT_HTTP: Final = "the answer is not HTTP/1"


def _fault_of_first_bytes(buffer: bytearray) -> str:
    return "the server answered in TLS" if buffer[0] == _TLS_ALERT else _NOT_HTTP


def read_fields(text: str) -> _Headers:
    """The header fields of a head, names in lower case; lines that are none are left out."""
    headers = []
    for line in text.split("\n"):
        name, colon, value = line.partition(":")
        if colon:
            headers.append((name.lower(), value.strip(" \t\r")))
    return headers


def _combined(headers: _Headers) -> dict[str, str]:
    """RFC 9110, Section 5.2: the values of fields with the same name are one list."""
    fields = dict(headers)
    if len(fields) != len(headers):
        fields = {}
        for name, value in headers:
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


def _single(value: str | None) -> str | None:
    """The one value of a list that holds it more than once, as proxies make of a field; else the list.

    What is said twice in the same way is as good as said once; what is said in two ways matches nothing.
    """
    if value is None or "," not in value:
        return value
    items = {item.strip(" \t") for item in value.split(",")}
    return items.pop() if len(items) == 1 else value


def _has_token(value: str, token: str) -> bool:
    """Whether a comma-separated list names `token` (in lower case), in any case."""
    lowered = value.lower()
    return lowered == token or token in (item.strip(" \t") for item in lowered.split(","))


class _BodyStart:
    """The first bytes of a body: by chunks, by Content-Length, or until the end (RFC 9112, section 6.3)."""

    __slots__ = ("_chunks", "_wanted", "complete", "start")

    def __init__(self, status: int, fields: dict[str, str], limit: int) -> None:
        self.start = bytearray()
        self._wanted = limit
        self._chunks: _Chunks | None = None
        length = _single(fields.get("content-length")) or ""
        if status in (204, 304):
            self._wanted = 0
        elif "transfer-encoding" in fields:
            if _has_token(fields["transfer-encoding"], "chunked"):
                self._chunks = _Chunks()
        elif _is_content_length(length):
            self._wanted = min(limit, int(length))
        self.complete = False  # known at the first feed, even of nothing

    def feed(self, data: bytes) -> None:
        if self._chunks is not None:
            data = self._chunks.feed(data)
        self.start += data[: self._wanted - len(self.start)]
        self.complete = len(self.start) >= self._wanted or (self._chunks is not None and self._chunks.ended)


class _Chunks:
    """Decoder of the chunked transfer coding (RFC 9112, section 7.1); what is malformed ends it."""

    __slots__ = ("_after_data", "_left", "_raw", "ended")

    def __init__(self) -> None:
        self._raw = bytearray()
        self._left = 0  # bytes of this chunk that have not come
        self._after_data = False  # the line end that follows a chunk's data has not come
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        """The body's bytes in `data`."""
        self._raw += data
        decoded = bytearray()
        while self._raw and not self.ended:
            if self._left:
                taken = self._raw[: self._left]
                del self._raw[: len(taken)]
                self._left -= len(taken)
                self._after_data = self._left == 0
                decoded += taken
                continue
            line_end = self._raw.find(b"\n")
            if line_end < 0 and len(self._raw) <= _MAX_CHUNK_LINE_BYTES:
                break
            if not 0 <= line_end <= _MAX_CHUNK_LINE_BYTES:
                self.ended = True
                break
            self._take_line(bytes(self._raw[:line_end]))
            del self._raw[: line_end + 1]
        return bytes(decoded)

    def _take_line(self, line: bytes) -> None:
        if self._after_data:
            self._after_data = False
            self.ended = line not in (b"", b"\r")
            return
        size = _match_chunk_size(line)
        self._left = 0 if size is None else int(size[1], 16)
        self.ended = self._left == 0
