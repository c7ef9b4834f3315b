"""Each fault of each system is found by its name, alone, from the client's side.

The systems fail side by side: a run loads all of them, each with a fault of its own, and the findings are
told apart by their system. Some of the runs are made by the reference client too, and must be told alike.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from bench.incidents import BY_ID, INCIDENTS, USER_CLASSES, Incident
from tests.e2e.processes import (
    ENDLESS,
    EXIT_INVALID,
    Load,
    Outcome,
    analysis,
    findings,
    is_believed,
    is_valid,
    load_until,
    loading,
)
from tests.target.client import running
from wsoak.judge.findings import find
from wsoak.ledger.books import Books
from wsoak.ledger.outcomes import CANCELLED, RUN_ENDED
from wsoak.ledger.records import ConnectionRecord

CLIENTS: Final = ("fast", "reference")
USERS_A_SYSTEM: Final = 5
AT_ONCE: Final = 4
"""Runs at a time: they mostly wait."""
PATIENT: Final = ("--handshake-timeout", "60", "--reply-timeout", "60")
"""Before an incident's own options: what a busy machine holds up is no fault."""


@dataclass(frozen=True, slots=True)
class Row:
    """What must be found of a fault, or of one with these parameters: its severity, and words of evidence."""

    severity: str
    evidence: str


ROWS: Final[Mapping[str, Row]] = {
    "dialogue:datetime-crash": Row("critical", "close 1008 (policy violation), by server"),
    # a socket that the run's end came upon before its first message was not closed by the server
    "dialogue:datetime-crash:when=message": Row(
        "critical or error", "close 1008 (policy violation), by server"
    ),
    "dialogue:session-denied": Row("critical", "“Session access denied”"),
    "dialogue:lost-history": Row("critical", "looked at"),
    "call:nil-user": Row("critical", "rejected-500"),
    "call:nil-user:answer=none": Row("critical", "eof (the connection ended before the answer was complete)"),
    "call:anonymous-accepted": Row("critical", "let in"),
    "call:stale-sessions": Row("error", "sessions were still there after their end"),
    "roadmap:wrong-prefix": Row("critical", "/api/v1/ws/"),
    "roadmap:send-after-close": Row("error", "close 1011 (internal error), by server"),
    "roadmap:send-after-close:how=drop": Row("error", "close 1006 (abnormal closure), eof, by network"),
    "roadmap:lost-events": Row("critical", "missing from their sequence"),
    "tasks:reject-before-accept": Row("critical", "rejected-403"),
    "tasks:slow-auth": Row("error", "timeout-upgrade"),
    "tasks:doubled-prefix": Row("critical", "/api/v1/api/v1/ws/tasks/"),
    "tasks:proxy-reset": Row("critical", "reset"),
    "tasks:token-expiry": Row("error", "with credentials that had been accepted before"),
    "voice:close-after-hello": Row("critical", "close 1005 (no status received), by server"),
    # an outage, unless the run's end came first for some sockets
    "voice:drop-mid-utterance": Row("critical or error", "What they were doing: listening"),
    "voice:deaf": Row("critical or error", "heartbeat-lost"),
    "server:missing-route": Row("critical", "/v1/dialogues/ws/"),
    "server:reject": Row("critical", "rejected-403"),
}

MISSING: Final = Incident("server", "missing-route", "route-not-found", {"only": "dialogue"})
REJECTED: Final = Incident("server", "reject", "upgrade-refused", {"status": 403, "only": "dialogue"})


def of(id_: str, options: tuple[str, ...] | None = None, **params: object) -> Incident:
    """An incident, with other parameters where they are given."""
    incident = BY_ID[id_]
    changed = replace(incident, params={**incident.params, **params})
    return changed if options is None else replace(changed, options=options)


@dataclass(frozen=True, slots=True)
class Case:
    """A run of several systems.

    Attributes:
        incidents: what happens in it, by system.
        seconds: how long it goes on at least, so that more could be found than what must be.
        systems: which are loaded; all of them unless given.
    """

    incidents: Mapping[str, Incident] = field(default_factory=dict)
    seconds: int = 7
    options: tuple[str, ...] = ()
    systems: tuple[str, ...] = tuple(USER_CLASSES)

    @property
    def expected(self) -> list[tuple[str, str]]:
        """Ids and systems of what must be found, sorted."""
        return sorted((incident.finding, system) for system, incident in self.incidents.items())


def side_by_side(*incidents: Incident, **more: Any) -> Case:
    """A run in which these happen, each in the system that it names or is narrowed to."""
    return Case({str(each.params.get("only", each.system)): each for each in incidents}, **more)


CASES: Final = {
    "healthy": Case(seconds=12, options=("--checks", "security")),
    "one": side_by_side(
        of("dialogue:datetime-crash"),
        of("call:nil-user"),
        of("roadmap:wrong-prefix"),
        of("tasks:reject-before-accept"),
        of("voice:close-after-hello"),
    ),
    "two": side_by_side(
        of("dialogue:session-denied"),
        of("call:stale-sessions"),
        of("roadmap:send-after-close"),
        of("tasks:proxy-reset"),
        of("voice:drop-mid-utterance"),
    ),
    "three": side_by_side(
        of("dialogue:lost-history", share=0.2),
        of("roadmap:lost-events"),
        of("tasks:doubled-prefix"),
        # no machine is so busy that the other systems' sockets are silent for three of these
        of("voice:deaf", options=("--heartbeat", "2")),
        seconds=10,
    ),
    "four": side_by_side(
        MISSING,
        # nor that their handshakes take as long
        of("tasks:slow-auth", options=("--handshake-timeout", "6"), pool=1, delay_s=4.5),
        of("roadmap:send-after-close", how="drop"),
        of("call:nil-user", answer="none"),
    ),
    "five": side_by_side(
        REJECTED,
        of("tasks:token-expiry", after_s=3),
        seconds=8,
    ),
    "doors": side_by_side(of("call:anonymous-accepted"), seconds=7, systems=("call",)),
    "later": side_by_side(of("dialogue:datetime-crash", when="message"), seconds=4, systems=("dialogue",)),
}

WITH_BOTH: Final = ("one", "two", "later")
"""What the reference client sees too."""


@contextmanager
def closed_port() -> Iterator[str]:
    """The URL of a port that is taken, so that nobody else gets it, and on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def run_case(folder: Path, case: Case, client: str) -> Outcome:
    """One run against a target with these faults."""
    users = USERS_A_SYSTEM * len(case.systems)
    options = [word for incident in case.incidents.values() for word in incident.options]
    faults = [word for incident in case.incidents.values() for word in ("--fault", incident.fault)]
    with (
        running("--accounts", str(2 * users), *faults) as target,
        loading(
            folder / "run",
            *(USER_CLASSES[system] for system in case.systems),
            *("--host", target.url, "--client", client, "-u", str(users), "-r", str(users)),
            *(*ENDLESS, "--message-rate", "5", *PATIENT, *options, *case.options),
        ) as started,
    ):
        started.wait_for(partial(shows_enough, started, case), "all that happened could be found")
        return started.end()


def shows_enough(started: Load, case: Case, books: Books) -> bool:
    """Whether the run has gone on for long enough, all systems were tried, and all incidents were met."""
    if books.first_s is None or books.last_s is None or books.last_s - books.first_s < case.seconds:
        return False
    found = find(books, started.so_far().run.header["started_at"])
    met = {(each.id, each.system) for each in found if evidence_of(case, each.system, each.evidence)}
    tried = all(books.count("usable", system) for system in case.systems if system not in case.incidents)
    return tried and met >= set(case.expected)


def row_of(case: Case, system: str) -> Row:
    """What must be found of the incident of a system."""
    incident = case.incidents[system]
    return ROWS.get(incident.fault, ROWS[incident.id])


def evidence_of(case: Case, system: str, evidence: Iterable[str]) -> bool:
    """Whether the evidence is that of what happened in the system."""
    return system in case.incidents and row_of(case, system).evidence in " ".join(evidence)


def run_unreachable(folder: Path, client: str) -> Outcome:
    """One run against nothing."""
    with closed_port() as url:
        users = ("EchoUser", "--host", url, "--client", client, "-u", "6", "-r", "6")
        return load_until(
            lambda books: books.count("failed") >= 12, "all tried, and again", folder / "run", *users
        )


Runs = dict[tuple[str, str], Future[Outcome]]
RUNS: Final = [(name, client) for client in CLIENTS for name in (CASES if client == "fast" else WITH_BOTH)]
UNREACHABLE: Final = "unreachable"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """All runs, several at a time; a test waits for its own."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        begun = {
            (name, client): pool.submit(
                run_case, tmp_path_factory.mktemp(f"{name}-{client}"), CASES[name], client
            )
            for name, client in RUNS
        }
        for client in CLIENTS:
            folder = tmp_path_factory.mktemp(f"{UNREACHABLE}-{client}")
            begun[UNREACHABLE, client] = pool.submit(run_unreachable, folder, client)
        yield begun
        for future in begun.values():
            future.cancel()


def test_every_incident_of_every_system_is_in_one_of_the_runs() -> None:
    met = {incident.id for case in CASES.values() for incident in case.incidents.values()}
    assert {incident.id for incident in INCIDENTS} <= met <= set(ROWS)


@pytest.mark.parametrize(("name", "client"), RUNS)
def test_each_fault_is_found_by_its_name_and_nothing_else_is(runs: Runs, name: str, client: str) -> None:
    case, done = CASES[name], runs[name, client].result()
    found = findings(done.path)
    assert sorted((finding["id"], finding["system"]) for finding in found) == case.expected, done.said
    assert json.loads((done.path / "findings.json").read_text()) == found
    for finding in found:
        assert evidence_of(case, finding["system"], finding["evidence"]), finding
        assert finding["severity"] in row_of(case, finding["system"]).severity.split(" or "), finding
        assert finding["count"] > 0
        assert finding["hint"]
    # Locust's own code is 1 where a request failed, and not every fault makes one fail
    assert done.code in ((0, 1) if is_believed(done) else (EXIT_INVALID,)), done.said


def way_to_end(record: ConnectionRecord) -> tuple[Any, ...]:
    """All that a record says of its end, and that does not differ from socket to socket."""
    opening = (record.name, record.outcome, record.phase, record.status, record.error, record.body)
    codes = (record.code, record.sent_code, record.received_code, record.reason, record.initiator)
    return *opening, *codes, record.clean, record.detail, record.errno, record.server_error


@pytest.mark.parametrize("name", WITH_BOTH)
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
def test_a_server_that_is_not_there_is_found_unreachable(runs: Runs, client: str) -> None:
    done = runs[UNREACHABLE, client].result()
    (found,) = findings(done.path)
    assert (found["id"], found["severity"], found["share"]) == ("server-unreachable", "critical", 1.0)
    assert "ECONNREFUSED" in " ".join(found["evidence"])
    is_valid(done, 1)


def test_compare_shows_that_all_handshakes_succeed_and_nothing_works(runs: Runs) -> None:
    before, after = (runs[name, "fast"].result().path for name in ("later", "healthy"))
    answer = analysis("compare", before, after, "--json")
    assert answer.returncode == 0, answer.stderr
    (crashed,), (healthy,) = (json.loads(answer.stdout)[side] for side in ("before", "after"))
    # of a run that a busy machine has made invalid, nobody says that it works
    works = True if healthy["valid"] else None
    assert (crashed["handshake_success"], healthy["handshake_success"]) == (1.0, 1.0)
    assert (crashed["usable"], healthy["usable"]) == (0.0, 1.0)
    assert (crashed["works"], healthy["works"]) == (False, works)
    # the run's end may come before a server's close does
    assert sum(crashed["closes"].values()) == crashed["handshakes"]
    assert [way for way in crashed["closes"] if not way.endswith("by run's end")] == ["1008 by server"]
    assert [finding["id"] for finding in crashed["findings"]] == ["closed-policy-silent"]
    assert healthy["findings"] == []

    table = analysis("compare", before, after)
    assert table.returncode == 0, table.stderr
    rows = [re.split(r"\s{2,}", line) for line in table.stdout.splitlines()]
    assert ["connection success rate", "100 %", "100 %"] in rows
    assert ["usable", "0 %", "100 %"] in rows
    assert "Object of type datetime is not JSON serializable" in table.stdout


def test_compare_tells_of_each_system_whether_it_works(runs: Runs) -> None:
    broken, healthy = (runs[name, "fast"].result().path for name in ("five", "healthy"))
    answer = analysis("compare", broken, healthy, "--json")
    assert answer.returncode == 0, answer.stderr
    (before,), (after,) = (json.loads(answer.stdout)[side] for side in ("before", "after"))
    # of a run that a busy machine has made invalid, nobody says that anything works
    works = {run["run_id"]: True if run["valid"] else None for run in (before, after)}
    working = {system: told["works"] for system, told in before["systems"].items()}
    assert working == {
        system: False if system in CASES["five"].incidents else works[before["run_id"]]
        for system in USER_CLASSES
    }
    assert {told["works"] for told in after["systems"].values()} == {works[after["run_id"]]}
