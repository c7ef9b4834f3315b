"""The worked example in ``docs/your-own-system.md`` is what a newcomer can type, and it works."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import SERVERS
from tests.e2e.processes import PATIENT, ROOT, findings, is_valid, load_until, serving
from wsoak.ledger.books import Books

PAGE = (ROOT / "docs" / "your-own-system.md").read_text("utf-8")
MOST_LINES = 40
USERS = 10


def heard(books: Books) -> bool:
    """Whether everybody bids, and hears of others' bids."""
    return books.count("replies", "lot") > 4 * USERS and books.count("metric_count", "prices heard") > 0


def example() -> str:
    """The one Python block of the page."""
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(block)


def test_the_example_is_short() -> None:
    assert len(example().splitlines()) < MOST_LINES


@pytest.mark.real
def test_the_example_loads_a_service_that_is_not_ours(tmp_path: Path) -> None:
    file = tmp_path / "auction.py"
    file.write_text(example())
    with serving(sys.executable, str(SERVERS / "auction.py")) as server:
        users = ("-u", str(USERS), "-r", str(USERS), "--checks", "preflight", *PATIENT)
        arguments = ("-f", str(file), "BidderUser", "--host", server.url, *users)
        done = load_until(heard, "bids were answered, and heard of", tmp_path / "run", *arguments)
        seen = server.counts()
    is_valid(done)
    assert findings(done.path) == []
    books = done.run.books()
    # the end of the run may take a user between an answer and its check
    answered = books.count("replies", "lot")
    assert answered - USERS <= books.count("check_passed", "a bid is judged") <= answered
    assert heard(books)
    # the preflight's rehearsal is one more bidder, and his bids are in no book
    assert seen["bidders"] > USERS
    assert seen["bids"] > books.count("requests", "lot")
