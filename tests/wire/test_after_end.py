"""Calls on a closed socket: others run meanwhile, and a loop of them is reported."""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from typing import Any

import gevent
import pytest

from tests.wire.harness import PATIENCE_S, Peer, Run, close_frame, listening
from wsoak.wire import after_end
from wsoak.wire.after_end import LOOP_CALLS
from wsoak.wire.client import FastOpener, Settings
from wsoak.wire.connection import Connection
from wsoak.wire.schedule import every

Call = Callable[[Connection], Any]

CALLS: dict[str, Call] = {
    "send": lambda ws: ws.send("x"),
    "send_binary": lambda ws: ws.send_binary(b"x"),
    "submit": lambda ws: ws.submit("x", 1),
    "request": lambda ws: ws.request("x", 1),
    "expect": lambda ws: ws.expect(lambda _: True),
    "ping": lambda ws: ws.ping(),
    "paced": lambda ws: list(ws.paced(every(1.0))),
}


def closing(peer: Peer) -> None:
    peer.accept()
    peer.send(close_frame(1001))
    peer.hear_close()


def refusing(peer: Peer) -> None:
    peer.read_head()
    peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")


class Told:
    """What the client was told of loops."""

    def __init__(self, run: Run) -> None:
        self.loops: list[tuple[str, str, str]] = []
        run.client._looped = self.looped

    def looped(self, name: str, method: str, frame: FrameType | None, _owner: Any) -> None:
        assert frame is not None
        self.loops.append((name, method, frame.f_globals["__name__"]))


def with_closed(use: Callable[[Run, Connection], None], *, refused: bool = False) -> None:
    """Have ``use`` called with a socket that the server has closed, or one that it refused."""
    with listening(refusing if refused else closing, may_fail=True) as listener:
        run = Run(FastOpener, listener.url, Settings(close_timeout_s=0.1))
        ws = run.open()
        ws.close()
        with gevent.Timeout(PATIENCE_S):
            use(run, ws)
        run.stop()


@pytest.mark.parametrize("method", CALLS)
def test_a_loop_over_a_closed_socket_lets_others_run_and_is_reported_once(method: str) -> None:
    def use(run: Run, ws: Connection) -> None:
        told, turns = Told(run), 0

        def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                gevent.sleep(0)

        greenlet = gevent.spawn(other)
        for made in range(1, LOOP_CALLS + 11):
            CALLS[method](ws)
            assert turns >= made // 2
        greenlet.kill()
        assert told.loops == [("s", method, __name__)]

    with_closed(use)


def test_a_socket_that_never_opened_gives_way_too() -> None:
    def use(_run: Run, ws: Connection) -> None:
        assert not ws.opening.is_open
        ran: list[bool] = []
        gevent.spawn(ran.append, True)
        ws.send("x")
        ws.send("x")
        assert ran == [True]

    with_closed(use, refused=True)


@pytest.mark.parametrize(("apart_s", "loops"), [(0.001, 1), (0.04, 1), (0.06, 0), (1.0, 0)])
def test_calls_now_and_then_are_no_loop(monkeypatch: pytest.MonkeyPatch, apart_s: float, loops: int) -> None:
    # a user that sends on each of its sockets in turn meets the closed ones each time
    now_ns, pauses = [0], list[float]()

    def tick(seconds: float) -> None:
        pauses.append(seconds)
        now_ns[0] += round(apart_s * 1e9)

    def use(run: Run, ws: Connection) -> None:
        told = Told(run)
        with monkeypatch.context() as patched:
            patched.setattr("wsoak.wire.after_end.time.perf_counter_ns", lambda: now_ns[0])
            patched.setattr("wsoak.wire.after_end.gevent.sleep", tick)
            found = after_end.AfterEnd()
            for _ in range(3 * LOOP_CALLS):
                found.called(ws)
        assert len(told.loops) == loops
        assert any(pauses) == bool(loops)

    with_closed(use)
