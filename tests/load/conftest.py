"""Fixtures of the load's tests: certificates, and one embedded target for those that leave it as it was."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.target.client import Target, running
from tests.wire.conftest import certificates

__all__ = ["certificates"]

SECRET = "a secret of the tests, thirty-two bytes or more"


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
