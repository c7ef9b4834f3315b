"""Recovery as the ledger tells it against the target's own log, with real users and sockets."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from analysis.frames import load
from analysis.recovery import MassDrop
from tests.target.client import PATIENCE_S, ROOT, Target, eventually, running, total
from wsoak.judge.findings import Finding

USERS = 200
MOST = 180
"""So many ends at least belong to the drop, if the first few came alone, before a pause of the client."""
ENOUGH_BACK = 190
"""95 % of the users."""
RUN_S = 300
"""It is ended when it has shown what it must: this is for a machine that takes long."""
SKEW_S = 0.05
"""Two processes' ideas of the time on one machine differ by no more."""


def log_of(target: Target) -> dict[str, Any]:
    """The target's own entry of the one drop."""
    entry: dict[str, Any]
    (entry,) = target.http("GET", "/drops")[1]
    return entry


def is_over(path: Path, policy: str) -> bool:
    """Whether the books of a run that goes on have the whole drop, and its users' return if they try."""
    told = load(path).mass_drops
    return sum(drop.dropped for drop in told) >= MOST and (
        policy == "none" or told[-1].recovered_s is not None
    )


def loaded(
    target: Target, path: Path, policy: str, order: dict[str, Any]
) -> tuple[dict[str, Any], list[MassDrop], list[Finding]]:
    """What the target's log and the run's ledger say of one drop amid a run under a policy."""

    def are_at_work(messages: float) -> bool:
        """Whether all are open, and have been for a while, to both sides."""
        samples = target.samples()
        return (
            total(samples, "wsoak_target_open_sockets", system="echo") == USERS
            and total(samples, "wsoak_target_messages_sent_total", system="echo") >= messages
        )

    command = [
        *(sys.executable, "-m", "locust", "EchoUser", "--headless", "--only-summary"),
        *("--host", f"{target.url}/echo", "-u", str(USERS), "-r", str(USERS), "-t", f"{RUN_S}s"),
        *("--checks", "none", "--reconnect", policy, "--message-rate", "4", "--run-dir", str(path)),
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        try:
            eventually(lambda: are_at_work(4 * USERS))
            assert target.http("POST", "/drop", order)[0] == 200
            if policy != "none":
                eventually(lambda: log_of(target)["recovered_95_s"] is not None)
                sent = target.metric("wsoak_target_messages_sent_total", system="echo")
                eventually(lambda: are_at_work(sent + USERS))
            # the run's books are written once a second, and later where it was held up
            eventually(lambda: is_over(path, policy))
            run.terminate()
            run.wait(PATIENCE_S)
        finally:
            run.kill()
    entry = log_of(target)
    read = load(path)
    return entry, read.mass_drops, read.findings


RUNS: list[tuple[str, dict[str, Any]]] = [
    ("backoff", {"how": "close", "code": 1012, "back_after_s": 1, "accept_per_s": 100}),
    ("backoff", {"how": "reset"}),
    ("immediate", {"how": "reset", "back_after_s": 1, "accept_per_s": 100}),
    ("immediate", {"how": "eof", "accept_per_s": 150}),
]


@pytest.mark.parametrize(("policy", "order"), RUNS, ids=[f"{run[0]}-{run[1]['how']}" for run in RUNS])
def test_the_ledger_and_the_target_agree_on_the_recovery(
    tmp_path: Path, policy: str, order: dict[str, Any]
) -> None:
    with running("--accounts", "1") as target:
        entry, drops, findings = loaded(target, tmp_path / "run", policy, order)

    # a client that pauses in the midst of it has two, and one that pauses soon begins it later
    first, last = drops[0], drops[-1]
    assert entry["sockets"] == USERS
    assert MOST <= sum(drop.dropped for drop in drops) <= USERS
    assert last.recovered_s is not None
    # who ends a socket knows it first, and so does who lets one in: by how much, is the machine's affair
    assert entry["at"] - SKEW_S <= first.at <= entry["at"] + entry["recovered_95_s"] + SKEW_S
    assert last.at + last.recovered_s <= time.time()
    if first.dropped == first.open_before == USERS:
        assert first.recovered_s is not None
        assert entry["at"] + entry["recovered_95_s"] - SKEW_S <= first.at + first.recovered_s
        # some are on their way when it is over to the target, each of whom is let in then
        assert 0 <= first.attempts - entry["attempts"] <= USERS - ENOUGH_BACK + first.failed
        assert entry["rejected"] - first.failed <= first.rejected <= entry["rejected"]
    assert ("reconnect-storm" in {finding.id for finding in findings}) <= (policy == "immediate")


def test_users_that_do_not_come_back_are_told_so_by_both(tmp_path: Path) -> None:
    with running("--accounts", "1") as target:
        entry, drops, findings = loaded(target, tmp_path / "run", "none", {"how": "eof"})

    assert (entry["recovered_95_s"], entry["attempts"]) == (None, 0)
    for drop in drops:
        assert (drop.recovered_s, drop.attempts) == (None, 0)
    assert drops[-1].most_back == 0
    assert "reconnect-storm" not in {finding.id for finding in findings}
