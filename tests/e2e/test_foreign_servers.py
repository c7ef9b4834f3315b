"""Servers that others wrote: what wsoak writes down is what they saw, with either client."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.processes import eventually, load
from wsoak.ledger.outcomes import RUN_ENDED

pytestmark = pytest.mark.real


@pytest.mark.parametrize("client", ["fast", "reference"])
def test_every_message_and_close_is_one_that_the_server_saw(
    tmp_path: Path, serve_echo: Serve, client: str
) -> None:
    rates = ("-u", "50", "-r", "50", "-t", "8s", "--message-rate", "5")
    with serve_echo() as server:
        done = load(tmp_path / "run", "EchoUser", "--host", server.url, "--client", client, *rates)
        eventually(lambda: not server.counts()["open"], "the server has seen all sockets end")
        seen = server.counts()
    records = list(done.run.connections())
    assert {(r.outcome, r.code, r.initiator, r.clean, r.reason) for r in records} == {
        ("open", 1000, "client", True, RUN_ENDED)
    }
    assert len(records) == seen["connections"] == 50
    assert seen["closes"] == {"1000 by client": 50}
    assert seen["reasons"] == {RUN_ENDED: 50}
    assert sum(record.messages_sent for record in records) == seen["received"] > 50
    assert sum(record.messages_received for record in records) == seen["sent"] > 50
    books = done.run.books()
    assert (books.count("sent"), books.count("received")) == (seen["received"], seen["sent"])
    assert (books.count("requests"), books.count("replies")) == (seen["received"], seen["sent"])
    # a user has one request in flight, and the end of the run may cut that one off: nobody's failure
    assert 0 <= seen["received"] - seen["sent"] <= len(records)
    assert books.count("reply_lost") == books.count("reply_timeouts") == 0
    assert done.code == 0, done.said
