"""Limits: whether this machine has descriptors and local ports enough for the users to come.

A descriptor for each socket of each process; a local port for each socket of the whole machine, of which
there are some 28,000 for each source address and destination. What the users need besides (an HTTP connection
each, while they log in) may be there for a while only: for that there is a warning.
"""

from __future__ import annotations

import math
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wsoak.judge.words import counted
from wsoak.load.checks.steps import EVERYBODY, Result, Step

RESERVE: Final = 64
"""Descriptors that a process needs for itself."""
PORT_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


@dataclass(frozen=True, slots=True)
class Plan:
    """The load to come.

    Attributes:
        users: how many there will be at most; ``None`` where nobody knows, as with a shape of the user's own.
        sockets_per_user: how many each holds.
        processes: among how many the users are divided.
        here: whether all of these are on this machine.
        sources: how many local addresses they connect from.
        destinations: how many servers they connect to, each with as many.
        calls_http: whether they have HTTP connections besides.
    """

    users: int | None
    sockets_per_user: int = 1
    processes: int = 1
    here: bool = True
    sources: int = 1
    destinations: int = 1
    calls_http: bool = True


@dataclass(frozen=True, slots=True)
class Means:
    """What this machine has: descriptors a process (soft and hard limit), local ports an address."""

    descriptors: int
    descriptors_hard: int
    ports: int | None

    @classmethod
    def of_this_machine(cls) -> Means:
        """As the kernel says; ``ports`` is ``None`` where it says nothing of it."""
        soft, hard = (_bounded(limit) for limit in resource.getrlimit(resource.RLIMIT_NOFILE))
        return cls(soft, hard, port_count(PORT_RANGE))


def _bounded(limit: int) -> int:
    return 2**31 if limit == resource.RLIM_INFINITY else limit


def port_count(file: Path) -> int | None:
    """How many ports a range such as ``32768\\t60999`` has; ``None`` where there is none."""
    try:
        low, high = map(int, file.read_text().split())
    except (OSError, ValueError):
        return None
    return max(0, high - low + 1)


def limit_steps(plan: Plan, means: Means) -> list[Step]:
    """Whether there is enough, for each limit that is known."""
    if plan.users is None:
        return [Step(EVERYBODY, "limits", "warning", "not known how many users there will be: not checked")]
    return [_descriptors(plan, plan.users, means), *_ports(plan, plan.users, means)]


def _descriptors(plan: Plan, users: int, means: Means) -> Step:
    a_process = math.ceil(users / max(1, plan.processes))
    sockets = a_process * plan.sockets_per_user
    has = max(0, means.descriptors - RESERVE)

    def text(needed: int) -> str:
        shared = " a process" if plan.processes > 1 else ""
        wanted = counted(needed, "socket")
        more = (
            f" (ulimit -n {needed + RESERVE} raises it)" if needed <= means.descriptors_hard - RESERVE else ""
        )
        raised = more if needed > has else ""
        return f"{wanted}{shared}, and a limit of {means.descriptors:,} descriptors{raised}"

    # of machines elsewhere, this one's limits say little
    return _judged("descriptors", sockets, sockets + a_process * plan.calls_http, has, text, sure=plan.here)


def _ports(plan: Plan, users: int, means: Means) -> list[Step]:
    if means.ports is None:
        return []
    sockets = users * plan.sockets_per_user
    has = means.ports * max(1, plan.sources) * max(1, plan.destinations)

    def text(needed: int) -> str:
        addresses = f" on {plan.sources} addresses" if plan.sources > 1 else ""
        return f"{counted(needed, 'connection')}, and {counted(has, 'local port')}{addresses}"

    return [_judged("ports", sockets, sockets + users * plan.calls_http, has, text, sure=plan.here)]


def _judged(name: str, needed: int, at_first: int, has: int, text: Callable[[int], str], sure: bool) -> Step:
    finding = f"{name}-exhausted"
    if needed > has:
        result: Result = "failed" if sure else "warning"
        return Step(EVERYBODY, name, result, text(needed), finding if sure else "")
    if at_first > has:
        with_log_in = f"{text(at_first)}, with an HTTP connection for each user"
        return Step(EVERYBODY, name, "warning", with_log_in)
    return Step(EVERYBODY, name, "ok", text(needed))
