"""A target for the tests that leave nothing behind in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.target.client import Target, running


@pytest.fixture(scope="session")
def target() -> Iterator[Target]:
    """A target that many runs go to, one after the other."""
    with running("--accounts", "400") as started:
        yield started
