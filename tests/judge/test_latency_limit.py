"""The latency limit: what the option says, else the least that a gate asks for, else a second."""

from __future__ import annotations

from typing import Any

import pytest

from wsoak.judge.gates import parse_gates
from wsoak.judge.latency_limit import DEFAULT, DEFAULT_MS, LEAST_MS, OPTION, latency_limit, with_gates


def limit(*expressions: str, given_ms: float = 0.0) -> tuple[float, str]:
    found = latency_limit(given_ms, gates(*expressions))
    return found.ms, found.of


def gates(*expressions: str) -> list[Any]:
    text = "\n".join(f"[[gates]]\nexpr = '''{each}'''" for each in expressions)
    return parse_gates(text.encode(), "gates.toml") if text else []


@pytest.mark.parametrize(
    ("expr", "expected_ms"),
    [
        ("response p(99) < 250ms", 250.0),
        ("response{name=echo} p95 <= 0.25s", 250.0),
        ("response within 250ms >= 99%", 250.0),
        ("response.max < 250ms", 250.0),
        ("response.mean <= 250ms", 250.0),
        ("service p(99) < 250ms", 250.0),
        ("handshake p(99) < 250ms", 250.0),
        # no upper limit of an answer's or an opening's time
        ("response p(99) > 250ms", None),
        ("response within 250ms < 99%", None),
        ("handshake.success >= 99.9%", None),
        ("lag p(99) < 250ms", None),
        ("hub p(99) < 250ms", None),
        ("delivery p(99) < 250ms", None),
        ("request.success >= 99%", None),
        ("findings == 0", None),
        ("drift.latency < 250ms/h", None),
        # what everybody gets who names none is no looser for it
        ("response p(99) < 10s", None),
        ("response p(99) < 1s", None),
    ],
)
def test_a_gate_that_limits_the_time_of_answers_or_openings_limits_the_lag(
    expr: str, expected_ms: float | None
) -> None:
    expected = (DEFAULT_MS, DEFAULT) if expected_ms is None else (expected_ms, f'gate "{expr}"')
    assert limit(expr) == expected


@pytest.mark.parametrize(
    ("expressions", "given_ms", "expected"),
    [
        ((), 0.0, (1000.0, DEFAULT)),
        (("service p(9) < 300ms", "response p(99) < 200ms"), 0.0, (200.0, 'gate "response p(99) < 200ms"')),
        (
            ("response p(99) < 20ms",),
            0.0,
            (LEAST_MS, 'gate "response p(99) < 20ms", but no less than 100 ms'),
        ),
        # the user's own counts, be it more or less
        (("response p(99) < 200ms",), 1000.0, (1000.0, OPTION)),
        (("response p(99) < 200ms",), 60000.0, (60000.0, OPTION)),
        (("response p(99) < 200ms",), 5.0, (5.0, OPTION)),
    ],
)
def test_the_least_gate_counts_unless_the_option_says_another(
    expressions: tuple[str, ...], given_ms: float, expected: tuple[float, str]
) -> None:
    assert limit(*expressions, given_ms=given_ms) == expected


@pytest.mark.parametrize(
    ("header", "expected_ms"),
    [
        ({"latency_limit_ms": 1000.0, "latency_limit_of": DEFAULT}, 200.0),
        ({"latency_limit_ms": 500.0, "latency_limit_of": 'gate "x"'}, 200.0),
        ({"latency_limit_ms": 100.0, "latency_limit_of": 'gate "x"'}, 100.0),
        ({"latency_limit_ms": 1000.0, "latency_limit_of": OPTION}, 1000.0),
        # of before there was a say in it
        ({"latency_limit_ms": 1000.0}, 1000.0),
        ({"latency_limit_ms": None, "latency_limit_of": DEFAULT}, None),
    ],
)
def test_a_run_is_judged_by_other_gates_as_if_it_had_had_them(
    header: dict[str, Any], expected_ms: float | None
) -> None:
    judged = with_gates(header, gates("response p(99) < 200ms"))
    assert judged["latency_limit_ms"] == expected_ms


def test_a_runs_own_gates_change_nothing_of_what_it_says() -> None:
    own = gates("response p(99) < 20ms", "usable >= 99%")
    header = {"run_id": "r", **latency_limit(0.0, own).to_json()}
    assert with_gates(header, own) == header
