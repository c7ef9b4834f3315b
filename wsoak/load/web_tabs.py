"""Web tabs: what a run says of itself, in the Logs and Failures tabs of Locust's web UI.

    a check that failed      Logs, Failures (method CHECK)
    a finding                Logs when it arises, Failures (method FINDING) with its count so far
    summary, verdict         Logs, when the run is over

The lines go to Locust's log reader alone, and not to the terminal, which has them on stdout. The page asks
for its tabs while it holds the run for running, every five seconds: so it is told that for a moment longer.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable
from typing import Final

from flask import Response, request
from locust.env import Environment
from locust.runners import STATE_RUNNING, STATE_STOPPED
from locust.stats import StatsError

from wsoak.judge.findings import Finding
from wsoak.judge.summary import described
from wsoak.judge.terminal import safe
from wsoak.judge.verdict_text import table
from wsoak.load.checks.steps import Step
from wsoak.load.collector import Judgement

HELD_S: Final = 6.0
"""So long a run that is over is called running: once more than the page's own five seconds for its logs."""
TEXT_LIMIT: Final = 600
CHECK: Final = "CHECK"
FINDING: Final = "FINDING"

_READER: Final = "log_reader"
_LEVELS: Final = {"critical": logging.CRITICAL, "error": logging.ERROR}
_STATS: Final = "locust.request_stats"


class WebTabs:
    """The tabs of one web UI, run after run."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._entries: dict[str, StatsError] = {}
        self._said: set[tuple[str, str]] = set()
        self._over_at_s = float("-inf")
        web_ui = environment.web_ui
        assert web_ui is not None
        assert web_ui.app is not None
        web_ui.app.after_request(self._hold)

    def begin(self) -> None:
        """A new run: of the last one nothing is left."""
        self.take_back()
        self._said.clear()
        self._over_at_s = float("-inf")

    def checks_failed(self, steps: Iterable[Step]) -> None:
        """The checks before the load failed, and there will be none."""
        # of a run without a load, Locust would go on to show the last one's
        self._environment.stats.clear_all()
        for step in steps:
            text = safe(f"{step.name}: {step.text}", TEXT_LIMIT)
            self._enter(CHECK, step.scenario, text, 1)
            self._log(logging.ERROR, f"Check failed for {step.scenario}: {text}")

    def found(self, findings: Iterable[Finding]) -> None:
        """What the run's books show so far; what they show no more is taken back."""
        self.take_back(FINDING)
        for finding in findings:
            text = safe(f"{finding.id}: {finding.evidence[0]}", TEXT_LIMIT)
            self._enter(FINDING, finding.system, text, finding.count)
            key = (finding.id, finding.system)
            if key not in self._said:
                self._said.add(key)
                self._log(_LEVELS.get(finding.severity, logging.WARNING), described(finding))

    def judged(self, judgement: Judgement) -> None:
        """The run is over: its findings at last, and its summary."""
        if judgement.findings or self._said:
            self.found(judgement.findings)
        lines = list(judgement.sentences)
        if judgement.verdict is not None:
            lines += table(judgement.verdict).splitlines()
        lines.append(f"The run is in {judgement.path}.")
        for line in lines:
            self._log(logging.INFO, line)
        self._over_at_s = time.monotonic()

    def take_back(self, *methods: str) -> None:
        """Remove ours from Locust's failures, which decide its exit code: all, or those of these methods."""
        errors = self._environment.stats.errors
        ours = [key for key, entry in self._entries.items() if not methods or entry.method in methods]
        for key in ours:
            errors.pop(key, None)
            del self._entries[key]

    def _enter(self, method: str, name: str, text: str, count: int) -> None:
        now = time.time()
        entry = StatsError(method, name, text, occurrences=count, first_seen=now, last_seen=now)
        key = StatsError.create_key(method, name, text)
        self._entries[key] = self._environment.stats.errors[key] = entry

    def _log(self, level: int, text: str) -> None:
        record = logging.LogRecord("wsoak", level, __file__, 0, safe(text, 4 * TEXT_LIMIT), None, None)
        for handler in logging.getLogger().handlers:
            if handler.get_name() == _READER:
                handler.handle(record)

    def _hold(self, response: Response) -> Response:
        """Have the page ask for its tabs once more after the end of a run."""
        if request.endpoint != _STATS or time.monotonic() - self._over_at_s > HELD_S:
            return response
        told = json.loads(response.get_data())
        if told.get("state") != STATE_STOPPED:
            return response
        # a new response: Locust keeps its own for a while
        return Response(json.dumps({**told, "state": STATE_RUNNING}), mimetype="application/json")
