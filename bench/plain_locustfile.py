"""The plain way to load WebSockets with Locust, as tutorials do it, and written well: the bench's yardstick.

One Locust user a connection, websocket-client as it comes, a blocking `recv`, one `request` event a
message. websocket-client would use wsaccel if it were installed; as that is not among its requirements, it
is kept out here, and let in by `BENCH_WSACCEL=1`.
"""

from __future__ import annotations

import os
import sys
import time

from locust import User, constant, task
from locust.exception import StopUser

WSACCEL = os.environ.get("BENCH_WSACCEL") == "1"
if not WSACCEL:
    # None in sys.modules makes `import wsaccel` fail, as it does where it is not installed.
    sys.modules["wsaccel"] = None  # type: ignore[assignment]

import websocket  # noqa: E402
from websocket import _abnf  # noqa: E402

if hasattr(_abnf, "XorMaskerSimple") != WSACCEL:
    raise RuntimeError(f"BENCH_WSACCEL={int(WSACCEL)}, but websocket-client was imported the other way")

PAYLOAD = "x" * 64


class PlainUser(User):
    """What the three users share: a connection, and how a request is reported."""

    abstract = True
    wait_time = constant(0)

    def connect(self) -> websocket.WebSocket:
        """Open a connection to the host, and report how long it took."""
        if self.host is None:
            raise StopUser("no --host")
        start = time.perf_counter()
        connection = websocket.create_connection(self.host)
        self.report("connect", start, 0)
        return connection

    def report(self, name: str, start: float, length: int) -> None:
        """Fire one `request` event for what began at `start` (perf_counter, seconds)."""
        self.environment.events.request.fire(
            request_type="WS",
            name=name,
            response_time=(time.perf_counter() - start) * 1000,
            response_length=length,
            exception=None,
            context={},
        )


class PlainEchoUser(PlainUser):
    """Closed loop: sends 64 bytes, waits for the echo, sends again."""

    def on_start(self) -> None:
        """Connect once."""
        self.connection = self.connect()

    @task
    def echo(self) -> None:
        """One message there and back."""
        start = time.perf_counter()
        self.connection.send(PAYLOAD)
        answer = self.connection.recv()
        self.report("echo", start, len(answer))


class PlainHandshakeUser(PlainUser):
    """Connects, closes, and connects again."""

    @task
    def handshake(self) -> None:
        """One connection, opened and closed."""
        self.connect().close()


class PlainIdleUser(PlainUser):
    """Holds one connection open, and waits for messages that do not come."""

    def on_start(self) -> None:
        """Connect once."""
        self.connection = self.connect()

    @task
    def receive(self) -> None:
        """Wait for one message."""
        start = time.perf_counter()
        self.report("push", start, len(self.connection.recv()))
