"""HdrHistogram's V2 compressed encoding of a few filled buckets, without a dense histogram in between.

The payload is a sequence of ZigZag LEB128 numbers: a count for each bucket, and ``-n`` for ``n`` empty
buckets in a row. Python writes some hundred of them sooner than the library fills and scans its 18,000
counts; for more, the library is faster (``histogram`` decides). The format is that of
``HdrHistogram.encodeIntoByteBuffer`` (HdrHistogram 2.1, V2; hdrhistogram.org).
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable
from typing import Final

_PAYLOAD_COOKIE: Final = 0x1C849313
_COMPRESSED_COOKIE: Final = 0x1C849314

_PAYLOAD_HEAD: Final = struct.Struct(">IIIIQQd")
"""Cookie, length of the counts, index offset, significant digits, lowest and highest value, value ratio."""
_COMPRESSED_HEAD: Final = struct.Struct(">II")
"""Cookie, length of the compressed payload."""

LARGEST_COUNT: Final = 1 << 55
"""Counts from here on take LEB128-64b9B's ninth byte, which has a rule of its own: left to the library."""

PLAIN_LIMIT: Final = 1024
"""Bytes of encoded counts up to which ``decode`` is faster than the library."""

Range = tuple[int, int, int]
"""Significant digits, lowest and highest value of a histogram."""


def encode(buckets: Iterable[tuple[int, int]], of: Range) -> bytes:
    """The encoding, in base64, of these buckets: (index, count) by rising index, counts from 1 up.

    Counts must be below ``LARGEST_COUNT``.
    """
    numbers = bytearray()
    at = 0
    for index, count in buckets:
        if index > at:
            _put(numbers, 2 * (index - at) - 1)
        _put(numbers, 2 * count)
        at = index + 1
    payload = _PAYLOAD_HEAD.pack(_PAYLOAD_COOKIE, len(numbers), 0, *of, 1.0) + numbers
    compressed = zlib.compress(payload)
    return base64.b64encode(_COMPRESSED_HEAD.pack(_COMPRESSED_COOKIE, len(compressed)) + compressed)


def decode(encoded: bytes | str, of: Range) -> dict[int, int] | None:
    """The filled buckets, count by index; ``None`` where the library must read it: many, or not this format.

    Raises:
        ValueError: when the text is damaged.
    """
    try:
        raw = base64.b64decode(encoded)
        cookie, length = _COMPRESSED_HEAD.unpack_from(raw)
        if cookie != _COMPRESSED_COOKIE or length > PLAIN_LIMIT:
            return None
        # bounded, as few bytes can stand for many; one byte more tells that there is a rest
        inflating = zlib.decompressobj()
        payload = inflating.decompress(raw[_COMPRESSED_HEAD.size :][:length], PLAIN_LIMIT + 1)
        if len(payload) > PLAIN_LIMIT:
            return None
        head = _PAYLOAD_HEAD.unpack_from(payload)
    except (struct.error, zlib.error, ValueError) as error:
        raise ValueError(f"not an HdrHistogram: {type(error).__name__}") from error
    if not inflating.eof:
        raise ValueError("not a whole HdrHistogram")
    numbers = payload[_PAYLOAD_HEAD.size :]
    if head != (_PAYLOAD_COOKIE, len(numbers), 0, *of, 1.0):
        return None
    return _counts(numbers)


def _put(numbers: bytearray, value: int) -> None:
    while value > 0x7F:
        numbers.append(value & 0x7F | 0x80)
        value >>= 7
    numbers.append(value)


def _counts(numbers: bytes) -> dict[int, int]:
    counts: dict[int, int] = {}
    index = value = shift = 0
    for byte in numbers:
        value |= (byte & 0x7F) << shift
        if byte & 0x80:
            shift += 7
            continue
        if value & 1:
            index += (value + 1) >> 1
        else:
            if value:
                counts[index] = value >> 1
            index += 1
        value = shift = 0
    return counts
