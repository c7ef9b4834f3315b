"""Requests without an answer and sockets that never work are found, dated, and told from what is alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from tests.judge.booked import START_S, books, broken, closed, healthy, row
from wsoak.judge.findings import Finding, find
from wsoak.ledger.books import Books
from wsoak.ledger.records import ConnectionRecord, Observation, UserError

NAME = "dialogue"
SILENT: dict[str, Any] = {"usable": False, "messages_received": 0, "usable_ms": None}


def run(
    seconds: Mapping[int, Mapping[str, float]],
    records: Iterable[ConnectionRecord] = (),
    observed: Iterable[tuple[str, int, int, str]] = (),
) -> Books:
    """Books with these counters by second after the start, and observations ``(id, count, of, text)``."""
    made = books(records)
    for second, counters in seconds.items():
        made.add_row(START_S + second, NAME, row(**counters))
    for id_, count, of, text in observed:
        made.add_observation(Observation(START_S + 5.0, "0", id_, NAME, count, of, text))
    return made


def found(made: Books) -> list[Finding]:
    return find(made, START_S)


def ids(made: Books) -> list[str]:
    return [finding.id for finding in found(made)]


ASKED = {second: {"requests_sent": 5} for second in range(10)}
TIMED_OUT = {second: {"unanswered": 5} for second in range(3, 13)}


def both(*parts: Mapping[int, Mapping[str, float]]) -> dict[int, dict[str, float]]:
    """Seconds with the counters of all parts."""
    added: dict[int, dict[str, float]] = {}
    for part in parts:
        for second, counters in part.items():
            for counter, count in counters.items():
                of_second = added.setdefault(second, {})
                of_second[counter] = of_second.get(counter, 0) + count
    return added


DEAF = both(ASKED, TIMED_OUT)


def test_a_server_that_takes_all_and_answers_nothing_is_found_once() -> None:
    made = run(DEAF, [healthy(at_s=n, **SILENT) for n in range(3)])
    (finding,) = found(made)
    assert (finding.id, finding.severity, finding.count, finding.share) == (
        "requests-unanswered",
        "critical",
        50,
        1,
    )
    assert (finding.first_seen_s, finding.last_seen_s) == (0, 13)
    assert "50 of 50 requests (100 %) got no answer." in finding.evidence
    assert "Not one request was answered in the whole run." in finding.evidence
    assert any("3 sockets that would read as never-usable" in sentence for sentence in finding.evidence)


def test_a_silence_within_a_run_is_dated() -> None:
    answers = {second: {"requests_sent": 5, "replies_received": 5} for second in (*range(20), *range(30, 60))}
    silent = {second: {"requests_sent": 5} for second in range(20, 30)}
    timed_out = {second: {"unanswered": 5} for second in range(23, 30)}
    (finding,) = found(run(both(answers, silent, timed_out), [healthy()]))
    assert (finding.id, finding.severity, finding.count) == ("requests-unanswered", "error", 35)
    assert (finding.first_seen_s, finding.last_seen_s) == (20, 30)
    assert any("From 20 s to 30 s after the start there was no answer at all" in s for s in finding.evidence)
    assert any("answers came again afterwards" in s for s in finding.evidence)


def test_a_silence_of_a_long_run_is_a_warning_though_its_share_is_small() -> None:
    answers = {second: {"requests_sent": 10, "replies_received": 10} for second in range(1_000)}
    del answers[500], answers[501], answers[502]
    silent = {second: {"unanswered": 10} for second in (500, 501, 502)}
    (finding,) = found(run(both(answers, silent), [healthy()]))
    assert (finding.id, finding.severity, finding.count) == ("requests-unanswered", "warning", 30)


def test_requests_that_are_lost_here_and_there_are_told_from_a_silence() -> None:
    seconds = {second: {"requests_sent": 10, "replies_received": 8, "unanswered": 2} for second in range(20)}
    (finding,) = found(run(seconds, [healthy()]))
    assert finding.id == "requests-unanswered"
    assert any("some requests were lost, and others not" in sentence for sentence in finding.evidence)


LATE = {second: {"late_replies": 5} for second in range(4, 14)}

QUIET: dict[str, dict[int, dict[str, float]]] = {
    "all answered": {second: {"requests_sent": 5, "replies_received": 5} for second in range(10)},
    "a stray time-out": both(
        {second: {"requests_sent": 50, "replies_received": 50} for second in range(10)},
        {5: {"unanswered": 2}},
    ),
    # what was only read too late, as the generator stood still, is no time-out of the server's
    "a generator that stood still": both(
        {second: {"requests_sent": 5, "replies_received": 5} for second in range(10)},
        {9: {"late_replies": 40}},
    ),
    "nothing asked for": {second: {"sent": 5, "received": 5} for second in range(10)},
    "in flight at the end": {second: {"requests_sent": 5} for second in range(10)},
}


@pytest.mark.parametrize("case", QUIET)
def test_no_finding_for(case: str) -> None:
    assert ids(run(QUIET[case], [healthy()])) == []


def test_a_slow_server_is_told_from_a_silent_one() -> None:
    made = run(both(DEAF, LATE), [healthy(at_s=n, **SILENT) for n in range(3)])
    (finding,) = found(made)
    assert (finding.id, finding.severity, finding.count) == ("replies-late", "error", 50)
    assert "--reply-timeout" in finding.hint


CLUED = [
    # the id was seen in other fields
    ([("reply-clue", 4, 10, "in the field `request_id`")], {}, True),
    # by chance in one of ten
    ([("reply-clue", 1, 10, "in the field `id`")], {}, False),
    # about as many messages as requests, and no id in them
    (
        [("reply-clue", 0, 10, ""), ("came-instead", 10, 10, "a JSON object with the fields ok")],
        {4: {"received": 50}},
        True,
    ),
    # what comes anyway
    ([("came-instead", 10, 10, "a JSON object with the fields tick")], {4: {"received": 5_000}}, False),
    ([("came-instead", 10, 10, "a JSON object with the fields tick")], {4: {"received": 2}}, False),
    # ids, and none of them known
    ([("came-instead", 10, 10, "a JSON object")], {4: {"received": 500, "unmatched": 50}}, True),
]


@pytest.mark.parametrize(("observed", "more", "mismatch"), CLUED)
def test_answers_that_nobody_knows_are_told_from_silence(
    observed: list[tuple[str, int, int, str]], more: dict[int, dict[str, float]], mismatch: bool
) -> None:
    (finding,) = found(run(both(DEAF, more), [healthy(**SILENT)], observed))
    assert finding.id == ("replies-unmatched" if mismatch else "requests-unanswered")
    assert finding.severity == "critical"
    told = [text for id_, count, _, text in observed if count and (mismatch or id_ == "came-instead")]
    assert all(any(text in sentence for sentence in finding.evidence) for text in told)


def test_clues_alone_are_no_findings_and_hostile_names_of_fields_are_safe() -> None:
    clue = ("reply-clue", 4, 4, "in the field `\x1b[31mid`")
    assert ids(run(QUIET["all answered"], [healthy()], [clue, ("came-instead", 1, 1, "x")])) == []
    (finding,) = found(run(DEAF, [healthy()], [clue]))
    assert "\x1b" not in " ".join(finding.evidence)


EXPLAINED = [
    ("peer-silent", [broken("heartbeat-lost", at_s=n, **SILENT) for n in range(10)]),
    ("closed-policy-silent", [closed(1008, at_s=n, **SILENT) for n in range(10)]),
    ("connection-reset", [broken("reset", at_s=n, age_s=3.0 + n * n, **SILENT) for n in range(10)]),
]


@pytest.mark.parametrize(("cause", "records"), EXPLAINED)
def test_what_explains_the_silence_is_said_alone(cause: str, records: list[ConnectionRecord]) -> None:
    (finding,) = found(run(DEAF, records))
    assert finding.id == cause
    assert any("50 requests that would read as requests-unanswered" in line for line in finding.evidence)


def test_a_few_sockets_that_broke_explain_no_general_silence() -> None:
    records = [*(healthy(at_s=n, **SILENT) for n in range(40)), broken("reset", **SILENT)]
    assert set(ids(run(DEAF, records))) == {"requests-unanswered", "connection-reset"}


def test_sockets_on_which_the_expected_message_never_came_are_found_without_requests() -> None:
    records = [healthy(at_s=n, age_s=10.0 - n, **SILENT) for n in range(3)]
    (finding,) = found(run({}, records))
    assert (finding.id, finding.severity, finding.count, finding.share) == ("never-usable", "critical", 3, 1)
    (finding,) = found(run({}, [*records, *(healthy(at_s=n) for n in range(9))]))
    assert (finding.severity, finding.count, finding.share) == ("error", 3, 0.25)


def test_sockets_of_which_nothing_was_expected_are_no_finding() -> None:
    assert ids(run({}, [healthy(usable=None), healthy(at_s=1, usable=None, messages_received=0)])) == []
    assert ids(run({}, [*(healthy(at_s=n) for n in range(200)), healthy(**SILENT)])) == []


def test_sockets_that_have_a_finding_of_their_own_are_not_counted_twice() -> None:
    assert ids(run({}, [closed(1008, at_s=n, **SILENT) for n in range(5)])) == ["closed-policy-silent"]


def test_a_handler_that_was_too_slow_explains_its_gaps() -> None:
    pushes = {second: {"received": 100, "overrun": 10} for second in range(5, 10)}
    (finding,) = found(run(pushes, [healthy()]))
    assert (finding.id, finding.count, finding.share) == ("handler-slow", 50, 0.1)
    assert (finding.first_seen_s, finding.last_seen_s) == (5, 10)
    gaps = [("sequence-gap", 7, 500, "number 4 never came")]
    (finding,) = found(run(pushes, [healthy()], gaps))
    assert finding.id == "handler-slow"
    assert any("7 gaps that would read as sequence-gap" in line for line in finding.evidence)


@pytest.mark.parametrize("finding", ["no-answer", "replies-unmatched", "rehearsal-failed"])
def test_what_the_checks_said_is_not_said_again(finding: str) -> None:
    assert ids(run(DEAF, [healthy(**SILENT)], [(finding, 1, 1, "1 request and no answer")])) == [finding]


def test_the_scenarios_own_mistake_is_not_blamed_on_the_server() -> None:
    made = run(DEAF, [healthy(**SILENT)])
    made.add_user_error(USER_ERROR)
    assert ids(made) == []


USER_ERROR = UserError(START_S + 1.0, "0", "ChatUser", "reply_id", "KeyError", "locustfile.py:9", 50)
