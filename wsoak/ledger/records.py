"""Records: what the ledger keeps of a connection attempt, a reading, an observation, a scenario's exception.

Records are frozen and flat: they are rows. Each record class lists its fields in the order of its
columns, and turns into a row of plain values and back (``as_row`` / ``from_row``).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple, Self

from wsoak.ledger.outcomes import OF_AN_END, USER_ENDED, Initiator


class Row:
    """A frozen record whose fields are the columns of a file."""

    __slots__ = ()
    COLUMNS: ClassVar[tuple[str, ...]]

    def as_row(self) -> list[Any]:
        """The fields' values in the order of ``COLUMNS``: ``None``, bool, int, float or str."""
        return [getattr(self, column) for column in self.COLUMNS]

    @classmethod
    def from_row(cls, row: list[Any]) -> Self:
        """The record that ``as_row`` gave ``row``.

        Raises:
            ValueError: when the row has another number of fields.
        """
        if len(row) != len(cls.COLUMNS):
            raise ValueError(f"{cls.__name__}: {len(row)} fields, wanted {len(cls.COLUMNS)}")
        return cls(*row)


class _ConnectionFields(NamedTuple):
    """One connection attempt, from the first look-up to the last byte.

    Durations are in milliseconds and are ``None`` where the phase was not reached, failed, or was not
    needed (a name resolved before). All fields from ``age_s`` on, but for ``opening``, are ``None`` or empty
    unless the outcome is ``open``.
    """

    id: str
    """Unique in the run: ``<worker index>.<count>``."""
    worker: str
    name: str
    """The scenario's name for this kind of socket."""
    path: str
    """The path asked for, with the values of its query masked."""
    started_at: float
    """Unix time in seconds of the start of the attempt."""
    outcome: str
    """A word of ``outcomes``."""
    phase: str
    """The phase in which a failed attempt ended; empty for an open one."""
    status: int | None
    """The HTTP status of the answer, where one came."""
    error: str
    """What failed, in stable words of our own."""
    body: str
    """The start of the body of an answer other than 101: the server's text."""
    resolve_ms: float | None
    tcp_ms: float | None
    tls_ms: float | None
    upgrade_ms: float | None
    hello_ms: float | None
    usable_ms: float | None
    """From the start of the attempt to the first message that the scenario expected."""
    usable: bool | None
    """Whether that message came. ``None``: nothing was expected, or the run ended before it was known."""
    attempt: int
    """0 for a user's first attempt at this socket, then 1, 2, … for its reconnects."""
    age_s: float | None
    """From the server's 101 to the end."""
    code: int | None
    """The close code by RFC 6455 section 7.1.5: received, else 1005 or 1006."""
    sent_code: int | None
    received_code: int | None
    reason: str
    """The reason in the close frame that came first: the server's text where the server sent it."""
    initiator: Initiator | None
    """Who sent the first close frame; ``network`` when nobody did."""
    clean: bool | None
    """Whether a close frame went each way."""
    detail: str
    """How a 1006 came about (``eof``, ``reset``, ``heartbeat-lost``, …), or what was odd about the close."""
    errno: int | None
    state: str
    """The scenario's own word for what the socket was doing at its end."""
    server_error: str
    """The error message that the server sent last before the close, where it sent one: the server's text."""
    idle_s: float | None
    """Seconds between the last bytes received and the end."""
    messages_sent: int
    messages_received: int
    bytes_sent: int
    """Payload bytes of messages sent."""
    bytes_received: int
    opening: int | None = None
    """How many handshakes of this name the process had under way when this one began, itself included;
    ``None`` in a run of a wsoak that did not count them."""
    quiet_s: float | None = None
    """Seconds between the last message received, control frames left out, and the end; ``None`` in a run of a
    wsoak that did not measure it."""
    address: str = ""
    """The IP address that the socket went to, or that was tried last; empty where none was tried, and in a
    run of a wsoak that did not keep it."""
    headers: str = ""
    """Headers of an answer other than 101 that say what it means, a line ``Name: value`` each: Location,
    Retry-After and others; cookies and the queries of URLs are masked. The server's text."""
    waited_s: float | None = None
    """Seconds from the failure of this user's last attempt at this socket to the start of this one; ``None``
    where the last one did not fail, and in a run of a wsoak that did not measure it."""


class ConnectionRecord(_ConnectionFields, Row):
    """One connection attempt, with what follows from its fields.

    A tuple, other than the other records: there is one for each of thousands of handshakes a second, and a
    tuple is made in half the time, and is a row already.
    """

    __slots__ = ()

    @property
    def handshake_ms(self) -> float:
        """The phases that ended, added up."""
        # not a loop: it is asked for each of thousands of records a second
        return (
            (self.resolve_ms or 0.0)
            + (self.tcp_ms or 0.0)
            + (self.tls_ms or 0.0)
            + (self.upgrade_ms or 0.0)
            + (self.hello_ms or 0.0)
        )

    @property
    def ended_at(self) -> float:
        """Unix time in seconds of the end; of the last phase that ended, where the opening failed."""
        return self.started_at + self.handshake_ms / 1000 + (self.age_s or 0.0)

    @property
    def ended_by_run(self) -> bool:
        """Whether the harness closed it because the run, or its user, ended."""
        return self.initiator == "client" and self.reason in OF_AN_END

    @property
    def ended_by_user(self) -> bool:
        """Whether that was the end of its user, while the run went on."""
        return self.initiator == "client" and self.reason == USER_ENDED

    def as_row(self) -> list[Any]:
        """See ``Row``."""
        return list(self)


@dataclass(frozen=True, slots=True)
class Gauge(Row):
    """One reading of a value that goes up and down: CPU, memory, descriptors, lag, open sockets, users."""

    at: float
    """Unix time in seconds."""
    worker: str
    source: str
    """What was read: ``generator``, ``target``, or the user's own word."""
    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Observation(Row):
    """A fact that a scenario established and that no record of a socket shows, such as a lost message."""

    at: float
    worker: str
    id: str
    """The finding that it speaks for, such as ``history-lost``."""
    name: str
    """The name of the socket or system it was seen on."""
    count: int
    """How many things were wrong; 0 where the check passed."""
    of: int
    """How many things were looked at."""
    text: str
    """Evidence in a few words; may hold the server's text."""


@dataclass(frozen=True, slots=True)
class UserError(Row):
    """Exceptions of one kind that the scenario's own code raised between two hand-outs of a recorder."""

    at: float
    """Unix time in seconds of the first."""
    worker: str
    user: str
    """The class of the user; empty where nobody knows it."""
    where: str
    """What was called: ``on_start``, ``on_stop``, ``task``, or a callback: ``reply_id``, ``expect``, …."""
    error: str
    """Its type, and what it names; see ``raised.Raised``. The exception's own text is not kept."""
    place: str
    """File, line and function in the scenario's own code."""
    count: int


ConnectionRecord.COLUMNS = ConnectionRecord._fields
for _record in (Gauge, Observation, UserError):
    _record.COLUMNS = tuple(field.name for field in fields(_record))
