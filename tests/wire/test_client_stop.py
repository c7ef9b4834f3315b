"""``Client.stop`` ends everything, in its time, whatever the servers do, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import pytest

from tests.wire.harness import (
    PATIENCE_S,
    Certificates,
    OpenerOf,
    Peer,
    RealServer,
    Run,
    close_frame,
    frame,
    holds,
    listening,
    until,
)
from wsoak.ledger.units import NS_PER_S
from wsoak.wire.client import Hello, Settings
from wsoak.wire.connection import Connection
from wsoak.wire.dial import tls_context
from wsoak.wire.frames import TEXT

QUICK = Settings(close_timeout_s=30, handshake_timeout_s=30, reply_timeout_s=30)
HELLO = Hello("hello", lambda message: message.data == "welcome")


def greenlets() -> list[gevent.Greenlet]:
    """Those that have begun, and not ended; without those that the collector was told to leave alone."""
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, gevent.Greenlet) and not thing.dead]


def descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the listing itself is a descriptor


def held() -> tuple[int, int]:
    """How many descriptors, and active watchers and timers there are."""
    loop: Any = gevent.get_hub().loop
    return descriptors(), loop.activecnt


def seconds_since(started_ns: int) -> float:
    """How long ago that was, by a clock that does not count what the machine takes from us."""
    return (time.perf_counter_ns() - started_ns) / NS_PER_S


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """The test must leave no greenlet, descriptor, watcher or timer that it did not find."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("there is no /proc")
    # the resolver's threads and the child watcher stay, once made
    gevent.socket.getaddrinfo("localhost", 80)
    gevent.sleep(0.01)
    # looked at are the objects of the test alone: all others would take a quarter of a second, twice
    gc.freeze()
    try:
        before = held()
        yield
        # fewer, where something of an earlier test had yet to end
        until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)) and not greenlets())
    finally:
        gc.unfreeze()


def all_ended(sockets: list[Connection]) -> bool:
    """Whether all of these have ended."""
    return all(ws.ended for ws in sockets)


def play(peer: Peer) -> None:
    """A server of many parts."""
    part = peer.path.strip("/")
    if part == "silent":
        peer.wait_for_end()
        return
    peer.accept()
    if part == "lingering":
        peer.answer_close()
        peer.wait_for_end()
    elif part == "chatty":
        try:
            while True:
                peer.send(frame(TEXT, "x" * 1000))
                gevent.sleep(0)
        except ConnectionError:
            return
    elif part == "deaf":
        peer.wait_for_end()
    elif part == "closing":
        peer.hear()
        peer.send(close_frame(1012))
        peer.answer_close()
    else:
        peer.echo()


@pytest.mark.usefixtures("nothing_left")
def test_a_stop_closes_all_sockets_with_a_close_handshake(opener: OpenerOf) -> None:
    with listening(play) as listener:
        run = Run(opener, listener.url, QUICK)
        sockets = run.client.open_many(50, lambda _: run.open("/echo", heartbeat_s=20))
        handled: list[Any] = []
        for ws in sockets:
            ws.subscribe(handled.append)
            ws.send("x")
        until(lambda: len(handled) == 50)
        facts = run.stop()
        assert run.left == 0
        assert all(ws.ended for ws in sockets)
    for record in facts.records:
        holds(record, reason="run ended", code=1000, sent_code=1000, clean=True, initiator="client")
    assert facts.count("closed") == 50


@pytest.mark.usefixtures("nothing_left")
def test_a_stop_is_bounded_whatever_the_servers_do(opener: OpenerOf) -> None:
    with listening(play, buffer_bytes=4096) as listener:
        run = Run(opener, listener.url, QUICK)
        client = run.client
        deaf = [run.open("/deaf") for _ in range(5)]
        chatty = run.open("/chatty")
        lingering = run.open("/lingering")
        waiting = [gevent.spawn(deaf[0].request, {"id": 1}, reply_to=1)]
        waiting.append(gevent.spawn(deaf[1].expect, lambda _: False))
        waiting.append(gevent.spawn(deaf[2].ping))
        waiting.append(gevent.spawn(deaf[3].close))

        def fill() -> None:
            while deaf[4].send(b"x" * 100_000):
                pass

        waiting.append(gevent.spawn(fill))
        lingering.begin_close()
        started_ns = time.perf_counter_ns()
        left = client.stop(0.3)
        assert seconds_since(started_ns) < 5, "the stop has a bound, and this is far beyond it"
        gevent.joinall(waiting, timeout=PATIENCE_S, raise_error=True)
        assert all(greenlet.ready() for greenlet in waiting)
        assert left >= 5
        assert chatty.ended
        assert not client.open_connections
        assert not client.lingering
        assert client.in_flight == client.opening == 0


@pytest.mark.usefixtures("nothing_left")
def test_a_stop_is_bounded_with_a_server_that_was_suspended(
    opener: OpenerOf, mortal_server: RealServer
) -> None:
    run = Run(opener, mortal_server.url, QUICK)
    sockets = [run.open("/echo") for _ in range(10)]
    assert all(ws.is_open for ws in sockets)
    mortal_server.signal(signal.SIGSTOP)
    assert run.client.stop(0.2) == 10
    mortal_server.signal(signal.SIGCONT)
    facts = run.stop()
    for record in facts.records:
        holds(record, reason="run ended", detail="close-timeout", code=1006, clean=False, initiator="client")


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("path", ["/silent", "/echo"], ids=["in the upgrade", "in the hello"])
def test_openings_under_way_are_cancelled(opener: OpenerOf, path: str) -> None:
    with listening(play) as listener:
        run = Run(opener, listener.url, QUICK)
        opening = [gevent.spawn(run.open, path, hello=HELLO) for _ in range(5)]
        until(lambda: listener.accepted == 5 and run.client.opening == 5)
        if path == "/echo":
            until(lambda: len(run.client.open_connections) == 5)
        facts = run.stop()
        assert run.left == 0
        sockets = [greenlet.get(timeout=PATIENCE_S) for greenlet in opening]
    assert [ws.outcome for ws in sockets] == ["cancelled"] * 5
    assert [record["outcome"] for record in facts.records] == ["cancelled"] * 5
    assert facts.count("cancelled") == 5
    assert facts.count("failed") == facts.count("opened") == 0


@pytest.mark.usefixtures("nothing_left")
def test_after_a_stop_nothing_opens(opener: OpenerOf) -> None:
    with listening(play) as listener:
        run = Run(opener, listener.url, QUICK)
        run.client.stop(1)
        assert run.open("/echo").outcome == "cancelled"
        assert listener.accepted == 0
        assert run.stop().count("cancelled") == 1


@pytest.mark.usefixtures("nothing_left")
def test_a_stop_can_be_asked_for_twice_at_once(opener: OpenerOf) -> None:
    with listening(play) as listener:
        run = Run(opener, listener.url, QUICK)
        ws = run.open("/echo")
        stops = [gevent.spawn(run.client.stop, PATIENCE_S) for _ in range(2)]
        assert [greenlet.get(timeout=PATIENCE_S) for greenlet in stops] == [0, 0]
        assert ws.ended
        assert len(run.stop().records) == 1


@pytest.mark.usefixtures("nothing_left")
def test_a_subscriber_that_will_not_die_does_not_hold_the_stop(opener: OpenerOf) -> None:
    over = gevent.event.Event()

    def stubborn(_: object) -> None:
        while not over.is_set():
            try:
                over.wait()
            except gevent.GreenletExit:
                continue

    with listening(play) as listener:
        run = Run(opener, listener.url, QUICK)
        ws = run.open("/echo")
        ws.subscribe(stubborn)
        ws.send("x")
        until(lambda: ws.messages_received)
        gevent.sleep(0)
        started_ns = time.perf_counter_ns()
        run.client.stop(0.2)
        assert seconds_since(started_ns) < 5
        over.set()


@pytest.mark.usefixtures("nothing_left")
def test_ends_of_every_kind_leave_nothing_behind(opener: OpenerOf) -> None:
    with listening(play) as listener:
        run = Run(opener, listener.url, QUICK)
        for round_number in range(3):
            closing = run.open("/closing", heartbeat_s=20)
            closing.send("go")
            killed = gevent.spawn(run.open, "/silent")
            until(lambda: run.client.opening == 1)
            killed.kill()
            given_up = run.open("/deaf")
            given_up.begin_close(timeout=0.05)
            with run.open("/echo") as ws:
                ws.submit({"id": 1}, reply_to=round_number)
            until(partial(all_ended, [closing, given_up]))
        run.stop()
        assert run.left == 0


TURNS = [*range(12), 15, 20, 30, 45, 70]


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("killing", ["kill", "time out"])
def test_a_user_that_is_killed_at_any_moment_leaves_nothing_behind_and_one_record_a_socket(
    opener: OpenerOf, turns: int, killing: str, certificates: Certificates
) -> None:
    tls = tls_context(str(certificates.authority))
    with listening(play, certificates.of_server(), may_fail=True) as listener:
        run = Run(opener, listener.url, QUICK, tls)
        attempts = 0

        def user() -> None:
            nonlocal attempts
            while True:
                attempts += 1
                with run.open(
                    "/echo", hello=Hello("welcome", lambda message: message.data == "welcome")
                ) as ws:
                    ws.request({"reply_to": 7}, reply_to=7)
                    ws.send("x")
                    ws.expect(lambda message: message.data == "x")
                    ws.ping()

        users = [gevent.spawn(user) for _ in range(3)]
        for _ in range(turns):
            gevent.sleep(0)
        if killing == "kill":
            gevent.killall(users)
        else:
            for greenlet in users:
                greenlet.kill(gevent.Timeout)
        facts = run.stop()
        assert run.left == 0
        counted = sum(facts.count(counter) for counter in ("opened", "failed", "cancelled"))
        assert counted == len(facts.records) == attempts
        assert facts.count("opened") == facts.count("closed")
        assert facts.count("failed") == facts.count("generator_failed") == 0
        assert run.client.in_flight == run.client.opening == 0


@contextlib.contextmanager
def without_the_collector() -> Iterator[None]:
    """Only what nobody refers to any more goes, and at once."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_a_socket_that_has_ended_does_not_wait_for_the_collector(opener: OpenerOf) -> None:
    """Thousands a minute would: megabytes that come and go like a leak, and pauses to look through them."""

    def script(peer: Peer) -> None:
        peer.accept()
        if peer.path == "/answered":
            peer.answer_close()
        else:
            peer.hear_close()
        peer.wait_for_end()

    def kept(ids: set[str]) -> list[Connection]:
        return [thing for thing in gc.get_objects() if isinstance(thing, Connection) and thing.id in ids]

    with listening(script) as listener, without_the_collector():
        run = Run(opener, listener.url, QUICK)
        answered, silent = (run.open(path, heartbeat_s=20) for path in ("/answered", "/silent"))
        ids = {answered.id, silent.id}
        assert len(kept(ids)) == 2
        answered.close()
        silent.close(timeout=0.01)
        del answered, silent
        until(lambda: not kept(ids))
        run.stop()
