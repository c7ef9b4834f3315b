"""Both clients against a server that this project did not write give the same ledger."""

from __future__ import annotations

from collections.abc import Callable

import gevent
import pytest

from tests.wire.harness import OPENERS, PATIENCE_S, Facts, RealServer, Run, holds, until
from wsoak.wire.client import Settings

pytestmark = pytest.mark.real

PATIENT = Settings(handshake_timeout_s=PATIENCE_S, reply_timeout_s=PATIENCE_S, close_timeout_s=PATIENCE_S)
"""A machine that is busy takes time from the server's process too."""


def with_both(url: str, scenario: Callable[[Run], None]) -> Facts:
    """Play the same run with each client; their books must be equal, and are returned."""
    found = {}
    for name, opener in OPENERS.items():
        run = Run(opener, url, PATIENT)
        try:
            scenario(run)
        finally:
            found[name] = run.stop()
        assert run.left == 0
    # how many openings are under way at once is a matter of how fast each of them is
    crowds = {name: [record.pop("opening") for record in facts.records] for name, facts in found.items()}
    assert found["reference"] == found["fast"]
    assert all(crowd >= 1 for crowded in crowds.values() for crowd in crowded)
    return found["fast"]


def test_echoes_of_every_size_and_a_clean_close(real_server: RealServer) -> None:
    def scenario(run: Run) -> None:
        with run.open("/echo", reply_id=lambda message: message.data) as ws:
            for size in (0, 1, 125, 126, 65535, 65536, 3_000_000):
                assert ws.request("é" * size, "é" * size) is not None
                assert ws.request(b"\xff" * size, b"\xff" * size) is not None

    facts = with_both(real_server.url, scenario)
    holds(facts.record, code=1000, sent_code=1000, initiator="client", clean=True, usable=True, detail="")
    assert facts.count("requests") == facts.count("replies") == 14


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 1012, 1013, 3000, 4401])
def test_a_close_by_the_server(real_server: RealServer, code: int) -> None:
    def scenario(run: Run) -> None:
        ws = run.open(f"/close/{code}")
        until(lambda: ws.ended)

    facts = with_both(real_server.url, scenario)
    holds(facts.record, code=code, sent_code=code, initiator="server", clean=True, reason="as asked")


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_a_rejection(real_server: RealServer, status: int) -> None:
    facts = with_both(real_server.url, lambda run: run.open(f"/reject/{status}").close())
    holds(facts.record, outcome=f"rejected-{status}", status=status, body="not today\n")


def test_a_ping_by_the_server(real_server: RealServer) -> None:
    def scenario(run: Run) -> None:
        with run.open("/ping") as ws:
            assert ws.expect(lambda message: message.data == "ponged") is not None
            assert ws.ping() is not None

    with_both(real_server.url, scenario)


def test_many_sockets_at_once(real_server: RealServer) -> None:
    def scenario(run: Run) -> None:
        run.open("/echo", "first").close()
        sockets = run.client.open_many(
            100, lambda _: run.open("/echo", reply_id=lambda message: message.data)
        )
        assert all(ws.is_open for ws in sockets)
        asking = [gevent.spawn(ws.request, str(n), str(n)) for n, ws in enumerate(sockets)]
        assert all(greenlet.get(timeout=PATIENCE_S) is not None for greenlet in asking)

    facts = with_both(real_server.url, scenario)
    assert facts.count("opened") == facts.count("closed") == facts.count("replies") == 100
    assert {record["reason"] for record in facts.records if record["name"] == "s"} == {"run ended"}
