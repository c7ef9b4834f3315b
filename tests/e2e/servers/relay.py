"""A relay in front of a server, which does something to one message that the server sends on each WebSocket.

``relay.py URL WAY``: every other byte, HTTP's too, goes through as it came, both ways.

| way | the ``STRUCK``-th text message of a socket |
|---|---|
| lose | never arrives |
| repeat | arrives twice |
| swap | arrives after the next one; unchanged, and not counted, where none comes within ``HELD_S`` |

Counts: ``sockets``, ``struck`` (messages).
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

STRUCK = 3
TEXT, CLOSE = 0x81, 0x88
"""First bytes of whole frames (RFC 6455 section 5.2)."""
SWITCHED = b"HTTP/1.1 101"
READ_BYTES = 65536
HELD_S = 2.0
"""A message whose next one does not come, as the load has ended, is not held back for ever."""

Way = Callable[[bytes], tuple[bytes, bytes]]
"""Says of a frame what arrives of it at once, and what after the next one."""
WAYS: dict[str, Way] = {
    "lose": lambda _: (b"", b""),
    "repeat": lambda frame: (frame * 2, b""),
    "swap": lambda frame: (b"", frame),
}


class Relay:
    """Takes connections, and makes one to the server for each."""

    def __init__(self, url: str, way: str) -> None:
        self.sockets = self.struck = 0
        self._server = urlsplit(url)
        self._way = WAYS[way]

    async def take(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        server, to_server = await asyncio.open_connection(self._server.hostname, self._server.port)
        ways = [
            asyncio.ensure_future(self._pass(client, to_server)),
            asyncio.ensure_future(self._answer(server, to_client)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        # what was read is written yet
        for writer in (to_server, to_client):
            writer.close()
        await asyncio.wait(ways)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(READ_BYTES):
                writer.write(data)
                await writer.drain()

    async def _answer(self, server: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # an end in the middle of a head or a frame is an end
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await server.readuntil(b"\r\n\r\n")
            writer.write(head)
            if head.startswith(SWITCHED):
                self.sockets += 1
                await self._frames(server, writer)
        await self._pass(server, writer)

    async def _frames(self, server: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        texts, held = 0, b""
        while True:
            coming = asyncio.ensure_future(whole_frame(server))
            if held and not (await asyncio.wait({coming}, timeout=HELD_S))[0]:
                held = await self._unchanged(held, writer)
            frame = await coming
            texts += frame[0] == TEXT
            if frame[0] == TEXT and texts == STRUCK:
                self.struck += 1
                at_once, held = self._way(frame)
                writer.write(at_once)
            elif frame[0] == TEXT:
                writer.write(frame + held)
                held = b""
            else:
                if frame[0] == CLOSE and held:
                    held = await self._unchanged(held, writer)
                writer.write(frame)
            await writer.drain()

    async def _unchanged(self, held: bytes, writer: asyncio.StreamWriter) -> bytes:
        self.struck -= 1
        writer.write(held)
        await writer.drain()
        return b""


async def whole_frame(server: asyncio.StreamReader) -> bytes:
    """The next frame of a server: its payload is not masked.

    Raises:
        asyncio.IncompleteReadError: where the server ends first.
    """
    head = await server.readexactly(2)
    extended = await server.readexactly({126: 2, 127: 8}.get(head[1], 0))
    length = int.from_bytes(extended) if extended else head[1]
    return head + extended + await server.readexactly(length)


async def main() -> None:
    """Serve until stdin ends."""
    relay = Relay(*sys.argv[1:])
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with await asyncio.start_server(relay.take, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        print(json.dumps({"url": f"http://127.0.0.1:{port}", "pid": os.getpid()}), flush=True)
        while await lines.readline():
            print(json.dumps({"sockets": relay.sockets, "struck": relay.struck}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
