"""An echo server on the ``websockets`` library, which counts what it sees.

Counts: ``connections``, ``open``, ``received``, ``sent`` (messages), ``closes`` (by ``CODE by INITIATOR``),
``reasons`` (of the close frames received).

``websockets_echo.py [DELAY_S]``: each message is sent back after so many seconds.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from contextlib import suppress

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


class Counts:
    """What the server saw."""

    def __init__(self) -> None:
        self.delay_s = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
        self.connections = self.open = self.received = self.sent = 0
        self.closes: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()

    async def echo(self, socket: ServerConnection) -> None:
        """One connection."""
        self.connections += 1
        self.open += 1
        with suppress(ConnectionClosed):
            async for message in socket:
                self.received += 1
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                # after the client's close, which may have come in the same read, the others still count
                with suppress(ConnectionClosed):
                    await socket.send(message)
                    self.sent += 1
        await socket.wait_closed()
        self.open -= 1
        self._count_close(socket)

    def _count_close(self, socket: ServerConnection) -> None:
        came = socket.protocol.close_rcvd
        if came is None:
            self.closes["1006 by network"] += 1
            return
        initiator = "client" if socket.protocol.close_rcvd_then_sent else "server"
        self.closes[f"{int(came.code)} by {initiator}"] += 1
        self.reasons[came.reason] += 1


async def main() -> None:
    """Serve until stdin ends."""
    counts = Counts()
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with serve(counts.echo, "127.0.0.1", 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        print(json.dumps({"url": f"ws://127.0.0.1:{port}", "pid": os.getpid()}), flush=True)
        while await lines.readline():
            print(json.dumps(vars(counts)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
