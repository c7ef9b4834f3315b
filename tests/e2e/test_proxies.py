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

from tests.e2e.processes import Outcome, eventually, findings, loading
from tests.e2e.proxies import BUSY_S, IDLE_S, PROXIES, Door, proxying
from tests.target.client import Target, running

pytestmark = pytest.mark.real

SECONDS: Final = 15
USERS_A_DOOR: Final = 8


@dataclass(frozen=True, slots=True)
class Case:
    """What a client must find behind a proxy's door, and a pattern of its evidence."""

    finding: str | None
    evidence: str = ""


SILENCE = rf"The last bytes had come ({IDLE_S - 1}\.[5-9]|{IDLE_S})"
"""The proxy's time-out, less what a busy machine takes to read those bytes."""
CASES: Final[dict[tuple[str, str], Case]] = {
    ("haproxy", "healthy"): Case(None),
    ("nginx", "healthy"): Case(None),
    ("haproxy", "dialogue"): Case(None),
    ("nginx", "dialogue"): Case(None),
    # to the second, as a busy machine and a proxy's own clock may have it
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
    """The run, what it found, and the target behind the doors that work."""

    target: Target
    done: Outcome
    found: list[dict[str, Any]]

    def of(self, name: str) -> list[dict[str, Any]]:
        """What was found on sockets of this name."""
        return [finding for finding in self.found if finding["system"] == name]


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
        rates = ("-u", str(users), "-r", str(len(urls)), "-t", f"{SECONDS}s", "--message-rate", "5")
        locustfile = "tests/e2e/locustfile_proxies.py"
        with loading(folder / "run", "-f", locustfile, *rates, DOORS=json.dumps(urls)) as started:
            started.wait_for(
                lambda books: all(
                    books.count("usable", f"{proxy} killed") >= USERS_A_DOOR for proxy in PROXIES
                ),
                "all sockets of the target that is to be killed were in use",
            )
            killed.process.kill()
            done = started.wait()
        eventually(lambda: not target.metric("wsoak_target_open_sockets"), "the target saw all sockets end")
        yield Run(target, done, findings(done.path))


@pytest.mark.parametrize(("proxy", "door"), CASES, ids=[" ".join(case) for case in CASES])
def test_behind_a_proxy_the_fault_is_found_and_nothing_else_is(run: Run, proxy: str, door: str) -> None:
    case, found = CASES[proxy, door], run.of(name_of(proxy, door))
    assert [finding["id"] for finding in found] == ([case.finding] if case.finding else []), run.done.said
    for finding in found:
        assert re.search(case.evidence, " ".join(finding["evidence"])), finding


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
    assert counted == run.target.metric(COUNTERS[ours], system=system) > 0


def test_no_other_socket_is_blamed(run: Run) -> None:
    assert {finding["system"] for finding in run.found} <= {name_of(*each) for each in CASES}
    assert BUSY_S > SECONDS
