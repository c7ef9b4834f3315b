"""Hooks of a master and of a worker, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gevent
from locust.argument_parser import get_parser
from locust.env import Environment
from locust.event import Events
from locust.runners import WorkerRunner

from scenarios.echo import EchoUser
from tests.distributed.cluster import free_port
from tests.e2e.processes import PATIENCE_S
from wsoak.ledger.rundir import RunReader
from wsoak.load.hooks import EXIT_INVALID, register
from wsoak.load.relay import REPORT
from wsoak.load.ticket import Ticket


def test_a_run_that_locust_holds_for_stopped_is_judged_all_the_same(tmp_path: Path) -> None:
    events: Any = Events()  # type: ignore[no-untyped-call]
    register(events)
    parsed = get_parser(default_config_files=[]).parse_args(
        ["--run-dir", str(tmp_path / "run"), "--checks", "none", "--headless", "--master"]
    )
    environment = Environment(
        events=events, user_classes=[EchoUser], host="http://127.0.0.1:1", parsed_options=parsed
    )
    with free_port() as port:
        runner = environment.create_master_runner("127.0.0.1", port)
    events.init.fire(environment=environment, runner=runner, web_ui=None)
    events.test_start.fire(environment=environment)
    # no worker has come: the state says that there is nothing to stop
    assert runner.state == "ready"
    assert not RunReader(tmp_path / "run").ended
    events.quitting.fire(environment=environment, reverse=True)
    events.quit.fire(exit_code=0)
    run = RunReader(tmp_path / "run")
    assert run.ended
    assert (run.header["ended_by"], run.header["workers"]) == ("signal", [])
    assert environment.process_exit_code == EXIT_INVALID


class Worker(WorkerRunner):
    """A worker's runner without a master."""

    def __init__(self) -> None:
        self.worker_index = 2
        self.client_id = "third"
        self.sent: list[str] = []
        self.custom_messages = {}

    def __del__(self) -> None:
        """Nothing to end."""

    def send_message(self, msg_type: str, data: Any = None, client_id: str | None = None) -> None:
        """See ``locust.runners.WorkerRunner``."""
        del data, client_id
        self.sent.append(msg_type)


def test_a_worker_that_is_told_to_begin_before_it_is_ready_begins_when_it_is() -> None:
    events: Any = Events()  # type: ignore[no-untyped-call]
    hooks = register(events)
    parsed = get_parser(default_config_files=[]).parse_args(["--worker"])
    environment = Environment(events=events, user_classes=[EchoUser], parsed_options=parsed)
    Ticket("a-run", embedded=False, shares={"worker-2": 1}, of=2).attach(parsed)
    begun = gevent.spawn(events.test_start.fire, environment=environment)
    gevent.idle()
    assert not begun.ready()
    environment.runner = runner = Worker()
    events.init.fire(environment=environment, runner=runner, web_ui=None)
    begun.get(timeout=PATIENCE_S)
    generator: Any = environment.wsoak_generator  # type: ignore[attr-defined]
    assert (generator.run_id, generator.worker_index) == ("a-run", 2)
    assert generator.accounts.next("U", lambda number: {"n": str(number)}) == {"n": "1"}
    hooks.on_test_stop(environment)
    assert runner.sent[-2:] == ["stats", REPORT]
    events.quit.fire(exit_code=0)
