"""Tokens: JSON Web Tokens minted and kept fresh (RFC 7519), so that a soak outlives a token."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import jwt

ALGORITHM: Final = "HS256"

MARGIN_SHARE: Final = 0.2
MARGIN_MAX_S: Final = 30.0
"""A token is renewed in the last fifth of its life, or 30 s before its end, whichever is later."""


def mint(secret: str, subject: str, ttl_s: float, **claims: Any) -> str:
    """An HS256 token ``{"sub", "iat", "exp"}`` and ``claims``, valid from now for ``ttl_s`` seconds."""
    now = time.time()
    return jwt.encode({"sub": subject, "iat": now, "exp": now + ttl_s, **claims}, secret, algorithm=ALGORITHM)


def lifetime(token: str) -> tuple[float | None, float | None]:
    """``iat`` and ``exp`` of a token in Unix seconds, unverified; ``None`` for what it does not say.

    A text that is no JWT says neither.
    """
    try:
        claims = jwt.decode(token, options={"verify_signature": False, "verify_exp": False})
    except jwt.InvalidTokenError:
        return None, None

    def seconds(name: str) -> float | None:
        value = claims.get(name)
        return float(value) if isinstance(value, (int, float)) else None

    return seconds("iat"), seconds("exp")


class FreshToken:
    """A token that is renewed before it ends.

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
        self._take(token)

    @property
    def value(self) -> str:
        """A token that is still good for a while, if the server gives one."""
        if self._renew_at is not None and self._now() >= self._renew_at:
            token = self._renew()
            if token is not None:
                self._take(token)
        return self._token

    def _take(self, token: str) -> None:
        self._token = token
        issued_at, expires_at = lifetime(token)
        self._renew_at: float | None = None
        if expires_at is not None:
            # the server's clock may be off: count the life from now, by its own length where it says so
            life_s = expires_at - (issued_at if issued_at is not None else self._now())
            self._renew_at = self._now() + life_s - min(MARGIN_MAX_S, life_s * MARGIN_SHARE)
