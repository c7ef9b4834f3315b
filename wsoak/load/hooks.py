"""Hooks: the one place where wsoak listens to Locust's events and messages.

    init_command_line_parser   our options
    init                       check the options, start the embedded target, learn the messages
    worker_connect             a worker that comes during a run gets a share of it
    test_start                 Keeper in the master or only process, and the checks before the load;
                               Producer in a worker or the only process
    request                    HTTP calls are counted in the books
    user_error                 what users raised is counted in the books
    report_to_master           what was recorded goes into Locust's statistics first
    test_stopping              the load ends: no more users, openings and paced messages
    test_stop                  producers close their sockets and report; the keeper waits for all, and judges
    quitting                   the same where a signal came first; then the exit code
    quit                       the embedded target ends

A single process has both halves, and its runner hands messages to itself: one path for all. Locust swallows
exceptions from its listeners. What must end the process leaves as ``SystemExit``, which is no ``Exception``.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any, Final, NoReturn

import gevent
import psutil
from gevent.event import Event
from locust import argument_parser
from locust import log as locust_log
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.event import Events
from locust.exception import StopTest
from locust.rpc import Message
from locust.runners import LocalRunner, MasterRunner, WorkerRunner

from wsoak.judge import streams
from wsoak.judge.gates import BadGates
from wsoak.judge.validity import BY_HAND, BY_SIGNAL, INTERNAL_ERROR, PREFLIGHT, STOPPED_BY_GATE, WORKERS_GONE
from wsoak.ledger.rundir import UnwritableRun
from wsoak.load import background, option_names, roster
from wsoak.load.accounts_file import BadAccounts
from wsoak.load.beginning import Beginning, ChecksFailed, keep_books, workers_producer
from wsoak.load.collector import Judgement
from wsoak.load.console import EXIT_USAGE, Console, refuse
from wsoak.load.host import host_of, mistakes_in, start_target
from wsoak.load.http_books import count_call
from wsoak.load.keeper import DRAIN_PATIENCE_S, Keeper
from wsoak.load.options import LOCAL_OPTIONS, OPTIONS, BadOptions, Options, add_options
from wsoak.load.presence import UserGroup
from wsoak.load.producer import Producer
from wsoak.load.relay import ACK, DRAIN, DROP, GIVE_UP, HELLO, LEAVE, REPORT, TURN_AWAY
from wsoak.load.shape_follower import ShapeFollower, begin_shape, offer_shape, shape_ended
from wsoak.load.shares import Shares
from wsoak.load.stopping import (
    end_forks,
    interrupt_between_turns,
    one_stop_at_a_time,
    run_time_later,
    stop_run,
)
from wsoak.load.target_process import TargetFailed, TargetProcess
from wsoak.load.ticket import Ticket
from wsoak.load.web_form import check_form
from wsoak.load.web_tabs import WebTabs
from wsoak.wire.endpoint import BadUrl

log = logging.getLogger(__name__)

EXIT_INVALID: Final = 4

IMPORTED_BY: Final = os.getpid()
"""Locust imports us before it forks for ``--processes``."""

PARENT_INTERVAL_S: Final = 1.0
INDEX_INTERVAL_S: Final = 0.01

END_PATIENCE_S: Final = 60.0
"""How long a run that has been stopped may take to be judged, beyond its drain and closes."""

CANNOT_BEGIN: Final = (BadOptions, BadGates, BadAccounts, BadUrl, UnwritableRun, OSError, psutil.Error)


class Hooks:
    """wsoak's state in one Locust process, from ``init`` to ``quit``."""

    def __init__(self) -> None:
        self._target: TargetProcess | None = None
        self._keeper: Keeper | None = None
        self._producer: Producer | None = None
        self._finishing: Producer | None = None
        """The one before, whose last report may not be acknowledged yet."""
        self._ticket: Ticket | None = None
        self._shares = Shares(1)
        self._refusing: set[str] = set()
        """The workers that cannot take part in the run."""
        self._spawner: Any = None
        """The greenlet in which Locust's master asks for the run's first users, as long as it does."""
        self._forks = False
        self._parent: int | None = None
        """Our parent's process id, in a process that Locust has forked."""
        self._put_interrupts_back: Callable[[], None] = lambda: None
        self._own_options: dict[str, Any] = {}
        self._tabs: WebTabs | None = None
        """Of the web UI, where there is one."""
        self._judgement: Judgement | None = None
        self._failed = False
        self._given_up = False
        self._signalled = False
        self._deserted = False
        self._unchecked = False
        self._timed_out = False
        self._load_began_s: float | None = None
        """On ``time.monotonic``."""
        self._checks_over = Event()
        self._checks_over.set()
        self._stopping = False
        self._ending = False
        self._prepared = Event()
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
        self._parent = os.getppid() if os.getpid() != IMPORTED_BY else None
        if runner is not None:
            runner.user_greenlets = UserGroup(self._user_began, self._user_ended)
            one_stop_at_a_time(runner)
            run_time_later(runner, lambda: self._sit_out_checks(getattr(parsed, "run_time", None) or 0))
        if isinstance(runner, WorkerRunner):
            self._prepare_worker(environment, runner)
        else:
            self._prepare(environment)
        self._put_interrupts_back = interrupt_between_turns(self._on_interrupt)
        self._prepared.set()

    def _prepare(self, environment: Environment) -> None:
        """What the master or only process does at ``init``."""
        parsed = environment.parsed_options
        runner = environment.runner
        self._forks = isinstance(runner, MasterRunner) and bool(roster.forked(environment))
        if isinstance(runner, MasterRunner) and self._forks:
            roster.take_forks_only(runner, roster.forked(environment))
        found = mistakes_in(parsed, host_of(environment))
        if found:
            self._refuse(found)
        if isinstance(runner, MasterRunner):
            environment.events.worker_connect.add_listener(  # type: ignore[no-untyped-call]
                lambda client_id, **_: self._share(environment, runner, client_id)
            )
        offer_shape(environment, Options.of(parsed).shape)
        # a single user in a debugger has a host of its class
        if host_of(environment) is None and runner is not None:
            self._start_target(environment)
        if environment.web_ui is not None:
            self._tabs = WebTabs(environment)
            check_form(environment, lambda merged: mistakes_in(merged, merged.host))

    def _prepare_worker(self, environment: Environment, runner: WorkerRunner) -> None:
        """What a worker does at ``init``."""
        # Locust builds its whole parser anew for each option of each spawn message: 90 ms in which the hub is
        # deaf, every second under a shape
        argument_parser.default_args_dict = cache(argument_parser.default_args_dict)
        runner.send_message(HELLO, {"mark": roster.FORK_MARK})
        if self._parent is not None:
            # its options are its parent's, who says what is wrong with them
            gevent.spawn(self._end_with_parent, environment)
            self._await_index(runner)
            return
        found = mistakes_in(environment.parsed_options, None)
        if found:
            # the master counts on us already; after Locust's "quit" of its only worker it would be deaf
            runner.send_message(LEAVE, {"sentences": found})
            refuse(found)

    def _await_index(self, runner: WorkerRunner) -> None:
        """Wait until the master that forked us knows us: a scenario's own ``init`` may ask for the index."""
        try:
            while runner.worker_index < 0 and not self._stopping:
                gevent.sleep(INDEX_INTERVAL_S)
        except KeyboardInterrupt:
            # as Locust has it while it waits for the master's first answer
            raise SystemExit(1) from None

    def _refuse(self, sentences: list[str]) -> NoReturn:
        if self._forks:
            end_forks()
        refuse(sentences)

    def on_test_start(self, environment: Environment, **_: Any) -> None:
        """Begin a run."""
        if environment.runner is None and not getattr(environment.parsed_options, "worker", False):
            # run_single_user: there is no run, see ``standalone``
            return
        if not isinstance(environment.runner, (LocalRunner, MasterRunner)):
            # a worker that comes during a run is told to begin while Locust still makes its runner
            self._prepared.wait()
        self._failed = self._given_up = self._deserted = self._stopping = self._unchecked = False
        self._timed_out = False
        self._judgement = None
        background.note(environment, "")
        if self._tabs is not None:
            self._tabs.begin()
        self._spawner = gevent.getcurrent()
        self._refusing = set()
        environment.wsoak_refused = False  # type: ignore[attr-defined]
        # from the first turn on, as Locust may hold the run's time for over while its books are being opened
        self._load_began_s = None
        self._checks_over.clear()
        try:
            if isinstance(environment.runner, WorkerRunner):
                self._begin_worker(environment, environment.runner)
            else:
                self._begin(environment)
        except CANNOT_BEGIN as error:
            self._refuse_run(environment, error)
        except ChecksFailed as failed:
            self._stop_before_the_load(environment, failed)
        else:
            self._finished.clear()
        finally:
            self._checks_over.set()

    def on_report_to_master(self, **_: Any) -> None:
        """Put what was recorded into Locust's statistics before a worker sends them."""
        if self._producer is not None:
            self._producer.flush()

    def on_request(
        self,
        request_type: str,
        name: str,
        response_time: float | None,
        exception: BaseException | None,
        **_: Any,
    ) -> None:
        """A user of whatever class has made a request."""
        if self._producer is not None:
            recorder = self._producer.generator.recorder
            count_call(recorder, request_type, name, response_time, exception)

    def on_user_error(self, user_instance: Any, exception: BaseException, **_: Any) -> None:
        """Locust says that a user's ``on_start`` or task raised."""
        if self._producer is not None:
            self._producer.generator.user_errors.raised(exception, user_instance)

    def _user_began(self, user: Any) -> None:
        if self._producer is not None:
            self._producer.generator.presence.began(user)

    def _user_ended(self, user: Any, error: BaseException | None, told: bool) -> None:
        """A user of this process has ended; ``told``: Locust wanted it to."""
        if self._producer is not None:
            generator = self._producer.generator
            generator.presence.ended(user, error, told)
            if error is not None:
                generator.user_errors.ended_user(error, user)

    def on_spawning_complete(self, **_: Any) -> None:
        """All users that were asked for are there."""
        self._spawner = None
        if self._producer is not None:
            # users may end before the next reading, and a run may be stopped
            self._producer.generator.look()

    def on_test_stopping(self, environment: Environment, **_: Any) -> None:
        """The run is asked to end, and with it the load: nobody may ask for more users now."""
        self._stopping = True
        if self._producer is not None:
            self._producer.generator.load_ends(graceful=bool(environment.stop_timeout))
        if self._keeper is None or not isinstance(environment.runner, MasterRunner):
            return
        self._keeper.stopping()
        self._deserted = not environment.runner.worker_count
        # Locust goes on with a ramp, and workers that have stopped would be told to begin anew
        if isinstance(self._spawner, gevent.Greenlet) and self._spawner is not gevent.getcurrent():
            self._spawner.kill()

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
                self._finishing = producer
                producer.finish(lambda: _send_statistics(environment))
            if keeper is not None:
                keeper.drain(environment.stop_timeout or 0.0)
                self._judgement = keeper.finish(self._ended_by(environment, keeper))
                Console(environment.parsed_options).judgement(self._judgement)
                if self._tabs is not None:
                    self._tabs.judged(self._judgement)
                if self._deserted and environment.web_ui is None:
                    # Locust would wait for the end of the run's time, or for ever
                    stop_run(environment)
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
        runner = environment.runner
        try:
            if isinstance(runner, MasterRunner):
                # its quit would tell the workers to end before they have reported
                runner.stop(send_stop_to_client=False)
            elif runner is not None:
                runner.stop()
        except Exception:
            # whatever Locust could not stop: the run is judged, and the process ends
            log.exception("Locust could not stop the users.")
            self._failed = True
        # where Locust holds the run for stopped, it can still be one that nobody has judged
        self.on_test_stop(environment)

    def on_quitting(self, environment: Environment, **_: Any) -> None:
        """Set the exit code; the run is over, or about to be."""
        # a signal can also come while the run is being finished; that takes as long as its sockets' closes
        if not self._finished.wait(_patience_s(environment)):
            log.error("The run could not be finished in time, and cannot be judged.")
            self._failed = True
        if self._tabs is not None:
            self._tabs.take_back()
        # an exception of the scenario's or our own is an internal error, however well the server did
        gated = bool(getattr(environment.parsed_options, "gates", ""))
        failed = self._failed or background.failed_part(environment)
        if failed or (gated and locust_log.unhandled_greenlet_exception):
            environment.process_exit_code = EXIT_USAGE
        elif self._judgement is not None and not self._judgement.valid:
            environment.process_exit_code = EXIT_INVALID
        elif self._judgement is not None and self._judgement.verdict is not None:
            environment.process_exit_code = self._judgement.verdict.exit_code

    def on_quit(self, **_: Any) -> None:
        """Let the embedded target go. Locust comes here twice after SIGTERM, and the second call ends us."""
        if self._target is not None:
            self._target.stop()
        if self._forks:
            end_forks(frozen=True)
        # what Python could not write at its exit would change the exit code
        streams.flush()
        self._put_interrupts_back()

    def _on_interrupt(self) -> None:
        """Ctrl-C: Locust will end the run; where a shape goes on, without telling anybody why."""
        self._signalled = self._keeper is not None

    # -------------------------------------------------------------------------------- our own messages

    def on_report(self, environment: Environment, msg: Message, **_: Any) -> None:
        """A producer reports: to the keeper's books, and an acknowledgement back."""
        keeper, report, runner = self._keeper, msg.data, environment.runner
        if runner is None:
            return
        # without a keeper, nobody wants it: it need not be sent again
        acknowledgement = {"run": report["run"], "seq": report["seq"]}
        try:
            if keeper is not None:
                acknowledgement = keeper.take(report)
        except ValueError as error:
            self._stop_because(environment, f"A report of {report['worker']} cannot be taken: {error}.")
            return
        except Exception:
            log.exception(background.SAID, "the keeper")
            background.failed(environment, "the keeper")
            return
        runner.send_message(ACK, acknowledgement, client_id=msg.node_id)

    def on_ack(self, msg: Message, **_: Any) -> None:
        """The keeper has reports of ours."""
        for producer in (self._producer, self._finishing):
            if producer is not None:
                producer.acknowledge(msg.data)

    def on_drain(self, environment: Environment, msg: Message, **_: Any) -> None:
        """The run ends: stop the users, and report to the end."""
        producer, runner = self._producer, environment.runner
        if self._stopping or producer is None or runner is None:
            return
        if producer.ticket.run_id == msg.data["run"]:
            runner.stop()

    def on_drop(self, **_: Any) -> None:
        """The shape asks for a mass drop."""
        if self._producer is not None:
            self._producer.generator.client.drop_all()

    def on_give_up(self, environment: Environment, msg: Message, **_: Any) -> None:
        """A worker sees no point in going on, and says why."""
        if part := msg.data.get("internal"):
            background.note(environment, str(part))
        # what is wrong with a worker's options or files is a mistake in the use
        if msg.data["usage"] and self._keeper is not None:
            self._failed = True
            self._refusing.add(msg.data["worker"])
        self._stop_because(environment, msg.data["sentence"])

    def on_leave(self, environment: Environment, msg: Message, **_: Any) -> None:
        """A worker cannot be used at all."""
        for sentence in msg.data["sentences"]:
            log.error("A worker has left: %s", sentence)
        runner = environment.runner
        if self._keeper is None and isinstance(runner, MasterRunner) and msg.node_id in runner.clients:
            # so that no run begins with it
            del runner.clients[msg.node_id]

    def on_turn_away(self, environment: Environment, msg: Message, **_: Any) -> None:
        """The master does not take this worker."""
        self._stopping = True
        log.error("%s", msg.data["sentence"])
        environment.process_exit_code = EXIT_USAGE
        assert environment.runner is not None
        gevent.spawn(environment.runner.quit)

    def _stop_because(self, environment: Environment, sentence: str) -> None:
        if self._keeper is not None and not self._given_up:
            self._given_up = True
            log.error("%s The run is stopped.", sentence)
            stop_run(environment)

    def _end_with_parent(self, environment: Environment) -> None:
        while os.getppid() == self._parent:
            gevent.sleep(PARENT_INTERVAL_S)
        self._end_alone(environment, "The process that forked this worker has ended")

    def _end_alone(self, environment: Environment, why: str) -> None:
        """Our master is gone: nobody would end the load that we make."""
        if not self._stopping and environment.runner is not None:
            self._stopping = True
            log.error("%s: this worker ends.", why)
            environment.process_exit_code = EXIT_INVALID
            gevent.spawn(environment.runner.quit)

    def _learn_messages(self, environment: Environment) -> None:
        runner = environment.runner
        if runner is None:
            return
        if not isinstance(runner, WorkerRunner):
            runner.register_message(REPORT, self.on_report)
            runner.register_message(GIVE_UP, self.on_give_up)
            runner.register_message(LEAVE, self.on_leave)
            # who takes all workers need not know whose they are
            runner.register_message(HELLO, lambda **_: None)
        if not isinstance(runner, MasterRunner):
            runner.register_message(ACK, self.on_ack)
            runner.register_message(DRAIN, self.on_drain, concurrent=True)
            runner.register_message(DROP, self.on_drop)
            runner.register_message(TURN_AWAY, self.on_turn_away)

    # -------------------------------------------------------------------------------- beginning

    def _begin(self, environment: Environment) -> None:
        """Begin the run in the master or only process."""
        runner = environment.runner
        assert runner is not None
        tell = self._tabs.found if self._tabs is not None else None
        begun = keep_books(environment, self._target, self._reporting, tell)
        # before the checks: a signal that comes while they go on ends a run
        self._keeper, self._ticket, self._shares = begun.keeper, begun.ticket, begun.shares
        try:
            self._check_first(begun)
            if isinstance(runner, LocalRunner):
                self._produce(environment, begun.producer(runner))
        except CANNOT_BEGIN:
            self._keeper = None
            begun.keeper.abandon()
            raise
        drop = partial(runner.send_message, DROP, {})
        begin_shape(environment, begun.keeper.mark, drop, begun.keeper.searched)

    def _check_first(self, begun: Beginning) -> None:
        """The checks before the load, at whose end there may be no run any more."""
        begun.check()
        self._load_began_s = time.monotonic()
        if self._keeper is not begun.keeper:
            raise gevent.GreenletExit

    def _sit_out_checks(self, run_time_s: float) -> None:
        """The time that a run is to last is over, by Locust's clock; by ours it begins with the load.

        Locust's began before the checks, and with a look at the time that start-up had made old.
        """
        self._checks_over.wait()
        if self._load_began_s is not None:
            gevent.sleep(max(0.0, self._load_began_s + run_time_s - time.monotonic()))
            self._timed_out = True

    def _reporting(self, master: MasterRunner) -> list[str]:
        return [name for name in roster.alive(master) if name not in self._refusing]

    def _begin_worker(self, environment: Environment, runner: WorkerRunner) -> None:
        """Begin this worker's part of a run."""
        producer = workers_producer(
            environment,
            runner,
            self._own_options,
            self._parent,
            alone=lambda: self._end_alone(environment, "The master does not answer any more"),
        )
        if self._finishing is not None:
            self._finishing.abandon()
        self._produce(environment, producer)

    def _share(self, environment: Environment, master: MasterRunner, client_id: str) -> None:
        """A worker has come: during a run, it gets a share of it, before it is told to begin."""
        keeper, parsed = self._keeper, environment.parsed_options
        if keeper is None or self._ticket is None or parsed is None:
            return
        worker = roster.name_of(master, client_id)
        heard = [name for name in roster.alive(master) if keeper.hears(name)]
        if not self._shares.take(worker, heard):
            log.warning("%s came to a run of %d: its users share others' accounts.", worker, self._ticket.of)
        self._ticket = replace(self._ticket, shares=self._shares.by_worker)
        self._ticket.attach(parsed)

    def _produce(self, environment: Environment, producer: Producer) -> None:
        self._producer = producer
        environment.wsoak_generator = producer.generator  # type: ignore[attr-defined]

    def _start_target(self, environment: Environment) -> None:
        try:
            self._target = start_target(environment, TargetProcess)
        except (BadOptions, TargetFailed) as error:
            self._refuse(error.mistakes if isinstance(error, BadOptions) else [str(error)])

    def _refuse_run(self, environment: Environment, error: Exception) -> None:
        """The run cannot begin: in the web UI say so and go on, else end."""
        sentences = error.mistakes if isinstance(error, (BadOptions, BadGates)) else [str(error)]
        self._failed = True
        runner = environment.runner
        if isinstance(runner, WorkerRunner):
            name = roster.worker_name(runner.worker_index)
            sentence = f"{name}: {' '.join(sentences)}"
            # an exception here would end the greenlet that hears what the master says
            environment.wsoak_refused = True  # type: ignore[attr-defined]
            runner.send_message(GIVE_UP, {"worker": name, "sentence": sentence, "usage": True})
            return
        for sentence in sentences:
            log.error("%s", sentence)
        if environment.web_ui is None:
            self.on_quit()
            raise SystemExit(EXIT_USAGE)
        # one of the few exceptions that Locust lets through: it stops the test before there are users
        raise StopTest("The run cannot begin.")

    def _stop_before_the_load(self, environment: Environment, failed: ChecksFailed) -> NoReturn:
        """No load is made: the run is over and judged; in the web UI the process goes on."""
        self._unchecked = True
        if self._tabs is not None:
            self._tabs.checks_failed(failed.steps)
        self.on_test_stop(environment)
        log.error("%s", failed)
        runner = environment.runner
        if runner is not None and runner.shape_greenlet is gevent.getcurrent():
            # else the master would hold the shape for one that goes on
            runner.shape_greenlet = None
        stop_run(environment)
        # the greenlet that would ask for users now; an exception of another sort would be shown as a crash
        raise gevent.GreenletExit

    def _ended_by(self, environment: Environment, keeper: Keeper) -> str:
        if background.failed_part(environment):
            return INTERNAL_ERROR
        if self._unchecked:
            return PREFLIGHT
        if self._signalled:
            return BY_SIGNAL
        if self._deserted:
            return WORKERS_GONE
        if keeper.stopped_by is not None:
            return STOPPED_BY_GATE
        if self._given_up or keeper.broken is not None:
            return "given-up"
        if isinstance(environment.shape_class, ShapeFollower):
            return shape_ended(environment) or BY_HAND
        run_time = getattr(environment.parsed_options, "run_time", None)
        return "run-time" if self._timed_out or (run_time and environment.web_ui is None) else BY_HAND


def _patience_s(environment: Environment) -> float:
    """How long the end of a run may take, of which each part is bounded."""
    closes_s = float(getattr(environment.parsed_options, "close_timeout", 0.0))
    return DRAIN_PATIENCE_S + (environment.stop_timeout or 0.0) + closes_s + END_PATIENCE_S


def register(events: Events) -> Hooks:
    """Listen to ``events``, such as ``locust.events``."""
    hooks = Hooks()
    listeners: dict[str, Callable[..., None]] = {
        "init_command_line_parser": _on_parser,
        "init": hooks.on_init,
        "test_start": hooks.on_test_start,
        "report_to_master": hooks.on_report_to_master,
        "request": hooks.on_request,
        "user_error": hooks.on_user_error,
        "spawning_complete": hooks.on_spawning_complete,
        "test_stopping": hooks.on_test_stopping,
        "test_stop": hooks.on_test_stop,
        "quitting": hooks.on_quitting,
        "quit": hooks.on_quit,
    }
    for event, listener in listeners.items():
        getattr(events, event).add_listener(listener)
    # who reads Locust's statistics at the end of a run finds all of it there, wherever his listener stands
    events.test_stop._handlers.remove(hooks.on_test_stop)
    events.test_stop._handlers.insert(0, hooks.on_test_stop)
    return hooks


def _send_statistics(environment: Environment) -> None:
    """A worker's part of Locust's statistics, now: whoever has our next report has this too."""
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        data: dict[str, Any] = {}
        environment.events.report_to_master.fire(client_id=runner.client_id, data=data)  # type: ignore[no-untyped-call]
        runner.send_message("stats", data)


def _on_parser(parser: LocustArgumentParser, **_: Any) -> None:
    # before Locust prints its help, or anything else
    streams.never_fail_to_encode()
    option_names.keep(parser, [option.flag for option in OPTIONS])
    add_options(parser)
