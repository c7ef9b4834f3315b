"""The vocabulary: total, and as measurement.md's tables have it."""

from __future__ import annotations

import re

import pytest

from wsoak.ledger import outcomes
from wsoak.ledger.outcomes import (
    CLOSE_NAMES,
    OUTCOMES,
    PHASES,
    CloseClass,
    Initiator,
    close_class,
    close_error,
    close_name,
    is_failure,
    meaning,
    observed_code,
    rejected,
    rejected_status,
    whose,
)

WHOSE = {
    "success": {"open"},
    "network": {"resolve-failed", "unreachable", "proxy-failed", "timeout-tcp"},
    "server": {
        "refused",
        "timeout-tls",
        "timeout-upgrade",
        "timeout-hello",
        "reset",
        "eof",
        "tls-failed",
        "bad-upgrade",
        "head-too-large",
        "closed-hello",
        "rejected-503",
    },
    "generator": {"ports-exhausted", "descriptors-exhausted", "source-unusable"},
    "nobody": {"cancelled"},
}


def test_every_word_of_the_module_has_a_meaning() -> None:
    constants = {
        value
        for name, value in vars(outcomes).items()
        if name.isupper()
        and isinstance(value, str)
        and not name.endswith("_PREFIX")
        and not name.startswith(("DETAIL_", "RUN_", "USER_", "REPLY_", "DROPPED"))
    }
    assert constants == set(OUTCOMES)


@pytest.mark.parametrize(("culprit", "word"), [(who, word) for who, words in WHOSE.items() for word in words])
def test_each_outcome_says_whose_it_is(culprit: str, word: str) -> None:
    assert whose(word) == culprit
    assert is_failure(word) is (culprit in ("server", "network"))
    assert meaning(word).text


def test_the_table_of_this_test_is_complete() -> None:
    assert set.union(*WHOSE.values()) == {*OUTCOMES, "rejected-503"}


def test_every_phase_but_the_look_up_has_its_time_out() -> None:
    for phase in PHASES[1:]:
        assert meaning(f"{outcomes.TIMEOUT_PREFIX}{phase}")


@pytest.mark.parametrize("status", [100, 200, 302, 401, 403, 404, 429, 500, 502, 503, 599, 999])
def test_a_rejection_carries_its_status(status: int) -> None:
    word = rejected(status)
    assert word == f"rejected-{status}"
    assert rejected_status(word) == status
    assert str(status) in meaning(word).text
    assert whose(word) == "server"


@pytest.mark.parametrize("word", [*OUTCOMES, "", "rejected", "503", "rejected-", "rejected-x", "rejected-²"])
def test_other_words_carry_no_status(word: str) -> None:
    assert rejected_status(word) is None


@pytest.mark.parametrize(
    "word", ["", "opened", "OPEN", "rejected-", "rejected-abc", "rejected-²", "timeout-"]
)
def test_a_word_outside_the_vocabulary_has_no_meaning(word: str) -> None:
    with pytest.raises(KeyError, match=re.escape(repr(word))):
        meaning(word)


CLASSES: list[tuple[int, CloseClass]] = [
    (1000, "normal"),
    (1001, "going-away"),
    (1012, "going-away"),
    (1005, "no-status"),
    (1006, "abnormal"),
    (1002, "protocol"),
    (1003, "protocol"),
    (1007, "protocol"),
    (1010, "protocol"),
    (1008, "policy"),
    (3000, "policy"),
    (3003, "policy"),
    (4400, "policy"),
    (4401, "policy"),
    (4403, "policy"),
    (4404, "policy"),
    (1009, "too-big"),
    (1011, "server-error"),
    (1014, "server-error"),
    (1013, "try-later"),
    (4000, "private"),
    (4001, "private"),
    (4402, "private"),
    (4999, "private"),
    (0, "unknown"),
    (999, "unknown"),
    (1004, "unknown"),
    (1015, "unknown"),
    (2999, "unknown"),
    (3001, "unknown"),
    (5000, "unknown"),
    (65535, "unknown"),
]


@pytest.mark.parametrize(("code", "expected"), CLASSES)
def test_a_close_code_has_its_class(code: int, expected: CloseClass) -> None:
    assert close_class(code) == expected


def test_the_users_own_table_goes_first() -> None:
    assert close_class(4001, {4001: "policy"}) == "policy"
    assert close_class(1000, {1000: "server-error"}) == "server-error"
    assert close_class(1001, {4001: "policy"}) == "going-away"


@pytest.mark.parametrize(
    ("code", "name"),
    [*CLOSE_NAMES.items(), (4000, "private use"), (4999, "private use"), (5000, "unassigned")],
)
def test_a_close_code_has_its_name(code: int, name: str) -> None:
    assert close_name(code) == name


@pytest.mark.parametrize(
    ("close_frame_received", "received_code", "expected"),
    [
        (False, None, 1006),
        (True, None, 1005),
        (True, 1000, 1000),
        (True, 4001, 4001),
        # codes that must not be on the wire are kept as they came
        (True, 1005, 1005),
        (True, 1006, 1006),
        (True, 0, 0),
    ],
)
def test_the_observed_code_is_that_of_rfc_6455_section_7_1_5(
    close_frame_received: bool, received_code: int | None, expected: int
) -> None:
    assert observed_code(close_frame_received, received_code) == expected


@pytest.mark.parametrize(
    ("code", "initiator", "detail", "ended_by_run", "error"),
    [
        (1000, "server", "", False, ""),
        (1001, "server", "", False, "1001 going away, by server"),
        (1008, "server", "", False, "1008 policy violation, by server"),
        (4001, "server", "", False, "4001 private use, by server"),
        (1000, "client", "", False, ""),
        (4000, "client", "", False, ""),
        (1011, "client", "heartbeat-lost", False, "1011 heartbeat-lost"),
        (1002, "client", "protocol-violation", False, "1002 protocol-violation"),
        (1006, "client", "close-timeout", False, "1006 close-timeout"),
        (1006, "network", "eof", False, "1006 eof"),
        (1006, "network", "", False, "1006 abnormal closure"),
        (1000, "client", "close-timeout", True, ""),
        (1006, "network", "reset", True, ""),
    ],
)
def test_only_a_close_that_was_forced_is_an_error(
    code: int, initiator: Initiator, detail: str, ended_by_run: bool, error: str
) -> None:
    assert close_error(code, initiator, detail, ended_by_run) == error


ENVOY = "upstream connect error or disconnect/reset before headers. reset reason:"
