"""Forgeries: tokens that a server must refuse (RFC 7519, RFC 8725), made from one that it would take."""

from __future__ import annotations

import base64
import json
import secrets
import string
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from wsoak.load.door import Control, Door
from wsoak.load.target_process import SECRET_VARIABLE
from wsoak.load.tokens import BadSecret, signed

AGO_S: Final = 3600.0
"""How long ago a token made by ``expired`` ended: beyond any leeway that a server gives to clocks."""

LIFE_S: Final = 60.0

LEAST_MADE_UP: Final = 16
"""A made-up token has so many characters at least, so that nobody has been given it."""

WRONGLY_SIGNED, NOT_SIGNED = "forged-token-accepted", "unsigned-token-accepted"
EXPIRED, OF_ANOTHER_KIND = "expired-token-accepted", "wrong-token-kind-accepted"

OPAQUE: Final = "the server's tokens are no signed JWTs"
UNSIGNED: Final = "the token has no signature"
NO_SECRET: Final = f"{SECRET_VARIABLE}, the secret that signs the server's tokens, is not set"
OTHER_SECRET: Final = (
    f"{SECRET_VARIABLE} seems not to be the server's secret; a good token signed with it is refused too"
)


def forge(
    token: str,
    secret: str | None,
    door: Callable[[str, str], Door],
    another_kind: Mapping[str, Any] | None = None,
) -> list[Door]:
    """The doors for forgeries of a token that the server would take; skipped where one cannot be made.

    For a token that is no JWT, there is one for a made-up token. What is signed with the secret has a
    control, which shows the token's own claims under the same signature: where the secret is not the
    server's, a refusal says nothing of a token's time or kind.

    Args:
        secret: what the server signs its tokens with, if that is known.
        door: gives the door by its finding and the token that is shown.
        another_kind: the claims by which a token is of another kind, where one is to be made.
    """
    if _is_opaque(token):
        unmade = [WRONGLY_SIGNED, NOT_SIGNED, *_tokens_by_secret(token, another_kind)]
        made = door("made-up-token-accepted", made_up(token))
        return [made, *(replace(door(finding, token), skipped=OPAQUE) for finding in unmade)]
    if token.rpartition(".")[2]:
        first = door(WRONGLY_SIGNED, wrong_signature(token))
    else:
        first = replace(door(WRONGLY_SIGNED, token), skipped=UNSIGNED)
    by_secret = _doors_by_secret(token, secret, door, _tokens_by_secret(token, another_kind))
    return [first, door(NOT_SIGNED, unsigned(token)), *by_secret]


def _tokens_by_secret(token: str, another_kind: Mapping[str, Any] | None) -> dict[str, Callable[[str], str]]:
    """What takes the secret, by its finding: each makes its token of the secret."""
    makers: dict[str, Callable[[str], str]] = {EXPIRED: lambda secret: expired(token, secret)}
    if another_kind is not None:
        makers[OF_ANOTHER_KIND] = lambda secret: resigned(token, secret, another_kind)
    return makers


def _doors_by_secret(
    token: str,
    secret: str | None,
    door: Callable[[str, str], Door],
    makers: Mapping[str, Callable[[str], str]],
) -> Iterator[Door]:
    try:
        control = Control(door("control", resigned(token, secret)), OTHER_SECRET) if secret else None
        why = NO_SECRET
    except BadSecret as error:
        control, why = None, f"{SECRET_VARIABLE} signs no tokens ({error})"
    for finding, make in makers.items():
        if secret and control is not None:
            yield replace(door(finding, make(secret)), control=control)
        else:
            yield replace(door(finding, token), skipped=why)


def made_up(token: str) -> str:
    """A text that looks like the token, and is none: other letters and digits, at random."""
    padded = token + "x" * (LEAST_MADE_UP - len(token))
    return "".join(_other(character) for character in padded)


def wrong_signature(token: str) -> str:
    """The token with a signature that no key makes of it: all of its bits are turned (RFC 7515 section 5.2).

    Not one character of it: the last one's low bits are padding, and the same signature would come out.

    Raises:
        ValueError: when the text is no JWT in compact form.
    """
    head, claims, signature = _parts(token)
    if not signature:
        raise ValueError("The token has no signature that could be made wrong.")
    turned = bytes(byte ^ 0xFF for byte in _decode(signature))
    return f"{head}.{claims}.{_encode(turned)}"


def unsigned(token: str) -> str:
    """The same claims under ``alg`` ``none``, with an empty signature (RFC 7519 section 6.1).

    Raises:
        ValueError: when the text is no JWT in compact form.
    """
    head, claims, _ = _parts(token)
    fields = _object(head) | {"alg": "none"}
    return f"{_encode(json.dumps(fields, separators=(',', ':')).encode())}.{claims}."


def expired(token: str, secret: str) -> str:
    """The same claims, signed with ``secret``, with a life that ended an hour ago (RFC 7519 section 4.1.4).

    Raises:
        ValueError: when the text is no JWT in compact form.
    """
    _, claims, _ = _parts(token)
    now = time.time()
    # one that was not valid yet, or without its times, would be refused for another reason
    times = {"iat": now - AGO_S - LIFE_S, "nbf": now - AGO_S - LIFE_S, "exp": now - AGO_S}
    fields = _object(claims)
    return resigned(token, secret, {name: times[name] for name in times if name in fields or name == "exp"})


def resigned(token: str, secret: str, changes: Mapping[str, Any] = MappingProxyType({})) -> str:
    """The same claims but for the ``changes``, signed with ``secret``; the header's key id is kept.

    Raises:
        ValueError: when the text is no JWT in compact form.
        BadSecret: when the secret is none.
    """
    head, claims, _ = _parts(token)
    kept = {name: value for name, value in _object(head).items() if name not in ("alg", "typ")}
    return signed({**_object(claims), **changes}, secret, kept)


def _other(character: str) -> str:
    for kind in (string.digits, string.ascii_lowercase, string.ascii_uppercase):
        if character in kind:
            return secrets.choice(kind.replace(character, ""))
    return character


def _is_opaque(token: str) -> bool:
    try:
        _parts(token)
    except ValueError:
        return True
    return False


def _parts(token: str) -> tuple[str, str, str]:
    parts = token.split(".")
    if len(parts) != 3:
        # not the text: it may be a secret all the same
        raise ValueError("The text is no JWT in compact form.")
    _object(parts[0])
    _object(parts[1])
    return parts[0], parts[1], parts[2]


def _object(part: str) -> dict[str, Any]:
    try:
        value = json.loads(_decode(part))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError("The text is no JWT in compact form.")
    return value


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _encode(value: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")
