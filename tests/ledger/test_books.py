"""Books: however a run was split, its parts add up to the whole."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.clock import Clock
from tests.ledger.samples import CONNECTIONS, DURATIONS_NS, DYADIC, TEXTS, connection, deltas
from wsoak.ledger.books import SAMPLES, Books, Crowd, EndGroup, GaugeSummary, Reconnects, Samples
from wsoak.ledger.delta import KINDS, Delta
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.outcomes import OUTCOMES
from wsoak.ledger.recorder import Recorder
from wsoak.ledger.records import Gauge, Observation
from wsoak.ledger.timeline import COUNTERS, ZERO, CounterRow

Event = Callable[[Recorder], None]

NAMES = st.sampled_from(["dialogue", "call", "你好", ""])


def count_event(name: str, counter: str, by: float) -> Event:
    def event(recorder: Recorder) -> None:
        series = recorder.series(name)
        setattr(series, counter, getattr(series, counter) + by)

    return event


EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(count_event, NAMES, st.sampled_from(COUNTERS), st.integers(1, 1000)),
    st.builds(count_event, NAMES, st.just("metric_sum"), DYADIC),
    st.builds(
        lambda name, kind, value: lambda recorder: getattr(recorder.series(name), f"{kind}_ns").append(value),
        NAMES,
        st.sampled_from(KINDS),
        DURATIONS_NS,
    ),
    st.builds(
        lambda name, outcome: lambda recorder: recorder.opening_ended(recorder.series(name), outcome),
        NAMES,
        st.sampled_from([*OUTCOMES, "rejected-503"]),
    ),
    st.builds(lambda record: lambda recorder: recorder.connection_ended(record), CONNECTIONS),
    st.builds(lambda name, value: lambda recorder: recorder.gauge("target", name, value), NAMES, DYADIC),
    st.builds(
        lambda name, count, text: lambda recorder: recorder.observe("history-lost", name, count, 9, text),
        NAMES,
        st.integers(0, 9),
        TEXTS,
    ),
)


@dataclass(frozen=True)
class Step:
    """An event, when it comes, which of the parts records it, and which part is taken after it."""

    pause_s: float
    event: Event
    part: int
    taken: int | None


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from([0.0, 0.001, 0.4, 1.0, 2.7]),
        EVENTS,
        st.integers(0, 3),
        st.none() | st.integers(0, 3),
    ),
    max_size=30,
)


def books_of(deltas: list[Delta]) -> Books:
    books = Books()
    for delta in deltas:
        books.add(delta)
    return books


def merged_in_any_grouping(parts: list[Books], chance: random.Random) -> Books:
    while len(parts) > 1:
        left = parts.pop(chance.randrange(len(parts)))
        parts[chance.randrange(len(parts))].merge(left)
    return parts[0] if parts else Books()


@settings(deadline=None, max_examples=80)
@given(STEPS, st.randoms(use_true_random=False))
def test_parts_add_up_to_the_whole_in_any_order_and_grouping(
    steps: list[Step], chance: random.Random
) -> None:
    clock = Clock()
    whole, *parts = [clock.recorder() for _ in range(5)]
    taken: list[Delta] = []
    for step in steps:
        now_ns = clock.advance(step.pause_s)
        for recorder in (whole, parts[step.part]):
            recorder.tick(now_ns)
            step.event(recorder)
        if step.taken is not None:
            taken.append(parts[step.taken].take())
    taken += [recorder.take() for recorder in parts]
    expected = books_of([whole.take()])

    chance.shuffle(taken)
    assert books_of(taken) == expected
    cuts = sorted(chance.randrange(len(taken) + 1) for _ in range(3))
    groups = [taken[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
    assert merged_in_any_grouping([books_of(group) for group in groups], chance) == expected


@settings(deadline=None, max_examples=40)
@given(st.lists(deltas(), max_size=4), st.randoms(use_true_random=False))
def test_any_deltas_at_all_add_up_the_same_in_any_order(parts: list[Delta], chance: random.Random) -> None:
    expected = books_of(parts)
    chance.shuffle(parts)
    assert books_of(parts) == expected
    assert merged_in_any_grouping([books_of([part]) for part in parts], chance) == expected


def test_merging_leaves_the_other_books_alone() -> None:
    ours, theirs = Books(), Books()
    for books in (ours, theirs):
        books.add_histogram("response", "a", Histogram.of([5_000]))
        books.add_connection(connection(error="x"))
        books.add_gauge(Gauge(1.0, "w", "target", "fds", 1.0))
        books.add_observation(Observation(1.0, "w", "history-lost", "a", 1, 2, "y"))
    untouched = Books()
    untouched.merge(theirs)
    ours.merge(theirs)
    ours.add_connection(connection(error="z"))
    ours.add_histogram("response", "a", Histogram.of([5_000]))
    assert theirs == untouched


def row(**counters: float) -> CounterRow:
    return tuple(counters.get(counter, 0) for counter in COUNTERS)


def test_totals_and_names_are_read_by_counter() -> None:
    books = Books()
    books.add_row(10, "a", row(opened=3, closed=1, metric_sum=0.5))
    books.add_row(11, "a", row(opened=1))
    books.add_row(11, "b", row(sent=5))
    assert books.count("opened") == 4
    assert books.count("opened", "b") == 0
    assert books.count("opened", "no such name") == 0
    assert books.total("metric_sum", "a") == 0.5
    assert books.open_now == 3
    assert books.names_with("sent") == ["b"]
    assert (books.first_s, books.last_s) == (10, 11)
    with pytest.raises(KeyError):
        books.total("no such counter", "a")


def test_a_histogram_of_all_names_is_their_sum_and_a_new_one() -> None:
    books = Books()
    books.add_histogram("response", "a", Histogram.of([5_000]))
    books.add_histogram("response", "b", Histogram.of([9_000]))
    books.add_histogram("lag", "a", Histogram.of([1_000]))
    both = books.histogram("response")
    assert both == Histogram.of([5_000, 9_000])
    both.add(both)
    assert books.histogram("response", "a") == Histogram.of([5_000])
    assert books.histogram("ping") == Histogram()


def test_connections_that_ended_alike_are_one_group() -> None:
    books = Books()
    ages_s = (2.0, 0.5, None)
    for age_s in ages_s:
        books.add_connection(connection(age_s=age_s, started_at=100.0, upgrade_ms=500.0, idle_s=0.05))
    books.add_connection(connection(code=1006, received_code=None))
    [(kind, group)] = [(kind, group) for kind, group in books.ends.items() if kind.code == 1000]
    assert (kind.replied, kind.denied, kind.reconnect, kind.ended_by_run) == (True, False, False, False)
    assert (group.count, group.first_s, group.last_s) == (3, 100.5, 102.5)
    assert (group.age_sum_ms, group.age_min_s, group.age_max_s) == (2500, 0.5, 2.0)
    assert (group.idle_min_s, group.idle_max_s, group.active) == (0.05, 0.05, 3)
    assert group.reasons == Samples(["bye"])
    assert group.errors == Samples()
    assert len(books.ends) == 2


@pytest.mark.parametrize(
    ("changes", "attribute"),
    [
        ({"messages_received": 0}, "replied"),
        ({"server_error": "no"}, "denied"),
        ({"attempt": 2}, "reconnect"),
        ({"initiator": "client", "reason": "run ended"}, "ended_by_run"),
    ],
)
def test_what_an_end_has_in_common_is_derived_from_the_record(
    changes: dict[str, Any], attribute: str
) -> None:
    books = Books()
    books.add_connection(connection())
    books.add_connection(connection(**changes))
    plain, changed = books.ends
    assert getattr(plain, attribute) is not getattr(changed, attribute)


def group_of(*records: Any) -> EndGroup:
    group = EndGroup()
    for record in records:
        group.add_record(record)
    return group


def timed_out(at_s: float, opening: int | None, worker: str = "w") -> Any:
    return connection(outcome="timeout-upgrade", started_at=at_s, opening=opening, worker=worker)


@pytest.mark.parametrize(
    ("records", "onsets"),
    [
        ([], {}),
        ([timed_out(5.9, 12), timed_out(5.1, 9), timed_out(5.5, 30)], {"w": (5, 9)}),
        # a queue that others have just left is no measure
        ([timed_out(7.0, 2), timed_out(5.9, 12)], {"w": (5, 12)}),
        (
            [timed_out(5.0, 9, "a"), timed_out(6.0, 2, "b"), timed_out(6.5, 1, "a")],
            {"a": (5, 9), "b": (6, 2)},
        ),
        ([timed_out(5.0, None), timed_out(float("nan"), 1), connection(opening=1)], {}),
        ([connection(outcome="timeout-tcp", opening=3), connection(outcome="reset", opening=3)], {}),
    ],
)
def test_an_onset_is_the_least_number_under_way_in_the_first_second_of_time_outs(
    records: list[Any], onsets: dict[str, tuple[int, int]]
) -> None:
    assert group_of(*records).onsets == onsets
    assert group_of(*reversed(records)).onsets == onsets


def test_sockets_that_opened_are_told_apart_by_how_many_were_opening() -> None:
    openings = {1: 1.0, 2: 2.0, 3: 4.0, 4: 8.0, 7: 9.0}
    records = [connection(opening=opening, upgrade_ms=ms, worker="w") for opening, ms in openings.items()]
    records += [connection(opening=3, upgrade_ms=1.0, worker="v"), connection(opening=None)]
    records += [connection(opening=9, upgrade_ms=None), connection(opening=9, outcome="rejected-403")]
    assert group_of(*records).crowds == {
        ("w", 1): Crowd(1, 1000, 1, 1),
        ("w", 2): Crowd(2, 6000, 2, 3),
        ("w", 3): Crowd(2, 17000, 4, 7),
        ("v", 2): Crowd(1, 1000, 3, 3),
    }


@given(CONNECTIONS)
def test_a_record_counts_as_a_group_of_one_added_in(record: Any) -> None:
    one, added = EndGroup(), EndGroup()
    one.add_record(record)
    added.add(one)
    assert added == one
    assert one.count == 1


@given(st.lists(TEXTS, max_size=12), st.integers(0, 12))
def test_samples_are_the_smallest_texts_however_they_came(texts: list[str], cut: int) -> None:
    samples = Samples(texts[:cut])
    samples.add(texts[cut:])
    assert samples == Samples(texts)
    assert samples.texts == sorted({text for text in texts if text})[:SAMPLES]


def test_the_last_reading_of_a_gauge_is_the_latest_not_the_last_added() -> None:
    summary = GaugeSummary()
    for at, value in ((5.0, 1.0), (9.0, 4.0), (7.0, 2.0)):
        summary.add(GaugeSummary(1, value, value, value, at, value))
    assert (summary.last_at, summary.last) == (9.0, 4.0)
    assert (summary.count, summary.least, summary.greatest, summary.mean) == (3, 1.0, 4.0, 7 / 3)
    assert GaugeSummary().mean == 0.0


# --------------------------------------------------------------------------------------------- the horizon

ROWS = st.lists(st.tuples(st.integers(0, 40), st.sampled_from("ab")), max_size=60)


@given(ROWS, st.integers(1, 20))
def test_with_a_horizon_the_last_seconds_are_kept_and_the_totals_of_all(
    rows: list[tuple[int, str]], horizon_s: int
) -> None:
    everything, recent = Books(), Books(horizon_s)
    for second, name in rows:
        everything.add_row(second, name, row(sent=1))
        recent.add_row(second, name, row(sent=1))
    last_s = everything.last_s or 0
    assert set(recent.seconds) == {second for second in everything.seconds if second > last_s - horizon_s}
    assert recent.totals == everything.totals
    assert (recent.first_s, recent.last_s) == (everything.first_s, everything.last_s)


def test_a_second_within_the_horizon_is_complete_when_rows_came_in_order() -> None:
    books = Books(horizon_s=3)
    for second in range(10):
        for name in ("a", "b"):
            books.add_row(second, name, row(sent=second))
    assert books.seconds == {s: {"a": row(sent=s), "b": row(sent=s)} for s in (7, 8, 9)}


def test_with_a_horizon_hours_take_no_more_room_than_minutes() -> None:
    books = Books(horizon_s=60)
    sizes = set()
    for second in range(4 * 3600):
        books.add_row(second, "a", row(sent=1))
        books.add_connection(connection(started_at=float(second), path=f"/ws/{second}", reason=f"r{second}"))
        if second and second % 600 == 0:
            [group] = books.ends.values()
            texts = sum(map(len, (group.paths.texts, group.reasons.texts)))
            sizes.add((len(books.seconds), len(books.totals), len(books.ends), texts))
    assert sizes == {(60, 1, 1, 2 * SAMPLES)}


def test_reconnects_are_counted_by_the_second_in_which_they_began() -> None:
    books = Books()
    for at_s, attempt, outcome in [
        (5.2, 0, "open"),
        (5.9, 1, "open"),
        (5.99, 2, "rejected-503"),
        (6.0, 3, "refused"),
        (6.5, 1, "cancelled"),
        (float("nan"), 1, "refused"),
    ]:
        books.add_connection(connection(name="a", started_at=at_s, attempt=attempt, outcome=outcome))
    assert books.reconnects == {5: {"a": Reconnects(2, 1)}, 6: {"a": Reconnects(1, 1)}}


def test_with_a_horizon_reconnects_are_forgotten_with_their_seconds() -> None:
    books = Books(horizon_s=10)
    for second in range(100):
        books.add_connection(connection(name="a", started_at=float(second), attempt=1, outcome="refused"))
        books.add_row(second, "a", row(failed=1))
    books.add_connection(connection(name="a", started_at=1.0, attempt=1, outcome="refused"))
    assert set(books.reconnects) == set(range(90, 100)) == set(books.seconds)
    assert sum(group.count for group in books.ends.values()) == 101


def test_merging_books_that_forgot_seconds_keeps_the_whole_span() -> None:
    part, whole = Books(horizon_s=2), Books()
    for second in range(5):
        part.add_row(second, "a", row(sent=1))
    whole.merge(part)
    assert (whole.first_s, whole.last_s) == (0, 4)
    assert whole.count("sent") == 5


def test_rows_of_zeros_still_say_that_the_run_reached_that_second() -> None:
    books = Books()
    books.add_row(10, "a", ZERO)
    assert (books.first_s, books.last_s) == (10, 10)
