"""A web UI over workers: run after run, each with books of its own."""

from __future__ import annotations

import json
import signal
import urllib.parse
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.distributed.cluster import (
    APART,
    Cluster,
    cluster,
    free_port,
    lost_reports,
)
from tests.e2e.processes import PATIENCE_S, PATIENT, UNHURRIED, eventually, invalid_because
from tests.target.client import running
from wsoak.ledger.books import Books
from wsoak.ledger.rundir import RUN_FILE, RunReader

SOCKETS: Final = 40
COUNTERS: Final = {
    "opened": "handshakes_total",
    "closed": "closes_total",
    "sent": "messages_received_total",
    "received": "messages_sent_total",
}


class Ui:
    """Locust's web UI, as a browser talks to it."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def _ask(self, path: str, form: dict[str, Any] | None = None) -> Any:
        body = None if form is None else urllib.parse.urlencode(form, doseq=True).encode()
        with urllib.request.urlopen(self._url + path, body, timeout=PATIENCE_S) as answer:
            return json.loads(answer.read())

    @property
    def workers(self) -> int:
        """How many workers it shows; 0 before it listens."""
        try:
            return len(self._ask("/stats/requests")["workers"])
        except OSError:
            return 0

    def start(self) -> None:
        """Begin a run."""
        form = {"user_count": SOCKETS, "spawn_rate": SOCKETS, "message_rate": 5}
        assert self._ask("/swarm", form)["success"]

    def stop(self) -> None:
        """End it, and wait until it is over."""
        assert self._ask("/stop", {})["success"]

    def shows(self, counts: list[int]) -> bool:
        """Whether Locust's tables have so many openings, requests and closes."""
        rows = {row["method"]: int(row["num_requests"]) for row in self._ask("/stats/requests")["stats"]}
        return [rows.get(method, 0) for method in ("WSOPEN", "WSREQ", "WSCLOSE")] == counts


def run_of(started: Cluster, number: int) -> RunReader:
    path = started.master.path
    return RunReader(path if number == 0 else path.with_name(f"{path.name}-{number + 1}"))


def in_use(started: Cluster, number: int) -> bool:
    path = started.master.path
    at = path if number == 0 else path.with_name(f"{path.name}-{number + 1}")
    if not (at / RUN_FILE).exists():
        return False
    books: Books = RunReader(at).books()
    return books.open_now == SOCKETS and books.count("replies") >= SOCKETS


def test_two_runs_of_one_session_have_books_of_their_own(tmp_path: Path) -> None:
    with (
        running() as target,
        free_port() as web,
        cluster(
            tmp_path,
            *("EchoUser", "--web-host", "127.0.0.1", "--web-port", str(web), "--host", target.url, *PATIENT),
            way=APART,
            headless=False,
        ) as started,
    ):
        ui = Ui(web)
        eventually(lambda: ui.workers == 2, "both workers are there")
        counted = dict.fromkeys(COUNTERS, 0.0)
        for number in range(2):
            ui.start()
            eventually(partial(in_use, started, number), "all sockets are in use")
            ui.stop()
            run = run_of(started, number)
            eventually(partial(getattr, run, "ended"), "the run is judged")
            eventually(lambda: not target.metric("wsoak_target_open_sockets"), "the target saw all end")
            before = counted
            counted = {name: target.metric(f"wsoak_target_{of}") for name, of in COUNTERS.items()}
            books = run.books()
            assert {name: books.count(name) for name in COUNTERS} == {
                name: counted[name] - before[name] for name in COUNTERS
            }
            assert books.count("opened") == SOCKETS
            replied = sum(books.count(counter) for counter in ("replies", "reply_timeouts", "reply_lost"))
            in_books = [SOCKETS, replied, books.count("closed")]
            # it shows the same figures for two seconds
            eventually(partial(ui.shows, in_books), "the tables say the same")
            assert run.header["ended_by"] == "stopped"
            assert lost_reports(run) == []
            assert invalid_because(run) == set()
            eventually(lambda: ui.workers == 2, "both workers are ready again")
        assert run_of(started, 0).run_id != run_of(started, 1).run_id
        started.master.signal(signal.SIGTERM)
        done = started.wait()
        started.all_end()
    for said in [done.said, *(worker.said for worker in started.workers)]:
        assert "Traceback" not in said, said
    assert UNHURRIED[0] in run_of(started, 1).header["command"]
