"""Made runs: run directories as the load side writes them, with known contents.

Made with the real recorder and writer on a clock of our own, from a seed: equal arguments give equal files.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Final

from wsoak.ledger.books import Books
from wsoak.ledger.outcomes import OPEN, RUN_ENDED, Initiator, observed_code, rejected
from wsoak.ledger.recorder import Recorder
from wsoak.ledger.records import ConnectionRecord
from wsoak.ledger.rundir import RunReader, RunWriter
from wsoak.ledger.timeline import ARRIVALS
from wsoak.ledger.units import NS_PER_MS, NS_PER_S

STARTED_AT: Final = 1_760_000_000
"""Unix seconds at which every made run starts."""


@dataclass(frozen=True)
class Way:
    """How one connection goes, from its opening to its end.

    ``age_s`` ``None``: until the run ends; ``uneven``: at half to one and a half times that age, as sockets
    end which no clock ends. ``every_s``: a request each so often while it is open.
    """

    outcome: str = OPEN
    phase: str = ""
    status: int | None = 101
    error: str = ""
    body: str = ""
    age_s: float | None = None
    uneven: bool = False
    frame: bool = True
    """Whether the server's close frame came, with ``received_code``."""
    received_code: int | None = 1000
    sent_code: int | None = 1000
    initiator: Initiator = "server"
    reason: str = ""
    detail: str = ""
    errno: int | None = None
    state: str = "talking"
    server_error: str = ""
    idle_s: float = 0.02
    usable: bool | None = True
    replies: bool = True
    every_s: float = 1.0
    service_ms: float = 12.0
    reconnect: bool = False
    """Whether the user tries again, ``retry_s`` after the end."""
    retry_s: float = 1.0


HEALTHY: Final = Way(initiator="client", reason=RUN_ENDED)
REFUSED: Final = Way("refused", "tcp", None, "nothing listens there (ECONNREFUSED)", errno=111)


def rejection(status: int, body: str = "", **fields: Any) -> Way:
    """The way of an attempt that an HTTP answer ended."""
    return Way(rejected(status), "upgrade", status, f"the server answered {status}", body, **fields)


def closed(code: int | None, **fields: Any) -> Way:
    """The way of a socket that the server closes with this code."""
    ages = {"age_s": 4.0, "uneven": "age_s" not in fields}
    return Way(received_code=code, sent_code=code, **{**ages, **fields})


def broken(detail: str, **fields: Any) -> Way:
    """The way of a socket that breaks without a close frame."""
    defaults: dict[str, Any] = {"initiator": "network", "frame": False, "sent_code": None}
    defaults |= {"age_s": 4.0, "uneven": "age_s" not in fields}
    return Way(received_code=None, detail=detail, **{**defaults, **fields})


Choose = Callable[[int, int, float], Way]
"""From a user's number, the attempt's number and the second of the run: how that attempt goes."""


@dataclass(frozen=True)
class Offered:
    """Sessions of the open model: evenly at a rate, each keeping one of so many hands for so long."""

    rate_per_s: float = 10.0
    hands: int = 20
    session_s: float = 1.0
    patience_s: float = 3.0


class Stage:
    """A run, played on a clock of its own; the users take turns in belonging to one of its workers."""

    def __init__(
        self, path: Path, seed: int, seconds: int, header: dict[str, Any], workers: Sequence[str] = ("0",)
    ) -> None:
        self.now_ns = 0
        self.seconds = seconds
        self.random = random.Random(seed)
        self.recorders = [
            Recorder(worker, lambda: self.now_ns, lambda: STARTED_AT * NS_PER_S + self.now_ns)
            for worker in workers
        ]
        self.recorder = self.recorders[0]
        self.writer = RunWriter(path, header)
        self.books = Books()
        self.open = Counter[str]()
        self.flying = Counter[str]()
        self.users = Counter[str]()
        self.waiting: dict[str, deque[int]] = {}
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count()
        self._ids = count()
        self._ends: list[Callable[[], None]] = []

    def at(self, second: float, event: Callable[[], None]) -> None:
        """Play ``event`` at this second of the run, if the run still goes on then."""
        heapq.heappush(self._events, (round(second * NS_PER_S), next(self._numbers), event))

    @property
    def now_s(self) -> float:
        """Seconds from the run's start."""
        return self.now_ns / NS_PER_S

    def play(self) -> None:
        """Play all events up to the run's last second, a delta a second."""
        for second in range(1, self.seconds + 1):
            while self._events and self._events[0][0] < second * NS_PER_S:
                self.now_ns, _, event = heapq.heappop(self._events)
                for recorder in self.recorders:
                    recorder.tick(self.now_ns)
                event()
            self.now_ns = second * NS_PER_S - 1
            self._hand_out()

    def end(self, **fields: Any) -> None:
        """End the run: every open socket is closed by the client."""
        self.now_ns = self.seconds * NS_PER_S + 5 * NS_PER_MS
        for end in self._ends:
            end()
        self._hand_out()
        self.writer.finish(ended_at=STARTED_AT + self.now_s, ended_by="run time", **fields)

    def user(self, number: int, name: str, path: str, start_s: float, choose: Choose) -> None:
        """A user that starts at ``start_s`` and whose attempts go as ``choose`` says."""

        def arrive() -> None:
            self.users[self._recorder_of(number).worker] += 1
            self._attempt(number, name, path, 0, choose)

        self.at(start_s, arrive)

    def offer(self, offered: Offered) -> None:
        """Let sessions arrive, split over the workers."""
        for recorder in self.recorders:
            self._offer(recorder, offered, len(self.recorders))

    def _offer(self, recorder: Recorder, offered: Offered, share: int) -> None:
        series = recorder.series(ARRIVALS)
        waiting = self.waiting[recorder.worker] = deque()
        free = offered.hands // share

        def arrive() -> None:
            series.arrived += 1
            waiting.append(self.now_ns)
            serve()
            self.at(self.now_s + share / offered.rate_per_s, arrive)

        def serve() -> None:
            nonlocal free
            while waiting and self.now_ns - waiting[0] > offered.patience_s * NS_PER_S:
                waiting.popleft()
                series.unserved += 1
            while waiting and free:
                free -= 1
                series.served += 1
                series.metric_ns.append(self.now_ns - waiting.popleft())
                self.at(self.now_s + offered.session_s, release)

        def release() -> None:
            nonlocal free
            free += 1
            serve()

        self.at(0.05, arrive)

    def _recorder_of(self, number: int) -> Recorder:
        return self.recorders[number % len(self.recorders)]

    def _attempt(self, number: int, name: str, path: str, attempt: int, choose: Choose) -> None:
        way = choose(number, attempt, self.now_s)
        recorder = self._recorder_of(number)
        series = recorder.series(name)
        started_at = recorder.unix_s(self.now_ns)
        tcp_ms = 0.2 + self.random.expovariate(5)
        upgrade_ms = 1.5 + self.random.expovariate(1)
        opened = way.outcome == OPEN
        reached = opened or way.phase in ("upgrade", "hello")
        base = ConnectionRecord(
            id=f"0.{next(self._ids)}",
            worker=recorder.worker,
            name=name,
            path=path,
            started_at=started_at,
            outcome=way.outcome,
            phase=way.phase,
            status=way.status if reached else None,
            error=way.error,
            body=way.body,
            resolve_ms=None,
            tcp_ms=round(tcp_ms, 3) if reached else None,
            tls_ms=None,
            upgrade_ms=round(upgrade_ms, 3) if opened else None,
            hello_ms=None,
            usable_ms=round(tcp_ms + upgrade_ms + way.service_ms, 3) if opened and way.usable else None,
            usable=way.usable if opened else None,
            attempt=attempt,
            age_s=None,
            code=None,
            sent_code=None,
            received_code=None,
            reason="",
            initiator=None,
            clean=None,
            detail="",
            errno=way.errno,
            state="",
            server_error="",
            idle_s=None,
            messages_sent=0,
            messages_received=0,
            bytes_sent=0,
            bytes_received=0,
        )
        took_s = (tcp_ms + upgrade_ms) / 1000 if reached else 0.001

        def retry() -> None:
            self.at(self.now_s + way.retry_s, lambda: self._attempt(number, name, path, attempt + 1, choose))

        def fail() -> None:
            recorder.opening_ended(series, way.outcome)
            recorder.connection_ended(base)
            if way.reconnect:
                retry()

        def open_() -> None:
            recorder.opening_ended(series, OPEN)
            series.handshake_ns.append(int((tcp_ms + upgrade_ms) * NS_PER_MS))
            series.tcp_ns.append(int(tcp_ms * NS_PER_MS))
            series.upgrade_ns.append(int(upgrade_ms * NS_PER_MS))
            if way.usable:
                series.usable += 1
                series.usable_ns.append(int((tcp_ms + upgrade_ms + way.service_ms) * NS_PER_MS))
            self._live(recorder, base, way, retry if way.reconnect else lambda: None)

        self.at(self.now_s + took_s, open_ if opened else fail)

    def _live(self, recorder: Recorder, base: ConnectionRecord, way: Way, retry: Callable[[], None]) -> None:
        worker = recorder.worker
        series = recorder.series(base.name)
        message = recorder.series(f"{base.name} message")
        opened_s = self.now_s
        live = {"open": True, "sent": 0, "received": 0}
        self.open[worker] += 1

        def talk() -> None:
            if not live["open"]:
                return
            service_ns = int(way.service_ms * self.random.lognormvariate(0, 0.4) * NS_PER_MS)
            lag_ns = int(self.random.expovariate(1) * 0.2 * NS_PER_MS)
            series.sent += 1
            series.bytes_sent += 64
            message.requests += 1
            message.lag_ns.append(lag_ns)
            live["sent"] += 1
            self.flying[worker] += 1

            def answer() -> None:
                self.flying[worker] -= 1
                if not live["open"] or not way.replies:
                    message.reply_lost += 1
                    return
                series.received += 1
                series.bytes_received += 256
                live["received"] += 1
                message.replies += 1
                message.service_ns.append(service_ns)
                message.response_ns.append(service_ns + lag_ns)

            self.at(self.now_s + service_ns / NS_PER_S, answer)
            self.at(self.now_s + way.every_s, talk)

        def end(way: Way = way) -> None:
            if not live["open"]:
                return
            live["open"] = False
            self.open[worker] -= 1
            age_s = round(self.now_s - opened_s, 6)
            recorder.connection_ended(
                base._replace(
                    age_s=age_s,
                    code=observed_code(way.frame, way.received_code),
                    sent_code=way.sent_code,
                    received_code=way.received_code,
                    reason=way.reason,
                    initiator=way.initiator,
                    clean=way.frame,
                    detail=way.detail,
                    state=way.state,
                    server_error=way.server_error,
                    idle_s=min(way.idle_s, age_s),
                    messages_sent=int(live["sent"]),
                    messages_received=int(live["received"]),
                    bytes_sent=64 * int(live["sent"]),
                    bytes_received=256 * int(live["received"]),
                )
            )
            retry()

        self.at(self.now_s + 0.01, talk)
        if way.age_s is not None:
            self.at(self.now_s + way.age_s * (self.random.uniform(0.5, 1.5) if way.uneven else 1), end)
        # what the scenario expected and had not got when the run ended is not known
        last = replace(HEALTHY, usable=way.usable)
        self._ends.append(lambda: end(last))

    def _hand_out(self) -> None:
        for index, recorder in enumerate(self.recorders):
            self._read(recorder, index)
            delta = recorder.take()
            self.books.add(delta)
            self.writer.append(delta)

    def _read(self, recorder: Recorder, index: int) -> None:
        """The gauges of one worker."""
        worker = recorder.worker
        gauges = {
            "cpu_share": 0.2 + 0.1 * self.random.random() + 0.05 * index,
            "cpu_saturated": 0.0,
            "users": self.users[worker],
            "users_target": self.writer.header["users"] / len(self.recorders),
            "open_sockets": self.open[worker],
            "in_flight": self.flying[worker],
            "rss_bytes": 90e6,
            "fds": 20 + self.open[worker],
            "fd_limit": 65_536,
        }
        if worker in self.waiting:
            gauges["arrivals_waiting"] = len(self.waiting[worker])
        for name, value in {**gauges, **self.writer.header.get("gauges", {})}.items():
            recorder.gauge("generator", name, value)
        hub = recorder.series(worker)
        hub.hub_ns.extend(int(self.random.expovariate(1) * NS_PER_MS) for _ in range(10))


def attended(worker: str, index: int, **fields: Any) -> dict[str, Any]:
    """What ``run.json`` says of a worker all of whose reports came."""
    return {
        "worker": worker,
        "index": index,
        "joined_s": 1.0,
        "late": False,
        "reports": 21,
        "missing_reports": 0,
        "final": True,
        "missing_s": [],
        "left_s": None,
        "clock_ahead_s": 0.0,
        **fields,
    }


def header(users: int, **fields: Any) -> dict[str, Any]:
    """What ``run.json`` says of a made run."""
    return {
        "run_id": "made-run",
        "started_at": STARTED_AT,
        "command": ["locust", "DialogueUser", "--headless"],
        "host": "http://127.0.0.1:8000",
        "options": {"run_time": "20s", "spawn_rate": 10},
        "users": users,
        "versions": {"wsoak": "0.1.0", "python": "3.11"},
        "machine": {"cores": 2},
        "scenarios": ["DialogueUser"],
        "latency_limit_ms": 1000,
        "expected_workers": 0,
        "workers": [attended("0", 0)],
        **fields,
    }


Observed = tuple[float, str, int, int, str]
"""Second, finding id, how many, of how many, text."""


def made(
    path: Path,
    choose: Choose | Way = HEALTHY,
    *,
    users: int = 20,
    seconds: int = 20,
    ramp_s: float = 4.0,
    name: str = "dialogue",
    asked_for: str = "/v1/dialogues/ws/7?token=***",
    observed: Iterable[Observed] = (),
    cut: bool = False,
    seed: int = 7,
    workers: Sequence[str] = ("0",),
    offered: Offered | None = None,
    **fields: Any,
) -> Path:
    """A run directory in which each attempt goes as ``choose`` says."""
    pick: Choose = (lambda _user, _attempt, _second: choose) if isinstance(choose, Way) else choose
    if len(workers) > 1:
        told = [attended(worker, index) for index, worker in enumerate(workers)]
        fields = {"workers": told, "expected_workers": len(workers), **fields}
    told_at_start = header(users, **fields)
    if cut:
        # who reported is written down at the end
        del told_at_start["workers"]
    stage = Stage(path, seed, seconds, told_at_start, workers)
    if offered is not None:
        stage.offer(offered)
    for user in range(users):
        stage.user(user, name, asked_for, 0.1 + ramp_s * user / users, pick)
    for second, id_, wrong, of, text in observed:
        stage.at(second, lambda seen=(id_, name, wrong, of, text): stage.recorder.observe(*seen))  # type: ignore[misc]
    stage.play()
    if cut:
        stage.writer._close_files()
    else:
        stage.end()
    return path


def books_of(path: Path) -> Books:
    """The books of a run directory."""
    return RunReader(path).books()


def tokens_end(_user: int, attempt: int, second: float) -> Way:
    """Sockets live until second 8; the reconnects after it are refused."""
    if second < 8 and attempt == 0:
        return closed(1008, age_s=8 - second, server_error="Token expired", reconnect=True)
    return closed(1008, age_s=0.01, usable=False, replies=False, server_error="Token expired", reconnect=True)


def restarts(_user: int, _attempt: int, second: float) -> Way:
    """The server goes away at second 8, and is back two seconds later."""
    if second < 8:
        return closed(1012, age_s=8 - second, reconnect=True, retry_s=0.5)
    return replace(REFUSED, reconnect=True, retry_s=0.5) if second < 10 else HEALTHY


DENIED: Final = closed(
    1008, age_s=0.01, usable=False, replies=False, server_error="Session access denied", state="connecting"
)
SILENT: Final = closed(1008, age_s=0.02, usable=False, replies=False, state="connecting")
STORM: Final = rejection(404, '{"detail":"Not Found"}', reconnect=True, retry_s=0.1)
NO_HISTORY: Final = (
    (12.0, "history-lost", 2, 40, "user 3: 2 of 40 acknowledged messages are missing"),
    (13.0, "history-lost", 0, 40, ""),
)
KEPT_HISTORY: Final = ((12.0, "history-lost", 0, 40, ""),)


def mixed(user: int, _attempt: int, _second: float) -> Way:
    """Three quarters of the users are well; some are refused, reset, closed 1011 or rejected 503."""
    ill: dict[int, Way] = {
        0: replace(REFUSED, reconnect=True, retry_s=2),
        4: broken("reset", state="listening", idle_s=1.5, age_s=3, uneven=True, reconnect=True),
        8: closed(1011, age_s=5, reconnect=True, reason="internal error"),
        12: rejection(503, "busy", reconnect=True, retry_s=2),
    }
    return ill.get(user % 16, replace(HEALTHY, every_s=0.5))


SCENES: Final[dict[str, dict[str, Any]]] = {
    "healthy": {"observed": KEPT_HISTORY},
    "datetime-crash": {"choose": SILENT},
    "session-denied": {"choose": DENIED},
    "lost-history": {"observed": NO_HISTORY},
    "route-not-found": {"choose": STORM, "asked_for": "/ws/42?include_history=true", "name": "roadmap"},
    "refused": {"choose": replace(REFUSED, reconnect=True)},
    "mixed": {"choose": mixed, "users": 32, "seconds": 30},
    "cut": {"cut": True},
    "distributed": {
        "workers": ("worker-0", "worker-1"),
        "offered": Offered(),
        "started_at": STARTED_AT + 0.25,
        "marks": [
            {"at_s": 0.05, "text": "step 1 of 2: 10 users"},
            {"at_s": 5.0, "text": "step 2 of 2: 20 users"},
        ],
        "options": {
            "shape": "step:start=10,step=10,every=5s,steps=2",
            "arrival_rate": 10.0,
            "arrival_patience": 3.0,
        },
    },
}
"""The scenes that several tests share, as arguments of ``made``."""
