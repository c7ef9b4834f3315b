"""Early ends: the sockets of users that end while the run goes on were not closed by the run's end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from locust.exception import StopUser

from tests.load.session import rest, script, session
from tests.wire.harness import Peer, listening, until
from wsoak.judge.summary import happened


def echo(peer: Peer) -> None:
    peer.accept()
    peer.echo()


def test_sockets_of_users_that_ended_themselves_are_told_from_those_of_the_runs_end(tmp_path: Path) -> None:
    def body(user: Any) -> None:
        user.connect("/x", name="x")
        if user.number < 3:
            raise StopUser
        rest()

    with listening(echo, may_fail=True) as listener:
        host = f"ws://127.0.0.1:{listener.port}"
        with session(script(body), host=host, run_dir=tmp_path / "r") as made:
            made.start(5)
            until(lambda: made.books().count("closed") == 3)
            reader = made.stop()
    assert Counter(record.reason for record in reader.connections()) == {"user ended": 3, "run ended": 2}
    assert all(record.ended_by_run for record in reader.connections())
    told = " ".join(happened(reader.books(), reader.header))
    assert "5 sockets closed: 3 × 1000 by end of the user and 2 × 1000 by end of the run." in told
