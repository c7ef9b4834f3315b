"""Roadmap: a task that generates a learning roadmap, and its progress, pushed.

| step | request | answer |
|---|---|---|
| start | ``POST /api/v1/roadmaps/generate`` ``{"topic"}`` | 202 ``{"task_id"}``, a UUID |
| watch | ``WS /api/v1/ws/{task_id}[?include_history=true]`` | see below |
| list | ``GET /api/v1/roadmaps[?run_id=]`` | ``{"tasks": [{"task_id", "topic", ...}]}`` |
| delete | ``DELETE /api/v1/roadmaps/{task_id}`` | 204, or 404 |
| clean up | ``DELETE /api/v1/roadmaps?run_id=`` | ``{"deleted": count}`` |

Where the contract is silent: nobody logs in, and who knows a task's id may watch, review and delete it. A
listing without a run lists all tasks. The body of a start may also say how the task goes:

| field | default | |
|---|---|---|
| ``steps`` | 6 | 1 to 200 |
| ``step_s`` | 0.4 | seconds a step takes, 0 to 60 |
| ``review`` | true | whether a person must approve half-way |
| ``review_s`` | 30 | seconds that may take, above 0 to 600; then the task fails |

On the socket the server pushes, and the client says no more than one thing:

    server: {"type": "connected", "task_id"}
            {"type": "current_status", "task_id", "status", "percent", "seq"}
            {"type": "progress", "seq", "sent_at", "step", "percent"}          each step's beginning …
            {"type": "concept_progress", "seq", "sent_at", "step", "concept", "percent"}      … and middle
            {"type": "batch_progress", "seq", "sent_at", "batch", "of", "percent"}     every second step's end
            {"type": "human_review_required", "seq", "sent_at", "within_s", "percent"}
            {"type": "completed" | "failed", "seq", "sent_at", "percent", "message"}, then close 1000
    client: {"type": "review", "approved": true}

All events of a task are numbered by one ``seq`` from 1 on; ``sent_at`` is when the worker made the event. The
``seq`` of ``current_status`` is that of the last event before the connect (0: none yet), so that a client
knows what is history and what is live; its ``status`` is ``queued``, ``running``, ``waiting_for_review``,
``completed`` or ``failed``. With ``include_history=true`` the events up to that one come next, in order, and
without gap or repeat between them and the live ones. Of a finished task there is the history, if asked for,
or else its final event, and the close.

A review that nothing waits for is passed over; one that does not approve makes the task fail. An error is
``{"type": "error", "message"}``, then a close:

| what | code |
|---|---|
| unknown task: the message, and a member ``task_id``, carry the id | 1008 |
| not JSON, not an object, not UTF-8 | 1007 |
| a binary message | 1003 |
| an unknown type; a review whose ``approved`` is neither true nor false | 1008 |
| too large a message (server's limit) | 1009 |
| the bus does not answer | 1013 |
| the store failed | 1011 |
| the task was deleted while the socket was open | 1000, without an error |

An event is stored, and only then published. A socket listens to the bus first, then reads the history, and
then passes on what it heard meanwhile, less what was in the history. When the bus was away it reads the
history again. A task whose event the bus does not take fails, and says so in the history.
"""

import asyncio
import json
import logging
import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from target.bus import BusError, made_bus
from target.httpd import json_object, run_id_of, text_field, utc_now
from target.messages import MessageError, encode, error_text, read_object
from target.roadmap_store import RoadmapStore, Task
from target.sockets import Channel, Handshake, Opening, Refusal, SocketRoute
from target.system import Routes, Services, System

logger = logging.getLogger(__name__)

NAME = "roadmap"
MAX_TOPIC_CHARACTERS = 200
SHOWN_ID_CHARACTERS = 64
STEPS_A_BATCH = 2

FINAL = ("completed", "failed")
STATUS = {
    "": "queued",
    "progress": "running",
    "concept_progress": "running",
    "batch_progress": "running",
    "human_review_required": "waiting_for_review",
    "completed": "completed",
    "failed": "failed",
}
"""A task's status by the type of its last event."""

PLACE = "/api/v1/ws/{task_id}"
ELSEWHERE = "/realtime/roadmap-events/{task_id}"
"""Where the socket route is while ``wrong-prefix`` is on: under no prefix of the right path."""


def read_review(text: str) -> bool:
    """Whether a review approves, from a text message; raises MessageError."""
    message = read_object(text)
    if message.get("type") != "review":
        raise MessageError(1008, "Unknown message type")
    approved = message.get("approved")
    if not isinstance(approved, bool):
        raise MessageError(1008, 'Field "approved" must be true or false')
    return approved


@dataclass(frozen=True, slots=True)
class Plan:
    """How a task goes: so many steps of so many seconds, and a review that may take so long."""

    steps: int = 6
    step_s: float = 0.4
    review: bool = True
    review_s: float = 30.0


def read_plan(body: Mapping[str, Any]) -> Plan:
    """The plan in the body of a start; raises HTTPException 400."""
    known = ("steps", "step_s", "review", "review_s")
    plan = Plan(**{field: body[field] for field in known if field in body})
    if not isinstance(plan.review, bool):
        raise HTTPException(400, '"review" must be true or false')
    if type(plan.steps) is not int or not 1 <= plan.steps <= 200:
        raise HTTPException(400, '"steps" must be a whole number from 1 to 200')
    if type(plan.step_s) not in (int, float) or not 0 <= plan.step_s <= 60:
        raise HTTPException(400, '"step_s" must be a number from 0 to 60')
    if type(plan.review_s) not in (int, float) or not 0 < plan.review_s <= 600:
        raise HTTPException(400, '"review_s" must be a number above 0, up to 600')
    return plan


def event_text(kind: str, seq: int, percent: int, **fields: Any) -> str:
    """An event as it is stored, published and sent."""
    return encode({"type": kind, "seq": seq, "sent_at": utc_now(), **fields, "percent": percent})


class Roadmap:
    """The roadmap system: its HTTP routes, and what its workers and sockets share."""

    def __init__(self, services: Services) -> None:
        self.faults = services.faults
        self.bus = made_bus(services.options.redis_url)
        self.store = RoadmapStore(services.store)
        self.workers: dict[int, Worker] = {}
        self.channels: defaultdict[int, set[RoadmapChannel]] = defaultdict(set)
        self._traffic = services.metrics.of(NAME)
        self._traffic.sessions_open = self.store.count()
        for task, seq in self.store.unfinished():
            self.store.keep_now(task, seq + 1, event_text("failed", seq + 1, 0, message="server restarted"))

    async def generate(self, request: Request) -> Response:
        """A new task, which begins at once."""
        run_id = run_id_of(request)
        body = await json_object(request)
        topic = text_field(body, "topic")
        if not 0 < len(topic) <= MAX_TOPIC_CHARACTERS:
            raise HTTPException(400, f'"topic" must have 1 to {MAX_TOPIC_CHARACTERS} characters')
        plan = read_plan(body)
        task = self.store.create(topic, run_id)
        self._traffic.sessions_open += 1
        self.workers[task.key] = Worker(self, task, plan)
        return JSONResponse({"task_id": task.task_id}, 202)

    async def tasks(self, request: Request) -> Response:
        """The tasks of a run, or all."""
        listed = await self.store.tasks_json(request.query_params.get("run_id"))
        return Response(f'{{"tasks":{listed}}}', media_type="application/json")

    async def delete(self, request: Request) -> Response:
        """Delete one task."""
        task = self.store.task(request.path_params["task_id"])
        if task is None:
            raise HTTPException(404, "Task not found")
        self._delete(task)
        return Response(status_code=204)

    async def delete_run(self, request: Request) -> Response:
        """Delete all tasks of a run."""
        run_id = request.query_params.get("run_id")
        if not run_id:
            raise HTTPException(400, "run_id is missing")
        deleted = 0
        for task in self.store.tasks_of_run(run_id):
            deleted += self._delete(task)
            # thousands of them must not hold up the sockets
            await asyncio.sleep(0)
        return JSONResponse({"deleted": deleted})

    def _delete(self, task: Task) -> bool:
        worker = self.workers.pop(task.key, None)
        if worker is not None:
            worker.stop()
        for channel in self.watching(task):
            channel.socket.close(1000, "task deleted")
        gone = self.store.delete(task)
        self._traffic.sessions_open -= gone
        return gone

    def watching(self, task: Task) -> list["RoadmapChannel"]:
        """The open sockets of a task."""
        return list(self.channels.get(task.key, ()))

    def open_socket(self, handshake: Handshake) -> Opening:
        """A channel for any task, known or not; 404 where the route is elsewhere."""
        if self.faults.strikes(NAME, "wrong-prefix"):
            return Refusal(404, "Not Found")
        return RoadmapChannel(self, handshake)

    def open_elsewhere(self, handshake: Handshake) -> Opening:
        """The same, where the route is while it is not in its place."""
        if self.faults.active(NAME, "wrong-prefix") is None:
            return Refusal(404, "Not Found")
        return RoadmapChannel(self, handshake)


class Worker:
    """Works on one task: stores each event, then publishes it."""

    def __init__(self, roadmap: Roadmap, task: Task, plan: Plan) -> None:
        self._roadmap = roadmap
        self._task = task
        self._plan = plan
        self._seq = 0
        self._percent = 0
        self._review: asyncio.Future[bool] | None = None
        self._running = asyncio.create_task(self._run())

    def stop(self) -> None:
        """Work no more, and publish nothing more."""
        self._running.cancel()

    def reviewed(self, approved: bool) -> None:
        """Take a review, if one is waited for."""
        if self._review is not None and not self._review.done():
            self._review.set_result(approved)

    async def _run(self) -> None:
        try:
            try:
                await self._work()
            except BusError as exc:
                logger.warning("a task fails: %s", exc)
                await self._keep("failed", message="the event bus was lost")
                self._tell_directly()
        except sqlite3.Error:
            logger.exception("an event could not be stored")
            for channel in self._roadmap.watching(self._task):
                channel.fail(1011, "Event could not be stored")
        finally:
            self._roadmap.workers.pop(self._task.key, None)

    async def _work(self) -> None:
        steps, pause_s = self._plan.steps, self._plan.step_s / 2
        batches = -(-steps // STEPS_A_BATCH)
        for step in range(1, steps + 1):
            await self._publish("progress", step=step)
            await asyncio.sleep(pause_s)
            concept = f"{self._task.topic} {step}"
            await self._publish("concept_progress", step=step, concept=concept)
            await asyncio.sleep(pause_s)
            self._percent = 100 * step // steps
            if step % STEPS_A_BATCH == 0 or step == steps:
                await self._publish("batch_progress", batch=-(-step // STEPS_A_BATCH), of=batches)
            if self._plan.review and step == -(-steps // 2) and not await self._approved():
                return
        await self._publish("completed", message="the roadmap is ready")

    async def _approved(self) -> bool:
        """Ask for a review and wait for it; without an approval the task has failed."""
        self._review = asyncio.get_running_loop().create_future()
        await self._publish("human_review_required", within_s=self._plan.review_s)
        try:
            async with asyncio.timeout(self._plan.review_s):
                approved = await self._review
        except TimeoutError:
            await self._publish("failed", message="no review in time")
            return False
        if not approved:
            await self._publish("failed", message="not approved")
        return approved

    async def _publish(self, kind: str, **fields: Any) -> None:
        event = await self._keep(kind, **fields)
        # what says that it is the client's turn, or the end, is spared: its loss would be a time-out
        losable = kind.endswith("progress")
        if not (losable and self._roadmap.faults.strikes(NAME, "lost-events")):
            await self._roadmap.bus.publish(self._task.task_id, event)

    async def _keep(self, kind: str, **fields: Any) -> str:
        self._seq += 1
        event = event_text(kind, self._seq, self._percent, **fields)
        await self._roadmap.store.keep(self._task, self._seq, event)
        return event

    def _tell_directly(self) -> None:
        """Have the sockets here read the history: what is in it cannot be published."""
        for channel in self._roadmap.watching(self._task):
            channel.missed()


class RoadmapChannel(Channel):
    """One socket of a task: a listener of the bus, and a reader of the history."""

    __slots__ = ("_behind", "_early", "_history", "_roadmap", "_sent", "_seq", "_task", "_task_id")

    def __init__(self, roadmap: Roadmap, handshake: Handshake) -> None:
        self._roadmap = roadmap
        self._task_id = handshake.parameters["task_id"]
        self._history = handshake.query.get("include_history", "").lower() in ("true", "1")
        self._task: Task | None = None
        self._seq = 0
        self._sent = 0
        self._behind = True
        self._early: list[str] | None = []
        """What was heard while the history is being read; None while it is not."""

    def opened(self) -> None:
        task = self._roadmap.store.task(self._task_id)
        if task is None:
            shown = self._task_id[:SHOWN_ID_CHARACTERS]
            self.fail(1008, f"Task {shown} not found", task_id=shown)
            return
        self._task = task
        self._roadmap.channels[task.key].add(self)
        self.socket.spawn(self._begin(task))

    def text(self, text: str) -> None:
        try:
            approved = read_review(text)
        except MessageError as exc:
            self.fail(exc.code, exc.message)
            return
        worker = self._task and self._roadmap.workers.get(self._task.key)
        if worker:
            worker.reviewed(approved)

    def binary(self, payload: bytes) -> None:
        del payload
        self.fail(1003, "Binary messages are not understood")

    def last_word(self, message: str) -> str | None:
        return error_text(message)

    def closed(self) -> None:
        if self._task is None:
            return
        self._roadmap.bus.unsubscribe(self._task.task_id, self)
        channels = self._roadmap.channels[self._task.key]
        channels.discard(self)
        if not channels:
            del self._roadmap.channels[self._task.key]

    def heard(self, text: str) -> None:
        """The bus brought an event."""
        if self._early is None:
            self._forward(text)
        else:
            self._early.append(text)

    def missed(self) -> None:
        """The bus was away: what is missing is in the history."""
        self._behind = True
        if self._early is None and self._task is not None:
            self._early = []
            self.socket.spawn(self._catch_up(self._task))

    def fail(self, code: int, message: str, **fields: Any) -> None:
        """Say what is wrong, and close."""
        self.socket.send_text(encode({"type": "error", "message": message, **fields}))
        self.socket.close(code, message)

    async def _begin(self, task: Task) -> None:
        try:
            # before anything is read: what is published from here on is heard
            await self._roadmap.bus.subscribe(task.task_id, self)
        except BusError:
            self.fail(1013, "The event bus does not answer")
            return
        last = await self._roadmap.store.last(task)
        event: dict[str, Any] = json.loads(last) if last else {"type": "", "seq": 0, "percent": 0}
        status, seq = STATUS[event["type"]], event["seq"]
        self.socket.send_text(encode({"type": "connected", "task_id": task.task_id}))
        current = {"status": status, "percent": event["percent"], "seq": seq}
        self.socket.send_text(encode({"type": "current_status", "task_id": task.task_id, **current}))
        if not self._history:
            # a finished task has its final event still to come
            self._seq = seq - 1 if event["type"] in FINAL else seq
        await self._catch_up(task)

    async def _catch_up(self, task: Task) -> None:
        """Send what the history has and this socket has not, then what was heard while it was read."""
        while self._behind:
            self._behind = False
            for text in await self._roadmap.store.history(task, self._seq):
                self._forward(text)
        early, self._early = self._early or (), None
        for text in early:
            self._forward(text)

    def _forward(self, text: str) -> None:
        """Send an event, unless it was sent already; the final one ends the socket."""
        try:
            event = json.loads(text)
            kind, seq = event["type"], int(event["seq"])
        except (ValueError, TypeError, LookupError):
            logger.warning("what came over the bus is no event")
            return
        if seq <= self._seq:
            return
        self._seq = seq
        self.socket.send_text(text)
        self._sent += 1
        if not self._crashed() and kind in FINAL:
            self.socket.close(1000, kind)

    def _crashed(self) -> bool:
        """The incident: the handler fails while it sends, having closed the socket behind its own back."""
        fault = self._roadmap.faults.active(NAME, "send-after-close")
        if fault is None or self._sent != fault.params["after"] or not fault.strikes():
            return False
        if fault.params["how"] == "close":
            self.socket.close(1011, "")
        else:
            self.socket.end_stream()
        return True


def routes(services: Services) -> Routes:
    """The routes of roadmap."""
    roadmap = Roadmap(services)
    return Routes(
        http=[
            Route("/api/v1/roadmaps/generate", roadmap.generate, methods=["POST"]),
            Route("/api/v1/roadmaps", roadmap.tasks, methods=["GET"]),
            Route("/api/v1/roadmaps", roadmap.delete_run, methods=["DELETE"]),
            Route("/api/v1/roadmaps/{task_id}", roadmap.delete, methods=["DELETE"]),
        ],
        sockets=[
            SocketRoute(NAME, PLACE, roadmap.open_socket),
            SocketRoute(NAME, ELSEWHERE, roadmap.open_elsewhere),
        ],
    )


SYSTEM = System(NAME, routes)
