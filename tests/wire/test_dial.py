"""Dialing: phases, one deadline for all of them, addresses in turn, and whose fault a failure is."""

from __future__ import annotations

import errno
import json
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gevent
import pytest

from tests.wire.harness import PATIENCE_S, Certificates, Listener, Peer, listening, until
from wsoak.ledger.units import NS_PER_MS, NS_PER_S, s_to_ns
from wsoak.wire import dial
from wsoak.wire.addresses import Address, Known, Policy
from wsoak.wire.deadlines import Deadlines
from wsoak.wire.dial import Dialer, Opening, Request, outcome_of, tls_context
from wsoak.wire.endpoint import Endpoint
from wsoak.wire.resolver import Resolver
from wsoak.wire.stream import open_socket

ASK = Request("/")
PATIENCE_NS = s_to_ns(PATIENCE_S)


def accepting(peer: Peer) -> None:
    """A server that takes a socket, and waits for its end."""
    peer.accept()
    peer.wait_for_end()


def dial_once(
    dialer: Dialer, listener: Listener, timeout_s: float = PATIENCE_S, scheme: str = "ws"
) -> Opening:
    """Open and drop a socket."""
    opening = dialer.dial(Endpoint(scheme, "127.0.0.1", listener.port), ASK, round(timeout_s * NS_PER_S))
    opening.drop()
    return opening


def test_each_phase_that_ended_has_a_duration_and_they_add_up(certificates: Certificates) -> None:
    with listening(accepting, certificates.of_server()) as listener:
        dialer = Dialer(Deadlines(), tls_context(str(certificates.authority)))
        started_ns = time.perf_counter_ns()
        opening = dial_once(dialer, listener, scheme="wss")
        took_ns = time.perf_counter_ns() - started_ns
    assert (opening.outcome, opening.phase) == ("open", "")
    assert list(opening.phases_ns) == ["resolve", "tcp", "tls", "upgrade"]
    assert all(duration_ns > 0 for duration_ns in opening.phases_ns.values())
    assert opening.duration_ns == sum(opening.phases_ns.values()) <= took_ns


def test_a_failed_phase_has_no_duration_and_no_later_phase_exists() -> None:
    with listening(Peer.read_head) as listener:
        opening = dial_once(Dialer(Deadlines()), listener)
    assert (opening.outcome, opening.phase) == ("eof", "upgrade")
    assert list(opening.phases_ns) == ["resolve", "tcp"]


def test_a_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = count_look_ups(monkeypatch)
    with listening(accepting) as listener:
        dialer = Dialer(Deadlines())
        openings = [dial_once(dialer, listener) for _ in range(3)]
    assert ["resolve" in opening.phases_ns for opening in openings] == [True, False, False]
    assert len(asked) == 1


def test_openings_that_begin_during_a_look_up_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    go = gevent.event.Event()
    asked = count_look_ups(monkeypatch, go)
    with listening(accepting) as listener:
        dialer = Dialer(Deadlines())
        dialing = [gevent.spawn(dial_once, dialer, listener) for _ in range(10)]
        until(lambda: asked)
        # the one that asks is killed: another asks in its place
        dialing[0].kill()
        until(lambda: len(asked) == 2)
        go.set()
        assert [greenlet.get(timeout=PATIENCE_S).outcome for greenlet in dialing[1:]] == ["open"] * 9
    assert len(asked) == 2


def count_look_ups(monkeypatch: pytest.MonkeyPatch, go: Any = None) -> list[str]:
    """Has each look-up noted, and wait for ``go``."""
    asked: list[str] = []
    real = gevent.socket.getaddrinfo

    def counting(host: str, *arguments: Any, **more: Any) -> Any:
        asked.append(host)
        if go is not None:
            go.wait()
        return real(host, *arguments, **more)

    monkeypatch.setattr(gevent.socket, "getaddrinfo", counting)
    return asked


@pytest.mark.parametrize(
    ("error", "outcome", "text"),
    [
        (socket.gaierror(-2, "Name or service not known"), "resolve-failed", "Name or service not known"),
        (UnicodeError("label too long"), "resolve-failed", "not a host name"),
        (OSError(errno.EMFILE, "Too many open files"), "descriptors-exhausted", "Too many open files"),
    ],
)
def test_a_look_up_that_fails_is_the_networks_unless_it_is_ours(
    monkeypatch: pytest.MonkeyPatch, error: Exception, outcome: str, text: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(gevent.socket, "getaddrinfo", fail)
    opening = Dialer(Deadlines()).dial(Endpoint("ws", "nowhere.invalid", 80), ASK, NS_PER_S)
    assert (opening.outcome, opening.phase) == (outcome, "resolve")
    assert opening.error == f"{outcome}: {text}"


def test_a_look_up_without_end_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    count_look_ups(monkeypatch, gevent.event.Event())
    opening = Dialer(Deadlines()).dial(Endpoint("ws", "127.0.0.1", 80), ASK, 50 * NS_PER_MS)
    assert (opening.outcome, opening.phase) == ("resolve-failed", "resolve")


def test_all_phases_share_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    real = gevent.socket.getaddrinfo

    def slow(*arguments: Any, **more: Any) -> Any:
        looked_up_ns = time.perf_counter_ns()
        until(lambda: time.perf_counter_ns() > looked_up_ns + 600 * NS_PER_MS)
        return real(*arguments, **more)

    monkeypatch.setattr(gevent.socket, "getaddrinfo", slow)
    with listening(Peer.wait_for_end) as listener:
        started_ns = time.perf_counter_ns()
        opening = dial_once(Dialer(Deadlines()), listener, timeout_s=0.8)
        took_ns = time.perf_counter_ns() - started_ns
    assert opening.outcome == "timeout-upgrade"
    # a deadline for each phase would have given the upgrade all of its 0.8 s after the look-up
    assert took_ns < opening.phases_ns["resolve"] + round(0.8 * NS_PER_S)


def known(addresses: list[Address]) -> Resolver:
    """A resolver that knows these addresses of ``host``."""
    resolver = Resolver()
    resolver._known["host", 80] = Known(addresses, 0, Policy(ttl_ns=None, select="first"))
    return resolver


def test_addresses_are_tried_in_turn_and_the_one_that_works_is_tried_first_from_then_on() -> None:
    with listening(accepting) as listener, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        # as for a localhost that is ::1 first, where only IPv4 is listened on
        refused = (socket.AF_INET6, ("::1", unused.getsockname()[1], 0, 0))
        works = (socket.AF_INET, ("127.0.0.1", listener.port))
        dialer = Dialer(Deadlines())
        dialer.resolver = known([refused, works])
        opening = dialer.dial(Endpoint("ws", "host", 80), ASK, PATIENCE_NS)
        opening.drop()
    assert (opening.outcome, opening.error, opening.errno) == ("open", "", None)
    found = dialer.resolver.known("host", 80)
    assert found is not None
    assert found.order(time.perf_counter_ns()) == [works, refused]


def test_where_no_address_works_the_last_one_says_why() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = (socket.AF_INET, ("127.0.0.1", unused.getsockname()[1]))
        dialer = Dialer(Deadlines())
        dialer.resolver = known([address, address])
        opening = dialer.dial(Endpoint("ws", "host", 80), ASK, PATIENCE_NS)
    assert (opening.outcome, opening.phase, opening.errno) == ("refused", "tcp", errno.ECONNREFUSED)
    assert opening.stream is None


def test_source_addresses_are_taken_in_turn() -> None:
    came_from: list[str] = []

    def script(peer: Peer) -> None:
        came_from.append(peer.sock.getpeername()[0])
        accepting(peer)

    with listening(script) as listener:
        dialer = Dialer(Deadlines(), source_addresses=["127.0.0.2", "127.0.0.3"])
        assert [dial_once(dialer, listener).outcome for _ in range(4)] == ["open"] * 4
    assert came_from == ["127.0.0.2", "127.0.0.3"] * 2


def test_a_source_address_that_is_not_ours_is_our_own_fault() -> None:
    with listening(accepting) as listener:
        opening = dial_once(Dialer(Deadlines(), source_addresses=["192.0.2.1"]), listener)
    assert (opening.outcome, opening.phase) == ("source-unusable", "tcp")


def test_a_socket_that_tcp_connected_with_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under load against a port where nobody listens, the kernel gives us that very port now and then."""
    sock = open_socket(socket.AF_INET)
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    monkeypatch.setattr("wsoak.wire.dial.open_socket", lambda _: sock)
    opening = Dialer(Deadlines()).dial(Endpoint("ws", "127.0.0.1", port), ASK, PATIENCE_NS)
    assert opening.outcome == "refused"
    assert sock.fileno() == -1


_DIAL_WITH_FEW_DESCRIPTORS = """
import gevent.monkey; gevent.monkey.patch_all()
import json, os, resource, sys
from wsoak.wire.deadlines import Deadlines
from wsoak.wire.dial import Dialer, Request
from wsoak.wire.endpoint import Endpoint

dialer = Dialer(Deadlines())
endpoint = Endpoint("ws", "127.0.0.1", int(sys.argv[1]))
openings = [dialer.dial(endpoint, Request("/"), 6 * 10**10)]
open_now = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
openings += [dialer.dial(endpoint, Request("/"), 6 * 10**10) for _ in range(8)]
print(json.dumps([[opening.outcome, opening.phase, opening.error] for opening in openings]))
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no /proc")
def test_without_a_descriptor_left_it_is_the_generators_fault() -> None:
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 64
    with listening(accepting) as listener:
        child = gevent.subprocess.run(
            [sys.executable, "-c", _DIAL_WITH_FEW_DESCRIPTORS, str(listener.port)],
            stdout=subprocess.PIPE,
            check=True,
            cwd=Path(__file__).parents[2],
        )
    openings = json.loads(child.stdout)
    outcomes = [outcome for outcome, _, _ in openings]
    assert outcomes[0] == "open"
    assert outcomes[-1] == "descriptors-exhausted"
    assert set(outcomes) == {"open", "descriptors-exhausted"}
    assert openings[-1][1:] == ["tcp", "descriptors-exhausted: Too many open files"]


@pytest.mark.parametrize(
    ("number", "phase", "outcome"),
    [
        (errno.ECONNREFUSED, "tcp", "refused"),
        (errno.ECONNRESET, "upgrade", "reset"),
        (errno.EPIPE, "upgrade", "reset"),
        (errno.ETIMEDOUT, "tcp", "timeout-tcp"),
        (errno.ETIMEDOUT, "upgrade", "timeout-upgrade"),
        (errno.EADDRNOTAVAIL, "tcp", "ports-exhausted"),
        (errno.EMFILE, "tcp", "descriptors-exhausted"),
        (errno.ENETUNREACH, "tcp", "unreachable"),
        (errno.EHOSTUNREACH, "tcp", "unreachable"),
        (None, "upgrade", "reset"),
    ],
)
def test_an_error_of_the_operating_system_has_its_outcome(
    number: int | None, phase: str, outcome: str
) -> None:
    found, text, kept = outcome_of(OSError(number, "text"), phase)
    assert (found, kept) == (outcome, number)
    assert text.startswith(f"{outcome}: ")


def test_a_greenlet_that_is_killed_leaves_no_socket() -> None:
    ended: list[int] = []

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.wait_for_end()
        ended.append(peer.number)

    with listening(script) as listener:
        dialing = gevent.spawn(dial_once, Dialer(Deadlines()), listener)
        until(lambda: listener.accepted)
        gevent.sleep(0)
        dialing.kill()
        until(lambda: ended)


def test_a_cancelled_dialer_opens_nothing_more() -> None:
    with listening(accepting) as listener:
        dialer = Dialer(Deadlines())
        dialer.cancel()
        assert dial_once(dialer, listener).outcome == "cancelled"
        assert listener.accepted == 0


def test_an_insecure_context_takes_any_certificate_and_a_missing_file_is_an_error(
    certificates: Certificates, tmp_path: Path
) -> None:
    with listening(accepting, certificates.of_server()) as listener:
        dialer = Dialer(Deadlines(), tls_context(insecure=True))
        assert dial_once(dialer, listener, scheme="wss").outcome == "open"
    with pytest.raises(OSError):
        tls_context(ca_file=str(tmp_path / "missing.pem"))


def test_a_certificate_for_another_name_fails_tls(certificates: Certificates) -> None:
    def script(peer: Peer) -> None:
        with pytest.raises(OSError):
            certificates.of_server().wrap_socket(peer.sock, server_side=True)

    with listening(script) as listener:
        dialer = Dialer(Deadlines(), tls_context(str(certificates.authority)))
        dialer.resolver = known([(socket.AF_INET, ("127.0.0.1", listener.port))])
        opening = dialer.dial(Endpoint("wss", "host", 80), ASK, PATIENCE_NS)
    assert opening.outcome == "tls-failed"
    assert "ame mismatch" in opening.error


def test_an_upgrade_that_ends_just_when_all_is_cancelled_is_cancelled() -> None:
    with listening(Peer.wait_for_end) as listener:
        dialer = Dialer(Deadlines())

        def upgrade(opening: Opening, _: dial.Alarm) -> None:
            dialer.cancel()
            opening.outcome = "open"

        opening = dialer.connect(Endpoint("ws", "127.0.0.1", listener.port), PATIENCE_NS, upgrade)
    assert (opening.outcome, opening.stream) == ("cancelled", None)
