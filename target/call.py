"""Call: one user rings another by name, and their signals are relayed.

| step | request | answer |
|---|---|---|
| log in | ``POST /api/auth/login`` ``{"username", "password"}`` | ``{"token", "user": {...}}``, or 401 |
| look up | ``GET /api/users?username=`` | ``{"users": [{"uuid", "username", "busy"}]}``: one, or none |
| ring | ``POST /api/calls`` ``{"callee"}`` | 201 ``{"call_id", "call_uuid"}``, 404, or 409 |
| signal | ``WS /ws/call/{call_uuid}`` | see below |
| list | ``GET /api/calls[?run_id=]`` | ``{"calls": [{"call_id", "call_uuid", "caller", "callee", ...}]}`` |
| delete | ``DELETE /api/calls/{call_uuid}`` | 204 |
| clean up | ``DELETE /api/calls?run_id=`` | ``{"deleted": count}`` |

Everything but the log-in takes ``Authorization: Bearer {token}``. The users are alice and bob, alice1 and
bob1, …, a pair for each account that the target is to seed, with one password; anybody may ring anybody
else. ``user`` is ``{"uuid", "username"}``; ``callee`` is a username, in a listing ``caller`` too. A user is
``busy`` while he is a party of any open call, and a ring with a busy party is 409; to ring oneself is 400.
Where the contract is silent: somebody else's call is 403, one that is over is unknown, 404; a listing or a
deletion by run takes in all users (who knows a run's id may clean up after it), a listing without a run the
calls of whoever asks. ``X-Run-Id`` on the ring is kept with the call.

**Who is it?** The socket's user is the one of the token, in the ``Authorization`` header or, where there is
none, as a browser has it, in the query's ``token``. Every ``user_id`` in the query and every ``X-User-ID``
header must be that user's UUID, and never stands for a token. All of this is checked before the upgrade, and
refused with an HTTP status:

| what | status |
|---|---|
| token missing, expired, invalid, of the wrong kind, or of nobody | 401 |
| ``user_id`` or ``X-User-ID`` of another user | 403 |
| no such call | 404 |
| a call of others | 403 |

**Signals** are JSON objects of type ``offer``, ``answer``, ``ice`` or ``hangup``. Each is relayed as it is to
the other party, with ``from``, the sender's UUID, whatever it said there itself; in the order in which its
sender sent them, each once. Those that come while the other party is not connected, because it has not come
yet or has lost its socket, wait for it, at most ``HELD_SIGNALS`` and ``HELD_BYTES`` (beyond: an error, and
1013). What was written to a socket that then breaks is not sent again. A party that connects again takes its
own place: the older socket is closed with 4000.

A call ends once, in one of four ways:

| end | who hears of it | the sockets |
|---|---|---|
| ``hangup`` by a party | the other one: the relayed ``hangup`` | 1000 after ``HANGUP_GRACE_S`` |
| ``DELETE``, one or by run | who is connected: a ``hangup`` without ``from`` | 1000 at once |
| neither party connected for ``ABANDONED_AFTER_S`` | nobody | none |
| the target starts anew on the same database | nobody | none |

It is gone from the listing, and its parties are free, before anybody hears of it. What a party still says
afterwards is ignored. An error is ``{"type": "error", "message"}``, then a close:

| what | code |
|---|---|
| not JSON, not an object, not UTF-8 | 1007 |
| a binary message | 1003 |
| an unknown type | 1008 |
| too large a message (server's limit) or signal (``MAX_SIGNAL_BYTES``) | 1009 |
| too many signals wait for the other party | 1013 |

**The incident**, as faults: ``nil-user`` takes the user from a context that no middleware has filled, and
panics before there is an answer; ``anonymous-accepted`` is its first mend, which lets who has no token in as
``test-user-1``, ``test-user-2``, … (whose signals reach both parties; what ``user_id`` says is ignored, and a
token that is no good is still refused); under ``stale-sessions`` a hang-up or two lost sockets do not end a
call: only its deletion does.
"""

import asyncio
import json
from collections import defaultdict
from itertools import count
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from target.call_store import Call, CallStore, User
from target.httpd import bearer_subject, is_text, json_object, run_id_of, text_field
from target.messages import MessageError, encode, error_text, read_object
from target.sockets import Channel, Handshake, Opening, Refusal, SocketRoute
from target.system import Routes, Services, System
from target.tokens import TokenError, Tokens

NAME = "call"
TOKEN_KIND = "call"
SIGNALS = frozenset({"offer", "answer", "ice", "hangup"})
MAX_SIGNAL_BYTES = 64 * 1024
HELD_SIGNALS = 100
HELD_BYTES = 256 * 1024
HANGUP_GRACE_S = 2.0
ABANDONED_AFTER_S = 60.0
"""Longer than the longest time that a well-made client waits between two attempts to connect."""
REPLACED = 4000

encode_strictly = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Denied(Exception):
    """A handshake that is refused, with the HTTP status for it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(status, message)


def read_signal(text: str, sender: str) -> tuple[str, str]:
    """A signal's type, and its text as it is relayed from this sender; raises MessageError."""
    if len(text) > MAX_SIGNAL_BYTES:
        raise MessageError(1009, "Message too large")
    signal = read_object(text)
    try:
        relayed = encode_strictly(signal | {"from": sender})
    except (ValueError, RecursionError):
        raise MessageError(1007, "Message is not JSON") from None
    kind = signal.get("type")
    if not isinstance(kind, str) or kind not in SIGNALS:
        raise MessageError(1008, "Unknown message type")
    if not is_text(relayed):
        raise MessageError(1007, "Message is not text")
    if len(relayed.encode()) > MAX_SIGNAL_BYTES:
        raise MessageError(1009, "Message too large")
    return kind, relayed


def shown_token(handshake: Handshake) -> str | None:
    """The token of a handshake, from the header or else the query; None without one; raises Denied."""
    headers = handshake.headers.get_all("Authorization")
    if not headers:
        return handshake.query.get("token")
    scheme, _, token = headers[0].partition(" ")
    if len(headers) > 1 or scheme.lower() != "bearer" or not token.strip():
        raise Denied(401, "Authentication failed: no bearer token")
    return token.strip()


def claimed_ids(handshake: Handshake) -> list[str]:
    """Who a handshake says that its user is, beside the token: everything it says."""
    query = parse_qs(handshake.query_string, keep_blank_values=True)
    return [*query.get("user_id", ()), *handshake.headers.get_all("X-User-ID")]


class Held:
    """Signals that wait for a party that is not connected, in order."""

    __slots__ = ("_bytes", "_signals")

    def __init__(self) -> None:
        self._signals: list[str] = []
        self._bytes = 0

    def add(self, signal: str) -> bool:
        """Keep one more; False where there is no room for it."""
        self._bytes += len(signal.encode())
        if len(self._signals) >= HELD_SIGNALS or self._bytes > HELD_BYTES:
            return False
        self._signals.append(signal)
        return True

    def take(self) -> list[str]:
        """All of them; none waits any more."""
        taken, self._signals, self._bytes = self._signals, [], 0
        return taken


class Line:
    """An open call's sockets: who is connected, what waits, and when it is over.

    Attributes:
        strangers: those whom ``anonymous-accepted`` let in.
        over: a party hung up; the sockets have a moment left.
        timer: ends the call, or after a hang-up its sockets.
    """

    __slots__ = ("call", "held", "over", "parties", "strangers", "timer")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.parties: dict[str, CallChannel] = {}
        self.strangers: set[CallChannel] = set()
        self.held: defaultdict[str, Held] = defaultdict(Held)
        self.over = False
        self.timer: asyncio.TimerHandle | None = None

    def channels(self) -> list["CallChannel"]:
        """All who are connected."""
        return [*self.parties.values(), *self.strangers]

    def close(self) -> None:
        """Close every socket in order."""
        for channel in self.channels():
            channel.socket.close(1000, "call ended")

    def set_timer(self, timer: asyncio.TimerHandle | None) -> None:
        """Have one timer at most."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = timer

    def relay(self, to: str, signal: str) -> bool:
        """Send a signal to a party, now or when it has come; False where too many wait for it already."""
        party = self.parties.get(to)
        return (party is not None and party.socket.send_text(signal)) or self.held[to].add(signal)


class Calls:
    """The call system: its HTTP routes, and what its sockets share. Times in seconds."""

    def __init__(
        self,
        services: Services,
        hangup_grace_s: float = HANGUP_GRACE_S,
        abandoned_after_s: float = ABANDONED_AFTER_S,
    ) -> None:
        self.faults = services.faults
        self.store = CallStore(services.store, services.options.accounts)
        self.tokens = Tokens(services.secret, {TOKEN_KIND: services.options.access_token_ttl_s})
        self._hangup_grace_s = hangup_grace_s
        self._abandoned_after_s = abandoned_after_s
        self._lines: dict[str, Line] = {}
        self._strangers = count(1)
        self._traffic = services.metrics.of(NAME)

    # HTTP.

    async def log_in(self, request: Request) -> Response:
        """A token for a username and its password."""
        body = await json_object(request)
        user = self.store.log_in(text_field(body, "username"), text_field(body, "password"))
        if user is None:
            raise HTTPException(401, "Wrong username or password")
        return JSONResponse(
            {
                "token": self.tokens.issue(TOKEN_KIND, user.user_uuid),
                "user": {"uuid": user.user_uuid, "username": user.username},
            }
        )

    async def users(self, request: Request) -> Response:
        """The user with a name, and whether he is busy."""
        self._caller(request)
        username = request.query_params.get("username")
        if not username:
            raise HTTPException(400, "username is missing")
        user = self.store.user_named(username)
        found = (
            []
            if user is None
            else [{"uuid": user.user_uuid, "username": user.username, "busy": self.store.is_busy(user)}]
        )
        return JSONResponse({"users": found})

    async def ring(self, request: Request) -> Response:
        """A new call from the caller to a user by name."""
        caller = self._caller(request)
        run_id = run_id_of(request)
        callee = self.store.user_named(text_field(await json_object(request), "callee"))
        if callee is None:
            raise HTTPException(404, "Callee not found")
        if callee == caller:
            raise HTTPException(400, "Nobody can ring himself")
        for user in (caller, callee):
            if self.store.is_busy(user):
                raise HTTPException(409, f"{user.username} is in a call")
        call = self.store.ring(caller, callee, run_id)
        self._traffic.sessions_open += 1
        self._watch(self._line(call))
        return JSONResponse({"call_id": call.call_id, "call_uuid": call.call_uuid}, 201)

    async def calls(self, request: Request) -> Response:
        """The open calls of a run, or of the caller."""
        user_uuid = self._caller(request).user_uuid
        listed = await self.store.calls_json(run_id=request.query_params.get("run_id"), user_uuid=user_uuid)
        return Response(f'{{"calls":{listed}}}', media_type="application/json")

    async def delete(self, request: Request) -> Response:
        """End one call."""
        user_uuid = self._caller(request).user_uuid
        call = self.store.call(request.path_params["call_uuid"])
        if call is None:
            raise HTTPException(404, "Call not found")
        if user_uuid not in (call.caller, call.callee):
            raise HTTPException(403, "Call access denied")
        self._delete(call)
        return Response(status_code=204)

    async def delete_run(self, request: Request) -> Response:
        """End all calls of a run."""
        self._caller(request)
        run_id = request.query_params.get("run_id")
        if not run_id:
            raise HTTPException(400, "run_id is missing")
        deleted = 0
        for call in self.store.calls_of_run(run_id):
            deleted += self._delete(call)
            # a run may have left thousands, and others are in a call
            await asyncio.sleep(0)
        return JSONResponse({"deleted": deleted})

    def _caller(self, request: Request) -> User:
        """Who asks; raises HTTPException 401."""
        user = self.store.user(bearer_subject(request, self.tokens, TOKEN_KIND))
        if user is None:
            raise HTTPException(401, "Authentication failed: no such user", {"WWW-Authenticate": "Bearer"})
        return user

    # The handshake.

    def open_socket(self, handshake: Handshake) -> Opening:
        """A channel for who may take part in a call, or a refusal."""
        try:
            user_uuid = self._identity(handshake)
            call = self.store.call(handshake.parameters["call_uuid"])
            if call is None:
                raise Denied(404, "Call not found")
            if user_uuid not in (None, call.caller, call.callee):
                raise Denied(403, "Call access denied")
        except Denied as denied:
            return denied.refusal
        line = self._line(call)
        return CallChannel(self, line, user_uuid or f"test-user-{next(self._strangers)}")

    def _identity(self, handshake: Handshake) -> str | None:
        """The UUID of a handshake's user, None for a stranger that a fault lets in; raises Denied."""
        token = shown_token(handshake)
        if not token and self.faults.strikes(NAME, "anonymous-accepted"):
            return None
        try:
            user_uuid = self.tokens.check(token, TOKEN_KIND)
        except TokenError as exc:
            raise Denied(401, f"Authentication failed: {exc}") from None
        if self.store.user(user_uuid) is None:
            raise Denied(401, "Authentication failed: no such user")
        if any(claimed != user_uuid for claimed in claimed_ids(handshake)):
            raise Denied(403, "The user id is not the token's")
        return user_uuid

    # What channels tell of.

    def connected(self, channel: "CallChannel") -> None:
        """A socket has opened: the call is watched no longer, and what waited for its party goes out."""
        line, who = channel.line, channel.user
        if not line.over:
            line.set_timer(None)
        if who not in (line.call.caller, line.call.callee):
            line.strangers.add(channel)
            return
        older = line.parties.get(who)
        line.parties[who] = channel
        if older is not None:
            older.socket.close(REPLACED, "connected again")
        for signal in line.held[who].take():
            channel.socket.send_text(signal)

    def disconnected(self, channel: "CallChannel") -> None:
        """A socket is gone."""
        line = channel.line
        line.strangers.discard(channel)
        if line.parties.get(channel.user) is channel:
            del line.parties[channel.user]
        if self._lines.get(line.call.call_uuid) is line and not line.parties and not line.over:
            self._watch(line)

    def signal(self, channel: "CallChannel", kind: str, text: str) -> None:
        """A signal came: relay it, and end the call where it says so; raises MessageError."""
        line = channel.line
        call = line.call
        if line.over or self._lines.get(call.call_uuid) is not line:
            return
        stranger = channel in line.strangers
        to = (call.caller, call.callee) if stranger else (call.other(channel.user),)
        if kind == "hangup":
            # first: who hears of it may ring again at once
            self._end(line)
            line.over = True
            line.set_timer(asyncio.get_running_loop().call_later(self._hangup_grace_s, self._close, line))
        relayed = [line.relay(party, text) for party in to]
        if not all(relayed) and kind != "hangup":
            raise MessageError(1013, "Too many messages wait for the other party")

    # The end of calls.

    def _line(self, call: Call) -> Line:
        """The call's line; a new one where the last one's sockets are closed, and the call is still there."""
        line = self._lines.get(call.call_uuid)
        if line is None or line.over:
            line = self._lines[call.call_uuid] = Line(call)
        return line

    def _watch(self, line: Line) -> None:
        """Release the call if nobody connects for a while."""
        loop = asyncio.get_running_loop()
        line.set_timer(loop.call_later(self._abandoned_after_s, self._release, line))

    def _release(self, line: Line) -> None:
        self._end(line)
        self._close(line)

    def _end(self, line: Line) -> None:
        """The call is over: its parties are free, unless a fault forgets to say so."""
        if not self.faults.strikes(NAME, "stale-sessions"):
            self._forget(line.call)

    def _close(self, line: Line) -> None:
        line.close()
        if self._lines.get(line.call.call_uuid) is line:
            del self._lines[line.call.call_uuid]

    def _delete(self, call: Call) -> bool:
        """End a call from outside; False if somebody else ended it meanwhile."""
        gone = self._forget(call)
        line = self._lines.get(call.call_uuid)
        if line is not None:
            line.set_timer(None)
            for channel in line.channels():
                channel.socket.send_text(encode({"type": "hangup"}))
            self._close(line)
        return gone

    def _forget(self, call: Call) -> bool:
        gone = self.store.end(call)
        self._traffic.sessions_open -= gone
        return gone


class CallChannel(Channel):
    """One socket of a call; ``user`` is the UUID of its party, or the name of a stranger."""

    __slots__ = ("_calls", "line", "user")

    def __init__(self, calls: Calls, line: Line, user: str) -> None:
        self._calls = calls
        self.line = line
        self.user = user

    def opened(self) -> None:
        self._calls.connected(self)

    def text(self, text: str) -> None:
        try:
            self._calls.signal(self, *read_signal(text, self.user))
        except MessageError as exc:
            self._fail(exc.code, exc.message)

    def binary(self, payload: bytes) -> None:
        del payload
        self._fail(1003, "Binary messages are not understood")

    def last_word(self, message: str) -> str | None:
        return error_text(message)

    def closed(self) -> None:
        self._calls.disconnected(self)

    def _fail(self, code: int, message: str) -> None:
        self.socket.send_text(error_text(message))
        self.socket.close(code, message)


def routes(services: Services) -> Routes:
    """The routes of call."""
    return routes_of(Calls(services))


def routes_of(calls: Calls) -> Routes:
    """The routes of one call system."""
    return Routes(
        http=[
            Route("/api/auth/login", calls.log_in, methods=["POST"]),
            Route("/api/users", calls.users, methods=["GET"]),
            Route("/api/calls", calls.ring, methods=["POST"]),
            Route("/api/calls", calls.calls, methods=["GET"]),
            Route("/api/calls", calls.delete_run, methods=["DELETE"]),
            Route("/api/calls/{call_uuid}", calls.delete, methods=["DELETE"]),
        ],
        sockets=[SocketRoute(NAME, "/ws/call/{call_uuid}", calls.open_socket)],
    )


SYSTEM = System(NAME, routes)
