"""Forged tokens, against PyJWT as the server would use it."""

from __future__ import annotations

import re
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsoak.load.door import Door
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


MADE_UP, EXPIRED, KIND = "made-up-token-accepted", "expired-token-accepted", "wrong-token-kind-accepted"
SIGNED, UNSIGNED = "forged-token-accepted", "unsigned-token-accepted"
NOT_SET = "WSOAK_JWT_SECRET, the secret that signs the server's tokens, is not set"
NO_JWT = "the server's tokens are no signed JWTs"
PUBLIC = "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----"
NO_SIGNATURE = unsigned(mint(SECRET, "u", 60))

SKIPPED: dict[str, tuple[str, str | None, dict[str, str]]] = {
    # the token, the secret, and what cannot be made of them, with the reason
    "signed": (mint(SECRET, "u", 60), SECRET, {}),
    "no secret": (mint(SECRET, "u", 60), None, {EXPIRED: NOT_SET, KIND: NOT_SET}),
    "empty secret": (mint(SECRET, "u", 60), "", {EXPIRED: NOT_SET, KIND: NOT_SET}),
    "public key": (
        mint(SECRET, "u", 60),
        PUBLIC,
        dict.fromkeys(
            (EXPIRED, KIND),
            "WSOAK_JWT_SECRET signs no tokens (it is a public key or a certificate, where HS256 takes a "
            "shared secret)",
        ),
    ),
    "unsigned": (NO_SIGNATURE, SECRET, {SIGNED: "the token has no signature"}),
    "opaque": ("opaque-0123456789-ABCDEF", SECRET, dict.fromkeys((SIGNED, UNSIGNED, EXPIRED, KIND), NO_JWT)),
    "opaque, no secret": ("a.b.c", None, dict.fromkeys((SIGNED, UNSIGNED, EXPIRED, KIND), NO_JWT)),
    "empty": ("", None, dict.fromkeys((SIGNED, UNSIGNED, EXPIRED, KIND), NO_JWT)),
}


def at_x(finding: str, token: str) -> Door:
    return Door(finding, "x", f"/x?{token}")


def shown(door: Door) -> str:
    return door.path.partition("?")[2]


@pytest.mark.parametrize("case", SKIPPED)
def test_every_forgery_is_a_door_or_says_why_it_is_none(case: str) -> None:
    token, secret, skipped = SKIPPED[case]
    doors = {door.finding: door for door in forge(token, secret, at_x, {"kind": "refresh"})}
    assert {finding: door.skipped for finding, door in doors.items() if door.skipped} == skipped
    opaque = NO_JWT in skipped.values()
    assert doors.keys() == {SIGNED, UNSIGNED, EXPIRED, KIND, *([MADE_UP] if opaque else [])}
    tried = [shown(door) for door in doors.values() if not door.skipped]
    # what is unsigned already is the forgery
    assert token not in tried or token == NO_SIGNATURE
    assert [door.finding for door in doors.values() if door.control] == (
        [EXPIRED, KIND] if EXPIRED not in skipped else []
    )
    # without a word about its claims, nobody knows how to make another kind
    assert {door.finding for door in forge(token, secret, at_x)} == doors.keys() - {KIND}


@settings(max_examples=50)
@given(TOKENS)
def test_what_is_signed_with_the_secret_is_controlled_by_the_same_claims_unchanged(token: str) -> None:
    doors = {door.finding: door for door in forge(token, SECRET, at_x, {"kind": "refresh"})}
    old, other = doors[EXPIRED], doors[KIND]
    assert old.control is not None
    assert old.control is other.control
    # a server with this secret takes it, and one with another does not, whatever the time and the kind
    good = shown(old.control.door)
    assert jwt.decode(good, SECRET, algorithms=["HS256"]) == claims_of(token)
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(good, f"{SECRET}, or not", algorithms=["HS256"])
    assert jwt.decode(shown(other), SECRET, algorithms=["HS256"]) == claims_of(token) | {"kind": "refresh"}
    with pytest.raises(jwt.ExpiredSignatureError):
        jwt.decode(shown(old), SECRET, algorithms=["HS256"])


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
