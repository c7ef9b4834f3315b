"""Incidents: every fault that the target can reproduce, what must be found of it, and how it is met.

One row a fault: the system in which it happened, and the finding that a run must name. What a row adds is the
load that meets the fault: at least ``SECONDS`` of ``USERS`` users, and further options of Locust's and ours
where a fault needs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

SECONDS: Final = 12
USERS: Final = 20

PATIENCE_OPTION: Final = "--handshake-timeout"

Found = tuple[str, str]
"""A finding's id and the system that it is of."""

USER_CLASSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "dialogue": "DialogueUser",
        "call": "CallUser",
        "roadmap": "RoadmapUser",
        "tasks": "TasksUser",
        "voice": "VoiceUser",
    }
)
"""The class of users of each system, in the systems' order."""


@dataclass(frozen=True, slots=True)
class Incident:
    """A fault of one system.

    Attributes:
        system: in which it happens.
        name: the fault's.
        finding: the id of what must be found.
        params: the fault's own, where its default is not met in a short run.
        options: further arguments of the load.
        seconds, users: of the load.
    """

    system: str
    name: str
    finding: str
    params: Mapping[str, object] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    seconds: int = SECONDS
    users: int = USERS

    @property
    def id(self) -> str:
        """``system:fault``, as the target names it."""
        return f"{self.system}:{self.name}"

    @property
    def fault(self) -> str:
        """The target's ``--fault``."""
        return ":".join([self.id, *(f"{key}={value}" for key, value in self.params.items())])

    @property
    def expected(self) -> Found:
        """What must be found."""
        return self.finding, self.system

    @property
    def implied_onset(self) -> float | None:
        """The handshakes at once from which on they must time out; ``None`` where none wait for a pool.

        Who is the n-th in a line before ``pool`` look-ups at a time waits n × delay / pool (Little's law).
        """
        if not {"pool", "delay_s"} <= self.params.keys():
            return None
        patience_s = float(self.options[self.options.index(PATIENCE_OPTION) + 1])
        return float(str(self.params["pool"])) * patience_s / float(str(self.params["delay_s"]))


INCIDENTS: Final = (
    Incident("dialogue", "datetime-crash", "closed-policy-silent"),
    Incident("dialogue", "session-denied", "closed-policy-denied"),
    Incident("dialogue", "lost-history", "history-lost", options=("--message-rate", "5")),
    Incident("call", "nil-user", "upgrade-crash"),
    Incident("call", "anonymous-accepted", "unauthenticated-accepted", options=("--checks", "security")),
    Incident("call", "stale-sessions", "sessions-not-released"),
    Incident("roadmap", "wrong-prefix", "route-not-found"),
    Incident("roadmap", "send-after-close", "server-crash"),
    Incident("roadmap", "lost-events", "sequence-gap"),
    Incident("tasks", "reject-before-accept", "upgrade-refused"),
    Incident(
        "tasks",
        "slow-auth",
        "upgrade-slow",
        {"pool": 4, "delay_s": 0.5},
        # half-way between two rounds of the pool, so that no handshake is done just as its time is over
        options=(PATIENCE_OPTION, "2.25"),
        users=30,
    ),
    Incident("tasks", "doubled-prefix", "route-doubled"),
    Incident("tasks", "proxy-reset", "upgrade-reset"),
    Incident("tasks", "token-expiry", "credentials-expired", {"after_s": 4}),
    Incident("voice", "close-after-hello", "closed-no-status"),
    Incident("voice", "drop-mid-utterance", "connection-reset"),
    Incident("voice", "deaf", "peer-silent", options=("--heartbeat", "1")),
)
"""All of them, by system."""

BY_ID: Final[Mapping[str, Incident]] = MappingProxyType({each.id: each for each in INCIDENTS})


@dataclass(frozen=True, slots=True)
class Case:
    """A run: the systems that are loaded in it, and the incidents that happen in them.

    ``mended``: the load is the one that meets the incidents, and they do not happen any more.
    """

    id: str
    systems: tuple[str, ...]
    incidents: tuple[Incident, ...] = ()
    mended: bool = False

    @property
    def expected(self) -> frozenset[Found]:
        """All that must be found, and nothing else may be."""
        return frozenset(() if self.mended else (incident.expected for incident in self.incidents))

    @property
    def faults(self) -> tuple[str, ...]:
        """The target's arguments."""
        incidents = () if self.mended else self.incidents
        return tuple(word for incident in incidents for word in ("--fault", incident.fault))

    @property
    def options(self) -> tuple[str, ...]:
        """Further arguments of the load: those of all incidents."""
        return tuple(word for incident in self.incidents for word in incident.options)

    @property
    def seconds(self) -> int:
        """The longest that one of them needs."""
        return max((incident.seconds for incident in self.incidents), default=SECONDS)

    @property
    def users(self) -> int:
        """Users of all systems together."""
        each = max((incident.users for incident in self.incidents), default=USERS)
        return each * len(self.systems)


def together(*ids: str) -> Case:
    """A run of the systems in which these incidents happen, all at once."""
    incidents = tuple(BY_ID[id_] for id_ in ids)
    return Case(" + ".join(ids), tuple(incident.system for incident in incidents), incidents)


HEALTHY: Final = (
    *(Case(f"healthy {system}", (system,)) for system in USER_CLASSES),
    Case("healthy, all systems", tuple(USER_CLASSES)),
)
SINGLE: Final = tuple(Case(incident.id, (incident.system,), (incident,)) for incident in INCIDENTS)
PAIRS: Final = (
    together("dialogue:datetime-crash", "voice:close-after-hello"),
    together("call:nil-user", "tasks:reject-before-accept"),
    together("roadmap:send-after-close", "voice:drop-mid-utterance"),
)
"""Two faults at once, alike to look at, in two systems of one run."""

CASES: Final[Mapping[str, Case]] = MappingProxyType({case.id: case for case in (*SINGLE, *HEALTHY, *PAIRS)})
