"""The histogram against HdrHistogram itself."""

from __future__ import annotations

import base64
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.samples import DURATIONS_NS
from wsoak.ledger.histogram import (
    BUCKETS,
    HIGHEST_EQUIVALENT,
    HIGHEST_NS,
    LOWEST_NS,
    MIDDLE,
    SIGNIFICANT_DIGITS,
    SPARSE_LIMIT,
    Histogram,
    bucket_of,
    rank_of,
)

IN_RANGE = st.integers(LOWEST_NS, HIGHEST_NS) | st.integers(LOWEST_NS, 5_000_000)
PERCENTS = [0.1, 1, 10, 25, 50, 75, 90, 95, 99, 99.9, 99.99, 100]
S = 1_000_000_000


def hdr_of(values_ns: list[int]) -> HdrHistogram:
    hdr = HdrHistogram(LOWEST_NS, HIGHEST_NS, SIGNIFICANT_DIGITS)
    for value in values_ns:
        assert hdr.record_value(value)
    return hdr


@given(st.lists(IN_RANGE, min_size=1, max_size=200))
def test_bucket_indexes_are_those_of_hdrhistogram(values_ns: list[int]) -> None:
    hdr = HdrHistogram(LOWEST_NS, HIGHEST_NS, SIGNIFICANT_DIGITS)
    expected = [hdr.get_counts_array_index(value) for value in values_ns]
    assert bucket_of(np.array(values_ns, dtype=np.int64)).tolist() == expected


def test_bucket_bounds_are_those_of_hdrhistogram_for_every_bucket() -> None:
    hdr = HdrHistogram(LOWEST_NS, HIGHEST_NS, SIGNIFICANT_DIGITS)
    lows = [hdr.get_value_from_index(index) for index in range(BUCKETS)]
    highs = [hdr.get_highest_equivalent_value(low) for low in lows]
    assert HIGHEST_EQUIVALENT.tolist() == highs
    assert MIDDLE.tolist() == [(low + high + 1) // 2 for low, high in zip(lows, highs, strict=True)]


def equivalent(value_ns: int) -> int:
    """The highest value that falls into the same bucket."""
    return int(HIGHEST_EQUIVALENT[bucket_of(np.array([value_ns], dtype=np.int64))[0]])


@given(st.lists(IN_RANGE, min_size=1, max_size=150))
def test_a_percentile_is_the_least_value_at_or_below_which_that_share_lies(values_ns: list[int]) -> None:
    ordered, n = sorted(values_ns), len(values_ns)
    # in thousandths of a percent, as whole numbers: -(-a // b) is the ceiling of a / b
    expected = [ordered[-(-round(1000 * percent) * n // 100_000) - 1] for percent in PERCENTS]
    assert Histogram.of(values_ns).percentiles_ns(PERCENTS) == list(map(equivalent, expected))


@pytest.mark.parametrize(
    ("percent", "total", "rank"),
    [
        (99, 160, 159),
        (99, 100, 99),
        (99, 101, 100),
        (99.9, 1000, 999),
        (99.9, 999, 999),
        (99.9, 1, 1),
        (7, 100, 7),
        (55, 100, 55),
        (0.1, 10, 1),
        (50, 1, 1),
        (50, 2, 1),
        (50, 3, 2),
        (100, 7, 7),
        (120, 7, 7),
    ],
)
def test_the_rank_is_rounded_up_and_exact_where_it_is_whole(percent: float, total: int, rank: int) -> None:
    assert rank_of(percent, total) == rank
    assert Histogram.of([S * (1 + n) // 100 for n in range(total)]).percentile_ns(percent) == equivalent(
        S * rank // 100
    )


@given(st.integers(1, 99_999), st.integers(1, 10**12))
def test_a_rank_is_exact_for_any_total(thousandths: int, total: int) -> None:
    assert rank_of(thousandths / 1000, total) == max(1, -(-thousandths * total // 100_000))


@given(st.lists(IN_RANGE, min_size=1, max_size=150))
def test_extremes_and_mean_hold_to_three_significant_digits(values_ns: list[int]) -> None:
    histogram = Histogram.of(values_ns)
    tolerance: dict[str, Any] = {"rel": 1e-3, "abs": 512}
    assert histogram.total == len(values_ns)
    assert histogram.min_ns == pytest.approx(min(values_ns), **tolerance)
    assert histogram.max_ns == pytest.approx(max(values_ns), **tolerance)
    assert histogram.mean_ns == pytest.approx(sum(values_ns) / len(values_ns), **tolerance)


def test_an_empty_histogram_has_no_figures() -> None:
    empty = Histogram()
    assert (empty.total, empty.min_ns, empty.max_ns, empty.mean_ns) == (0, None, None, None)
    assert empty.percentiles_ns([50, 99]) == [None, None]
    assert empty.count_within(S) == 0
    assert not empty.saturated_at(99)


@given(st.lists(st.lists(DURATIONS_NS, max_size=100), max_size=5))
def test_merging_equals_recording_the_concatenation(batches: list[list[int]]) -> None:
    merged = Histogram()
    for batch in batches:
        merged.add(Histogram.of(batch))
    assert merged == Histogram.of([value for batch in batches for value in batch])


@given(st.lists(DURATIONS_NS, max_size=200), st.integers(0, 200))
def test_recording_in_batches_of_any_size_is_recording_at_once(values_ns: list[int], cut: int) -> None:
    histogram = Histogram.of(values_ns[:cut])
    histogram.record(np.array(values_ns[cut:], dtype=np.int64))
    assert histogram == Histogram.of(values_ns)


@given(st.lists(DURATIONS_NS, max_size=200))
def test_decoding_gives_back_what_was_encoded(values_ns: list[int]) -> None:
    histogram = Histogram.of(values_ns)
    assert Histogram.decode(histogram.encode(), histogram.under, histogram.over) == histogram
    assert Histogram.decode(histogram.encode().decode(), histogram.under, histogram.over) == histogram


@settings(deadline=None, max_examples=50)
@given(st.lists(IN_RANGE, max_size=100))
def test_hdrhistogram_reads_what_was_encoded(values_ns: list[int]) -> None:
    hdr = HdrHistogram.decode(Histogram.of(values_ns).encode())
    expected = hdr_of(values_ns)
    assert hdr.get_total_count() == len(values_ns)
    assert hdr.equals(expected)
    assert hdr.get_max_value() == expected.get_max_value()


def test_encoding_a_small_histogram_after_a_large_one_leaves_no_trace_of_it() -> None:
    Histogram.of([LOWEST_NS, HIGHEST_NS]).encode()
    small = Histogram.of([5_000])
    assert Histogram.decode(small.encode()) == small


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not base64 at all!",
        "AAAA",
        "HISTFAAAAA==",
        "\u4f60",
        Histogram.of([5_000]).encode().decode()[:-8],
        HdrHistogram(1, 1000, 2).encode().decode(),
        HdrHistogram(LOWEST_NS, 3600 * S, 3).encode().decode(),
    ],
)
def test_a_text_that_is_no_such_histogram_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HdrHistogram"):
        Histogram.decode(text)


@pytest.mark.parametrize(
    ("value_ns", "under", "over", "bucket_value_ns"),
    [
        (-(2**63), 1, 0, LOWEST_NS),
        (-1, 1, 0, LOWEST_NS),
        (0, 1, 0, LOWEST_NS),
        (LOWEST_NS - 1, 1, 0, LOWEST_NS),
        (LOWEST_NS, 0, 0, LOWEST_NS),
        (HIGHEST_NS, 0, 0, HIGHEST_NS),
        (HIGHEST_NS + 1, 0, 1, HIGHEST_NS),
        (2**63 - 1, 0, 1, HIGHEST_NS),
    ],
)
def test_values_outside_the_range_are_counted_and_clamped(
    value_ns: int, under: int, over: int, bucket_value_ns: int
) -> None:
    histogram = Histogram.of([value_ns])
    assert (histogram.total, histogram.under, histogram.over) == (1, under, over)
    assert all(map(np.array_equal, histogram.filled(), Histogram.of([bucket_value_ns]).filled()))


@pytest.mark.parametrize(
    ("within", "beyond", "percent", "saturated"),
    [
        (100, 0, 100, False),
        (99, 1, 100, True),
        (99, 1, 99, False),
        (98, 2, 99, True),
        (98, 2, 98, False),
        (0, 1, 1, True),
    ],
)
def test_a_percentile_among_values_above_the_range_is_called_saturated(
    within: int, beyond: int, percent: float, saturated: bool
) -> None:
    histogram = Histogram.of([S] * within + [61 * S] * beyond)
    assert histogram.saturated_at(percent) is saturated


def test_a_percentile_beyond_100_is_the_greatest_value() -> None:
    histogram = Histogram.of([S, 2 * S])
    assert histogram.percentile_ns(120) == histogram.percentile_ns(100)


@given(st.lists(DURATIONS_NS, max_size=100), st.integers(LOWEST_NS, 2 * HIGHEST_NS))
def test_count_within_is_exact_to_the_resolution(values_ns: list[int], limit_ns: int) -> None:
    last = bucket_of(np.array([min(limit_ns, HIGHEST_NS)], dtype=np.int64))[0]
    bound = int(HIGHEST_EQUIVALENT[last])
    expected = sum(value <= min(bound, HIGHEST_NS) for value in values_ns)
    assert Histogram.of(values_ns).count_within(limit_ns) == expected


@pytest.mark.parametrize("limit_ns", [HIGHEST_NS, HIGHEST_NS + 1, 10 * HIGHEST_NS])
def test_values_above_the_range_are_within_no_limit(limit_ns: int) -> None:
    assert Histogram.of([S, HIGHEST_NS + 1, 90 * S]).count_within(limit_ns) == 1


def test_nothing_is_within_a_limit_below_the_range() -> None:
    assert Histogram.of([0, 500, LOWEST_NS]).count_within(LOWEST_NS - 1) == 0


# values far apart, and many of them: on both sides of SPARSE_LIMIT
WIDE_NS = st.integers(0, 25_000).map(lambda step: LOWEST_NS + step**4 % HIGHEST_NS)


@settings(deadline=None, max_examples=60)
@given(st.lists(WIDE_NS, max_size=2 * SPARSE_LIMIT), st.integers(1, 2 * SPARSE_LIMIT))
def test_a_histogram_of_few_buckets_and_one_of_many_agree(values_ns: list[int], batch: int) -> None:
    at_once = Histogram.of(values_ns)
    in_parts = Histogram()
    for start in range(0, len(values_ns), batch):
        in_parts.add(Histogram.of(values_ns[start : start + batch]))
    hdr = hdr_of(values_ns)
    assert in_parts == at_once
    assert in_parts.encode() == at_once.encode()
    assert in_parts.total == len(values_ns)
    assert HdrHistogram.decode(at_once.encode()).equals(hdr)
    assert Histogram.decode(hdr.encode()) == at_once
    buckets, counts = in_parts.filled()
    assert (buckets.tolist(), counts.sum()) == (sorted(set(buckets.tolist())), len(values_ns))


@settings(deadline=None, max_examples=50)
@given(st.lists(IN_RANGE, max_size=100))
def test_few_buckets_are_encoded_as_the_library_encodes_them(values_ns: list[int]) -> None:
    def payload(encoded: bytes) -> bytes:
        return zlib.decompress(base64.b64decode(encoded)[8:])

    assert payload(Histogram.of(values_ns).encode()) == payload(hdr_of(values_ns).encode())


def test_a_few_durations_of_a_thousand_names_take_no_gigabytes() -> None:
    tracemalloc.start()
    try:
        kept = [Histogram.of([1_000 * number, 10**6, 10**9]) for number in range(1_000)]
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size / len(kept) < 1_000


def test_durations_beyond_any_limit_are_within_none_and_last() -> None:
    histogram = Histogram.of([S] * 98)
    histogram.count_beyond(2)
    assert (histogram.total, histogram.over, histogram.count_within(HIGHEST_NS)) == (100, 2, 98)
    assert (histogram.saturated_at(98), histogram.saturated_at(99)) == (False, True)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_histogram_are_refused_in_one_way(noise: bytes) -> None:
    with pytest.raises(ValueError, match="HdrHistogram"):
        Histogram.decode(base64.b64encode(noise))


@given(st.lists(IN_RANGE, min_size=1, max_size=20), st.data())
def test_a_cut_encoding_is_refused(values_ns: list[int], data: st.DataObject) -> None:
    whole = base64.b64decode(Histogram.of(values_ns).encode())
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ValueError, match="HdrHistogram"):
        Histogram.decode(base64.b64encode(whole[:cut]))
