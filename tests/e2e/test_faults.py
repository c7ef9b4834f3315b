"""Each fault of the target is found by its name, alone, from the client's side; with either client."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import Outcome, analysis, findings, load
from tests.target.client import running
from wsoak.ledger.outcomes import CANCELLED, RUN_ENDED
from wsoak.ledger.records import ConnectionRecord

CLIENTS = ("fast", "reference")
RATES = ("-u", "6", "-r", "6", "-t", "7s", "--message-rate", "5")
AT_ONCE = 4
"""Runs at a time: they mostly wait."""


@dataclass(frozen=True, slots=True)
class Case:
    """A server's fault, and what must be found: the finding's id and severity, and words of its evidence."""

    fault: str | None
    finding: str | None
    severity: str = "critical"
    evidence: str = ""


CASES = {
    "healthy": Case(None, None),
    "datetime-crash": Case(
        "dialogue:datetime-crash", "closed-policy-silent", evidence="close 1008 (policy violation), by server"
    ),
    "datetime-crash-later": Case(
        "dialogue:datetime-crash:when=message", "closed-policy-silent", evidence="close 1008"
    ),
    "session-denied": Case(
        "dialogue:session-denied", "closed-policy-denied", evidence="“Session access denied”"
    ),
    "lost-history": Case("dialogue:lost-history:share=0.2", "history-lost", evidence="looked at"),
    "missing-route": Case("server:missing-route", "route-not-found", evidence="/v1/dialogues/ws/"),
    "reject": Case("server:reject:status=403", "upgrade-refused", evidence="rejected-403"),
}


@contextmanager
def closed_port() -> Iterator[str]:
    """The URL of a port that is taken, so that nobody else gets it, and on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def run_case(folder: Path, case: Case, client: str) -> Outcome:
    """One run of the dialogue against a target with this fault."""
    with running(*(["--fault", case.fault] if case.fault else [])) as target:
        return load(folder / "run", "DialogueUser", "--host", target.url, "--client", client, *RATES)


Runs = dict[tuple[str, str], Future[Outcome]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """All cases, several at a time; a test waits for its own."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        begun = {
            (name, client): pool.submit(run_case, tmp_path_factory.mktemp(f"{name}-{client}"), case, client)
            for client in CLIENTS
            for name, case in CASES.items()
        }
        yield begun
        for future in begun.values():
            future.cancel()


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", CASES)
def test_the_fault_is_found_by_its_name_and_nothing_else_is(runs: Runs, name: str, client: str) -> None:
    case, done = CASES[name], runs[name, client].result()
    found = findings(done.path)
    assert [finding["id"] for finding in found] == ([case.finding] if case.finding else []), done.said
    assert json.loads((done.path / "findings.json").read_text()) == found
    for finding in found:
        assert finding["system"] == "dialogue"
        assert finding["severity"] == case.severity
        assert finding["count"] > 0
        assert case.evidence in " ".join(finding["evidence"])
        assert finding["hint"]
    assert "The run is valid." in done.out, done.said


def way_to_end(record: ConnectionRecord) -> tuple[Any, ...]:
    """All that a record says of its end, and that does not differ from socket to socket."""
    opening = (record.outcome, record.phase, record.status, record.error, record.body)
    codes = (record.code, record.sent_code, record.received_code, record.reason, record.initiator)
    return *opening, *codes, record.clean, record.detail, record.errno, record.server_error


@pytest.mark.parametrize("name", CASES)
def test_both_clients_see_the_same_ways_to_end(runs: Runs, name: str) -> None:
    fast, reference = (
        {
            way_to_end(record)
            for record in runs[name, client].result().run.connections()
            # what the end of the run cut short ended by chance
            if record.outcome != CANCELLED and record.reason != RUN_ENDED
        }
        for client in CLIENTS
    )
    assert fast
    assert fast == reference


@pytest.mark.parametrize("client", CLIENTS)
def test_a_server_that_is_not_there_is_found_unreachable(tmp_path: Path, client: str) -> None:
    with closed_port() as url:
        done = load(tmp_path / "run", "EchoUser", "--host", url, "--client", client, *RATES)
    (found,) = findings(done.path)
    assert (found["id"], found["severity"], found["share"]) == ("server-unreachable", "critical", 1.0)
    assert "ECONNREFUSED" in " ".join(found["evidence"])
    assert done.code == 1, done.said


def test_compare_shows_that_all_handshakes_succeed_and_nothing_works(runs: Runs) -> None:
    before, after = (runs[name, "fast"].result().path for name in ("datetime-crash", "healthy"))
    answer = analysis("compare", before, after, "--json")
    assert answer.returncode == 0, answer.stderr
    (crashed,), (healthy,) = (json.loads(answer.stdout)[side] for side in ("before", "after"))
    assert (crashed["handshake_success"], healthy["handshake_success"]) == (1.0, 1.0)
    assert (crashed["usable"], healthy["usable"]) == (0.0, 1.0)
    assert (crashed["works"], healthy["works"]) == (False, True)
    assert crashed["closes"] == {"1008 by server": crashed["handshakes"]}
    assert [finding["id"] for finding in crashed["findings"]] == ["closed-policy-silent"]
    assert healthy["findings"] == []

    table = analysis("compare", before, after)
    assert table.returncode == 0, table.stderr
    rows = [re.split(r"\s{2,}", line) for line in table.stdout.splitlines()]
    assert ["handshake success", "100 %", "100 %"] in rows
    assert ["sockets usable", "0 %", "100 %"] in rows
    assert "Object of type datetime is not JSON serializable" in table.stdout
