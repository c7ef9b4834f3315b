"""Faults: the table of every incident that the target can reproduce, and the set of those that are on.

``FAULTS`` is the single source of names, parameters, defaults and descriptions: the command line,
``/faults`` and the handlers all read it. A fault whose ``upgrade`` is set acts on the opening handshake, in
the protocol class; any other is asked for by name where it acts (``faults.active("dialogue",
"lost-history")``).
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Value = str | int | float
Params = dict[str, Any]

SOCKET_SYSTEMS = ("echo", "dialogue", "roadmap", "call", "voice", "tasks")
"""Systems with socket routes, which the faults of ``server`` can be narrowed to."""


class FaultError(ValueError):
    """A fault that cannot be switched: the text is one sentence for the person who asked."""


@dataclass(frozen=True, slots=True)
class Number:
    """A parameter that is a number within bounds, both included."""

    default: int | float
    low: float
    high: float
    doc: str
    whole: bool = False

    def parse(self, value: object) -> Value:
        """The value as a number; raises ValueError with the bounds otherwise."""
        expected = f"{'a whole number' if self.whole else 'a number'} from {self.low:g} to {self.high:g}"
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(expected)
        try:
            number = float(value)
        except (ValueError, OverflowError):
            raise ValueError(expected) from None
        if not self.low <= number <= self.high or (self.whole and not number.is_integer()):
            raise ValueError(expected)
        return int(number) if self.whole else number


@dataclass(frozen=True, slots=True)
class Choice:
    """A parameter that is one of a few words."""

    default: str
    words: tuple[str, ...]
    doc: str

    def parse(self, value: object) -> Value:
        """The word; raises ValueError with the known ones otherwise."""
        if not isinstance(value, str) or value not in self.words:
            raise ValueError("one of " + ", ".join(self.words))
        return value


@dataclass(frozen=True, slots=True)
class Text:
    """A parameter that is free text, of at most ``longest`` characters."""

    default: str
    longest: int
    doc: str

    def parse(self, value: object) -> Value:
        """The text; raises ValueError where it is too long."""
        if not isinstance(value, str) or len(value) > self.longest:
            raise ValueError(f"text of at most {self.longest} characters")
        return value


Parameter = Number | Choice | Text


@dataclass(frozen=True, slots=True)
class Delay:
    """Hold the handshake back for a while, then go on."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Reject:
    """Answer the handshake with an HTTP status other than 101."""

    status: int
    body: str


@dataclass(frozen=True, slots=True)
class Reset:
    """Answer the handshake with a TCP reset."""


@dataclass(frozen=True, slots=True)
class Eof:
    """End the connection before any answer."""


Step = Delay | Reject | Reset | Eof


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table: what the fault does, its parameters, its step in the handshake if it has one."""

    doc: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    upgrade: Callable[[Params], Step] | None = None


SHARE = Number(1.0, 0.0001, 1.0, "share hit: every (1/share)-th of them, evenly spaced")
ONLY = Choice("all", ("all", *SOCKET_SYSTEMS), "the system whose sockets are hit")


FAULTS: dict[str, dict[str, Fault]] = {
    "dialogue": {
        "datetime-crash": Fault(
            "A reply holds a datetime that JSON cannot take: close 1008, no error message, never a reply.",
            {
                "when": Choice(
                    "accept", ("accept", "message"), "at which reply: the greeting, or the first answer"
                )
            },
        ),
        "session-denied": Fault(
            'Every session belongs to somebody else: error "Session access denied", then close 1008.'
        ),
        "lost-history": Fault(
            "Acknowledged messages are missing from the history.",
            {"share": Number(0.05, 0.0001, 1.0, "share lost: every (1/share)-th message of the server")},
        ),
    },
    "call": {
        "nil-user": Fault(
            "The handler finds no user where one should be, and panics in the upgrade: never a 101.",
            {
                "answer": Choice(
                    "500", ("500", "none"), "what the client gets: a 500, or the end of its connection"
                )
            },
            lambda params: Eof() if params["answer"] == "none" else Reject(500, "Internal Server Error"),
        ),
        "anonymous-accepted": Fault(
            "Sockets without a token are let in, as test-user-1, test-user-2, …: a door is open."
        ),
        "stale-sessions": Fault(
            "Calls that were hung up, or lost their sockets, stay open: their parties are busy for ever.",
            {"share": Number(1.0, 0.0001, 1.0, "share kept: every (1/share)-th call that ends")},
        ),
    },
    "voice": {
        "close-after-hello": Fault(
            "After the answer to a hello the socket is closed without a status (the client sees 1005).",
            {"share": SHARE},
        ),
        "drop-mid-utterance": Fault(
            "While a device speaks, its connection ends by a TCP reset (1006, ECONNRESET).",
            {
                "share": SHARE,
                "frame": Number(8, 1, 1000, "frame of the utterance at which it ends", whole=True),
            },
        ),
        "deaf": Fault(
            "From the start of an utterance on: no answer, no ping, no pong; TCP stays open.",
            {"share": SHARE},
        ),
    },
    "tasks": {
        "reject-before-accept": Fault(
            "Authentication runs before accept: handshakes are answered 403, and nobody is told why.",
            {"share": SHARE},
            lambda _: Reject(403, ""),
        ),
        "slow-auth": Fault(
            "Each handshake waits for a slow look-up through a small pool of connections, first come, first "
            "served: from pool × time-out / delay handshakes at once on they time out.",
            {
                "pool": Number(4, 1, 10_000, "look-ups at a time", whole=True),
                "delay_s": Number(0.5, 0, 3600, "seconds that a look-up takes"),
            },
        ),
        "doubled-prefix": Fault(
            "The feed answers under a wrong prefix: api is /api/v1/api/v1/ws/…, ws is "
            "/api/v1/ws/api/v1/ws/…, bare is /tasks/….",
            {
                "form": Choice("api", ("api", "ws", "bare", "all"), "under which prefix"),
                "also": Choice("no", ("no", "yes"), "whether it answers under the right one too"),
            },
        ),
        "proxy-reset": Fault(
            "A proxy in front resets the connection during the upgrade (ECONNRESET).",
            {"share": SHARE},
            lambda _: Reset(),
        ),
        "token-expiry": Fault(
            "The server ends tokens before their exp and drops their sockets; the old token gets 1008.",
            {"after_s": Number(30, 0.1, 1_000_000, "seconds after a token's iat")},
        ),
    },
    "roadmap": {
        "wrong-prefix": Fault(
            "The socket route is somewhere else altogether: handshakes where it belongs are answered 404."
        ),
        "send-after-close": Fault(
            "The handler fails while it sends, as it has closed the socket already: the socket ends.",
            {
                "how": Choice("close", ("close", "drop"), "by a close frame with 1011, or without one (EOF)"),
                "after": Number(3, 1, 1000, "events after which the socket ends", whole=True),
                "share": SHARE,
            },
        ),
        "lost-events": Fault(
            "Progress events are stored and never published: gaps in seq.",
            {"share": Number(0.1, 0.0001, 1.0, "share lost: every (1/share)-th progress event")},
        ),
    },
    "server": {
        "reject": Fault(
            "Handshakes are answered with an HTTP status and a body.",
            {
                "status": Number(403, 200, 599, "HTTP status", whole=True),
                "body": Text("", 4096, "body of the answer, plain text"),
                "share": SHARE,
                "only": ONLY,
            },
            lambda params: Reject(params["status"], params["body"]),
        ),
        "missing-route": Fault(
            "Every socket path is unknown: handshakes are answered 404.",
            {"share": SHARE, "only": ONLY},
            lambda _: Reject(404, "Not Found"),
        ),
        "reset-in-upgrade": Fault(
            "Handshakes are answered with a TCP reset (ECONNRESET).",
            {"share": SHARE, "only": ONLY},
            lambda _: Reset(),
        ),
        "eof-in-upgrade": Fault(
            "Connections end in the handshake, before any answer.",
            {"share": SHARE, "only": ONLY},
            lambda _: Eof(),
        ),
        "slow-upgrade": Fault(
            "Handshakes are answered late.",
            {"delay_s": Number(1.0, 0, 3600, "seconds"), "share": SHARE, "only": ONLY},
            lambda params: Delay(params["delay_s"]),
        ),
        "capacity": Fault(
            "Messages of all systems are taken one after the other, so many a second; those that find no "
            "room in the queue close their socket with 1013.",
            {
                "per_s": Number(100, 0.1, 1_000_000, "messages a second that can be answered"),
                "queue": Number(10_000, 1, 100_000, "messages that may wait, 64 MiB at most", whole=True),
            },
        ),
        "leak-memory": Fault(
            "Memory grows by so much a second and a message, and is never used; a hit is a KiB. It goes back "
            "to the system when the fault is switched off.",
            {
                "kib_per_s": Number(100, 0, 1_000_000, "KiB a second"),
                "kib_per_message": Number(0, 0, 1_000_000, "KiB more a message received"),
                "most_mib": Number(2048, 1, 1_000_000, "MiB at which it stops"),
            },
        ),
        "leak-sessions": Fault(
            "Sockets whose clients have gone keep their descriptors, and their place in the server's count; "
            "clients see nothing of it. They are released when the fault is switched off.",
            {
                "share": Number(1.0, 0.0001, 1.0, "share kept: every (1/share)-th socket that a client ends"),
                "per_s": Number(1_000_000, 0.0001, 1_000_000, "at most so many a second, since it is on"),
                "only": ONLY,
            },
        ),
    },
}


def known_faults() -> list[str]:
    """Every fault as ``system:fault``, in the table's order."""
    return [f"{system}:{name}" for system, faults in FAULTS.items() for name in faults]


def fault_row(system: str, name: str) -> Fault:
    """The table's row; raises FaultError with what is known otherwise."""
    if system not in FAULTS:
        raise FaultError(f"unknown system {system!r}: the systems with faults are {', '.join(FAULTS)}")
    if name not in FAULTS[system]:
        raise FaultError(f"unknown fault {system}:{name}: the known faults are {', '.join(known_faults())}")
    return FAULTS[system][name]


def checked_params(system: str, name: str, given: Mapping[str, object]) -> Params:
    """Every parameter of a fault, as given or else by default; raises FaultError with what is allowed."""
    row = fault_row(system, name)
    for key in given:
        if key not in row.parameters:
            known = f"its parameters are {', '.join(row.parameters)}" if row.parameters else "it has none"
            raise FaultError(f"unknown parameter {key!r} of {system}:{name}: {known}")
    params: Params = {}
    for key, parameter in row.parameters.items():
        try:
            params[key] = parameter.parse(given.get(key, parameter.default))
        except ValueError as exc:
            raise FaultError(f"{key}={given[key]!r} of {system}:{name} must be {exc}") from None
    return params


@dataclass(frozen=True, slots=True)
class FaultChoice:
    """A fault as somebody asked for it: checked names and checked parameters."""

    system: str
    name: str
    params: Params


def parse_fault(text: str) -> FaultChoice:
    """``SYSTEM:FAULT[:key=value]…`` read and checked; raises FaultError.

    A part without ``=`` belongs to the value before it, so that a value may hold a colon.
    """
    system, _, rest = text.partition(":")
    name, *parts = rest.split(":")
    if not name:
        raise FaultError(
            f"{text!r} is not SYSTEM:FAULT[:key=value]…: the known faults are {', '.join(known_faults())}"
        )
    given: dict[str, str] = {}
    key = ""
    for part in parts:
        if "=" in part:
            key, _, value = part.partition("=")
            given[key] = value
        elif key:
            given[key] += ":" + part
        else:
            raise FaultError(f"{part!r} in {text!r} is not key=value")
    return FaultChoice(system, name, checked_params(system, name, given))


@dataclass(slots=True)
class Active:
    """A fault that is on: its parameters, and how often it was asked for and hit since."""

    params: Params
    asked: int = 0
    hits: int = 0

    def strikes(self) -> bool:
        """Whether this occasion is hit: a share of 0.05 hits the 20th, the 40th, … occasion.

        Counting rather than drawing lots makes a short run hit what it must.
        """
        share: float = self.params.get("share", 1.0)
        self.asked += 1
        due = math.floor(self.asked * share + 1e-9)
        if due <= self.hits:
            return False
        self.hits = due
        return True


class Faults:
    """The faults that are on; what is asked of it on a hot path is one dictionary look-up."""

    def __init__(self, choices: Iterable[FaultChoice] = ()) -> None:
        self._active: dict[tuple[str, str], Active] = {}
        self._hits_before: dict[tuple[str, str], int] = {}
        for choice in choices:
            self.switch_on(choice)

    def switch_on(self, choice: FaultChoice) -> None:
        """Switch a fault on; one that is on already starts anew with these parameters."""
        self.switch_off(choice.system, choice.name)
        self._active[choice.system, choice.name] = Active(dict(choice.params))

    def switch_off(self, system: str, name: str) -> None:
        """Switch a fault off; no error where it is off already."""
        active = self._active.pop((system, name), None)
        if active is not None:
            self._hits_before[system, name] = self._hits_before.get((system, name), 0) + active.hits

    def active(self, system: str, name: str) -> Active | None:
        """The fault where it is on, or else None."""
        return self._active.get((system, name))

    def strikes(self, system: str, name: str) -> bool:
        """Whether the fault is on and hits this occasion."""
        active = self._active.get((system, name))
        return active is not None and active.strikes()

    def upgrade_steps(self, system: str) -> list[Step]:
        """What the faults do to a handshake on a path of this system: delays first; often nothing."""
        steps: list[Step] = []
        for (of, name), active in self._active.items():
            row = FAULTS[of][name]
            if row.upgrade is None or of not in ("server", system):
                continue
            if active.params.get("only", "all") in ("all", system) and active.strikes():
                steps.append(row.upgrade(active.params))
        return sorted(steps, key=lambda step: not isinstance(step, Delay))

    def hits(self) -> dict[tuple[str, str], int]:
        """How often each fault that was ever on has hit, by (system, fault)."""
        total = dict(self._hits_before)
        for key, active in self._active.items():
            total[key] = total.get(key, 0) + active.hits
        return total

    def describe(self) -> dict[str, object]:
        """``{"known": [...], "active": [...]}`` for ``GET /faults``."""
        known = [
            {
                "system": system,
                "fault": name,
                "doc": row.doc,
                "params": {
                    key: {"default": parameter.default, "doc": parameter.doc}
                    for key, parameter in row.parameters.items()
                },
            }
            for system, faults in FAULTS.items()
            for name, row in faults.items()
        ]
        active = [
            {"system": system, "fault": name, "params": fault.params, "hits": fault.hits}
            for (system, name), fault in self._active.items()
        ]
        return {"known": known, "active": active}
