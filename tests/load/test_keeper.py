"""Keeper: what it takes, what it waits for, and what it waits for no longer."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from locust.env import Environment
from locust.event import Events

from wsoak.ledger.recorder import Recorder
from wsoak.ledger.rundir import RunReader
from wsoak.load import keeper as keeper_module
from wsoak.load.keeper import Keeper
from wsoak.load.options import Options
from wsoak.load.relay import DRAIN, Outbox

NAMES = ("worker-0", "worker-1")


class Worker:
    """Makes reports, as a worker does."""

    def __init__(self, name: str, run_id: str) -> None:
        self._recorder = Recorder(name)
        self._outbox = Outbox(run_id, name, int(name[-1]), 0.0)
        self._now_s = 0.0

    def report(self, final: bool = False) -> dict[str, Any]:
        """A report of one check that passed."""
        self._recorder.series("a check").check_passed += 1
        self._now_s += 1.0
        return self._outbox.report(self._recorder.take().to_plain(), final, 1e9, self._now_s)


class Kept:
    """A keeper of two workers, and what it sends them."""

    def __init__(self, run_dir: Path) -> None:
        self.alive = list(NAMES)
        self.sent: list[str] = []
        self.on_send: Any = lambda: None
        events: Any = Events()  # type: ignore[no-untyped-call]
        self.keeper = Keeper(
            Environment(events=events, user_classes=[]),
            Options.of(Namespace(run_dir=str(run_dir))),
            "http://127.0.0.1:1",
            workers=2,
            alive=lambda: self.alive,
            send_all=self._send,
        )
        self.workers = [Worker(name, self.keeper.run_id) for name in NAMES]

    def _send(self, kind: str, message: dict[str, Any]) -> None:
        assert message == {"run": self.keeper.run_id}
        self.sent.append(kind)
        self.on_send()

    def finish(self) -> RunReader:
        """End the run."""
        return RunReader(self.keeper.finish("stopped").path)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path / "run")
    yield made
    if not RunReader(tmp_path / "run").ended:
        made.keeper.abandon()


def test_a_report_that_cannot_be_read_is_not_taken_and_not_acknowledged(kept: Kept) -> None:
    first, second = kept.workers[0].report(), kept.workers[0].report(final=True)
    other = {**first, "delta": {**first["delta"], "layout": 7}}
    with pytest.raises(ValueError, match="another version of wsoak"):
        kept.keeper.take(other)
    assert kept.keeper.take(second)["seq"] == -1
    assert kept.keeper.take(first) == {"run": kept.keeper.run_id, "seq": 1}
    assert kept.keeper.take(first) == {"run": kept.keeper.run_id, "seq": 1}
    run = kept.finish()
    assert run.books().count("check_passed") == 2
    assert [entry["reports"] for entry in run.header["workers"]] == [2]


def test_it_drains_until_the_last_report_of_all_that_live_is_here(kept: Kept) -> None:
    last = [worker.report(final=True) for worker in kept.workers]

    def answer() -> None:
        kept.keeper.take(last.pop())

    kept.on_send = answer
    kept.keeper.drain(0.0)
    assert last == []
    # asked again, as what was sent first could have been lost
    assert kept.sent == [DRAIN, DRAIN]
    assert all(entry["final"] for entry in kept.finish().header["workers"])


def test_it_does_not_wait_for_a_worker_that_is_gone(kept: Kept) -> None:
    kept.keeper.take(kept.workers[0].report())
    kept.keeper.take(kept.workers[1].report(final=True))
    kept.alive.remove("worker-0")
    kept.keeper.drain(0.0)
    entries = {entry["worker"]: entry["final"] for entry in kept.finish().header["workers"]}
    assert entries == {"worker-0": False, "worker-1": True}


def test_it_does_not_wait_for_ever(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "DRAIN_PATIENCE_S", -4.9)
    kept.keeper.take(kept.workers[0].report())
    kept.keeper.drain(0.0)
    assert set(kept.sent) == {DRAIN}
    assert [entry["final"] for entry in kept.finish().header["workers"]] == [False]


def test_it_hears_those_that_reported_just_now(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "HEARD_WITHIN_S", 3600.0)
    kept.keeper.take(kept.workers[0].report())
    assert [kept.keeper.hears(name) for name in NAMES] == [True, False]
    monkeypatch.setattr(keeper_module, "HEARD_WITHIN_S", -1.0)
    assert not kept.keeper.hears("worker-0")
