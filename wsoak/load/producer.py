"""Producer: makes the load in one process, and reports what it recorded once a second."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

import gevent
from locust.env import Environment
from locust.exception import RPCError

from wsoak.ledger.delta import Delta
from wsoak.load.background import guarded
from wsoak.load.garbage import settle
from wsoak.load.generator import Generator
from wsoak.load.options import Options
from wsoak.load.relay import REPORT, Outbox
from wsoak.load.stats_feed import feed
from wsoak.load.ticket import Ticket

log = logging.getLogger(__name__)

REPORTER: Final = "the reporter"
FLUSH_INTERVAL_S: Final = 1.0
UNHEARD_TURNS: Final = 15
"""After so many reports without an answer the keeper is gone. Turns, as a process that was frozen has been
unheard for long by any clock."""

Send = Callable[[str, dict[str, Any]], None]
"""Sends a message of a kind to the keeper."""


class Producer:
    """A generator, and the outbox of its reports.

    Args:
        ticket: the run that this is a part of.
        send: carries messages to the keeper.
        packed: whether they leave this process, so that a delta must be made of plain values.
        give_up: told, in a sentence, that there is no point in going on; stops the run unless given.
        alone: called, again and again, when the keeper does not answer any more.

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
        give_up: Callable[[str], None] | None = None,
        alone: Callable[[], None] | None = None,
    ) -> None:
        settle()
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
            share=ticket.shares.get(worker, index % ticket.of),
            shares=ticket.of,
            give_up=give_up,
        )
        self._outbox = Outbox(ticket.run_id, worker, index, time.monotonic())
        self._alone = alone
        self._unheard = 0
        self._loop = gevent.spawn(guarded(environment, REPORTER, self._flush_for_ever))

    def flush(self) -> None:
        """Report what was recorded since the last time, and put it into Locust's statistics."""
        self._report(self.generator.take(), final=False)

    def acknowledge(self, message: dict[str, Any]) -> None:
        """The keeper has reports of ours."""
        if message["run"] == self.ticket.run_id:
            self._unheard = 0
            self._outbox.acknowledge(message["seq"])

    def finish(self, before_the_last: Callable[[], None] = lambda: None) -> None:
        """Close all sockets, and send the last report, until it is acknowledged.

        Args:
            before_the_last: called when everything is in Locust's statistics.
        """
        self.generator.stop()
        self._loop.kill()
        self.flush()
        before_the_last()
        self._report(self.generator.take(), final=True)
        self._loop = gevent.spawn(guarded(self._environment, REPORTER, self._resend_until_acknowledged))

    def abandon(self) -> None:
        """Send no more."""
        self._loop.kill()

    def _report(self, delta: Delta, final: bool) -> None:
        if not self.generator.options.request_events:
            feed(self._environment.stats, delta)
        carried = delta.to_plain() if self._packed else delta
        self._post(self._outbox.report(carried, final, time.time(), time.monotonic()))

    def _post(self, message: dict[str, Any]) -> None:
        try:
            self._send(REPORT, message)
        except RPCError as error:
            # it is sent again
            log.warning("A report could not be sent: %s.", error)

    def _resend(self) -> None:
        """Send again what the keeper has not acknowledged in time."""
        for message in self._outbox.due(time.monotonic()):
            self._post(message)

    def _flush_for_ever(self) -> None:
        while True:
            gevent.sleep(FLUSH_INTERVAL_S)
            self._unheard += 1
            self.flush()
            self._resend()
            if self._unheard > UNHEARD_TURNS and self._alone is not None:
                self._alone()

    def _resend_until_acknowledged(self) -> None:
        for _ in range(UNHEARD_TURNS):
            if self._outbox.empty:
                return
            gevent.sleep(FLUSH_INTERVAL_S)
            self._resend()
