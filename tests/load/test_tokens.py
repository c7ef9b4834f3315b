"""Tokens: minted, looked at without trust, renewed in time by a clock that the test moves."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import gevent
import jwt
import pytest
from gevent.event import Event
from hypothesis import given
from hypothesis import strategies as st

from wsoak.load.tokens import MARGIN_MAX_S, RETRY_S, FreshToken, lifetime, mint

SECRET = "a secret of the tests, thirty-two bytes or more"
NOW = 1_700_000_000.0


def token(payload: bytes | dict[str, Any], header: bytes = b'{"alg":"HS256"}') -> str:
    """A token of any payload, which nobody signed."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    parts = (header, body, b"signature")
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def test_a_minted_token_is_verified_by_its_secret_and_says_whom_it_is_for() -> None:
    minted = mint(SECRET, "anne", 60, role="reader")
    claims = jwt.decode(minted, SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["role"]) == ("anne", "reader")
    issued_at, expires_at = lifetime(minted)
    assert issued_at is not None
    assert expires_at is not None
    assert expires_at - issued_at == pytest.approx(60)
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(minted, SECRET + "x", algorithms=["HS256"])


def test_a_claim_may_have_any_name() -> None:
    claims = {"secret": 1, "subject": 2, "ttl_s": 3, "sub": "other"}
    decoded = jwt.decode(mint(SECRET, "anne", 60, **claims), SECRET, algorithms=["HS256"])
    assert claims.items() <= decoded.items()


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"iat": 5, "exp": 65}, (5.0, 65.0)),
        ({"exp": 65.5}, (None, 65.5)),
        ({"iat": 5}, (5.0, None)),
        ({}, (None, None)),
        ({"exp": 0}, (None, 0.0)),
        ({"exp": True}, (None, None)),
        ({"exp": "65"}, (None, None)),
        ({"exp": [65]}, (None, None)),
        ({"exp": math.nan}, (None, None)),
        ({"exp": math.inf}, (None, None)),
        ({"exp": 10**400}, (None, None)),
        ({"iat": -(10**400), "exp": 65}, (None, 65.0)),
    ],
)
def test_the_life_of_a_token_is_read_as_far_as_it_makes_sense(claims: dict[str, Any], expected: Any) -> None:
    assert lifetime(token(claims)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "opaque",
        "a.b.c",
        "é.é.é",
        "\ud800.a.b",
        token(b"[]"),
        token(b"\xff"),
        token(b"[" * 100_000),
        token({"exp": 5}, b"[" * 100_000),
        token({"exp": 5}, b"[]"),
        token({"exp": 5}, b'{"alg":"HS256","crit":["x"]}'),
        None,
        5,
    ],
    ids=range(13),
)
def test_what_is_no_token_has_no_life(text: Any) -> None:
    assert lifetime(text) == (None, None)


@given(st.text() | st.binary().map(token))
def test_no_text_at_all_raises(text: str) -> None:
    lifetime(text)


class Server:
    """Gives tokens numbered from 1, of ``life_s`` each by its own clock, or refuses."""

    def __init__(self, life_s: float = 100.0, ahead_s: float = 0.0) -> None:
        self.life_s = life_s
        self.ahead_s = ahead_s
        self.now = NOW
        self.asked = 0
        self.refuses = False

    def issue(self) -> str:
        issued_at = self.now + self.ahead_s
        return token({"n": self.asked, "iat": issued_at, "exp": issued_at + self.life_s})

    def renew(self) -> str | None:
        self.asked += 1
        return None if self.refuses else self.issue()

    def fresh(self) -> FreshToken:
        return FreshToken(self.issue(), self.renew, lambda: self.now)


def number(value: str) -> int:
    return int(jwt.decode(value, options={"verify_signature": False})["n"])


@pytest.mark.parametrize(
    ("life_s", "renewed_at_s"),
    # of which a second may be over when the token comes
    [(2.0, 0.8), (11.0, 8.0), (101.0, 80.0), (151.0, 120.0), (3600.0, 3599.0 - MARGIN_MAX_S)],
)
@pytest.mark.parametrize("ahead_s", [0.0, 7200.0, -7200.0])
def test_a_token_is_renewed_before_it_ends_whatever_the_servers_clock_says(
    life_s: float, renewed_at_s: float, ahead_s: float
) -> None:
    server = Server(life_s, ahead_s)
    fresh = server.fresh()
    server.now = NOW + renewed_at_s - 0.01
    assert number(fresh.value) == 0
    server.now = NOW + renewed_at_s
    assert number(fresh.value) == 1
    assert number(fresh.value) == 1
    assert server.asked == 1
    server.now += renewed_at_s
    assert number(fresh.value) == 2


def test_the_old_token_is_kept_when_the_server_refuses_and_it_is_not_asked_at_every_use() -> None:
    server = Server()
    fresh = server.fresh()
    server.refuses = True
    server.now = NOW + 90
    assert [number(fresh.value) for _ in range(50)] == [0] * 50
    assert server.asked == 1
    server.now += RETRY_S
    assert number(fresh.value) == 0
    assert server.asked == 2
    server.refuses = False
    server.now += RETRY_S
    assert number(fresh.value) == 3


def test_a_token_that_comes_expired_does_not_cause_a_storm() -> None:
    server = Server(life_s=-50.0)
    fresh = server.fresh()
    for second in range(10):
        server.now = NOW + second * RETRY_S
        for _ in range(50):
            assert fresh.value
        assert server.asked == second


@given(st.floats(0, 0.999), st.integers(2, 4000))
def test_whole_seconds_rounded_down_do_not_make_a_token_look_younger(second: float, life_s: int) -> None:
    now = NOW + second
    issued_at = int(now)
    value = token({"iat": issued_at, "exp": issued_at + life_s})
    moment = now
    fresh = FreshToken(value, lambda: "next", lambda: moment)
    # it has not ended yet when it is renewed, whatever the fraction was
    moment = issued_at + life_s - 0.1 * min(1.0, life_s - 1 - second)
    assert fresh.value == "next"


@pytest.mark.parametrize("opaque", ["opaque", token({"iat": NOW}), token({"exp": math.nan})])
def test_a_token_that_names_no_end_is_never_renewed(opaque: str) -> None:
    server = Server()
    fresh = FreshToken(opaque, server.renew, lambda: server.now)
    server.now += 10**9
    assert fresh.value == opaque
    assert server.asked == 0


def test_conversations_that_share_a_token_renew_it_once() -> None:
    server = Server()
    answer = Event()

    def renew_slowly() -> str | None:
        answer.wait()
        return server.renew()

    fresh = FreshToken(server.issue(), renew_slowly, lambda: server.now)
    server.now = NOW + 90
    asking = [gevent.spawn(lambda: fresh.value) for _ in range(5)]
    gevent.idle()
    answer.set()
    gevent.joinall(asking, raise_error=True)
    assert server.asked == 1
    assert sorted(number(greenlet.value) for greenlet in asking) == [0, 0, 0, 0, 1]
