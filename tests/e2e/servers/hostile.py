"""A server whose every word is meant to do harm: to a terminal, a page, a table, a reader's memory.

Connections meet its ways in turn: refusals with a hostile body; error messages, then closes with a hostile
reason; close frames that are far too long, or no UTF-8.
"""

import asyncio
import json
import os
import struct
import sys
from itertools import count

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

HARM = "\x1b[2J\x1b]0;owned\x07</script><script>alert(1)</script>\"',\r\n0,0,forged\x00\u202e\u2028=1+1"
HUGE = HARM * 2000

ways = count()


def raw_close(code: int, reason: bytes) -> bytes:
    """A close frame as it should not be."""
    body = struct.pack("!H", code) + reason
    length = bytes([len(body)]) if len(body) < 126 else bytes([126]) + struct.pack("!H", len(body))
    return b"\x88" + length + body


def refuse(_: ServerConnection, __: Request) -> Response | None:
    """Refuse every third handshake."""
    if next(ways) % 3:
        return None
    body = HUGE.encode()
    headers = Headers({"Content-Length": str(len(body)), "X-Harm": "</script><script>alert(1)</script>"})
    return Response(503, "\x1b[31m<script>alert(1)</script>", headers, body)


async def harm(socket: ServerConnection) -> None:
    """Do harm in one of the ways."""
    way = next(ways) % 5
    try:
        await socket.recv()
        if way == 0:
            await socket.send(json.dumps({"type": "error", "message": HUGE}))
            await socket.close(1008, HARM[:80])
        elif way == 1:
            await socket.send(HUGE)
            await socket.close(4999, HARM[:80])
        elif way == 2:
            await socket.send(json.dumps({"type": "error", "message": [HARM] * 100, HARM: HARM}))
            await socket.close(1011, HARM[:80])
        elif way == 3:
            socket.transport.write(raw_close(1000, b"x" * 60_000))
        else:
            socket.transport.write(raw_close(1000, b"\xff\xfe" + HARM.encode()[:80]))
        await socket.wait_closed()
    except ConnectionClosed:
        pass


async def main() -> None:
    """Serve until stdin ends."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with serve(harm, "127.0.0.1", 0, process_request=refuse, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        print(json.dumps({"url": f"ws://127.0.0.1:{port}", "pid": os.getpid()}), flush=True)
        while await lines.readline():
            print("{}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
