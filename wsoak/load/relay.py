"""Relay: deltas from those who make the load to the one who keeps the books, each exactly once.

    worker                                        master
    Outbox ── report 0, 1, 2, … ──────────────►   Roll: numbers seen, by worker
           ◄──────────────────────── ack n ──     (what was seen before is dropped)
           ◄───────────────────────── drain ──    at the end of the run
           ── report n, final ────────────────►   all there, or who is missing, and for how long

Reports are numbered by worker. What is not acknowledged is sent again, and what comes twice is taken once.
Both halves are pure: they say what to send, and when; Locust's runners carry it. A single process has both,
and its runner hands messages to itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

REPORT: Final = "wsoak_report"
ACK: Final = "wsoak_ack"
DRAIN: Final = "wsoak_drain"
DROP: Final = "wsoak_drop"
GIVE_UP: Final = "wsoak_give_up"
LEAVE: Final = "wsoak_leave"
HELLO: Final = "wsoak_hello"
TURN_AWAY: Final = "wsoak_turn_away"

RESEND_AFTER_S: Final = 5.0
UNACKNOWLEDGED_MAX: Final = 300
"""Reports that a worker keeps for a master that does not answer; beyond them the oldest are lost."""
SILENCE_S: Final = 5.0
"""A worker that reports every second and made no report for so long was frozen."""
LATE_S: Final = 5.0
"""A worker that begins so long after the start has joined late."""
EARLY_S: Final = 3.0
"""A worker that ends so long before the run's end was asked for has left it; a Ctrl-C reaches all at once."""


@dataclass(slots=True)
class _Waiting:
    message: dict[str, Any]
    sent_s: float


class Outbox:
    """A worker's reports that the master has not acknowledged.

    Args:
        now_s: the start, on any monotonic clock, in seconds; the other times are on the same.

    Attributes:
        lost: reports given up because the master did not answer for too long.
    """

    def __init__(self, run_id: str, worker: str, index: int, now_s: float) -> None:
        self._head = {"run": run_id, "worker": worker, "index": index}
        self._started_s = now_s
        self._waiting: dict[int, _Waiting] = {}
        self._next = 0
        self.lost = 0

    def report(self, delta: Any, final: bool, unix_s: float, now_s: float) -> dict[str, Any]:
        """The next report's message.

        It says by ``up_s`` how long after this worker's start it was made, and by ``first`` that what is
        numbered below will not be sent (again).

        Args:
            delta: as plain values, or as it is within one process.
            final: whether it is the run's last.
            unix_s: this worker's wall clock.
        """
        while len(self._waiting) >= UNACKNOWLEDGED_MAX:
            del self._waiting[min(self._waiting)]
            self.lost += 1
        seq, self._next = self._next, self._next + 1
        message = {
            **self._head,
            "seq": seq,
            "first": min(self._waiting, default=seq),
            "final": final,
            "at": unix_s,
            "up_s": now_s - self._started_s,
            "delta": delta,
        }
        self._waiting[seq] = _Waiting(message, now_s)
        return message

    def acknowledge(self, seq: int) -> None:
        """The master has every report up to ``seq``, or knows that it will not come."""
        for number in [number for number in self._waiting if number <= seq]:
            del self._waiting[number]

    def due(self, now_s: float) -> list[dict[str, Any]]:
        """Reports to send again, oldest first; their time runs anew."""
        late = [each for _, each in sorted(self._waiting.items()) if now_s - each.sent_s >= RESEND_AFTER_S]
        for each in late:
            each.sent_s = now_s
        return [each.message for each in late]

    @property
    def empty(self) -> bool:
        """Whether the master has everything."""
        return not self._waiting


@dataclass(slots=True)
class Attendance:
    """What the master knows of one worker.

    Attributes:
        started_s: when it began, in seconds from the start of the run.
        heard_s: when its last new report came, in seconds from the start of the run.
        complete_to: the number up to which each report came or was given up; -1 before the first.
        up_s: when that report was made, in seconds from this worker's own start.
        beyond: the reports that came after a gap, and when they were made.
        given_up: numbers that the worker no longer has, and that have not come.
        silences: from when to when it made no report, in seconds from its own start.
        clock_ahead_s: its wall clock against the master's, by the report that came fastest.
    """

    worker: str
    index: int
    started_s: float
    heard_s: float
    clock_ahead_s: float
    complete_to: int = -1
    up_s: float = 0.0
    beyond: dict[int, float] = field(default_factory=dict)
    given_up: set[int] = field(default_factory=set)
    silences: list[tuple[float, float]] = field(default_factory=list)
    final_seq: int | None = None
    final_up_s: float = 0.0

    def is_new(self, seq: int) -> bool:
        """Whether this report has not come before."""
        return seq in self.given_up if seq <= self.complete_to else seq not in self.beyond

    def take(self, seq: int, first: int, up_s: float) -> None:
        """Note a new report; those below ``first`` that have not come will not be sent again."""
        if seq in self.given_up:
            # it was on its way all the time
            self.given_up.discard(seq)
            return
        self.beyond[seq] = up_s
        while self.complete_to + 1 in self.beyond or self.complete_to + 1 < first:
            self.complete_to += 1
            made_s = self.beyond.pop(self.complete_to, None)
            if made_s is None:
                self.given_up.add(self.complete_to)
                continue
            if made_s - self.up_s > SILENCE_S:
                self.silences.append((self.up_s, made_s))
            self.up_s = made_s

    @property
    def final(self) -> bool:
        """Whether its last report is here, and no other can still come."""
        return self.final_seq is not None and self.complete_to >= self.final_seq

    @property
    def taken(self) -> int:
        """How many reports have come."""
        return self.complete_to + 1 - len(self.given_up) + len(self.beyond)

    @property
    def missing_reports(self) -> int:
        """How many reports are known to exist, and have not come."""
        return max(self.beyond, default=self.complete_to) + 1 - self.taken


class Roll:
    """Who reported what: tells new reports from repeated ones, and who is missing at the end.

    Args:
        run_id: reports of another run (the last one's stragglers) are not taken.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._workers: dict[str, Attendance] = {}
        self._stopping_s: float | None = None

    def take(self, message: dict[str, Any], elapsed_s: float, unix_s: float) -> bool:
        """Note a report; whether its delta is to be added to the books.

        Args:
            elapsed_s: seconds since the start of the run.
            unix_s: the master's wall clock.
        """
        if message["run"] != self._run_id:
            return False
        started_s, ahead_s = elapsed_s - message["up_s"], message["at"] - unix_s
        known = self._workers.get(message["worker"])
        if known is None:
            known = Attendance(message["worker"], message["index"], started_s, elapsed_s, ahead_s)
            self._workers[known.worker] = known
        if not known.is_new(message["seq"]):
            return False
        known.heard_s = elapsed_s
        if started_s < known.started_s:
            # less of it is the report's way
            known.started_s, known.clock_ahead_s = started_s, ahead_s
        known.take(message["seq"], message["first"], message["up_s"])
        if message["final"]:
            known.final_seq, known.final_up_s = message["seq"], message["up_s"]
        return True

    def acknowledged(self, message: dict[str, Any]) -> int:
        """The number to acknowledge to the worker that sent this; -1 for nothing yet."""
        if message["run"] != self._run_id:
            # nobody wants it any more: it need not be sent again
            return int(message["seq"])
        known = self._workers.get(message["worker"])
        return -1 if known is None else known.complete_to

    def stopping(self, elapsed_s: float) -> None:
        """The run is asked to end: who ended before has left it."""
        if self._stopping_s is None:
            self._stopping_s = elapsed_s

    def heard_since(self, worker: str, elapsed_s: float) -> bool:
        """Whether a worker has reported since then."""
        known = self._workers.get(worker)
        return known is not None and known.heard_s >= elapsed_s

    def awaited(self, alive: Iterable[str]) -> list[str]:
        """Of the workers that live, those whose last report is not here yet."""
        return sorted(worker for worker in alive if not self._is_final(worker))

    def _is_final(self, worker: str) -> bool:
        known = self._workers.get(worker)
        return known is not None and known.final

    def to_json(self, ended_s: float) -> list[dict[str, Any]]:
        """The workers as ``run.json`` keeps them; ``ended_s``: seconds from the start to the end of the run.

        ``missing_s`` are the spans, in seconds from the start, for which a worker's figures are missing:
        those without a report, and for one that was lost the time from its last report to the end. ``left_s``
        is when a worker ended that nobody had asked to.
        """
        return [
            self._entry(known, ended_s)
            for known in sorted(self._workers.values(), key=lambda each: (each.index, each.worker))
        ]

    def _entry(self, known: Attendance, ended_s: float) -> dict[str, Any]:
        def in_run(up_s: float) -> float:
            return round(max(0.0, known.started_s + up_s), 3)

        missing = [[in_run(begin), in_run(end)] for begin, end in known.silences]
        if not known.final:
            missing.append([in_run(max(known.beyond.values(), default=known.up_s)), round(ended_s, 3)])
        stopping_s = ended_s if self._stopping_s is None else self._stopping_s
        left_s = in_run(known.final_up_s)
        return {
            "worker": known.worker,
            "index": known.index,
            "joined_s": in_run(0.0),
            "late": known.started_s > LATE_S,
            "reports": known.taken,
            "missing_reports": known.missing_reports,
            "final": known.final,
            "left_s": left_s if known.final and left_s < stopping_s - EARLY_S else None,
            "missing_s": missing,
            "clock_ahead_s": round(known.clock_ahead_s, 3),
        }
