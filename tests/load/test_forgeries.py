"""Forged tokens, against PyJWT as the server would use it."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsoak.load.forgeries import expired, unsigned, wrong_signature
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
    for forge in (wrong_signature, unsigned, lambda token: expired(token, SECRET)):
        with pytest.raises(ValueError, match="no JWT") as caught:
            forge(text)
        assert str(caught.value) == "The text is no JWT in compact form."


def test_a_token_without_a_signature_cannot_be_given_a_wrong_one() -> None:
    with pytest.raises(ValueError, match="no signature"):
        wrong_signature(unsigned(mint(SECRET, "u", 60)))
