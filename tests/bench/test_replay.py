"""The replay's page: it says how it was made, as the confusion matrix does."""

from __future__ import annotations

import re

from bench.incident_runs import facts
from bench.matrix import markdown
from bench.replay import REPLAYS, page

MADE_BY = facts("bench.replay", ["--keep", "a folder"], 1234.4)


def list_of(text: str) -> list[str]:
    """The lines of a page's list."""
    return [line for line in text.splitlines() if line.startswith("- ")]


def test_both_pages_begin_with_how_they_were_made() -> None:
    replayed, matrix = page([f"## {each.title}" for each in REPLAYS], MADE_BY), markdown([], MADE_BY)
    assert list_of(replayed) == list_of(matrix) == [f"- {name}: {value}" for name, value in MADE_BY.items()]
    assert replayed.index("- took: ") < replayed.index("## ")
    assert [line[3:] for line in replayed.splitlines() if line.startswith("## ")] == [
        each.title for each in REPLAYS
    ]


def test_the_facts_are_the_command_the_date_the_versions_and_the_time_that_it_took() -> None:
    assert MADE_BY["command"] == "`python -m bench.replay --keep 'a folder'`"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", MADE_BY["date"])
    assert re.search(r"wsoak \d.* locust \d.* websockets \d.* uvicorn \d.* Python 3\.", MADE_BY["versions"])
    assert MADE_BY["took"] == "1,234 s, 1 run at a time"
    assert facts("bench.confusion", (), 2.0, 2)["took"] == "2 s, 2 runs at a time"
