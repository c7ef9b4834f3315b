"""Steps: what was checked before the load, what came of it, and what to say of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

from wsoak.judge.terminal import safe
from wsoak.judge.words import listed

Result = Literal["ok", "failed", "warning"]

EVERYBODY: Final = "all users"
"""In a scenario's place, where a step is about the whole load."""
SENTENCE_LIMIT: Final = 400

CAUSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "server-unreachable": "the server is not running, or --host or its port is wrong",
        "tls-failed": "the certificate's authority (--tls-ca), name or date, or no TLS at this port",
        "health-failed": "--host is another service, or the server is not well: look at its log",
        "log-in-refused": "the accounts (--accounts FILE, WSOAK_PASSWORD) are wrong, or not this server's",
        "log-in-failed": "--host serves another API, or its log-in is broken: look at the server's log",
        "origin-refused": "the server takes sockets of the pages that it knows alone: --origin",
        "route-not-found": "the path or its prefix is wrong: try python -m wsoak routes",
        "route-doubled": "the server includes its routers under a prefix that they have already",
        "upgrade-refused": "the token (its secret, exp, and where it is sent) or the origin is not accepted",
        "credentials-expired": "the token has ended: renew it",
        "upgrade-crash": "the server's handler crashes before it answers: look for a traceback in its log",
        "upgrade-reset": "a proxy in front of the server resets upgrades",
        "upgrade-slow": "the server's handler waits for something before it accepts: look at its database",
        "upgrade-rejected": "the path is no WebSocket route, or a proxy keeps the Upgrade header back",
        "redirected": "--host lacks TLS (wss://) or a last slash, or the user is not logged in",
        "gateway-refused": "the gateway in front of the server has no rule for this host, path or scheme",
        "bad-upgrade": "a proxy or cache stands between that does not speak WebSocket",
        "backend-dead": "the back end behind the proxy does not run",
        "overload": "the server limits connections, or is busy already",
        "hello-failed": "the first message is not what the server expects: look at its handler in the log",
        "closed-policy-silent": "the server's handler fails, or refuses without a word: look at its log",
        "closed-policy-denied": "the server's own check refuses this user: its message says which",
        "closed-no-status": "the server's handler returns early: look at its log",
        "server-crash": "the server's handler fails: look for a traceback in its log",
        "connection-reset": "something between resets the connection",
        "peer-silent": "the server does not answer on a socket that it keeps open",
        "users-busy": "a run that was killed left it behind (python -m wsoak clean --run ID removes it)",
        "no-answer": "the server takes messages and does not answer them: look at its handler and its log",
        "replies-unmatched": "the scenario does not know the answer when it sees it: `reply_id` must find "
        "the id in it (EchoUser expects the very text that it sent: for other answers, write a scenario)",
        "rehearsal-failed": "the scenario expects something else of this server: run python -m wsoak check",
        "descriptors-exhausted": "the limit is too low: raise it with ulimit -n, or use more processes",
        "source-unusable": "--source-ips has no address of this machine that is of the host's family",
        "ports-exhausted": "one address has no more: use --source-ips, or widen net.ipv4.ip_local_port_range",
    }
)
"""The likely cause by finding, in a few words; the whole hint is with the finding."""
OTHERWISE: Final = "see the finding in the run's report"


@dataclass(frozen=True, slots=True)
class Step:
    """One check, done.

    Attributes:
        scenario: the user class, or ``EVERYBODY``.
        name: what was checked, in a word.
        text: figures, or what was wrong; may hold a server's text.
        finding: the id of the finding that it speaks for, where something was wrong.
    """

    scenario: str
    name: str
    result: Result
    text: str
    finding: str = ""

    def to_json(self) -> dict[str, str]:
        """The step as plain values for ``run.json``."""
        return {
            "scenario": self.scenario,
            "step": self.name,
            "result": self.result,
            "text": safe(self.text, SENTENCE_LIMIT),
            "finding": self.finding,
        }


@dataclass(frozen=True, slots=True)
class Tried:
    """A door that was tried.

    Attributes:
        finding: what it means if it opens.
        name: the socket's name.
        path: with the values of its query masked.
        tried: what was tried, in words.
        seen: what came of it; may hold a server's text.
        accepted: whether it opened.
    """

    scenario: str
    finding: str
    name: str
    path: str
    tried: str
    seen: str
    accepted: bool

    def to_json(self) -> dict[str, Any]:
        """The probe as plain values for ``run.json``."""
        return {
            "scenario": self.scenario,
            "finding": self.finding,
            "socket": safe(self.name),
            "path": safe(self.path),
            "tried": self.tried,
            "expected": "refused",
            "seen": safe(self.seen, SENTENCE_LIMIT),
            "accepted": self.accepted,
        }


@dataclass(slots=True)
class Outcome:
    """All that was checked."""

    steps: list[Step] = field(default_factory=list)
    doors: list[Tried] = field(default_factory=list)

    @property
    def failed(self) -> list[Step]:
        """The steps that must stop a run."""
        return [step for step in self.steps if step.result == "failed"]

    def to_json(self) -> dict[str, Any]:
        """The outcome as plain values for ``run.json``."""
        return {
            "passed": not self.failed,
            "steps": [step.to_json() for step in self.steps],
            "doors": [door.to_json() for door in self.doors],
        }

    def lines(self) -> list[str]:
        """A line for each check, for the terminal; the columns stand below each other."""
        rows: list[tuple[str, ...]] = [
            (step.result, step.scenario, step.name, step.text) for step in self.steps
        ]
        rows += [
            ("OPEN" if door.accepted else "shut", door.scenario, door.name, f"{door.tried}: {door.seen}")
            for door in self.doors
        ]
        return _aligned(rows)

    def sentence(self) -> str:
        """What stops the run, and the likely cause, in one sentence; empty where nothing does."""
        if not self.failed:
            return ""
        first = self.failed[0]
        alike = dict.fromkeys(step.scenario for step in self.failed if step.finding == first.finding)
        cause = CAUSES.get(first.finding, OTHERWISE)
        what = safe(first.text, SENTENCE_LIMIT).rstrip(".")
        return f"The checks failed for {listed(alike)} ({first.name}): {what}; likely cause: {cause}."


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    safe_rows = [[safe(cell, SENTENCE_LIMIT) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*(row[:-1] for row in safe_rows), strict=True)]
    return ["  ".join(_padded(row, widths)).rstrip() for row in safe_rows]


def _padded(row: Sequence[str], widths: Iterable[int]) -> list[str]:
    return [*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]
