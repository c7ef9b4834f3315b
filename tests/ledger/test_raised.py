"""What may be said of an exception: type and place, and nothing that the source does not say itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from wsoak.ledger.raised import Raised, raised, traceback_text
from wsoak.wire.message import Message

SECRET = "eyJhbGciOi.secret"


def of(function: Callable[[], Any]) -> tuple[Raised, str]:
    try:
        function()
    except Exception as error:  # noqa: BLE001 - any
        return raised(error), traceback_text(error)
    raise AssertionError("it did not raise")


def from_data() -> None:
    raise ValueError(f"bad token {SECRET}")


def by_key_of_data() -> None:
    key = json.loads(f'["{SECRET}"]')[0]
    {}[key]


def attribute_of_data() -> None:
    getattr(object(), json.loads(f'"{SECRET}"'))


def literal_key() -> None:
    dict[str, str]()["token"]


def of_a_message() -> None:
    Message("[]", 0)["kind"]


def misspelt() -> None:
    Message("{}", 0).jsn  # type: ignore[attr-defined] # noqa: B018


def unknown_name() -> None:
    rely_to  # type: ignore[name-defined] # noqa: B018, F821


def in_a_library() -> None:
    json.loads("{")


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (from_data, "ValueError"),
        (by_key_of_data, "KeyError"),
        (attribute_of_data, "AttributeError"),
        (literal_key, "KeyError 'token'"),
        (of_a_message, "KeyError 'kind'"),
        (misspelt, "AttributeError 'jsn'"),
        (unknown_name, "NameError 'rely_to'"),
        (in_a_library, "JSONDecodeError"),
    ],
)
def test_an_exception_says_its_type_its_place_and_what_the_source_names(
    function: Callable[[], None], error: str
) -> None:
    said, text = of(function)

    assert said.error == error
    assert said.place.startswith("tests/ledger/test_raised.py:")
    assert said.place.endswith(f" in {function.__name__}")
    assert said.entry == "of"
    # places and source lines, and nothing that came at run time
    assert text.endswith(error)
    assert f"in {function.__name__}\n" in text


def test_what_comes_from_outside_is_in_no_text() -> None:
    for function in (by_key_of_data, attribute_of_data):
        said, text = of(function)
        assert SECRET not in f"{said}{text}".replace("{SECRET}", "")


def test_an_exception_that_was_never_raised_has_its_type_alone() -> None:
    assert raised(KeyError("x")) == Raised("KeyError", "", "")
