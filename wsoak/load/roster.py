"""Roster: the workers of a run as Locust's master knows them, by the names under which they report."""

from __future__ import annotations

from locust.env import Environment
from locust.runners import STATE_INIT, STATE_MISSING, MasterRunner


def worker_name(index: int) -> str:
    """The name of a worker in the run's records."""
    return f"worker-{index}"


def name_of(master: MasterRunner, client_id: str) -> str:
    """The name of the worker with Locust's id."""
    return worker_name(master.get_worker_index(client_id))  # type: ignore[no-untyped-call]


def alive(master: MasterRunner, ready: bool = False) -> list[str]:
    """The workers that live and have users, so that a last report can come; ``ready``: those without too."""
    unwanted = (STATE_MISSING,) if ready else (STATE_MISSING, STATE_INIT)
    return [name_of(master, client.id) for client in master.clients.all if client.state not in unwanted]


def forked(environment: Environment) -> int:
    """How many workers Locust has forked (``--processes``); 0 for none."""
    return getattr(environment.parsed_options, "processes", None) or 0
