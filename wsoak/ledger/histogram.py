"""Histogram: durations from 1 µs to 60 s at three significant digits, mergeable without loss.

The buckets are HdrHistogram's (Gil Tene, hdrhistogram.org), so that a run's log can be read by its
standard tools. What lies outside the range is counted in ``under`` and ``over`` *and* enters the first or
last bucket: a percentile never gets better because the worst values did not fit.

Values are recorded in batches: finding the buckets of a thousand values with numpy costs about as much
as recording ten of them one by one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram

LOWEST_NS: Final = 1_000
HIGHEST_NS: Final = 60_000_000_000
SIGNIFICANT_DIGITS: Final = 3

_UNIT_MAGNITUDE: Final = 9
"""floor(log2(LOWEST_NS)): the finest bucket is 512 ns wide."""
_HALF_MAGNITUDE: Final = 10
"""2,048 sub-buckets give three significant digits; half of them are shared with the bucket below."""
_HALF_COUNT: Final = 1 << _HALF_MAGNITUDE
_MASK: Final = ((_HALF_COUNT << 1) - 1) << _UNIT_MAGNITUDE

Counts = npt.NDArray[np.int64]


def _new_hdr() -> Any:
    return HdrHistogram(LOWEST_NS, HIGHEST_NS, SIGNIFICANT_DIGITS)


BUCKETS: Final[int] = _new_hdr().counts_len


def bucket_of(values_ns: Counts) -> Counts:
    """The bucket index of each value; values are nanoseconds within the range."""
    # frexp's exponent is the bit length, exact for integers below 2**53
    bit_length = np.frexp((values_ns | _MASK).astype(np.float64))[1].astype(np.int64)
    bucket = bit_length - _UNIT_MAGNITUDE - _HALF_MAGNITUDE - 1
    sub_bucket = values_ns >> (bucket + _UNIT_MAGNITUDE)
    return ((bucket + 1) << _HALF_MAGNITUDE) + sub_bucket - _HALF_COUNT


def _bounds() -> tuple[Counts, Counts]:
    index = np.arange(BUCKETS, dtype=np.int64)
    bucket = (index >> _HALF_MAGNITUDE) - 1
    sub_bucket = (index & (_HALF_COUNT - 1)) + _HALF_COUNT
    sub_bucket[bucket < 0] -= _HALF_COUNT
    bucket[bucket < 0] = 0
    low = sub_bucket << (bucket + _UNIT_MAGNITUDE)
    width = np.int64(1) << (bucket + _UNIT_MAGNITUDE)
    return low, width


_LOW, _WIDTH = _bounds()
HIGHEST_EQUIVALENT: Final[Counts] = _LOW + _WIDTH - 1
"""The largest value, in nanoseconds, that falls into each bucket."""
MIDDLE: Final[Counts] = _LOW + _WIDTH // 2
"""The middle of each bucket, in nanoseconds."""


_LAST: Final = int(bucket_of(np.array([HIGHEST_NS], dtype=np.int64))[0])
"""The bucket of 60 s, which also holds what lies above."""


def _rank(percent: float, total: int) -> int:
    return max(1, int(min(percent, 100.0) * total / 100 + 0.5))


class Histogram:
    """Counts of durations by bucket.

    ``counts`` has one entry a bucket (shape ``(BUCKETS,)``); ``under`` and ``over`` say how many of them
    lay below 1 µs and above 60 s. Equal histograms hold equal counts.
    """

    __slots__ = ("counts", "over", "under")

    def __init__(self) -> None:
        self.counts: Counts = np.zeros(BUCKETS, dtype=np.int64)
        self.under = 0
        self.over = 0

    @classmethod
    def of(cls, values_ns: Iterable[int]) -> Self:
        """The histogram of these values."""
        histogram = cls()
        histogram.record(np.fromiter(values_ns, dtype=np.int64))
        return histogram

    def record(self, values_ns: Counts) -> None:
        """Count a batch of durations in nanoseconds (any int64 array; may be empty or out of range)."""
        if not len(values_ns):
            return
        self.under += int(np.count_nonzero(values_ns < LOWEST_NS))
        self.over += int(np.count_nonzero(values_ns > HIGHEST_NS))
        index = bucket_of(np.clip(values_ns, LOWEST_NS, HIGHEST_NS))
        if len(index) < 64:
            np.add.at(self.counts, index, 1)
        else:
            found = np.bincount(index)
            self.counts[: len(found)] += found

    def add(self, other: Histogram) -> None:
        """Count all that ``other`` has counted."""
        self.counts += other.counts
        self.under += other.under
        self.over += other.over

    @property
    def total(self) -> int:
        """How many values were recorded, those outside the range included."""
        return int(self.counts.sum())

    @property
    def mean_ns(self) -> float | None:
        """The mean in nanoseconds, to the histogram's resolution; ``None`` without values."""
        total = self.total
        return None if not total else float(np.dot(self.counts, MIDDLE)) / total

    @property
    def max_ns(self) -> int | None:
        """The highest value equivalent to the largest recorded; ``None`` without values."""
        filled = np.flatnonzero(self.counts)
        return None if not len(filled) else int(HIGHEST_EQUIVALENT[filled[-1]])

    @property
    def min_ns(self) -> int | None:
        """The lowest value equivalent to the smallest recorded; ``None`` without values."""
        filled = np.flatnonzero(self.counts)
        return None if not len(filled) else int(_LOW[filled[0]])

    def percentiles_ns(self, percents: Sequence[float]) -> list[int | None]:
        """The value at each percentile (above 0, to 100), by HdrHistogram's rule; ``None`` without values.

        A percentile that falls among the values above 60 s reads as the last bucket; see ``saturated_at``.
        """
        cumulative = np.cumsum(self.counts)
        total = int(cumulative[-1])
        if not total:
            return [None] * len(percents)
        ranks = [_rank(percent, total) for percent in percents]
        return [int(HIGHEST_EQUIVALENT[i]) for i in np.searchsorted(cumulative, ranks)]

    def percentile_ns(self, percent: float) -> int | None:
        """The value at one percentile; see ``percentiles_ns``."""
        return self.percentiles_ns([percent])[0]

    def saturated_at(self, percent: float) -> bool:
        """Whether the value at this percentile lies above 60 s, so that it is not known."""
        total = self.total
        return self.over > 0 and _rank(percent, total) > total - self.over

    def count_within(self, limit_ns: int) -> int:
        """How many values are at most ``limit_ns``, to the histogram's resolution.

        Values above 60 s are within no limit, and values below 1 µs only within limits from 1 µs on.
        """
        if limit_ns < LOWEST_NS:
            return 0
        last = int(bucket_of(np.array([min(limit_ns, HIGHEST_NS)], dtype=np.int64))[0])
        within = int(self.counts[: last + 1].sum())
        return within - self.over if last == _LAST else within

    def encode(self) -> bytes:
        """HdrHistogram's V2 compressed encoding in base64; ``under`` and ``over`` are not in it."""
        _copy(self.counts, _SCRATCH)
        filled = np.flatnonzero(self.counts)
        _SCRATCH.total_count = self.total
        _SCRATCH.max_value = int(HIGHEST_EQUIVALENT[filled[-1]]) if len(filled) else 0
        encoded: bytes = _SCRATCH.encode()
        return encoded

    @classmethod
    def decode(cls, encoded: bytes | str, under: int = 0, over: int = 0) -> Self:
        """The histogram that ``encode`` gave ``encoded``.

        Raises:
            ValueError: when the text is not such a histogram, or one of another range.
        """
        try:
            hdr = HdrHistogram.decode(encoded)
        except Exception as error:  # hdrh raises TypeError, zlib.error, binascii.Error and four of its own
            raise ValueError(f"not an HdrHistogram: {type(error).__name__}") from error
        if hdr.counts_len != BUCKETS or hdr.unit_magnitude != _UNIT_MAGNITUDE:
            raise ValueError("an HdrHistogram of another range")
        histogram = cls()
        histogram.counts[:] = np.frombuffer(hdr.counts, dtype=np.int64)
        histogram.under = under
        histogram.over = over
        return histogram

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Histogram)
            and self.under == other.under
            and self.over == other.over
            and bool(np.array_equal(self.counts, other.counts))
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Histogram of {self.total}, {self.under} under, {self.over} over>"


_SCRATCH: Final = _new_hdr()
"""One encoder for the process, as building one costs more than encoding; encoding never yields."""


def _copy(counts: Counts, hdr: Any) -> None:
    ctypes.memmove(hdr.counts, counts.ctypes.data, counts.nbytes)
