"""Rule: what a rule over ends of connections is, and the facts that rules ask for.

A rule's ``claims`` is put together from the small claims below.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from wsoak.ledger.books import EndGroup, EndKind
from wsoak.ledger.outcomes import (
    ABNORMAL,
    DETAIL_EOF,
    DETAIL_HEARTBEAT_LOST,
    NO_STATUS,
    OPEN,
    OUTCOMES,
    close_class,
    is_failure,
    rejected_status,
)

Severity = Literal["critical", "error", "warning", "info"]
SEVERITIES: Final[tuple[Severity, ...]] = ("critical", "error", "warning", "info")
"""Worst first. ``critical``: an outage, data loss, or a door open."""

Basis = Literal["opening", "close"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of all the connections of one name, beyond a single way to end.

    ``observed``: ids that an observation of this name speaks for. ``opened``: some handshake succeeded.
    ``refused_later_only``: log-ins were refused on reconnects, and never on a first attempt.
    ``resets_while_active``: most resets came while the server was writing. ``idle_ends`` and ``capped_ends``:
    the ways to end that came after one same time of silence, and at one same age.
    """

    observed: frozenset[str] = frozenset()
    opened: bool = False
    refused_later_only: bool = False
    resets_while_active: bool = False
    idle_ends: frozenset[EndKind] = frozenset()
    capped_ends: frozenset[EndKind] = frozenset()


Claim = Callable[[EndKind, EndGroup, Facts], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """A finding that ends of connections speak for.

    ``seen`` completes the sentence "12 of 200 handshakes/sockets …"; ``hint`` says where to look.
    """

    id: str
    basis: Basis
    claims: Claim
    seen: str
    hint: str


# ------------------------------------------------------------------------------------ facts about an end


def counts_against_server(kind: EndKind) -> bool:
    """Whether this end is anything that the server or the network did."""
    if kind.outcome == OPEN:
        return not kind.ended_by_run
    known = kind.outcome in OUTCOMES or rejected_status(kind.outcome) is not None
    return known and is_failure(kind.outcome)


def is_refusal(kind: EndKind) -> bool:
    """Whether the server turned the user away, by status or by closing with an error or a policy code."""
    if kind.outcome != OPEN:
        return rejected_status(kind.outcome) in (401, 403)
    return by_policy(kind) and not kind.usable


def is_reset(kind: EndKind) -> bool:
    """Whether the opened connection broke without a close frame, and not by an orderly end of stream."""
    return broke(kind) and kind.detail not in (DETAIL_EOF, DETAIL_HEARTBEAT_LOST)


def may_be_cut(kind: EndKind) -> bool:
    """Whether a proxy or server that ends sockets by a clock could end one in this way.

    By end of stream or reset, which a write may have met first; with 1001 or a close frame without a code.
    """
    if kind.outcome != OPEN or kind.ended_by_run:
        return False
    by_network = broke(kind) and kind.detail != DETAIL_HEARTBEAT_LOST
    return by_network or (kind.initiator == "server" and kind.code in (1001, NO_STATUS))


def says_idle(kind: EndKind, group: EndGroup) -> bool:
    """Whether the server closed the socket and said itself that it had been silent for too long."""
    said = group.reasons.texts
    return (
        kind.outcome == OPEN
        and kind.initiator == "server"
        and bool(said)
        and all(_SAYS_IDLE.search(text) for text in said)
    )


_SAYS_IDLE: Final = re.compile(r"\b(idle|inactiv\w+|no activity)\b", re.IGNORECASE)


def broke(kind: EndKind) -> bool:
    return kind.code == ABNORMAL and kind.initiator == "network"


def by_policy(kind: EndKind) -> bool:
    if kind.initiator != "server" or kind.code is None:
        return False
    # a framework's default code is 1000: a refusal is then known by its message
    by_message = kind.denied and kind.code in (1000, NO_STATUS) and not kind.usable
    return by_message or close_class(kind.code) == "policy"


def outcome(*outcomes: str) -> Claim:
    return lambda kind, _group, _facts: kind.outcome in outcomes


def dropped_in(phase: str, *drops: str) -> Claim:
    return lambda kind, _group, _facts: kind.phase == phase and kind.outcome in drops


def answered(*statuses: int) -> Claim:
    return lambda kind, _group, _facts: rejected_status(kind.outcome) in statuses


def either(*claims: Claim) -> Claim:
    return lambda kind, group, facts: any(claim(kind, group, facts) for claim in claims)


def both(*claims: Claim) -> Claim:
    return lambda kind, group, facts: all(claim(kind, group, facts) for claim in claims)


def observed(finding: str) -> Claim:
    return lambda _kind, _group, facts: finding in facts.observed


def closed_with(*codes: int) -> Claim:
    return lambda kind, _group, _facts: kind.initiator == "server" and kind.code in codes
