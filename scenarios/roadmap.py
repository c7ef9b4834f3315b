"""Roadmap: somebody starts a generation task and watches its progress, pushed, to the end.

    start a task ──► connect ──► watch ──► review ──► watch ──► completed ──► delete
                        ▲          │
                        └──────────┘  every third task is left half-way and found again by its history

Nobody logs in. A user watches ``--sockets-per-user`` tasks at a time; the server sets the rate of messages:
``--message-rate`` does not apply. A socket is usable once its ``connected`` has come.

| figure | what |
|---|---|
| delivery time | ``sent_at`` until receipt, of live events only, the server's clock offset taken off |
| ``sequence-gap``, ``messages-repeated``, ``messages-reordered`` | by ``seq``, history and live as one |
| check ``roadmap: went on`` | the next event came, within ``--reply-timeout`` |
| check ``roadmap: completed`` | a task that was watched to its end was completed, and not failed |

A socket that ends before its task does is opened again, as ``--reconnect`` says, until the task's end is
seen.
"""

import uuid
from collections.abc import Mapping
from itertools import count
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

from locust import between, task

from wsoak.load import WebSocketUser
from wsoak.load.door import Door
from wsoak.load.sequence import Sequence
from wsoak.wire.message import Message

NAME: Final = "roadmap"
TASKS: Final = "/api/v1/roadmaps"
SOCKETS: Final = "/api/v1/ws"
TOPICS: Final = ("线性代数", "Machine learning", "ギターの弾き方", "Backyard astronomy")
LEFT_EACH: Final = 3
"""Each so many-th task of a watcher is left half-way."""
LEFT_AFTER: Final = 5
"""So many events after the connect."""
FINAL: Final = ("completed", "failed")


def is_connected(message: Message) -> bool:
    """Whether the server has taken the socket for what it is for."""
    return bool(message.get("type") == "connected")


def anything(_message: Message) -> bool:
    """Whatever comes next."""
    return True


class RoadmapUser(WebSocketUser):
    """Somebody who has one roadmap after another generated."""

    wait_time = between(0.5, 1.5)
    health_path = "/health"

    plan: Mapping[str, Any] = MappingProxyType({})
    """How the tasks go, besides their topic; the server's own way unless given."""
    watchers: list["Watcher"] | None = None

    @task
    def generate(self) -> None:
        """Have a roadmap generated on each socket, and watch."""
        if self.watchers is None:
            self.watchers = [Watcher(self, slot) for slot in range(self.options.sockets_per_user)]
        self.gather([watcher.watch_one for watcher in self.watchers])

    def on_stop(self) -> None:
        """Delete what the run's end interrupted: no task is left behind."""
        for watcher in self.watchers or ():
            watcher.end()

    def rehearse(self) -> None:
        """Have the shortest of all roadmaps generated, with its review."""
        self.plan = {"steps": 2, "step_s": 0.01}
        self.watchers = [Watcher(self, 0)]
        self.watchers[0].watch_one()

    def doors(self) -> tuple[Door, ...]:
        """A task that does not exist has nothing to show; the contract knows no other credentials."""
        return (Door("unknown-task-accepted", NAME, f"{SOCKETS}/{uuid.uuid4()}?include_history=true"),)

    def clear(self, run_id: str) -> int:
        """Delete all tasks of a run."""
        answer = self.api("DELETE", f"{TASKS}?run_id={quote(run_id)}", needs=("deleted",))
        return int(answer.json["deleted"]) if answer.ok else 0


class Watcher:
    """Watches one task after another, over one socket at a time."""

    def __init__(self, user: RoadmapUser, slot: int) -> None:
        self.user = user
        self.slot = slot
        self.numbers = count(1)
        self.topic = ""
        self.task_id = ""
        self.unsure = False
        self.sequence = Sequence()

    def watch_one(self) -> None:
        """Start a task, watch it to its end, and delete it."""
        number = next(self.numbers)
        self.final = ""
        self.reviewed = False
        # one of a kind: so the task is found again whose start or deletion a kill cut off
        self.topic = f"{self.user.random.choice(TOPICS)} {uuid.uuid4().hex[:12]}"
        self.unsure = True
        body = {"topic": self.topic, **self.user.plan}
        started = self.user.api("POST", f"{TASKS}/generate", json=body, needs=("task_id",))
        # without an answer it may have begun
        self.unsure = started.status == 0
        if not started.ok:
            self.end()
            return
        self.task_id = str(started.json["task_id"])
        in_vain = self.user.options.no_retry_codes
        code = self.watch(first=True, leave_after=LEFT_AFTER if number % LEFT_EACH == 0 else None)
        while not self.final and code not in in_vain:
            code = self.watch()
        self.end()

    def watch(self, first: bool = False, leave_after: int | None = None) -> int | None:
        """Watch on one socket until it ends, or so many events have come; its close code."""
        path = f"{SOCKETS}/{quote(self.task_id, safe='')}?include_history=true"
        socket = self.user.connect(path, name=NAME, usable_when=is_connected, slot=self.slot, fresh=first)
        # with the history, every socket begins at the first event
        self.sequence = Sequence(first=1)
        history = Sequence()
        came = 0
        with socket as ws:
            while came != leave_after and (message := ws.expect(anything)) is not None:
                ws.state = str(message.get("type"))[:40]
                if ws.state == "current_status":
                    history.feed(message.get("seq"))
                elif self.sequence.feed(message.get("seq"), message.received_ns):
                    came += 1
                    if message["seq"] > (history.highest or 0):
                        self.user.delivered(NAME, message.get("sent_at"), message.received_ns)
                    self.follow(ws.state, ws.send)
            if ws.is_open and came != leave_after and not self.final:
                self.user.check("roadmap: went on", False)
        self.report()
        return socket.code

    def follow(self, kind: str, send: Any) -> None:
        """Do what an event asks for."""
        self.user.check("roadmap: went on", True)
        if kind == "human_review_required" and not self.reviewed:
            # a history may ask again
            self.reviewed = send({"type": "review", "approved": True})
        elif kind in FINAL:
            self.final = kind
            self.user.check("roadmap: completed", kind == "completed")

    def report(self) -> None:
        """Tell of the sequence of a socket, once."""
        self.user.observe_sequence(NAME, self.sequence)

    def end(self) -> None:
        """Delete the task, whatever has become of it."""
        self.report()
        if self.unsure:
            self.task_id = self.found_again()
        if self.task_id:
            self.unsure = True
            path = f"{TASKS}/{quote(self.task_id, safe='')}"
            self.user.api("DELETE", path, name=f"{TASKS}/{{task_id}}")
        # last: what a kill interrupts is done again when the user stops
        self.task_id = ""
        self.unsure = False

    def found_again(self) -> str:
        """The id of the task, if it is there; empty if it is not."""
        listed = self.user.api("GET", f"{TASKS}?run_id={quote(self.user.run_id)}", needs=("tasks",))
        tasks = listed.json["tasks"] if listed.ok else []
        mine = (each for each in tasks if isinstance(each, dict) and each.get("topic") == self.topic)
        return next((str(each.get("task_id", "")) for each in mine), "")
