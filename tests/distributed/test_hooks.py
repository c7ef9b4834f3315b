"""Hooks of a master, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from locust.argument_parser import get_parser
from locust.env import Environment
from locust.event import Events

from scenarios.echo import EchoUser
from tests.distributed.cluster import free_port
from wsoak.ledger.rundir import RunReader
from wsoak.load.hooks import EXIT_INVALID, register


def test_a_run_that_locust_holds_for_stopped_is_judged_all_the_same(tmp_path: Path) -> None:
    events: Any = Events()  # type: ignore[no-untyped-call]
    register(events)
    parsed = get_parser(default_config_files=[]).parse_args(
        ["--run-dir", str(tmp_path / "run"), "--headless", "--master"]
    )
    environment = Environment(
        events=events, user_classes=[EchoUser], host="http://127.0.0.1:1", parsed_options=parsed
    )
    runner = environment.create_master_runner("127.0.0.1", free_port())
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
