"""A storm of the shape: all sockets are dropped twice, and the run says how its users came back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from analysis.charts import reconnects
from analysis.compare import compare, side
from analysis.frames import load
from tests.e2e.processes import PATIENT, Load, Outcome, loading
from wsoak.judge.drops import LEAST
from wsoak.ledger.books import Books
from wsoak.ledger.outcomes import DROPPED
from wsoak.ledger.rundir import RUN_FILE

USERS: Final = 40
DROPS: Final = 2
# it is ended when it has shown what it must, and not by the shape's own time
SHAPE: Final = f"storm:users={USERS},ramp=1s,hold=10m,every=4s,drops={DROPS}"
POLICIES: Final = ("backoff", "immediate", "none")
COMING_BACK: Final = POLICIES[:2]

Runs = dict[str, Outcome]


def dropped(books: Books) -> int:
    """How many sockets the shape has dropped."""
    return sum(group.count for group in books.ends.values() if DROPPED in group.reasons.texts)


def marks(path: Path) -> list[dict[str, Any]]:
    """The shape's marks that are on record."""
    found: list[dict[str, Any]] = json.loads((path / RUN_FILE).read_text("utf-8")).get("marks", [])
    return found


def drop_times(path: Path) -> list[float]:
    """When the shape dropped all, in seconds from the start."""
    return [mark["at_s"] for mark in marks(path) if mark["text"].startswith("drop ")]


def are_dropped(started: Load, back: int) -> Callable[[Books], bool]:
    """Whether all drops are on record, and this many sockets are open and no more."""
    return lambda books: (
        len(drop_times(started.path)) == DROPS and dropped(books) >= USERS and books.open_now == back
    )


def storm(path: Path, policy: str) -> Outcome:
    """A run that ends when its users are back from the last drop, or have all been driven away."""
    shaped = ("EchoUser", "--shape", SHAPE, "--reconnect", policy, "--message-rate", "2")
    with loading(path, *shaped, *PATIENT) as started:
        if policy == "none":
            started.wait_for(are_dropped(started, 0), "nobody was left")
            return started.end()
        started.wait_for(
            lambda books: are_dropped(started, USERS)(books) and dropped(books) > USERS,
            "all were back from the last drop",
        )
        replies = started_replies(started)
        # the last drop is over to its last socket when each has said something since
        started.wait_for(lambda books: books.count("replies") >= replies + 2 * USERS, "all were at work")
        started.wait_for(are_dropped(started, USERS), "all were back")
        return started.end()


def started_replies(started: Load) -> int:
    """How many replies had come until now."""
    return started.so_far().run.books().count("replies")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """A run of each policy, at the same time: most of theirs is waiting."""
    folder = tmp_path_factory.mktemp("storm")
    with ThreadPoolExecutor(len(POLICIES)) as at_once:
        done = at_once.map(lambda policy: storm(folder / policy, policy), POLICIES)
        yield dict(zip(POLICIES, done, strict=True))


@pytest.mark.parametrize("policy", COMING_BACK)
def test_each_drop_of_the_shape_has_its_recovery(runs: Runs, policy: str) -> None:
    run = load(runs[policy].path)
    drops = run.mass_drops

    # where the machine stood still in its midst, one has two parts
    assert len(drops) >= DROPS
    of_shape = int((run.connections["reason"] == json.dumps(DROPPED)).sum())
    assert USERS < sum(drop.dropped for drop in drops) <= of_shape
    for drop in drops:
        assert list(drop.ways) == ["1001 dropped by the shape"]
        # a user may be back before its old socket has ended on the wire: then it has two
        assert LEAST <= drop.dropped <= drop.open_before <= 2 * USERS
        assert drop.recovered_s is not None
        assert 0 <= drop.recovered_s <= run.seconds
    assert sum(drop.attempts for drop in drops) > 0


def test_users_that_never_come_back_are_said_so(runs: Runs) -> None:
    run = load(runs["none"].path)

    first = run.mass_drops[0]
    assert list(first.ways) == ["1001 dropped by the shape"]
    if first.dropped == first.open_before == USERS:
        assert (first.recovered_s, first.most_back, first.attempts) == (None, 0, 0)
    assert run.mass_drops[-1].recovered_s is None


@pytest.mark.parametrize("policy", POLICIES)
def test_the_end_of_the_run_names_who_dropped_them(runs: Runs, policy: str) -> None:
    _, _, summary = runs[policy].out.partition("The run took")

    assert "× 1001 dropped by the shape" in summary
    assert "1001 by client" not in summary
    back = "were never open again in this run" if policy == "none" else "were open again after"
    assert f"95 % as many {back}" in summary


def test_chart_and_comparison_have_the_drops(runs: Runs) -> None:
    run = load(runs["backoff"].path)

    assert len(reconnects.frame(run).attrs["drops"]) == len(run.mass_drops) >= DROPS
    beside = compare(side(str(runs["none"].path)), side(str(runs["backoff"].path)))
    table = {row[0]: row[1:] for row in beside.rows}
    before, after = table["recovery to 95 %"]
    assert before == "never"
    assert after not in ("never", "no mass drop")
