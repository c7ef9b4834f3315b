"""Capacity for real: a server whose queue says what it must be, searched and stepped through.

    users ──► the line ──► POOL look-ups at a time, DELAY_S each ──► a few ms of talk ──┐
      ▲                                                                               │
      └───────────────────────────────────────────────────────────────────────────────┘

Each of N users opens a socket, says one thing and begins anew, so that all but a few are in the handshake.
The look-ups are done at POOL / DELAY_S a second and no faster, and by Little's law N users in a line that is
served at this rate wait N × DELAY_S / POOL. The handshake reaches T at N = POOL × T / DELAY_S.

That holds for the one in the middle of those that wait: a machine that is busy with others stops the line at
times, and those who wait just then wait longer. If it is always busy, the line is served more slowly, or its
users are slow to come back: then what was found must still be what the run itself has served.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from analysis.capacity_asked import searched_for
from analysis.frames import load as read
from analysis.planning import Asked, as_json, plan_of_run
from tests.distributed.cluster import cluster
from tests.e2e.processes import ROOT, Outcome, is_valid, load
from tests.target.client import running
from wsoak.judge.slo import Slo, slo
from wsoak.ledger.outcomes import OPEN
from wsoak.ledger.units import NS_PER_MS, NS_PER_S

LOCUSTFILE: Final = str(ROOT / "tests" / "e2e" / "locustfile_capacity.py")
POOL: Final = 4
DELAY_S: Final = 0.1
LIMIT_S: Final = 1.0
LONG_LIMIT_S: Final = 2.0
"""Longer steps leave time for more rounds of the line."""


def implied(limit_s: float) -> float:
    """The users that queueing implies."""
    return POOL * limit_s / DELAY_S


FAULT: Final = ("--fault", f"tasks:slow-auth:pool={POOL}:delay_s={DELAY_S}")
SLO: Final = f"handshake p(50) < {LIMIT_S:g}s"
LONG_SLO: Final = f"handshake p(99) < {LONG_LIMIT_S:g}s"
FROM_USERS: Final = 15
LONGEST_WAIT_MS: Final = 3000.0
"""Four times as many users wait for a second and a half."""

SEARCH: Final = ("--shape", f"search:from={FROM_USERS},to=200,slo={SLO},hold=7s,resolution=30%")


def alone(folder: Path) -> Outcome:
    """A search by one process."""
    with running(*FAULT) as target:
        return load(folder / "run", "-f", LOCUSTFILE, "--host", target.url, *SEARCH)


def by_two_workers(folder: Path) -> Outcome:
    """The same search, by a master and two workers."""
    with (
        running(*FAULT) as target,
        cluster(folder, "--host", target.url, *SEARCH, locustfile=LOCUSTFILE) as run,
    ):
        return run.wait()


WAYS: Final = {"alone": alone, "by two workers": by_two_workers}


@pytest.fixture(scope="module")
def searches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Searches side by side: they mostly wait."""
    with ThreadPoolExecutor() as at_once:
        begun = {name: at_once.submit(way, tmp_path_factory.mktemp("search")) for name, way in WAYS.items()}
        return {name: run.result() for name, run in begun.items()}


def plan_of(path: Path, objective: Slo | None = None) -> dict[str, Any]:
    run = read(path)
    plan: dict[str, Any] = json.loads(as_json(plan_of_run(run, Asked(objective or searched_for(run.header)))))
    return plan


def stood_still(done: Outcome) -> bool:
    """Whether a process stood still for so long that a step may have too few seconds that count."""
    waits_ms = [record.handshake_ms for record in done.run.connections() if record.outcome == OPEN]
    lag_ns = done.run.books().histogram("hub").max_ns or 0
    return lag_ns > NS_PER_S / 2 or max(waits_ms) > LONGEST_WAIT_MS


def was_on_time(done: Outcome, served_per_s: float) -> bool:
    """Whether the machine was no limit: all look-ups were done, and users had their turns in time."""
    lag_ns = done.run.books().histogram("hub").percentile_ns(99)
    return served_per_s > 0.9 * POOL / DELAY_S and lag_ns is not None and lag_ns < 50 * NS_PER_MS


@pytest.mark.parametrize("way", WAYS)
def test_a_search_finds_the_capacity_that_queueing_implies(searches: dict[str, Outcome], way: str) -> None:
    done = searches[way]
    is_valid(done)
    header = done.run.header
    told = header["search"]
    assert header["ended_by"] == "shape", done.said
    if stood_still(done):
        # it may have found nothing, and must not say that it has
        assert told["ended_because"] != "found" or " and missed with " in done.said, done.said
        return
    assert told["ended_because"] == "found", done.said
    assert told["tried"][0]["kept"] is True, told
    plan = plan_of(done.path)
    assert (plan["slo"], plan["load"]) == (SLO, "users")
    assert len(plan["steps"]) == len(told["tried"])
    if any("wanted a CPU" in (step["left_out"] or "") for step in plan["steps"]):
        # others took it: that step says nothing of the server
        return
    capacity, served_per_s = plan["capacity"]["value"], max(step["throughput"] for step in plan["steps"])
    # nobody is served faster than the look-ups are done; some may be counted a second late
    assert served_per_s <= 1.3 * POOL / DELAY_S
    assert 0.9 * told["kept_users"] <= capacity <= 1.1 * told["missed_users"]
    on_time = was_on_time(done, served_per_s)
    assert capacity == pytest.approx(served_per_s * LIMIT_S, rel=0.1 if on_time else 0.5)
    if on_time:
        assert told["kept_users"] <= 1.1 * implied(LIMIT_S)
        assert told["missed_users"] >= 0.9 * implied(LIMIT_S)
        assert capacity == pytest.approx(implied(LIMIT_S), rel=0.2)


@pytest.mark.parametrize("way", WAYS)
def test_a_search_says_what_it_does(searches: dict[str, Outcome], way: str) -> None:
    done = searches[way]
    texts = [mark["text"] for mark in done.run.header["marks"]]
    tried = done.run.header["search"]["tried"]
    steps = [f"step {number}: {step['users']} users" for number, step in enumerate(tried, 1)]
    assert [text for text in texts if text.startswith("step")] == steps
    assert texts[0] == f"step 1: {FROM_USERS} users"
    # whoever asked for too much lets the server rest
    for missed in [number for number, step in enumerate(tried[:-1]) if step["kept"] is False][:1]:
        assert texts[missed + 1].startswith("rest: ")
    for number, step in enumerate(tried, 1):
        if step["kept"] is not None:
            result = "kept" if step["kept"] else "missed"
            assert f"Step {number}, {step['users']} users: {result}" in done.said
    assert f"{SLO} is kept with" in done.said or stood_still(done)


@pytest.fixture(scope="module")
def stairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Steps across the capacity, twice as long as those of the searches."""
    path = tmp_path_factory.mktemp("stairs") / "run"
    with running(*FAULT) as target:
        shape = "step:start=20,step=20,every=12s,steps=8"
        yield load(path, "-f", LOCUSTFILE, "--host", target.url, "--shape", shape)


@pytest.mark.long
def test_steps_find_the_capacity_that_queueing_implies(stairs: Outcome) -> None:
    is_valid(stairs)
    plan = plan_of(stairs.path, slo(LONG_SLO))
    assert len(plan["steps"]) == 8
    assert plan["capacity"]["value"] == pytest.approx(implied(LONG_LIMIT_S), rel=0.1)
    # no more than POOL / DELAY_S handshakes a second, however many ask
    most = max(step["throughput"] for step in plan["steps"])
    assert most == pytest.approx(POOL / DELAY_S, rel=0.1)
    assert plan["saturated_first"]["resource"] == "something that was not watched"
