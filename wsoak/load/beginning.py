"""Beginning: what a run is made of when it begins.

    master or only process    keep_books ─► the checks ─► a producer, where there are no workers
    worker                    workers_producer

Nothing here listens to Locust's events; ``hooks`` calls it when they come.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import getpid
from typing import Any

from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner, WorkerRunner

from wsoak.judge.findings import Finding
from wsoak.load import roster
from wsoak.load.checks.limits import Plan
from wsoak.load.checks.preflight import SECURITY, check
from wsoak.load.checks.rehearsal import Where
from wsoak.load.checks.steps import Step
from wsoak.load.console import Console
from wsoak.load.host import host_of, proxies_passed_by
from wsoak.load.keeper import Keeper
from wsoak.load.options import NO_CHECKS, BadOptions, Options
from wsoak.load.producer import Producer
from wsoak.load.relay import GIVE_UP
from wsoak.load.shape_follower import ShapeFollower
from wsoak.load.shares import Shares
from wsoak.load.target_process import TargetProcess
from wsoak.load.ticket import Ticket
from wsoak.wire.endpoint import Endpoint

log = logging.getLogger(__name__)


class ChecksFailed(Exception):
    """The checks before the load failed, and no load may be made; one sentence with the likely cause.

    ``steps``: those that failed.
    """

    def __init__(self, sentence: str, steps: list[Step]) -> None:
        super().__init__(sentence)
        self.steps = steps


@dataclass(slots=True)
class Beginning:
    """A run whose books are kept from now on, and that has no users yet."""

    environment: Environment
    options: Options
    keeper: Keeper
    ticket: Ticket
    shares: Shares
    watched: list[str]

    def check(self) -> None:
        """Make the checks that ``--checks`` asks for; what they find is in the run's books then.

        Raises:
            ChecksFailed: when there is no point in making load.
            accounts.BadAccounts, options.BadOptions, wire.endpoint.BadUrl: when the run cannot begin.
        """
        if self.options.checks == NO_CHECKS:
            for sentence in proxies_passed_by(self.environment, self.options):
                log.warning("%s.", sentence)
            return
        environment = self.environment
        where = Where(
            self.options,
            environment.host,
            self.ticket.run_id,
            embedded=self.ticket.embedded,
            parsed=environment.parsed_options,
        )
        checked = check(
            environment.user_classes, where, plan_of(environment), security=self.options.checks == SECURITY
        )
        if environment.web_ui is None:
            Console(environment.parsed_options).checks(checked.outcome.lines())
        self.keeper.checked(checked.outcome.to_json(), checked.for_the_books())
        if checked.outcome.failed:
            raise ChecksFailed(checked.outcome.sentence(), checked.outcome.failed)
        self.keeper.load_begins()

    def producer(self, runner: LocalRunner) -> Producer:
        """Who makes the load of an only process.

        Raises:
            accounts.BadAccounts, OSError, ssl.SSLError, psutil.Error: when it cannot begin.
        """
        return Producer(
            self.environment, self.options, self.ticket, runner.send_message, watched=self.watched
        )


def plan_of(environment: Environment) -> Plan:
    """The load that Locust was asked for."""
    options, runner = Options.of(environment.parsed_options), environment.runner
    shape = environment.shape_class
    users: int | None = (runner.target_user_count if runner else 0) or 1
    if isinstance(shape, ShapeFollower):
        users = shape.shape.peak_users
    elif shape is not None:
        users = None
    master = runner if isinstance(runner, MasterRunner) else None
    host = host_of(environment)
    hosts = {environment.host or each.host or host for each in environment.user_classes} - {None}
    return Plan(
        users,
        options.sockets_per_user,
        processes=max(1, master.worker_count) if master is not None else 1,
        here=master is None or bool(roster.forked(environment)),
        sources=max(1, len(options.source_ips)),
        destinations=len({(Endpoint.of(each).host, Endpoint.of(each).port) for each in hosts if each}),
    )


def keep_books(
    environment: Environment,
    target: TargetProcess | None,
    reporting: Callable[[MasterRunner], list[str]],
    tell: Callable[[list[Finding]], None] | None = None,
) -> Beginning:
    """Begin a run's books in the master or only process, and make the ticket that its workers are sent.

    Args:
        target: the embedded target, where there is one.
        reporting: the workers from which a last report can come.
        tell: is given the findings so far, every few seconds.

    Raises:
        options.BadOptions, ledger.rundir.UnwritableRun, psutil.Error: when the run cannot begin.
    """
    runner, parsed = environment.runner, environment.parsed_options
    assert runner is not None
    options = Options.of(parsed)
    embedded = target is not None and environment.host == target.url
    watched = [options.watch] if options.watch else []
    if target is not None and embedded:
        watched.append(str(target.pid))
    master = runner if isinstance(runner, MasterRunner) else None
    expected = getattr(parsed, "expect_workers", None) or 1
    workers = max(master.worker_count, expected) if master is not None else 0
    keeper = Keeper(
        environment,
        options,
        host_of(environment) or "",
        workers=workers,
        alive=(lambda: reporting(master)) if master is not None else list,
        send_all=master.send_message if master is not None else None,
        watched=watched if master is not None else [],
        show=Console(parsed).line if environment.web_ui is None else None,
        tell=tell,
    )
    shares = Shares(workers, roster.alive(master, ready=True) if master is not None else ["local"])
    ticket = Ticket(keeper.run_id, embedded, shares.by_worker, shares.count, getpid())
    if parsed is not None:
        ticket.attach(parsed)
    return Beginning(environment, options, keeper, ticket, shares, watched)


def workers_producer(
    environment: Environment,
    runner: WorkerRunner,
    own_options: Mapping[str, Any],
    parent: int | None,
    alone: Callable[[], None],
) -> Producer:
    """Who makes this worker's part of the load.

    Args:
        own_options: what belongs to this host, as it was given here.
        parent: our parent's process id, where Locust has forked us.
        alone: called when the master does not answer any more.

    Raises:
        options.BadOptions, accounts.BadAccounts, OSError, ssl.SSLError, psutil.Error: when it cannot begin.
    """
    parsed = environment.parsed_options
    ticket = Ticket.attached(parsed)
    if ticket is None:
        raise BadOptions(["The master runs no wsoak scenario: give it the same locustfile"])
    # the master's values came over ours; what belongs to this host is ours again
    for option, value in own_options.items():
        setattr(parsed, option, value)
    options = Options.of(parsed)
    name = roster.worker_name(runner.worker_index)

    def give_up(sentence: str) -> None:
        runner.send_message(GIVE_UP, {"worker": name, "sentence": f"{name}: {sentence}", "usage": False})

    return Producer(
        environment,
        options,
        ticket,
        runner.send_message,
        worker=name,
        index=runner.worker_index,
        packed=True,
        watched=[options.watch] if options.watch and ticket.pid != parent else [],
        give_up=give_up,
        alone=alone,
    )
