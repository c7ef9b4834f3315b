"""Which process reads which option, who says what is wrong with it, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from tests.distributed.cluster import APART, LOCUSTFILE, cluster, lost_reports
from tests.e2e.processes import ENDLESS, PATIENT, eventually, invalid_because
from tests.target.client import Target, running
from wsoak.ledger.books import Books
from wsoak.load.console import EXIT_USAGE

SOCKETS: Final = 20
USERS: Final = ("EchoUser", "-u", str(SOCKETS), "-r", str(SOCKETS), *ENDLESS, *PATIENT)
THEIR_SOCKETS: Final = "wsoak_target_open_sockets"


def watchers(books: Books) -> dict[str, set[str]]:
    """Who watched a server, and which of its gauges."""
    found: dict[str, set[str]] = {}
    for worker, source, name in books.gauges:
        if source == "target":
            found.setdefault(worker, set()).add(name.partition("{")[0])
    return found


def test_what_belongs_to_a_workers_host_is_read_from_its_own_command_line(tmp_path: Path) -> None:
    with running() as target, running() as other:
        masters = ("--watch", str(target.pid), "--source-ips", "127.0.0.2")
        with cluster(tmp_path, *USERS, *masters, "--host", target.url, way=APART, workers=0) as started:
            started.add_worker("-f", LOCUSTFILE)
            watch = ("--watch", f"{other.url}/metrics", "--source-ips", "127.0.0.3")
            started.add_worker("-f", LOCUSTFILE, *watch)
            started.master.wait_for_sockets(SOCKETS)
            started.master.wait_for(
                lambda books: len(watchers(books)) > 1, "both watch what they were told to"
            )
            done = started.master.end()
            started.all_end()
        # by the peers that the target saw, through the sockets' own ends
        books = done.run.books()
        assert books.count("opened") == SOCKETS == target.metric("wsoak_target_handshakes_total")
    watched = watchers(books)
    # a process shows its memory, and a page what the server says of itself besides
    assert THEIR_SOCKETS not in watched.pop("master")
    ((worker, gauges),) = watched.items()
    assert THEIR_SOCKETS in gauges
    loaded = [
        summary.greatest
        for (of, source, name), summary in books.gauges.items()
        if (of, source, name.partition("{")[0]) == (worker, "target", THEIR_SOCKETS)
    ]
    assert max(loaded) == 0, "it is the other one that is watched"
    assert done.run.header["options"]["source_ips"] == ["127.0.0.2"]
    assert invalid_because(done.run) == set()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(("--message-rate", "-1"), "--message-rate", id="an option"),
        pytest.param(("--host", "ftp://127.0.0.1"), "ftp", id="the host"),
        pytest.param(("--shape", "soak:"), "--shape", id="the shape"),
    ],
)
def test_a_mistake_is_told_once_by_the_master_and_no_fork_is_left(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    with cluster(tmp_path, *USERS, *arguments, forks_are_known=False) as started:
        done = started.wait()
        started.group_ends()
    assert done.code == EXIT_USAGE, done.said
    told = [line for line in done.err.splitlines() if sentence in line]
    assert len(told) == 1, done.said
    assert not done.path.exists()
    assert "Traceback" not in done.said


def test_a_worker_whose_own_option_is_wrong_ends_and_the_master_waits_for_another(
    target: Target, tmp_path: Path
) -> None:
    with cluster(tmp_path, *USERS, "--host", target.url, way=APART, workers=0) as started:
        wrong = started.add_worker("-f", LOCUSTFILE, "--watch", "nothing")
        eventually(lambda: not wrong.lives, "the worker has ended")
        assert "--watch: nothing is neither a process id nor the http URL of a metrics page." in wrong.said
        assert "Traceback" not in wrong.said
        eventually(
            lambda: "A worker has left: --watch: nothing" in started.master.so_far().err, "the master knows"
        )
        started.add_worker("-f", LOCUSTFILE)
        started.add_worker("-f", LOCUSTFILE)
        started.master.wait_for_sockets(SOCKETS)
        done = started.master.end()
        started.all_end()
    assert lost_reports(done.run) == []
    assert invalid_because(done.run) == set()
    assert done.run.header["expected_workers"] == 2


def test_a_file_that_only_the_workers_read_ends_the_run_as_a_mistake(target: Target, tmp_path: Path) -> None:
    accounts = tmp_path / "accounts.csv"
    accounts.write_text("phone,password\n13900000002\n")
    users = ("DialogueUser", "-u", "4", "-r", "4", "-t", "10m", "--accounts", str(accounts))
    with cluster(tmp_path, *users, "--host", target.url, way=APART) as started:
        done = started.wait()
        started.all_end()
    assert done.code == EXIT_USAGE, done.said
    assert "has 1 fields, and its header 2. The run is stopped." in done.err
    assert "Traceback" not in done.said + "".join(worker.said for worker in started.workers)
    assert json.loads((done.path / "run.json").read_text())["ended_by"] == "given-up"


def test_workers_elsewhere_cannot_reach_an_embedded_target(tmp_path: Path) -> None:
    with cluster(tmp_path, *USERS, way=APART, workers=0) as started:
        done = started.wait()
    assert done.code == EXIT_USAGE, done.said
    assert "Give a --host" in done.err
