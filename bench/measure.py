"""One measurement: a contender's work counted by the server over a steady window, or a connection's memory.

    open connections
      N |           ________________________
        |          /   ^                   ^
        |         /    | settle, then      |
        |        /     | first sample      | second sample: rate = messages between / time between
      0 |_______/______|___________________|____ time

The counts are the server's, the clock too; the client is only looked at from outside. For memory the first
sample is taken between the first bursts of connections, the second when all are open: the growth of the
client's resident set (users, greenlets and sockets' objects; not the kernel's buffers), for each connection
between them, without what a process loads once.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import psutil

from bench.contenders import Contender, Kind, Work
from bench.processes import (
    STOP_GRACE_S,
    BenchError,
    Client,
    Cores,
    Server,
    ServerSample,
    running_client,
)

RAMP_LIMIT_S = 60.0
SETTLE_S = 1.0
# A level stretch: open connections unchanged for this long. Bursts come about a second apart.
LEVEL_S = 0.4
_POLL_S = 0.05
_KIB = 1024

UNITS: Mapping[Kind, str] = MappingProxyType(
    {"echo": "echoes/s", "handshakes": "handshakes/s", "memory": "KiB a connection"}
)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run gave.

    `value` is in `UNITS[kind]`; `count` is what the server counted between the samples (connections, for
    memory), `window_s` the time between them on the server's clock. The shares are of one core over the
    window: the client's, the server's, and what other processes took (see `foreign_share`). `totals` are
    the server's counters at its end; `remarks` say why the value may not be what it seems.
    """

    contender: str
    kind: Kind
    round: int
    value: float
    count: int
    window_s: float
    client_share: float
    server_share: float
    foreign_share: float
    totals: ServerSample
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment, seen from the server, the client's process and the machine (CPU seconds used, by core)."""

    server: ServerSample
    client_cpu_s: float
    client_rss_bytes: int
    busy_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a window lasts at least, how much of a core makes a remark, and how long a client may end."""

    window_s: float
    server_full: float = 0.95
    client_idle: float = 0.90
    stop_grace_s: float = STOP_GRACE_S


def measure(
    contender: Contender, kind: Kind, connections: int, number: int, limits: Limits, cores: Cores
) -> Measurement:
    """Run one contender once. Raises WorkError before it starts, BenchError where no steady state comes."""
    run_time_s = int(RAMP_LIMIT_S + SETTLE_S + limits.window_s) + 30
    with tempfile.TemporaryDirectory(prefix="wsoak-bench-") as folder:
        with Server(cores.server, handshake_only=kind == "handshakes") as server:
            command = contender.command(Work(kind, server.url, connections, run_time_s))
            environment = contender.client_environment(kind, os.environ)
            with running_client(
                command, environment, cores.client, Path(folder), limits.stop_grace_s
            ) as client:
                before, after = _SAMPLERS[kind](server, client, connections, limits)
        if server.totals is None:
            raise BenchError("the echo server ended without its totals")
    return judge(contender.name, kind, number, connections, (before, after), server.totals, limits, cores)


def _sample(server: Server, client: Client) -> Sample:
    client.check_alive()
    counters = server.sample()
    return Sample(counters, client.cpu_s(), client.rss_bytes(), _busy_s())


def _busy_s() -> tuple[float, ...]:
    # Without interrupts: those of the loopback are the measured traffic itself.
    cores = psutil.cpu_times(percpu=True)
    return tuple(core.user + core.nice + core.system + getattr(core, "steal", 0.0) for core in cores)


def _poll(server: Server, client: Client, reached: Callable[[ServerSample], bool], goal: str) -> ServerSample:
    deadline = time.monotonic() + RAMP_LIMIT_S
    while not reached(counters := server.sample()):
        client.check_alive()
        if time.monotonic() > deadline:
            raise BenchError(
                f"no {goal} within {RAMP_LIMIT_S:.0f} s; the server has {counters}:\n{client.log_tail()}"
            )
        time.sleep(_POLL_S)
    return counters


def _window(
    server: Server, client: Client, limits: Limits, count: Callable[[ServerSample], int]
) -> tuple[Sample, Sample]:
    """Two samples at least a window apart; further where nothing was counted, as the machine may pause."""
    time.sleep(SETTLE_S)
    before = _sample(server, client)
    time.sleep(limits.window_s)
    _poll(server, client, lambda counters: count(counters) > count(before.server), "further count")
    return before, _sample(server, client)


def _sample_echo(server: Server, client: Client, connections: int, limits: Limits) -> tuple[Sample, Sample]:
    _poll(server, client, lambda counters: counters.open >= connections, f"{connections} open connections")
    return _window(server, client, limits, lambda counters: counters.messages)


def _sample_handshakes(
    server: Server, client: Client, connections: int, limits: Limits
) -> tuple[Sample, Sample]:
    goal = 2 * connections
    _poll(server, client, lambda counters: counters.handshakes >= goal, f"{goal} handshakes")
    return _window(server, client, limits, lambda counters: counters.handshakes)


def _sample_memory(
    server: Server, client: Client, connections: int, _limits: Limits
) -> tuple[Sample, Sample]:
    is_level = _Level(lambda count: count > 0, LEVEL_S)
    # on a slow machine one burst may go over into the next: then what is left to open must do
    enough = max(1, connections // 4)
    _poll(
        server,
        client,
        lambda counters: is_level(counters) or counters.open >= enough,
        "level stretch while connections open",
    )
    before = _sample(server, client)
    if before.server.open > connections // 2:
        raise BenchError(
            f"{before.server.open} of {connections} connections opened in one burst: no start to compare"
        )
    _poll(
        server,
        client,
        _Level(lambda count: count >= connections, SETTLE_S),
        f"{connections} open connections",
    )
    return before, _sample(server, client)


class _Level:
    """Whether the open connections are as `wanted`, and have not changed for `for_s` seconds."""

    def __init__(self, wanted: Callable[[int], bool], for_s: float) -> None:
        self._wanted = wanted
        self._for_s = for_s
        self._count = -1
        self._since_s = 0.0

    def __call__(self, counters: ServerSample) -> bool:
        now_s = time.monotonic()
        if counters.open != self._count:
            self._count, self._since_s = counters.open, now_s
        return self._wanted(self._count) and now_s - self._since_s >= self._for_s


_SAMPLERS: Mapping[Kind, Callable[[Server, Client, int, Limits], tuple[Sample, Sample]]] = MappingProxyType(
    {"echo": _sample_echo, "handshakes": _sample_handshakes, "memory": _sample_memory}
)


def judge(
    name: str,
    kind: Kind,
    number: int,
    connections: int,
    samples: tuple[Sample, Sample],
    totals: ServerSample,
    limits: Limits,
    cores: Cores,
) -> Measurement:
    """The measurement that two samples make, with remarks. Pure. Raises BenchError if it shows nothing."""
    before, after = samples
    window_s = (after.server.at_ns - before.server.at_ns) / 1e9
    client_share = (after.client_cpu_s - before.client_cpu_s) / window_s
    server_share = (after.server.cpu_s - before.server.cpu_s) / window_s
    foreign = foreign_share(before, after, window_s, cores)
    count, value = _COUNTS[kind](before, after, window_s)
    if value <= 0:
        raise BenchError(f"{name} did no {kind} between the two samples: {before.server}, {after.server}")
    remarks = []
    if kind != "memory":
        if server_share > limits.server_full:
            remarks.append(f"the server was busy {server_share:.0%}: the client may be faster than this")
        if client_share < limits.client_idle:
            remarks.append(f"the client was busy {client_share:.0%} only: something else held it up")
    remarks += _lost_connections(kind, connections, before.server, after.server)
    return Measurement(
        name,
        kind,
        number,
        value,
        count,
        window_s,
        client_share,
        server_share,
        foreign,
        totals,
        tuple(remarks),
    )


def _messages(before: Sample, after: Sample, window_s: float) -> tuple[int, float]:
    count = after.server.messages - before.server.messages
    return count, count / window_s


def _handshakes(before: Sample, after: Sample, window_s: float) -> tuple[int, float]:
    count = after.server.handshakes - before.server.handshakes
    return count, count / window_s


def _memory(before: Sample, after: Sample, _window_s: float) -> tuple[int, float]:
    count = after.server.open - before.server.open
    return count, (after.client_rss_bytes - before.client_rss_bytes) / _KIB / count


_COUNTS: Mapping[Kind, Callable[[Sample, Sample, float], tuple[int, float]]] = MappingProxyType(
    {"echo": _messages, "handshakes": _handshakes, "memory": _memory}
)


def foreign_share(before: Sample, after: Sample, window_s: float, cores: Cores) -> float:
    """The share of a core that was busy for neither server nor client.

    Of the two pinned cores' shares it is the larger; where nothing is pinned, that of all cores together.
    Not below 0, which the difference of the kernel's two accounts, a few ticks, could bring.
    """
    busy_s = [later - earlier for earlier, later in zip(before.busy_s, after.busy_s, strict=True)]
    client_s = after.client_cpu_s - before.client_cpu_s
    server_s = after.server.cpu_s - before.server.cpu_s
    if cores.server is None or cores.client is None:
        foreign_s = sum(busy_s) - client_s - server_s
    else:
        foreign_s = max(busy_s[cores.server] - server_s, busy_s[cores.client] - client_s)
    return max(0.0, foreign_s / window_s)


def _lost_connections(kind: Kind, connections: int, before: ServerSample, after: ServerSample) -> list[str]:
    drops = after.drops - before.drops
    if kind == "handshakes" and drops > (after.handshakes - before.handshakes) / 100:
        return [f"{drops} connections ended without a close frame: this is less work than a clean close"]
    if kind != "handshakes" and after.open != connections:
        return [f"{after.open} connections were open at the end, {connections} were asked for"]
    return []
