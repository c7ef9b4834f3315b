"""A scenario that loops over a closed socket: the run ends in time, and the record says who loops."""

from __future__ import annotations

import logging
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.load.session import script, session
from tests.wire.harness import Peer, close_frame, listening, until
from wsoak.judge.findings import find
from wsoak.load.closed_loops import FINDING


def closing(peer: Peer) -> None:
    peer.accept()
    peer.send(close_frame(1001))
    peer.hear_close()


def talk(user: Any) -> None:
    with user.connect("/", name="dead") as ws:
        for number in count():
            ws.request({"n": number}, reply_to=number)


def test_who_loops_over_a_closed_socket_is_named_and_can_be_stopped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        listening(closing, may_fail=True) as listener,
        caplog.at_level(logging.WARNING),
        session(
            script(talk, "LoopUser"), host=f"http://127.0.0.1:{listener.port}", run_dir=tmp_path / "run"
        ) as made,
    ):
        made.start(users=2)
        until(lambda: made.books().observations.get((FINDING, "dead")))
        books = made.stop().books()
    finding = next(each for each in find(books, 0.0) if each.id == FINDING)
    assert finding.count == 2
    assert "LoopUser calls `request` in a loop, at " in " ".join(finding.evidence)
    said = [record.getMessage() for record in caplog.records if "closed, and LoopUser" in record.getMessage()]
    assert len(said) == 1
    assert "test_closed_loops.py" in said[0]
