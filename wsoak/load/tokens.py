"""Tokens: JSON Web Tokens minted and kept fresh (RFC 7519), so that a soak outlives a token."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any, Final

import jwt

ALGORITHM: Final = "HS256"

MARGIN_SHARE: Final = 0.2
MARGIN_MAX_S: Final = 30.0
"""A token is renewed in the last fifth of its life, or 30 s before its end, whichever is later."""

LATEST_S: Final = 1e12
"""Unix times beyond the year 33,000 are no times."""

ROUNDING_S: Final = 1.0
"""Servers write whole seconds: a token that was issued at 12 may have been issued at 12.9."""

RETRY_S: Final = 1.0
"""How long after an attempt to renew a token the next one may come."""


LEAST_SECRET_BYTES: Final = 32
"""As long as the hash (RFC 7518 section 3.2)."""


class BadSecret(ValueError):
    """A text with which no HS256 token can be signed; half a sentence that does not repeat it."""


def signed(claims: dict[str, Any], secret: str, headers: dict[str, Any] | None = None) -> str:
    """An HS256 token of these claims, without a word about how long the secret is: see ``too_short``.

    Raises:
        BadSecret: when the secret is none.
    """
    try:
        key = secret.encode()
        with warnings.catch_warnings():
            # PyJWT's own on a short secret has a path of this machine, once for each place that signs
            warnings.simplefilter("ignore", UserWarning)
            return jwt.encode(claims, key, algorithm=ALGORITHM, headers=headers)
    except UnicodeEncodeError:
        raise BadSecret("it is not UTF-8") from None
    except jwt.InvalidKeyError:
        raise BadSecret("it is a public key or a certificate, where HS256 takes a shared secret") from None


def too_short(secret: str) -> str:
    """What is wrong with a secret that is shorter than it should be, in half a sentence; else empty."""
    length = len(secret.encode())
    if length >= LEAST_SECRET_BYTES:
        return ""
    return (
        f"{length} bytes long, and HS256 should have {LEAST_SECRET_BYTES} or more (RFC 7518 section 3.2): "
        "whoever has a token can guess a short one"
    )


def mint(secret: str, subject: str, ttl_s: float, /, **claims: Any) -> str:
    """An HS256 token ``{"sub", "iat", "exp"}`` and ``claims``, valid from now for ``ttl_s`` seconds.

    Raises:
        BadSecret: when the secret is none.
    """
    now = time.time()
    return signed({"sub": subject, "iat": now, "exp": now + ttl_s, **claims}, secret)


def lifetime(token: str) -> tuple[float | None, float | None]:
    """``iat`` and ``exp`` of a token in Unix seconds, unverified; ``None`` for what it does not say.

    A text that is no JWT says neither; it comes from a server, and may be anything.
    """
    try:
        claims = jwt.decode(token, options={"verify_signature": False, "verify_exp": False})
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        return None, None

    def seconds(name: str) -> float | None:
        value = claims.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        # also leaves out "NaN" and whole numbers that no float can hold
        return float(value) if abs(value) <= LATEST_S else None

    return seconds("iat"), seconds("exp")


class FreshToken:
    """A token that is renewed before it ends.

    While it is being renewed, and for ``RETRY_S`` after a refusal, whoever else asks is given the old one.

    Args:
        token: the first one.
        renew: asks the server for the next one; ``None`` when it would not give one (the old one is kept).
        now: Unix time in seconds.
    """

    def __init__(
        self, token: str, renew: Callable[[], str | None], now: Callable[[], float] = time.time
    ) -> None:
        self._renew = renew
        self._now = now
        self._renew_at: float | None = None
        self._take(token)

    @property
    def value(self) -> str:
        """A token that is still good for a while, if the server gives one."""
        now = self._now()
        if self._renew_at is not None and now >= self._renew_at:
            # several conversations of a user share a token: one of them renews it
            self._renew_at = now + RETRY_S
            token = self._renew()
            if token is not None:
                self._take(token)
        return self._token

    def _take(self, token: str) -> None:
        self._token = token
        issued_at, expires_at = lifetime(token)
        self._renew_at = None
        if expires_at is not None:
            # the server's clock may be off: count the life from now, by its own length where it says so
            issued_s = self._now() if issued_at is None else issued_at + ROUNDING_S
            life_s = expires_at - issued_s
            wait_s = life_s - min(MARGIN_MAX_S, life_s * MARGIN_SHARE)
            self._renew_at = self._now() + (wait_s if wait_s > 0 else RETRY_S)
