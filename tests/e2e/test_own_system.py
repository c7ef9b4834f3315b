"""The worked example in ``docs/your-own-system.md`` is what a newcomer can type, and it works."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import SERVERS
from tests.e2e.processes import ROOT, findings, load, serving

PAGE = (ROOT / "docs" / "your-own-system.md").read_text("utf-8")
MOST_LINES = 40


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
        users = ("-u", "10", "-r", "10", "-t", "6s", "--checks", "preflight")
        done = load(tmp_path / "run", "-f", str(file), "BidderUser", "--host", server.url, *users)
        seen = server.counts()
    assert done.code == 0, done.said
    assert findings(done.path) == []
    books = done.run.books()
    # the end of the run may take a user between an answer and its check
    answered = books.count("replies", "lot")
    assert answered - 10 <= books.count("check_passed", "a bid is judged") <= answered
    assert answered > 40
    assert books.count("metric_count", "prices heard") > 0
    # the preflight's rehearsal is one more bidder, and his bids are in no book
    assert seen["bidders"] > 10
    assert seen["bids"] > books.count("requests", "lot")
