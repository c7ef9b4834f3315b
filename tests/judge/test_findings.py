"""Each fault is found, named, and told apart from all the others."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.judge.booked import CANCELLED, START_S, books, broken, closed, failed, healthy, row
from wsoak.judge.findings import NAMES_TOLD, Finding, find
from wsoak.judge.observed_rules import OBSERVED
from wsoak.judge.rules import RULES
from wsoak.ledger.books import Books
from wsoak.ledger.records import ConnectionRecord


def found(made: Books) -> list[Finding]:
    return find(made, START_S)


def ids(made: Books) -> list[str]:
    return [finding.id for finding in found(made)]


def times(count: int, make: Any, *arguments: Any, every_s: float = 1.0, **fields: Any) -> list[Any]:
    """``count`` records, one each ``every_s``, of different ages unless told otherwise."""
    return [
        make(
            *arguments,
            at_s=every_s * n,
            **{**({} if make is failed else {"age_s": AGES_S[n % 11]}), **fields},
        )
        for n in range(count)
    ]


AGES_S = [3.0 + 4.1 * (7 * n % 11) for n in range(11)]


WELL = times(10, healthy)
UNUSED: dict[str, Any] = {"usable": False, "messages_received": 0, "age_s": 0.01}
IDLE: dict[str, Any] = {"age_s": 61.0, "idle_s": 60.0}
BUSY: dict[str, Any] = {"age_s": 6.0, "idle_s": 0.02}

HAPROXY_503 = (
    "<html><body><h1>503 Service Unavailable</h1>\n"
    "No server is available to handle this request.\n</body></html>\n"
)
NGINX_503 = "<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>\r\n</html>\r\n"

NGINX_400 = "<title>400 The plain HTTP request was sent to HTTPS port</title>"

FAULTS: list[tuple[str, list[ConnectionRecord]]] = [
    ("closed-policy-silent", times(10, closed, 1008, **UNUSED)),
    ("closed-policy-silent", times(10, closed, 4403, **UNUSED)),
    ("closed-policy-denied", times(10, closed, 1008, server_error="Session access denied", **UNUSED)),
    ("closed-policy-denied", times(10, closed, 1000, server_error="Session access denied", **UNUSED)),
    ("closed-policy-denied", times(10, closed, None, server_error="Session access denied", **UNUSED)),
    ("server-unreachable", times(10, failed, "refused", "tcp")),
    ("server-unreachable", times(10, failed, "unreachable", "tcp")),
    ("server-unreachable", times(10, failed, "resolve-failed", "resolve")),
    ("server-unreachable", times(10, failed, "timeout-tcp", "tcp")),
    ("tls-failed", times(10, failed, "tls-failed", "tls")),
    ("tls-failed", times(10, failed, "timeout-tls", "tls")),
    ("tls-failed", times(10, failed, "reset", "tls")),
    ("hello-failed", times(10, failed, "closed-hello", "hello")),
    ("hello-failed", times(10, failed, "timeout-hello", "hello")),
    ("route-not-found", times(10, failed, "rejected-404")),
    ("upgrade-refused", times(10, failed, "rejected-403")),
    ("upgrade-refused", times(10, failed, "rejected-401")),
    ("overload", times(10, failed, "rejected-503")),
    ("overload", times(10, failed, "rejected-429")),
    ("overload", times(10, closed, 1013)),
    ("backend-dead", times(10, failed, "rejected-502")),
    ("backend-dead", times(10, failed, "rejected-504")),
    ("backend-dead", times(10, closed, 1014)),
    ("backend-dead", times(10, failed, "rejected-503", status=503, body=HAPROXY_503)),
    ("overload", times(10, failed, "rejected-503", status=503, body=NGINX_503)),
    *(("backend-dead", times(10, failed, f"rejected-{status}")) for status in (520, 521, 524, 527, 530, 599)),
    ("backend-dead", times(10, failed, "rejected-503", headers="Server: awselb/2.0")),
    *(("gateway-refused", times(10, failed, f"rejected-{status}")) for status in (460, 464, 497, 511, 561)),
    ("gateway-refused", times(10, failed, "rejected-404", body="default backend - 404")),
    ("gateway-refused", times(10, failed, "rejected-400", body=NGINX_400)),
    ("overload", times(10, failed, "rejected-529")),
    *(("redirected", times(10, failed, f"rejected-{status}")) for status in (301, 302, 307, 308)),
    ("upgrade-crash", times(10, failed, "rejected-500")),
    ("upgrade-crash", times(10, failed, "rejected-507")),
    ("upgrade-crash", times(10, failed, "eof")),
    ("upgrade-reset", times(10, failed, "reset")),
    ("upgrade-slow", times(10, failed, "timeout-upgrade")),
    ("bad-upgrade", times(10, failed, "bad-upgrade")),
    ("upgrade-rejected", times(10, failed, "rejected-200")),
    ("upgrade-rejected", times(10, failed, "rejected-426")),
    ("peer-silent", times(10, broken, "heartbeat-lost", sent_code=1011, idle_s=30.0)),
    ("peer-silent", times(10, broken, "heartbeat-lost", sent_code=1011, initiator="client")),
    ("too-big", times(10, closed, 1009)),
    ("idle-timeout", times(10, broken, "eof", **IDLE)),
    ("idle-timeout", times(10, closed, 1001, **IDLE)),
    ("idle-timeout", times(10, broken, "reset", **IDLE)),
    ("idle-timeout", times(10, broken, "reset", age_s=90.0, idle_s=1.0, quiet_s=60.0, every_s=7.0)),
    ("idle-timeout", times(10, closed, 1000, reason="Idle timeout exceeded", idle_s=3.0)),
    ("lifetime-cap", times(10, broken, "eof", **BUSY)),
    ("lifetime-cap", times(10, broken, "reset", **BUSY)),
    ("lifetime-cap", times(10, closed, 1001, **BUSY)),
    ("lifetime-cap", times(10, closed, None, **BUSY)),
    ("server-restart", times(10, closed, 1012, every_s=0.01)),
    ("server-restart", times(10, closed, 1001, every_s=0.01)),
    ("server-crash", times(10, closed, 1011)),
    ("server-crash", times(10, broken, "eof", idle_s=0.01)),
    ("server-crash", times(10, broken, "reset", idle_s=0.01)),
    ("connection-reset", times(10, broken, "reset", idle_s=0.8)),
    ("closed-no-status", times(10, closed, None, age_s=0.1)),
    ("protocol-violation", times(10, broken, "protocol-violation", initiator="client", sent_code=1002)),
    ("closed-by-server", times(10, closed, 4123)),
    ("closed-by-server", times(10, closed, 1000, **UNUSED)),
    ("closed-by-server", times(10, closed, 1011, reason="keepalive ping timeout")),
]


WITH_EACH_FAULT = pytest.mark.parametrize(
    ("expected", "records"), FAULTS, ids=[f"{id_}-{n}" for n, (id_, _) in enumerate(FAULTS)]
)


@WITH_EACH_FAULT
def test_a_fault_is_found_and_no_other(expected: str, records: list[ConnectionRecord]) -> None:
    assert ids(books(records)) == [expected]


@WITH_EACH_FAULT
def test_a_fault_is_found_among_healthy_sockets(expected: str, records: list[ConnectionRecord]) -> None:
    (finding,) = found(books([*WELL, *records]))

    assert (finding.id, finding.count, finding.share) == (expected, 10, 0.5)
    assert finding.evidence[0].startswith("10 of 20 ")
    assert finding.hint


def test_every_rule_has_a_fault_in_the_table_or_a_test_of_its_own() -> None:
    of_their_own = {"route-doubled", "credentials-expired", "origin-refused"}

    assert {rule.id for rule in RULES} == {id_ for id_, _ in FAULTS} | of_their_own


@pytest.mark.parametrize("id_", sorted(OBSERVED))
def test_an_observation_is_a_finding_when_anything_was_wrong(id_: str) -> None:
    (finding,) = found(books(WELL, observed=[(id_, 2, 40), (id_, 0, 40)]))

    assert (finding.id, finding.system, finding.count, finding.share) == (id_, "dialogue", 2, 0.025)
    assert finding.severity in ("critical", "error")
    assert f"{id_} was seen" in finding.evidence[-1]


@pytest.mark.parametrize("id_", sorted(OBSERVED))
def test_an_observation_of_a_check_that_passed_is_none(id_: str) -> None:
    assert found(books(WELL, observed=[(id_, 0, 40)])) == []


def test_an_observation_with_an_unknown_id_is_reported_in_its_own_words() -> None:
    (finding,) = found(books(observed=[("coffee-cold", 1, 2)]))

    assert (finding.id, finding.severity) == ("coffee-cold", "error")
    assert "coffee-cold was seen" in finding.evidence[-1]


NO_FAULTS = {
    "sockets closed by the end of the run": WELL,
    "sockets closed by the client": times(10, healthy, reason="done"),
    "sockets closed by the server after their work": times(10, closed, 1000, idle_s=0.0),
    "sockets whose first message was not known": times(10, healthy, usable=None, messages_received=0),
    "attempts that the run's end cancelled": times(10, failed, CANCELLED),
    "attempts for which we had no port": times(10, failed, "ports-exhausted", "tcp"),
    "attempts for which we had no descriptor": times(10, failed, "descriptors-exhausted", "tcp"),
    "a code from the server in answer to our close": times(10, healthy, code=1008, received_code=1008),
    "nothing at all": [],
}


@pytest.mark.parametrize("records", NO_FAULTS.values(), ids=NO_FAULTS)
def test_what_is_no_fault_of_the_server_gives_no_finding(records: list[ConnectionRecord]) -> None:
    assert found(books(records)) == []


# ------------------------------------------------------------------------------------- telling apart


@pytest.mark.parametrize("status", [403, 404, 500])
@pytest.mark.parametrize("probe", ["route-not-found", "route-doubled"])
def test_a_probe_tells_a_missing_route_from_a_refusal_or_crash(status: int, probe: str) -> None:
    (finding,) = found(books(times(10, failed, f"rejected-{status}"), observed=[(probe, 1, 4)]))

    assert (finding.id, finding.count) == (probe, 10)
    assert any(f"{probe} was seen" in sentence for sentence in finding.evidence)


@pytest.mark.parametrize(
    ("status", "expected"), [(403, "upgrade-refused"), (500, "upgrade-crash"), (404, "route-doubled")]
)
def test_a_route_that_opened_is_there_whatever_a_probe_found_besides(status: int, expected: str) -> None:
    made = books([*WELL, *times(10, failed, f"rejected-{status}")], observed=[("route-doubled", 1, 1)])

    assert expected in ids(made)


def test_a_door_of_a_scenarios_own_that_opened_is_critical() -> None:
    (finding,) = found(books(WELL, observed=[("unknown-task-accepted", 1, 3)]))

    assert (finding.id, finding.severity, finding.count) == ("unknown-task-accepted", "critical", 1)


def test_a_missing_route_names_the_path_and_the_rate_of_a_storm() -> None:
    storm = times(100, failed, "rejected-404", path="/ws/42", attempt=1, every_s=0.1)

    (finding,) = found(books(storm, gauges=[("users", 2)]))

    text = " ".join(finding.evidence)
    assert "/ws/42" in text
    assert "10.1 attempts a second, 5.1 a user" in text
    assert "storm" in text


def test_retries_that_wait_are_no_storm() -> None:
    calm = times(10, failed, "rejected-404", attempt=1, every_s=10)

    (finding,) = found(books(calm, gauges=[("users", 2)]))

    assert "storm" not in " ".join(finding.evidence)


# ------------------------------------------------------------------------------------------ storms


def tried(rate: float, seconds: float, users: int, repeated: bool, outcome: str = "rejected-503") -> Books:
    """Reconnects at this rate a second and user, and as many users."""
    count = round(rate * seconds * users)
    records = [
        failed(outcome, at_s=seconds * n / count, attempt=2 if repeated and n >= users else 1)
        for n in range(count)
    ]
    return books([*WELL, *records], gauges=[("users", users)])


STORMS = [
    # attempts a second and user, for how many seconds, after failed ones or not, a storm or not
    (20.0, 3, True, True),
    (20.0, 3, False, True),
    (3.0, 10, True, True),
    (3.0, 10, False, False),
    (1.5, 30, True, False),
    (4.0, 30, False, False),
    (20.0, 0.2, True, False),
    (20.0, 1, True, True),
]


@pytest.mark.parametrize(("rate", "seconds", "repeated", "storm"), STORMS)
def test_a_storm_is_more_than_a_back_off_ever_makes(
    rate: float, seconds: float, repeated: bool, storm: bool
) -> None:
    expected = ["overload", "reconnect-storm"] if storm else ["overload"]
    assert ids(tried(rate, seconds, 100, repeated)) == expected


def test_a_storm_says_how_heavy_it_was_and_what_became_of_it() -> None:
    made = tried(10.0, 6, 100, True)

    (finding,) = [finding for finding in found(made) if finding.id == "reconnect-storm"]

    assert (finding.severity, finding.count, finding.system) == ("warning", 6000, "dialogue")
    assert (finding.first_seen_s, finding.last_seen_s) == (0.0, 6.0)
    assert finding.share == pytest.approx(6000 / 6010)
    text = " ".join(finding.evidence)
    assert "3,000 reconnects by 100 users began within 3 s: 1,000 attempts a second, 10 a user." in text
    assert "In 6 s there were 6,000, 5,900 of them after a failed one." in text
    assert "6,000 × rejected-503" in text
    assert "full jitter" in finding.hint
    for code in (1008, 4001, 4003, 4401, 4403):
        assert str(code) in finding.hint


def test_a_storm_against_a_policy_close_says_that_it_is_in_vain() -> None:
    again = [closed(4401, at_s=0.01 * n, attempt=n + 1, **UNUSED) for n in range(1000)]

    storm = next(
        finding
        for finding in found(books([*WELL, *again], gauges=[("users", 2)]))
        if finding.id == "reconnect-storm"
    )

    assert "1,000 reconnects were closed with 4401: trying again is in vain then." in storm.evidence


@pytest.mark.parametrize("status", [404, 403])
def test_a_storm_that_another_finding_tells_of_is_no_finding_of_its_own(status: int) -> None:
    made = tried(10.0, 6, 100, True, f"rejected-{status}")
    made.merge(books([failed(f"rejected-{status}")]))  # else credentials would have expired

    (finding,) = found(made)

    assert "That is a storm" in " ".join(finding.evidence)


def test_a_storm_after_a_stray_missing_route_is_a_finding_all_the_same() -> None:
    made = tried(10.0, 6, 100, True)
    made.merge(books(times(20, failed, "rejected-404", attempt=3)))

    assert sorted(ids(made)) == ["overload", "reconnect-storm", "route-not-found"]


def test_a_storm_against_a_server_that_is_gone_is_told_once() -> None:
    unreachable, storm = found(tried(10.0, 6, 100, True, "refused"))

    assert (unreachable.id, storm.id) == ("server-unreachable", "reconnect-storm")
    assert any("1,000 attempts a second" in sentence for sentence in unreachable.evidence)
    assert "storm" not in " ".join(unreachable.evidence)


def test_without_knowing_the_users_there_is_no_storm() -> None:
    made = tried(20.0, 6, 100, True)
    made.gauges.clear()

    assert ids(made) == ["overload"]


def test_a_few_users_may_be_quick_by_chance() -> None:
    # nine in three seconds, where six is the bound
    assert ids(tried(3.0, 3, 1, True)) == ["overload"]
    assert "reconnect-storm" in ids(tried(30.0, 3, 1, True))


@given(st.integers(0, 2**32), st.sampled_from([5, 40, 200]))
@settings(max_examples=25, deadline=None)
def test_a_back_off_with_full_jitter_is_never_a_storm(seed: int, users: int) -> None:
    """Users that all fail from one moment on, and wait evenly between 0 and 0.5, 1, 2, … 30 s."""
    chance = random.Random(seed)
    records = []
    for _ in range(users):
        at_s, attempt = 0.0, 1
        while at_s < 40:
            at_s += chance.uniform(0, min(30.0, 0.5 * 2 ** (attempt - 1)))
            records.append(failed("rejected-503", at_s=at_s, attempt=attempt))
            attempt += 1
    assert ids(books([*WELL, *records], gauges=[("users", users)])) == ["overload"]


def test_storms_of_two_systems_are_two() -> None:
    made = tried(10.0, 6, 100, True)
    made.merge(books([failed("rejected-503", at_s=n / 500, attempt=3, name="call") for n in range(3000)]))

    assert [finding.system for finding in found(made) if finding.id == "reconnect-storm"] == [
        "dialogue",
        "call",
    ]


EXPIRED = {
    "a status": times(10, failed, "rejected-401", attempt=3),
    "a policy close": times(10, closed, 1008, attempt=3, **UNUSED),
    "an error message": times(10, closed, 1000, attempt=3, server_error="Token expired", **UNUSED),
}


@pytest.mark.parametrize("refusals", EXPIRED.values(), ids=EXPIRED)
def test_refusals_on_reconnects_alone_are_expired_credentials(refusals: list[ConnectionRecord]) -> None:
    dropped = times(10, closed, 1008, server_error="Token expired")

    assert ids(books([*dropped, *refusals])) == ["credentials-expired"]


def test_a_refusal_of_a_first_attempt_is_not_expired_credentials() -> None:
    refusals = [*times(10, failed, "rejected-401", attempt=3), failed("rejected-401")]

    assert ids(books(refusals)) == ["upgrade-refused"]


def test_the_server_s_error_message_is_quoted_and_made_safe() -> None:
    hostile = "denied\x1b[2J\u202egnp\n" + "x" * 5000
    (finding,) = found(books(times(3, closed, 1008, server_error=hostile, **UNUSED)))

    (quote,) = [sentence for sentence in finding.evidence if "error message before" in sentence]
    assert "denied\\x1b[2J\\u202egnp\\n" in quote
    assert quote.isprintable()
    assert len(quote) < 400


def test_resets_are_a_crash_where_most_came_while_the_server_was_writing() -> None:
    def resets(active: int, silent: int) -> Books:
        return books(
            [*times(active, broken, "reset", idle_s=0.01), *times(silent, broken, "reset", idle_s=2.0)]
        )

    assert ids(resets(active=6, silent=4)) == ["server-crash"]
    assert ids(resets(active=4, silent=6)) == ["connection-reset"]


def test_a_server_that_did_no_more_than_answer_pings_was_not_active() -> None:
    pinged = books(times(10, broken, "reset", idle_s=0.01, quiet_s=0.9))
    assert ids(pinged) == ["connection-reset"]


NOT_IDLE = {
    "all end at one moment": [broken("eof", at_s=0.01 * n, age_s=61.0, idle_s=60.0) for n in range(10)],
    "unequal silence": [
        broken("eof", at_s=float(n), age_s=100.0 + 15 * n, idle_s=10.0 + 5 * n) for n in range(10)
    ],
    "no silence to speak of": times(10, broken, "eof", idle_s=0.5),
    "too few": times(4, broken, "eof", **IDLE),
}


@pytest.mark.parametrize("records", NOT_IDLE.values(), ids=NOT_IDLE)
def test_an_idle_time_out_is_not_claimed_without_ground(records: list[ConnectionRecord]) -> None:
    assert ids(books(records)) == ["server-crash"]


def test_a_few_odd_ends_with_the_same_silence_join_the_idle_time_out() -> None:
    odd = broken("eof", at_s=3.0, attempt=2, state="waiting", **IDLE)

    (finding,) = found(books([*times(10, broken, "eof", **IDLE), odd]))

    assert (finding.id, finding.count) == ("idle-timeout", 11)


def test_a_restart_explains_the_refusals_that_follow_it() -> None:
    gone = times(10, closed, 1012, every_s=0.01)
    refused = times(20, failed, "refused", "tcp", every_s=0.5)
    refused = [record for record in refused if record.started_at > START_S + 9]

    (finding,) = found(books([*gone, *refused]))

    assert finding.id == "server-restart"
    assert any("1 connection that would read as server-unreachable" in text for text in finding.evidence)


def test_a_restart_does_not_explain_refusals_long_before_it() -> None:
    early = times(5, failed, "refused", "tcp")
    gone = [closed(1012, at_s=300 + n / 100) for n in range(10)]

    assert sorted(ids(books([*early, *gone]))) == ["server-restart", "server-unreachable"]


def test_a_stray_restart_explains_nothing() -> None:
    made = [*times(400, healthy), closed(1012), *times(6, closed, 1011)]

    assert ids(books(made)) == ["server-crash", "server-restart"]


def test_a_restart_does_not_explain_more_broken_sockets_than_it_met() -> None:
    gone = times(5, closed, 1012)

    assert ids(books([*gone, *times(4, broken, "eof")])) == ["server-restart"]
    assert ids(books([*gone, *times(6, broken, "eof")])) == ["server-crash", "server-restart"]


def died(at_s: float, back_s: float, sockets: int = 10) -> list[ConnectionRecord]:
    """Sockets that break at one moment, and two attempts of each user that a proxy answers until then."""
    broke = [broken("eof", at_s=at_s - 10 + n / 1000, idle_s=0.05) for n in range(sockets)]
    answered = [
        failed("rejected-502", at_s=at_s + 0.2 + (back_s - at_s - 0.4) * n / (2 * sockets), attempt=1)
        for n in range(2 * sockets)
    ]
    return [*times(40, healthy), *broke, *answered]


def test_a_back_end_that_died_explains_the_sockets_that_broke_with_it() -> None:
    (finding,) = found(books(died(20, 30)))

    assert (finding.id, finding.count) == ("backend-dead", 20)
    assert any("10 connections that would read as server-crash" in text for text in finding.evidence)


@pytest.mark.parametrize("at_s", [5.0, 50.0], ids=["before", "after"])
def test_a_back_end_that_died_does_not_explain_sockets_that_broke_at_another_time(at_s: float) -> None:
    broke = [broken("eof", at_s=at_s - 10, idle_s=0.05)]

    assert ids(books([*died(20, 30), *broke])) == ["backend-dead", "server-crash"]


def test_a_proxy_that_has_no_back_end_is_told_from_one_that_sheds_load() -> None:
    made = books(
        [
            *times(6, failed, "rejected-503", status=503, body=HAPROXY_503),
            *times(4, failed, "rejected-503", status=503, body="Too many connections"),
        ]
    )

    assert [(finding.id, finding.count) for finding in found(made)] == [("backend-dead", 6), ("overload", 4)]


def test_one_cause_seen_on_openings_and_on_closes_is_one_finding() -> None:
    made = books([*WELL, *times(6, failed, "rejected-503"), *times(4, closed, 1013)])

    (finding,) = found(made)

    assert (finding.id, finding.count, finding.share) == ("overload", 10, 0.5)
    text = " ".join(finding.evidence)
    assert "6 of 20 handshakes" in text
    assert "4 of 14 opened sockets" in text


def test_two_systems_have_findings_of_their_own() -> None:
    made = books([*times(4, failed, "refused", "tcp"), *times(3, failed, "refused", "tcp", name="call")])

    assert [(finding.id, finding.system, finding.count) for finding in found(made)] == [
        ("server-unreachable", "dialogue", 4),
        ("server-unreachable", "call", 3),
    ]


# ------------------------------------------------------------------------------------------ severity


SEVERITIES = [
    ("no handshake ever succeeded", times(10, failed, "refused", "tcp"), "critical"),
    ("no socket was ever usable", times(10, closed, 1008, **UNUSED), "critical"),
    ("half of them", [*WELL, *times(10, closed, 1011)], "error"),
    ("all sockets, after they worked", times(10, closed, 1011), "error"),
    ("a stray one among many", [*times(400, healthy), closed(1011)], "warning"),
]


@pytest.mark.parametrize(("_case", "records", "severity"), SEVERITIES, ids=[case[0] for case in SEVERITIES])
def test_severity_follows_the_share(_case: str, records: list[ConnectionRecord], severity: str) -> None:
    (finding,) = found(books(records))

    assert finding.severity == severity
    assert any("stray" in text for text in finding.evidence) == (severity == "warning")


def test_findings_come_worst_first_then_by_count() -> None:
    made = books(
        [*times(5, closed, 1011), *times(7, closed, 1013), *times(400, healthy), closed(1012)],
        observed=[("history-lost", 1, 10)],
    )

    assert ids(made) == ["history-lost", "overload", "server-crash", "server-restart"]


# ------------------------------------------------------------------------------------------ evidence


def test_times_are_seconds_from_the_start() -> None:
    (finding,) = found(
        books(
            [failed("refused", "tcp", at_s=3.0, tcp_ms=None), failed("refused", "tcp", at_s=9.0, tcp_ms=None)]
        )
    )

    assert (finding.first_seen_s, finding.last_seen_s) == (3.0, 9.0)


def test_a_peer_s_silence_is_dated_by_its_beginning() -> None:
    # three heartbeats of 2 s, and 5 s for a close frame that nobody answers
    lost = {"sent_code": 1011, "initiator": "client", "age_s": 30.0, "idle_s": 11.0}
    (finding,) = found(books([broken("heartbeat-lost", at_s=float(n), **lost) for n in range(4)]))

    assert finding.id == "peer-silent"
    assert (finding.first_seen_s, finding.last_seen_s) == pytest.approx((19.0, 22.0), abs=0.01)


def test_slow_upgrades_say_at_how_many_open_sockets_they_began() -> None:
    held = [healthy(at_s=float(n), age_s=100.0) for n in range(12)]

    (finding,) = found(books([*held, failed("timeout-upgrade", at_s=20.0)]))

    assert any("while 12 sockets were open" in text for text in finding.evidence)


@pytest.mark.parametrize(("tcp_ms", "verdict"), [(0.3, "the fault is behind it"), (900.0, "slow as well")])
def test_slow_or_crashed_upgrades_say_how_fast_tcp_was(tcp_ms: float, verdict: str) -> None:
    (finding,) = found(books(times(4, failed, "rejected-500", tcp_ms=tcp_ms)))

    (sentence,) = [text for text in finding.evidence if text.startswith("TCP connected")]
    assert verdict in sentence
    assert "n 4" in sentence


def test_a_reset_says_what_the_socket_was_doing_and_which_sends_failed() -> None:
    made = books(times(3, broken, "reset", state="listening", idle_s=0.9))
    made.merge(_sends_on_closed(2))

    (finding,) = found(made)

    text = " ".join(finding.evidence)
    assert "listening (3)" in text
    assert "2 sends were tried on a socket that had closed" in text


def _sends_on_closed(count: int) -> Books:
    made = Books()
    made.add_row(START_S, "dialogue", row(send_on_closed=count))
    return made


def test_one_socket_was_and_many_were() -> None:
    (one,) = found(books([closed(1013)]))
    (many,) = found(books(times(2, closed, 1013)))

    assert one.evidence[0].startswith("1 of 1 opened socket (100 %) was closed by the server as too many")
    assert many.evidence[0].startswith("2 of 2 opened sockets (100 %) were closed by the server as too many")


def test_ages_below_a_millisecond_are_told() -> None:
    (finding,) = found(books([closed(1013, age_s=0.000014), closed(1013, age_s=0.000294)]))

    assert "Ages at the end: 14 µs to 294 µs." in finding.evidence


def test_json_holds_plain_values() -> None:
    (finding,) = found(books(times(3, failed, "refused", "tcp")))

    plain = json.loads(json.dumps(finding.to_json()))

    assert plain["id"] == "server-unreachable"
    assert set(plain) == set(Finding.__dataclass_fields__)
    assert plain["evidence"] == list(finding.evidence)


def test_an_outcome_of_a_later_version_is_passed_over() -> None:
    made = Books()
    made.add_connection(failed("frobnicated"))

    assert found(made) == []


# ------------------------------------------------------------------------------------------ properties


ANY_RECORDS = st.lists(
    st.sampled_from([record for _, records in FAULTS for record in records] + WELL), max_size=40
)


@given(ANY_RECORDS, st.integers(0, 40), st.randoms(use_true_random=False))
def test_findings_do_not_depend_on_how_books_were_put_together(
    records: list[ConnectionRecord], cut: int, shuffle: random.Random
) -> None:
    whole = found(books(records))
    shuffled = list(records)
    shuffle.shuffle(shuffled)
    parts = books(shuffled[:cut])
    parts.merge(books(shuffled[cut:]))

    assert found(parts) == whole


@given(ANY_RECORDS)
def test_no_connection_speaks_for_two_findings(records: list[ConnectionRecord]) -> None:
    made = books(records)

    counted = sum(finding.count for finding in found(made))

    assert counted <= len(records)
    for finding in found(made):
        assert 0 < finding.share <= 1
        assert finding.first_seen_s <= finding.last_seen_s
        assert all(sentence.isprintable() for sentence in finding.evidence)


def test_a_proxy_without_a_back_end_may_be_one_whose_queue_is_full_and_the_hint_says_so() -> None:
    (finding,) = found(books(times(6, failed, "rejected-503", status=503, body=HAPROXY_503)))

    # HAProxy's answer is the same, to the byte
    assert finding.id == "backend-dead"
    for word in ("`timeout queue`", "`sQ`", "`maxconn`"):
        assert word in finding.hint


def test_the_same_finding_on_very_many_names_is_told_once() -> None:
    def refused_in(rooms: int) -> list[Finding]:
        records = [
            failed("rejected-403", name=f"room {n % rooms}", at_s=0.1 * n, attempt=attempt)
            for n in range(4 * rooms)
            for attempt in (0, 1)
        ]
        return found(books(records + WELL))

    assert len(refused_in(NAMES_TOLD)) == NAMES_TOLD
    (finding,) = refused_in(NAMES_TOLD + 1)
    assert (finding.id, finding.system, finding.count) == ("upgrade-refused", "11 names", 88)
    assert finding.share == pytest.approx(1.0)
    assert "room 0" in finding.evidence[0]
    assert "8 more" in finding.evidence[0]


def test_a_gateways_answer_is_named_and_explains_what_a_probe_of_its_paths_found() -> None:
    refused = times(10, failed, "rejected-404", body="default backend - 404", every_s=1.0)

    (finding,) = found(books(refused, observed=[("route-not-found", 1, 1)]))

    assert finding.id == "gateway-refused"
    assert any("look at the ingress's hosts and paths" in sentence for sentence in finding.evidence)


def test_the_headers_of_a_refusal_are_quoted_and_made_safe() -> None:
    headers = "Location: https://x.example/\x1b[2J\nServer: nginx"

    (finding,) = found(books([failed("rejected-301", headers=headers)]))

    told = [sentence for sentence in finding.evidence if "Location: https://x.example/" in sentence]
    assert told and "\x1b" not in told[0] and "Server: nginx" in told[0]


def test_what_a_server_asked_its_clients_to_wait_is_told_beside_what_they_waited() -> None:
    refused: dict[str, Any] = {"headers": "Retry-After: 5"}
    records = [
        failed("rejected-429", **refused),
        failed("rejected-429", attempt=1, waited_s=0.4, **refused),
        healthy(attempt=2, waited_s=6.25),
    ]

    (finding,) = found(books(records))

    told = "The server asked clients to wait (Retry-After: 5), and they came back after 400 ms to 6.25 s."
    assert told in finding.evidence
