"""Hooks: the one place where wsoak listens to Locust's events and messages.

    init_command_line_parser   our options
    init                       check the options, start the embedded target, learn the messages
    test_start                 Keeper in the master or only process, Producer in a worker or the only process
    report_to_master           what was recorded goes into Locust's statistics first
    test_stop                  producers close their sockets and report; the keeper waits for all, and judges
    quitting                   the same where a signal came first; then the exit code
    quit                       the embedded target ends

A single process has both halves, and its runner hands messages to itself: one path for all. Locust swallows
exceptions from its listeners. What must end the process leaves as ``SystemExit``, which is no ``Exception``.
"""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Callable
from typing import Any, Final

import psutil
from gevent.event import Event
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.event import Events
from locust.exception import StopTest
from locust.rpc import Message
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner

from wsoak.ledger.rundir import UnwritableRun
from wsoak.load.accounts import BadAccounts
from wsoak.load.collector import Judgement
from wsoak.load.console import EXIT_USAGE, refuse, show_judgement, show_line
from wsoak.load.keeper import Keeper
from wsoak.load.options import LOCAL_OPTIONS, BadOptions, Options, add_options
from wsoak.load.producer import Producer
from wsoak.load.relay import ACK, DRAIN, DROP, GIVE_UP, REPORT
from wsoak.load.shape_follower import ShapeFollower, begin_shape, offer_shape, shape_ended
from wsoak.load.shape_option import parse_shape
from wsoak.load.target_process import TargetFailed, TargetProcess
from wsoak.load.ticket import Ticket
from wsoak.load.web_form import check_form
from wsoak.wire.endpoint import BadUrl, Endpoint

log = logging.getLogger(__name__)

EXIT_INVALID: Final = 4

LEAST_ACCOUNTS: Final = 2_000
"""How many accounts the embedded target seeds at least: the web UI does not know yet how many users come."""

CANNOT_BEGIN: Final = (BadOptions, BadAccounts, UnwritableRun, OSError, psutil.Error)


class Hooks:
    """wsoak's state in one Locust process, from ``init`` to ``quit``."""

    def __init__(self) -> None:
        self._target: TargetProcess | None = None
        self._keeper: Keeper | None = None
        self._producer: Producer | None = None
        self._own_options: dict[str, Any] = {}
        self._judgement: Judgement | None = None
        self._failed = False
        self._given_up = False
        self._signalled = False
        self._ending = False
        self._finished = Event()
        self._finished.set()

    # -------------------------------------------------------------------------------- Locust's events

    def on_init(self, environment: Environment, **_: Any) -> None:
        """Check what can be checked before anything starts."""
        parsed, runner = environment.parsed_options, environment.runner
        self._own_options = {name: getattr(parsed, name, None) for name in LOCAL_OPTIONS}
        # registered now, it runs before Locust's own, which tells the others that we are gone
        environment.events.quitting.add_listener(self.on_quitting_first)  # type: ignore[no-untyped-call]
        self._learn_messages(environment)
        if isinstance(runner, WorkerRunner):
            return
        found = _mistakes(parsed, _host_of(environment))
        if found:
            refuse(found)
        offer_shape(environment, Options.of(parsed).shape)
        if _host_of(environment) is None:
            self._start_target(environment)
        if environment.web_ui is not None:
            check_form(environment, lambda merged: _mistakes(merged, merged.host))

    def on_test_start(self, environment: Environment, **_: Any) -> None:
        """Begin a run."""
        self._failed = self._given_up = False
        self._judgement = None
        try:
            if isinstance(environment.runner, WorkerRunner):
                self._begin_worker(environment, environment.runner)
            else:
                self._begin(environment)
        except CANNOT_BEGIN as error:
            self._refuse_run(environment, error)
        else:
            self._finished.clear()

    def on_report_to_master(self, **_: Any) -> None:
        """Put what was recorded into Locust's statistics before a worker sends them."""
        if self._producer is not None:
            self._producer.flush()

    def on_test_stop(self, environment: Environment, **_: Any) -> None:
        """End the run; Locust has stopped this process's users."""
        keeper, producer = self._keeper, self._producer
        if self._ending or (keeper is None and producer is None):
            return
        self._ending = True
        try:
            if producer is not None:
                environment.wsoak_generator = None  # type: ignore[attr-defined]
                self._given_up |= producer.generator.given_up
                producer.finish()
            if keeper is not None:
                keeper.drain(environment.stop_timeout or 0.0)
                self._judgement = keeper.finish(self._ended_by(environment, keeper))
                show_judgement(self._judgement)
        except UnwritableRun as error:
            self._failed = True
            if keeper is not None and keeper.broken is None:
                log.error("%s The run cannot be judged.", error)
        finally:
            # reports come in until the very end, and find the keeper here
            self._keeper = self._producer = None
            self._ending = False
            self._finished.set()

    def on_quitting_first(self, environment: Environment, **_: Any) -> None:
        """A signal comes here while the run goes on: stop it, while the others still listen."""
        if self._keeper is None and self._producer is None:
            return
        self._signalled = True
        if environment.runner is not None and not isinstance(environment.runner, MasterRunner):
            environment.runner.stop()

    def on_quitting(self, environment: Environment, **_: Any) -> None:
        """Set the exit code; the run is over, or about to be."""
        # a signal can also come while the run is being finished; that takes as long as its sockets' closes
        self._finished.wait()
        if self._failed:
            environment.process_exit_code = EXIT_USAGE
        elif self._judgement is not None and not self._judgement.valid:
            environment.process_exit_code = EXIT_INVALID

    def on_quit(self, **_: Any) -> None:
        """Let the embedded target go. Locust comes here twice after SIGTERM, and the second call ends us."""
        if self._target is not None:
            self._target.stop()

    # -------------------------------------------------------------------------------- our own messages

    def on_report(self, environment: Environment, msg: Message, **_: Any) -> None:
        """A producer reports: to the keeper's books, and an acknowledgement back."""
        keeper = self._keeper
        if keeper is None or environment.runner is None:
            return
        try:
            acknowledgement = keeper.take(msg.data)
        except ValueError as error:
            log.error("A report of worker %s cannot be taken: %s.", msg.node_id, error)
            return
        environment.runner.send_message(ACK, acknowledgement, client_id=msg.node_id)

    def on_ack(self, msg: Message, **_: Any) -> None:
        """The keeper has reports of ours."""
        if self._producer is not None:
            self._producer.acknowledge(msg.data)

    def on_drain(self, environment: Environment, msg: Message, **_: Any) -> None:
        """The run ends: stop the users, and report to the end."""
        producer = self._producer
        if (
            producer is not None
            and producer.ticket.run_id == msg.data["run"]
            and environment.runner is not None
        ):
            environment.runner.stop()

    def on_drop(self, **_: Any) -> None:
        """The shape asks for a mass drop."""
        if self._producer is not None:
            self._producer.generator.client.drop_all()

    def on_give_up(self, environment: Environment, msg: Message, **_: Any) -> None:
        """A worker sees no point in going on, and has said why."""
        if self._keeper is not None and not self._given_up and environment.runner is not None:
            self._given_up = True
            log.error("%s The run is stopped.", msg.data["sentence"])
            environment.runner.quit() if environment.web_ui is None else environment.runner.stop()

    def _learn_messages(self, environment: Environment) -> None:
        runner = environment.runner
        if runner is None:
            return
        if not isinstance(runner, WorkerRunner):
            runner.register_message(REPORT, self.on_report)
            runner.register_message(GIVE_UP, self.on_give_up, concurrent=True)
        if not isinstance(runner, MasterRunner):
            runner.register_message(ACK, self.on_ack)
            runner.register_message(DRAIN, self.on_drain, concurrent=True)
            runner.register_message(DROP, self.on_drop)

    # -------------------------------------------------------------------------------- beginning

    def _begin(self, environment: Environment) -> None:
        """Begin the run in the master or only process."""
        runner = environment.runner
        assert runner is not None
        options = Options.of(environment.parsed_options)
        embedded = self._target is not None and environment.host == self._target.url
        watched = [options.watch] if options.watch else []
        if self._target is not None and embedded:
            watched.append(str(self._target.pid))
        master = runner if isinstance(runner, MasterRunner) else None
        expected = getattr(environment.parsed_options, "expect_workers", None) or 1
        workers = max(master.worker_count, expected) if master is not None else 0
        keeper = Keeper(
            environment,
            options,
            _host_of(environment) or "",
            workers=workers,
            alive=(lambda: _alive(master)) if master is not None else list,
            send_all=master.send_message if master is not None else None,
            watched=watched if master is not None else [],
            show=show_line if environment.web_ui is None else None,
        )
        ticket = Ticket(keeper.run_id, embedded, max(workers, 1))
        if environment.parsed_options is not None:
            ticket.attach(environment.parsed_options)
        try:
            if master is None:
                self._produce(
                    environment, Producer(environment, options, ticket, runner.send_message, watched=watched)
                )
        except CANNOT_BEGIN:
            keeper.abandon()
            raise
        self._keeper = keeper
        begin_shape(environment, keeper.mark, lambda: runner.send_message(DROP, {}))

    def _begin_worker(self, environment: Environment, runner: WorkerRunner) -> None:
        """Begin this worker's part of a run."""
        parsed = environment.parsed_options
        ticket = Ticket.attached(parsed)
        if ticket is None:
            raise BadOptions(["The master runs no wsoak scenario: give it the same locustfile"])
        # the master's values came over ours; what belongs to this host is ours again
        for name, value in self._own_options.items():
            if value:
                setattr(parsed, name, value)
        options = Options.of(parsed)
        producer = Producer(
            environment,
            options,
            ticket,
            runner.send_message,
            worker=worker_name(runner.worker_index),
            index=runner.worker_index,
            packed=True,
            watched=[options.watch] if options.watch and self._own_options.get("watch") else [],
        )
        self._produce(environment, producer)

    def _produce(self, environment: Environment, producer: Producer) -> None:
        self._producer = producer
        environment.wsoak_generator = producer.generator  # type: ignore[attr-defined]

    def _start_target(self, environment: Environment) -> None:
        parsed = environment.parsed_options
        if isinstance(environment.runner, MasterRunner) and not getattr(parsed, "processes", None):
            refuse(
                [
                    "Give a --host: the embedded target listens on this machine's loopback only, and workers "
                    "elsewhere cannot reach it."
                ]
            )
        shape = Options.of(parsed).shape
        wanted = max(getattr(parsed, "num_users", None) or 0, parse_shape(shape).peak_users if shape else 0)
        try:
            target = TargetProcess(max(LEAST_ACCOUNTS, wanted))
        except TargetFailed as error:
            refuse([str(error)])
        self._target = target
        environment.host = target.url
        log.info("No host was given: load goes to the embedded target at %s.", target.url)

    def _refuse_run(self, environment: Environment, error: Exception) -> None:
        """The run cannot begin: in the web UI say so and go on, else end."""
        for sentence in error.mistakes if isinstance(error, BadOptions) else [str(error)]:
            log.error("%s", sentence)
        self._failed = True
        runner = environment.runner
        if isinstance(runner, WorkerRunner):
            runner.send_message(GIVE_UP, {"sentence": f"{worker_name(runner.worker_index)}: {error}"})
            raise StopTest("The run cannot begin.")
        if environment.web_ui is None:
            self.on_quit()
            raise SystemExit(EXIT_USAGE)
        # one of the few exceptions that Locust lets through: it stops the test before there are users
        raise StopTest("The run cannot begin.")

    def _ended_by(self, environment: Environment, keeper: Keeper) -> str:
        if self._signalled:
            return "signal"
        if self._given_up or keeper.broken is not None:
            return "given-up"
        if isinstance(environment.shape_class, ShapeFollower):
            return shape_ended(environment) or "stopped"
        run_time = getattr(environment.parsed_options, "run_time", None)
        return "run-time" if run_time and environment.web_ui is None else "stopped"


def register(events: Events) -> Hooks:
    """Listen to ``events``, such as ``locust.events``."""
    hooks = Hooks()
    listeners: dict[str, Callable[..., None]] = {
        "init_command_line_parser": _on_parser,
        "init": hooks.on_init,
        "test_start": hooks.on_test_start,
        "report_to_master": hooks.on_report_to_master,
        "test_stop": hooks.on_test_stop,
        "quitting": hooks.on_quitting,
        "quit": hooks.on_quit,
    }
    for event, listener in listeners.items():
        getattr(events, event).add_listener(listener)
    return hooks


def worker_name(index: int) -> str:
    """The name of a worker in the run's records."""
    return f"worker-{index}"


def _alive(master: MasterRunner) -> list[str]:
    """The workers from which a last report can come."""
    return [
        worker_name(master.get_worker_index(client.id))  # type: ignore[no-untyped-call]
        for client in master.clients.all
        if client.state != STATE_MISSING
    ]


def _on_parser(parser: LocustArgumentParser, **_: Any) -> None:
    add_options(parser)


def _host_of(environment: Environment) -> str | None:
    """The host as Locust will use it: the option's, else the first user class's that names one."""
    if environment.host:
        return environment.host
    return next((user_class.host for user_class in environment.user_classes if user_class.host), None)


def _mistakes(parsed: Namespace | None, host: str | None) -> list[str]:
    """Everything that is wrong with the options and the host, where there is one; a sentence each."""
    mistakes: list[str] = []
    try:
        Options.of(parsed)
    except BadOptions as error:
        mistakes += error.mistakes
    try:
        if host is not None:
            Endpoint.of(host)
    except BadUrl as error:
        mistakes.append(str(error))
    return mistakes
