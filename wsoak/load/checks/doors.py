"""Doors: tries the ways in that a server must keep shut, and says which of them open.

Shut is what gets no 101; or is closed by the server, or told an error, before anything else is said. Open is
what is served, or stays open for ``PATIENCE_S``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from gevent.pool import Pool

from wsoak.judge.terminal import quoted
from wsoak.ledger import outcomes
from wsoak.load.checks.answers import CLOSE_S, Prober
from wsoak.load.checks.steps import Tried
from wsoak.load.door import Door
from wsoak.wire.connection import Connection
from wsoak.wire.dial import Request
from wsoak.wire.endpoint import Endpoint, mask_query
from wsoak.wire.message import Message, error_text

PATIENCE_S: Final = 2.0
AT_ONCE: Final = 8
MOST: Final = 64
"""So many doors of a user class are tried."""

WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "unauthenticated-accepted": "without credentials",
        "expired-token-accepted": "with an expired token",
        "forged-token-accepted": "with a token whose signature is wrong",
        "unsigned-token-accepted": "with an unsigned token (alg: none)",
        "foreign-session-accepted": "into another user's session",
        "identity-mismatch-accepted": "under an identity that is not the token's",
        "wrong-token-kind-accepted": "with a token of another kind",
    }
)
"""What is tried, by the finding that it means if the door opens."""


def try_doors(scenario: str, doors: Sequence[Door], endpoint: Endpoint, prober: Prober) -> list[Tried]:
    """Try each door, several at a time; in order."""
    pool = Pool(AT_ONCE)
    try:
        return list(pool.map(lambda door: _try(scenario, door, endpoint, prober), doors[:MOST]))
    finally:
        pool.kill()


def _try(scenario: str, door: Door, endpoint: Endpoint, prober: Prober) -> Tried:
    try:
        connection = prober.client.open(endpoint, Request(door.path, list(door.headers)), door.name)
    except ValueError as error:
        # a line break in a header; its text repeats no value
        accepted, seen = False, f"not tried: {error}"
    else:
        accepted, seen = _answer(connection, door)
        connection.close(1000, timeout=CLOSE_S)
    return Tried(
        scenario,
        door.finding,
        door.name,
        mask_query(endpoint.resource(door.path)),
        WORDS.get(door.finding, door.finding.removesuffix("-accepted").replace("-", " ")),
        seen,
        accepted,
    )


def _answer(connection: Connection, door: Door) -> tuple[bool, str]:
    """Whether the door opened, and what was seen."""
    if connection.outcome != outcomes.OPEN:
        return False, connection.opening.error or connection.outcome
    if door.knock is not None:
        connection.send(dict(door.knock))
    first: Message | None = connection.expect(lambda _: True, PATIENCE_S)
    if first is not None:
        error = error_text(first.data)
        return (
            (False, f"101, then the error {quoted(error)}") if error else (True, f"101, then {_kind(first)}")
        )
    if connection.is_open:
        return True, f"101, and open for {PATIENCE_S:.0f} s"
    return False, f"101, then {connection.close_error or f'a close with {connection.code}'}"


def _kind(message: Message) -> str:
    """What sort of message it was; not its text, which may be another user's."""
    kind = message.get("type")
    if isinstance(kind, str):
        return f"a message of type {quoted(kind, 40)}"
    return "a text message" if isinstance(message.data, str) else "a binary message"
