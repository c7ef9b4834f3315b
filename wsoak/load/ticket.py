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

    ``embedded``: whether the server under load is our own embedded target. ``workers``: how many processes
    make the load, so that each takes its share of accounts.
    """

    run_id: str
    embedded: bool
    workers: int

    def attach(self, parsed: Namespace) -> None:
        """Send it with these options."""
        setattr(parsed, ATTRIBUTE, asdict(self))

    @classmethod
    def attached(cls, parsed: Namespace | None) -> Ticket | None:
        """The ticket that came with these options; ``None`` when none did."""
        plain: dict[str, Any] | None = getattr(parsed, ATTRIBUTE, None)
        return None if plain is None else cls(**plain)
