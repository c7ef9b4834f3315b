"""Slow look-ups for real: the report names the concurrency at which upgrades start to time out.

    users ──► the line ──► POOL look-ups at a time, DELAY_S each ──► a few ms of talk ──┐
      ▲                                                                               │
      └───────────────────────────────────────────────────────────────────────────────┘

One user after the other joins those who open a socket, say one thing and begin anew. The n-th in the line
waits n × DELAY_S / POOL: from POOL × time-out / DELAY_S on, handshakes time out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from bench.matrix import onset_told
from tests.e2e.processes import ROOT, Outcome, analysis, findings, is_valid, load_until
from tests.target.client import running
from wsoak.judge.storms import users_of
from wsoak.ledger.books import Books
from wsoak.ledger.outcomes import OPEN, TIMEOUT_UPGRADE
from wsoak.ledger.records import ConnectionRecord
from wsoak.ledger.units import NS_PER_S

LOCUSTFILE: Final = str(ROOT / "tests" / "e2e" / "locustfile_capacity.py")
POOL: Final = 5
DELAY_S: Final = 0.25
PATIENCE_S: Final = 10.5 * DELAY_S
"""Half-way between two rounds of the pool."""
IMPLIED: Final = POOL * PATIENCE_S / DELAY_S
USERS: Final = 80
A_SECOND: Final = 8
"""Slowly, so that the line is as long as it is said to be when somebody joins it."""
ENOUGH: Final = 10
"""Time-outs that are no one-off."""


def was_on_time(done: Outcome) -> bool:
    """Whether nothing stood still when the first one that timed out waited.

    The hub took its turns, and the pool did what it does in so much time, and the answers were read.
    """
    records = list(done.run.connections())
    begun_s = min(each.started_at for each in records if each.outcome == TIMEOUT_UPGRADE)
    served = sum(
        begun_s <= opened_at(each) <= begun_s + PATIENCE_S for each in records if each.outcome == OPEN
    )
    lag_ns = done.run.books().histogram("hub").max_ns or 0
    print(
        f"{served} were served while the first one waited; the hub's greatest lag was {lag_ns / 1e6:.0f} ms"
    )
    return served >= 0.9 * IMPLIED and lag_ns < NS_PER_S * DELAY_S


def opened_at(record: ConnectionRecord) -> float:
    """Unix time in seconds at which a handshake was done."""
    return record.started_at + record.handshake_ms / 1000


@pytest.mark.long
def test_the_report_names_the_concurrency_at_which_upgrades_start_to_time_out(tmp_path: Path) -> None:
    def has_timed_out(books: Books) -> bool:
        return books.count("failed", "tasks") >= ENOUGH and users_of(books) >= USERS

    with running("--fault", f"tasks:slow-auth:pool={POOL}:delay_s={DELAY_S}") as target:
        load = ("-f", LOCUSTFILE, "--host", target.url, "-u", str(USERS), "-r", str(A_SECOND))
        patience = ("--handshake-timeout", str(PATIENCE_S), "--reply-timeout", "60")
        done = load_until(has_timed_out, "handshakes timed out", tmp_path / "run", *load, *patience)
    is_valid(done, 1)
    told = onset_told(findings(done.path))
    print(f"told {told}, implied {IMPLIED:g}")
    assert told is not None
    report = analysis("report", done.path)
    assert report.returncode == 0, report.stderr
    page = (done.path / "report.html").read_text("utf-8")
    assert f"Time-outs began with {told} handshakes under way at once" in page
    # what the line was, whatever the machine did: somebody waited in it, and no more than there are
    assert POOL < told <= USERS
    if not was_on_time(done):
        pytest.skip("a process stood still, and so did the line")
    assert told == pytest.approx(IMPLIED, rel=0.2)
