"""Drops: what is dropped and how, who is let in again, and the target's own log of it."""

import itertools
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from target.drops import KEPT, DropError, DropOrder, Drops, read_order
from tests.target.client import PATIENCE_S, Account, Target, closing, connect, eventually, running

SYSTEMS = ("echo", "dialogue")


class Clock:
    """A clock of the test's own, in seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Plug:
    """A socket that notes how it ended."""

    def __init__(self) -> None:
        self.is_open = True
        self.end = ""

    def reset(self) -> None:
        self.is_open, self.end = False, "reset"

    def end_stream(self) -> None:
        self.is_open, self.end = False, "eof"

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        self.is_open, self.end = False, f"close {code} {reason}"


def held(drops: Drops, count: int, system: str = "echo") -> list[Plug]:
    """So many sockets, opened."""
    plugs = [Plug() for _ in range(count)]
    for plug in plugs:
        drops.opened(system, plug)
    return plugs


# The order.


def test_everything_in_an_order_is_optional() -> None:
    assert read_order({}, SYSTEMS) == DropOrder("reset", 1012, 0, None, None)
    assert read_order({"accept_per_s": None, "system": None}, SYSTEMS) == DropOrder()


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1011, 1012, 1013, 3000, 4999])
def test_a_code_that_a_close_frame_may_carry_is_taken(code: int) -> None:
    assert read_order({"how": "close", "code": code}, SYSTEMS).code == code


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"hwo": "reset"}, "unknown fields: hwo"),
    ({"how": "bang"}, '"how" must be one of reset, eof, close'),
    ({"how": 1}, '"how" must be one of'),
    ({"code": 999}, '"code" must be a whole number from 1000 to 4999'),
    ({"code": 1012.5}, "a whole number"),
    ({"code": 1005}, "a close frame may carry, and 1005 is not"),
    ({"code": 1006}, "a close frame may carry"),
    ({"code": 1015}, "a close frame may carry"),
    ({"code": 2000}, "a close frame may carry"),
    ({"code": None}, "a whole number"),
    ({"back_after_s": -1}, '"back_after_s" must be a number from 0 to 3600'),
    ({"back_after_s": "2"}, '"back_after_s" must be a number'),
    ({"back_after_s": True}, "from 0 to 3600"),
    ({"accept_per_s": 0}, '"accept_per_s" must be a number from 0.01'),
    ({"accept_per_s": float("nan")}, "from 0.01"),
    ({"accept_per_s": [1]}, "from 0.01"),
    ({"system": "mail"}, "one of echo, dialogue, or null for all"),
    ({"system": ["echo"]}, "one of echo, dialogue"),
]


@pytest.mark.parametrize(("body", "says"), MISTAKES)
def test_a_mistake_is_one_sentence(body: dict[str, Any], says: str) -> None:
    with pytest.raises(DropError) as caught:
        read_order(body, SYSTEMS)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


# The log, on a clock of the test's own.


@pytest.mark.parametrize(
    ("order", "end"),
    [
        (DropOrder("reset"), "reset"),
        (DropOrder("eof"), "eof"),
        (DropOrder("close", 4321), "close 4321 dropped on command"),
    ],
)
def test_every_open_socket_is_dropped_in_the_way_asked_for(order: DropOrder, end: str) -> None:
    drops = Drops()
    plugs = [*held(drops, 3), *held(drops, 2, "dialogue")]
    plugs[0].is_open = False  # one that is closing already

    assert drops.drop(order).sockets == 4
    assert [plug.end for plug in plugs] == ["", *[end] * 4]


def test_a_drop_of_one_system_leaves_the_others_alone() -> None:
    drops = Drops()
    echo, dialogue = held(drops, 3), held(drops, 2, "dialogue")

    made = drops.drop(DropOrder(system="dialogue", back_after_s=10))

    assert [plug.is_open for plug in (*echo, *dialogue)] == [True] * 3 + [False] * 2
    assert (drops.asked("echo"), drops.asked("dialogue")) == (True, False)
    assert (made.sockets, made.attempts) == (2, 1)
    held(drops, 5)
    assert made.recovered_s is None
    held(drops, 2, "dialogue")
    assert made.recovered_s is not None


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(0, 20))
def test_it_is_over_when_95_percent_as_many_are_open(before: int, left: int) -> None:
    clock = Clock()
    drops = Drops(clock, lambda: 1_700_000_000.25)
    held(drops, before)
    made = drops.drop(DropOrder())
    clock.now += 2
    for plug in held(drops, left):
        drops.lost("echo", plug)
    came = 0
    while made.recovered_s is None and came < before:
        clock.now += 0.5
        held(drops, 1)
        came += 1

    # in whole sockets, without the rounding of a float
    assert (came - 1) * 100 < before * 95 <= came * 100 or before <= left or before == 0
    (entry,) = drops.describe()
    assert entry["sockets"] == before
    assert entry["at"] == 1_700_000_000.25
    if before > left:
        assert entry["recovered_95_s"] == 2 + 0.5 * came
    if before == 0:
        assert entry["recovered_95_s"] == 0


def test_nobody_is_let_in_before_it_is_back_and_then_everybody() -> None:
    clock = Clock()
    drops = Drops(clock)
    held(drops, 10)
    made = drops.drop(DropOrder(back_after_s=3))
    assert [drops.asked("echo") for _ in range(5)] == [False] * 5
    clock.now += 2.999
    assert not drops.asked("echo")
    clock.now += 0.001
    assert [drops.asked("echo") for _ in range(5)] == [True] * 5
    assert made.attempts == 11


@settings(deadline=None)
@given(
    st.floats(0.5, 500),
    st.lists(st.floats(0, 0.3), min_size=1, max_size=200),
)
def test_at_most_so_many_a_second_are_let_in_however_they_come(rate: float, gaps: list[float]) -> None:
    clock = Clock()
    drops = Drops(clock)
    held(drops, 10)
    drops.drop(DropOrder(accept_per_s=rate))
    let_in = []
    for gap in gaps:
        clock.now += gap
        if drops.asked("echo"):
            let_in.append(clock.now)
    burst = max(1.0, rate * 0.1)
    for first, last in itertools.combinations(range(len(let_in)), 2):
        assert last - first + 1 <= burst + rate * (let_in[last] - let_in[first]) + 1e-6


def test_those_who_come_steadily_are_let_in_at_the_whole_rate() -> None:
    clock = Clock()
    drops = Drops(clock)
    held(drops, 10)
    drops.drop(DropOrder(accept_per_s=40))
    let_in = 0
    for _ in range(1000):
        clock.now += 0.01
        let_in += drops.asked("echo")
    assert 396 <= let_in <= 400


def test_the_limit_is_lifted_when_it_is_over() -> None:
    clock = Clock()
    drops = Drops(clock)
    held(drops, 20)
    drops.drop(DropOrder(accept_per_s=1))
    clock.now += 1
    assert [drops.asked("echo") for _ in range(3)] == [True, False, False]
    held(drops, 19)
    assert all(drops.asked("echo") for _ in range(50))


def test_the_latest_drop_says_who_is_let_in_and_each_goes_on_measuring() -> None:
    clock = Clock()
    drops = Drops(clock)
    held(drops, 4)
    first = drops.drop(DropOrder(back_after_s=1000))
    clock.now += 1
    second = drops.drop(DropOrder())
    assert drops.asked("echo")
    assert (second.sockets, second.recovered_s) == (0, 0)
    clock.now += 1
    held(drops, 4)
    assert first.recovered_s == 2


def test_what_is_counted_stands_still_when_it_is_over() -> None:
    drops = Drops()
    held(drops, 1)
    made = drops.drop(DropOrder())
    for _ in range(3):
        drops.asked("echo")
        drops.rejected("echo")
    held(drops, 1)
    drops.asked("echo")
    drops.rejected("echo")
    assert (made.attempts, made.rejected) == (3, 3)


def test_the_log_is_bounded() -> None:
    drops = Drops()
    held(drops, 1)
    for _ in range(KEPT + 20):
        drops.drop(DropOrder(back_after_s=1))
    assert len(drops.describe()) == KEPT
    assert len(drops._pending) <= KEPT


# With real sockets.


@pytest.fixture(scope="module")
def own() -> Iterator[Target]:
    """A target of this module's own: a drop would end the sockets of other tests."""
    with running("--accounts", "1") as target:
        yield target


def many(target: Target, count: int, stack: ExitStack) -> list[ClientConnection]:
    return [stack.enter_context(connect(target.ws + "/echo", close_timeout=1)) for _ in range(count)]


def dropped(target: Target, **order: Any) -> dict[str, Any]:
    status, entry = target.http("POST", "/drop", order)
    assert status == 200, entry
    assert isinstance(entry, dict)
    return entry


def last_drop(target: Target) -> dict[str, Any]:
    status, entries = target.http("GET", "/drops")
    assert status == 200
    last: dict[str, Any] = entries[-1]
    return last


def test_an_order_without_a_body_is_a_plain_reset(own: Target) -> None:
    status, entry = own.http("POST", "/drop")
    assert status == 200
    assert (entry["how"], entry["code"], entry["sockets"], entry["recovered_95_s"]) == ("reset", None, 0, 0)


@pytest.mark.parametrize("body", [{"how": "bang"}, {"system": "none"}, {"back_after_s": 1e9}])
def test_a_wrong_order_is_400_with_a_sentence_and_drops_nothing(own: Target, body: dict[str, Any]) -> None:
    with connect(own.ws + "/echo") as ws:
        before = len(own.http("GET", "/drops")[1])
        status, answer = own.http("POST", "/drop", body)
        assert status == 400
        assert "must be" in answer["detail"]
        assert len(own.http("GET", "/drops")[1]) == before
        ws.send("still here")
        assert ws.recv() == "still here"


def raw_end(target: Target, send_first: bytes, **order: Any) -> str:
    """How a raw connection with a WebSocket ends when it is dropped: ``reset``, or all bytes until EOF."""
    with socket.create_connection(("127.0.0.1", target.port), PATIENCE_S) as raw:
        raw.sendall(
            b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += raw.recv(1)
        raw.sendall(send_first)
        dropped(target, **order)
        try:
            raw.sendall(send_first)
            return "".join(iter(lambda: raw.recv(1000).decode("latin-1"), ""))
        except ConnectionResetError:
            return "reset"


def test_a_reset_is_a_tcp_reset(own: Target) -> None:
    assert raw_end(own, b"", how="reset") == "reset"


@pytest.mark.parametrize("length", [0, 3, 6])
def test_an_eof_is_the_end_of_the_stream_even_where_the_client_goes_on_sending(
    own: Target, length: int
) -> None:
    # the begin of a frame: it stays unanswered
    begin = struct.pack("!BBL", 0x81, 0x80 | 10, 0)[:length]
    assert raw_end(own, begin, how="eof") == ""


def test_a_client_library_sees_an_eof_as_no_close_frame(own: Target) -> None:
    with connect(own.ws + "/echo", close_timeout=1) as ws:
        dropped(own, how="eof")
        assert closing(ws) == ([], 1006, "")
    eventually(lambda: own.metric("wsoak_target_open_sockets", system="echo") == 0)


def test_a_close_carries_its_code_to_every_socket(own: Target) -> None:
    with ExitStack() as stack:
        sockets = many(own, 5, stack)
        assert dropped(own, how="close", code=1012)["sockets"] == 5
        for ws in sockets:
            assert closing(ws) == ([], 1012, "dropped on command")


def test_sockets_of_another_system_stay_open(own: Target) -> None:
    account = Account(own)
    with account.dialogue(account.start()) as dialogue, connect(own.ws + "/echo", close_timeout=1) as echo:
        assert dropped(own, system="echo")["sockets"] == 1
        with pytest.raises(ConnectionClosed):
            echo.recv(PATIENCE_S)
        dialogue.send('{"type":"message","id":1,"content":"x"}')
        assert "reply_to" in str(dialogue.recv(PATIENCE_S))


def test_handshakes_are_503_until_it_is_back(own: Target) -> None:
    with ExitStack() as stack:
        many(own, 2, stack)
        dropped(own, back_after_s=3600)
        with pytest.raises(InvalidStatus) as refused:
            connect(own.ws + "/echo")
        assert refused.value.response.status_code == 503
        entry = last_drop(own)
        assert (entry["attempts"], entry["rejected"], entry["recovered_95_s"]) == (1, 1, None)
        # the target's own routes go on answering
        assert own.http("GET", "/health")[0] == 200
        dropped(own)
        stack.enter_context(connect(own.ws + "/echo"))


def test_the_log_agrees_with_those_who_came_back(own: Target) -> None:
    """Twenty come back at ten a second or so, each trying until it is let in."""
    asked = itertools.count()
    refused = itertools.count()

    def come_back(stack: ExitStack) -> None:
        while True:
            next(asked)
            try:
                stack.enter_context(connect(own.ws + "/echo", close_timeout=1))
            except InvalidStatus as exc:
                assert exc.response.status_code == 503
                next(refused)
            else:
                return

    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        many(own, 20, stack)
        made = dropped(own, how="close", back_after_s=0.2, accept_per_s=20)
        assert (made["sockets"], made["attempts"], made["recovered_95_s"]) == (20, 0, None)
        for _ in range(19):
            assert last_drop(own)["recovered_95_s"] is None
            pool.submit(come_back, stack).result(PATIENCE_S)
        entry = last_drop(own)
        # 19 at 20 a second, of which at most two at once, after 0.2 s
        assert entry["recovered_95_s"] >= 0.2 + (19 - 2) / 20
        assert entry["attempts"] == next(asked)
        assert entry["rejected"] == next(refused) == entry["attempts"] - 19
        assert entry["at"] == made["at"]
        # the limit is lifted
        many(own, 10, stack)
        assert last_drop(own) == entry
