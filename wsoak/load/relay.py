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

RESEND_AFTER_S: Final = 5.0
UNACKNOWLEDGED_MAX: Final = 300
"""Reports that a worker keeps for a master that does not answer; beyond them the oldest are lost."""
SILENCE_S: Final = 5.0
"""A worker that reports every second and says nothing for so long was frozen, or cut off."""
LATE_S: Final = 5.0
"""A worker whose first report comes so long after the start has joined late."""


@dataclass(slots=True)
class _Waiting:
    message: dict[str, Any]
    sent_s: float


class Outbox:
    """A worker's reports that the master has not acknowledged.

    Attributes:
        lost: reports given up because the master did not answer for too long.
    """

    def __init__(self, run_id: str, worker: str, index: int) -> None:
        self._head = {"run": run_id, "worker": worker, "index": index}
        self._waiting: dict[int, _Waiting] = {}
        self._next = 0
        self.lost = 0

    def report(self, delta: Any, final: bool, unix_s: float, now_s: float) -> dict[str, Any]:
        """The next report's message.

        Args:
            delta: as plain values, or as it is within one process.
            final: whether it is the run's last.
            unix_s: this worker's wall clock.
            now_s: any monotonic clock, in seconds.
        """
        message = {**self._head, "seq": self._next, "final": final, "at": unix_s, "delta": delta}
        self._waiting[self._next] = _Waiting(message, now_s)
        self._next += 1
        while len(self._waiting) > UNACKNOWLEDGED_MAX:
            del self._waiting[min(self._waiting)]
            self.lost += 1
        return message

    def acknowledge(self, seq: int) -> None:
        """The master has every report up to ``seq``."""
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
    """What the master knows of one worker. Times are seconds since the start of the run, on its own clock.

    ``complete_to`` is the number of the last report up to which none is missing, -1 before the first.
    """

    worker: str
    index: int
    joined_s: float
    last_s: float
    complete_to: int = -1
    beyond: set[int] = field(default_factory=set)
    final_seq: int | None = None
    silences: list[tuple[float, float]] = field(default_factory=list)
    clock_ahead_s: float = 0.0
    gone: bool = False

    @property
    def final(self) -> bool:
        """Whether everything that it had to say is here."""
        return self.final_seq is not None and self.complete_to >= self.final_seq

    @property
    def missing_reports(self) -> int:
        """How many reports are known to exist and have not come."""
        highest = max(self.beyond, default=self.complete_to)
        if self.final_seq is not None:
            highest = max(highest, self.final_seq)
        return highest - self.complete_to - len(self.beyond)


class Roll:
    """Who reported what: tells new reports from repeated ones, and who is missing at the end.

    Args:
        run_id: reports of another run (the last one's stragglers) are not taken.
        expected: how many workers the user said there would be.
    """

    def __init__(self, run_id: str, expected: int) -> None:
        self._run_id = run_id
        self._expected = expected
        self._workers: dict[str, Attendance] = {}

    def take(self, message: dict[str, Any], elapsed_s: float, unix_s: float) -> bool:
        """Note a report; whether its delta is to be added to the books.

        Args:
            elapsed_s: seconds since the start of the run.
            unix_s: the master's wall clock.
        """
        if message["run"] != self._run_id:
            return False
        worker, seq = message["worker"], message["seq"]
        known = self._workers.get(worker)
        if known is None:
            known = Attendance(worker, message["index"], elapsed_s, elapsed_s)
            self._workers[worker] = known
        if seq <= known.complete_to or seq in known.beyond:
            return False
        if elapsed_s - known.last_s > SILENCE_S:
            known.silences.append((known.last_s, elapsed_s))
        known.last_s = elapsed_s
        known.clock_ahead_s = message["at"] - unix_s
        known.beyond.add(seq)
        while known.complete_to + 1 in known.beyond:
            known.complete_to += 1
            known.beyond.discard(known.complete_to)
        if message["final"]:
            known.final_seq = seq
        return True

    def acknowledged(self, worker: str) -> int:
        """The number to acknowledge to this worker; -1 for nothing yet."""
        known = self._workers.get(worker)
        return -1 if known is None else known.complete_to

    def lose(self, worker: str) -> None:
        """Locust says that this worker is gone."""
        if worker in self._workers:
            self._workers[worker].gone = True

    def awaited(self, alive: Iterable[str]) -> list[str]:
        """Of the workers that live, those whose last report is not here yet."""
        return sorted(worker for worker in alive if not self._is_final(worker))

    def _is_final(self, worker: str) -> bool:
        known = self._workers.get(worker)
        return known is not None and known.final

    def to_json(self, ended_s: float) -> list[dict[str, Any]]:
        """The workers as ``run.json`` keeps them; ``ended_s``: seconds from the start to the end of the run.

        ``missing_s`` are the spans, in seconds from the start, for which a worker's figures are missing or
        doubtful: silences, and for one that was lost the time from its last report to the end.
        """
        entries = []
        for known in sorted(self._workers.values(), key=lambda each: each.index):
            missing = [*known.silences]
            if not known.final:
                missing.append((known.last_s, ended_s))
            entries.append(
                {
                    "worker": known.worker,
                    "index": known.index,
                    "joined_s": round(known.joined_s, 3),
                    "late": known.joined_s > LATE_S,
                    "reports": known.complete_to + 1 + len(known.beyond),
                    "missing_reports": known.missing_reports,
                    "final": known.final,
                    "missing_s": [[round(begin, 3), round(end, 3)] for begin, end in missing],
                    "clock_ahead_s": round(known.clock_ahead_s, 3),
                }
            )
        return entries

    @property
    def expected(self) -> int:
        """How many workers there should be."""
        return self._expected
