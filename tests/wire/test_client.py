"""The client: how many handshakes of a name were under way when each began."""

from __future__ import annotations

import contextlib
from typing import Any

import gevent
import pytest
from gevent.event import Event

from tests.wire.harness import PATIENCE_S, Peer, Run, both, listening, until
from wsoak.ledger.recorder import Recorder
from wsoak.wire.client import Client, FastOpener, Settings
from wsoak.wire.connection import Connection


class Gate:
    """A server that answers no handshake before it is opened."""

    def __init__(self) -> None:
        self.opened = Event()

    def __call__(self, peer: Peer) -> None:
        peer.read_head()
        self.opened.wait()
        # who gave up in the meantime is gone
        with contextlib.suppress(EOFError, ConnectionError):
            peer.accept()
            peer.answer_close()


def opened_together(run: Run, names: list[str], gate: Gate) -> None:
    """Sockets of these names whose handshakes are all under way before the first is answered."""
    gate.opened.clear()
    begun: list[gevent.Greenlet] = []
    for name in names:
        begun.append(gevent.spawn(run.open, name=name))
        until(lambda: run.client.opening == len(begun))
    gate.opened.set()
    gevent.joinall(begun, raise_error=True)


def test_each_record_says_how_many_of_its_name_were_opening_itself_included() -> None:
    gate = Gate()

    def scenario(run: Run) -> None:
        # the first alone: of those that begin together, one or several look the name up
        opened_together(run, ["s"], gate)
        opened_together(run, ["s", "s", "other", "s", "other"], gate)
        opened_together(run, ["s", "s"], gate)

    facts = both(gate, scenario)
    counted: dict[str, list[Any]] = {}
    for record in facts.records:
        counted.setdefault(record["name"], []).append(record["opening"])
    assert {name: sorted(openings) for name, openings in counted.items()} == {
        "s": [1, 1, 1, 2, 2, 3],
        "other": [1, 2],
    }


@pytest.mark.parametrize("how", ["in time", "too late", "killed"])
def test_a_handshake_that_is_over_is_counted_no_more_however_it_ended(how: str) -> None:
    gate = Gate()
    with listening(gate) as listener:
        run = Run(FastOpener, listener.url, Settings())
        first = gevent.spawn(run.open, handshake_timeout_s=0.05 if how == "too late" else PATIENCE_S)
        # what is too late may be so before it comes to the server
        until(lambda: listener.accepted == 1 or first.dead)
        if how == "killed":
            first.kill()
        elif how == "in time":
            gate.opened.set()
        first.join(PATIENCE_S)
        gate.opened.set()
        assert first.dead
        assert run.open().outcome == "open"
        facts = run.stop()
    assert [record["opening"] for record in facts.records] == [1, 1]
    # a name that nobody opens is not remembered
    assert run.client._under_way == {}


@pytest.mark.parametrize("turns", range(4))
def test_once_the_caller_is_killed_no_more_of_many_openings_begin(
    turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsoak.wire.client.OPENINGS_AT_ONCE", 2)
    client = Client(Recorder("w"))
    begun: list[int] = []

    def open_one(number: int) -> Connection:
        begun.append(number)
        Event().wait()
        raise AssertionError("nobody sets it")

    caller = gevent.spawn(client.open_many, 5, open_one)
    for _ in range(turns):
        gevent.sleep(0)
    caller.kill()
    before = list(begun)
    for _ in range(5):
        gevent.sleep(0)
    assert begun == before
    client.stop(0)
