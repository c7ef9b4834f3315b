"""Whether a run is to be believed: each doubt where it belongs, and none without ground."""

from __future__ import annotations

from typing import Any

import pytest

from tests.judge.booked import START_S, books, closed, failed, healthy, row
from wsoak.judge.validity import MANY_NAMES, PREFLIGHT, SAMPLES_NEEDED, WORKERS_GONE, Doubt, doubts, is_valid
from wsoak.ledger.books import Books
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.outcomes import DESCRIPTORS_EXHAUSTED, PORTS_EXHAUSTED
from wsoak.ledger.records import Gauge
from wsoak.ledger.timeline import ARRIVALS, OTHER_NAMES

ENDED: dict[str, Any] = {"started_at": START_S, "ended_at": START_S + 60.0, "latency_limit_ms": 1000}
MS = 1_000_000


def some_books() -> Books:
    """Books of a run to which nothing can be objected."""
    made = books([healthy(at_s=float(n), age_s=5.0) for n in range(20)])
    add_responses(made, 5000)
    return made


def add_responses(made: Books, count: int, ms: float = 10.0) -> None:
    """Responses, and readings of a generator that was never late."""
    made.add_histogram("hub", "0", Histogram.of([100_000] * 10_000))
    made.add_histogram("response", "message", Histogram.of([round(ms * MS)] * count))


def add_gauge(
    made: Books, name: str, values: list[float], worker: str = "0", source: str = "generator"
) -> None:
    for second, value in enumerate(values):
        made.add_gauge(Gauge(START_S + float(second), worker, source, name, value))


def found(made: Books, header: dict[str, Any] = ENDED, **options: Any) -> dict[str, Doubt]:
    return {doubt.id: doubt for doubt in doubts(made, header, **options)}


def test_a_good_run_raises_no_doubt() -> None:
    assert found(some_books()) == {}
    assert is_valid([])


@pytest.mark.parametrize(("saturated_of_20", "doubted"), [(0, False), (2, False), (3, True), (20, True)])
def test_a_generator_is_saturated_beyond_a_tenth_of_its_seconds(saturated_of_20: int, doubted: bool) -> None:
    made = some_books()
    add_gauge(made, "cpu_saturated", [1.0] * saturated_of_20 + [0.0] * (20 - saturated_of_20))
    add_gauge(made, "cpu_share", [0.97])

    assert ("generator-saturated" in found(made)) == doubted
    if doubted:
        assert found(made)["generator-saturated"].invalid
        assert "97 %" in found(made)["generator-saturated"].reason


def test_one_saturated_worker_among_many_is_enough() -> None:
    made = some_books()
    for worker in "abcdefghij":
        add_gauge(made, "cpu_saturated", [float(worker == "c")] * 20, worker)

    assert "1 worker of 10; the worst, c" in found(made)["generator-saturated"].reason


def test_the_target_s_cpu_is_not_the_generator_s() -> None:
    made = some_books()
    add_gauge(made, "cpu_saturated", [1.0] * 20, source="target")

    assert found(made) == {}


@pytest.mark.parametrize(
    ("waited", "starved"),
    [([0.0] * 20, False), ([0.19] * 20, False), ([0.21] * 20, True), ([0.0, 0.9], True)],
)
def test_a_generator_is_starved_that_waited_for_a_cpu_for_a_fifth_of_the_time(
    waited: list[float], starved: bool
) -> None:
    made = some_books()
    add_gauge(made, "cpu_wait_share", waited)

    raised = found(made)

    assert list(raised) == (["generator-starved"] if starved else [])
    assert is_valid(raised.values()) is not starved


def test_each_starved_worker_is_named_the_worst_first_and_the_master_makes_no_load() -> None:
    made = some_books()
    for worker, share in (("a", 0.3), ("b", 0.05), ("c", 0.71), ("master", 0.9)):
        add_gauge(made, "cpu_wait_share", [share] * 20, worker)

    reason = found(made)["generator-starved"].reason

    assert "2 workers of 3 wanted a CPU and had none, c for 71.0 % of the time and a for 30.0 %" in reason


def test_the_target_s_waiting_is_not_the_generator_s() -> None:
    made = some_books()
    add_gauge(made, "cpu_wait_share", [0.9] * 20, source="target")

    assert found(made) == {}


@pytest.mark.parametrize(
    ("gauge", "reading", "expected"),
    [
        ("cpu_wait_share", 0.09, {"throttled"}),
        ("cpu_wait_share", 0.15, {"send-lag"}),
        # what came of it is told with it
        ("cpu_wait_share", 0.5, {"generator-starved"}),
        # two that are to blame: what of it is the server's is not known
        ("cpu_saturated", 1.0, {"generator-saturated"}),
    ],
)
def test_the_server_is_not_blamed_for_late_sends_of_a_generator_without_a_cpu(
    gauge: str, reading: float, expected: set[str]
) -> None:
    made = some_books()
    made.add_histogram("lag", "any", Histogram.of([150 * MS] * 1000))
    add_gauge(made, gauge, [reading] * 20)

    raised = found(made)

    assert set(raised) == expected
    assert is_valid(raised.values()) is ("throttled" in expected)


def test_a_lag_is_told_with_whose_limit_it_is_held_against() -> None:
    made = some_books()
    made.add_histogram("hub", "any", Histogram.of([50 * MS] * 1000))
    header = {**ENDED, "latency_limit_ms": 200.0, "latency_limit_of": 'gate "response p(99) < 200ms"'}

    (doubt,) = doubts(made, header)

    assert 'of the latency limit (20 ms of 200 ms: gate "response p(99) < 200ms") is allowed' in doubt.reason


@pytest.mark.parametrize("kind", ["hub", "lag"])
@pytest.mark.parametrize(
    ("lag_ms", "limit_ms", "doubted"),
    [(90, 1000, False), (150, 1000, True), (90, 200, True), (90, None, False)],
)
def test_lags_may_be_a_tenth_of_the_latency_limit(
    kind: str, lag_ms: int, limit_ms: int | None, doubted: bool
) -> None:
    made = some_books()
    made.add_histogram(kind, "any", Histogram.of([lag_ms * MS] * 1000))

    raised = found(made, {**ENDED, "latency_limit_ms": limit_ms})

    # late sends alone are the server's doing: the scenario waited for its answers
    expected = {"hub": "hub-lag", "lag": "throttled"}[kind]
    assert set(raised) == ({expected} if doubted else set())
    assert all(doubt.invalid == (kind == "hub") for doubt in raised.values())


def test_late_sends_of_a_late_event_loop_are_the_generators() -> None:
    made = some_books()
    for kind in ("hub", "lag"):
        made.add_histogram(kind, "any", Histogram.of([150 * MS] * 1000))

    raised = found(made, {**ENDED, "latency_limit_ms": 1000})

    assert set(raised) == {"hub-lag"}
    assert raised["hub-lag"].invalid
    assert "What came of it: The generator's sends ran late" in raised["hub-lag"].reason


def test_a_starved_generator_is_told_once_with_all_that_came_of_it() -> None:
    made = soak(2.0)
    for kind in ("hub", "lag"):
        made.add_histogram(kind, "any", Histogram.of([150 * MS] * 1000))
    add_gauge(made, "cpu_wait_share", [0.88] * 20)
    add_gauge(made, "cpu_saturated", [1.0] * 20)

    (doubt,) = doubts(made, {**ENDED, "latency_limit_ms": 1000})

    assert (doubt.id, doubt.invalid) == ("generator-starved", True)
    assert doubt.reason.index("for 88.0 % of the time") < doubt.reason.index("What came of it:")
    for consequence in ("was saturated", "event loop ran late", "sends ran late", "do not add up"):
        assert doubt.reason.count(consequence) == 1


@pytest.mark.parametrize("readings", ["a hub that stood still", "a drain after the load"])
def test_missed_readings_are_no_proof_that_the_numbers_do_not_add_up(readings: str) -> None:
    made = soak(1.3)
    assert "littles-law-sockets" in found(made)
    if readings == "a hub that stood still":
        made.add_histogram("hub", "0", Histogram.of([1] * 100_000 + [1500 * MS]))
    else:
        made.add_row(START_S + 214, "dialogue", row())
    assert found(made) == {}


def test_one_late_send_in_a_thousand_is_no_lag() -> None:
    made = some_books()
    made.add_histogram("lag", "any", Histogram.of([1 * MS] * 999 + [5000 * MS]))

    assert found(made) == {}


@pytest.mark.parametrize("outcome", [PORTS_EXHAUSTED, DESCRIPTORS_EXHAUSTED])
def test_what_the_generator_lacks_makes_the_run_invalid(outcome: str) -> None:
    made = some_books()
    made.merge(books([failed(outcome, "tcp"), failed(outcome, "tcp")]))

    raised = found(made)

    assert list(raised) == [outcome]
    assert raised[outcome].invalid
    assert "2 connection attempts" in raised[outcome].reason


@pytest.mark.parametrize(
    ("users", "target", "doubted"),
    [
        ([1, 5, 10, 10], [10] * 4, False),
        ([1, 5, 9, 9], [10] * 4, True),
        ([10, 4], [10, 4], False),
        ([], [], False),
    ],
)
def test_users_must_have_reached_their_target(users: list[float], target: list[float], doubted: bool) -> None:
    made = some_books()
    add_gauge(made, "users", users)
    add_gauge(made, "users_target", target)

    assert ("users-below-target" in found(made)) == doubted


def test_users_add_up_over_workers() -> None:
    made = some_books()
    for worker in "ab":
        add_gauge(made, "users", [5.0], worker)
    add_gauge(made, "users_target", [10.0], "master")

    assert found(made) == {}


@pytest.mark.parametrize(
    ("users", "attempts", "reason"),
    [
        (3, 20, "At most 3 users were running at any reading (one a second), where 10 were asked for."),
        (1, 20, "At most 1 user was running at any reading (one a second), where 10 were asked for."),
        (0, 0, "No user was running at any reading (one a second), where 10 were asked for."),
        (
            0,
            20,
            "No user was running at any reading (one a second), where 10 were asked for; whoever made the "
            "20 connection attempts had stopped by then.",
        ),
    ],
)
def test_users_that_stop_themselves_between_readings_are_not_denied(
    users: int, attempts: int, reason: str
) -> None:
    made = some_books() if attempts else Books()
    add_gauge(made, "users", [float(users)])
    add_gauge(made, "users_target", [10.0])

    doubt = found(made)["users-below-target"]

    assert (doubt.reason, doubt.invalid) == (reason, True)


def arrivals(arrived: int, served: int, unserved: int, waiting: tuple[float, ...] = ()) -> Books:
    """Books of an open model; ``waiting``: the last reading of each worker's."""
    made = some_books()
    made.add_row(START_S, ARRIVALS, row(arrived=arrived, served=served, unserved=unserved))
    for index, last in enumerate(waiting):
        add_gauge(made, "arrivals_waiting", [0.0, last], f"worker-{index}")
    return made


@pytest.mark.parametrize(
    ("made", "missed"),
    [
        (arrivals(1000, 1000, 0), None),
        (arrivals(1000, 990, 10), None),
        (arrivals(1000, 989, 11), "11 of 1,000 sessions (1.1 %) were not served:"),
        (arrivals(0, 0, 0), None),
        # those that came after the last reading are nobody's fault
        (arrivals(100, 95, 0, (0.0, 0.0)), None),
        (arrivals(100, 95, 0), None),
        # a run shorter than the patience
        (
            arrivals(100, 40, 0, (25.0, 30.0)),
            "55 of 100 sessions (55.0 %) were not served, 55 of them still waiting at the last reading:",
        ),
        # of those that waited then, some were served since
        (arrivals(100, 70, 20, (25.0,)), "30 of 100 sessions (30.0 %) were not served, 10 of them still"),
    ],
)
def test_sessions_that_found_no_user_are_a_remark_beyond_one_in_a_hundred(
    made: Books, missed: str | None
) -> None:
    raised = found(made)

    assert list(raised) == ([] if missed is None else ["arrivals-unserved"])
    assert is_valid(raised.values())
    if missed is not None:
        assert raised["arrivals-unserved"].reason.startswith(missed)
        assert "the load on the server was not" in raised["arrivals-unserved"].reason
        assert "--users" in raised["arrivals-unserved"].advice


def test_a_run_without_an_attempt_is_invalid() -> None:
    assert found(Books())["no-data"].invalid


HTTP_ONLY: dict[str, Any] = {**ENDED, "opens_sockets": False}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (HTTP_ONLY, {"no-sockets": False}),
        (
            {**HTTP_ONLY, "options": {"gates": "gates.toml"}},
            {"no-sockets": False, "generator-saturated": True},
        ),
        ({**HTTP_ONLY, "opens_sockets": True}, {"no-data": True, "generator-saturated": True}),
        (ENDED, {"no-data": True, "generator-saturated": True}),
    ],
)
def test_a_run_of_users_that_open_no_sockets_is_locust_s_to_judge(
    header: dict[str, Any], expected: dict[str, bool]
) -> None:
    made = Books()
    add_gauge(made, "cpu_saturated", [1.0] * 20)

    assert {id_: doubt.invalid for id_, doubt in found(made, header).items()} == expected


def test_sockets_of_other_users_are_judged_all_the_same() -> None:
    made = some_books()
    add_gauge(made, "cpu_saturated", [1.0] * 20)

    assert list(found(made, HTTP_ONLY)) == ["generator-saturated"]


def test_attempts_that_all_failed_are_data() -> None:
    assert is_valid(found(books([failed("refused", "tcp")])).values())


def test_a_generator_that_was_not_watched_is_a_remark() -> None:
    raised = found(books([healthy()]))

    assert list(raised) == ["generator-unwatched"]
    assert not raised["generator-unwatched"].invalid


def test_a_cut_run_says_how_many_sockets_were_open_and_until_when() -> None:
    made = some_books()
    made.add_row(START_S + 42, "dialogue", row(opened=7))

    doubt = found(made, {"started_at": START_S})["cut"]

    assert doubt.invalid
    assert "7 sockets were open at the cut" in doubt.reason
    assert "42 s after the start" in doubt.reason


def test_a_run_cut_before_its_first_second_is_both_cut_and_empty() -> None:
    assert list(found(Books(), {})) == ["cut", "no-data"]


def test_a_run_under_way_is_neither_cut_nor_short_of_users() -> None:
    made = Books()
    add_gauge(made, "users", [1.0])
    add_gauge(made, "users_target", [100.0])

    assert found(made, {"started_at": START_S}, under_way=True) == {}


@pytest.mark.parametrize(("lines", "invalid"), [(1, False), (2, True)])
def test_of_a_run_under_way_one_line_a_file_may_be_unfinished(lines: int, invalid: bool) -> None:
    raised = found(some_books(), {"started_at": START_S}, under_way=True, damaged={"timeline.csv": lines})
    assert ("damaged" in raised and raised["damaged"].invalid) == invalid


def test_damaged_lines_make_an_ended_run_invalid() -> None:
    raised = found(some_books(), damaged={"connections.csv": 3})

    assert raised["damaged"].invalid
    assert "3 lines of connections.csv" in raised["damaged"].reason


def test_one_unfinished_line_is_what_a_cut_leaves() -> None:
    raised = found(some_books(), {"started_at": START_S}, damaged={"connections.csv": 1})

    assert list(raised) == ["cut"]


@pytest.mark.parametrize("count", [1, 58, 59, 298, 299, 2994, 2995])
def test_few_samples_are_a_remark_that_names_the_percentiles(count: int) -> None:
    made = books([healthy()])
    add_responses(made, count)
    short = [f"p{percent:g}" for percent, needed in SAMPLES_NEEDED.items() if count < needed]

    raised = found(made)

    assert ("few-samples" in raised) == bool(short)
    assert is_valid(raised.values())
    assert all(name in raised["few-samples"].reason for name in short)


@pytest.mark.parametrize(("percent", "needed"), SAMPLES_NEEDED.items())
def test_samples_needed_are_the_least_that_bound_a_percentile(percent: float, needed: int) -> None:
    assert (percent / 100) ** needed <= 0.05 < (percent / 100) ** (needed - 1)


# ------------------------------------------------------------------------------------------ Little's law


def soak(gauge_factor: float, *, seconds: int = 200, sockets: int = 40, age_s: float = 50.0) -> Books:
    """Sockets that come and go evenly, with a gauge that reads the true number times ``gauge_factor``."""
    records = [
        closed(1000, at_s=(seconds - age_s) * n / (sockets * 4), age_s=age_s) for n in range(sockets * 4)
    ]
    made = books(records)
    add_responses(made, 5000)
    made.add_row(START_S, "dialogue", row())
    made.add_row(START_S + seconds - 1, "dialogue", row())
    for second in range(seconds):
        at_s = START_S + second + 0.999
        held = sum(record.started_at <= at_s < record.ended_at for record in records)
        made.add_gauge(Gauge(at_s, "0", "generator", "open_sockets", held * gauge_factor))
    return made


@pytest.mark.parametrize("factor", [0.5, 0.85, 1.2, 2.0])
def test_open_sockets_that_contradict_little_s_law_are_doubted(factor: float) -> None:
    raised = found(soak(factor))

    assert list(raised) == ["littles-law-sockets"]
    assert not raised["littles-law-sockets"].invalid


@pytest.mark.parametrize(
    "made",
    [
        soak(1.0),
        soak(1.0, age_s=200.0, sockets=30),
        soak(1.0, age_s=2.0, sockets=700),
        soak(2.0, seconds=20, age_s=5.0),
        soak(2.0, sockets=3),
        some_books(),
    ],
    ids=["steady", "for the whole run", "short-lived", "a short run", "few sockets", "no gauge"],
)
def test_open_sockets_that_obey_little_s_law_or_cannot_tell_are_not_doubted(made: Books) -> None:
    assert found(made) == {}


def test_a_worker_that_was_there_for_a_part_counts_for_that_part() -> None:
    made = soak(1.0)
    # it came for two readings, and its sockets are among those of the others
    for second in range(2):
        made.add_gauge(Gauge(START_S + float(second), "late", "generator", "open_sockets", 75.0))

    assert found(made) == {}


def test_sockets_that_never_ended_leave_little_s_law_unapplied() -> None:
    made = soak(2.0)
    made.add_row(START_S, "dialogue", row(opened=1))

    assert found(made) == {}


def talk(in_flight: float, *, lost: int = 0, seconds: int = 100) -> Books:
    """1,000 requests a second of 50 ms each: 50 in flight."""
    made = books([healthy()])
    add_responses(made, 5000)
    requests = 1000 * seconds
    made.add_row(START_S, "message", row(requests=requests, replies=requests - lost, reply_lost=lost))
    made.add_row(START_S + seconds - 1, "message", row())
    made.add_histogram("service", "message", Histogram.of([50 * MS] * (requests - lost)))
    for second in range(seconds):
        made.add_gauge(Gauge(START_S + float(second), "0", "generator", "in_flight", in_flight))
    return made


@pytest.mark.parametrize(
    ("made", "doubted"),
    [
        (talk(50.0), False),
        (talk(52.0), False),
        (talk(60.0), True),
        (talk(40.0), True),
        (talk(60.0, lost=5000), False),
        (talk(60.0, seconds=20), False),
    ],
    ids=["equal", "within 5 %", "too many", "too few", "lost replies have no service time", "short"],
)
def test_requests_in_flight_are_held_against_little_s_law(made: Books, doubted: bool) -> None:
    assert list(found(made)) == (["littles-law-requests"] if doubted else [])


def test_what_makes_a_run_invalid_comes_first() -> None:
    made = books([healthy(), failed(PORTS_EXHAUSTED, "tcp")])
    add_responses(made, 10)

    raised = doubts(made, ENDED)

    assert [doubt.invalid for doubt in raised] == [True, False]
    assert not is_valid(raised)
    assert raised[0].to_json()["id"] == PORTS_EXHAUSTED


def test_a_run_that_its_checks_stopped_has_that_doubt_alone() -> None:
    raised = found(Books(), {**ENDED, "ended_by": PREFLIGHT, "expected_workers": 2, "workers": []})

    assert list(raised) == ["preflight-failed"]
    assert raised["preflight-failed"].invalid


IN_CHECKS: dict[str, Any] = {**ENDED, "load_began": False, "expected_workers": 2, "workers": []}


@pytest.mark.parametrize(
    ("header", "expected", "words"),
    [
        ({**IN_CHECKS, "ended_by": "signal"}, ["stopped-in-checks"], "stopped by a signal while its checks"),
        ({**IN_CHECKS, "ended_by": "stopped"}, ["stopped-in-checks"], "The run was stopped while its checks"),
        # what else ends a run before its load has a doubt, or a line in the log, of its own
        ({**IN_CHECKS, "ended_by": PREFLIGHT}, ["preflight-failed"], "no load was made"),
        ({**IN_CHECKS, "ended_by": WORKERS_GONE}, ["no-data", "workers-absent", "workers-gone"], ""),
        ({**ENDED, "ended_by": "signal"}, ["no-data"], "No connection was tried"),
    ],
    ids=lambda value: str(value.get("ended_by")) if isinstance(value, dict) else "",
)
def test_a_run_that_was_stopped_during_its_checks_says_so_and_is_invalid(
    header: dict[str, Any], expected: list[str], words: str
) -> None:
    raised = found(Books(), header)

    assert list(raised) == expected
    assert words in raised[expected[0]].reason
    assert not is_valid(raised.values())


SLOW = Histogram.of([3_000 * MS] * 1000)


@pytest.mark.parametrize(
    ("kind", "samples", "limit_ms", "doubted"),
    [
        ("", Histogram(), 1000, {"closed-loop"}),
        ("", Histogram(), 5000, set()),
        # on a schedule, sends themselves would be late
        ("lag", Histogram.of([MS] * 1000), 1000, set()),
        ("hub", Histogram.of([150 * MS] * 1000), 1000, {"hub-lag"}),
    ],
)
def test_a_closed_loop_that_a_slow_server_slows_says_so(
    kind: str, samples: Histogram, limit_ms: int, doubted: set[str]
) -> None:
    made = some_books()
    made.add_histogram("response", "slow", SLOW)
    if kind:
        made.add_histogram(kind, "any", samples)

    raised = found(made, {**ENDED, "latency_limit_ms": limit_ms})

    assert set(raised) == doubted
    for doubt in raised.values():
        assert doubt.invalid is (doubt.id != "closed-loop")


def test_sockets_with_a_name_each_are_told_to_have_one_name_for_all() -> None:
    few, many, more = some_books(), some_books(), some_books()
    for number in range(MANY_NAMES - 1):
        few.add_row(START_S, f"room {number}", row(opened=1))
    for number in range(MANY_NAMES):
        many.add_row(START_S, f"room {number}", row(opened=1))
        # checks and messages have names of their own, and may be many
        few.add_row(START_S, f"check {number}", row(check_passed=1))
    more.add_row(START_S, OTHER_NAMES, row(opened=1))
    assert "too-many-names" not in found(few)
    for made in (many, more):
        doubt = found(made)["too-many-names"]
        assert not doubt.invalid
        assert "`name=`" in doubt.advice
