"""No report is lost, however a run ends; and every process ends once, in order, soon."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.distributed.cluster import (
    APART,
    FORKS,
    Cluster,
    cluster,
    lost_reports,
    roll,
)
from tests.e2e.processes import EXIT_INVALID, PATIENT, ROOT, Outcome, eventually, invalid_because, is_valid
from tests.target.client import Target
from wsoak.ledger.outcomes import RUN_ENDED

SOCKETS: Final = 60
BOTH: Final = ("EchoUser", "DialogueUser", "--message-rate", "5", *PATIENT)
LONG: Final = ("-u", str(SOCKETS), "-r", str(SOCKETS), "-t", "10m")
ENDS: Final = str(ROOT / "tests" / "distributed" / "locustfile_ends.py")


def nothing_is_lost(done: Outcome, started: Cluster, invalid: frozenset[str] = frozenset()) -> None:
    """All reports are there, all sockets closed by us, and all processes gone; nothing but ``invalid`` is
    wrong with the run."""
    started.all_end()
    assert done.run.ended, done.said
    assert lost_reports(done.run) == [], done.said
    assert len(roll(done.run)) == 2
    assert invalid_because(done.run) == invalid, done.said
    assert done.run.books().open_now == 0
    for said in [done.said, *(worker.said for worker in started.workers)]:
        assert "Traceback" not in said, said


def to_master(started: Cluster, number: signal.Signals) -> None:
    started.master.signal(number)


def control_c(started: Cluster, number: signal.Signals) -> None:
    """As a terminal does it: the whole foreground process group has the signal."""
    os.killpg(started.master.pid, number)


def to_all(started: Cluster, number: signal.Signals) -> None:
    """As a supervisor does it, workers first."""
    for worker in started.workers:
        worker.signal(number)
    started.master.signal(number)


@pytest.mark.parametrize(
    ("way", "send", "number"),
    [
        pytest.param(APART, to_master, signal.SIGINT, id="SIGINT"),
        pytest.param(FORKS, to_master, signal.SIGTERM, id="SIGTERM"),
        pytest.param(FORKS, control_c, signal.SIGINT, id="Ctrl-C"),
        pytest.param(APART, to_all, signal.SIGTERM, id="SIGTERM-to-all"),
    ],
)
def test_a_signal_ends_all_in_order(
    target: Target,
    tmp_path: Path,
    way: str,
    send: Callable[[Cluster, signal.Signals], None],
    number: signal.Signals,
) -> None:
    with cluster(tmp_path, *BOTH, *LONG, "--host", target.url, way=way) as started:
        started.master.wait_for_sockets(SOCKETS)
        send(started, number)
        done = started.wait()
        nothing_is_lost(done, started)
    assert done.run.header["ended_by"] == "signal"
    ends = {(r.code, r.initiator, r.clean) for r in done.run.connections() if r.reason == RUN_ENDED}
    assert ends == {(1000, "client", True)}
    is_valid(done)


def test_a_shape_ends_all_in_order(target: Target, tmp_path: Path) -> None:
    shape = ("--shape", f"ramp:to={SOCKETS},over=2s,hold=5s")
    with cluster(tmp_path, *BOTH, *shape, "--host", target.url, way=APART) as started:
        done = started.wait()
        nothing_is_lost(done, started)
    assert done.run.header["ended_by"] == "shape"
    # all users were there, or the run would not be valid; the last of them may have been cut off
    assert done.run.books().count("opened") > 0
    is_valid(done)


def test_a_shape_that_is_interrupted_ends_all_in_order(target: Target, tmp_path: Path) -> None:
    shape = ("--shape", f"ramp:to={SOCKETS},over=1s,hold=10m")
    with cluster(tmp_path, *BOTH, *shape, "--host", target.url) as started:
        started.master.wait_for_sockets(SOCKETS)
        started.master.signal(signal.SIGTERM)
        done = started.wait()
        nothing_is_lost(done, started)
    assert done.run.header["ended_by"] == "signal"


def test_an_end_in_the_middle_of_the_ramp_asks_for_no_more_users(target: Target, tmp_path: Path) -> None:
    # while the first of them take their time to stop, Locust would go on to ask for more
    ramp = ("SlowUser", "-u", "400", "-r", "20", "-t", "6s")
    with cluster(tmp_path, *ramp, "--host", target.url, way=APART, locustfile=ENDS) as started:
        done = started.wait()
        # what its workers had been told to run by then was not what was asked for
        nothing_is_lost(done, started, invalid=frozenset({"users-below-target"}))
    assert 0 < done.run.books().count("opened") < 400
    last_s = max(record.started_at for record in done.run.connections()) - done.run.header["started_at"]
    # the stop alone takes two seconds
    assert last_s < done.run.header["ended_at"] - done.run.header["started_at"] - 2.0
    assert done.code == EXIT_INVALID, done.said


def test_users_that_stop_slowly_are_waited_for_and_stopped_once(target: Target, tmp_path: Path) -> None:
    users = ("SlowUser", "-u", str(SOCKETS), "-r", str(SOCKETS), "-t", "10m", "--host", target.url)
    leave = tmp_path / "leave"
    with cluster(tmp_path, *users, locustfile=ENDS, env={"TEST_LEAVE": str(leave)}) as started:
        started.master.wait_for_sockets(SOCKETS)
        started.master.signal(signal.SIGTERM)
        started.master.wait_for(
            lambda books: books.count("check_failed", "good-bye") > 0, "users say good-bye"
        )
        # what is under way must not be stopped again
        for worker in started.workers:
            worker.signal(signal.SIGTERM)
        heard = [partial(worker.has_heard, signal.SIGTERM) for worker in started.workers]
        eventually(lambda: all(has() for has in heard), "the workers have heard it")
        leave.touch()
        done = started.wait()
        nothing_is_lost(done, started)
    books = done.run.books()
    assert (books.count("check_passed", "good-bye"), books.count("check_failed", "good-bye")) == (SOCKETS, 0)
    stops = Counter(re.findall(r"^test_stop (\d+)$", done.out, re.MULTILINE))
    assert sorted(stops.values()) == [1, 1, 1]


def test_a_worker_that_gives_up_ends_the_run_for_all_and_says_why(target: Target, tmp_path: Path) -> None:
    users = ("HopelessUser", "-u", str(SOCKETS), "-r", str(SOCKETS), "-t", "10m", "--host", target.url)
    with cluster(tmp_path, *users, locustfile=ENDS, way=APART) as started:
        done = started.wait()
        started.all_end()
    assert done.run.header["ended_by"] == "given-up"
    assert lost_reports(done.run) == []
    assert done.err.count("worker-1: There is no point in it. The run is stopped.") == 1
    assert "Traceback" not in done.said + "".join(worker.said for worker in started.workers)
