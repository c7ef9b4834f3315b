"""Several addresses of one name: where a socket goes, what a dead one costs, when the name is asked again."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import gevent
import pytest
from gevent import socket as cooperative

from tests.wire.harness import PATIENCE_S, OpenerOf, Peer, Run, holds, listening, until
from wsoak.ledger.names import DNS, GONE, TAKES, TAKES_NONE
from wsoak.ledger.units import s_to_ns
from wsoak.wire import addresses, dial, race
from wsoak.wire.addresses import Policy
from wsoak.wire.client import Settings
from wsoak.wire.deadlines import Deadlines
from wsoak.wire.dial import Alarm, Dialer, Opening
from wsoak.wire.endpoint import Endpoint
from wsoak.wire.resolver import Resolver

PATIENCE_NS: Final = s_to_ns(PATIENCE_S)
ONE, TWO, THREE = "127.0.0.2", "127.0.0.3", "127.0.0.4"


class Names:
    """A name service of the test's own: gevent's, with what it answers, and whether it answers yet."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer: list[str] = []
        self.asked = 0
        self.gate = gevent.event.Event()
        self.gate.set()
        monkeypatch.setattr(gevent.socket, "getaddrinfo", self._getaddrinfo)

    def _getaddrinfo(self, host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        assert host == "node.test"
        self.asked += 1
        self.gate.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in self.answer]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    return Names(monkeypatch)


@contextlib.contextmanager
def nodes(*hosts: str) -> Iterator[int]:
    """Servers that take connections at the same port of these addresses; the port."""
    with contextlib.ExitStack() as stack:
        port = 0
        for host in hosts:
            node = stack.enter_context(contextlib.closing(socket.create_server((host, port), backlog=64)))
            port = node.getsockname()[1]
        yield port


@contextlib.contextmanager
def black_hole(host: str, port: int) -> Iterator[None]:
    """An address that answers no SYN: its accept queue is full."""
    with contextlib.ExitStack() as stack:
        hole = stack.enter_context(contextlib.closing(socket.socket()))
        hole.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        hole.bind((host, port))
        hole.listen(0)
        for _ in range(3):
            sock = stack.enter_context(contextlib.closing(socket.socket()))
            sock.setblocking(False)
            sock.connect_ex((host, port))
        yield


def connected(opening: Opening, _: Alarm) -> None:
    opening.outcome = "open"


class Opener:
    """A dialer, and where its sockets went."""

    def __init__(self, port: int, policy: Policy = Policy(), **more: Any) -> None:  # noqa: B008 - frozen
        self.notes: list[tuple[str, str, float]] = []
        resolver = Resolver(policy, note=lambda *note: self.notes.append(note))
        self.dialer = Dialer(Deadlines(), resolver=resolver, **more)
        self.endpoint = Endpoint("ws", "node.test", port)

    def open(self, timeout_ns: int = PATIENCE_NS) -> Opening:
        opening = self.dialer.connect(self.endpoint, timeout_ns, connected)
        opening.drop()
        return opening

    def went_to(self, sockets: int) -> list[str]:
        return [self.open().address for _ in range(sockets)]


def test_sockets_go_to_every_address_in_turn_with_one_look_up(names: Names) -> None:
    names.answer = [ONE, TWO, THREE]
    with nodes(ONE, TWO, THREE) as port:
        opener = Opener(port)
        assert opener.went_to(6) == [ONE, TWO, THREE] * 2
    assert names.asked == 1
    assert opener.notes == [("node.test", address, TAKES) for address in names.answer]


def test_the_first_address_is_taken_where_that_is_wanted(names: Names) -> None:
    names.answer = [ONE, TWO]
    with nodes(ONE, TWO) as port:
        assert Opener(port, Policy(select="first")).went_to(3) == [ONE] * 3


def test_a_dead_first_address_costs_a_moment_once(names: Names) -> None:
    """RFC 8305 section 5: the next address is tried beside it."""
    names.answer = [ONE, TWO]
    with nodes(TWO) as port, black_hole(ONE, port):
        opener = Opener(port, Policy(select="first"))
        first = opener.open()
        later = [opener.open() for _ in range(5)]
    assert [each.address for each in (first, *later)] == [TWO] * 6
    # what was waited for the first address is part of the phase
    assert first.phases_ns["tcp"] >= race.HEAD_START_NS > max(each.phases_ns["tcp"] for each in later)
    assert ("node.test", ONE, TAKES_NONE) in opener.notes


def test_a_short_time_out_is_shared_among_the_addresses(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    names.answer = [ONE, TWO]
    monkeypatch.setattr(dial, "HEAD_START_NS", PATIENCE_NS)
    with nodes(TWO) as port, black_hole(ONE, port):
        opening = Opener(port, Policy(select="first")).open(s_to_ns(2.0))
    assert (opening.outcome, opening.address) == ("open", TWO)


def test_where_every_address_is_dead_the_opening_ends_at_its_deadline(names: Names) -> None:
    names.answer = [ONE, TWO]
    with nodes(THREE) as port, black_hole(ONE, port), black_hole(TWO, port):
        before = open_descriptors()
        opener = Opener(port)
        opening = opener.open(s_to_ns(0.6))
        assert (opening.outcome, opening.phase) == ("timeout-tcp", "tcp")
        assert open_descriptors() <= before
    assert {note for note in opener.notes if note[2] == TAKES_NONE} == {
        ("node.test", address, TAKES_NONE) for address in names.answer
    }


def test_a_greenlet_that_is_killed_in_a_race_leaves_no_socket(names: Names) -> None:
    names.answer = [ONE, TWO]
    with nodes(THREE) as port, black_hole(ONE, port), black_hole(TWO, port):
        opener = Opener(port)
        opener.open(s_to_ns(0.6))
        before = open_descriptors()
        opening = Opening(time.perf_counter_ns())
        greenlet = gevent.spawn(opener.dialer.connect, opener.endpoint, PATIENCE_NS, connected, opening)
        until(lambda: open_descriptors() == before + 2)
        greenlet.kill()
        assert open_descriptors() == before


def open_descriptors() -> int:
    """How many descriptors this process has."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("there is no /proc")
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count


def test_a_record_that_moves_is_followed_after_a_failed_connection(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "AGAIN_NS", 0)
    names.answer = [ONE]
    with nodes(TWO) as port:
        opener = Opener(port)
        assert opener.open().outcome == "refused"
        names.answer = [TWO]
        moved = opener.open()
        assert (moved.outcome, moved.address) == ("open", TWO)
        assert "resolve" in moved.phases_ns
        assert opener.open().outcome == "open"
    assert names.asked == 2
    assert ("node.test", ONE, GONE) in opener.notes


def test_without_a_time_to_live_every_opening_looks_up_but_for_those_at_one_time(names: Names) -> None:
    names.answer = [ONE]
    with nodes(ONE) as port:
        opener = Opener(port, Policy(ttl_ns=0))
        opener.open()
        opener.open()
        assert names.asked == 2
        names.gate.clear()
        openings = [gevent.spawn(opener.open) for _ in range(10)]
        until(lambda: names.asked == 3)
        names.gate.set()
        assert {each.get(timeout=PATIENCE_S).outcome for each in openings} == {"open"}
    assert names.asked == 3


def test_an_address_is_looked_up_once_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = gevent.socket.getaddrinfo
    monkeypatch.setattr(addresses, "AGAIN_NS", 0)

    def counting(host: str, *arguments: Any, **more: Any) -> Any:
        asked.append(host)
        return real(host, *arguments, **more)

    monkeypatch.setattr(gevent.socket, "getaddrinfo", counting)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dialer = Dialer(Deadlines(), resolver=Resolver(Policy(ttl_ns=0)))
        endpoint = Endpoint("ws", "127.0.0.1", unused.getsockname()[1])
        assert [dialer.connect(endpoint, PATIENCE_NS, connected).outcome for _ in range(3)] == ["refused"] * 3
    assert asked == ["127.0.0.1"]


def test_source_addresses_of_another_family_are_our_own_mistake(names: Names) -> None:
    names.answer = [ONE]
    with nodes(ONE) as port:
        opening = Opener(port, source_addresses=["::1"]).open()
    assert (opening.outcome, opening.phase) == ("source-unusable", "tcp")
    assert opening.error == "source-unusable: --source-ips has IPv6 alone, and the host IPv4 addresses"


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_of_two_families_the_one_of_the_source_addresses_is_taken() -> None:
    with contextlib.closing(cooperative.socket(socket.AF_INET6)) as six:
        try:
            six.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        six.listen(8)
        port = six.getsockname()[1]
        for sources, expected in ((["::1"], "::1"), (["::1", "127.0.0.5"], "::1")):
            resolver = Resolver(Policy(select="first"), {("node.test", port): ["127.0.0.9", "::1"]})
            dialer = Dialer(Deadlines(), source_addresses=sources, resolver=resolver)
            opening = dialer.connect(Endpoint("ws", "node.test", port), PATIENCE_NS, connected)
            opening.drop()
            assert (opening.outcome, opening.address) == ("open", expected)


def test_a_pinned_name_is_not_looked_up_and_keeps_its_name(opener: OpenerOf, names: Names) -> None:
    heads: list[bytes] = []

    def script(peer: Peer) -> None:
        heads.append(peer.read_head())
        peer.accept()
        peer.answer_close()

    with listening(script) as listener:
        settings = Settings(pins={("cluster.test", listener.port): ["127.0.0.1"]})
        run = Run(opener, f"ws://cluster.test:{listener.port}", settings)
        run.open()
        gauges = [gauge for gauge in run.recorder.take().gauges if gauge.source == DNS]
        facts = run.stop()
    assert names.asked == 0
    assert f"\r\nHost: cluster.test:{listener.port}\r\n".encode() in heads[0]
    holds(facts.record, outcome="open", address="127.0.0.1", resolve_ms=False)
    assert [(gauge.name, gauge.value) for gauge in gauges] == [("cluster.test 127.0.0.1", TAKES)]


def test_the_address_is_in_the_record_of_a_failed_attempt_too(opener: OpenerOf) -> None:
    with listening(Peer.read_head) as listener:
        run = Run(opener, listener.url, Settings())
        run.open()
        holds(run.stop().record, outcome="eof", address="127.0.0.1")
