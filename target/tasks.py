"""Tasks: a status feed behind a JWT.

| step | request | answer |
|---|---|---|
| log in | ``POST /api/v1/auth/login`` ``{"username", "password"}`` | ``{"token", "user_id"}``, or 401 |
| status | ``GET /api/v1/ws/status?token=`` | ``{"connections", "user_connections"}``, or 401 |
| feed | ``WS /api/v1/ws/tasks/{user_id}?token=`` | see below |
| create | ``POST /api/v1/tasks`` ``{"kind"}`` | 202 ``{"task_id"}``; 400 unknown kind, 429 too many |
| list | ``GET /api/v1/tasks[?run_id=]`` | ``{"tasks": [{"task_id", "kind", "status", "progress", …}]}`` |
| delete | ``DELETE /api/v1/tasks/{task_id}`` | 204, 403 somebody else's, 404 |
| clean up | ``DELETE /api/v1/tasks?run_id=`` | ``{"deleted": count}`` |

A token is an HS256 JWT with ``sub`` (the user's id), ``exp`` and ``iat``, signed with the shared secret: from
the log-in, or from whoever else has that secret, for any user. Its ``kind`` claim, where it has one, must be
``access`` or ``ws``: a refresh token of another system, signed with the same secret, opens nothing. The
log-in knows ``user-0``, ``user-1``, … (as many as accounts are seeded), with the test account's password; a
username is the user's id. ``/api/v1/tasks`` takes the token as ``Authorization: Bearer``.

Where the contract is silent: a listing or a deletion by run takes in all users (who knows a run's id may
clean up after it), a listing without a run those of the caller. ``X-Run-Id`` on the creation stays with the
task. Kinds, what becomes of them and how many a user may have: ``task_board``.

On the socket: accept first, then authenticate, once. ``user_id`` must be the token's ``sub``. Each of a
user's sockets is pushed the statuses of all of that user's tasks, from its opening on:

    server: {"type": "task_status", "task_id", "status", "progress", "seq", "sent_at"}
    client: {"type": "ping", "id"}        id: a string or an integer
    server: {"type": "pong", "id"}

``seq`` numbers the pushes of one user, without a gap as long as one of the user's sockets is open. An error
is ``{"type": "error", "message"}``, then a close:

| what | code |
|---|---|
| token missing, expired, invalid or of the wrong kind; somebody else's feed | 1008 |
| not JSON, not an object, not UTF-8 | 1007 |
| a binary message | 1003 |
| an unknown type; a ping without a good id | 1008 |
| too large a message (server's limit) | 1009 |

The fault ``token-expiry`` closes sockets as a framework does that is told no more than to close: 1000.
"""

import asyncio
import hmac
import re
import time
from collections.abc import Awaitable
from functools import partial
from typing import Any, NamedTuple

import jwt
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from target.faults import Active, Faults
from target.httpd import json_object, run_id_of, text_field
from target.messages import MessageError, encode, error_text, is_message_id, read_object
from target.sockets import Channel, Handshake, Opening, Refusal, SocketRoute
from target.system import Routes, Services, System
from target.task_board import KINDS, Task, TaskBoard, TooManyTasks
from target.tokens import ALGORITHM, TokenError

NAME = "tasks"
ACCOUNT = re.compile(r"user-(0|[1-9][0-9]{0,8})")
PASSWORD = "Test@123456"
SOCKET_KINDS = ("access", "ws")
SWEEP_S = 0.1

RIGHT = "right"
PATHS = {
    RIGHT: "/api/v1/ws/tasks/{user_id}",
    "api": "/api/v1/api/v1/ws/tasks/{user_id}",
    "ws": "/api/v1/ws/api/v1/ws/tasks/{user_id}",
    "bare": "/tasks/{user_id}",
}
"""Where the feed is, and where the fault ``doubled-prefix`` puts it, by the words of its ``form``."""


class Claims(NamedTuple):
    """What a good token says: whose it is, and when it was issued (Unix s)."""

    user_id: str
    issued_at: float


class Authority:
    """Issues tokens and checks them; the fault ``token-expiry`` ends them early."""

    def __init__(self, secret: str, ttl_s: int, faults: Faults) -> None:
        self._secret = secret
        self._ttl_s = ttl_s
        self._faults = faults

    def issue(self, user_id: str) -> str:
        """A new token."""
        now_s = time.time()
        return jwt.encode(
            {"sub": user_id, "iat": now_s, "exp": now_s + self._ttl_s}, self._secret, algorithm=ALGORITHM
        )

    def check(self, token: str | None) -> Claims:
        """The claims of a token that is signed with our secret, in time and of no other kind; TokenError."""
        if not token:
            raise TokenError("token missing")
        # a clock that is ahead of ours is no forgery: only the end of a token counts
        options: Any = {"require": ["sub", "exp", "iat"], "verify_iat": False}
        try:
            claims = jwt.decode(token, self._secret, algorithms=[ALGORITHM], options=options)
            read = Claims(claims["sub"], float(claims["iat"]))
        except jwt.ExpiredSignatureError:
            raise TokenError("token expired") from None
        except (jwt.InvalidTokenError, ValueError, TypeError, OverflowError):
            raise TokenError("token invalid") from None
        if claims.get("kind", "access") not in SOCKET_KINDS:
            raise TokenError("token of the wrong kind")
        if self.has_ended(read):
            raise TokenError("token expired")
        return read

    def has_ended(self, claims: Claims) -> bool:
        """Whether the server has ended a token before its ``exp``."""
        fault = self._faults.active(NAME, "token-expiry")
        if fault is None or claims.issued_at + fault.params["after_s"] > time.time():
            return False
        return fault.strikes()


def ping_id(text: str) -> str | int:
    """The id of a ping; raises MessageError for any other message."""
    message = read_object(text)
    if message.get("type") != "ping":
        raise MessageError(1008, "Unknown message type")
    if not is_message_id(message.get("id")):
        raise MessageError(1008, 'Field "id" must be a short string or an integer')
    found: str | int = message["id"]
    return found


class Tasks:
    """The tasks system: its HTTP routes, and what its sockets share."""

    def __init__(self, services: Services) -> None:
        self.faults = services.faults
        self.authority = Authority(services.secret, services.options.access_token_ttl_s, services.faults)
        self.board = TaskBoard(self._count)
        self.channels: set[TasksChannel] = set()
        self._accounts = services.options.accounts
        self._traffic = services.metrics.of(NAME)
        self._sweeper: asyncio.TimerHandle | None = None
        self._pool: tuple[Active, asyncio.Semaphore] | None = None

    # HTTP.

    async def log_in(self, request: Request) -> Response:
        """A token for a username and its password."""
        body = await json_object(request)
        username, password = text_field(body, "username"), text_field(body, "password")
        if not self._is_account(username, password):
            raise HTTPException(401, "Wrong username or password")
        return JSONResponse({"token": self.authority.issue(username), "user_id": username})

    async def status(self, request: Request) -> Response:
        """How many sockets are open, and how many of them are the caller's."""
        user_id = self._claims(request.query_params.get("token")).user_id
        return JSONResponse(
            {"connections": len(self.channels), "user_connections": self.board.watchers(user_id)}
        )

    async def create(self, request: Request) -> Response:
        """A new task."""
        user_id = self._caller(request)
        run_id = run_id_of(request)
        kind = text_field(await json_object(request), "kind")
        if kind not in KINDS:
            raise HTTPException(400, f'"kind" must be one of {", ".join(KINDS)}')
        try:
            task = self.board.create(user_id, kind, run_id)
        except TooManyTasks:
            raise HTTPException(429, "Too many tasks: delete some") from None
        return JSONResponse({"task_id": task.task_id}, 202)

    async def tasks(self, request: Request) -> Response:
        """The tasks of a run, or of the caller."""
        user_id = self._caller(request)
        run_id = request.query_params.get("run_id")
        found = self.board.of_user(user_id) if run_id is None else self.board.of_run(run_id)
        return JSONResponse({"tasks": [task.describe() for task in found]})

    async def delete(self, request: Request) -> Response:
        """Delete one task."""
        self.board.delete(self._own_task(request))
        return Response(status_code=204)

    async def delete_run(self, request: Request) -> Response:
        """Delete all tasks of a run."""
        self._caller(request)
        run_id = request.query_params.get("run_id")
        if not run_id:
            raise HTTPException(400, "run_id is missing")
        found = self.board.of_run(run_id)
        for task in found:
            self.board.delete(task)
        return JSONResponse({"deleted": len(found)})

    def _own_task(self, request: Request) -> Task:
        user_id = self._caller(request)
        task = self.board.get(request.path_params["task_id"])
        if task is None:
            raise HTTPException(404, "Task not found")
        if task.user_id != user_id:
            raise HTTPException(403, "Task access denied")
        return task

    def _caller(self, request: Request) -> str:
        """The user of the bearer token (RFC 6750); raises HTTPException 401."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return self._claims(token.strip() if scheme.lower() == "bearer" else None).user_id

    def _claims(self, token: str | None) -> Claims:
        try:
            return self.authority.check(token)
        except TokenError as exc:
            headers = {"WWW-Authenticate": "Bearer"}
            raise HTTPException(401, f"Authentication failed: {exc}", headers) from None

    def _is_account(self, username: str, password: str) -> bool:
        # an unknown account costs as much time as a wrong password
        right = hmac.compare_digest(password.encode(), PASSWORD.encode())
        number = ACCOUNT.fullmatch(username)
        return right and number is not None and int(number[1]) < self._accounts

    def _count(self, change: int) -> None:
        self._traffic.sessions_open += change

    # Sockets.

    def open_socket(self, form: str, handshake: Handshake) -> Opening | Awaitable[Opening]:
        """A channel for any handshake where the feed is; one that comes later while look-ups are slow."""
        doubled = self.faults.active(NAME, "doubled-prefix")
        if form not in answered_forms(doubled):
            if doubled is not None:
                doubled.strikes()
            return Refusal(404, "Not Found")
        channel = TasksChannel(self, handshake.parameters["user_id"], handshake.query.get("token"))
        slow = self.faults.active(NAME, "slow-auth")
        return channel if slow is None else self._look_up(slow, channel)

    async def _look_up(self, slow: Active, channel: Channel) -> Channel:
        """The incident: every handshake waits for one of a few connections to the database.

        First come, first served; a client that has gone gives its place up, as its handshake is cancelled.
        """
        slow.strikes()
        async with self._connections_of(slow):
            await asyncio.sleep(slow.params["delay_s"])
        return channel

    def _connections_of(self, slow: Active) -> asyncio.Semaphore:
        """The pool of this fault; a new one when it is switched on anew, with other parameters perhaps."""
        if self._pool is None or self._pool[0] is not slow:
            self._pool = slow, asyncio.Semaphore(slow.params["pool"])
        return self._pool[1]

    def admit(self, channel: "TasksChannel", user_id: str, token: str | None) -> Claims:
        """The claims that let a socket see this user's feed; raises MessageError."""
        try:
            claims = self.authority.check(token)
        except TokenError as exc:
            raise MessageError(1008, f"Authentication failed: {exc}") from None
        if claims.user_id != user_id:
            raise MessageError(1008, "Access denied: the feed of another user")
        self.channels.add(channel)
        if self._sweeper is None:
            self._sweep()
        return claims

    def _sweep(self) -> None:
        """Close the sockets whose tokens have ended, now and as long as there are sockets."""
        self._sweeper = None
        if self.faults.active(NAME, "token-expiry") is not None:
            for channel in [each for each in self.channels if each.has_ended()]:
                channel.socket.close()
        if self.channels:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)


def answered_forms(doubled: Active | None) -> frozenset[str]:
    """Under which of ``PATHS`` the feed is."""
    if doubled is None:
        return frozenset({RIGHT})
    form = doubled.params["form"]
    wrong = set(PATHS) - {RIGHT} if form == "all" else {form}
    return frozenset(wrong | {RIGHT} if doubled.params["also"] == "yes" else wrong)


class TasksChannel(Channel):
    """One socket on a user's feed."""

    __slots__ = ("_claims", "_tasks", "_token", "_user_id")

    def __init__(self, tasks: Tasks, user_id: str, token: str | None) -> None:
        self._tasks = tasks
        self._user_id = user_id
        self._token = token
        self._claims: Claims | None = None

    def opened(self) -> None:
        try:
            self._claims = self._tasks.admit(self, self._user_id, self._token)
        except MessageError as exc:
            self._fail(exc)
            return
        self._tasks.board.watch(self._user_id, self.socket.send_text)

    def text(self, text: str) -> None:
        try:
            found = ping_id(text)
        except MessageError as exc:
            self._fail(exc)
            return
        self.socket.send_text(encode({"type": "pong", "id": found}))

    def binary(self, payload: bytes) -> None:
        del payload
        self._fail(MessageError(1003, "Binary messages are not understood"))

    def last_word(self, message: str) -> str | None:
        return error_text(message)

    def closed(self) -> None:
        if self._claims is not None:
            self._tasks.channels.discard(self)
            self._tasks.board.unwatch(self._user_id, self.socket.send_text)

    def has_ended(self) -> bool:
        """Whether the server has ended this socket's token, and the socket is still open."""
        return (
            self._claims is not None and self.socket.is_open and self._tasks.authority.has_ended(self._claims)
        )

    def _fail(self, error: MessageError) -> None:
        self.socket.send_text(error_text(error.message))
        self.socket.close(error.code, error.message)


def routes(services: Services) -> Routes:
    """The routes of tasks."""
    tasks = Tasks(services)
    return Routes(
        http=[
            Route("/api/v1/auth/login", tasks.log_in, methods=["POST"]),
            Route("/api/v1/ws/status", tasks.status, methods=["GET"]),
            Route("/api/v1/tasks", tasks.create, methods=["POST"]),
            Route("/api/v1/tasks", tasks.tasks, methods=["GET"]),
            Route("/api/v1/tasks", tasks.delete_run, methods=["DELETE"]),
            Route("/api/v1/tasks/{task_id}", tasks.delete, methods=["DELETE"]),
        ],
        sockets=[SocketRoute(NAME, path, partial(tasks.open_socket, form)) for form, path in PATHS.items()],
    )


SYSTEM = System(NAME, routes)
