"""The checks' tables: what a run's record says of them, from wherever it comes."""

from __future__ import annotations

from typing import Any

import pytest

from analysis import checks
from analysis.report import environment

HOSTILE = '<script>alert("x")</script>\u202e\x1b[2J'
STEP = {"scenario": "EchoUser", "step": "health", "result": "ok", "text": "2 ms", "finding": ""}
DOOR = {
    "scenario": "EchoUser",
    "finding": "forged-token-accepted",
    "socket": "echo",
    "path": "/echo?token=***",
    "tried": "with a token whose signature is wrong",
    "expected": "refused",
    "seen": HOSTILE,
    "accepted": True,
}


def header(**members: Any) -> dict[str, Any]:
    return {"checks": members}


def test_every_check_is_a_row() -> None:
    table = checks.steps(header(steps=[STEP, {**STEP, "step": "rehearsal"}]))
    assert table.rows == (
        ("EchoUser", "health", "ok", "2 ms", ""),
        ("EchoUser", "rehearsal", "ok", "2 ms", ""),
    )
    assert len(table.columns) == len(table.rows[0])


def test_a_probe_says_what_was_tried_expected_and_seen_and_the_verdict() -> None:
    table = checks.doors(header(doors=[DOOR, {**DOOR, "accepted": False}]))
    opened, shut = table.rows
    assert opened[:5] == ("EchoUser", "echo", "/echo?token=***", DOOR["tried"], "refused")
    assert (opened[-1], shut[-1]) == ("OPEN: forged-token-accepted", "shut")
    assert len(table.columns) == len(opened)


def test_what_a_server_said_is_text_in_the_report() -> None:
    (row,) = checks.doors(header(doors=[DOOR])).rows
    page = environment().from_string("<td>{{ cell }}</td>").render(cell=row[5])
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\u202e" not in page
    assert "\x1b" not in page


@pytest.mark.parametrize(
    "plain",
    [
        {},
        {"checks": None},
        {"checks": []},
        {"checks": 7},
        header(),
        header(steps=None, doors=7),
        header(steps=["x", 7, None], doors=[[]]),
    ],
)
def test_a_record_that_is_not_as_we_write_it_has_no_rows(plain: dict[str, Any]) -> None:
    assert (checks.steps(plain).rows, checks.doors(plain).rows) == ((), ())


def test_a_probe_of_which_too_little_is_known_counts_as_open() -> None:
    (row,) = checks.doors(header(doors=[{}])).rows
    assert row[-1].startswith("OPEN")
