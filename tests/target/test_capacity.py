"""Capacity: a queue with one server, by hand on a clock of its own and with real sockets."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect as aconnect

from target import capacity
from target.capacity import CapacityQueue
from tests.target.client import PATIENCE_S, PATIENT, Account, Target, closing, connect, eventually, running


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


def test_a_turn_of_the_loop_that_comes_late_is_made_up_for() -> None:
    async def scene() -> None:
        queue, line = CapacityQueue(), Line()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SteppedLoop)
        for number in range(10):
            queue.take(line, b"%d" % number, True, params(2))
        await asyncio.sleep(0.9)
        loop.now += 2.0
        await asyncio.sleep(100)
        assert [at for at, _ in line.got] == pytest.approx([0.5, *[2.9] * 4, 3.0, 3.5, 4.0, 4.5, 5.0])

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


async def overload(target: Target, sockets: int, each: int) -> list[float]:
    """Messages all sent at once: when each echo came, in seconds since the first was sent."""
    came: list[float] = []

    async def one() -> None:
        async with aconnect(target.ws + "/echo", **PATIENT) as ws:
            for number in range(each):
                await ws.send(str(number))
            for number in range(each):
                assert await asyncio.wait_for(ws.recv(), PATIENCE_S) == str(number)
                came.append(time.perf_counter())

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(sockets)))
    return [at - began for at in came]


def test_at_overload_no_answer_comes_before_all_that_were_taken_earlier_are_served(own: Target) -> None:
    """At most so many a second; that it is no fewer is shown on a clock of the tests' own."""
    sockets, each = 10, 60
    with own.fault("server", "capacity", per_s=PER_S):
        came = asyncio.run(overload(own, sockets, each))
    total = sockets * each
    assert len(came) == total
    # what comes is read in order, and so nothing can come sooner than it was served
    assert [at for number, at in enumerate(came, start=1) if at < number / PER_S] == []
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
        assert [echo.recv(PATIENCE_S) for _ in range(3)] == ["1", "2", "3"]


def test_switched_off_it_answers_at_once_again(own: Target) -> None:
    with connect(own.ws + "/echo") as ws:
        before = own.metric("wsoak_target_messages_received_total", system="echo")
        own.switch("server", "capacity", per_s=0.1)
        for number in range(20):
            ws.send(str(number))
        eventually(lambda: own.metric("wsoak_target_messages_received_total", system="echo") == before + 20)
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
