"""Forged tokens, against PyJWT as the server would use it."""

from __future__ import annotations

import re
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsoak.load.forgeries import expired, forge, made_up, unsigned, wrong_signature
from wsoak.load.tokens import mint

SECRET = "a secret of thirty-two characters"

TOKENS = st.builds(
    lambda subject, ttl_s, claims: mint(SECRET, subject, ttl_s, **claims),
    st.text(max_size=40),
    st.floats(1, 1e6),
    st.dictionaries(st.sampled_from(["role", "kind", "name"]), st.text(max_size=10)),
)


def claims_of(token: str) -> dict[str, Any]:
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


@settings(max_examples=50)
@given(TOKENS)
def test_a_wrong_signature_is_refused_and_the_claims_are_the_same(token: str) -> None:
    forged = wrong_signature(token)
    assert claims_of(forged) == claims_of(token)
    assert len(forged) == len(token)
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(forged, SECRET, algorithms=["HS256"])


@settings(max_examples=50)
@given(TOKENS)
def test_an_unsigned_token_is_taken_only_by_who_takes_none(token: str) -> None:
    forged = unsigned(token)
    assert jwt.get_unverified_header(forged)["alg"] == "none"
    assert forged.endswith(".")
    # RFC 7519 section 6.1: whoever allows "none" is let in; nobody else
    assert jwt.decode(forged, "", algorithms=["none"], options={"verify_signature": False}) == claims_of(
        token
    )
    with pytest.raises(jwt.InvalidTokenError):
        jwt.decode(forged, SECRET, algorithms=["HS256"])


@settings(max_examples=50)
@given(TOKENS)
def test_an_expired_token_is_well_signed_and_nothing_else_is_wrong_with_it(token: str) -> None:
    forged = expired(token, SECRET)
    with pytest.raises(jwt.ExpiredSignatureError):
        jwt.decode(forged, SECRET, algorithms=["HS256"])
    taken = jwt.decode(forged, SECRET, algorithms=["HS256"], options={"verify_exp": False})
    same = {"sub", "role", "kind", "name"}
    assert {name: taken[name] for name in same & taken.keys()} == {
        name: value for name, value in claims_of(token).items() if name in same
    }
    assert taken["iat"] < taken["exp"]


def test_an_expired_token_keeps_the_key_id_and_moves_the_time_before_which_it_is_not_valid() -> None:
    first = jwt.encode({"sub": "u", "nbf": 4e9}, SECRET, algorithm="HS256", headers={"kid": "k1"})
    forged = expired(first, SECRET)
    assert jwt.get_unverified_header(forged) == {"alg": "HS256", "typ": "JWT", "kid": "k1"}
    assert claims_of(forged)["nbf"] < claims_of(forged)["exp"]


@pytest.mark.parametrize("text", ["", "opaque", "a.b", "a.b.c", "W10.W10.x", "..", "é.é.é"])
def test_what_is_no_jwt_is_refused_without_being_quoted(text: str) -> None:
    for make in (wrong_signature, unsigned, lambda token: expired(token, SECRET)):
        with pytest.raises(ValueError, match="no JWT") as caught:
            make(text)
        assert str(caught.value) == "The text is no JWT in compact form."


def test_a_token_without_a_signature_cannot_be_given_a_wrong_one() -> None:
    with pytest.raises(ValueError, match="no signature"):
        wrong_signature(unsigned(mint(SECRET, "u", 60)))


NEEDING = ["forged-token-accepted", "unsigned-token-accepted"]
EXPIRED = "expired-token-accepted"


@pytest.mark.parametrize("secret", [SECRET, None, ""], ids=["secret", "none", "empty"])
@pytest.mark.parametrize(
    ("token", "unmade"),
    [
        (mint(SECRET, "u", 60), []),
        (unsigned(mint(SECRET, "u", 60)), NEEDING[:1]),
        ("opaque-0123456789-ABCDEF", NEEDING),
        ("a.b.c", NEEDING),
        ("", NEEDING),
    ],
    ids=["signed", "unsigned", "opaque", "three-parts", "empty"],
)
def test_what_takes_a_jwt_is_told_where_the_token_is_none(
    token: str, unmade: list[str], secret: str | None
) -> None:
    made, missing = forge(token, secret)
    wanted = {*NEEDING, *([EXPIRED] if secret else [])}
    opaque = unmade == NEEDING
    assert missing.keys() == ({*unmade, *([EXPIRED] if secret else [])} if opaque else set(unmade))
    assert made.keys() == ({"made-up-token-accepted"} if opaque else wanted - missing.keys())
    # what is unsigned already is the forgery
    assert token not in made.values() or unmade == NEEDING[:1]
    assert all(token not in why for why in missing.values() if token)


@settings(max_examples=50)
@given(st.text(max_size=40))
def test_a_made_up_token_looks_like_the_token_and_is_another(token: str) -> None:
    forged = made_up(token)

    def shape(text: str) -> str:
        return re.sub("[A-Z]", "A", re.sub("[a-z]", "a", re.sub("[0-9]", "0", text)))

    assert shape(forged[: len(token)]) == shape(token)
    assert len(forged) >= 16
    assert all(
        (old == new) is not (old.isascii() and old.isalnum()) for old, new in zip(token, forged, strict=False)
    )
