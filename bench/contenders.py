"""The table of contenders: which Locust run does which work in which way."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

Kind = Literal["echo", "handshakes", "memory"]
KINDS: tuple[Kind, ...] = get_args(Kind)
ROOT = Path(__file__).resolve().parent.parent

# Users are spawned in so many bursts, about a second apart. Memory needs a level stretch between two.
_BURSTS: Mapping[Kind, int] = MappingProxyType({"echo": 1, "handshakes": 1, "memory": 8})


class WorkError(ValueError):
    """The work cannot be given to this contender; the message says why."""


@dataclass(frozen=True, slots=True)
class Work:
    """One run's work: `connections` held (for handshakes, opened and closed in turn) at once against `url`.

    `run_time_s` bounds the client's life should nobody be left to end it.
    """

    kind: Kind
    url: str
    connections: int
    run_time_s: int


@dataclass(frozen=True, slots=True)
class Contender:
    """A locustfile, the user class for each kind of work, and how many connections one such user has.

    `users` and `sockets_per_user` have a key for every kind. `environment` is added to the client's
    environment, where `BENCH_SOCKETS_PER_USER` is also set; `arguments` go to Locust as they are.
    """

    name: str
    locustfile: Path
    users: Mapping[Kind, str]
    sockets_per_user: Mapping[Kind, int]
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def user_count(self, kind: Kind, connections: int) -> int:
        """How many users hold so many connections. Raises WorkError where they cannot be dealt out evenly."""
        each = self.sockets_per_user[kind]
        users, rest = divmod(connections, each)
        if rest or users < 1:
            raise WorkError(f"{connections} connections for {kind}: {self.name} needs a multiple of {each}")
        return users

    def command(self, work: Work) -> list[str]:
        """The client's command line. Raises WorkError as `user_count` does."""
        users = self.user_count(work.kind, work.connections)
        command = [sys.executable, "-m", "locust", "-f", str(self.locustfile), "--headless", "--only-summary"]
        command += ["--users", str(users), "--spawn-rate", str(-(-users // _BURSTS[work.kind]))]
        command += ["--run-time", f"{work.run_time_s}s", "--host", work.url, "--loglevel", "WARNING"]
        return [*command, *self.arguments, self.users[work.kind]]

    def client_environment(self, kind: Kind, inherited: Mapping[str, str]) -> dict[str, str]:
        """The inherited environment without Locust's settings, and with what this contender adds."""
        kept = {
            name: value for name, value in inherited.items() if not name.startswith(("LOCUST_", "BENCH_"))
        }
        path = os.pathsep.join(filter(None, (str(ROOT), kept.get("PYTHONPATH", ""))))
        sockets = str(self.sockets_per_user[kind])
        return kept | {"PYTHONPATH": path, "BENCH_SOCKETS_PER_USER": sockets} | dict(self.environment)


def _users(prefix: str) -> Mapping[Kind, str]:
    return MappingProxyType(
        {"echo": f"{prefix}EchoUser", "handshakes": f"{prefix}HandshakeUser", "memory": f"{prefix}IdleUser"}
    )


_ONE_EACH: Mapping[Kind, int] = MappingProxyType({"echo": 1, "handshakes": 1, "memory": 1})
_PLAIN_FILE = ROOT / "bench" / "plain_locustfile.py"

CONTENDERS: Mapping[str, Contender] = MappingProxyType(
    {
        contender.name: contender
        for contender in (
            Contender("plain", _PLAIN_FILE, _users("Plain"), _ONE_EACH),
            Contender(
                "plain-wsaccel", _PLAIN_FILE, _users("Plain"), _ONE_EACH, environment={"BENCH_WSACCEL": "1"}
            ),
            Contender(
                "wsoak",
                ROOT / "bench" / "wsoak_locustfile.py",
                _users("Wsoak"),
                MappingProxyType({"echo": 10, "handshakes": 1, "memory": 100}),
                # the plain way looks at nothing before
                arguments=("--checks", "none"),
            ),
        )
    }
)
