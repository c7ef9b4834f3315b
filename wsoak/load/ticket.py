"""Ticket: what every process of a run must know of it; it travels to the workers with Locust's options."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict, dataclass
from typing import Any, Final

ATTRIBUTE: Final = "wsoak_ticket"
"""Where it is in Locust's parsed options: Locust sends to its workers what it does not know itself."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """One run.

    Attributes:
        embedded: whether the server under load is our own embedded target.
        shares: the worker's share of the accounts, by its name, see ``shares.Shares``.
        of: how many shares there are.
        pid: the master's process id; a worker that it forked need not watch what it watches.
    """

    run_id: str
    embedded: bool
    shares: dict[str, int]
    of: int = 1
    pid: int = 0

    def attach(self, parsed: Namespace) -> None:
        """Send it with these options."""
        setattr(parsed, ATTRIBUTE, asdict(self))

    @classmethod
    def attached(cls, parsed: Namespace | None) -> Ticket | None:
        """The ticket that came with these options; ``None`` when none did."""
        plain: dict[str, Any] | None = getattr(parsed, ATTRIBUTE, None)
        return None if plain is None else cls(**plain)
