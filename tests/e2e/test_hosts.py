"""``--host`` as a first user writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.processes import PATIENT, is_valid, loading
from tests.target.client import running

SOCKETS = 5


@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_a_path_in_the_host_is_asked_for_as_it_is_written(tmp_path: Path, scheme: str) -> None:
    with running() as target:
        host = target.url.replace("http://", f"{scheme}://") + "/echo"
        users = ("EchoUser", "-u", str(SOCKETS), "-r", str(SOCKETS), "-t", "10m", *PATIENT)
        with loading(tmp_path / "run", *users, "--host", host) as run:
            run.wait_for_sockets(SOCKETS)
            done = run.end()
    assert {record.path for record in done.run.connections()} == {"/echo"}
    assert {record.outcome for record in done.run.connections()} == {"open"}, done.said
    is_valid(done)
