"""Dialogue: chat with an AI about a book.

| step | request | answer |
|---|---|---|
| log in | ``POST /v1/auth/login`` ``{"phone", "password"}`` | access, refresh and ws ``_token``, or 401 |
| refresh | ``POST /v1/auth/refresh`` ``{"refresh_token"}`` | ``{"access_token", "ws_token"}``, or 401 |
| books | ``GET /v1/books`` | ``[{"book_id", "title"}, ...]`` |
| start | ``POST /v1/dialogues/book/start`` ``{"book_id"}`` | ``{"session_id"}``, or 404 |
| talk | ``WS /v1/dialogues/ws/{session_id}?token={ws_token}`` | see below |
| history | ``GET /v1/dialogues/{session_id}/history`` | ``{"session_id", "book_id", "messages": [...]}`` |
| list | ``GET /v1/dialogues[?run_id=]`` | ``{"sessions": [{"session_id", "book_id", ...}]}`` |
| delete | ``DELETE /v1/dialogues/{session_id}`` | 204 |
| clean up | ``DELETE /v1/dialogues?run_id=`` | ``{"deleted": count}`` |

Everything below ``/v1`` but log-in and refresh takes ``Authorization: Bearer {access_token}``. Where the
contract is silent: somebody else's session is 403, an unknown one 404; a listing or a deletion by run takes
in all accounts (who knows a run's id may clean up after it), a listing without a run those of the caller.
``X-Run-Id`` on the start is stored with the session. A history entry is one exchange, ``{"id", "content",
"answer", "timestamp"}``, in the order in which the server took the messages. An acknowledgement (the
``response``) is sent after the exchange is stored.

On the socket: accept first, then check. A token is looked at when the socket opens, and not again.

    client: {"type": "message", "id", "content", "stream"?: true}        id: a string or an integer
    server: {"type": "response_chunk", "reply_to", "index", "content"}…  only if asked to stream
            {"type": "response", "reply_to", "content", "timestamp"}

A message sent again with an id that the session has already is answered as the first time, and stored once.
An error is ``{"type": "error", "message"}``, then a close:

| what | code |
|---|---|
| token missing, expired, invalid or of the wrong kind; unknown session | 1008 |
| somebody else's session: "Session access denied" | 1008 |
| not JSON, not an object, not UTF-8 | 1007 |
| a binary message | 1003 |
| an unknown type; a message whose fields are missing or wrong | 1008 |
| too large a message (server's limit) or content (``MAX_CONTENT_BYTES``) | 1009 |
| the store failed | 1011 |
| the session was deleted while the socket was open | 1000, without an error |
"""

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from target.dialogue_store import DialogueStore, Exchange, Session
from target.httpd import bearer_subject, is_text, json_object, run_id_of, text_field, utc_now
from target.messages import MessageError, encode, error_text, is_message_id, read_object
from target.sockets import Channel, Handshake, SocketRoute
from target.system import Routes, Services, System
from target.tokens import TokenError, Tokens

NAME = "dialogue"
REFRESH_TOKEN_TTL_S = 30 * 24 * 3600
MAX_CONTENT_BYTES = 64 * 1024
ECHOED_CHARACTERS = 120
CHUNK_CHARACTERS = 24

BOOKS = {
    "hongloumeng": "红楼梦",
    "xiyouji": "西游记",
    "santi": "三体",
    "weicheng": "围城",
    "lunyu": "论语",
    "pride-and-prejudice": "Pride and Prejudice",
    "moby-dick": "Moby-Dick",
    "don-quijote": "Don Quijote de la Mancha",
    "les-miserables": "Les Misérables",
    "kokoro": "こころ",
    "war-and-peace": "Война и мир",
    "the-trial": "Der Process",
}


def answer_to(title: str, content: str) -> str:
    """What the AI says: the same to the same words, and some of them in it."""
    echoed = content[:ECHOED_CHARACTERS]
    return f"关于《{title}》: “{echoed}” is a good question, asked in {len(content)} characters."


def chunks_of(text: str) -> Iterator[str]:
    """The pieces of a streamed answer, in order; together they are the answer."""
    for at in range(0, len(text), CHUNK_CHARACTERS):
        yield text[at : at + CHUNK_CHARACTERS]


def read_message(text: str) -> tuple[str | int, str, bool]:
    """Id, content and whether to stream, from a text message; raises MessageError."""
    message = read_object(text)
    if message.get("type") != "message":
        raise MessageError(1008, "Unknown message type")
    message_id, content, stream = message.get("id"), message.get("content"), message.get("stream", False)
    if not is_message_id(message_id):
        raise MessageError(1008, 'Field "id" must be a short string or an integer')
    if not isinstance(content, str) or not is_text(content):
        raise MessageError(1008, 'Field "content" must be text')
    if not isinstance(stream, bool):
        raise MessageError(1008, 'Field "stream" must be true or false')
    if len(content.encode()) > MAX_CONTENT_BYTES:
        raise MessageError(1009, "Message too large")
    return message_id, content, stream


class Dialogue:
    """The dialogue system: its HTTP routes, and what its sockets share."""

    def __init__(self, services: Services) -> None:
        self.faults = services.faults
        self.store = DialogueStore(services.store, services.options.accounts)
        self.tokens = Tokens(
            services.secret,
            {
                "access": services.options.access_token_ttl_s,
                "refresh": REFRESH_TOKEN_TTL_S,
                "ws": services.options.ws_token_ttl_s,
            },
        )
        self.channels: defaultdict[int, set[DialogueChannel]] = defaultdict(set)
        self._traffic = services.metrics.of(NAME)
        self._traffic.sessions_open = self.store.count_sessions()

    async def log_in(self, request: Request) -> Response:
        """Tokens for a phone and its password."""
        body = await json_object(request)
        phone, password = text_field(body, "phone"), text_field(body, "password")
        if not self.store.password_is_right(phone, password):
            raise HTTPException(401, "Wrong phone or password")
        return JSONResponse(
            {f"{kind}_token": self.tokens.issue(kind, phone) for kind in ("access", "refresh", "ws")}
        )

    async def refresh(self, request: Request) -> Response:
        """New access and socket tokens for a refresh token."""
        body = await json_object(request)
        try:
            phone = self.tokens.check(text_field(body, "refresh_token"), "refresh")
        except TokenError as exc:
            raise HTTPException(401, f"Authentication failed: {exc}") from None
        return JSONResponse({f"{kind}_token": self.tokens.issue(kind, phone) for kind in ("access", "ws")})

    async def books(self, request: Request) -> Response:
        """The books that can be talked about."""
        bearer_subject(request, self.tokens)
        return JSONResponse([{"book_id": book_id, "title": title} for book_id, title in BOOKS.items()])

    async def start(self, request: Request) -> Response:
        """A new session about a book."""
        phone = bearer_subject(request, self.tokens)
        run_id = run_id_of(request)
        book_id = text_field(await json_object(request), "book_id")
        if book_id not in BOOKS:
            raise HTTPException(404, "Book not found")
        session_id = self.store.start_session(phone, book_id, run_id)
        self._traffic.sessions_open += 1
        return JSONResponse({"session_id": session_id})

    async def history(self, request: Request) -> Response:
        """Every acknowledged message of a session and its answer."""
        session = self._own_session(request)
        messages = await self.store.history_json(session)
        head = encode({"session_id": session.session_id, "book_id": session.book_id})
        return Response(f'{head[:-1]},"messages":{messages}}}', media_type="application/json")

    async def sessions(self, request: Request) -> Response:
        """The sessions of a run, or of the caller."""
        phone = bearer_subject(request, self.tokens)
        listed = await self.store.sessions_json(run_id=request.query_params.get("run_id"), phone=phone)
        return Response(f'{{"sessions":{listed}}}', media_type="application/json")

    async def delete(self, request: Request) -> Response:
        """Delete one session."""
        await self._delete(self._own_session(request))
        return Response(status_code=204)

    async def delete_run(self, request: Request) -> Response:
        """Delete all sessions of a run."""
        bearer_subject(request, self.tokens)
        run_id = request.query_params.get("run_id")
        if not run_id:
            raise HTTPException(400, "run_id is missing")
        sessions = self.store.sessions_of_run(run_id)
        deleted = 0
        for session in sessions:
            deleted += await self._delete(session)
        return JSONResponse({"deleted": deleted})

    async def _delete(self, session: Session) -> bool:
        """Close a session's sockets and delete it, in steps; False if somebody else deleted it meanwhile."""
        gone: bool | None = None
        while gone is None:
            # At every step, as a socket may have opened since the last one.
            for channel in list(self.channels.get(session.key, ())):
                channel.socket.close(1000, "session deleted")
            gone = self.store.delete_some(session)
            await asyncio.sleep(0)
        self._traffic.sessions_open -= gone
        return gone

    def _own_session(self, request: Request) -> Session:
        phone = bearer_subject(request, self.tokens)
        session = self.store.session(request.path_params["session_id"])
        if session is None:
            raise HTTPException(404, "Session not found")
        if session.phone != phone:
            raise HTTPException(403, "Session access denied")
        return session

    def open_socket(self, handshake: Handshake) -> Channel:
        """A channel for any handshake: accept first, then check."""
        return DialogueChannel(self, handshake.parameters["session_id"], handshake.query.get("token"))

    def admit(self, session_id: str, token: str | None) -> Session:
        """The session that a token opens; raises MessageError."""
        try:
            phone = self.tokens.check(token, "ws")
        except TokenError as exc:
            raise MessageError(1008, f"Authentication failed: {exc}") from None
        session = self.store.session(session_id)
        if session is None:
            raise MessageError(1008, "Session not found")
        if session.phone != phone or self.faults.strikes(NAME, "session-denied"):
            raise MessageError(1008, "Session access denied")
        return session


class DialogueChannel(Channel):
    """One socket of a session."""

    __slots__ = ("_dialogue", "_session", "_session_id", "_title", "_token")

    def __init__(self, dialogue: Dialogue, session_id: str, token: str | None) -> None:
        self._dialogue = dialogue
        self._session_id = session_id
        self._token = token
        self._session: Session | None = None
        self._title = ""

    def opened(self) -> None:
        try:
            session = self._dialogue.admit(self._session_id, self._token)
        except MessageError as exc:
            self._fail(exc.code, exc.message)
            return
        self._session = session
        self._title = BOOKS[session.book_id]
        self._dialogue.channels[session.key].add(self)
        if self._crashes("accept"):
            self._send_unserialisable({"type": "greeting", "title": self._title})

    def text(self, text: str) -> None:
        try:
            message_id, content, stream = read_message(text)
        except MessageError as exc:
            self._fail(exc.code, exc.message)
            return
        session = self._session
        assert session is not None
        answer = answer_to(self._title, content)
        if self._crashes("message"):
            self._send_unserialisable({"type": "response", "reply_to": message_id, "content": answer})
            return
        if self._dialogue.faults.strikes(NAME, "lost-history"):
            self._answer(message_id, answer, utc_now(), stream=stream)
            return

        def stored(result: Exchange | sqlite3.Error) -> None:
            if isinstance(result, sqlite3.Error):
                self._fail(1011, "Message could not be stored")
            else:
                self._answer(message_id, result.answer, result.timestamp, stream=stream)

        self._dialogue.store.keep(session, message_id, content, answer, stored)

    def binary(self, payload: bytes) -> None:
        del payload
        self._fail(1003, "Binary messages are not understood")

    def last_word(self, message: str) -> str | None:
        return error_text(message)

    def closed(self) -> None:
        if self._session is None:
            return
        channels = self._dialogue.channels[self._session.key]
        channels.discard(self)
        if not channels:
            del self._dialogue.channels[self._session.key]

    def _answer(self, message_id: str | int, answer: str, timestamp: str, *, stream: bool) -> None:
        send = self.socket.send_text
        for index, content in enumerate(chunks_of(answer) if stream else ()):
            chunk = {"type": "response_chunk", "reply_to": message_id, "index": index, "content": content}
            send(encode(chunk))
        send(encode({"type": "response", "reply_to": message_id, "content": answer, "timestamp": timestamp}))

    def _fail(self, code: int, message: str) -> None:
        self.socket.send_text(error_text(message))
        self.socket.close(code, message)

    def _crashes(self, when: str) -> bool:
        fault = self._dialogue.faults.active(NAME, "datetime-crash")
        return fault is not None and fault.params["when"] == when and fault.strikes()

    def _send_unserialisable(self, reply: dict[str, Any]) -> None:
        """The incident: a timestamp goes into the reply as it is, and any failure is turned into 1008."""
        try:
            self.socket.send_text(encode({**reply, "timestamp": datetime.now(UTC)}))
        except TypeError:
            self.socket.close(1008)


def routes(services: Services) -> Routes:
    """The routes of dialogue."""
    dialogue = Dialogue(services)
    return Routes(
        http=[
            Route("/v1/auth/login", dialogue.log_in, methods=["POST"]),
            Route("/v1/auth/refresh", dialogue.refresh, methods=["POST"]),
            Route("/v1/books", dialogue.books, methods=["GET"]),
            Route("/v1/dialogues", dialogue.sessions, methods=["GET"]),
            Route("/v1/dialogues", dialogue.delete_run, methods=["DELETE"]),
            Route("/v1/dialogues/book/start", dialogue.start, methods=["POST"]),
            Route("/v1/dialogues/{session_id}/history", dialogue.history, methods=["GET"]),
            Route("/v1/dialogues/{session_id}", dialogue.delete, methods=["DELETE"]),
        ],
        sockets=[SocketRoute(NAME, "/v1/dialogues/ws/{session_id}", dialogue.open_socket)],
    )


SYSTEM = System(NAME, routes)
