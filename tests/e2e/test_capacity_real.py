"""Capacity for real: a server whose queue says what it must be, searched and stepped through.

    users ──► the line ──► POOL look-ups at a time, DELAY_S each ──► a few ms of talk ──┐
      ▲                                                                               │
      └───────────────────────────────────────────────────────────────────────────────┘

Each of N users opens a socket, says one thing and begins anew, so that all but a few are in the handshake.
The look-ups are done at POOL / DELAY_S a second and no faster, and by Little's law N users in a line that is
served at this rate wait N × DELAY_S / POOL. The handshake reaches T at N = POOL × T / DELAY_S.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from analysis.frames import load as read
from analysis.planning import Asked, as_json, plan_of_run
from analysis.stepped import searched_for
from tests.distributed.cluster import cluster
from tests.e2e.processes import ROOT, Outcome, load
from tests.target.client import running
from wsoak.judge.slo import Slo, slo

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
SLO: Final = f"handshake p(99) < {LIMIT_S:g}s"
LONG_SLO: Final = f"handshake p(99) < {LONG_LIMIT_S:g}s"
UNHURRIED: Final = ("--latency-limit", "10000")

SEARCH: Final = ("--shape", f"search:from=30,to=200,slo={SLO},hold=5s,resolution=30%")


def alone(folder: Path) -> Outcome:
    """A search by one process."""
    with running(*FAULT) as target:
        return load(folder / "run", "-f", LOCUSTFILE, "--host", target.url, *UNHURRIED, *SEARCH)


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


@pytest.mark.parametrize("way", WAYS)
def test_a_search_finds_the_capacity_that_queueing_implies(searches: dict[str, Outcome], way: str) -> None:
    done = searches[way]
    assert done.code == 0, done.said
    header = done.run.header
    told = header["search"]
    assert (header["ended_by"], told["ended_because"]) == ("shape", "found"), done.said
    assert told["tried"][0]["kept"] is True, told
    assert told["kept_users"] <= 1.1 * implied(LIMIT_S)
    assert told["missed_users"] >= 0.9 * implied(LIMIT_S)
    plan = plan_of(done.path)
    assert (plan["slo"], plan["load"]) == (SLO, "users")
    assert len(plan["steps"]) == len(told["tried"])
    # a busy machine sleeps longer than it was told to, and serves as much more slowly
    served_per_s = max(step["throughput"] for step in plan["steps"])
    assert plan["capacity"]["value"] == pytest.approx(served_per_s * LIMIT_S, rel=0.1)
    assert plan["capacity"]["value"] == pytest.approx(implied(LIMIT_S), rel=0.2)


@pytest.mark.parametrize("way", WAYS)
def test_a_search_says_what_it_does(searches: dict[str, Outcome], way: str) -> None:
    done = searches[way]
    texts = [mark["text"] for mark in done.run.header["marks"]]
    assert texts[:2] == ["step 1: 30 users", "step 2: 60 users"]
    assert texts[2] == "rest: 15 users"
    assert "Step 1, 30 users: kept" in done.said
    assert f"{SLO} is kept with" in done.said


@pytest.fixture(scope="module")
def stairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Steps across the capacity, twice as long as those of the searches."""
    path = tmp_path_factory.mktemp("stairs") / "run"
    with running(*FAULT) as target:
        shape = "step:start=20,step=20,every=12s,steps=8"
        yield load(path, "-f", LOCUSTFILE, "--host", target.url, *UNHURRIED, "--shape", shape)


@pytest.mark.long
def test_steps_find_the_capacity_that_queueing_implies(stairs: Outcome) -> None:
    assert stairs.code == 0, stairs.said
    plan = plan_of(stairs.path, slo(LONG_SLO))
    assert len(plan["steps"]) == 8
    assert plan["capacity"]["value"] == pytest.approx(implied(LONG_LIMIT_S), rel=0.1)
    # no more than POOL / DELAY_S handshakes a second, however many ask
    most = max(step["throughput"] for step in plan["steps"])
    assert most == pytest.approx(POOL / DELAY_S, rel=0.1)
    assert plan["saturated_first"]["resource"] == "something that was not watched"
