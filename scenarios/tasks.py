"""Tasks: a user sets tasks going, and watches on a feed what becomes of them.

    token ──► connect ──► ping ──► create ──► queued … running … done ──► delete
                           ▲                                                │
                           └────────────────────────────────────────────────┘

The token is minted with the secret in ``WSOAK_JWT_SECRET``; without one it comes from the log-in. It is kept
until its ``exp`` draws near, whatever the server says meanwhile: the client of the incident did no better.
Accounts come from ``--accounts`` (columns ``username``, ``password``), else they are user-0, user-1, …, with
the password in ``WSOAK_PASSWORD``. A feed stays open for as long as it can; ``--message-rate`` tasks a second
are created beside each, or, at rate 0, the next when the last is done.
"""

import os
import time
from collections import deque
from collections.abc import Iterator
from functools import partial
from itertools import islice, repeat
from typing import Any
from urllib.parse import quote

from gevent.event import Event
from locust import task

from wsoak.ledger.units import ns_to_s
from wsoak.load import WebSocketUser
from wsoak.load.accounts_file import Account
from wsoak.load.door import Door
from wsoak.load.forgeries import forge
from wsoak.load.sequence import Sequence
from wsoak.load.target_process import shared_secret
from wsoak.load.tokens import FreshToken, mint
from wsoak.wire.connection import Connection
from wsoak.wire.message import Message
from wsoak.wire.schedule import every

NAME = "tasks"
KIND = "summary"
COURSE = ["queued", "running", "done"]
TOKEN_LIFE_S = 3600.0
SESSION_TASKS = 20
"""How many tasks a session of the open model has."""
REPORT_EVERY = 50
"""After so many tasks the pushes' sequence is reported, and at the end of a feed."""
PUSH_WITHIN_S = 3600.0


def test_account(index: int) -> Account:
    """The n-th account that the target knows."""
    return {"username": f"user-{index}", "password": os.environ.get("WSOAK_PASSWORD", "Test@123456")}


def pong_id(message: Message) -> Any:
    """The id of the ping that a pong answers."""
    return message.get("id") if message.get("type") == "pong" else None


def is_push(message: Message) -> bool:
    """Whether a message says where a task is."""
    return bool(message.get("type") == "task_status")


def feed_path(user_id: str, token: str = "") -> str:
    """The socket of a user's feed."""
    query = f"?token={quote(token, safe='')}" if token else ""
    return f"/api/v1/ws/tasks/{quote(user_id, safe='')}{query}"


class TasksUser(WebSocketUser):
    """Somebody with tasks, who watches them on ``--sockets-per-user`` feeds."""

    health_path = "/health"
    account_columns = tuple(test_account(0))

    token: FreshToken | None = None
    feeds: "tuple[Feed, ...]" = ()

    @task
    def work(self) -> None:
        """Keep the feeds open, and tasks coming, until the run ends."""
        self.sign_in()
        self.feeds = tuple(Feed(self, slot) for slot in range(self.options.sockets_per_user))
        self.gather([feed.keep for feed in self.feeds])

    def on_stop(self) -> None:
        """Delete what is left, and what a request that the run's end cut off may have created."""
        for feed in self.feeds:
            self.observe_sequence(NAME, feed.sequence)
        if self.token is None:
            return
        listed = self.api("GET", "/api/v1/tasks", token=self.bearer, needs=("tasks",))
        if listed.status == 401 and (token := self.new_token()) is not None:
            # the server has ended our token: that is no reason to leave anything behind
            self.token = FreshToken(token, self.new_token)
            listed = self.api("GET", "/api/v1/tasks", token=self.bearer, needs=("tasks",))
        tasks = listed.json["tasks"] if listed.ok else None
        for each in tasks if isinstance(tasks, list) else ():
            if isinstance(each, dict) and each.get("run_id") == self.run_id:
                self.delete(str(each.get("task_id")))

    def sign_in(self) -> None:
        """Have a token, if there is none yet."""
        if self.token is None:
            self.secret = shared_secret(self.generator.embedded)
            self.credentials = dict(self.account(test_account))
            self.user_id = self.credentials["username"]
            self.token = FreshToken(self.new_token() or "", self.new_token)

    def new_token(self) -> str | None:
        """A token of our own making where the secret is known, else from the log-in, if it gives one."""
        if self.secret is not None:
            return mint(self.secret, self.user_id, TOKEN_LIFE_S)
        answer = self.api("POST", "/api/v1/auth/login", json=self.credentials, needs=("token", "user_id"))
        if answer.ok:
            self.logged_in()
            self.user_id = str(answer.json["user_id"])
            return str(answer.json["token"])
        return self.log_in_failed(answer) if self.token is None else None

    @property
    def bearer(self) -> str:
        """The token as it is now."""
        assert self.token is not None
        return self.token.value

    def delete(self, task_id: str) -> None:
        """Delete one task."""
        path = f"/api/v1/tasks/{quote(task_id, safe='')}"
        self.api("DELETE", path, name="/api/v1/tasks/{task_id}", token=self.bearer)

    # ------------------------------------------------------------------------------------ beside the load

    def rehearse(self) -> None:
        """One feed, one task, and the server's own count of its sockets."""
        self.sign_in()
        Feed(self, 0).hold(tasks=1)
        path = f"/api/v1/ws/status?token={quote(self.bearer, safe='')}"
        counted = self.api("GET", path, needs=("connections", "user_connections"))
        self.check("the server counts its sockets", counted.ok)

    def doors(self) -> list[Door]:
        """A feed is for its user, with a token of the right kind, in time, and signed by who may."""
        self.sign_in()
        mine, good = self.user_id, self.bearer

        def door(finding: str, token: str, of: str = mine) -> Door:
            return Door(finding, NAME, feed_path(of, token), knock={"type": "ping", "id": "door"})

        return [
            door("unauthenticated-accepted", ""),
            *forge(good, self.secret, door, another_kind={"kind": "refresh"}),
            door("foreign-session-accepted", good, of=f"{mine}0"),
        ]

    def clear(self, run_id: str) -> int:
        """Delete the tasks of a run, whoever created them."""
        self.sign_in()
        run = quote(run_id, safe="")
        answer = self.api("DELETE", f"/api/v1/tasks?run_id={run}", token=self.bearer, needs=("deleted",))
        return int(answer.json["deleted"]) if answer.ok else 0


class Job:
    """One task of ours: when it was asked for, and which statuses were pushed."""

    def __init__(self, asked_ns: int) -> None:
        self.asked_ns = asked_ns
        self.statuses: list[str] = []
        self.over = Event()


class Feed:
    """One socket on the user's feed, and the tasks that are created beside it."""

    def __init__(self, user: TasksUser, slot: int) -> None:
        self.user = user
        self.slot = slot
        self.sequence = Sequence()
        self.jobs: dict[str, Job] = {}
        self.unnamed: deque[Message] = deque(maxlen=1000)
        """Pushes of tasks that we do not know: one's first can come before the answer that names it."""

    def keep(self) -> None:
        """Have the feed open for as long as the user is there; in the open model, for one session."""
        if self.user.options.arrival_rate:
            self.hold(SESSION_TASKS)
            return
        while True:
            self.hold()

    def hold(self, tasks: int | None = None) -> None:
        """Open the feed, again as ``--reconnect`` says, and use it for so many tasks, or until it is lost."""
        path = feed_path(self.user.user_id, self.user.bearer)
        ws = self.user.connect(
            path, name=NAME, reply_id=pong_id, usable_when=pong_id, slot=self.slot, fresh=False
        )
        if not ws.ended:
            with ws:
                self.user.gather([partial(self.watch, ws), partial(self.work, ws, tasks)])

    def watch(self, ws: Connection) -> None:
        """Take what is pushed, until the feed is closed; then nobody waits for the end of a task any more."""
        self.sequence = Sequence()
        push: Message | None = None
        # what came in one read with the close is still to be taken after it
        while push is not None or not ws.ended:
            push = ws.expect(is_push, PUSH_WITHIN_S)
            if push is not None:
                self.pushed(push)
        self.user.observe_sequence(NAME, self.sequence)
        for job in self.jobs.values():
            job.over.set()

    def work(self, ws: Connection, tasks: int | None) -> None:
        """Create tasks, see each to its end, and delete it; at last close the feed."""
        for number, intended_ns in enumerate(islice(self.moments(ws), tasks)):
            key = self.user.new_id()
            ws.request({"type": "ping", "id": key}, reply_to=key, intended_ns=intended_ns)
            if not ws.is_open:
                break
            job = self.create()
            if job is not None and intended_ns is None:
                job.over.wait(self.user.options.reply_timeout)
            self.tidy(ws)
            if number % REPORT_EVERY == REPORT_EVERY - 1:
                self.user.observe_sequence(NAME, self.sequence, over=False)
        self.tidy(ws, last=True)
        ws.close()

    def moments(self, ws: Connection) -> Iterator[int | None]:
        """When to create a task: on a schedule, or (``None``) as soon as the last one is over."""
        rate = self.user.options.message_rate
        if not rate:
            return repeat(None)
        # users that start together must not create together
        ws.pause(self.user.random.uniform(0, 1 / rate))
        return ws.paced(every(1 / rate))

    def create(self) -> Job | None:
        """A new task, if the server takes it."""
        self.unnamed.clear()
        job = Job(time.perf_counter_ns())
        path, body = "/api/v1/tasks", {"kind": KIND}
        answer = self.user.api("POST", path, json=body, token=self.user.bearer, needs=("task_id",))
        if not answer.ok:
            return None
        task_id = str(answer.json["task_id"])
        self.jobs[task_id] = job
        for push in [each for each in self.unnamed if each.get("task_id") == task_id]:
            self.follow(push)
        return job

    def pushed(self, push: Message) -> None:
        """A status was pushed: of a task of ours, or of one from another feed of the user's."""
        self.sequence.feed(push.get("seq"), push.received_ns)
        self.user.delivered(NAME, push.get("sent_at"), push.received_ns)
        self.follow(push)

    def follow(self, push: Message) -> None:
        """Note where a task of ours is."""
        job = self.jobs.get(str(push.get("task_id")))
        status = str(push.get("status"))
        if job is None:
            self.unnamed.append(push)
        elif status not in job.statuses:
            job.statuses.append(status)
            if status in ("queued", "done"):
                took_s = ns_to_s(push.received_ns - job.asked_ns)
                self.user.metric(f"task {status}", took_s, "trend")
            if status in ("done", "failed"):
                job.over.set()

    def tidy(self, ws: Connection, last: bool = False) -> None:
        """Delete the tasks that are over, or have taken too long; the ``last`` time, wait for the others."""
        patience_s = self.user.options.reply_timeout
        for task_id, job in list(self.jobs.items()):
            if last and ws.is_open:
                job.over.wait(patience_s)
            if last or job.over.is_set() or ns_to_s(time.perf_counter_ns() - job.asked_ns) > patience_s:
                if ws.is_open:
                    self.user.check("a task is queued, runs and is done", job.statuses == COURSE)
                self.user.delete(task_id)
                del self.jobs[task_id]
