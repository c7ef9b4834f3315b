"""Keeper: keeps one run's books, from whoever makes its load, and judges it at its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final

import gevent
from locust.env import Environment

from wsoak.judge.abort import AbortWatch, Stopped
from wsoak.judge.findings import Finding, find
from wsoak.judge.latency_limit import latency_limit
from wsoak.ledger.delta import Delta
from wsoak.ledger.recorder import Recorder
from wsoak.ledger.rundir import UnwritableRun
from wsoak.ledger.units import ns_to_s
from wsoak.load.background import guarded
from wsoak.load.collector import Collector, Judgement, new_run
from wsoak.load.gauges import Gauges, Readings
from wsoak.load.header import run_header
from wsoak.load.live import Window, line
from wsoak.load.options import NO_CHECKS, Options, read_gates
from wsoak.load.relay import DRAIN, Roll
from wsoak.load.shape_follower import tell_shape
from wsoak.load.stopping import stop_run
from wsoak.load.user import WebSocketUser

log = logging.getLogger(__name__)

TURN_S: Final = 1.0
LIVE_EVERY: Final = 2
"""A live line every so many turns."""
LOOK_EVERY: Final = 2
FIND_EVERY_S: Final = 4.0
FIND_SHARE: Final = 50
"""A look for findings is followed by so many times its own time without one."""
"""A look at the gates that may stop the run, every so many turns."""
DRAIN_PATIENCE_S: Final = 60.0
"""How long living workers may take to stop and report, beyond the time-outs of their users and closes."""
DRAIN_EVERY_S: Final = 1.0
"""A worker that is just being connected again does not get what is sent to it."""
HEARD_WITHIN_S: Final = 2.5
"""A worker that reports every second and was not heard for so long is not counted on."""

MASTER: Final = "master"


class Keeper:
    """The books of a run.

    Args:
        host: the host under load, as Locust was given it.
        workers: how many workers there should be; 0 for a single process.
        alive: the workers from which a last report can come, by the names under which they report.
        send_all: sends a message of a kind to every worker.
        watched: process ids and metrics URLs of the server's; in a single process the producer reads them.
        show: prints a live line, and says whether anybody can read it; ``None`` for none (the web UI shows
            the run).

    Raises:
        ledger.rundir.UnwritableRun, psutil.Error: when it cannot begin.
    """

    def __init__(
        self,
        environment: Environment,
        options: Options,
        host: str,
        *,
        workers: int = 0,
        alive: Callable[[], list[str]] = list,
        send_all: Callable[[str, dict[str, Any]], None] | None = None,
        watched: list[str] | None = None,
        show: Callable[[str], bool] | None = None,
        tell: Callable[[list[Finding]], None] | None = None,
    ) -> None:
        started_at = round(time.time(), 3)
        scenarios = [user_class.__name__ for user_class in environment.user_classes]
        self.run_id, path = new_run(
            options.run_dir, scenarios, started_at, numbered=environment.web_ui is not None
        )
        self._environment = environment
        self._alive = alive
        self._send_all = send_all
        self._show = show
        self._tell = tell
        self._found_s = 0.0
        self._loading = options.checks == NO_CHECKS
        self._close_timeout_s = options.close_timeout
        self._window = Window()
        self._started_ns = time.perf_counter_ns()
        self._roll = Roll(self.run_id)
        gates = read_gates(options.gates)
        limit = latency_limit(options.latency_limit, gates)
        opens_sockets = any(issubclass(each, WebSocketUser) for each in environment.user_classes)
        header = run_header(self.run_id, started_at, scenarios, host, options.plain(), limit)
        self._gates = gates
        self._started_at = started_at
        self._abort = AbortWatch(gates, started_at)
        self.stopped_by: Stopped | None = None
        asked = getattr(environment.parsed_options, "expect_workers", None) if workers else 0
        expected = {"expected_workers": workers, "asked_workers": asked or 0, "opens_sockets": opens_sockets}
        self._collector = Collector(path, header | expected, gates, options.gates)
        self.broken: UnwritableRun | None = None
        # a keeper of workers looks at itself too: a master that is busy is late to take reports
        self._own = Recorder(MASTER) if workers else None
        guard = partial(guarded, environment)
        self._gauges = None if self._own is None else Gauges(self._own, self._asked_for, watched or [], guard)
        self._loop = gevent.spawn(guard("the keeper", self._turn_for_ever))

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return ns_to_s(time.perf_counter_ns() - self._started_ns)

    def take(self, message: dict[str, Any]) -> dict[str, Any]:
        """Take a report in, once; the acknowledgement to send back.

        Raises:
            ValueError: when it cannot be read; it is not taken then.
        """
        carried = message["delta"]
        # read before it is noted: what cannot be read has not come
        delta = carried if isinstance(carried, Delta) else Delta.from_plain(carried)
        if self._roll.take(message, self.elapsed_s, time.time()):
            self._add(delta)
        return {"run": message["run"], "seq": self._roll.acknowledged(message)}

    def checked(self, checks: dict[str, Any], found: Iterable[Delta]) -> None:
        """The checks before the load are done.

        Args:
            checks: as ``checks.steps.Outcome.to_json`` gives them.
            found: what of it belongs in the books.
        """
        for delta in found:
            self._add(delta)
        self._note(checks=checks)

    def load_begins(self) -> None:
        """The run begins now, and not when its record did: what came before was no load."""
        started_at = round(time.time(), 3)
        self._started_ns = time.perf_counter_ns()
        self._started_at = started_at
        self._abort = AbortWatch(self._gates, started_at)
        self._loading = True
        self._note(started_at=started_at)

    def hears(self, worker: str) -> bool:
        """Whether a worker has reported just now."""
        return self._roll.heard_since(worker, self.elapsed_s - HEARD_WITHIN_S)

    def stopping(self) -> None:
        """The run is asked to end."""
        if self._gauges is not None:
            self._gauges.stop()
        self._roll.stopping(self.elapsed_s)

    def drain(self, stop_timeout_s: float) -> None:
        """Have all workers stop and report to the end, and wait for those that live, bounded."""
        if self._send_all is None:
            return
        self.stopping()
        asked_s = float("-inf")
        with gevent.Timeout(DRAIN_PATIENCE_S + stop_timeout_s + self._close_timeout_s, False):
            while True:
                if self.elapsed_s - asked_s >= DRAIN_EVERY_S:
                    asked_s = self.elapsed_s
                    self._send_all(DRAIN, {"run": self.run_id})
                if not self._roll.awaited(self._alive()):
                    return
                gevent.sleep(0.05)

    def finish(self, ended_by: str) -> Judgement:
        """End the run, and judge it; the producers have sent their last reports.

        Raises:
            ledger.rundir.UnwritableRun: when the directory could not be written.
        """
        self._loop.kill()
        if self._gauges is not None:
            self._gauges.stop()
        self._keep_own()
        if not self._loading:
            # a signal can come while the checks go on: that no connection was tried is nobody's fault then
            self._note(load_began=False)
        if self.broken is not None:
            raise self.broken
        return self._collector.finish(
            ended_by,
            workers=self._roll.to_json(self.elapsed_s),
            stopped_by=None if self.stopped_by is None else self.stopped_by.to_json(),
        )

    def abandon(self) -> None:
        """The run cannot begin after all: nothing of it stays."""
        self._loop.kill()
        if self._gauges is not None:
            self._gauges.stop()
        self._collector.discard()

    def mark(self, text: str) -> None:
        """Write down that the shape has come to a step of its."""
        try:
            self._collector.mark(self.elapsed_s, text)
        except UnwritableRun as error:
            self._break(error)

    def searched(self, told: dict[str, Any]) -> None:
        """Write down what the shape's search has found so far."""
        self._note(search=told)

    def _add(self, delta: Delta) -> None:
        self._window.add(delta)
        self._abort.add(delta)
        tell_shape(self._environment, delta)
        try:
            self._collector.add(delta)
        except UnwritableRun as error:
            self._break(error)

    def _note(self, **fields: Any) -> None:
        try:
            self._collector.note(**fields)
        except UnwritableRun as error:
            self._break(error)

    def _break(self, error: UnwritableRun) -> None:
        if self.broken is None:
            log.error("%s The run is stopped: what is not written cannot be judged.", error)
            self.broken = error
            stop_run(self._environment)

    def _keep_own(self) -> None:
        if self._own is not None:
            self._add(self._own.take())

    def _asked_for(self) -> Readings:
        runner = self._environment.runner
        return {"users_target": float(runner.target_user_count if runner else 0)}

    def _look_at_gates(self) -> None:
        if self.stopped_by is None:
            self.stopped_by = self._abort.look(self._collector.books, self.elapsed_s)
            if self.stopped_by is not None:
                log.error("%s The run is stopped.", self.stopped_by.sentence)
                stop_run(self._environment)

    def _look_for_findings(self, tell: Callable[[list[Finding]], None]) -> None:
        """Say what there is to find so far; of the keeper's time a small part at the most."""
        begun_s = self.elapsed_s
        if begun_s < self._found_s:
            return
        tell(find(self._collector.books, self._started_at))
        self._found_s = self.elapsed_s + max(FIND_EVERY_S, FIND_SHARE * (self.elapsed_s - begun_s))

    def _turn_for_ever(self) -> None:
        turns = 0
        while True:
            gevent.sleep(TURN_S)
            self._keep_own()
            turns += 1
            if turns % LOOK_EVERY == 0:
                self._look_at_gates()
            if self._loading and self._tell is not None:
                self._look_for_findings(self._tell)
            if self._loading and self._show is not None and turns % LIVE_EVERY == 0:
                runner = self._environment.runner
                users = runner.user_count if runner else 0
                if not self._show(line(self.elapsed_s, users, self._collector.books, self._window)):
                    # whoever read our output is gone: the run goes on
                    log.warning("Live lines can no longer be shown: nobody reads them.")
                    self._show = None
