"""Internal errors: what breaks of ours in a worker ends the whole run, and its record says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.distributed.cluster import APART, FORKS, cluster
from tests.target.client import Target

EXIT_INTERNAL = 2
BREAKS = str(Path(__file__).with_name("locustfile_breaks.py"))


@pytest.mark.parametrize("way", [FORKS, APART])
def test_a_reporter_that_breaks_in_a_worker_ends_the_run_as_an_internal_error(
    way: str, target: Target, tmp_path: Path
) -> None:
    users = ("EchoUser", "-u", "4", "-r", "4", "-t", "10m", "--host", f"{target.url}/echo")
    with cluster(tmp_path, *users, way=way, locustfile=BREAKS) as started:
        done = started.wait()
        started.all_end()
    assert done.code == EXIT_INTERNAL, done.said
    assert "internal error of wsoak in the reporter, as its log says" in done.err
    said = done.said + "".join(worker.said for worker in started.workers if way == APART)
    assert "RuntimeError: a mistake of ours" in said
    assert json.loads((done.path / "run.json").read_text())["ended_by"] == "internal-error"
    assert "wsoak's own code failed" in done.said
