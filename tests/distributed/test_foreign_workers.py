"""Workers of somebody else's that know the port of a master which has forked its own."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.distributed.cluster import LOCUSTFILE, cluster, lost_reports, roll
from tests.e2e.processes import ENDLESS, PATIENT, eventually, invalid_because
from tests.target.client import Target

SOCKETS: Final = 40
USERS: Final = ("EchoUser", "-u", str(SOCKETS), "-r", str(SOCKETS), *ENDLESS, *PATIENT)


def test_a_master_with_forks_turns_other_workers_away(target: Target, tmp_path: Path) -> None:
    with cluster(tmp_path, *USERS, "--host", target.url) as started:
        # one that comes with the forks, and one in the middle of the run
        early = started.add_worker("-f", LOCUSTFILE)
        started.master.wait_for_sockets(SOCKETS)
        late = started.add_worker("-f", LOCUSTFILE)
        for worker in (early, late):
            eventually(lambda worker=worker: not worker.lives, "the worker has ended")  # type: ignore[misc]
            (sentence,) = (line for line in worker.said.splitlines() if "The master takes no workers" in line)
            assert "but those that it has forked itself (--processes)" in sentence
            assert "Traceback" not in worker.said
        done = started.master.end()
        started.all_end()
    assert list(roll(done.run)) == ["worker-0", "worker-1"]
    assert done.run.header["expected_workers"] == 2
    assert lost_reports(done.run) == []
    assert invalid_because(done.run) == set()
    assert done.run.books().count("opened") == SOCKETS
    assert done.err.count("A worker was turned away, as it is no fork of this process: ") == 2
