"""Workers: the processes that made a run's load: what they reported, and how they fared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from wsoak.judge.validity import GENERATOR
from wsoak.ledger.books import Books, GaugeSummary
from wsoak.ledger.histogram import Histogram

MASTER: Final = "master"
"""Keeps the books of a distributed run and makes no load; its readings stand beside those of the workers."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One process; ``None`` where nothing is on record, as in a run that was cut before it named its workers.

    ``users`` is the most that it had at a reading. ``joined_s``, ``left_s`` (it left early) and the spans
    ``missing_s``, for which its figures are missing, count from the start of the run. ``cpu_mean`` and
    ``cpu_max`` are shares of a core.
    """

    name: str
    users: int | None
    reports: int | None
    missing_reports: int | None
    joined_s: float | None
    missing_s: tuple[tuple[float, float], ...]
    left_s: float | None
    final: bool | None
    cpu_mean: float | None
    cpu_max: float | None
    hub: Histogram


def workers_of(books: Books, header: Mapping[str, Any]) -> list[Worker]:
    """The workers as ``run.json`` lists them, then others that have readings; the master last."""
    told = reported(header)
    read = {worker for worker, source, name in books.gauges if source == GENERATOR and name == "cpu_share"}
    names = [*told, *sorted(read - told.keys() - {MASTER}), *([MASTER] if MASTER in read else [])]
    return [_worker(name, books, told.get(name, {})) for name in names]


def reported(header: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What ``run.json`` says of each worker, by its name; see ``load.relay.Roll.to_json``."""
    plain = header.get("workers")
    entries = [entry for entry in plain if isinstance(entry, dict)] if isinstance(plain, list) else []
    return {str(entry["worker"]): entry for entry in entries if "worker" in entry}


def expected(header: Mapping[str, Any]) -> int:
    """How many workers there should have been; 0 for a single process."""
    count = header.get("expected_workers")
    return count if isinstance(count, int) else 0


def _worker(name: str, books: Books, told: Mapping[str, Any]) -> Worker:
    users, cpu = _gauge(books, name, "users"), _gauge(books, name, "cpu_share")
    return Worker(
        name=name,
        users=None if users is None else round(users.greatest),
        reports=told.get("reports"),
        missing_reports=told.get("missing_reports"),
        joined_s=told.get("joined_s"),
        missing_s=tuple((begin, end) for begin, end in told.get("missing_s", ())),
        left_s=told.get("left_s"),
        final=told.get("final"),
        cpu_mean=None if cpu is None else cpu.mean,
        cpu_max=None if cpu is None else cpu.greatest,
        hub=books.histogram("hub", name),
    )


def _gauge(books: Books, worker: str, name: str) -> GaugeSummary | None:
    return books.gauges.get((worker, GENERATOR, name))
