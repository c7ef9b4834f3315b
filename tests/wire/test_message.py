"""Messages: read as JSON where they are, never raising for what a server sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsoak.wire.message import Message, encode, error_text

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON)
def test_a_json_value_is_read(value: Any) -> None:
    assert Message(json.dumps(value), 0).json == value
    assert Message(json.dumps(value).encode(), 0).json == value


@given(st.text() | st.binary())
def test_no_data_whatever_makes_a_message_raise(data: str | bytes) -> None:
    message = Message(data, 0)
    assert message.json == message.json
    assert message.get("key", 7) == 7 or isinstance(message.json, dict)
    assert isinstance(error_text(data), str)
    assert repr(message)


@pytest.mark.parametrize("data", ["[" * 100_000, "9" * 10_000, "NaN-", b"\xff", b"\xff\xfe"])
def test_hostile_json_is_no_json(data: str | bytes) -> None:
    assert Message(data, 0).json is None
    assert Message(data, 0).get("a") is None


def test_a_member_is_read_like_a_dicts() -> None:
    message = Message('{"a": 1, "b": null}', 5)
    assert message["a"] == message.get("a") == 1
    assert message["b"] is None
    assert message.get("c", "default") == "default"
    with pytest.raises(KeyError):
        message["c"]
    with pytest.raises(KeyError):
        Message("[1]", 0)["a"]
    assert message.received_ns == 5


def test_the_text_is_parsed_once() -> None:
    message = Message('{"a": []}', 0)
    assert message.json is message.json


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("é", (True, "é".encode())),
        ("", (True, b"")),
        (b"\xff", (False, b"\xff")),
        (bytearray(b"ab"), (False, b"ab")),
        (memoryview(b"ab"), (False, b"ab")),
        ({"a": "é", "b": [1]}, (True, '{"a":"é","b":[1]}'.encode())),
        ([], (True, b"[]")),
    ],
)
def test_what_a_scenario_sends_is_text_or_binary(message: Any, expected: tuple[bool, bytes]) -> None:
    assert encode(message) == expected


@pytest.mark.parametrize("bad", [{"a": object()}, "\ud800", {"a": "\ud800"}])
def test_what_cannot_be_sent_raises(bad: Any) -> None:
    with pytest.raises((TypeError, UnicodeEncodeError)):
        encode(bad)


ERRORS = {
    '{"type":"error","message":"quota"}': "quota",
    '{"type":"error","detail":"why"}': "why",
    '{"type":"error"}': "error",
    '{"error":"bad token"}': "bad token",
    '{"error":{"code":5,"message":"inner"}}': "inner",
    '{"error":["a"]}': "['a']",
    '{"error":null,"type":"news"}': "",
    '{"error":""}': "",
    '{"error":false}': "",
    '{"news":"an error happened"}': "",
    '["error"]': "",
    "error": "",
    '{"error":"' + "x" * 400 + '"}': "x" * 300,
}


@pytest.mark.parametrize("data", ERRORS)
def test_an_error_message_is_found_as_servers_write_it(data: str) -> None:
    assert error_text(data) == ERRORS[data]


def test_binary_and_nothing_hold_no_error() -> None:
    assert error_text(b'{"error":"x"}') == error_text(None) == ""
