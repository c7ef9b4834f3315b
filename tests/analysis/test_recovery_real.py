"""Recovery as the ledger tells it against the target's own log, with real users and sockets.

    target   at ├────────────── recovered_95_s ──────────────┤
                └─ begun_s ─┐                                └─ slowest_s at most ─┐
    ledger                  ├ first.at ── first.recovered_s ───────────────────────┤

Who ends a socket knows it first, and so does who lets one in. The ledger is later with each by what a process
or the wire took, and both are on record: so the two are held together from both sides, on any machine; and
where nothing stood still, by 5 %.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from analysis.frames import Run, load
from analysis.recovery import MassDrop, sentences
from tests.target.client import PATIENCE_S, ROOT, Target, eventually, running, total
from wsoak.ledger.outcomes import OPEN
from wsoak.ledger.rundir import RunReader
from wsoak.ledger.units import NS_PER_S

USERS = 200
MANY_USERS = 2000
MOST = 0.9
"""This share of the ends at least belongs to the drop, if the first few came alone, before a pause of the
client."""
RUN_S = 600
"""It is ended when it has shown what it must: this is for a machine that takes long."""
SKEW_S = 0.05
"""Two processes' ideas of the time on one machine differ by no more."""
NEAR = 0.05
"""Where nothing stood still, the ledger is as near to the target's log as this share of it."""


def log_of(target: Target) -> dict[str, Any]:
    """The target's own entry of the one drop."""
    entry: dict[str, Any]
    (entry,) = target.http("GET", "/drops")[1]
    return entry


@dataclass(frozen=True, slots=True)
class Told:
    """What the target's log and the run's ledger say of one drop amid a run of so many users."""

    entry: dict[str, Any]
    run: Run
    users: int

    @property
    def drops(self) -> list[MassDrop]:
        """The ledger's mass drops: of a client that pauses in the midst of the drop, two."""
        return self.run.mass_drops

    @property
    def findings(self) -> set[str]:
        """The ids of the run's findings."""
        return {finding.id for finding in self.run.findings}

    @property
    def run_says(self) -> list[str]:
        """The drops in the words of the report."""
        return sentences(self.drops, self.run.started_at)

    @property
    def over_at(self) -> float:
        """When it was over to the target, in Unix seconds."""
        return float(self.entry["at"] + self.entry["recovered_95_s"])

    @property
    def is_whole(self) -> bool:
        """Whether the ledger has all of it as one drop."""
        first = self.drops[0]
        return first.dropped == first.open_before == self.users

    @property
    def begun_s(self) -> float:
        """How much later than the target did it the client met the first end."""
        return self.drops[0].at - float(self.entry["at"])

    @property
    def slowest_s(self) -> float:
        """How long the slowest handshake of a reconnect took that opened: so much later the client knew."""
        rows = self.run.connections
        back = rows[(rows["outcome"] == OPEN) & (rows["attempt"] > 0)]
        return float((back["opened_at"] - back["started_at"]).max())

    @property
    def stood_still_s(self) -> float:
        """The longest that the client's loop stood still, from the drop until its users were back.

        And a wire or a target that did: how late the drop reached its first socket, and how long the
        handshake took of the one that made it 95 %.
        """
        rows, last = self.run.connections, self.drops[-1]
        assert last.recovered_s is not None
        back_at = last.at + last.recovered_s
        decided = rows[(rows["opened_at"] - back_at).abs() < 1e-5]
        seconds = range(int(self.entry["at"]) - 1, int(back_at) + 2)
        lags_ns = [
            interval.histogram.max_ns or 0
            for interval in RunReader(self.run.path).latency()
            if interval.kind == "hub" and interval.second in seconds
        ]
        decided_s = float((decided["opened_at"] - decided["started_at"]).max())
        return max(self.begun_s, decided_s, max(lags_ns, default=0) / NS_PER_S)


def is_over(path: Path, policy: str, users: int) -> bool:
    """Whether the books of a run that goes on have the whole drop, and its users' return if they try."""
    told = load(path).mass_drops
    return sum(drop.dropped for drop in told) >= MOST * users and (
        policy == "none" or told[-1].recovered_s is not None
    )


def loaded(target: Target, path: Path, policy: str, order: dict[str, Any], users: int = USERS) -> Told:
    """One drop amid a run under a policy."""
    rate = max(0.5, 4 * USERS / users)

    def are_at_work(messages: float) -> bool:
        """Whether all are open, and have been for a while, to both sides."""
        samples = target.samples()
        return (
            total(samples, "wsoak_target_open_sockets", system="echo") == users
            and total(samples, "wsoak_target_messages_sent_total", system="echo") >= messages
        )

    command = [
        *(sys.executable, "-m", "locust", "EchoUser", "--headless", "--only-summary"),
        *("--host", f"{target.url}/echo", "-u", str(users), "-r", str(USERS), "-t", f"{RUN_S}s"),
        *("--checks", "none", "--reconnect", policy, "--message-rate", str(rate), "--run-dir", str(path)),
        # who gave up would be open to the target alone
        *("--handshake-timeout", "60"),
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        try:
            eventually(lambda: are_at_work(4 * users))
            assert target.http("POST", "/drop", order)[0] == 200
            if policy != "none":
                eventually(lambda: log_of(target)["recovered_95_s"] is not None)
                sent = target.metric("wsoak_target_messages_sent_total", system="echo")
                eventually(lambda: are_at_work(sent + users))
            # the run's books are written once a second, and later where it was held up
            eventually(lambda: is_over(path, policy, users))
            run.terminate()
            run.wait(PATIENCE_S)
        finally:
            run.kill()
    return Told(log_of(target), load(path), users)


RUNS: list[tuple[str, dict[str, Any]]] = [
    ("backoff", {"how": "close", "code": 1012, "back_after_s": 1, "accept_per_s": 100}),
    ("backoff", {"how": "reset"}),
    ("immediate", {"how": "reset", "back_after_s": 1, "accept_per_s": 100}),
    ("immediate", {"how": "eof", "accept_per_s": 150}),
]


def agree(told: Told) -> None:
    """Assert that the ledger tells of the drop, and of its end, what the target's log does."""
    entry, first, last = told.entry, told.drops[0], told.drops[-1]
    assert entry["sockets"] == told.users
    assert MOST * told.users <= sum(drop.dropped for drop in told.drops) <= told.users
    assert last.recovered_s is not None
    # a client that pauses soon begins it later
    assert entry["at"] - SKEW_S <= first.at <= told.over_at + SKEW_S
    # it is over when its last socket has ended, and all that the target let in are open to the client too
    known_at = max(told.over_at + told.slowest_s, last.at + last.took_s)
    assert last.at + last.recovered_s <= known_at + SKEW_S
    if not told.is_whole:
        return
    assert first.recovered_s is not None
    assert told.over_at - SKEW_S <= first.at + first.recovered_s
    # some are on their way when it is over to the target, each of whom is let in then
    assert 0 <= first.attempts - entry["attempts"] <= told.users // 20 + first.failed
    assert entry["rejected"] - first.failed <= first.rejected <= entry["rejected"]
    if told.stood_still_s <= SKEW_S:
        theirs = entry["recovered_95_s"]
        assert abs(first.recovered_s - theirs) <= NEAR * theirs + SKEW_S


def nobody_is_back(told: Told) -> None:
    """Assert that both say that users did not come back."""
    assert (told.entry["recovered_95_s"], told.entry["attempts"]) == (None, 0)
    for drop in told.drops:
        assert (drop.recovered_s, drop.attempts) == (None, 0)
    assert told.drops[-1].most_back == 0
    assert "reconnect-storm" not in told.findings


@pytest.mark.parametrize(("policy", "order"), RUNS, ids=[f"{run[0]}-{run[1]['how']}" for run in RUNS])
def test_the_ledger_and_the_target_agree_on_the_recovery(
    tmp_path: Path, policy: str, order: dict[str, Any]
) -> None:
    with running("--accounts", "1") as target:
        told = loaded(target, tmp_path / "run", policy, order)

    agree(told)
    assert ("reconnect-storm" in told.findings) <= (policy == "immediate")


def test_users_that_do_not_come_back_are_told_so_by_both(tmp_path: Path) -> None:
    with running("--accounts", "1") as target:
        nobody_is_back(loaded(target, tmp_path / "run", "none", {"how": "eof"}))


@pytest.mark.long
@pytest.mark.parametrize("policy", ["backoff", "immediate", "none"])
def test_of_two_thousand_sockets_too(tmp_path: Path, policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    order = {"how": "close", "code": 1012, "back_after_s": 1, "accept_per_s": 500}

    with running("--accounts", "1") as target:
        told = loaded(target, tmp_path / "run", policy, order, MANY_USERS)

    with capsys.disabled():
        print(f"\n{policy}: to the target {told.entry['recovered_95_s']} s;", *told.run_says, sep="\n  ")
    if policy == "none":
        nobody_is_back(told)
    else:
        agree(told)
