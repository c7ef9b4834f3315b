"""Producer: makes the load in one process, and reports what it recorded once a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import gevent
from locust.env import Environment

from wsoak.ledger.delta import Delta
from wsoak.load.generator import Generator
from wsoak.load.options import Options
from wsoak.load.relay import REPORT, Outbox
from wsoak.load.stats_feed import feed
from wsoak.load.ticket import Ticket

FLUSH_INTERVAL_S: Final = 1.0

Send = Callable[[str, dict[str, Any]], None]
"""Sends a message of a kind to the keeper."""


class Producer:
    """A generator, and the outbox of its reports.

    Args:
        ticket: the run that this is a part of.
        send: carries messages to the keeper.
        packed: whether they leave this process, so that a delta must be made of plain values.

    Raises:
        accounts.BadAccounts, OSError, ssl.SSLError, psutil.Error: when it cannot begin.
    """

    def __init__(
        self,
        environment: Environment,
        options: Options,
        ticket: Ticket,
        send: Send,
        *,
        worker: str = "local",
        index: int = 0,
        packed: bool = False,
        watched: list[str] | None = None,
    ) -> None:
        self._environment = environment
        self._send = send
        self._packed = packed
        self.ticket = ticket
        self.generator = Generator(
            environment,
            options,
            ticket.run_id,
            embedded=ticket.embedded,
            watched=watched,
            worker=worker,
            worker_index=index,
            workers=ticket.workers,
        )
        self._outbox = Outbox(ticket.run_id, worker, index)
        self._loop = gevent.spawn(self._flush_for_ever)

    def flush(self) -> None:
        """Report what was recorded since the last time, and put it into Locust's statistics."""
        self._report(self.generator.take(), final=False)

    def acknowledge(self, message: dict[str, Any]) -> None:
        """The keeper has reports of ours."""
        if message["run"] == self.ticket.run_id:
            self._outbox.acknowledge(message["seq"])

    def finish(self) -> None:
        """Close all sockets, and send the last report."""
        self.generator.stop()
        self._loop.kill()
        self._report(self.generator.take(), final=True)

    def resend(self) -> None:
        """Send again what the keeper has not acknowledged in time."""
        for message in self._outbox.due(time.monotonic()):
            self._send(REPORT, message)

    def _report(self, delta: Delta, final: bool) -> None:
        if not self.generator.options.request_events:
            feed(self._environment.stats, delta)
        carried = delta.to_plain() if self._packed else delta
        self._send(REPORT, self._outbox.report(carried, final, time.time(), time.monotonic()))

    def _flush_for_ever(self) -> None:
        while True:
            gevent.sleep(FLUSH_INTERVAL_S)
            self.flush()
            self.resend()
