"""What dialogue and echo say of themselves: rehearsal, doors, clean-up, against a target."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from scenarios.call import CallUser
from scenarios.dialogue import NAME, DialogueUser
from scenarios.echo import EchoUser
from scenarios.tasks import TasksUser
from scenarios.voice import VoiceUser
from tests.load.conftest import SECRET
from tests.target.client import Account, Target
from wsoak.judge.words import listed
from wsoak.load import WebSocketUser
from wsoak.load.checks.limits import Plan
from wsoak.load.checks.preflight import Checked, check
from wsoak.load.checks.rehearsal import Rehearsal, Where
from wsoak.load.forgeries import forge
from wsoak.load.options import Options


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The target's, so that an expired token can be made."""
    monkeypatch.setenv("WSOAK_JWT_SECRET", SECRET)
    yield
    assert os.environ["WSOAK_JWT_SECRET"] == SECRET


def where(target: Target, path: str = "") -> Where:
    return Where(Options.of(None), target.url + path, "rehearsed")


def checked(target: Target, user_class: type[WebSocketUser], path: str = "") -> Checked:
    return check([user_class], where(target, path), Plan(1), security=True)


def sessions(target: Target) -> float:
    return target.metric("wsoak_target_sessions_open", system=NAME)


def test_a_rehearsed_conversation_leaves_nothing_behind_and_its_doors_are_shut(target: Target) -> None:
    before = sessions(target)
    found = checked(target, DialogueUser)
    assert found.outcome.sentence() == ""
    assert {step.result for step in found.outcome.steps} == {"ok"}, found.outcome.lines()
    assert {door.finding: door.accepted for door in found.outcome.doors} == dict.fromkeys(
        [
            "unauthenticated-accepted",
            "forged-token-accepted",
            "unsigned-token-accepted",
            "wrong-token-kind-accepted",
            "foreign-session-accepted",
            "expired-token-accepted",
        ],
        False,
    )
    assert sessions(target) == before


def test_a_door_is_told_apart_from_what_keeps_it_shut(target: Target) -> None:
    found = checked(target, DialogueUser)
    seen = {door.finding: door.seen for door in found.outcome.doors}
    assert "token missing" in seen["unauthenticated-accepted"]
    assert "token expired" in seen["expired-token-accepted"]
    assert "access denied" in seen["foreign-session-accepted"]
    assert "eyJ" not in repr(found.outcome)


@pytest.mark.parametrize(
    ("fault", "finding"),
    [("datetime-crash", "closed-policy-silent"), ("session-denied", "closed-policy-denied")],
)
def test_a_fault_is_met_in_the_rehearsal_and_has_the_name_that_it_has_in_a_run(
    target: Target, fault: str, finding: str
) -> None:
    before = sessions(target)
    with target.fault("dialogue", fault):
        found = checked(target, DialogueUser)
    assert [step.finding for step in found.outcome.failed] == [finding]
    # nobody's doors are tried where nobody can come in
    assert found.outcome.doors == []
    assert sessions(target) == before


def test_an_echo_is_rehearsed_without_a_health_check(target: Target) -> None:
    found = checked(target, EchoUser, "/echo")
    names = [step.name for step in found.outcome.steps if step.scenario == "EchoUser"]
    assert names == ["look-up", "connect", "rehearsal", "handshake", "exchange", "doors"]
    assert found.outcome.steps[5].result == "warning"
    assert found.outcome.failed == []


def test_what_a_run_left_is_removed_and_counted(target: Target) -> None:
    account = Account(target)
    left = [account.start(X_Run_Id="run 100% & more") for _ in range(2)]
    kept = account.start(X_Run_Id="run 100%")
    with Rehearsal(DialogueUser, where(target)) as rehearsal:
        removed: list[int] = []
        rehearsal.do(lambda user: removed.append(user.clear("run 100% & more")))
    assert removed == [2]
    assert [account.http("GET", f"/v1/dialogues/{each}/history")[0] for each in left] == [404, 404]
    assert account.history(kept) == []
    account.http("DELETE", f"/v1/dialogues/{kept}")


FORGERIES = ("with a token whose signature is wrong", "with an unsigned token (alg: none)")
GUARDED: dict[type[WebSocketUser], tuple[str, ...]] = {
    # with the doors that take the secret
    DialogueUser: ("with an expired token",),
    CallUser: ("with an expired token",),
    TasksUser: ("with an expired token", "with a token of another kind"),
    VoiceUser: ("with an expired token",),
}


def test_of_a_server_with_opaque_tokens_the_doors_that_take_no_jwt_are_tried(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user_class in GUARDED:
        monkeypatch.setattr(
            f"{user_class.__module__}.forge",
            lambda _, *more, **kind: forge("0paque-token-of-16", *more, **kind),
        )
    found = check(list(GUARDED), where(target), Plan(1), security=True)
    assert found.outcome.failed == []
    assert [(step.scenario, step.name, step.text) for step in found.outcome.steps if step.result != "ok"] == [
        (
            user_class.__name__,
            "doors",
            "not tried, as the server's tokens are no signed JWTs: "
            + listed([*FORGERIES, *taking_the_secret]),
        )
        for user_class, taking_the_secret in GUARDED.items()
    ]
    for user_class in GUARDED:
        doors = {each.finding: each for each in found.outcome.doors if each.scenario == user_class.__name__}
        assert {"unauthenticated-accepted", "made-up-token-accepted"} <= doors.keys()
        assert len(doors) > 2
        assert not [door for door in doors.values() if door.accepted or door.seen.startswith("not tried")]


def untried(found: Checked) -> dict[str, str]:
    """What is said of doors that were not tried, by scenario."""
    assert found.outcome.failed == []
    tried = {(door.scenario, door.finding) for door in found.outcome.doors}
    assert not {each for each in tried if each[1] == "expired-token-accepted"}
    assert len(tried) > 4
    return {step.scenario: step.text for step in found.outcome.steps if step.name == "doors"}


def test_without_the_secret_what_takes_it_is_not_tried_and_that_is_said(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WSOAK_JWT_SECRET")
    found = check(list(GUARDED), where(target), Plan(1), security=True)
    monkeypatch.setenv("WSOAK_JWT_SECRET", SECRET)
    reason = "not tried, as WSOAK_JWT_SECRET, the secret that signs the server's tokens, is not set"
    assert untried(found) == {
        user_class.__name__: f"{reason}: {listed(taking_the_secret)}"
        for user_class, taking_the_secret in GUARDED.items()
    }


def test_a_secret_that_is_not_the_servers_shows_nothing_of_what_is_signed_with_it(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    # tasks mint their own tokens: with such a secret nobody would come in
    monkeypatch.setenv("WSOAK_JWT_SECRET", "another secret, thirty-two bytes or more")
    by_log_in = (DialogueUser, CallUser, VoiceUser)
    found = check(by_log_in, where(target), Plan(1), security=True)
    monkeypatch.setenv("WSOAK_JWT_SECRET", SECRET)
    said = untried(found)
    assert said.keys() == {each.__name__ for each in by_log_in}
    for text in said.values():
        assert text.startswith(
            "not tried, as WSOAK_JWT_SECRET seems not to be the server's secret; a good token signed with "
            "it is refused too ("
        )
        assert text.endswith("): with an expired token")
        assert "token invalid" in text or "rejected-401" in text
