"""Rules: which end of a connection speaks for which finding, and where to look.

    opening_rules, close_rules ──► rules ──► findings

The tables are read in order, and the first rule that claims a way to end has it: one connection never speaks
for two findings (a reconnect can be part of a storm besides). What the harness itself did (closes at the end
of a run, cancelled openings, its own lack of ports) is claimed by no rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from wsoak.judge.close_rules import CLOSE_RULES
from wsoak.judge.observed_rules import ObservedRule
from wsoak.judge.opening_rules import OPENING_RULES
from wsoak.judge.rule import Rule

RULES: Final[tuple[Rule, ...]] = (*OPENING_RULES, *CLOSE_RULES)

STORM: Final = ObservedRule(
    "warning",
    "came back without waiting",
    "Back off exponentially with full jitter and a cap, and start over only when a socket has held for a "
    "while; do not retry at all after codes such as 1008, 4001, 4003, 4401 and 4403. On the server, answer "
    "with Retry-After, and let clients in at a rate that it can bear.",
)
"""``reconnect-storm``: a client's fault beside the server's, told from the attempts of each second."""

TELLS_OF_STORM: Final = frozenset({"route-not-found", "route-doubled", "upgrade-refused", "origin-refused"})
"""Findings of which a storm is a part, as nothing but a client that does not give up keeps them going: they
tell its figures, and it is no finding of its own."""

DO_NOT_RETRY: Final = frozenset({1008, 4001, 4003, 4401, 4403})
"""Close codes after which trying again is in vain: who the client is would have to change."""

OF_MESSAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "requests-unanswered": "request",
        "replies-unmatched": "request",
        "replies-late": "request",
        "never-usable": "socket",
        "sequence-gap": "gap",
        "relay-lost": "message",
    }
)
"""Findings that no end of a connection speaks for, and what they count."""

_NO_ANSWERS: Final = frozenset({"requests-unanswered", "never-usable"})
"""What follows where a server ends sockets, or does not know its users, instead of answering."""

AFTERMATH: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "peer-silent",
                "closed-policy-silent",
                "closed-policy-denied",
                "closed-no-status",
                "closed-by-server",
                "connection-reset",
                "server-crash",
                "overload",
                "protocol-violation",
                "lifetime-cap",
                "idle-timeout",
                "history-lost",
            ),
            _NO_ANSWERS,
        ),
        **dict.fromkeys(
            ("requests-unanswered", "replies-unmatched", "replies-late"), frozenset({"never-usable"})
        ),
        "handler-slow": frozenset({"sequence-gap", "relay-lost", "never-usable"}),
        "server-restart": frozenset(
            {
                *_NO_ANSWERS,
                "server-unreachable",
                "backend-dead",
                "overload",
                "upgrade-crash",
                "upgrade-reset",
                "connection-reset",
                "server-crash",
            }
        ),
        "route-doubled": frozenset({"route-not-found"}),
        # a probe of another path gets the gateway's answer too
        "gateway-refused": frozenset({"route-not-found"}),
        # a proxy ends the sockets of a server that died, and says afterwards that there is none
        "backend-dead": frozenset({"connection-reset", "server-crash", *_NO_ANSWERS}),
    }
)
"""Findings that another one explains, if they lie within its time: they become a line of its evidence."""

SILENCES: Final = frozenset({"peer-silent"})
"""Findings dated by when the silence began: three heartbeats pass until such a socket has ended."""

ONE_A_SOCKET: Final = frozenset({"connection-reset", "server-crash"})
"""Findings that a socket speaks for once, where an attempt that fails can be repeated any number of times."""

AFTERMATH_BEFORE_S: Final = 2.0
AFTERMATH_AFTER_S: Final[Mapping[str, float]] = MappingProxyType({"backend-dead": 2.0})
"""How long after its last sign a finding still explains another one; ``AFTERMATH_S`` unless given. Sockets
that break when the proxy has a back end again broke for a reason of their own."""
AFTERMATH_S: Final = 60.0
