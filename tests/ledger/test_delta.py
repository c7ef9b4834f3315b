"""Deltas on their way from worker to master."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings

from tests.ledger.samples import HOSTILE_TEXTS, connection, deltas
from wsoak.ledger.delta import Delta
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.records import Gauge, Observation, UserError
from wsoak.ledger.timeline import COUNTERS, ZERO


def travelled(plain: dict[str, Any]) -> dict[str, Any]:
    """The plain delta after a journey as Locust's messages make it."""
    received: dict[str, Any] = msgpack.unpackb(msgpack.packb(plain), raw=False, strict_map_key=False)
    return received


def full_delta(text: str = "x") -> Delta:
    """A delta with one of everything, and this text wherever a text can be."""
    names = dict.fromkeys(
        ("name", "worker", "path", "error", "body", "reason", "server_error", "state"), text
    )
    return Delta(
        worker=text,
        seq=3,
        timeline={(1_700_000_000, text): (1,) * len(COUNTERS)},
        latency={(1_700_000_000, "response", text): Histogram.of([1, 5_000, 10**12])},
        connections=[connection(**names)],
        gauges=[Gauge(1.5, text, text, text, 2.5)],
        observations=[Observation(1.5, text, text, text, 1, 2, text)],
        user_errors=[UserError(1.5, text, text, text, text, text, 3)],
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(deltas())
def test_a_delta_arrives_as_it_was_sent(delta: Delta) -> None:
    assert Delta.from_plain(travelled(delta.to_plain())) == delta


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=[ascii(text)[:30] for text in HOSTILE_TEXTS])
def test_a_hostile_text_arrives_as_it_was_sent(text: str) -> None:
    delta = full_delta(text)
    assert Delta.from_plain(travelled(delta.to_plain())) == delta


def test_a_row_of_counters_arrives_as_a_tuple_that_adds_up() -> None:
    arrived = Delta.from_plain(travelled(Delta("w", 0, timeline={(1, "a"): ZERO}).to_plain()))
    assert arrived.timeline == {(1, "a"): ZERO}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda plain: plain.pop("layout"), id="no layout"),
        pytest.param(lambda plain: plain.update(layout=plain["layout"] + 1), id="another layout"),
        pytest.param(lambda plain: plain.clear(), id="nothing"),
    ],
)
def test_a_delta_of_another_version_is_refused_in_one_sentence(
    change: Callable[[dict[str, Any]], Any],
) -> None:
    plain = full_delta().to_plain()
    change(plain)
    with pytest.raises(ValueError, match=r"^the delta comes from another version of wsoak; run the same one"):
        Delta.from_plain(travelled(plain))


@pytest.mark.parametrize("columns_of", ["ConnectionRecord", "Gauge", "Observation", "UserError", "COUNTERS"])
def test_the_layout_changes_with_every_list_of_columns(
    columns_of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wsoak.ledger import delta as module

    before = module.layout()
    if columns_of == "COUNTERS":
        monkeypatch.setattr(module, "COUNTERS", COUNTERS[::-1])
    else:
        record = getattr(module, columns_of)
        monkeypatch.setattr(record, "COLUMNS", record.COLUMNS[::-1])
    assert module.layout() != before


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda plain: plain.pop("timeline"), id="a part is missing"),
        pytest.param(lambda plain: plain["timeline"][0].pop(), id="a counter is missing"),
        pytest.param(lambda plain: plain["timeline"].append([]), id="an empty row"),
        pytest.param(lambda plain: plain["latency"][0].pop(), id="no histogram"),
        pytest.param(lambda plain: plain["latency"][0].__setitem__(5, b"x"), id="not a histogram"),
        pytest.param(lambda plain: plain["connections"][0].pop(), id="a field is missing"),
        pytest.param(lambda plain: plain.update(gauges=None), id="no list"),
        pytest.param(lambda plain: plain.update(gauges=[7]), id="no row"),
    ],
)
def test_a_damaged_delta_is_a_value_error(change: Callable[[dict[str, Any]], Any]) -> None:
    plain = full_delta().to_plain()
    change(plain)
    with pytest.raises(ValueError):
        Delta.from_plain(travelled(plain))
