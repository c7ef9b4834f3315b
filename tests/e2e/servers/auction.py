"""An auction house on Starlette and uvicorn: the server that ``docs/your-own-system.md`` has load made for.

``POST /bidders`` ``{"name"}`` → ``{"key"}``. ``WS /lots/{lot}?key=`` says ``{"event": "opened", "price"}``;
it takes ``{"bid": amount, "nr": n}`` and answers ``{"event": "accepted" or "outbid", "nr": n, "price"}``.
Every accepted bid is told to the lot's other bidders as ``{"event": "price", "price"}``. A wrong key is
closed with 4401.

Counts: ``bids``, ``bidders``. Prints ``{"url"}`` when ready; ends with its stdin.
"""

import asyncio
import json
import secrets
import socket
import sys
from collections import defaultdict

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

keys: dict[str, str] = {}
prices: defaultdict[str, int] = defaultdict(int)
present: defaultdict[str, set[WebSocket]] = defaultdict(set)
counts = {"bids": 0, "bidders": 0}


async def enrol(request: Request) -> Response:
    """A key for a new bidder."""
    key = secrets.token_hex(8)
    keys[key] = (await request.json())["name"]
    counts["bidders"] += 1
    return JSONResponse({"key": key})


async def lot(ws: WebSocket) -> None:
    """One bidder at one lot."""
    await ws.accept()
    if ws.query_params.get("key") not in keys:
        await ws.close(4401, "unknown key")
        return
    name = ws.path_params["lot"]
    present[name].add(ws)
    try:
        await ws.send_json({"event": "opened", "price": prices[name]})
        while True:
            bid = await ws.receive_json()
            counts["bids"] += 1
            higher = bid["bid"] > prices[name]
            prices[name] = max(prices[name], bid["bid"])
            event = "accepted" if higher else "outbid"
            await ws.send_json({"event": event, "nr": bid["nr"], "price": prices[name]})
            for other in [other for other in present[name] if higher and other is not ws]:
                await other.send_json({"event": "price", "price": prices[name]})
    except (WebSocketDisconnect, RuntimeError):
        # gone, or another's socket was while it was told of a price
        pass
    finally:
        present[name].discard(ws)


async def main() -> None:
    """Serve until stdin ends; say what was counted for each line of it."""
    routes = [Route("/bidders", enrol, methods=["POST"]), WebSocketRoute("/lots/{lot}", lot)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="error"))
        serving = asyncio.create_task(server.serve([listener]))
        print(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
        lines = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while await lines.readline():
            print(json.dumps(counts), flush=True)
        server.should_exit = True
        await serving


asyncio.run(main())
