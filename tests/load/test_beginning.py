"""Beginning: the load that a run is planned for, as the checks before it must know it."""

from __future__ import annotations

from typing import Any

import pytest
from locust import LoadTestShape
from locust.argument_parser import get_parser
from locust.env import Environment
from locust.event import Events

from scenarios.echo import EchoUser
from wsoak.load.beginning import plan_of
from wsoak.load.checks.limits import Plan
from wsoak.load.hooks import register
from wsoak.load.shape_follower import offer_shape

HOST = "http://127.0.0.1:1"


class OwnShape(LoadTestShape):
    """A shape of the locustfile's."""

    def tick(self) -> None:
        """It is over."""


class ElsewhereUser(EchoUser):
    """Has a host of its own."""

    host = "http://127.0.0.2:1"


def planned(*arguments: str, users: int = 0, shape: Any = None, **more: Any) -> Plan:
    events: Any = Events()  # type: ignore[no-untyped-call]
    register(events)
    environment = Environment(
        events=events,
        shape_class=shape,
        parsed_options=get_parser(default_config_files=[]).parse_args(list(arguments)),
        **{"user_classes": [EchoUser], "host": HOST, **more},
    )
    runner = environment.create_local_runner()
    runner.target_user_count = users
    offer_shape(environment, environment.parsed_options.shape)  # type: ignore[union-attr]
    found = plan_of(environment)
    runner.quit()
    return found


@pytest.mark.parametrize(
    ("arguments", "more", "expected"),
    [
        ((), {}, Plan(1)),
        ((), {"users": 500}, Plan(500)),
        (("--sockets-per-user", "3"), {"users": 5}, Plan(5, sockets_per_user=3)),
        (("--source-ips", "127.0.0.1,127.0.0.2"), {}, Plan(1, sources=2)),
        # a shape's first step says nothing of its peak
        (("--shape", "ramp:from=1,to=700,over=10s"), {"users": 1}, Plan(700)),
        ((), {"users": 5, "shape": OwnShape()}, Plan(None)),  # type: ignore[no-untyped-call]
        ((), {"user_classes": [EchoUser, ElsewhereUser]}, Plan(1)),
        ((), {"user_classes": [ElsewhereUser], "host": None}, Plan(1)),
    ],
)
def test_the_users_to_come_are_planned_for(
    arguments: tuple[str, ...], more: dict[str, Any], expected: Plan
) -> None:
    assert planned(*arguments, **more) == expected
