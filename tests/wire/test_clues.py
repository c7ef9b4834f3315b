"""Where a message holds the id of a request, in words that quote nothing of what a server sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wsoak.wire.clues import DEPTH, FIELDS, LONGEST, NAME_LIMIT, clue, describe
from wsoak.wire.message import Message

SECRET = "do-not-tell"


def message(data: Any) -> Message:
    return Message(data if isinstance(data, str | bytes) else json.dumps(data), 0)


FOUND = [
    ([7], {"request_id": 7, "text": SECRET}, "in the field `request_id`"),
    ([7], {"id": "7"}, "in the field `id`, as text, and not as a number"),
    (["7"], {"id": 7}, "in the field `id`, as a number, and not as text"),
    ([1, 7], {"data": {"meta": {"id": 7}}, "text": SECRET}, "in the field `data.meta.id`"),
    ([7], [{"id": 7}], "in the field `[].id`"),
    ([7], {"results": [{"n": 1}, {"ref": 7}]}, "in the field `results[].ref`"),
    (["a4f81c"], {"whatever": "a4f81c"}, "in the field `whatever`"),
    ([1234567], {"x": 1234567}, "in the field `x`"),
    (["00000007"], {"echo": f"{SECRET} 00000007"}, "in the field `echo`, among other text"),
    (
        ["00000007"],
        "Message text was: 00000007xxx",
        "in the text, which does not begin with it: 18 other characters stand before it",
    ),
    (
        ["00000007"],
        ">00000007",
        "in the text, which does not begin with it: 1 other character stands before it",
    ),
    (["00000007"], "00000007", "at the beginning of the text"),
    (["00000007"], b"\0\0\x0000000007", "in a binary message"),
]


@pytest.mark.parametrize(("keys", "data", "place"), FOUND)
def test_the_place_of_an_id_is_told(keys: list[Any], data: Any, place: str) -> None:
    assert clue(keys, message(data)) == place


NOT_FOUND = [
    ([7], {"id": 8}),
    # a small number is the value of many a field by chance
    ([7], {"temperature": 7, "seq": 7}),
    ([1], {"id": True}),
    (["ok"], {"status": "ok"}),
    (["ok"], "all is ok"),
    ([None, (1, 2), 1.5, True], {"id": None, "ok": True}),
    ([7], "no JSON"),
    ([7], 7),
    (["00000007"], "x" * LONGEST + "00000007"),
]


@pytest.mark.parametrize(("keys", "data"), NOT_FOUND)
def test_no_place_is_made_up(keys: list[Any], data: Any) -> None:
    assert clue(keys, message(data)) is None


def test_a_hostile_message_costs_little() -> None:
    deep: Any = 7
    for _ in range(DEPTH):
        deep = {"id": deep}
    assert clue([7], message(deep)) == "in the field `id.id.id.id`"
    assert clue([7], message({"id": deep})) is None
    assert clue([7], message({"n" * 5000: 1, "id": 7})) == "in the field `id`"
    assert clue([7], message({"id" * 2000: 7})) == f"in the field `{('id' * 2000)[:NAME_LIMIT]}…`"


DESCRIBED = [
    ({"type": SECRET, "text": SECRET}, "a JSON object with the fields type, text"),
    ({str(n): SECRET for n in range(FIELDS + 1)}, "a JSON object with the fields 0, 1, 2, 3, 4, 5, …"),
    ({}, "an empty JSON object"),
    ([SECRET], "a JSON array"),
    (SECRET, "a text that is no JSON"),
    (SECRET.encode(), "a binary message"),
    ("x" * (LONGEST + 1), "a message longer than 10,000"),
]


@pytest.mark.parametrize(("data", "words"), DESCRIBED)
def test_what_came_is_described_without_its_text(data: Any, words: str) -> None:
    assert describe(message(data)) == words
