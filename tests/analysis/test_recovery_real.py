"""Recovery as the ledger tells it against the target's own log, with real users and sockets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from analysis.frames import load
from analysis.recovery import MassDrop
from tests.target.client import PATIENCE_S, ROOT, Target, eventually, running
from wsoak.judge.findings import Finding

USERS = 200
RUN_S = 20


def log_of(target: Target) -> dict[str, Any]:
    """The target's own entry of the one drop."""
    entry: dict[str, Any]
    (entry,) = target.http("GET", "/drops")[1]
    return entry


def loaded(
    target: Target, path: Path, policy: str, order: dict[str, Any]
) -> tuple[dict[str, Any], list[MassDrop], list[Finding]]:
    """What the target's log and the run's ledger say of one drop amid a run under a policy."""
    command = [
        *(sys.executable, "-m", "locust", "EchoUser", "--headless", "--only-summary"),
        *("--host", f"{target.url}/echo", "-u", str(USERS), "-r", str(USERS), "-t", f"{RUN_S}s"),
        *("--checks", "none", "--reconnect", policy, "--message-rate", "4", "--run-dir", str(path)),
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        try:
            # all are open, and have been for a while, to both sides
            eventually(
                lambda: (
                    target.metric("wsoak_target_open_sockets", system="echo") == USERS
                    and target.metric("wsoak_target_messages_sent_total", system="echo") >= 4 * USERS
                )
            )
            assert target.http("POST", "/drop", order)[0] == 200
            if policy != "none":
                eventually(lambda: log_of(target)["recovered_95_s"] is not None)
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

    (drop,) = drops
    assert drop.dropped == drop.open_before == entry["sockets"] == USERS
    assert drop.at == pytest.approx(entry["at"], abs=1.0)
    assert drop.recovered_s == pytest.approx(entry["recovered_95_s"], rel=0.05)
    # some are on their way when it is over
    assert drop.attempts == pytest.approx(entry["attempts"], rel=0.1)
    assert drop.rejected == pytest.approx(entry["rejected"], rel=0.1)
    assert ("reconnect-storm" in {finding.id for finding in findings}) <= (policy == "immediate")


def test_users_that_do_not_come_back_are_told_so_by_both(tmp_path: Path) -> None:
    with running("--accounts", "1") as target:
        entry, (drop,), findings = loaded(target, tmp_path / "run", "none", {"how": "eof"})

    assert (entry["recovered_95_s"], entry["attempts"]) == (None, 0)
    assert (drop.recovered_s, drop.attempts, drop.most_back) == (None, 0, 0)
    assert "reconnect-storm" not in {finding.id for finding in findings}
