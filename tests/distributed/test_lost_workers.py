"""Workers that die, freeze, come late, leave or are cut off: who, and for how long; a master that dies."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Final

import psutil

from tests.distributed.cluster import (
    APART,
    LOCUSTFILE,
    SOON,
    cluster,
    lost_reports,
    roll,
)
from tests.distributed.relay import relaying
from tests.e2e.processes import (
    BUSY,
    PATIENT,
    ROOT,
    analysis,
    doubts_of,
    eventually,
    invalid_because,
    is_alive,
)
from tests.target.client import Target, running
from wsoak.ledger.books import Books
from wsoak.load.hooks import EXIT_INVALID
from wsoak.load.keeper import DRAIN_PATIENCE_S, HEARD_WITHIN_S
from wsoak.load.relay import LATE_S, RESEND_AFTER_S, SILENCE_S

SOCKETS: Final = 40
LONG: Final = (
    *("EchoUser", "-u", str(SOCKETS), "-r", str(SOCKETS), "-t", "10m", "--message-rate", "5"),
    *("--reply-timeout", "60", "--handshake-timeout", "60"),
)
CLOCKS_S: Final = 1.0
"""What dates by two clocks may differ by: a run's begins a moment after its start was dated."""
UNTIMELY: Final = frozenset({"few-samples", "worker-late", "clock-skew", *BUSY})
"""Remarks on when processes began and their reports came, and on how long the test went on."""
NAMES: Final = ("worker-0", "worker-1", "worker-2")
ENDS: Final = str(ROOT / "tests" / "distributed" / "locustfile_ends.py")


def after(moment: float, seconds: float) -> None:
    """Wait until so many seconds have passed since a moment of ``time.monotonic``."""
    eventually(lambda: time.monotonic() > moment + seconds, f"{seconds} s have passed")


def last_open(books: Books, worker: str) -> float:
    """When this worker last counted its open sockets, and had some then; Unix seconds."""
    gauge = books.gauges.get((worker, "generator", "open_sockets"))
    return gauge.last_at if gauge is not None and gauge.last > 0 else 0.0


def test_a_worker_that_is_killed_is_named_and_one_in_its_place_takes_its_share(
    target: Target, tmp_path: Path
) -> None:
    with cluster(tmp_path, *LONG, "--host", target.url, way=APART, env=SOON) as started:
        started.master.wait_for_sockets(SOCKETS)
        began = time.monotonic()
        started.workers[0].signal(signal.SIGKILL)
        # until it has not been heard for so long, another one in its place is one too many
        after(began, max(LATE_S, HEARD_WITHIN_S))
        eventually(
            lambda: "setting state to missing" in started.master.so_far().err, "the master misses a worker"
        )
        missed_at = time.time()
        started.add_worker("-f", LOCUSTFILE)
        started.master.wait_for(lambda books: last_open(books, "worker-2") > 0, "the new worker has sockets")
        asked_at = time.time()
        started.master.signal(signal.SIGTERM)
        done = started.wait()
        started.all_end()
    (lost,) = lost_reports(done.run)
    assert lost in ("worker-0", "worker-1")
    begin, end = roll(done.run)[lost]["missing_s"][-1]
    started_at, ended_at = done.run.header["started_at"], done.run.header["ended_at"]
    last = max(gauge.at for gauge in done.run.gauges() if gauge.worker == lost)
    # its figures are here up to its last report, and missing from then on to the run's end
    assert last - CLOCKS_S <= started_at + begin <= missed_at + CLOCKS_S
    assert asked_at - CLOCKS_S <= started_at + end <= ended_at + CLOCKS_S
    (doubt,) = doubts_of(done.run)["worker-lost"]
    assert doubt.reason.startswith(f"{lost} was lost: it never sent its last report; its figures are missing")
    # the others may have been late too
    assert doubts_of(done.run)["worker-late"][-1].reason.startswith("worker-2 joined ")
    assert invalid_because(done.run) == {"worker-lost"}
    assert doubt.reason in done.out
    assert done.code == EXIT_INVALID, done.said
    assert "share others' accounts" not in done.err


def test_a_worker_that_was_frozen_and_one_that_left_are_named_with_the_seconds(
    target: Target, tmp_path: Path
) -> None:
    with cluster(tmp_path, *LONG, "--host", target.url, way=APART, workers=3, env=SOON) as started:
        started.master.wait_for_sockets(SOCKETS)
        leaving, frozen, _ = started.workers
        frozen.signal(signal.SIGSTOP)
        froze, froze_at = time.monotonic(), time.time()
        leaving.signal(signal.SIGTERM)
        after(froze, SILENCE_S + 2.0)
        eventually(lambda: not leaving.lives, "the one that leaves has left")
        continued_at = time.time()
        frozen.signal(signal.SIGCONT)
        started.master.wait_for(
            lambda books: sum(last_open(books, name) > continued_at for name in NAMES) == 2,
            "the other two go on",
        )
        heard_at = time.time()
        started.master.signal(signal.SIGTERM)
        done = started.wait()
        started.all_end()
    assert lost_reports(done.run) == []
    # a worker that stood still was late as well
    assert invalid_because(done.run) - {"hub-lag", "send-lag"} == {"worker-left"}
    # a busy machine may freeze others too, at other times
    started_at = done.run.header["started_at"]
    spans = {
        worker["worker"]: [(started_at + begin, started_at + end) for begin, end in worker["missing_s"]]
        for worker in roll(done.run).values()
    }
    (silent,) = (
        name
        for name, missing in spans.items()
        if any(begin <= froze_at + CLOCKS_S and continued_at - CLOCKS_S <= end for begin, end in missing)
    )
    assert max(end for _, end in spans[silent]) <= heard_at + CLOCKS_S
    reasons = [doubt.reason for doubt in doubts_of(done.run)["worker-frozen"] if doubt.invalid]
    assert any(reason.startswith(f"{silent} was silent for ") for reason in reasons)
    (gone,) = [worker for worker in roll(done.run).values() if worker["left_s"] is not None]
    (doubt,) = doubts_of(done.run)["worker-left"]
    assert doubt.reason.startswith(f"{gone['worker']} left the run ")
    assert gone["worker"] != silent
    assert not leaving.lives
    assert done.run.books().open_now == 0
    assert done.code == EXIT_INVALID, done.said


def test_a_worker_that_stays_frozen_is_not_waited_for(target: Target, tmp_path: Path) -> None:
    with cluster(tmp_path, *LONG, "--host", target.url, env=SOON) as started:
        started.master.wait_for_sockets(SOCKETS)
        started.workers[0].signal(signal.SIGSTOP)
        started.master.signal(signal.SIGTERM)
        asked = time.monotonic()
        done = started.wait()
        took_s = time.monotonic() - asked
        # a frozen fork would never see that its master has gone
        started.all_end()
    (lost,) = lost_reports(done.run)
    assert [doubt.reason.split(" was lost")[0] for doubt in doubts_of(done.run)["worker-lost"]] == [lost]
    assert took_s < DRAIN_PATIENCE_S
    assert done.code == EXIT_INVALID, done.said


def test_a_run_without_workers_ends_at_once_and_says_so(target: Target, tmp_path: Path) -> None:
    with cluster(tmp_path, *LONG, "--host", target.url, env=SOON) as started:
        started.master.wait_for_sockets(SOCKETS)
        for worker in started.workers:
            worker.signal(signal.SIGKILL)
        done = started.wait()
    assert done.run.header["ended_by"] == "workers-gone"
    assert invalid_because(done.run) == {"workers-gone", "worker-lost"}
    assert len(lost_reports(done.run)) == 2
    assert "The run ended early: no worker was left to go on with it." in done.out
    assert done.code == EXIT_INVALID, done.said


def test_reports_that_a_broken_connection_lost_are_sent_again(tmp_path: Path) -> None:
    users = (*LONG, *PATIENT)
    with (
        running() as target,
        cluster(tmp_path, *users, "--host", target.url, way=APART, workers=0) as started,
    ):
        with relaying(started.port) as relay:
            started.add_worker("-f", LOCUSTFILE, port=relay.port)
            started.add_worker("-f", LOCUSTFILE)
            started.master.wait_for_sockets(SOCKETS)
            relay.cut()
            after(time.monotonic(), RESEND_AFTER_S / 2)
            relay.join()
            joined_at = time.time()
            started.master.wait_for(
                lambda books: all(last_open(books, name) > joined_at for name in NAMES[:2]),
                "both are heard again",
            )
            started.master.signal(signal.SIGTERM)
            done = started.wait()
            started.all_end()
        books = done.run.books()
        assert lost_reports(done.run) == [], done.said
        assert doubts_of(done.run).keys() <= UNTIMELY, done.said
        eventually(lambda: not target.metric("wsoak_target_open_sockets"), "the target has seen all end")
        assert books.count("opened") == target.metric("wsoak_target_handshakes_total")
        assert books.count("sent") == target.metric("wsoak_target_messages_received_total")
        assert books.count("received") == target.metric("wsoak_target_messages_sent_total")
        assert books.count("closed") == target.metric("wsoak_target_closes_total")


def test_a_master_that_is_killed_leaves_a_readable_run_no_target_and_no_forks(tmp_path: Path) -> None:
    with cluster(tmp_path, *LONG) as started:
        started.master.wait_for_sockets(SOCKETS)
        embedded = started.master.target_pid()
        for worker in started.workers:
            assert not pipes_of(embedded) & pipes_of(worker.process.pid)
        started.master.signal(signal.SIGKILL)
        done = started.wait()
        eventually(lambda: not is_alive(embedded), "the embedded target has ended")
        started.all_end()
    why = "The process that forked this worker has ended: this worker ends."
    assert started.master.so_far().err.count(why) == 2
    assert done.run.cut
    assert "ended_at" not in json.loads((done.path / "run.json").read_text())
    books = done.run.books()
    assert (books.open_now, books.count("opened")) == (SOCKETS, SOCKETS)
    assert invalid_because(done.run) == {"cut"}
    answer = analysis("diagnose", done.path)
    assert "The run was cut" in " ".join(answer.stdout.split())


def test_workers_whose_master_was_killed_end_their_load(target: Target, tmp_path: Path) -> None:
    env = {"TEST_UNHEARD_TURNS": "6"}
    users = ("EndlessUser", *LONG[1:], "--host", target.url)
    with cluster(tmp_path, *users, locustfile=ENDS, way=APART, env=env) as started:
        started.master.wait_for_sockets(SOCKETS)
        started.master.signal(signal.SIGKILL)
        started.wait()
        started.all_end()
        for worker in started.workers:
            assert "The master does not answer any more: this worker ends." in worker.said
            assert "Traceback" not in worker.said
        eventually(lambda: not target.metric("wsoak_target_open_sockets"), "the target is left in peace")


def pipes_of(pid: int) -> set[str]:
    """The pipes that a process holds open, by the kernel's names."""
    held = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            name = str(descriptor.readlink())
        except FileNotFoundError:
            continue
        if name.startswith("pipe:"):
            held.add(name)
    assert psutil.pid_exists(pid)
    return held
