"""Doors: tries the ways in that a server must keep shut, and says which of them open.

Shut is what gets no 101; or is closed by the server, or told an error, before anything else is said. Open is
what is served, or stays open for ``PATIENCE_S``. A door with a control is tried where the control is open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from gevent.pool import Pool

from wsoak.judge.terminal import quoted
from wsoak.judge.words import listed
from wsoak.ledger import outcomes
from wsoak.load.checks.answers import CLOSE_S, Prober
from wsoak.load.checks.rehearsal import Misreturned, sort_of
from wsoak.load.checks.steps import Tried
from wsoak.load.door import Control, Door
from wsoak.load.user import WebSocketUser
from wsoak.wire.connection import Connection
from wsoak.wire.dial import Request
from wsoak.wire.endpoint import Endpoint, mask_query
from wsoak.wire.message import Message, error_text

PATIENCE_S: Final = 2.0
PONG_S: Final = 5.0
"""How long a server that has said nothing may take to show that it is there."""
AT_ONCE: Final = 8
MOST: Final = 64
"""So many doors of a user class are tried."""
A_LIST: Final = "a list of Door"

WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "unauthenticated-accepted": "without credentials",
        "expired-token-accepted": "with an expired token",
        "forged-token-accepted": "with a token whose signature is wrong",
        "unsigned-token-accepted": "with an unsigned token (alg: none)",
        "made-up-token-accepted": "with a made-up token",
        "foreign-session-accepted": "into another user's session",
        "identity-mismatch-accepted": "under an identity that is not the token's",
        "wrong-token-kind-accepted": "with a token of another kind",
    }
)
"""What is tried, by the finding that it means if the door opens."""


def doors_of(user: WebSocketUser) -> list[Door]:
    """The doors that a user names.

    Raises:
        Misreturned: when its ``doors`` returns anything else.
    """
    found: object = user.doors()
    if not isinstance(found, Sequence):
        raise Misreturned(user, "doors", A_LIST, sort_of(found))
    for door in found:
        if not isinstance(door, Door):
            raise Misreturned(user, "doors", A_LIST, f"one with {sort_of(door)} in it")
        wrong = _wrong_fields(door)
        if wrong:
            raise Misreturned(user, "doors", A_LIST, f"one whose {listed(wrong)} cannot be used")
    return list(found)


def _wrong_fields(door: Door) -> list[str]:
    """The fields that are not of their types: a scenario's author may use no type checker."""
    texts = {name: getattr(door, name) for name in ("finding", "name", "path", "skipped")}
    wrong = [name for name, text in texts.items() if not isinstance(text, str)]
    if not isinstance(door.headers, Sequence) or not all(map(_is_header, door.headers)):
        wrong.append("headers")
    wrong += [] if isinstance(door.knock, Mapping | None) else ["knock"]
    return wrong if door.control is None or _is_control(door.control) else [*wrong, "control"]


def _is_control(control: object) -> bool:
    if not isinstance(control, Control) or not isinstance(control.otherwise, str):
        return False
    return isinstance(control.door, Door) and not _wrong_fields(control.door)


def _is_header(pair: object) -> bool:
    return isinstance(pair, Sequence) and len(pair) == 2 and all(isinstance(text, str) for text in pair)


def skipped(doors: Sequence[Door]) -> list[str]:
    """What is not tried, in half a sentence for each reason."""
    reasons: dict[str, list[str]] = {}
    for door in doors:
        if door.skipped:
            reasons.setdefault(door.skipped, []).append(_words(door))
    return [f"not tried, as {reason}: {listed(tried)}" for reason, tried in reasons.items()]


def try_doors(
    scenario: str, doors: Sequence[Door], endpoint: Endpoint, prober: Prober
) -> tuple[list[Tried], list[Door]]:
    """Try each door that can be tried, several at a time.

    Returns:
        what came of each, in order, those with a control last; and those that were not tried after all, as
        their control was not let in, now with the reason in ``skipped``.
    """
    some = [door for door in doors if not door.skipped][:MOST]
    pool = Pool(AT_ONCE)

    def tried(these: Sequence[Door]) -> list[Tried]:
        return list(pool.map(lambda door: _try(scenario, door, endpoint, prober), these))

    try:
        found = tried([door for door in some if door.control is None])
        # last: a control is let in, and what that changes on the server must keep no other door shut
        checked = _controlled([door for door in some if door.control is not None], tried)
        found += tried([door for door in checked if not door.skipped])
        return found, [door for door in checked if door.skipped]
    finally:
        pool.kill()


def _controlled(doors: Sequence[Door], tried: Callable[[Sequence[Door]], list[Tried]]) -> list[Door]:
    """The doors, skipped where their control is not let in; each control is tried once."""
    controls: list[Control] = []
    for door in doors:
        if door.control is not None and door.control not in controls:
            controls.append(door.control)
    answers = tried([control.door for control in controls])
    doubts = [
        "" if answer.accepted else f"{control.otherwise} ({answer.seen})"
        for control, answer in zip(controls, answers, strict=True)
    ]
    return [
        replace(door, skipped=doubts[controls.index(door.control)])
        for door in doors
        if door.control is not None
    ]


def _try(scenario: str, door: Door, endpoint: Endpoint, prober: Prober) -> Tried:
    try:
        aimed, path = endpoint.aim(door.path)
        connection = prober.client.open(aimed, Request(path, list(door.headers)), door.name)
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
        _words(door),
        seen,
        accepted,
    )


def _words(door: Door) -> str:
    return WORDS.get(door.finding, door.finding.removesuffix("-accepted").replace("-", " "))


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
    if connection.is_open and connection.ping(PONG_S) is not None:
        return True, f"101, and open for {PATIENCE_S:.0f} s"
    if connection.is_open:
        # it may stand still, and would have shut the door by now
        return False, f"101, then not even a pong for {PONG_S:.0f} s"
    return False, f"101, then {connection.close_error or f'a close with {connection.code}'}"


def _kind(message: Message) -> str:
    """What sort of message it was; not its text, which may be another user's."""
    kind = message.get("type")
    if isinstance(kind, str):
        return f"a message of type {quoted(kind, 40)}"
    return "a text message" if isinstance(message.data, str) else "a binary message"
