"""A WebSocket echo server on picows, fast enough to leave the bottleneck to the client; it counts.

Run as `python -m bench.echo_server --port 0`. When it listens, it prints one JSON line `{"url", "pid"}` on
its standard output, and at its end (SIGTERM, SIGINT) one more with the counters. With `--stop-with-stdin`
it also reads commands: the line `stats` is answered with the counters as one JSON line, and the end of
standard input ends the server, so that it never outlives the process that started it, however that one
died.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from bench.counters import Counters, answer_commands, write_line
from bench.handshake_server import HandshakeServer

LOOPBACK = "127.0.0.1"
LISTEN_BACKLOG = 4096
# Plain integers, as picows hands them out: an enumeration's look-up is dear on this path.
_TEXT, _BINARY, _CLOSE = WSMsgType.TEXT.value, WSMsgType.BINARY.value, WSMsgType.CLOSE.value


class Echo(WSListener):
    """One connection: each message goes back as it came, a close frame is answered with its own payload."""

    def __init__(self, counters: Counters) -> None:
        super().__init__()
        self._counters = counters
        self._closed = False

    def on_ws_connected(self, _transport: WSTransport) -> None:
        """Count the handshake (RFC 6455, Section 4.2.2)."""
        self._counters.handshakes += 1

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Echo a message, answer a close frame (RFC 6455, Section 5.5.1); picows answers pings by itself."""
        kind: Any = frame.msg_type
        if kind in (_TEXT, _BINARY):
            self._counters.messages += 1
            transport.send(kind, frame.get_payload_as_bytes())
        elif kind == _CLOSE and not self._closed:
            self._closed = True
            self._counters.closes += 1
            # A close frame may carry no code; picows says 0 then, which may not be sent.
            code: Any = frame.get_close_code()
            transport.send_close(code or WSCloseCode.OK, frame.get_close_message())
            transport.disconnect()

    def on_ws_disconnected(self, _transport: WSTransport) -> None:
        """Count a connection that ended without a close frame."""
        if not self._closed:
            self._counters.drops += 1


def raise_descriptor_limit() -> None:
    """Raise RLIMIT_NOFILE to its hard limit."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def serve_echo(listener: socket.socket, counters: Counters, on_ready: Callable[[], None]) -> None:
    """Echo on `listener` until SIGTERM or SIGINT; `on_ready` is called once signals are handled."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    server = await ws_create_server(lambda _request: Echo(counters), sock=listener, backlog=LISTEN_BACKLOG)
    on_ready()
    await stopped.wait()
    server.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.echo_server", description=__doc__)
    parser.add_argument(
        "--port", type=int, default=0, help="TCP port on 127.0.0.1; 0 takes a free one (default)"
    )
    parser.add_argument(
        "--handshake-only", action="store_true", help="open and close at top speed; no messages"
    )
    parser.add_argument(
        "--stop-with-stdin", action="store_true", help="answer `stats` lines, end with their end"
    )
    options = parser.parse_args(arguments)
    raise_descriptor_limit()
    counters = Counters()
    listener = socket.create_server((LOOPBACK, options.port), backlog=LISTEN_BACKLOG)
    url = f"ws://{LOOPBACK}:{listener.getsockname()[1]}/"

    def announce() -> None:
        write_line(json.dumps({"url": url, "pid": os.getpid()}))
        if options.stop_with_stdin:
            answer_commands(counters)

    if options.handshake_only:
        HandshakeServer(listener, counters).run(announce)
    else:
        asyncio.run(serve_echo(listener, counters, announce))
    write_line(counters.line())
    return 0


if __name__ == "__main__":
    sys.exit(main())
