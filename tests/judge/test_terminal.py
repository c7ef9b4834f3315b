"""Hostile text made safe to print."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsoak.judge.terminal import quoted, safe


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("中文 é 🚀", "中文 é 🚀"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2066\u200b\ufeff", "\\u2066\\u200b\\ufeff"),
        ("\u2028", "\\u2028"),
        ("\x85\x9b", "\\x85\\x9b"),
        ("\ud800", "\\ud800"),
        ("第一\u3000第二\xa0三", "第一 第二 三"),
    ],
)
def test_what_cannot_be_seen_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert safe(text) == shown


def test_long_text_is_cut_and_says_so() -> None:
    assert safe("x" * 1210, limit=10) == "x" * 10 + "… (1,200 more)"


def test_quotes_stand_around() -> None:
    assert quoted("no") == "“no”"


@given(st.text(st.characters(codec=None)), st.integers(0, 50))
def test_any_text_becomes_one_printable_line_of_bounded_length(text: str, limit: int) -> None:
    shown = safe(text, limit)

    assert shown.isprintable()
    assert len(shown) <= 10 * limit + 30
    shown.encode("utf-8")
