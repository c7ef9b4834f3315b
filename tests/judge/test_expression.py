"""Expressions: what a text says, and where it stops being one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsoak.judge.expression import LONGEST, BadExpression, Expression, Label, matches, parse
from wsoak.judge.quantity import UNITS, Quantity, quantity, seconds

SHARE = Quantity(0.99, "share")

PARSED = [
    ("handshake.success >= 99.9%", ("handshake.success", (), None, None, ">=", Quantity(0.999, "share"))),
    ("usable>=99%", ("usable", (), None, None, ">=", SHARE)),
    (
        "response{name=dialogue} p(99) < 250ms",
        ("response", (Label("name", "dialogue"),), 99.0, None, "<", Quantity(0.25, "seconds")),
    ),
    (
        "response within 200ms >= 99%",
        ("response", (), None, Quantity(0.2, "seconds"), ">=", SHARE),
    ),
    (
        "close{code=1006}.rate < 0.1%",
        ("close.rate", (Label("code", "1006"),), None, None, "<", Quantity(0.001, "share")),
    ),
    ("reconnect.recovery < 30s", ("reconnect.recovery", (), None, None, "<", Quantity(30.0, "seconds"))),
    (
        "findings{severity=critical} == 0",
        ("findings", (Label("severity", "critical"),), None, None, "==", Quantity(0.0, "number")),
    ),
    ("drift.memory < 2%/h", ("drift.memory", (), None, None, "<", Quantity(0.02, "share", "h"))),
    ("response p99.9 <= 1s", ("response", (), 99.9, None, "<=", Quantity(1.0, "seconds"))),
    ("response.p(50) > 1ms", ("response", (), 50.0, None, ">", Quantity(0.001, "seconds"))),
    ("ping.within 50ms > 90 %", ("ping", (), None, Quantity(0.05, "seconds"), ">", Quantity(0.9, "share"))),
    (
        "close.rate{code!=1000, initiator=server} < 1%",
        (
            "close.rate",
            (Label("code", "1000", negated=True), Label("initiator", "server")),
            None,
            None,
            "<",
            Quantity(0.01, "share"),
        ),
    ),
    (
        r'check{name="an \"answer\", {really}"} >= 99%',
        ("check", (Label("name", 'an "answer", {really}'),), None, None, ">=", SHARE),
    ),
    (
        "request{name='/v1/{id}'}.count != 1_000",
        ("request.count", (Label("name", "/v1/{id}"),), None, None, "!=", Quantity(1000.0, "number")),
    ),
    (
        "sent.per_second >= 1.5e3/s",
        ("sent.per_second", (), None, None, ">=", Quantity(1500.0, "number", "s")),
    ),
]


@pytest.mark.parametrize(("text", "parts"), PARSED, ids=[text for text, _ in PARSED])
def test_a_text_says_a_figure_with_labels_and_form_and_a_limit(text: str, parts: tuple[object, ...]) -> None:
    assert parse(f"  {text} ") == Expression(text, *parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "character", "said"),
    [
        ("", 1, "the name of a figure"),
        ("99% <= usable", 1, "not '99% <= usable'"),
        ("usable", 7, "a comparison"),
        ("usable =>99%", 8, "after 'usable' a comparison"),
        ("usable >=", 10, "not the end"),
        ("usable. >= 99%", 9, "a word after the dot"),
        ("close{code}.rate < 1%", 7, "a label such as"),
        ("close{code=1006.rate < 1%", 22, '"," or "}"'),
        ("close{code=1006}{name=x}.rate < 1%", 17, "a second set of labels"),
        ("response p(x) < 1s", 10, "a comparison"),
        ("usable >= 99% please", 15, "nothing more after the limit"),
        ("response within >= 99%", 17, "a number with its unit"),
    ],
)
def test_a_text_that_is_none_is_told_where_and_why(text: str, character: int, said: str) -> None:
    with pytest.raises(BadExpression, match=rf"^at character {character}: ") as caught:
        parse(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("usable >= 99 percent", "unknown unit"),
        ("usable >= 1e999%", "too large"),
        ("drift.memory < 2%/fortnight", "unknown rate"),
    ],
)
def test_a_limit_in_unknown_units_is_told(text: str, said: str) -> None:
    with pytest.raises(BadExpression, match=said):
        parse(text)


def test_an_endless_text_is_refused() -> None:
    with pytest.raises(BadExpression, match="longer than"):
        parse("x" * (LONGEST + 1))


@given(st.text(max_size=60) | st.text("usable{}=.,p(9)<> %ms'\"\\", max_size=40))
def test_any_text_is_an_expression_or_a_bad_one(text: str) -> None:
    try:
        found = parse(text)
    except BadExpression as error:
        assert str(error)
    else:
        assert parse(found.text) == found


@pytest.mark.parametrize(
    ("pattern", "text", "meets"),
    [
        ("1006", "1006", True),
        ("1006", "10060", False),
        ("4*", "4401", True),
        ("4*", "1400", False),
        ("*", "", True),
        ("a[b]?*", "a[b]?c", True),
        ("a[b]?*", "abc", False),
        ("*\n*", "a\nb", True),
    ],
)
def test_a_star_stands_for_any_text_and_nothing_else_stands_for_another(
    pattern: str, text: str, meets: bool
) -> None:
    assert matches(pattern, text) is meets
    assert Label("x", pattern, negated=True).admits(text) is not meets


@pytest.mark.parametrize("unit", UNITS)
def test_a_quantity_is_kept_in_base_units_and_shown_as_it_was_written(unit: str) -> None:
    dimension, factor = UNITS[unit]
    found = quantity(f"2.5 {unit}")
    assert found.value == pytest.approx(2.5 * factor)
    assert found.dimension == dimension
    assert str(found) == f"2.5{unit}"


@pytest.mark.parametrize(
    ("text", "value", "shown"),
    [
        ("99.9%", 0.9995, "99.95 %"),
        ("99.9%", 1.0, "100 %"),
        ("250ms", 1.5, "1.5 s"),
        ("2%/h", -0.013, "-1.3 %/h"),
        ("500MB", 41_500_000.0, "41.5 MB"),
        ("0", 12_345.0, "12,345"),
        ("30s", float("inf"), "never"),
        ("500/s", 381.4, "381/s"),
        ("3/h", -2.5, "-2.5/h"),
        ("5min", 0.00025, "250 µs"),
    ],
)
def test_another_value_is_shown_in_the_limits_units(text: str, value: float, shown: str) -> None:
    assert quantity(text).show(value) == shown


@pytest.mark.parametrize("text", ["30", "1%", "-1s", "1s/h", "", "soon"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|number"):
        seconds(text)


def test_a_rate_by_the_minute_or_day_is_one_by_the_hour() -> None:
    assert quantity("1MB/min") == Quantity(60e6, "bytes", "h")
    assert quantity("24/d") == Quantity(1.0, "number", "h")
