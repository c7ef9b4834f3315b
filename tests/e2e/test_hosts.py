"""``--host`` as a first user writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.processes import load
from tests.target.client import running

RATES = ("-u", "5", "-r", "5", "-t", "6s")


@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_a_path_in_the_host_is_asked_for_as_it_is_written(tmp_path: Path, scheme: str) -> None:
    with running() as target:
        host = target.url.replace("http://", f"{scheme}://") + "/echo"
        done = load(tmp_path / "run", "EchoUser", "--host", host, *RATES)
    assert {record.path for record in done.run.connections()} == {"/echo"}
    assert {record.outcome for record in done.run.connections()} == {"open"}, done.said
    assert done.code == 0, done.said
