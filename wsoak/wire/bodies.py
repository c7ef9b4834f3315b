"""Bodies: the start of a refusal's body as text that can be read, whatever it was sent in.

What is cut off in the middle is read as far as it goes, and what is packed grows to no more than the limit.
"""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Mapping
from typing import Final

_WINDOW_BITS: Final = {
    # RFC 1952; servers mean RFC 1950 by deflate, or RFC 1951 alone
    "gzip": (31,),
    "x-gzip": (31,),
    "deflate": (15, -15),
}
_charset_of = re.compile(r"charset\s*=\s*\"?([^\s\";]+)", re.IGNORECASE).search
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def readable(body: bytes, headers: Mapping[str, str], limit: int) -> str:
    """The body's start as text.

    Args:
        headers: of the answer, by name in any case: Content-Encoding, Content-Type.
        limit: bytes that an unpacked body may have at most.
    """
    for coding in reversed(_codings(headers)):
        unpacked = _unpacked(body, coding, limit)
        if unpacked is None:
            return f"({len(body):,} bytes of {coding[:32]})"
        body = unpacked
    return _decoded(body, _charset(body, headers.get("content-type", "")))


def _codings(headers: Mapping[str, str]) -> list[str]:
    """RFC 9110 section 8.4: the codings in the order in which they were applied."""
    named = f"{headers.get('content-encoding', '')},{headers.get('transfer-encoding', '')}".lower().split(",")
    codings = [coding.strip() for coding in named]
    return [coding for coding in codings if coding not in ("", "identity", "chunked")]


def _unpacked(body: bytes, coding: str, limit: int) -> bytes | None:
    """``None`` for a coding that is not known, or a body that is not in it."""
    if not body:
        return body
    for bits in _WINDOW_BITS.get(coding, ()):
        try:
            return zlib.decompressobj(bits).decompress(body, limit)
        except zlib.error:
            continue
    return None


def _charset(body: bytes, content_type: str) -> str:
    for mark, name in _MARKS:
        if body.startswith(mark):
            return name
    named = _charset_of(content_type)
    return named[1] if named else "utf-8"


def _decoded(body: bytes, charset: str) -> str:
    try:
        # as a part: a character that the limit cut through is left out; a codec that is no charset is refused
        bytes(4).decode(charset, "ignore")
        return codecs.getincrementaldecoder(charset)("replace").decode(body)
    except (LookupError, ValueError, TypeError):
        return body.decode("utf-8", errors="replace")
