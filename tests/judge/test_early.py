"""Messages that left before their time: counted, or shown by the histograms."""

from __future__ import annotations

import pytest

from tests.judge.booked import START_S, row
from wsoak.judge.early import early_messages
from wsoak.judge.validity import doubts
from wsoak.ledger.books import Books
from wsoak.ledger.histogram import Histogram

MS = 1_000_000


def timed(response_ms: list[float], service_ms: list[float], sent_early: int = 0) -> Books:
    """Books of requests with these times."""
    made = Books()
    made.add_row(int(START_S), "m", row(requests=len(service_ms), sent_early=sent_early))
    for kind, values in (("response", response_ms), ("service", service_ms)):
        made.add_histogram(kind, "m", Histogram.of([round(value * MS) for value in values]))
    return made


@pytest.mark.parametrize(
    ("response_ms", "service_ms", "sent_early", "early"),
    [
        ([10, 20, 30], [10, 20, 30], 0, 0),
        ([30, 20, 40], [20, 10, 30], 0, 0),
        # the pairs are not known: sorted, each response is still at least its service
        ([35, 12], [30, 10], 0, 0),
        ([0.0005, 20, 30], [10, 20, 30], 0, 1),
        ([-5, -5, 30], [10, 20, 30], 0, 2),
        ([10, 20, 30], [10, 20, 30], 3, 3),
        # a response more than services: nothing can be told from the histograms
        ([1, 10, 20, 30], [10, 20, 30], 0, 0),
        ([], [], 0, 0),
    ],
)
def test_early_messages_are_known(
    response_ms: list[float], service_ms: list[float], sent_early: int, early: int
) -> None:
    assert early_messages(timed(response_ms, service_ms, sent_early)) == early


def test_a_run_with_early_messages_is_not_to_be_believed() -> None:
    header = {"started_at": START_S, "ended_at": START_S + 60.0}
    found = {doubt.id: doubt for doubt in doubts(timed([10], [10], sent_early=131), header)}

    assert found["response-below-service"].invalid
    assert found["response-below-service"].reason.startswith("131 messages were sent before the time")
    assert "response-below-service" not in {doubt.id for doubt in doubts(timed([10], [10]), header)}
