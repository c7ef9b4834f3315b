"""What happened, in plain sentences."""

from __future__ import annotations

from typing import Any

import pytest

from tests.judge.booked import START_S, books, broken, closed, failed, healthy, row
from wsoak.judge.drops import MassDrop, sentences
from wsoak.judge.findings import find
from wsoak.judge.summary import DROPS_SHOWN, happened, summarise, when
from wsoak.judge.validity import doubts
from wsoak.ledger.books import Books
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.names import CLOCK, CLOCK_OFFSET, CLOCK_UNCERTAINTY, CLOCK_UNKNOWN
from wsoak.ledger.outcomes import DROPPED
from wsoak.ledger.records import Gauge
from wsoak.ledger.timeline import ARRIVALS

ENDED: dict[str, Any] = {"started_at": START_S, "ended_at": START_S + 60.0}
MS = 1_000_000


def text(made: Books, header: dict[str, Any] = ENDED) -> str:
    return "\n".join(happened(made, header))


def test_openings_are_counted_with_their_times() -> None:
    made = books([healthy() for _ in range(200)])
    made.add_histogram("handshake", "dialogue", Histogram.of([2 * MS] * 190 + [8 * MS] * 10))

    assert "dialogue: 200 of 200 handshakes (100 %) succeeded, p50 2 ms, p99 8 ms." in text(made)
    assert "200 of 200 sockets (100 %) became usable." in text(made)


def test_one_is_not_many() -> None:
    assert "1 of 1 handshake (100 %) succeeded." in text(books([healthy()]))
    assert "1 socket closed: 1 × 1000 by end of the run." in text(books([healthy()]))


def test_openings_that_failed_are_named_and_those_of_the_generator_stand_apart() -> None:
    made = books(
        [
            healthy(),
            *(failed("refused", "tcp"), failed("refused", "tcp"), failed("rejected-503")),
            *(failed("ports-exhausted", "tcp"), failed("cancelled")),
        ]
    )

    assert "1 of 4 handshakes (25.0 %) succeeded. Not opened: 2 × refused" in text(made)
    assert "1 handshake failed on the generator itself and counts in no rate." in text(made)
    assert "1 handshake ended with the run while under way and counts in no rate." in text(made)


def test_closes_are_counted_by_code_and_side() -> None:
    made = books([closed(1008), closed(1008), broken("reset"), healthy()])

    assert (
        "4 sockets closed: 2 × 1008 by server, 1 × 1000 by end of the run and 1 × 1006 reset by network."
        in text(made)
    )


SHAPED: dict[str, Any] = {"code": 1001, "reason": DROPPED}


@pytest.mark.parametrize(
    ("by_client", "words"),
    [
        ([SHAPED, SHAPED], "2 × 1001 dropped by the shape and"),
        ([SHAPED, SHAPED | {"reason": "bye"}], "2 × 1001 by client, some of them dropped by the shape and"),
        ([SHAPED | {"reason": "bye"}] * 2, "2 × 1001 by client and"),
        (
            [SHAPED, SHAPED | {"code": 1006, "detail": "close-timeout"}],
            "1 × 1006 close-timeout dropped by the",
        ),
    ],
)
def test_what_the_shape_dropped_is_not_said_to_be_the_scenarios(
    by_client: list[dict[str, Any]], words: str
) -> None:
    made = books([*[healthy(**fields) for fields in by_client], healthy()])

    assert words in text(made)


def test_a_servers_words_are_not_taken_for_the_shapes() -> None:
    assert "1 × 1001 by server." in text(books([closed(1001, reason=DROPPED)]))


def drop(at_s: float, recovered_s: float | None = 1.25) -> MassDrop:
    """A drop of 40 of 40 sockets that the shape asked for."""
    return MassDrop(
        name=None,
        at=START_S + at_s,
        took_s=0.01,
        open_before=40,
        dropped=40,
        ways={"1001 dropped by the shape": 40},
        recovered_s=recovered_s,
        most_back=0 if recovered_s is None else 40,
        attempts=0 if recovered_s is None else 38,
        rejected=0,
        failed=0,
        peak=0 if recovered_s is None else 38,
        users=40,
        exact=True,
    )


def test_each_drop_has_its_recovery_in_the_words_of_the_report() -> None:
    made = books([healthy()])
    drops = [drop(5.0), drop(11.0, None)]

    lines = summarise(made, ENDED, [], [], drops)

    first, second = sentences(drops, START_S)
    assert lines[lines.index(first) + 1] == second
    assert first.startswith("At 5.000 s, 40 of 40 open sockets (100 %) ended within 10 ms: 40 × 1001 dropped")
    assert "95 % as many were open again after 1.250 s." in first
    assert "95 % as many were never open again in this run: 0 at best. Nobody reconnected." in second
    assert lines.index(first) < lines.index("The run is valid.")


def test_many_drops_are_told_in_few_lines() -> None:
    made = books([healthy()])
    drops = [drop(5.0 + 6 * n) for n in range(DROPS_SHOWN + 3)]

    lines = happened(made, ENDED, drops)

    assert len(lines) - len(happened(made, ENDED)) == DROPS_SHOWN + 1
    assert "3 mass drops more: the report tells of them too." in lines


def test_without_a_header_drops_count_from_the_first_record() -> None:
    assert any(line.startswith("At 5.000 s, ") for line in happened(books([healthy()]), {}, [drop(5.0)]))


def test_sockets_that_expect_nothing_have_no_usable_rate() -> None:
    assert "usable" not in text(books([healthy(usable=None)]))


def test_requests_are_accounted_for() -> None:
    made = books([healthy()])
    counters = row(requests=40_012, replies=40_000, reply_timeouts=7, reply_lost=3, late_replies=2)
    made.add_row(START_S, "message", counters)
    made.add_histogram("response", "message", Histogram.of([5 * MS] * 40_000))

    assert (
        "40,012 requests, 40,000 answered (99.97 %); response p50 5 ms, p99 5 ms (n 40,000); "
        "7 timed out, 3 lost their socket first and 2 still in flight at the last record." in text(made)
    )
    assert "2 came after their time-out" in text(made)


def arrivals(*, arrived: int, served: int, unserved: int) -> Books:
    made = books([healthy()])
    made.add_row(START_S, ARRIVALS, row(arrived=arrived, served=served, unserved=unserved))
    made.add_histogram(
        "metric", ARRIVALS, Histogram.of([2 * MS] * (served * 9 // 10) + [8 * MS] * (served // 10))
    )
    return made


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (
            arrivals(arrived=1_800, served=1_790, unserved=8),
            "1,800 sessions arrived (30 a second): 1,790 were served after waiting p50 2 ms, p99 8 ms, "
            "8 (0.44 %) were not served within the patience and 2 still waited at the last record.",
        ),
        (
            arrivals(arrived=60, served=60, unserved=0),
            "60 sessions arrived (1 a second): 60 were served after waiting p50 2 ms, p99 8 ms and "
            "none waited beyond the patience.",
        ),
        (
            arrivals(arrived=1, served=0, unserved=1),
            "1 session arrived (0.02 a second): 0 were served and 1 (100 %) was not served within the "
            "patience.",
        ),
    ],
)
def test_sessions_of_the_open_model_are_accounted_for(made: Books, sentence: str) -> None:
    assert sentence in happened(made, ENDED)


def test_the_patience_is_named_where_it_is_known() -> None:
    header = ENDED | {"options": {"arrival_patience": 10.0}}

    assert "within the patience of 10 s" in text(arrivals(arrived=9, served=8, unserved=1), header)


def test_a_run_under_way_has_the_rate_of_what_is_on_record() -> None:
    made = arrivals(arrived=100, served=100, unserved=0)
    made.add_row(START_S + 19, ARRIVALS, row(arrived=100, served=100))

    assert "200 sessions arrived (10 a second)" in text(made, {"started_at": START_S})


def test_a_closed_model_has_no_arrivals() -> None:
    assert "arrived" not in text(books([healthy()]))


PUSHES = Histogram.of([2 * MS] * 99 + [0])


def timed_by(*readings: tuple[str, str, float]) -> Books:
    """Books with pushes, and readings of the servers' clocks: worker, gauge, value."""
    made = books([healthy()])
    made.add_histogram("delivery", "dialogue", PUSHES)
    for worker, gauge, value in readings:
        made.add_gauge(Gauge(START_S + 1.0, worker, CLOCK, gauge, value))
    return made


def test_pushes_that_one_clock_timed_need_no_word_of_clocks() -> None:
    lines = happened(timed_by(), ENDED)

    assert "Pushes were delivered in p50 2 ms, p99 2 ms (n 100)." in lines
    assert not any("clock is" in line or "did not say" in line for line in lines)
    assert "1 of 100 pushes (1.0 %) came before being sent, by these clocks, and count as 0." in lines


@pytest.mark.parametrize(
    ("readings", "sentence"),
    [
        (
            [("0", CLOCK_OFFSET, 0.02), ("0", CLOCK_UNCERTAINTY, 0.114)],
            "its clock is 20 µs ahead of ours, known to ± 114 µs.",
        ),
        (
            # the least certain one was in use for a while
            [("0", CLOCK_OFFSET, -7000.0), ("0", CLOCK_UNCERTAINTY, 3.0), ("0", CLOCK_UNCERTAINTY, 1.0)],
            "its clock is 7 s behind ours, known to ± 3 ms.",
        ),
        (
            [("0", CLOCK_OFFSET, -1.0), ("1", CLOCK_OFFSET, 2.0), ("1", CLOCK_UNCERTAINTY, 0.5)],
            "its clock is 1 ms behind to 2 ms ahead of ours, known to ± 500 µs.",
        ),
        (
            [("0", CLOCK_OFFSET, 1.0), ("1", CLOCK_OFFSET, 2.0)],
            "its clock is 1 ms to 2 ms ahead of ours",
        ),
        ([("0", CLOCK_UNKNOWN, 1.0)], "A server did not say what time it has"),
    ],
)
def test_pushes_that_a_server_stamped_say_how_far_its_clock_is_known(
    readings: list[tuple[str, str, float]], sentence: str
) -> None:
    assert sentence in text(timed_by(*readings))


def test_many_sockets_are_summed_up_and_not_listed() -> None:
    made = books([healthy(name=f"socket {n}") for n in range(100)])

    assert "All sockets: 100 of 100 handshakes" in text(made)
    assert "They went to 100 socket names." in text(made)
    assert len(happened(made, ENDED)) < 10


def test_an_empty_run_has_a_summary() -> None:
    assert "No handshake ended." in text(Books(), {})


def test_validity_and_findings_follow() -> None:
    made = books([failed("refused", "tcp")])
    findings = find(made, START_S)

    lines = summarise(made, {}, findings, doubts(made, {}))

    invalid = next(n for n, line in enumerate(lines) if "NOT valid" in line)
    fault = next(n for n, line in enumerate(lines) if line.startswith("CRITICAL server-unreachable"))
    assert invalid < fault
    assert "Where to look:" in lines[fault]
    assert when(findings[0]) == "at 0 s"


def test_http_calls_are_accounted_for() -> None:
    made = books([healthy()])
    made.add_row(START_S, "POST /login", row(http_ok=3, http_failed=1))
    made.add_row(START_S, "GET /feed", row(http_ok=6))
    made.add_histogram("http", "POST /login", Histogram.of([2 * MS] * 200))
    assert "9 of 10 HTTP calls (90.0 %) succeeded, p50 2 ms" in text(made)
    assert "Failed: 1 × POST /login." in text(made)
    assert "HTTP" not in text(books([healthy()]))


def test_hostile_names_are_printable() -> None:
    made = books([failed("refused", "tcp", name="evil\x1b[31m\nname\u202e")])

    assert all(
        line.isprintable() for line in summarise(made, ENDED, find(made, START_S), doubts(made, ENDED))
    )
