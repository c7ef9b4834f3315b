"""Generator: what makes the load in one process during one run, and what its users share."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
from locust.env import Environment
from locust.runners import STATE_CLEANUP, STATE_STOPPED, STATE_STOPPING, WorkerRunner

from wsoak.ledger.delta import Delta
from wsoak.ledger.names import USERS
from wsoak.ledger.recorder import Recorder
from wsoak.load.accounts import Accounts, check_columns
from wsoak.load.accounts_file import Account, BadAccounts, read_accounts
from wsoak.load.api import HOPELESS, LogIns
from wsoak.load.background import guarded
from wsoak.load.checks.answers import HANDSHAKE_S, Prober
from wsoak.load.checks.routes import RouteProbe
from wsoak.load.clock import Clocks
from wsoak.load.closed_loops import ClosedLoops
from wsoak.load.gauges import Gauges, Readings
from wsoak.load.ids import Ids
from wsoak.load.open_model import Arrivals
from wsoak.load.options import BadOptions, Options
from wsoak.load.presence import Presence
from wsoak.load.shares import turned
from wsoak.load.stopping import stop_run
from wsoak.load.user_errors import UserErrors
from wsoak.wire.addresses import parse_policy, pinned
from wsoak.wire.client import Client, FastOpener, Opener, Settings
from wsoak.wire.dial import tls_context
from wsoak.wire.endpoint import Endpoint

log = logging.getLogger(__name__)


def opener_of(client: str) -> Callable[[Client, ssl.SSLContext | None], Opener]:
    """The half of the client that ``--client`` names."""
    if client == "reference":
        # late: most runs have no use for websocket-client
        from wsoak.wire.reference import ReferenceOpener

        return ReferenceOpener
    return FastOpener


class Generator:
    """The recorder, client, accounts and gauges of one process during one run.

    Args:
        share, shares: which part of the run is this process's: of the accounts every ``shares``-th from
            ``share`` on, and of the arrivals as many.
        give_up: what ``Generator.give_up`` does; stops the run unless given.

    Attributes:
        run_id: names the run on what its users create (the ``X-Run-Id`` header).
        embedded: whether the server under load is our own embedded target.
        given_up: whether the run was stopped because it was hopeless.
        presence: its users by class.
        ids: of the messages that its users send.
        user_errors: what the scenario's own code raised.
        bad_accounts: why a user could not use ``--accounts``.

    Raises:
        accounts.BadAccounts, options.BadOptions: when a file that an option names cannot be used.
    """

    def __init__(
        self,
        environment: Environment,
        options: Options,
        run_id: str,
        *,
        embedded: bool = False,
        watched: list[str] | None = None,
        worker: str = "local",
        worker_index: int = 0,
        share: int = 0,
        shares: int = 1,
        give_up: Callable[[str], None] | None = None,
    ) -> None:
        self.environment = environment
        self.options = options
        self.run_id = run_id
        self.embedded = embedded
        self.worker_index = worker_index
        self.tls = _tls(options)
        self.accounts = Accounts(_accounts(environment, options), share, shares)
        self.bad_accounts: BadAccounts | None = None
        self.ids = Ids()
        self.recorder = Recorder(worker)
        guard = partial(guarded, environment)
        self.presence = Presence(environment.runner)
        self.user_errors = UserErrors(self.recorder, environment)
        self.client = Client(
            self.recorder,
            Settings(
                handshake_timeout_s=options.handshake_timeout,
                reply_timeout_s=options.reply_timeout,
                close_timeout_s=options.close_timeout,
                heartbeat_s=options.heartbeat,
                source_addresses=turned(options.source_ips, worker_index),
                dns=parse_policy(options.dns),
                pins=pinned(options.resolve),
            ),
            self.tls,
            worker_index,
            opener_of(options.client),
            self.user_errors.callback_failed,
            ClosedLoops(self.recorder).looped,
        )
        self.routes = RouteProbe(self.recorder, self.prober)
        self.given_up = False
        self._give_up = give_up or self._stop_run
        self.log_ins = LogIns(self.recorder, self.give_up, self._users_to_come)
        self._endpoints: dict[str, Endpoint] = {}
        self._users_made = 0
        self.arrivals = (
            Arrivals(
                self.recorder,
                options.arrival_rate / shares,
                options.arrival_patience,
                f"{run_id}/{worker}",
                self._is_going,
                guard,
            )
            if options.arrival_rate
            else None
        )
        self.clocks = Clocks(self.recorder, self.tls, self.client.settings.pins)
        self._gauges = Gauges(self.recorder, self._own_readings, watched or [], guard)

    def endpoint(self, host: str) -> Endpoint:
        """The endpoint of a host, as Locust knows it.

        Raises:
            wire.endpoint.BadUrl: when it is none.
        """
        found = self._endpoints.get(host)
        if found is None:
            found = self._endpoints[host] = Endpoint.of(host)
        return found

    def prober(self, patience_s: float = HANDSHAKE_S) -> Prober:
        """A client for looks at the server that are in no book; see ``Prober``."""
        return Prober(self.client.settings, self.tls, opener_of(self.options.client), patience_s)

    def next_user(self) -> int:
        """A number for each user of this process: 0, 1, 2, …."""
        self._users_made += 1
        return self._users_made - 1

    def look(self) -> None:
        """Read the gauges of users and sockets between two readings."""
        self._gauges.look()

    def load_ends(self, graceful: bool) -> None:
        """The run was told to stop, and its users end now: nobody opens a socket or sends on a schedule.

        What follows says how Locust ends users, and nothing of the server: no more durations and gauges
        are taken.

        Args:
            graceful: users may finish what they are at (``--stop-timeout``).
        """
        self._gauges.look()
        self._gauges.stop()
        self.recorder.load_ended()
        if self.arrivals is not None:
            self.arrivals.stop()
        self.client.load_ends(graceful)

    def take(self) -> Delta:
        """What was recorded since the last time; and says what callbacks raised meanwhile."""
        self.user_errors.say()
        return self.recorder.take()

    def stop(self) -> int:
        """Close all sockets in order, and stop all else; bounded by the close time-out.

        Returns:
            how many sockets did not close in time.
        """
        if self.arrivals is not None:
            self.arrivals.stop()
        self.routes.stop()
        left = self.client.stop(self.options.close_timeout)
        self.clocks.stop()
        self._gauges.stop()
        return left

    def give_up(self, sentence: str) -> None:
        """Stop the run, as there is no point in going on, and say why; later calls change nothing."""
        if self.given_up:
            return
        self.given_up = True
        self._give_up(sentence)

    def _stop_run(self, sentence: str) -> None:
        log.error("%s The run is stopped.", sentence)
        stop_run(self.environment)

    def _is_going(self) -> bool:
        runner = self.environment.runner
        return runner is None or runner.state not in (STATE_CLEANUP, STATE_STOPPING, STATE_STOPPED)

    def _users_to_come(self) -> int:
        # a shape's first step says nothing of its last
        return HOPELESS if self.environment.shape_class else self._users_target() or HOPELESS

    def _users_target(self) -> int:
        runner = self.environment.runner
        return runner.target_user_count if runner else 0

    def _own_readings(self) -> Readings:
        runner = self.environment.runner
        if self._is_going():
            # when the run is being stopped, users go as Locust wants it
            for name, number in self.presence.readings().items():
                self.recorder.gauge(USERS, name, number)
        readings = {
            "users": float(runner.user_count if runner else 0),
            "open_sockets": float(len(self.client.open_connections)),
            "in_flight": float(self.client.in_flight),
            "opening": float(self.client.opening),
        }
        if not isinstance(runner, WorkerRunner):
            # a worker is told the users of the next second only: its master knows what is asked for
            readings["users_target"] = float(self._users_target())
        if self.arrivals is not None:
            readings["arrivals_waiting"] = float(self.arrivals.waiting)
        return readings


def _accounts(environment: Environment, options: Options) -> list[Account]:
    if options.accounts is None:
        return []
    known = read_accounts(options.accounts)
    # not every class is one of ours
    needs = {each.__name__: getattr(each, "account_columns", ()) for each in environment.user_classes}
    check_columns(options.accounts, known, needs)
    return known


def _tls(options: Options) -> ssl.SSLContext:
    try:
        return tls_context(
            options.tls_ca or None, options.tls_client_cert or None, insecure=options.tls_insecure
        )
    except OSError as error:
        given = {"--tls-ca": options.tls_ca, "--tls-client-cert": options.tls_client_cert}
        flags = " or ".join(flag for flag, path in given.items() if path)
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        raise BadOptions([f"{flags}: not a PEM file that can be used ({reason or 'PEM'})."]) from error


def begun(environment: Any) -> Generator | None:
    """The generator of the run that is under way; ``None`` where none is.

    Raises:
        gevent.GreenletExit: when this worker cannot take part in it, and has told the master so.
    """
    if getattr(environment, "wsoak_refused", False):
        # ends the greenlet that makes users, in silence: the master stops the run
        raise gevent.GreenletExit
    return getattr(environment, "wsoak_generator", None)
