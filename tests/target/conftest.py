"""One target for the tests that leave it as they found it."""

from collections.abc import Iterator

import pytest

from tests.target.client import Account, Target, running

SECRET = "a secret of the tests, thirty-two bytes or more"


@pytest.fixture(scope="session")
def target() -> Iterator[Target]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSOAK_JWT_SECRET", SECRET)
        with running() as started:
            yield started


@pytest.fixture
def account(target: Target) -> Account:
    return Account(target)
