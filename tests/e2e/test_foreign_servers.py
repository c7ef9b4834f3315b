"""Servers that others wrote: what wsoak writes down is what they saw, with either client."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import Serve
from tests.e2e.processes import PATIENT, eventually, is_valid, load_until
from wsoak.ledger.books import Books
from wsoak.ledger.outcomes import RUN_ENDED

pytestmark = pytest.mark.real

SOCKETS = 50


def used(books: Books) -> bool:
    return books.open_now == SOCKETS and books.count("replies") > 4 * SOCKETS


@pytest.mark.parametrize("client", ["fast", "reference"])
def test_every_message_and_close_is_one_that_the_server_saw(
    tmp_path: Path, serve_echo: Serve, client: str
) -> None:
    users = ("-u", str(SOCKETS), "-r", str(SOCKETS), "--message-rate", "5", *PATIENT)
    arguments = ("EchoUser", "--client", client, *users)
    with serve_echo() as server:
        path = tmp_path / "run"
        done = load_until(used, "all sockets were in use", path, *arguments, "--host", server.url)
        eventually(lambda: not server.counts()["open"], "the server has seen all sockets end")
        seen = server.counts()
    records = list(done.run.connections())
    assert {(r.outcome, r.code, r.initiator, r.clean, r.reason) for r in records} == {
        ("open", 1000, "client", True, RUN_ENDED)
    }
    assert len(records) == seen["connections"] == SOCKETS
    assert seen["closes"] == {"1000 by client": SOCKETS}
    assert seen["reasons"] == {RUN_ENDED: SOCKETS}
    assert sum(record.messages_sent for record in records) == seen["received"] > SOCKETS
    assert sum(record.messages_received for record in records) == seen["sent"] > SOCKETS
    books = done.run.books()
    assert (books.count("sent"), books.count("received")) == (seen["received"], seen["sent"])
    assert (books.count("requests"), books.count("replies")) == (seen["received"], seen["sent"])
    # what is in flight may be cut off by the end of the run: nobody's failure
    assert seen["received"] >= seen["sent"]
    assert books.count("reply_lost") == books.count("reply_timeouts") == 0
    is_valid(done)
