"""Fixtures of the load's tests: certificates, and one embedded target for those that leave it as it was.

And patience: what comes has its time, however busy the machine is.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Final

import pytest

from tests.target.client import Target, running
from tests.wire.conftest import certificates
from tests.wire.harness import PATIENCE_S
from wsoak.load.checks.answers import Prober
from wsoak.load.checks.routes import RouteProbe

__all__ = ["certificates"]

SECRET = "a secret of the tests, thirty-two bytes or more"


TIME_OUTS: Final = (
    "wsoak.load.clock.READ_TIMEOUT_S",
    "wsoak.load.gauges.FETCH_TIMEOUT_S",
    "wsoak.load.checks.network.CONNECT_S",
    "wsoak.load.checks.network.HEALTH_S",
    "wsoak.load.checks.network.READ_TIMEOUT_S",
    "wsoak.load.checks.preflight.NETWORK_S",
    "wsoak.load.checks.preflight.DOORS_S",
    "wsoak.load.checks.rehearsal.LEAST_S",
    "wsoak.load.checks.routes.PATIENCE_S",
    "wsoak.load.checks.routes.GRACE_S",
)


@pytest.fixture(scope="package", autouse=True)
def patient() -> Iterator[None]:
    """Who waits for what does come waits long enough, and no run is invalid as the machine was busy.

    A test of a time-out sets its own.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in TIME_OUTS:
            patch.setattr(name, PATIENCE_S)
        patch.setattr(Prober.__init__, "__defaults__", (PATIENCE_S,))
        patch.setattr(RouteProbe.wait, "__defaults__", (PATIENCE_S,))
        patch.setattr("wsoak.judge.validity.LAG_SHARE", math.inf)
        patch.setattr("wsoak.judge.validity.SATURATED_SHARE", 1.0)
        patch.setattr("wsoak.judge.validity.STARVED_SHARE", math.inf)
        patch.setattr("wsoak.judge.littles_law.LITTLE_SECONDS", 10**6)
        yield


@pytest.fixture(scope="session")
def target() -> Iterator[Target]:
    """An embedded target."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSOAK_JWT_SECRET", SECRET)
        with running() as started:
            yield started


@pytest.fixture(autouse=True)
def command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Locust reads the process's own command line for each page of its web UI."""
    monkeypatch.setattr(sys, "argv", ["locust"])
