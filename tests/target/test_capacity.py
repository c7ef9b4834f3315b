"""Capacity: a queue with one server, by hand on a clock of its own and with real sockets."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect as aconnect
from websockets.sync.client import connect

from target import capacity
from target.capacity import CapacityQueue
from tests.target.client import PATIENCE_S, Account, Target, closing, eventually, running


class Line:
    """A socket that notes what it was given, and when."""

    def __init__(self) -> None:
        self.is_open = True
        self.got: list[tuple[float, bytes]] = []
        self.closed: tuple[int | None, str] | None = None

    def deliver(self, payload: bytes, is_text: bool) -> None:
        assert is_text
        self.got.append((asyncio.get_running_loop().time(), payload))

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        self.is_open, self.closed = False, (code, reason)


class SteppedLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        due = [timer.when() for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        if not self._ready and due:  # type: ignore[attr-defined]
            self.now = max(self.now, min(due))
        super()._run_once()  # type: ignore[misc]


def stepped(scene: Any) -> None:
    with asyncio.Runner(loop_factory=SteppedLoop) as runner:
        runner.run(scene)


def params(per_s: float, queue: int = 10_000) -> dict[str, Any]:
    return {"per_s": per_s, "queue": queue}


@settings(deadline=None)
@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=60), st.floats(1, 200))
def test_each_message_is_answered_when_one_server_would_be_done_with_it(
    gaps: list[float], per_s: float
) -> None:
    """Lindley's recursion: done = max(arrival, done before) + service."""

    async def scene() -> None:
        queue, line = CapacityQueue(), Line()
        loop = asyncio.get_running_loop()
        expected, done = [], 0.0
        for number, gap in enumerate(gaps):
            await asyncio.sleep(gap)
            queue.take(line, b"%d" % number, True, params(per_s))
            done = max(loop.time(), done) + 1 / per_s
            expected.append(done)
        await asyncio.sleep(len(gaps) / per_s + 1)
        assert [payload for _, payload in line.got] == [b"%d" % number for number in range(len(gaps))]
        assert [at for at, _ in line.got] == pytest.approx(expected, abs=1e-6)
        assert len(queue) == 0

    stepped(scene())


def test_a_message_without_room_closes_its_own_socket_alone() -> None:
    async def scene() -> None:
        queue, one, other = CapacityQueue(), Line(), Line()
        for _ in range(3):
            queue.take(one, b"x", True, params(1, queue=3))
        queue.take(other, b"x", True, params(1, queue=3))
        assert other.closed == (1013, "over capacity")
        assert one.closed is None
        await asyncio.sleep(10)
        assert len(one.got) == 3

    stepped(scene())


def test_what_waits_is_bounded_in_bytes_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "MOST_BYTES", 100)

    async def scene() -> None:
        queue, one, other = CapacityQueue(), Line(), Line()
        queue.take(one, b"x" * 60, True, params(1))
        queue.take(other, b"x" * 60, True, params(1))
        assert other.closed is not None
        await asyncio.sleep(2)
        queue.take(one, b"x" * 60, True, params(1))
        assert one.closed is None

    stepped(scene())


def test_messages_of_a_socket_that_ended_cost_nothing() -> None:
    async def scene() -> None:
        queue, gone, here = CapacityQueue(), Line(), Line()
        queue.take(here, b"first", True, params(1))
        for _ in range(50):
            queue.take(gone, b"x", True, params(1))
        queue.take(here, b"second", True, params(1))
        gone.is_open = False
        await asyncio.sleep(60)
        assert [at for at, _ in here.got] == pytest.approx([1, 2])
        assert gone.got == []
        assert queue._bytes == 0

    stepped(scene())


def test_switching_it_off_answers_all_that_wait_in_their_order() -> None:
    async def scene() -> None:
        queue, line = CapacityQueue(), Line()
        for number in range(5):
            queue.take(line, b"%d" % number, True, params(0.1))
        queue.switched(None)
        assert [payload for _, payload in line.got] == [b"0", b"1", b"2", b"3", b"4"]
        queue.switched(None)
        await asyncio.sleep(100)
        assert len(line.got) == 5

    stepped(scene())


def test_another_pace_holds_from_now_on() -> None:
    async def scene() -> None:
        queue, line = CapacityQueue(), Line()
        queue.switched(params(0.1))
        for _ in range(3):
            queue.take(line, b"x", True, params(0.1))
        await asyncio.sleep(1)
        queue.switched(params(2))
        await asyncio.sleep(100)
        assert [at for at, _ in line.got] == pytest.approx([1.5, 2.0, 2.5])

    stepped(scene())


# With real sockets.


@pytest.fixture(scope="module")
def own() -> Iterator[Target]:
    """A target of this module's own: its capacity would slow other tests down."""
    with running("--accounts", "1") as target:
        yield target


PER_S = 400


async def overload(target: Target, sockets: int, each: int) -> tuple[list[float], list[float]]:
    """Messages all sent at once: when each echo came, and how late, in seconds."""
    came: list[float] = []
    late: list[float] = []

    async def one() -> None:
        async with aconnect(target.ws + "/echo") as ws:
            sent = time.perf_counter()
            for number in range(each):
                await ws.send(str(number))
            for number in range(each):
                assert await asyncio.wait_for(ws.recv(), PATIENCE_S) == str(number)
                came.append(time.perf_counter())
                late.append(came[-1] - sent)

    await asyncio.gather(*(one() for _ in range(sockets)))
    return came, late


def test_at_overload_it_answers_as_many_a_second_as_it_was_given(own: Target) -> None:
    sockets, each = 10, 60
    with own.fault("server", "capacity", per_s=PER_S):
        came, late = asyncio.run(overload(own, sockets, each))
    came.sort()
    late.sort()
    total = sockets * each
    assert len(came) == total
    # the middle of what was observed, by counts
    first, last = total // 10, total - total // 10
    assert (last - first) / (came[last] - came[first]) == pytest.approx(PER_S, rel=0.1)
    # the queue grows from nothing to the whole of it
    assert late[-1] > 0.9 * total / PER_S
    assert late[total // 10] < 0.3 * late[-1]
    assert own.metric("wsoak_target_fault_hits_total", fault="capacity") >= total


def test_it_is_one_queue_for_every_system(own: Target) -> None:
    account = Account(own)
    with (
        account.dialogue(account.start()) as dialogue,
        connect(own.ws + "/echo") as echo,
        own.fault("server", "capacity", per_s=5),
    ):
        began = time.perf_counter()
        for number in range(4):
            echo.send(str(number))
        assert echo.recv(PATIENCE_S) == "0"
        dialogue.send('{"type":"message","id":1,"content":"x"}')
        assert "reply_to" in str(dialogue.recv(PATIENCE_S))
        # behind the four before it, a fifth of a second each
        assert time.perf_counter() - began >= 0.95
        assert [echo.recv(0) for _ in range(3)] == ["1", "2", "3"]


def test_switched_off_it_answers_at_once_again(own: Target) -> None:
    with connect(own.ws + "/echo") as ws:
        own.switch("server", "capacity", per_s=0.1)
        for number in range(20):
            ws.send(str(number))
        eventually(lambda: own.metric("wsoak_target_messages_received_total", system="echo") >= 20)
        own.switch("server", "capacity", on=False)
        # at a tenth a second this would take minutes
        assert [ws.recv(PATIENCE_S) for _ in range(20)] == [str(number) for number in range(20)]
        ws.send("again")
        assert ws.recv(PATIENCE_S) == "again"


def test_beyond_the_queue_it_closes_with_1013_and_others_stay(own: Target) -> None:
    with (
        own.fault("server", "capacity", per_s=0.1, queue=3),
        connect(own.ws + "/echo", close_timeout=1) as full,
        connect(own.ws + "/echo", close_timeout=1) as other,
    ):
        for _ in range(4):
            full.send("x")
        assert closing(full) == ([], 1013, "over capacity")
        assert other.ping().wait(PATIENCE_S)


@pytest.mark.parametrize("wrong", [{"per_s": 0}, {"per_s": "fast"}, {"queue": 0}, {"queue": 1.5}])
def test_a_capacity_that_is_none_is_refused(own: Target, wrong: dict[str, Any]) -> None:
    status, answer = own.http("POST", "/faults", {"system": "server", "fault": "capacity", "params": wrong})
    assert status == 400
    assert "must be" in answer["detail"]
