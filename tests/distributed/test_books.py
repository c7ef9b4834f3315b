"""One set of books from two workers: equal to the target's own counters, and to Locust's tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.distributed.cluster import WAYS, Cluster, cluster, lost_reports, roll
from tests.e2e.processes import (
    BUSY,
    ENDLESS,
    PATIENT,
    ROOT,
    Outcome,
    doubts_of,
    eventually,
    findings,
    invalid_because,
    is_valid,
)
from tests.target.client import Target, running
from wsoak.ledger.books import Books

USERS: Final = 240
DIALOGUES: Final = USERS // 3
SYSTEMS: Final = ("echo", "dialogue")
COUNTERS: Final = {
    "opened": "handshakes_total",
    "closed": "closes_total",
    "sent": "messages_received_total",
    "received": "messages_sent_total",
    "bytes_sent": "bytes_received_total",
    "bytes_received": "bytes_sent_total",
}
OWN_CPU: Final = ("generator", "cpu_share")
WORKERS: Final = ("worker-0", "worker-1")
READINGS: Final = 5
UNTIMELY: Final = frozenset({"few-samples", "worker-late", "clock-skew", *BUSY})
"""Remarks on when processes began and their reports came, and on how long the test went on."""

Run = tuple[Target, Outcome, Cluster]


@pytest.fixture(scope="module", params=WAYS)
def healthy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A healthy run of both systems, and the target that only it went to."""
    folder = tmp_path_factory.mktemp(request.param)
    # a dialogue has twenty messages: none ends before the run, so that no socket is being opened at its end
    load = ("-u", str(USERS), "-r", "120", *ENDLESS, *PATIENT, "--message-rate", "0.5")
    shown = ("--json-file", str(folder / "stats"))
    scenario = str(ROOT / "tests" / "distributed" / "locustfile_shares.py")
    with (
        running("--accounts", str(USERS)) as target,
        cluster(
            folder,
            *(*load, *shown, "--watch", str(target.pid), "--host", target.url),
            way=request.param,
            locustfile=scenario,
        ) as started,
    ):
        started.master.wait_for(has_seen_enough, "all sockets were in use, and every gauge was read")
        done = started.master.end()
        started.all_end()
        eventually(lambda: not target.metric("wsoak_target_open_sockets"), "the target has seen all end")
        yield target, done, started


def has_seen_enough(books: Books) -> bool:
    """Whether the run can end: enough was answered, and each process has looked at itself often enough."""
    readings = [books.gauges.get((name, *OWN_CPU)) for name in ("master", *WORKERS)]
    read = all(summary is not None and summary.count >= READINGS for summary in readings)
    watched = any(source == "target" for _, source, _ in books.gauges)
    used = books.open_now == USERS and all(
        books.count("replies", system) > USERS and books.count("sent", system) > USERS for system in SYSTEMS
    )
    return used and read and watched


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_count_is_the_targets(healthy: Run, system: str) -> None:
    target, done, _ = healthy
    books = done.run.books()
    ours = {name: books.count(name, system) for name in COUNTERS}
    theirs = {name: target.metric(f"wsoak_target_{of}", system=system) for name, of in COUNTERS.items()}
    assert ours == theirs
    assert ours["sent"] > USERS
    assert ours["opened"] >= DIALOGUES


def test_every_close_is_the_one_that_the_target_saw(healthy: Run) -> None:
    target, done, _ = healthy
    ends = Counter((r.name, r.code, r.initiator) for r in done.run.connections())
    for (system, code, initiator), count in ends.items():
        labels = {"system": system, "code": str(code), "initiator": str(initiator)}
        assert count == target.metric("wsoak_target_closes_total", **labels), labels
    assert ends.total() == target.metric("wsoak_target_closes_total")


def test_all_reports_are_there_and_the_run_is_valid(healthy: Run) -> None:
    _, done, _ = healthy
    assert lost_reports(done.run) == []
    assert list(roll(done.run)) == list(WORKERS)
    assert all(worker["reports"] > 4 for worker in roll(done.run).values())
    assert doubts_of(done.run).keys() <= UNTIMELY, done.said
    assert invalid_because(done.run) == set()
    assert findings(done.path) == []
    assert "Traceback" not in done.said
    is_valid(done)


def test_locusts_own_tables_on_the_master_say_the_same(healthy: Run) -> None:
    _, done, started = healthy
    tables: dict[tuple[str, str], dict[str, Any]] = {
        (entry["method"], entry["name"]): entry
        for entry in json.loads((started.folder / "stats.json").read_text())
    }
    books = done.run.books()
    for system in SYSTEMS:
        replied = sum(books.count(name, system) for name in ("replies", "reply_timeouts", "reply_lost"))
        assert tables["WSREQ", system]["num_requests"] == replied > USERS
        assert tables["WSOPEN", system]["num_requests"] == books.count("opened", system)
        assert tables["WSCLOSE", system]["num_requests"] == books.count("closed", system)
    assert tables["POST", "/v1/auth/login"]["num_requests"] == DIALOGUES


def test_the_workers_share_the_load_and_nothing_else(healthy: Run) -> None:
    _, done, _ = healthy
    told: dict[str, dict[str, set[str]]] = {worker: {} for worker in WORKERS}
    for row in done.run.timeline():
        kind, _, text = row.name.partition(" ")
        if text:
            told[row.worker].setdefault(kind, set()).add(text)
    first, second = (told[worker] for worker in WORKERS)
    assert first["run"] == second["run"] == {done.run.run_id}
    for kind, many in (("draw", USERS), ("account", DIALOGUES)):
        assert first[kind]
        assert second[kind]
        assert not first[kind] & second[kind]
        assert len(first[kind] | second[kind]) == many
    records = list(done.run.connections())
    assert len({record.id for record in records}) == len(records)
    assert {(record.worker, record.id.partition(".")[0]) for record in records} == {
        ("worker-0", "0"),
        ("worker-1", "1"),
    }


def test_workers_write_nothing(healthy: Run) -> None:
    _, done, started = healthy
    assert sorted(path.name for path in done.path.iterdir() if path.suffix == ".new") == []
    folders = [path for path in started.folder.iterdir() if path.is_dir() and path != done.path]
    assert [list(folder.iterdir()) for folder in folders] == [[] for _ in folders]


def test_what_the_master_was_told_to_watch_it_watches_alone(healthy: Run) -> None:
    _, done, _ = healthy
    assert {gauge.worker for gauge in done.run.gauges() if gauge.source == "target"} == {"master"}


def test_the_masters_own_cpu_is_on_record_too(healthy: Run) -> None:
    _, done, _ = healthy
    cpus = {gauge.worker for gauge in done.run.gauges() if (gauge.source, gauge.name) == OWN_CPU}
    assert cpus == {"master", *WORKERS}
