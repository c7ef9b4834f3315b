"""HTTP helpers: what the routes of every system do in the same way."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from target.tokens import TokenError, Tokens

MAX_BODY_BYTES = 64 * 1024
MAX_RUN_ID_CHARACTERS = 128


def utc_now() -> str:
    """The time now, ISO 8601 UTC with microseconds: ``2030-01-02T03:04:05.000006Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def has_body(request: Request) -> bool:
    """Whether a body comes with a request (RFC 9112, Section 6.3)."""
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"


async def json_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object; raises HTTPException 400 or 413."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is not JSON") from None
    if not isinstance(value, dict):
        raise HTTPException(400, "the body is not a JSON object")
    return value


def text_field(body: Mapping[str, Any], name: str) -> str:
    """A field that must be text which can be stored; raises HTTPException 400."""
    value = body.get(name)
    if not isinstance(value, str) or not is_text(value):
        raise HTTPException(400, f'"{name}" must be text')
    return value


def is_text(value: str) -> bool:
    """Whether a string can be encoded: JSON may smuggle in half a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def bearer_subject(request: Request, tokens: Tokens, kind: str = "access") -> str:
    """The subject of the bearer token in the Authorization header; raises HTTPException 401 (RFC 6750)."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    try:
        return tokens.check(token.strip() if scheme.lower() == "bearer" else None, kind)
    except TokenError as exc:
        raise HTTPException(401, f"Authentication failed: {exc}", {"WWW-Authenticate": "Bearer"}) from None


def run_id_of(request: Request) -> str | None:
    """The run that a request belongs to, by its ``X-Run-Id`` header, or None; raises HTTPException 400."""
    run_id = request.headers.get("x-run-id")
    if run_id is not None and not 0 < len(run_id) <= MAX_RUN_ID_CHARACTERS:
        raise HTTPException(400, f"X-Run-Id must have 1 to {MAX_RUN_ID_CHARACTERS} characters")
    return run_id
