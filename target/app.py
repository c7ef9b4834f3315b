"""App: the table of systems, and the routes that the target has for itself.

| route | answer |
|---|---|
| ``GET /health`` | ``{"status": "healthy", "version", "time"}``, the time ISO 8601 UTC with microseconds |
| ``GET /metrics`` | Prometheus text |
| ``GET /faults`` | ``{"known": [...], "active": [...]}`` |
| ``POST /faults`` | ``{"system", "fault", "on": true, "params": {...}}`` → as ``GET``; 400 with a sentence |
| ``GET /drops`` | the latest drops, oldest first, each as ``POST /drop`` answers, by now |
| ``POST /drop`` | ``{"how", "code", "system", "back_after_s", "accept_per_s"}`` → see below; 400 as above |

``POST /drop`` ends every open socket at once, and says how they may come back. All fields are optional:

| field | default | |
|---|---|---|
| ``how`` | ``"reset"`` | by TCP ``reset``, by ``eof``, or by a ``close`` frame with ``code`` |
| ``code`` | 1012 | of the close frame |
| ``system`` | null | a system's name, whose sockets alone are dropped; null: those of all |
| ``back_after_s`` | 0 | for so many seconds every handshake is answered 503 |
| ``accept_per_s`` | null | then so many handshakes a second are let in, the others answered 503; null: all |

The limit is lifted when 95 % as many sockets as before are open again: the last few users may have given up.
It answers with the entry of the log: these fields, ``at`` (Unix s), ``sockets`` (how many were dropped),
``recovered_95_s`` (seconds from the drop until 95 % of that number were open; null: not yet), ``attempts``
(handshakes asked for until then) and ``rejected`` (of those, answered with a status other than 101).

Errors of HTTP routes are ``{"detail": "..."}``.
"""

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from target import VERSION, call, dialogue, echo, roadmap, tasks, voice
from target.drops import DropError, read_order
from target.faults import FaultChoice, FaultError, checked_params, fault_row
from target.httpd import has_body, json_object, utc_now
from target.sockets import NO_SYSTEM, SocketPlan, SocketRouter
from target.system import Services, System

SYSTEMS: Sequence[System] = (
    echo.SYSTEM,
    dialogue.SYSTEM,
    call.SYSTEM,
    voice.SYSTEM,
    tasks.SYSTEM,
    roadmap.SYSTEM,
)
"""Every system that is served; a new one is one file, one entry here, and its rows in the table of faults."""


async def health(_request: Request) -> Response:
    """Whether the server lives, and what time it has."""
    return JSONResponse({"status": "healthy", "version": VERSION, "time": utc_now()})


def own_routes(services: Services, plan: SocketPlan) -> list[BaseRoute]:
    """``/health``, ``/metrics``, ``/faults`` and ``/drops``."""

    async def metrics(_request: Request) -> Response:
        return Response(services.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def faults(_request: Request) -> Response:
        return JSONResponse(services.faults.describe())

    async def switch(request: Request) -> Response:
        body = await json_object(request)
        system, name, on = body.get("system"), body.get("fault"), body.get("on", True)
        params = body.get("params", {})
        if not isinstance(system, str) or not isinstance(name, str):
            raise HTTPException(400, '"system" and "fault" must be strings')
        if not isinstance(on, bool) or not isinstance(params, dict):
            raise HTTPException(400, '"on" must be true or false, and "params" an object')
        unknown = set(body) - {"system", "fault", "on", "params"}
        if unknown:
            raise HTTPException(400, f"unknown fields: {', '.join(sorted(unknown))}")
        try:
            if on:
                services.faults.switch_on(FaultChoice(system, name, checked_params(system, name, params)))
            else:
                fault_row(system, name)
                services.faults.switch_off(system, name)
        except FaultError as exc:
            raise HTTPException(400, str(exc)) from None
        plan.switched()
        return JSONResponse(services.faults.describe())

    async def drops(_request: Request) -> Response:
        return JSONResponse(plan.drops.describe())

    async def drop(request: Request) -> Response:
        body = await json_object(request) if has_body(request) else {}
        try:
            order = read_order(body, [system.name for system in SYSTEMS])
        except DropError as exc:
            raise HTTPException(400, str(exc)) from None
        return JSONResponse(plan.drops.drop(order).describe())

    return [
        Route("/health", health),
        Route("/metrics", metrics),
        Route("/faults", faults),
        Route("/faults", switch, methods=["POST"]),
        Route("/drops", drops),
        Route("/drop", drop, methods=["POST"]),
    ]


async def http_error(_request: Request, exc: Exception) -> Response:
    """An error as JSON."""
    assert isinstance(exc, HTTPException)
    return JSONResponse({"detail": exc.detail}, exc.status_code, exc.headers)


async def server_error(_request: Request, _exc: Exception) -> Response:
    """An unforeseen error as JSON; its traceback goes to the log."""
    return JSONResponse({"detail": "Internal Server Error"}, 500)


def make_app(services: Services) -> tuple[Starlette, SocketPlan]:
    """The HTTP application and the sockets of all systems."""
    made = [system.routes(services) for system in SYSTEMS]
    plan = SocketPlan(
        router=SocketRouter(route for routes in made for route in routes.sockets),
        faults=services.faults,
        metrics=services.metrics,
        max_message_bytes=services.options.max_message_bytes,
        compression=services.options.compression,
    )
    app = Starlette(
        routes=[*own_routes(services, plan), *(route for routes in made for route in routes.http)],
        exception_handlers={HTTPException: http_error, 500: server_error},
    )
    return app, plan


def label_names() -> list[str]:
    """The systems as the metrics label them, with the one for paths that belong to none."""
    return [*(system.name for system in SYSTEMS), NO_SYSTEM]
