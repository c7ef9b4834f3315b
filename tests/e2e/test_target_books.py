"""The run's books beside the embedded target's own counters: equal, to the message."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.conftest import HEALTHY_SOCKETS, Healthy
from tests.e2e.processes import analysis, eventually, findings, is_valid
from tests.target.client import Target
from wsoak.ledger.outcomes import RUN_ENDED
from wsoak.ledger.records import ConnectionRecord

SYSTEMS = ("echo", "dialogue")


def ended_by(record: ConnectionRecord) -> str:
    """Which end of the socket closed it, and with what, as the target counts it."""
    return f"{record.code} by {record.initiator}"


@pytest.fixture(scope="module", autouse=True)
def all_sockets_have_ended(healthy: Healthy) -> None:
    target, done = healthy
    assert target.metric("wsoak_target_handshakes_total") == HEALTHY_SOCKETS, done.said
    eventually(lambda: not target.metric("wsoak_target_open_sockets"), "the target has seen all sockets end")


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(
    ("ours", "targets"),
    [
        (
            "opened",
            lambda target, of: target.metric("wsoak_target_handshakes_total", system=of, result="accepted"),
        ),
        (
            "failed",
            lambda target, of: (
                target.metric("wsoak_target_handshakes_total", system=of)
                - target.metric("wsoak_target_handshakes_total", system=of, result="accepted")
            ),
        ),
        ("closed", lambda target, of: target.metric("wsoak_target_closes_total", system=of)),
        ("sent", lambda target, of: target.metric("wsoak_target_messages_received_total", system=of)),
        ("received", lambda target, of: target.metric("wsoak_target_messages_sent_total", system=of)),
        ("bytes_sent", lambda target, of: target.metric("wsoak_target_bytes_received_total", system=of)),
        ("bytes_received", lambda target, of: target.metric("wsoak_target_bytes_sent_total", system=of)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_our_count_is_the_targets(
    healthy: Healthy, system: str, ours: str, targets: Callable[[Target, str], float]
) -> None:
    target, done = healthy
    assert done.run.books().count(ours, system) == targets(target, system)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_close_has_the_code_and_the_initiator_that_the_target_saw(
    healthy: Healthy, system: str
) -> None:
    target, done = healthy
    ends = [ended_by(record) for record in done.run.connections() if record.name == system]
    assert len(ends) >= 150
    for end in set(ends):
        code, _, initiator = end.partition(" by ")
        labels = {"system": system, "code": code, "initiator": initiator}
        assert ends.count(end) == target.metric("wsoak_target_closes_total", **labels), end


def test_the_records_add_up_to_the_timeline(healthy: Healthy) -> None:
    _, done = healthy
    records, books = list(done.run.connections()), done.run.books()
    assert len(records) == books.count("opened") == books.count("closed")
    assert sum(record.messages_sent for record in records) == books.count("sent") > 300
    assert sum(record.messages_received for record in records) == books.count("received") > 300
    assert sum(record.bytes_sent for record in records) == books.count("bytes_sent")
    assert sum(record.bytes_received for record in records) == books.count("bytes_received")
    assert len({record.id for record in records}) == len(records)


def test_every_session_is_deleted_at_the_end(healthy: Healthy) -> None:
    target, done = healthy
    assert done.run.books().count("opened", "dialogue") >= 150
    assert target.metric("wsoak_target_sessions_open", system="dialogue") == 0


def test_a_healthy_run_is_valid_has_no_findings_and_exits_with_0(healthy: Healthy) -> None:
    _, done = healthy
    assert {record.outcome for record in done.run.connections()} == {"open"}
    assert {record.reason for record in done.run.connections() if record.name == "echo"} == {RUN_ENDED}
    assert "Traceback" not in done.err, done.said
    assert findings(done.path) == []
    is_valid(done)


def test_the_report_of_a_healthy_run_is_one_file_that_asks_for_nothing(healthy: Healthy) -> None:
    _, done = healthy
    answer = analysis("report", done.path)
    assert answer.returncode == 0, answer.stderr
    assert "0 findings" in answer.stdout
    page = (done.path / "report.html").read_text("utf-8")
    assert "http://" not in page.replace(str(done.run.header["host"]), "")
    assert "https://" not in page
    assert "<script" not in page
    assert len(list((done.path / "charts").glob("*.png"))) > 3
