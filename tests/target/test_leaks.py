"""Leaks: their rates on a clock of their own, and what a real target keeps and gives back."""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from functools import partial

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.sync.client import ClientConnection

from target.faults import Faults, parse_fault
from target.leaks import PAGE_BYTES, LeakedMemory, LeakedSockets, Leaks
from tests.target.client import Target, connect, eventually, running, total
from tests.target.test_capacity import SteppedLoop

MIB = 1 << 20


def resident(pid: int | None = None) -> int:
    """Bytes that are resident."""
    return int(psutil.Process(pid).memory_info().rss)


# --------------------------------------------------------------------------------------------------- memory


def test_leaked_memory_is_resident_until_it_is_freed() -> None:
    leaked = LeakedMemory()
    before = resident()
    leaked.grow_to(40 * MIB)
    held = resident()
    leaked.free()
    assert held - before == pytest.approx(40 * MIB, rel=0.1)
    assert held - resident() == pytest.approx(40 * MIB, rel=0.1)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 3 * MIB), max_size=20))
def test_leaked_memory_grows_in_whole_pages_and_never_shrinks(sizes: list[int]) -> None:
    leaked, most = LeakedMemory(), 0
    for size in sizes:
        leaked.grow_to(size)
        most = max(most, size)
        assert leaked.size == most // PAGE_BYTES * PAGE_BYTES
    leaked.free()
    assert leaked.size == 0


GROWTHS: dict[str, tuple[str, float]] = {
    # after 20 s with 30 messages a second
    "by time alone": ("kib_per_s=200", 200 * 20),
    "by messages alone": ("kib_per_s=0:kib_per_message=8", 8 * 600),
    "by both": ("kib_per_s=200:kib_per_message=8", 200 * 20 + 8 * 600),
    "up to its most": ("kib_per_s=200:most_mib=1", 1024),
}


@pytest.mark.parametrize(("given_", "kib"), GROWTHS.values(), ids=GROWTHS)
def test_memory_leaks_at_the_rate_that_was_asked_for(given_: str, kib: float) -> None:
    faults = Faults([parse_fault(f"server:leak-memory:{given_}")])

    async def scene() -> int:
        clock = asyncio.get_running_loop().time
        leaks = Leaks(clock)
        await asyncio.sleep(5)
        leaks.switched(faults, lambda: int(30 * clock()))
        await asyncio.sleep(10)
        # another fault is switched: the leak goes on
        leaks.switched(faults, lambda: 0)
        await asyncio.sleep(10)
        size = leaks.memory.size
        assert faults.hits()["server", "leak-memory"] == size // 1024
        faults.switch_off("server", "leak-memory")
        leaks.switched(faults, lambda: 0)
        assert leaks.memory.size == 0
        return size

    with asyncio.Runner(loop_factory=SteppedLoop) as runner:
        assert runner.run(scene()) / 1024 == pytest.approx(kib, rel=0.02)


def test_a_target_that_starts_with_a_leak_leaks_and_gives_it_back() -> None:
    with running("--fault", "server:leak-memory:kib_per_s=60000:most_mib=24") as target:
        eventually(lambda: target.metric("wsoak_target_fault_hits_total", fault="leak-memory") == 24 * 1024)
        held = resident(target.pid)
        target.switch("server", "leak-memory", on=False)
        assert held - resident(target.pid) == pytest.approx(24 * MIB, rel=0.1)


# -------------------------------------------------------------------------------------------------- sockets


SHARES: dict[str, tuple[str, int]] = {
    # of 200 sockets that end, ten a second
    "all of them": ("share=1", 200),
    "a share of them": ("share=0.05", 10),
    "so many a second": ("per_s=0.5", 10),
    "a share, and no more than so many a second": ("share=0.5:per_s=1", 20),
    "those of another system": ("only=dialogue", 0),
}


@pytest.mark.parametrize(("given_", "kept"), SHARES.values(), ids=SHARES)
def test_sockets_leak_at_the_rate_that_was_asked_for(given_: str, kept: int) -> None:
    faults = Faults([parse_fault(f"server:leak-sessions:{given_}")])
    now = 0.0
    released: list[int] = []
    leaks = Leaks(lambda: now)
    leaks.switched(faults, lambda: 0)
    for number in range(200):
        now += 0.1
        if leaks.strikes("echo"):
            with socket.socket() as one:
                assert leaks.sockets.keep(one, partial(released.append, number))
    assert len(leaks.sockets) == pytest.approx(kept, abs=1)
    assert not released
    assert faults.hits()["server", "leak-sessions"] == len(leaks.sockets)
    faults.switch_off("server", "leak-sessions")
    leaks.switched(faults, lambda: 0)
    assert len(released) == pytest.approx(kept, abs=1)
    assert len(leaks.sockets) == 0


def test_a_quiet_time_is_made_up_for() -> None:
    faults = Faults([parse_fault("server:leak-sessions:per_s=0.5")])
    now = 0.0
    leaks = Leaks(lambda: now)
    leaks.switched(faults, lambda: 0)
    now = 20.0
    assert sum(leaks.strikes("echo") for _ in range(30)) == 10


def vanish(ws: ClientConnection) -> None:
    """Reset the connection, without a close frame."""
    ws.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    ws.socket.close()


def end_stream(ws: ClientConnection) -> None:
    """End the stream, without a close frame."""
    ws.socket.shutdown(socket.SHUT_RDWR)


GONE: dict[str, Callable[[ClientConnection], None]] = {
    "closed": ClientConnection.close,
    "reset": vanish,
    "end of stream": end_stream,
}


@pytest.fixture(scope="module")
def own() -> Iterator[Target]:
    """A target of this module's own, whose sockets and descriptors no other test has opened."""
    with running("--accounts", "1") as target:
        yield target


@pytest.mark.parametrize("go", GONE.values(), ids=GONE)
def test_a_socket_whose_client_has_gone_stays_open_on_the_server(
    own: Target, go: Callable[[ClientConnection], None]
) -> None:
    target = own

    def state() -> tuple[float, float, float]:
        """Open sockets and descriptors, and sockets that have ended, of one moment."""
        samples = target.samples()
        return (
            total(samples, "wsoak_target_open_sockets", system="echo"),
            total(samples, "process_open_fds"),
            total(samples, "wsoak_target_closes_total", system="echo"),
        )

    opened, descriptors, closed = state()
    assert opened == 0
    with target.fault("server", "leak-sessions", share=0.5):
        for _ in range(6):
            # without a time-out: it waits for the server's end of the stream
            with connect(f"{target.ws}/echo", close_timeout=None) as ws:
                ws.send("one")
                assert ws.recv() == "one"
                go(ws)
        eventually(lambda: state() == (opened + 3, descriptors + 3, closed + 3))
    eventually(lambda: state() == (opened, descriptors, closed + 6))


def test_a_socket_that_the_server_ends_is_not_kept(own: Target) -> None:
    with own.fault("server", "leak-sessions"), connect(f"{own.ws}/echo") as ws:
        ws.send("one")
        ws.recv()
        assert own.metric("wsoak_target_open_sockets", system="echo") == 1
        own.http("POST", "/drop", {"system": "echo"})
        eventually(lambda: own.metric("wsoak_target_open_sockets", system="echo") == 0)


def test_no_descriptor_left_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: socket.socket) -> socket.socket:
        raise OSError(24, "Too many open files")

    leaked = LeakedSockets()
    monkeypatch.setattr(socket.socket, "dup", full)
    with socket.socket() as one:
        assert not leaked.keep(one, lambda: None)
    assert len(leaked) == 0
