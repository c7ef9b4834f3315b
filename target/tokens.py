"""Tokens: JWTs (RFC 7519, HS256) of several kinds, told apart by a ``kind`` claim."""

import math
import time
import uuid
from collections.abc import Mapping

import jwt

ALGORITHM = "HS256"


class TokenError(Exception):
    """A token that is not good for what it was shown for: the text says why, and holds no part of it."""


class Tokens:
    """Issues and checks tokens; ``lifetimes_s`` maps each kind that can be issued to its seconds."""

    def __init__(self, secret: str, lifetimes_s: Mapping[str, int]) -> None:
        self._secret = secret
        self._lifetimes_s = dict(lifetimes_s)

    def issue(self, kind: str, subject: str) -> str:
        """A new token of this kind, good from now on for the kind's lifetime."""
        # The claims are whole seconds: rounded so that a token never lives for less than it should.
        now_s = time.time()
        claims = {
            "sub": subject,
            "kind": kind,
            "iat": math.floor(now_s),
            "exp": math.ceil(now_s) + self._lifetimes_s[kind],
            "jti": uuid.uuid4().hex,
        }
        return jwt.encode(claims, self._secret, ALGORITHM)

    def check(self, token: str | None, kind: str) -> str:
        """The subject of a token that is signed by us, in time and of this kind; raises TokenError."""
        if not token:
            raise TokenError("token missing")
        try:
            claims = jwt.decode(
                token, self._secret, algorithms=[ALGORITHM], options={"require": ["exp", "sub", "kind"]}
            )
        except jwt.ExpiredSignatureError:
            raise TokenError("token expired") from None
        except (jwt.InvalidTokenError, ValueError):
            raise TokenError("token invalid") from None
        if claims["kind"] != kind:
            raise TokenError("token of the wrong kind")
        return str(claims["sub"])
