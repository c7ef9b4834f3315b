"""Run: one test from Locust's start to its stop: generator and collector, joined once a second."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

import gevent
from locust.env import Environment

from wsoak.ledger.rundir import UnwritableRun
from wsoak.ledger.units import ns_to_s
from wsoak.load.collector import Collector, Judgement, new_run
from wsoak.load.generator import Generator, stop_run
from wsoak.load.header import run_header
from wsoak.load.live import Window, line
from wsoak.load.options import Options
from wsoak.load.stats_feed import feed

log = logging.getLogger(__name__)

FLUSH_INTERVAL_S: Final = 1.0
LIVE_EVERY: Final = 2
"""A live line every so many flushes."""


class Run:
    """A run in a single process.

    Args:
        host: the host under load, as Locust was given it.
        embedded: whether that is our own embedded target.
        watched: process ids and metrics URLs of the server's.
        show: prints a live line; ``None`` for none (the web UI shows the run).

    Raises:
        ledger.rundir.UnwritableRun, accounts.BadAccounts, options.BadOptions: when it cannot begin.
    """

    def __init__(
        self,
        environment: Environment,
        options: Options,
        host: str,
        *,
        embedded: bool = False,
        watched: list[str] | None = None,
        show: Callable[[str], None] | None = None,
    ) -> None:
        started_at = round(time.time(), 3)
        scenarios = [user_class.__name__ for user_class in environment.user_classes]
        self.run_id, path = new_run(
            options.run_dir, scenarios, started_at, numbered=environment.web_ui is not None
        )
        self._environment = environment
        self._show = show
        self._window = Window()
        self._started_ns = time.perf_counter_ns()
        self.generator = Generator(environment, options, self.run_id, embedded=embedded, watched=watched)
        try:
            self._collector = Collector(
                path, run_header(self.run_id, started_at, scenarios, host, options.plain())
            )
        except UnwritableRun:
            self.generator.stop()
            raise
        self.broken: UnwritableRun | None = None
        self._loop = gevent.spawn(self._flush_for_ever)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return ns_to_s(time.perf_counter_ns() - self._started_ns)

    def flush(self) -> None:
        """Move what the generator recorded into the books, the run directory and Locust's statistics."""
        delta = self.generator.take()
        feed(self._environment.stats, delta)
        self._window.add(delta)
        try:
            self._collector.add(delta)
        except UnwritableRun as error:
            if self.broken is None:
                log.error("%s The run is stopped: what is not written cannot be judged.", error)
                self.broken = error
                stop_run(self._environment)

    def finish(self, ended_by: str) -> Judgement:
        """Close all sockets, write the last delta, and judge.

        Raises:
            ledger.rundir.UnwritableRun: when the directory could not be written.
        """
        self.generator.stop()
        self._loop.kill()
        self.flush()
        if self.broken is not None:
            raise self.broken
        return self._collector.finish(ended_by)

    def _flush_for_ever(self) -> None:
        flushes = 0
        while True:
            gevent.sleep(FLUSH_INTERVAL_S)
            self.flush()
            flushes += 1
            if self._show is not None and flushes % LIVE_EVERY == 0:
                runner = self._environment.runner
                users = runner.user_count if runner else 0
                try:
                    self._show(line(self.elapsed_s, users, self._collector.books, self._window))
                except OSError as error:
                    # whoever read our output is gone: the run goes on
                    log.warning("Live lines can no longer be shown: %s.", error.strerror)
                    self._show = None
