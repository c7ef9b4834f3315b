"""Roster: the workers of a run as Locust's master knows them, by the names under which they report.

A master that has forked its workers (``--processes``) takes no others: whoever knows its port, such as
somebody else's workers where both have Locust's own, would be dealt a part of its users.

    worker                                   master
    client_ready ────────────────────────►   held
                 ◄────────────── ack, no index
    hello, its mark ─────────────────────►   a fork: Locust takes the client_ready, and acks with an index
                 ◄───────────────────── leave    else
"""

from __future__ import annotations

import logging
import os
from typing import Any, Final

from locust.env import Environment
from locust.rpc import Message
from locust.runners import STATE_INIT, STATE_MISSING, MasterRunner

from wsoak.judge.terminal import safe
from wsoak.load.relay import HELLO, TURN_AWAY

log = logging.getLogger(__name__)

FORK_MARK: Final = os.urandom(8).hex()
"""What a process and its forks have in common, and no other: Locust imports us before it forks."""

NOT_A_FORK: Final = (
    "The master takes no workers but those that it has forked itself (--processes): start this one with a "
    "--master-port of a master that waits for it (--master)."
)

MUTE_HEARTBEATS: Final = 10
"""A worker that has sent so many, and no hello, runs no wsoak, or another version of it."""


def worker_name(index: int) -> str:
    """The name of a worker in the run's records."""
    return f"worker-{index}"


def name_of(master: MasterRunner, client_id: str) -> str:
    """The name of the worker with Locust's id."""
    return worker_name(master.get_worker_index(client_id))  # type: ignore[no-untyped-call]


def alive(master: MasterRunner, ready: bool = False) -> list[str]:
    """The workers that live and have users, so that a last report can come; ``ready``: those without too."""
    unwanted = (STATE_MISSING,) if ready else (STATE_MISSING, STATE_INIT)
    return [name_of(master, client.id) for client in master.clients.all if client.state not in unwanted]


def forked(environment: Environment) -> int:
    """How many workers Locust has forked (``--processes``); 0 for none."""
    return getattr(environment.parsed_options, "processes", None) or 0


def take_forks_only(master: MasterRunner, forks: int) -> None:
    """Keep Locust's master from taking workers other than its ``forks`` forks."""
    _ForksOnly(master, forks)


class _ForksOnly:
    """What stands between the workers' messages and Locust's master.

    A worker is held from its ``client_ready`` on until it says whose fork it is. What it sends meanwhile, and
    what comes from one that was turned away, is nobody's.
    """

    def __init__(self, master: MasterRunner, forks: int) -> None:
        self._master = master
        self._forks = forks
        self._known: set[str] = set()
        self._held: dict[str, Message] = {}
        self._heartbeats: dict[str, int] = {}
        self._turned_away: set[str] = set()
        self._locusts_own = master.handle_message
        master.handle_message = self._handle  # type: ignore[method-assign]

    def _handle(self, client_id: str, msg: Message) -> None:
        """In the place of Locust's ``handle_message``."""
        if msg.type == HELLO:
            self._hear_hello(client_id, msg.data)
        elif client_id in self._known or msg.type == "locustfile":
            self._locusts_own(client_id, msg)
        elif msg.type == "client_ready" and client_id not in self._turned_away:
            # it comes again until there is an answer; the one with the index comes when it is a fork's
            self._held[client_id] = msg
            self._master.send_message("ack", client_id=client_id)
        elif msg.type == "heartbeat" and client_id in self._held:
            self._count_heartbeat(client_id)

    def _hear_hello(self, client_id: str, data: object) -> None:
        ready = self._held.pop(client_id, None)
        if not isinstance(data, dict) or data.get("mark") != FORK_MARK:
            self._turn_away(client_id, TURN_AWAY, {"sentence": NOT_A_FORK})
            return
        self._known.add(client_id)
        if ready is not None:
            self._locusts_own(client_id, ready)

    def _count_heartbeat(self, client_id: str) -> None:
        self._heartbeats[client_id] = self._heartbeats.get(client_id, 0) + 1
        # a fork may be as slow as it likes
        if self._heartbeats[client_id] >= MUTE_HEARTBEATS and len(self._known) >= self._forks:
            del self._held[client_id]
            self._turn_away(client_id, "quit")

    def _turn_away(self, client_id: str, how: str, data: dict[str, Any] | None = None) -> None:
        self._turned_away.add(client_id)
        # it may have come before we kept watch
        if client_id in self._master.clients:
            del self._master.clients[client_id]
        log.warning("A worker was turned away, as it is no fork of this process: %s.", safe(client_id))
        self._master.send_message(how, data, client_id=client_id)
