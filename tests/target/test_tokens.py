"""Tokens: what is taken and what is not."""

from typing import Any

import jwt
import pytest

from target.tokens import TokenError, Tokens

SECRET = "thirty-two bytes or more of a secret"
FAR = 2**33
"""A time that the tests do not live to see."""
TOKENS = Tokens(SECRET, {"access": 3600, "ws": 60})


def made(secret: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    claims = {"sub": "1", "kind": "ws", "exp": FAR} | changes
    return jwt.encode({key: value for key, value in claims.items() if value is not None}, secret, algorithm)


def test_an_issued_token_names_its_subject() -> None:
    assert TOKENS.check(TOKENS.issue("ws", "13900000002"), "ws") == "13900000002"


def test_a_token_lives_as_long_as_its_kind() -> None:
    for kind, life_s in (("access", 3600), ("ws", 60)):
        claims = jwt.decode(TOKENS.issue(kind, "1"), SECRET, ["HS256"])
        assert life_s <= claims["exp"] - claims["iat"] <= life_s + 1


def test_no_two_tokens_are_equal() -> None:
    assert TOKENS.issue("ws", "1") != TOKENS.issue("ws", "1")


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (None, "token missing"),
        ("", "token missing"),
        ("nonsense", "token invalid"),
        ("a.b.c", "token invalid"),
        ("é", "token invalid"),
        (made(exp=1), "token expired"),
        (made(kind="access"), "token of the wrong kind"),
        (made(kind=None), "token invalid"),
        (made(exp=None), "token invalid"),
        (made(sub=None), "token invalid"),
        (made(sub=7), "token invalid"),
        (made(secret="another secret of thirty-two bytes or more"), "token invalid"),
        (made(secret="", algorithm="none"), "token invalid"),
        (made(secret=SECRET * 2, algorithm="HS512"), "token invalid"),
    ],
)
def test_a_bad_token_is_refused_with_its_reason(token: str | None, reason: str) -> None:
    with pytest.raises(TokenError) as caught:
        TOKENS.check(token, "ws")
    assert str(caught.value) == reason
