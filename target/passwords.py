"""Passwords: salted hashes, as a store keeps them."""

import hashlib
import hmac
import secrets

HASH_ROUNDS = 10
"""Far fewer than a product would take: a load test measures the sockets, not the log-in."""


def hashed(password: str) -> tuple[bytes, bytes]:
    """A new salt, and the hash of a password with it; some 10 µs."""
    salt = secrets.token_bytes(16)
    return salt, password_hash(password, salt)


def is_right(password: str, salt: bytes, stored: bytes) -> bool:
    """Whether a password has this hash; it takes as long to say no."""
    return hmac.compare_digest(password_hash(password, salt), stored)


def password_hash(password: str, salt: bytes) -> bytes:
    """PBKDF2-HMAC-SHA256 (RFC 8018, Section 5.2)."""
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, HASH_ROUNDS)
