"""Forgeries: tokens that a server must refuse (RFC 7519, RFC 8725), made from one that it would take."""

from __future__ import annotations

import base64
import json
import secrets
import string
import time
from collections.abc import Callable
from typing import Any, Final

from wsoak.load.tokens import signed

AGO_S: Final = 3600.0
"""How long ago a token made by ``expired`` ended: beyond any leeway that a server gives to clocks."""

LIFE_S: Final = 60.0

LEAST_MADE_UP: Final = 16
"""A made-up token has so many characters at least, so that nobody has been given it."""

OPAQUE: Final = "the server's tokens are no signed JWTs"
UNSIGNED: Final = "the token has no signature"


def forge(token: str, secret: str | None) -> tuple[dict[str, str], dict[str, str]]:
    """The forgeries of a token, by what it means if one is let in; and why others cannot be made.

    For a token that is no JWT, there is a made-up one in their place. That an expired one takes the
    ``secret`` is no such reason: without it, it is in neither.
    """
    makers: dict[str, Callable[[str], str]] = {
        "forged-token-accepted": wrong_signature,
        "unsigned-token-accepted": unsigned,
    }
    if secret:
        makers["expired-token-accepted"] = lambda whole: expired(whole, secret)
    if _is_opaque(token):
        return {"made-up-token-accepted": made_up(token)}, dict.fromkeys(makers, OPAQUE)
    unmade = {} if token.rpartition(".")[2] else {"forged-token-accepted": UNSIGNED}
    return {finding: make(token) for finding, make in makers.items() if finding not in unmade}, unmade


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
    head, claims, _ = _parts(token)
    kept = {name: value for name, value in _object(head).items() if name not in ("alg", "typ")}
    now = time.time()
    # one that was not valid yet, or without its times, would be refused for another reason
    times = {"iat": now - AGO_S - LIFE_S, "nbf": now - AGO_S - LIFE_S, "exp": now - AGO_S}
    fields = _object(claims)
    dated = fields | {name: times[name] for name in times if name in fields or name == "exp"}
    return signed(dated, secret, kept)


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
