"""A real server: the ``websockets`` library's, in a process of its own.

Paths: ``/echo``; ``/close/CODE`` closes at once; ``/reject/STATUS`` answers that status; ``/ping`` pings, and
says what came of it; ``/deaf`` never reads. It prints its port, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import http
import sys

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response


async def handle(ws: ServerConnection) -> None:
    """Play the part that the path names."""
    assert ws.request is not None
    _, part, *rest = ws.request.path.split("/")
    if part == "close":
        await ws.close(int(rest[0]), "as asked")
    elif part == "ping":
        await (await ws.ping())
        await ws.send("ponged")
    elif part == "deaf":
        ws.transport.pause_reading()
        await asyncio.Event().wait()
    async for message in ws:
        await ws.send(message)


def reject(ws: ServerConnection, request: Request) -> Response | None:
    """The answer to those who are not let in."""
    _, part, *rest = request.path.split("/")
    return ws.respond(http.HTTPStatus(int(rest[0])), "not today\n") if part == "reject" else None


async def main() -> None:
    """Serve until standard input ends."""
    async with serve(
        handle, "127.0.0.1", 0, process_request=reject, compression=None, max_size=None
    ) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
