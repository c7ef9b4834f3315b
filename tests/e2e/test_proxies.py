"""Behind real proxies: what each of them makes of a fault, and that it is told from the client's side alone.

One run of all cases, through both proxies at a time: their findings are told apart by the sockets' names.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.e2e.processes import ENDLESS, PATIENT, Outcome, eventually, findings, loading
from tests.e2e.proxies import IDLE_S, PROXIES, Door, proxying
from tests.target.client import Target, running
from wsoak.ledger.books import Books
from wsoak.ledger.outcomes import CANCELLED
from wsoak.ledger.units import ns_to_s

pytestmark = pytest.mark.real

USERS_A_DOOR: Final = 8


@dataclass(frozen=True, slots=True)
class Case:
    """What a client must find behind a proxy's door, and a pattern of its evidence."""

    finding: str | None
    evidence: str = ""


SILENCE: Final = r"The last bytes had come ([\d.]+) s(?: to ([\d.]+) s)? before"
SILENCE_S: Final = 0.5
"""How far the silence may be from the proxy's time-out, on a machine that is not busy."""
EVEN_S: Final = 1.0
"""Silences that differ by more than this are no time-out's, by the rule; a busy machine makes them differ."""
CASES: Final[dict[tuple[str, str], Case]] = {
    ("haproxy", "healthy"): Case(None),
    ("nginx", "healthy"): Case(None),
    ("haproxy", "dialogue"): Case(None),
    ("nginx", "dialogue"): Case(None),
    ("haproxy", "idle"): Case("idle-timeout", SILENCE),
    ("nginx", "idle"): Case("idle-timeout", SILENCE),
    ("haproxy", "dead"): Case("backend-dead", "No server is available to handle this request"),
    ("nginx", "dead"): Case("backend-dead", "rejected-502"),
    ("haproxy", "killed"): Case("backend-dead", "would read as server-crash"),
    ("nginx", "killed"): Case("backend-dead", "would read as server-crash"),
    # neither passes a reset on: the client sees a proxy that has lost its back end
    ("haproxy", "reset"): Case("backend-dead", "rejected-502"),
    ("nginx", "reset"): Case("backend-dead", "rejected-502"),
    # each proxy's own way to be rid of a connection: HAProxy ends it, nginx (as told to) resets it
    ("haproxy", "rejects"): Case("upgrade-crash", r"100 %\).*: eof"),
    ("nginx", "rejects"): Case("upgrade-reset", r"100 %\).*: reset"),
}


@dataclass(frozen=True, slots=True)
class Run:
    """The run, what it found, and the target behind the doors that work.

    ``held_up_s``: the longest that an answer, or a turn of the generator's event loop, took.
    """

    target: Target
    done: Outcome
    found: list[dict[str, Any]]
    held_up_s: float

    def of(self, name: str) -> list[dict[str, Any]]:
        """What was found on sockets of this name."""
        return [finding for finding in self.found if finding["system"] == name]


UNEVEN: Final = frozenset({"server-crash", "connection-reset"})
"""What sockets that a proxy ends read as, where nothing tells that all had been silent for as long."""


def name_of(proxy: str, door: str) -> str:
    """What the sockets of a door are called; a dialogue's have a name already."""
    return "dialogue" if door == "dialogue" else f"{proxy} {door}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """All doors of both proxies in one run; in its midst one of the targets is killed."""
    folder = tmp_path_factory.mktemp("proxies")
    for proxy in PROXIES.values():
        proxy.needed()
    with ExitStack() as stack:
        target = stack.enter_context(running("--accounts", "50"))
        killed = stack.enter_context(running())
        resets = stack.enter_context(running("--fault", "server:reset-in-upgrade"))
        # taken, so that nobody else gets it, and nobody listens
        taken = stack.enter_context(socket.socket())
        taken.bind(("127.0.0.1", 0))
        doors = {
            "healthy": Door(target.url),
            "dialogue": Door(target.url),
            "idle": Door(target.url, idle_s=IDLE_S),
            "dead": Door(f"http://127.0.0.1:{taken.getsockname()[1]}"),
            "killed": Door(killed.url),
            "reset": Door(resets.url),
            "rejects": Door(target.url, rejects=True),
        }
        urls = {
            f"{proxy.name} {door}": url
            for proxy in PROXIES.values()
            for door, url in stack.enter_context(proxying(proxy, folder / proxy.name, doors)).items()
        }
        users = USERS_A_DOOR * len(urls)
        rates = ("-u", str(users), "-r", str(2 * len(urls)), "--message-rate", "5", *PATIENT, *ENDLESS)
        locustfile = "tests/e2e/locustfile_proxies.py"
        with loading(folder / "run", "-f", locustfile, *rates, DOORS=json.dumps(urls)) as started:
            started.wait_for(
                lambda books: all(
                    books.count("usable", f"{proxy} killed") >= USERS_A_DOOR for proxy in PROXIES
                ),
                "all sockets of the target that is to be killed were in use",
            )
            killed.process.kill()
            started.wait_for(met_everything, "each door was met by all of its users")
            done = started.end()
        eventually(lambda: not target.metric("wsoak_target_open_sockets"), "the target saw all sockets end")
        books = done.run.books()
        held_up_s = max(ns_to_s(books.histogram(kind).max_ns or 0) for kind in ("response", "hub"))
        yield Run(target, done, findings(done.path), held_up_s)


def met_everything(books: Books) -> bool:
    """Whether each door's users had what they come for: answers, a refusal, or the end of their sockets."""
    wanted = {"idle": "closed", "dead": "failed", "killed": "closed", "reset": "failed", "rejects": "failed"}
    return (
        all(
            books.count(wanted.get(door, "replies"), name_of(proxy, door)) >= USERS_A_DOOR
            for proxy, door in CASES
        )
        # those of the target that was killed have tried again
        and all(books.count("failed", f"{proxy} killed") >= USERS_A_DOOR for proxy in PROXIES)
        and books.count("closed", "dialogue") >= USERS_A_DOOR
    )


@pytest.mark.parametrize(("proxy", "door"), CASES, ids=[" ".join(case) for case in CASES])
def test_behind_a_proxy_the_fault_is_found_and_nothing_else_is(run: Run, proxy: str, door: str) -> None:
    case, found = CASES[proxy, door], run.of(name_of(proxy, door))
    if case.evidence == SILENCE and run.held_up_s > EVEN_S:
        # what is left of a time-out when its silences are uneven: sockets that ended in some way
        assert {finding["id"] for finding in found} <= {case.finding, *UNEVEN}, run.done.said
        return
    assert [finding["id"] for finding in found] == ([case.finding] if case.finding else []), run.done.said
    for finding in found:
        told = re.search(case.evidence, " ".join(finding["evidence"]))
        assert told, finding
        if case.evidence == SILENCE:
            off_s = SILENCE_S + run.held_up_s
            for silence in told.groups(default=told[1]):
                assert float(silence) == pytest.approx(IDLE_S, abs=off_s), finding


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_back_end_that_dies_ends_each_socket_once(run: Run, proxy: str) -> None:
    (found,) = run.of(f"{proxy} killed")
    assert found["severity"] == "error"
    assert any(f"{USERS_A_DOOR} connections" in sentence for sentence in found["evidence"]), found


SOCKETS_OF: Final = {
    "echo": [f"{proxy} {door}" for proxy in PROXIES for door in ("healthy", "idle")],
    "dialogue": ["dialogue"],
}
COUNTERS: Final = {
    "sent": "wsoak_target_messages_received_total",
    "received": "wsoak_target_messages_sent_total",
    "bytes_sent": "wsoak_target_bytes_received_total",
    "bytes_received": "wsoak_target_bytes_sent_total",
    "opened": "wsoak_target_handshakes_total",
    "closed": "wsoak_target_closes_total",
}


@pytest.mark.parametrize("ours", COUNTERS)
@pytest.mark.parametrize("system", SOCKETS_OF)
def test_what_goes_through_a_proxy_arrives_and_is_counted_alike(run: Run, system: str, ours: str) -> None:
    books = run.done.run.books()
    counted = sum(books.count(ours, name) for name in SOCKETS_OF[system])
    theirs = run.target.metric(COUNTERS[ours], system=system)
    cancelled = [record for record in run.done.run.connections() if record.outcome == CANCELLED]
    cut_off = sum(record.name in SOCKETS_OF[system] for record in cancelled)
    if not cut_off:
        assert counted == theirs > 0
    elif ours in ("opened", "closed"):
        # the run's end came while these were being opened: they reached the target, or did not
        assert 0 < counted <= theirs <= counted + cut_off
    else:
        assert 0 < counted <= theirs


def test_no_other_socket_is_blamed(run: Run) -> None:
    assert {finding["system"] for finding in run.found} <= {name_of(*each) for each in CASES}
