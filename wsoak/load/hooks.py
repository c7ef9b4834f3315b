"""Hooks: the one place where wsoak listens to Locust's events.

    init_command_line_parser   our options
    init                       check the options, start the embedded target
    test_start ──► Run         a run directory, a recorder, a client
    test_stop  ──► finish      close all sockets, write, judge, say what happened
    quitting                   the same where a signal came first; then the exit code
    quit                       the embedded target ends

Locust swallows exceptions from its listeners. What must end the process leaves as ``SystemExit``, which is no
``Exception``.
"""

from __future__ import annotations

import logging
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any, Final, NoReturn

import psutil
from gevent.event import Event
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.event import Events
from locust.exception import StopTest
from locust.runners import MasterRunner, WorkerRunner

from wsoak.judge.terminal import safe
from wsoak.ledger.rundir import UnwritableRun
from wsoak.load.accounts import BadAccounts
from wsoak.load.collector import Judgement
from wsoak.load.options import OPTIONS, BadOptions, Options, add_options
from wsoak.load.run import Run
from wsoak.load.target_process import TargetFailed, TargetProcess
from wsoak.wire.endpoint import BadUrl, Endpoint

log = logging.getLogger(__name__)

EXIT_USAGE: Final = 2
EXIT_INVALID: Final = 4

LEAST_ACCOUNTS: Final = 2_000
"""How many accounts the embedded target seeds at least: the web UI does not know yet how many users come."""


class Hooks:
    """wsoak's state in one Locust process, from ``init`` to ``quit``."""

    def __init__(self) -> None:
        self._environment: Environment | None = None
        self._target: TargetProcess | None = None
        self._run: Run | None = None
        self._judgement: Judgement | None = None
        self._failed = False
        self._signalled = False
        self._finished = Event()
        self._finished.set()

    def on_init(self, environment: Environment, **_: Any) -> None:
        """Check what can be checked before anything starts."""
        if isinstance(environment.runner, MasterRunner | WorkerRunner):
            _refuse(
                [
                    "wsoak's books of several processes are not ready yet: leave out --master, --worker and "
                    "--processes."
                ]
            )
        self._environment = environment
        host = _host_of(environment)
        mistakes = _mistakes(environment.parsed_options, host)
        if mistakes:
            _refuse(mistakes)
        if host is None:
            self._start_target(environment)
        if environment.web_ui is not None:
            self._check_form(environment)

    def on_test_start(self, environment: Environment, **_: Any) -> None:
        """Begin a run."""
        self._failed = False
        self._judgement = None
        try:
            options = Options.of(environment.parsed_options)
            watched = [options.watch] if options.watch else []
            embedded = self._target is not None and environment.host == self._target.url
            if self._target is not None and embedded:
                watched.append(str(self._target.pid))
            self._run = Run(
                environment,
                options,
                _host_of(environment) or "",
                embedded=embedded,
                watched=watched,
                show=_show if environment.web_ui is None else None,
            )
        except (BadOptions, BadAccounts, UnwritableRun, OSError, psutil.Error) as error:
            self._refuse_run(environment, error)
        else:
            self._finished.clear()
            environment.wsoak_generator = self._run.generator  # type: ignore[attr-defined]

    def on_test_stop(self, environment: Environment, **_: Any) -> None:
        """End the run; Locust has stopped the users."""
        run, self._run = self._run, None
        if run is None:
            return
        environment.wsoak_generator = None  # type: ignore[attr-defined]
        try:
            self._judgement = run.finish("signal" if self._signalled else _ended_by(environment, run))
        except UnwritableRun as error:
            self._failed = True
            if run.broken is None:
                log.error("%s The run cannot be judged.", error)
        else:
            _say(self._judgement)
        finally:
            self._finished.set()

    def on_quitting(self, environment: Environment, **_: Any) -> None:
        """Stop what still runs (a signal comes here first), and set the exit code."""
        if self._run is not None and environment.runner is not None:
            self._signalled = True
            environment.runner.stop()
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

    def _start_target(self, environment: Environment) -> None:
        wanted = getattr(environment.parsed_options, "num_users", None) or 0
        try:
            target = TargetProcess(max(LEAST_ACCOUNTS, wanted))
        except TargetFailed as error:
            _refuse([str(error)])
        self._target = target
        environment.host = target.url
        log.info("No host was given: load goes to the embedded target at %s.", target.url)

    def _refuse_run(self, environment: Environment, error: Exception) -> None:
        """The run cannot begin: in the web UI say so and go on, else end."""
        for sentence in error.mistakes if isinstance(error, BadOptions) else [str(error)]:
            log.error("%s", sentence)
        self._failed = True
        if environment.web_ui is None:
            self.on_quit()
            raise SystemExit(EXIT_USAGE)
        # one of the few exceptions that Locust lets through: it stops the test before there are users
        raise StopTest("The run cannot begin.")

    def _check_form(self, environment: Environment) -> None:
        """Refuse a start with mistaken options in the web form itself, in our own words."""
        from flask import Response, jsonify, request

        assert environment.web_ui is not None
        assert environment.web_ui.app is not None

        def check() -> Response | None:
            if request.endpoint != "locust.swarm":
                return None
            merged = Namespace(**vars(environment.parsed_options or Namespace()))
            for option in OPTIONS:
                if option.dest in request.form:
                    setattr(merged, option.dest, request.form[option.dest])
            mistakes = _mistakes(merged, request.form.get("host") or _host_of(environment) or "")
            return jsonify({"success": False, "message": " ".join(mistakes)}) if mistakes else None

        environment.web_ui.app.before_request(check)


def register(events: Events) -> Hooks:
    """Listen to ``events``, such as ``locust.events``."""
    hooks = Hooks()
    listeners: dict[str, Callable[..., None]] = {
        "init_command_line_parser": _on_parser,
        "init": hooks.on_init,
        "test_start": hooks.on_test_start,
        "test_stop": hooks.on_test_stop,
        "quitting": hooks.on_quitting,
        "quit": hooks.on_quit,
    }
    for event, listener in listeners.items():
        getattr(events, event).add_listener(listener)
    return hooks


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


def _ended_by(environment: Environment, run: Run) -> str:
    if run.generator.given_up or run.broken is not None:
        return "given-up"
    run_time = getattr(environment.parsed_options, "run_time", None)
    return "run-time" if run_time and environment.web_ui is None else "stopped"


def _refuse(sentences: list[str]) -> NoReturn:
    for sentence in sentences:
        print(sentence, file=sys.stderr)
    raise SystemExit(EXIT_USAGE)


def _show(text: str) -> None:
    print(f"wsoak {text}", flush=True)


def _say(judgement: Judgement) -> None:
    print()
    for sentence in judgement.sentences:
        print(safe(sentence, limit=2_000))
    print(
        f"The run is in {judgement.path}; draw it with: python -m analysis report {judgement.path}",
        flush=True,
    )
