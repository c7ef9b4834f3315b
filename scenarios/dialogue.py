"""Dialogue: a reader talks with an AI about a book.

    log in ──► choose a book ──► start a session ──► connect ──► talk ──► verify the history ──► delete

The account comes from ``--accounts`` (columns ``phone``, ``password``), else it is counted up from the test
account, with the password in ``WSOAK_PASSWORD``. A socket's token is short-lived, and renewed in time.
"""

import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Container, Iterable
from itertools import count, islice
from typing import Any
from urllib.parse import quote

from locust import between, task

from wsoak.load import WebSocketUser
from wsoak.load.accounts_file import Account
from wsoak.load.api import Answer
from wsoak.load.door import Door
from wsoak.load.forgeries import forge
from wsoak.load.target_process import shared_secret
from wsoak.load.tokens import FreshToken
from wsoak.wire.message import Message
from wsoak.wire.schedule import every

NAME = "dialogue"
FIRST_PHONE = 13900000002
MESSAGES_A_SESSION = 20
QUESTIONS = ("这本书讲了什么？", "Who tells the story?", "作者为什么这样写？", "What does the title mean?")


def test_account(index: int) -> Account:
    """The n-th account that the target seeds."""
    password = os.environ.get("WSOAK_PASSWORD", "Test@123456")
    return {"phone": str(FIRST_PHONE + index), "password": password}


def answered_id(message: Message) -> Any:
    """The id of the message that a response answers; the chunks that come before it answer nothing yet."""
    return message.get("reply_to") if message.get("type") == "response" else None


class DialogueUser(WebSocketUser):
    """A reader who holds one conversation after another, ``--sockets-per-user`` of them at a time."""

    wait_time = between(0.5, 1.5)
    health_path = "/health"
    account_columns = tuple(test_account(0))

    access: FreshToken | None = None
    stranger: "DialogueUser | None" = None

    def rehearse(self) -> None:
        """One conversation of one question, with its history."""
        self.log_in()
        self.conversations = [Conversation(self, 0)]
        self.conversations[0].hold(questions=1)

    def doors(self) -> list[Door]:
        """A session's socket is for its reader, with a token for sockets, in time and well signed."""
        self.log_in()
        self.conversations = [Conversation(self, 0)]
        session = self.conversations[0].start()
        # the next account's; it stops with us
        self.stranger = type(self)(self.environment)
        self.stranger.log_in()
        path = f"/v1/dialogues/ws/{session}"
        knock = {"type": "message", "id": "door", "content": QUESTIONS[0]}

        def door(finding: str, token: str) -> Door:
            return Door(finding, NAME, f"{path}?token={quote(token, safe='')}", knock=knock)

        doors = [
            Door("unauthenticated-accepted", NAME, path, knock=knock),
            *forge(self.for_sockets.value, shared_secret(self.generator.embedded), door),
            door("wrong-token-kind-accepted", self.refresh_token),
            door("foreign-session-accepted", self.stranger.for_sockets.value),
        ]
        return doors if session else []

    def clear(self, run_id: str) -> int:
        """Delete the sessions of a run, whoever started them."""
        self.log_in()
        assert self.access is not None
        path, token = f"/v1/dialogues?run_id={quote(run_id, safe='')}", self.access.value
        answer = self.api("DELETE", path, token=token, needs=("deleted",))
        return int(answer.json["deleted"]) if answer.ok else 0

    @task
    def converse(self) -> None:
        """Hold a conversation on each socket."""
        if self.access is None:
            # not in on_start: what goes wrong there kills the user with a traceback
            self.log_in()
        self.conversations = [Conversation(self, slot) for slot in range(self.options.sockets_per_user)]
        self.gather([conversation.hold for conversation in self.conversations])

    def on_stop(self) -> None:
        """End what the run's end interrupted: no session is left behind."""
        conversations: list[Conversation] = getattr(self, "conversations", [])
        for conversation in conversations:
            conversation.end()
        if any(conversation.starting for conversation in conversations):
            self.end_unknown()
        if self.stranger is not None:
            self.stranger.drop_http()

    def end_unknown(self) -> None:
        """Delete the session whose start a kill cut off: the server may have it, under an id not told."""
        assert self.access is not None
        token, path = self.access.value, "/v1/dialogues"
        # our reader's own; of this run, as another may go on with the same accounts
        listed = self.api("GET", path, token=token, needs=("sessions",))
        sessions = listed.json["sessions"] if listed.ok else ()
        for session in sessions if isinstance(sessions, list) else ():
            if isinstance(session, dict) and session.get("run_id") == self.run_id and "session_id" in session:
                id_ = quote(str(session["session_id"]), safe="")
                self.api(
                    "DELETE", f"{path}/{id_}", name=f"{path}/{{session_id}}", token=token, accepts=(404,)
                )

    def log_in(self) -> None:
        """Log in, and find the books."""
        account = self.account(test_account)
        credentials = {"phone": account["phone"], "password": account["password"]}
        tokens = ("access_token", "refresh_token", "ws_token")
        answer = self.api("POST", "/v1/auth/login", json=credentials, needs=tokens)
        if not answer.ok:
            self.log_in_failed(answer)
        self.refresh_token = answer.json["refresh_token"]
        self.access = FreshToken(answer.json["access_token"], lambda: self.renewed("access_token"))
        self.for_sockets = FreshToken(answer.json["ws_token"], lambda: self.renewed("ws_token"))
        listed = self.api("GET", "/v1/books", token=self.access.value)
        books = listed.json if isinstance(listed.json, list) else []
        self.books = [book["book_id"] for book in books if isinstance(book, dict) and "book_id" in book]
        if not self.check("there are books", listed.ok and self.books):
            self.log_in_failed(listed)
        self.logged_in()

    def renewed(self, kind: str) -> str | None:
        """A new token of this kind, if the server gives one."""
        body = {"refresh_token": self.refresh_token}
        answer = self.api("POST", "/v1/auth/refresh", json=body, needs=(kind,))
        return answer.json[kind] if answer.ok else None


class Conversation:
    """One session about one book, over one socket."""

    def __init__(self, user: DialogueUser, slot: int) -> None:
        self.user = user
        self.slot = slot
        self.session = ""
        self.acknowledged: dict[str, int] = {}
        """When each message's answer came, on ``perf_counter_ns``, in this order."""
        self.starting = False
        """The session was asked for, and its answer never heard."""
        self.unsure = False
        """The deletion was asked for, and its answer never heard."""

    def start(self) -> str:
        """Start the session; empty where the server gives none."""
        book = self.user.random.choice(self.user.books)
        self.starting = True
        started = self.api("POST", "/v1/dialogues/book/start", {"book_id": book}, needs=("session_id",))
        self.session = quote(str(started.json["session_id"]), safe="") if started.ok else ""
        self.starting = False
        return self.session

    def hold(self, questions: int = MESSAGES_A_SESSION) -> None:
        """Start the session, talk, and see that the server remembers all of it."""
        if not self.start():
            return
        path = f"/v1/dialogues/ws/{self.session}?token={quote(self.user.for_sockets.value, safe='')}"
        connection = self.user.connect(
            path, name=NAME, reply_id=answered_id, usable_when=answered_id, slot=self.slot, fresh=True
        )
        with connection as ws:
            rate = self.user.options.message_rate
            moments = ws.paced(every(1 / rate), questions) if rate else count()
            for intended_ns in islice(moments, questions):
                key = self.user.new_id()
                question = {"type": "message", "id": key, "content": self.user.random.choice(QUESTIONS)}
                answer = ws.request(question, reply_to=key, intended_ns=intended_ns if rate else None)
                if answer is not None:
                    self.acknowledged[key] = answer.received_ns
                elif not ws.is_open:
                    break
        self.end()

    def end(self) -> None:
        """Verify the history against what was acknowledged, and delete the session."""
        if not self.session:
            return
        path, name = f"/v1/dialogues/{self.session}", "/v1/dialogues/{session_id}"
        if self.acknowledged and not self.unsure:
            history = self.api("GET", f"{path}/history", name=f"{name}/history", needs=("messages",))
            if history.ok:
                self.verify(
                    [str(each.get("id")) for each in history.json["messages"] if isinstance(each, dict)]
                )
        # asked for again, as a kill cut off the answer: the server may well have done it the first time
        gone = (404,) if self.unsure else ()
        self.unsure = True
        self.api("DELETE", path, name=name, accepts=gone)
        # last: what a kill interrupts is done again when the user stops
        self.session = ""

    def verify(self, remembered: list[str]) -> None:
        """Every acknowledged message is there, once, in order."""
        kept = Counter(key for key in remembered if key in self.acknowledged)
        in_order = (key for key in self.acknowledged if key in kept)
        misplaced = [due for due, key in zip(in_order, kept, strict=True) if due != key]
        self.tell("history-lost", self.acknowledged.keys() - kept.keys())
        self.tell("messages-repeated", (kept - Counter(set(kept))).elements())
        self.tell("messages-reordered", misplaced[:1])
        self.acknowledged = {}

    def tell(self, finding: str, wrong: Iterable[str]) -> None:
        """Observe what is wrong with these messages, as of the first one's and the last one's answers."""
        answered = list(self.acknowledged.values())
        moments = sorted(self.acknowledged[key] for key in wrong)
        first, last = (moments[0], moments[-1]) if moments else (answered[-1], answered[-1])
        # each message is looked at once: until the first that is wrong, and after it
        early = bisect_right(moments, first) if first < last else 0
        looked_at = bisect_right(answered, first) if early else 0
        if early:
            self.observe(finding, first, early, looked_at)
        self.observe(finding, last, len(moments) - early, len(answered) - looked_at)

    def observe(self, finding: str, at_ns: int, wrong: int, of: int) -> None:
        """Say what the history showed of the messages of a time."""
        text = "history of a session" if wrong else ""
        self.user.observe(finding, NAME, wrong, of, text, at_ns=at_ns)

    def api(
        self,
        method: str,
        path: str,
        json: Any = None,
        name: str | None = None,
        needs: tuple[str, ...] = (),
        accepts: Container[int] = (),
    ) -> Answer:
        """The server's HTTP API, as this user."""
        assert self.user.access is not None
        token = self.user.access.value
        return self.user.api(method, path, json=json, name=name, token=token, needs=needs, accepts=accepts)
