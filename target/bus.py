"""Bus: carries events from the worker that makes them to whoever forwards them.

    worker ──publish(topic, text)──► bus ──heard(text)──► each listener of the topic

A bus keeps nothing: what is published is for those who listen at that moment, as with Redis pub/sub, and who
needs more reads a history besides. Two of a kind: ``LocalBus`` within the process, and ``RedisBus`` by way of
a Redis server. Each topic's events come in the order in which one worker published them; one that was under
way when Redis was lost may come twice.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Any, Protocol
from urllib.parse import urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

PREFIX = "wsoak:"
ANSWER_TIMEOUT_S = 10.0
"""How long Redis may take over anything; also what a busy machine may pause for, which is no loss."""
CONNECTIONS = 16
FIRST_RETRY_S, LAST_RETRY_S = 0.1, 2.0


class BusError(Exception):
    """A bus that cannot be used: the text is one sentence, without credentials."""


class Listener(Protocol):
    """Who listens on a topic; neither method may block, or raise."""

    def heard(self, text: str) -> None:
        """Something was published."""

    def missed(self) -> None:
        """The bus was away for a while, and is back: what was published meanwhile will never be heard."""


class Bus(Protocol):
    """What carries events; every method is called on the loop's thread."""

    async def publish(self, topic: str, text: str) -> None:
        """Hand a text to all who listen on the topic now; raises BusError where it cannot be carried."""

    async def subscribe(self, topic: str, listener: Listener) -> None:
        """Listen on a topic: whatever is published after the return is heard; raises BusError."""

    def unsubscribe(self, topic: str, listener: Listener) -> None:
        """Listen no more; no error for who does not."""


class Topics:
    """The listeners of this process, by topic."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = {}

    def add(self, topic: str, listener: Listener) -> None:
        """Let somebody listen."""
        self._listeners.setdefault(topic, []).append(listener)

    def remove(self, topic: str, listener: Listener) -> None:
        """Let somebody listen no more."""
        listeners = self._listeners.get(topic, [])
        with contextlib.suppress(ValueError):
            listeners.remove(listener)
        if not listeners:
            self._listeners.pop(topic, None)

    def of(self, topic: str) -> list[Listener]:
        """Who listens on a topic (a copy: some leave when they hear)."""
        return list(self._listeners.get(topic, ()))

    def __iter__(self) -> Iterator[Listener]:
        return iter([listener for listeners in self._listeners.values() for listener in listeners])


class LocalBus:
    """A bus within the process; it is heard at once, and nothing can be missed."""

    def __init__(self) -> None:
        self._topics = Topics()

    async def publish(self, topic: str, text: str) -> None:
        for listener in self._topics.of(topic):
            listener.heard(text)

    async def subscribe(self, topic: str, listener: Listener) -> None:
        self._topics.add(topic, listener)

    def unsubscribe(self, topic: str, listener: Listener) -> None:
        self._topics.remove(topic, listener)


class RedisBus:
    """A bus by way of Redis pub/sub.

    One connection a process listens to everything below ``PREFIX`` and shares it out: a subscription for
    each of ten thousand sockets would have to be confirmed by Redis before each history is read, and cost a
    round trip in every opening. When it is lost it is made again, for ever, and all who listen are told.
    """

    def __init__(self, url: str) -> None:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=ANSWER_TIMEOUT_S,
            socket_connect_timeout=ANSWER_TIMEOUT_S,
            decode_responses=True,
            # once, over a new connection: those in the pool end with the Redis that they were made to
            retry=Retry(NoBackoff(), 1),
        )
        self._redis = redis.asyncio.Redis(connection_pool=pool)
        self._topics = Topics()
        self._confirmed = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None

    async def publish(self, topic: str, text: str) -> None:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._redis.publish(PREFIX + topic, text)
        except (RedisError, OSError, TimeoutError) as exc:
            raise BusError(f"Redis does not take an event: {type(exc).__name__}.") from exc

    async def subscribe(self, topic: str, listener: Listener) -> None:
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        self._topics.add(topic, listener)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._confirmed.wait()
        except TimeoutError:
            self._topics.remove(topic, listener)
            raise BusError("Redis does not confirm a subscription.") from None

    def unsubscribe(self, topic: str, listener: Listener) -> None:
        self._topics.remove(topic, listener)

    async def _listen(self) -> None:
        delay_s = FIRST_RETRY_S
        while True:
            try:
                async with self._redis.pubsub() as subscription:
                    await subscription.psubscribe(f"{PREFIX}*")
                    async for message in subscription.listen():
                        delay_s = FIRST_RETRY_S
                        self._take(message)
            except (RedisError, OSError) as exc:
                logger.warning("Redis is lost (%s), and asked again until it is back", type(exc).__name__)
            self._confirmed.clear()
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, LAST_RETRY_S)

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "pmessage":
            for listener in self._topics.of(message["channel"].removeprefix(PREFIX)):
                listener.heard(message["data"])
        elif message["type"] == "psubscribe":
            self._confirmed.set()
            for listener in self._topics:
                listener.missed()


def made_bus(url: str | None) -> Bus:
    """The bus for a Redis URL, which must answer; within the process where there is none; raises BusError."""
    if url is None:
        return LocalBus()
    place = _place(url)
    try:
        with redis.Redis.from_url(
            url, socket_connect_timeout=ANSWER_TIMEOUT_S, socket_timeout=ANSWER_TIMEOUT_S
        ) as asked:
            asked.ping()
        return RedisBus(url)
    except (RedisError, OSError, ValueError) as exc:
        reason = "wants other credentials" if _is_refusal(exc) else f"does not answer ({type(exc).__name__})"
        raise BusError(f"the Redis at {place} {reason}") from exc


def _place(url: str) -> str:
    """Host and port of a URL, as an error may name them; raises BusError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme == "unix" and parts.path:
        return parts.path
    if parts.scheme not in ("redis", "rediss") or not host:
        raise BusError("the Redis URL is none: write redis://[:PASSWORD@]HOST[:PORT][/DB]")
    return f"{host}:{port or 6379}"


def _is_refusal(exc: Exception) -> bool:
    refusals = redis.exceptions.AuthenticationError, redis.exceptions.NoPermissionError
    return isinstance(exc, refusals) or str(exc).startswith(("NOAUTH", "WRONGPASS"))
