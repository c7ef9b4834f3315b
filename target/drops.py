"""Drops: every open socket ended at once on command, a slow come-back, and the target's own log of both.

    open sockets
     before ┤────┐ ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄  95 % ┄┄ recovered: the limit is lifted
            │    │                        ╱
            │    │                   ╱         at most ``accept_per_s`` handshakes a second,
            │    │              ╱              the others 503
          0 ┤    └────────┘
                 ├────────┤ back_after_s: every handshake 503
                 at

A socket is open from its 101 until its connection is gone, or until a drop ends it. All times are taken when
the event happens, on the loop's thread: nobody polls. Memory: a reference an open socket, and the last
``KEPT`` drops.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from target.faults import Choice, Number

KEPT = 100
"""So many drops are in the log, the latest."""

RECOVERED_PERCENT = 95
"""A drop is over when so many per cent of the sockets that were open before are open again."""

BURST_S = 0.1
"""What ``accept_per_s`` allows in so many seconds may come at once: a client's turns are lumpy."""

REASON = "dropped on command"

HOW = Choice("reset", ("reset", "eof", "close"), "how the sockets end")
BACK_AFTER_S = Number(0, 0, 3600, "seconds in which every handshake is answered 503")
ACCEPT_PER_S = Number(100, 0.01, 1_000_000, "handshakes a second that are let in after that")
CODE = Number(1012, 1000, 4999, "code of the close frame", whole=True)
ON_THE_WIRE = frozenset({*range(1000, 1004), *range(1007, 1015)})
"""Registered codes that a close frame may carry (RFC 6455, Section 7.4); 3000 to 4999 are free for use."""


class DropError(ValueError):
    """A drop that cannot be done: the text is one sentence for the person who asked."""


class Droppable(Protocol):
    """What a drop needs of a socket."""

    is_open: bool

    def reset(self) -> None:
        """End the connection by a TCP reset."""

    def end_stream(self) -> None:
        """End the connection by the end of our stream, without a close frame."""

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Start the close handshake."""


@dataclass(frozen=True, slots=True)
class DropOrder:
    """What ``POST /drop`` asks for; ``system`` ``None`` means all, ``accept_per_s`` ``None`` no limit."""

    how: str = HOW.default
    code: int = int(CODE.default)
    back_after_s: float = 0.0
    accept_per_s: float | None = None
    system: str | None = None


def read_order(body: Mapping[str, Any], systems: Sequence[str]) -> DropOrder:
    """The order in a JSON object; raises DropError."""
    unknown = set(body) - set(DropOrder.__dataclass_fields__)
    if unknown:
        known = ", ".join(DropOrder.__dataclass_fields__)
        raise DropError(f"unknown fields: {', '.join(sorted(unknown))}; the known ones are {known}")
    code = _field(body, "code", CODE)
    if code < 3000 and code not in ON_THE_WIRE:
        raise DropError(f'"code" must be one that a close frame may carry, and {code} is not')
    system = body.get("system")
    if system is not None and system not in systems:
        raise DropError(f'"system" must be one of {", ".join(systems)}, or null for all')
    return DropOrder(
        how=_field(body, "how", HOW),
        code=code,
        back_after_s=_field(body, "back_after_s", BACK_AFTER_S),
        accept_per_s=(
            None if body.get("accept_per_s") is None else _field(body, "accept_per_s", ACCEPT_PER_S)
        ),
        system=system,
    )


def _field(body: Mapping[str, Any], name: str, rule: Choice | Number) -> Any:
    value = body.get(name, rule.default)
    if isinstance(rule, Number) and isinstance(value, str):
        raise DropError(f'"{name}" must be a number, not text')
    try:
        return rule.parse(value)
    except ValueError as exc:
        raise DropError(f'"{name}" must be {exc}') from None


class Drop:
    """One drop: what it was, and how the sockets came back; times in seconds of the log's clock."""

    __slots__ = (
        "_allowance",
        "_allowed_at",
        "_back_at",
        "at",
        "attempts",
        "began",
        "order",
        "recovered_s",
        "rejected",
        "sockets",
    )

    def __init__(self, order: DropOrder, sockets: int, at: float, began: float) -> None:
        self.order = order
        self.sockets = sockets
        self.at = at
        self.began = began
        self.attempts = 0
        self.rejected = 0
        self.recovered_s: float | None = None
        self._back_at = began + order.back_after_s
        self._allowed_at = self._back_at
        self._allowance = 0.0

    @property
    def enough(self) -> int:
        """How many open sockets mean that it is over."""
        return -(-self.sockets * RECOVERED_PERCENT // 100)

    def covers(self, system: str) -> bool:
        """Whether it is about the sockets of this system."""
        return self.order.system in (None, system)

    def admits(self, now: float) -> bool:
        """Whether a handshake that is asked for now may go on; one that may uses up its share of the rate."""
        if now < self._back_at:
            return False
        rate = self.order.accept_per_s
        if rate is None or self.recovered_s is not None:
            return True
        most = max(1.0, rate * BURST_S)
        self._allowance = min(most, self._allowance + (now - self._allowed_at) * rate)
        self._allowed_at = now
        if self._allowance < 1.0:
            return False
        self._allowance -= 1.0
        return True

    def describe(self) -> dict[str, Any]:
        """The drop as an entry of ``GET /drops``."""
        order = self.order
        return {
            "at": self.at,
            "how": order.how,
            "code": order.code if order.how == "close" else None,
            "system": order.system,
            "back_after_s": order.back_after_s,
            "accept_per_s": order.accept_per_s,
            "sockets": self.sockets,
            "recovered_95_s": None if self.recovered_s is None else round(self.recovered_s, 6),
            "attempts": self.attempts,
            "rejected": self.rejected,
        }


class Drops:
    """The open sockets of every system, the handshakes let in after a drop, and the log of drops.

    ``attempts`` and ``rejected`` (answered with a status other than 101, by whomever) of a drop are counted
    until it is over, and stand still from then on.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._open: dict[str, set[Droppable]] = {}
        self._log: deque[Drop] = deque(maxlen=KEPT)
        self._pending: list[Drop] = []
        self._gate: Drop | None = None
        self._gates: dict[str, Drop] = {}

    def drop(self, order: DropOrder) -> Drop:
        """Drop the sockets; the entry in the log.

        A handshake that is under way goes on. The latest drop of a system says which handshakes are let in.
        """
        dropped = [
            (of, socket)
            for system, of in self._open.items()
            if order.system in (None, system)
            for socket in of
            if socket.is_open
        ]
        made = Drop(order, len(dropped), self._wall(), self._clock())
        self._log.append(made)
        if not dropped:
            made.recovered_s = 0.0
        self._pending = [drop for drop in self._log if drop.recovered_s is None]
        if order.system is None:
            self._gates.clear()
            self._gate = made
        else:
            self._gates[order.system] = made
        for of, socket in dropped:
            of.discard(socket)
            match order.how:
                case "reset":
                    socket.reset()
                case "eof":
                    socket.end_stream()
                case _:
                    socket.close(order.code, REASON)
        return made

    def asked(self, system: str) -> bool:
        """A handshake on a path of this system is asked for: whether it may go on."""
        for drop in self._pending:
            drop.attempts += drop.covers(system)
        gate = self._gates.get(system, self._gate)
        return gate is None or gate.admits(self._clock())

    def rejected(self, system: str) -> None:
        """A handshake was answered with a status other than 101."""
        for drop in self._pending:
            drop.rejected += drop.covers(system)

    def opened(self, system: str, socket: Droppable) -> None:
        """The 101 was sent."""
        self._open.setdefault(system, set()).add(socket)
        if self._pending:
            self._settle()

    def lost(self, system: str, socket: Droppable) -> None:
        """The connection of an opened socket is gone."""
        self._open[system].discard(socket)

    def open_sockets(self, system: str | None = None) -> int:
        """How many sockets are open, of one system or of all."""
        return sum(len(of) for name, of in self._open.items() if system in (None, name))

    def describe(self) -> list[dict[str, Any]]:
        """The log, oldest first, as ``GET /drops`` answers it."""
        return [drop.describe() for drop in self._log]

    def _settle(self) -> None:
        """Note which drops are over now."""
        for drop in self._pending:
            if self.open_sockets(drop.order.system) >= drop.enough:
                drop.recovered_s = self._clock() - drop.began
        self._pending = [drop for drop in self._pending if drop.recovered_s is None]
