"""Histogram: durations from 1 µs to 60 s at three significant digits, mergeable without loss.

The buckets are HdrHistogram's (Gil Tene, hdrhistogram.org), so that a run's log can be read by its
standard tools. What lies outside the range is counted in ``under`` and ``over`` *and* enters the first or
last bucket: a percentile never gets better because the worst values did not fit.

Values are recorded in batches: finding the buckets of a thousand values with numpy costs about as much
as recording ten of them one by one.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram

from wsoak.ledger import hdr_encoding

LOWEST_NS: Final = 1_000
HIGHEST_NS: Final = 60_000_000_000
SIGNIFICANT_DIGITS: Final = 3

_UNIT_MAGNITUDE: Final = 9
"""floor(log2(LOWEST_NS)): the finest bucket is 512 ns wide."""
_HALF_MAGNITUDE: Final = 10
"""2,048 sub-buckets give three significant digits; half of them are shared with the bucket below."""
_HALF_COUNT: Final = 1 << _HALF_MAGNITUDE
_MASK: Final = ((_HALF_COUNT << 1) - 1) << _UNIT_MAGNITUDE

_RANGE: Final = (SIGNIFICANT_DIGITS, LOWEST_NS, HIGHEST_NS)

SPARSE_LIMIT: Final = 256
"""Filled buckets up to which a histogram is a dict, of 30 KB at most; an array of all takes 147."""

ONE_BY_ONE: Final = 16
"""Batches of at most so many values are counted sooner without numpy."""

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


def rank_of(percent: float, total: int) -> int:
    """Which of ``total`` values, counted from the least as 1, is this percentile: ⌈percent / 100 · total⌉.

    The nearest-rank definition (Hyndman and Fan, "Sample Quantiles in Statistical Packages", 1996, type 1).
    HdrHistogram's own rule rounds the rank, and is one too low for half of all small totals.
    """
    # exact: in floats, 0.07 * 100 is more than 7
    return min(max(1, math.ceil(_exactly(percent) * total / 100)), total)


@lru_cache(maxsize=1024)
def _exactly(percent: float) -> Fraction:
    """The number as it is written, in decimal digits."""
    return Fraction(repr(float(percent)))


class Histogram:
    """Counts of durations by bucket.

    ``under`` and ``over`` say how many of them lay below 1 µs and above 60 s. Equal histograms hold equal
    counts. The memory follows the number of filled buckets while they are few, as those of one second and
    name are (a dict, some 100 bytes each); from ``SPARSE_LIMIT`` on it is one count a bucket (147 KB).
    """

    __slots__ = ("_dense", "_sparse", "over", "under")

    def __init__(self) -> None:
        self._sparse: dict[int, int] = {}
        self._dense: Counts | None = None
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
        if len(values_ns) <= ONE_BY_ONE:
            for value_ns in values_ns.tolist():
                self._record_one(value_ns)
            return
        self.under += int(np.count_nonzero(values_ns < LOWEST_NS))
        self.over += int(np.count_nonzero(values_ns > HIGHEST_NS))
        found = np.bincount(bucket_of(np.clip(values_ns, LOWEST_NS, HIGHEST_NS)))
        buckets = np.flatnonzero(found)
        self.count(buckets, found[buckets])

    def count(self, buckets: Counts, counts: Counts) -> None:
        """Add counts to these buckets, each of them named once."""
        if self._dense is None and len(self._sparse) + len(buckets) > SPARSE_LIMIT:
            self._make_dense()
        if self._dense is not None:
            self._dense[buckets] += counts
            return
        sparse = self._sparse
        for bucket, count in zip(buckets.tolist(), counts.tolist(), strict=True):
            sparse[bucket] = sparse.get(bucket, 0) + count

    def count_beyond(self, number: int) -> None:
        """Count durations that are longer than any limit, such as of requests that will never be answered."""
        if number:
            self.over += number
            self.count(np.array([_LAST]), np.array([number]))

    def add(self, other: Histogram) -> None:
        """Count all that ``other`` has counted."""
        self.under += other.under
        self.over += other.over
        if other._dense is not None:
            self._make_dense()
            assert self._dense is not None
            self._dense += other._dense
        elif self._dense is None and len(self._sparse) + len(other._sparse) <= SPARSE_LIMIT:
            sparse = self._sparse
            for bucket, count in other._sparse.items():
                sparse[bucket] = sparse.get(bucket, 0) + count
        else:
            self.count(*other.filled())

    def filled(self) -> tuple[Counts, Counts]:
        """The indexes of the buckets that hold something, rising, and their counts; shape (buckets,) each."""
        if self._dense is not None:
            buckets = np.flatnonzero(self._dense)
            return buckets, self._dense[buckets]
        buckets = np.array(sorted(self._sparse), dtype=np.int64)
        return buckets, np.array([self._sparse[bucket] for bucket in buckets.tolist()], dtype=np.int64)

    @property
    def total(self) -> int:
        """How many values were recorded, those outside the range included."""
        if self._dense is not None:
            return int(self._dense.sum())
        return sum(self._sparse.values())

    @property
    def mean_ns(self) -> float | None:
        """The mean in nanoseconds, to the histogram's resolution; ``None`` without values."""
        total = self.total
        return None if not total else self.sum_ns / total

    @property
    def sum_ns(self) -> float:
        """All durations added up, in nanoseconds, to the histogram's resolution."""
        buckets, counts = self.filled()
        return float(np.dot(counts, MIDDLE[buckets]))

    @property
    def max_ns(self) -> int | None:
        """The highest value equivalent to the largest recorded; ``None`` without values."""
        buckets, _ = self.filled()
        return None if not len(buckets) else int(HIGHEST_EQUIVALENT[buckets[-1]])

    @property
    def min_ns(self) -> int | None:
        """The lowest value equivalent to the smallest recorded; ``None`` without values."""
        buckets, _ = self.filled()
        return None if not len(buckets) else int(_LOW[buckets[0]])

    def percentiles_ns(self, percents: Sequence[float]) -> list[int | None]:
        """The value at each percentile (above 0, to 100); ``None`` without values.

        It is the highest value equivalent to the least one at or below which so many lie; see ``rank_of``.
        A percentile that falls among the values above 60 s reads as the last bucket; see ``saturated_at``.
        """
        buckets, counts = self.filled()
        if not len(buckets):
            return [None] * len(percents)
        cumulative = np.cumsum(counts)
        total = int(cumulative[-1])
        ranks = [rank_of(percent, total) for percent in percents]
        return [int(HIGHEST_EQUIVALENT[buckets[i]]) for i in np.searchsorted(cumulative, ranks)]

    def percentile_ns(self, percent: float) -> int | None:
        """The value at one percentile; see ``percentiles_ns``."""
        return self.percentiles_ns([percent])[0]

    def saturated_at(self, percent: float) -> bool:
        """Whether the value at this percentile lies above 60 s, so that it is not known."""
        total = self.total
        return self.over > 0 and rank_of(percent, total) > total - self.over

    def count_within(self, limit_ns: int) -> int:
        """How many values are at most ``limit_ns``, to the histogram's resolution.

        Values above 60 s are within no limit, and values below 1 µs only within limits from 1 µs on.
        """
        if limit_ns < LOWEST_NS:
            return 0
        last = int(bucket_of(np.array([min(limit_ns, HIGHEST_NS)], dtype=np.int64))[0])
        buckets, counts = self.filled()
        within = int(counts[: np.searchsorted(buckets, last, side="right")].sum())
        return within - self.over if last == _LAST else within

    def encode(self) -> bytes:
        """HdrHistogram's V2 compressed encoding in base64; ``under`` and ``over`` are not in it."""
        if self._dense is None and self.total < hdr_encoding.LARGEST_COUNT:
            return hdr_encoding.encode(sorted(self._sparse.items()), _RANGE)
        return _encode_dense(self)

    @classmethod
    def decode(cls, encoded: bytes | str, under: int = 0, over: int = 0) -> Self:
        """The histogram that ``encode`` gave ``encoded``.

        Raises:
            ValueError: when the text is not such a histogram, or one of another range.
        """
        histogram = cls()
        histogram.under, histogram.over = under, over
        few = hdr_encoding.decode(encoded, _RANGE)
        if few is None:
            counts = _decode_dense(encoded)
            buckets = np.flatnonzero(counts)
            histogram.count(buckets, counts[buckets])
        elif few and max(few) >= BUCKETS:
            raise ValueError("an HdrHistogram of another range")
        else:
            histogram._sparse = few
        return histogram

    def _record_one(self, value_ns: int) -> None:
        if value_ns < LOWEST_NS:
            self.under += 1
            value_ns = LOWEST_NS
        elif value_ns > HIGHEST_NS:
            self.over += 1
            value_ns = HIGHEST_NS
        bucket = (value_ns | _MASK).bit_length() - _UNIT_MAGNITUDE - _HALF_MAGNITUDE - 1
        index = (bucket << _HALF_MAGNITUDE) + (value_ns >> (bucket + _UNIT_MAGNITUDE))
        if self._dense is not None:
            self._dense[index] += 1
        else:
            self._sparse[index] = self._sparse.get(index, 0) + 1
            if len(self._sparse) > SPARSE_LIMIT:
                self._make_dense()

    def _make_dense(self) -> None:
        if self._dense is None:
            buckets, counts = self.filled()
            self._dense = np.zeros(BUCKETS, dtype=np.int64)
            self._dense[buckets] = counts
            self._sparse = {}

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Histogram)
            and self.under == other.under
            and self.over == other.over
            and all(map(np.array_equal, self.filled(), other.filled()))
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Histogram of {self.total}, {self.under} under, {self.over} over>"


_SCRATCH: Final = _new_hdr()
"""One encoder for the process, as building one costs more than encoding; encoding never yields."""


def _encode_dense(histogram: Histogram) -> bytes:
    buckets, counts = histogram.filled()
    dense = np.zeros(BUCKETS, dtype=np.int64)
    dense[buckets] = counts
    ctypes.memmove(_SCRATCH.counts, dense.ctypes.data, dense.nbytes)
    _SCRATCH.total_count = histogram.total
    _SCRATCH.max_value = int(HIGHEST_EQUIVALENT[buckets[-1]]) if len(buckets) else 0
    encoded: bytes = _SCRATCH.encode()
    return encoded


def _decode_dense(encoded: bytes | str) -> Counts:
    try:
        hdr = HdrHistogram.decode(encoded)
    except Exception as error:  # hdrh raises TypeError, zlib.error, binascii.Error and four of its own
        raise ValueError(f"not an HdrHistogram: {type(error).__name__}") from error
    if hdr.counts_len != BUCKETS or hdr.unit_magnitude != _UNIT_MAGNITUDE:
        raise ValueError("an HdrHistogram of another range")
    return np.array(np.frombuffer(hdr.counts, dtype=np.int64))
