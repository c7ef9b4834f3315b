"""Server: uvicorn with the socket protocol class, from the bound port to a clean end.

Order of events: descriptors raised, port bound, accepting, one line on stdout; then SIGTERM, SIGINT or the
end of stdin; no new connections, 1012 to every open socket, a bounded wait for their close frames, exit 0.
A second SIGINT does not wait.
"""

import asyncio
import contextlib
import gc
import json
import logging
import os
import re
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from target.sockets import HEAD_END, SocketPlan, SocketProtocol

BACKLOG = 8192
KEEP_ALIVE_S = 75
SHUTDOWN_S = 6
SIGNALS = (signal.SIGTERM, signal.SIGINT)
UPGRADE = re.compile(rb"\r\nupgrade:[ \t]*websocket[ \t]*\r\n", re.IGNORECASE)


class BindError(Exception):
    """An address that cannot be listened on: the text is one sentence."""


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to an address, not yet listening; raises BindError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named: else each answer waits 40 ms
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        # Of two processes that bound the same port with SO_REUSEADDR, only one may listen: find out now.
        bound.listen(BACKLOG)
    except OSError as exc:
        bound.close()
        raise BindError(f"cannot listen on {host} port {port}: {exc.strerror or exc}") from exc
    return bound


def url_of(bound: socket.socket) -> str:
    """The http URL of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def raise_descriptor_limit() -> None:
    """Raise the soft limit of open files to the hard one: every socket takes a descriptor."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Where the system caps the soft limit below the hard one (macOS), the default has to do.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Sparse(logging.Filter):
    """Lets each kind of record through once a second, with the number left out since.

    A fault under load fails thousands of times a second; a pipe on stderr that nobody reads would stop the
    server.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        key = (record.name, str(record.msg))
        last, left_out = self._last.get(key, (float("-inf"), 0))
        now = time.monotonic()
        if now - last < 1.0:
            self._last[key] = (last, left_out + 1)
            return False
        self._last[key] = (now, 0)
        if left_out:
            record.msg = f"{record.msg} ({left_out} more like this left out)"
        return True


def log_to_stderr() -> None:
    """Warnings and worse to stderr, sparsely."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Sparse())
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class HttpProtocol(H11Protocol):
    """HTTP/1.1 that hands an upgrade which comes in one piece straight on, without parsing its head twice."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._first = True

    def data_received(self, data: bytes) -> None:
        if self._first:
            self._first = False
            end = data.find(HEAD_END)
            if end >= 0 and data.startswith(b"GET ") and UPGRADE.search(data, 0, end + 2):
                self._hand_on(data)
                return
        super().data_received(data)

    def _hand_on(self, data: bytes) -> None:
        assert self.ws_protocol_class is not None
        protocol: Any = self.ws_protocol_class
        made = protocol(config=self.config, server_state=self.server_state, app_state=self.app_state)
        self.connections.discard(self)
        self.transport.set_protocol(made)
        made.connection_made(self.transport)
        made.data_received(data)


class Server(uvicorn.Server):
    """uvicorn's server that tells when it accepts, and ends with exit code 0 on a signal."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._interrupted = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn raises the signal again afterwards, which would end the process with the signal's code.
        # The handlers stay: a signal that comes while the process tidies up must not cut that short.
        for of in SIGNALS:
            signal.signal(of, self.handle_exit)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        del frame
        # SIGTERM again, or after the end of stdin, is a parent making sure; Ctrl-C again is a hurry.
        self.force_exit = self.force_exit or (sig == signal.SIGINT and self._interrupted)
        self._interrupted = self._interrupted or sig == signal.SIGINT
        self.should_exit = True


def end_on_signals() -> None:
    """Until the server takes over, let a signal raise SystemExit(0), so that what was opened is closed."""
    for of in SIGNALS:
        signal.signal(of, lambda *_: sys.exit(0))


def ignore_signals() -> None:
    """From here to the exit, let no signal change the exit code."""
    for of in SIGNALS:
        signal.signal(of, signal.SIG_IGN)


def announce(url: str) -> None:
    """The one line on stdout; where nobody reads it, the server serves all the same."""
    line = json.dumps({"url": url, "pid": os.getpid()})
    try:
        print(line, flush=True)
    except OSError:
        # what is left in the buffer would fail again at the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def stop_with_stdin(server: Server) -> None:
    """Stop the server when stdin reaches its end, as it does when the parent dies, however it dies."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        server.should_exit = True

    threading.Thread(target=wait, name="stdin", daemon=True).start()


def socket_protocol(plan: SocketPlan) -> type[SocketProtocol]:
    """The protocol class of one server: uvicorn makes it without arguments of ours."""
    return type("PlannedSocketProtocol", (SocketProtocol,), {"plan": plan, "__slots__": ()})


def make_server(app: ASGIApp, plan: SocketPlan, ready: Callable[[], None] = lambda: None) -> Server:
    """A server for an HTTP application and a plan of sockets; run it with ``serve([bound socket])``."""
    config = uvicorn.Config(
        app,
        http=HttpProtocol,
        # uvicorn only makes it and hands it to the transport: a buffered protocol will do.
        ws=cast(type[asyncio.Protocol], socket_protocol(plan)),
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )

    def begin() -> None:
        plan.switched()
        ready()

    return Server(config, begin)


def run(app: ASGIApp, plan: SocketPlan, bound: socket.socket, *, until_stdin_ends: bool) -> None:
    """Serve until a signal, or, if asked for, the end of stdin."""
    server = make_server(app, plan, lambda: announce(url_of(bound)))
    if until_stdin_ends:
        stop_with_stdin(server)
    # What was made so far lives as long as the process: the collector need not walk it again and again.
    gc.freeze()
    asyncio.run(server.serve([bound]))
