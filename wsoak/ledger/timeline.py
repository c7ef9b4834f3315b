"""Timeline: what happened in one second under one name, as counters that add up.

A name is a socket's, a message's or a check's; a row holds zeros for what does not concern it.
"""

from __future__ import annotations

from operator import add
from typing import Final

ARRIVALS: Final = "arrivals"
"""The name under which the sessions of the open model are counted; it is no socket's."""

OTHER_NAMES: Final = "(other names)"
"""The name under which a recorder counts whatever has a new name when there are ``NAMES_LIMIT`` of them."""

NAMES_LIMIT: Final = 500
"""Names of one process. Each costs some 0.1 ms a second; a name for each socket would stall the generator."""

COUNTERS: Final = (
    # openings, by the second in which they ended
    "opened",
    "failed",
    "generator_failed",
    "cancelled",
    "usable",
    # ends of opened sockets
    "closed",
    # messages, by the socket's name
    "sent",
    "received",
    "requests_sent",
    "replies_received",
    "bytes_sent",
    "bytes_received",
    "send_on_closed",
    "pings",
    "pongs",
    # requests, by the message's name
    "requests",
    "replies",
    "reply_timeouts",
    "reply_lost",
    "late_replies",
    "unmatched",
    "dropped",
    # sessions of the open model
    "arrived",
    "served",
    "unserved",
    # the scenario's own checks and counts
    "check_passed",
    "check_failed",
    "metric_count",
    "metric_sum",
    # paced messages
    "sent_early",
    # HTTP calls, by method and name
    "http_ok",
    "http_failed",
    # requests and pushes again, by the socket's name
    "unanswered",
    "overrun",
    # payloads of replies, by the message's name
    "reply_bytes",
)
"""The counters' names, in the order of a row.

``opened`` handshakes that succeeded; ``failed`` those that the server or network failed; ``generator_failed``
those that we failed; ``usable`` sockets whose first expected message came; ``closed`` opened sockets that
ended. ``requests_sent`` are those of ``sent`` that ask for an answer, ``replies_received`` those of
``received`` that are one. ``requests`` = ``replies`` + ``reply_timeouts`` + ``reply_lost`` (the socket closed
first) + still in flight. ``late_replies`` came after their time-out; ``unmatched`` are
messages with the id of no request in flight, such as events of a subscription, and go to ``expect`` and
``subscribe``; ``dropped`` messages that answer no request, and that a full inbox could not keep.
``http_ok`` and ``http_failed`` calls as Locust judged them, under ``http_name``.
``unanswered`` are those of ``requests_sent`` that timed out; ``overrun`` messages for which the queue of a
``subscribe`` handler had no room.
``reply_bytes`` those of ``bytes_received`` that answered in time.
``arrived`` = ``served`` + ``unserved`` (waited longer than their patience) + still waiting.
``sent_early`` messages left before the time for which they were meant: there should be none.
"""

CounterRow = tuple[float, ...]
"""One value a counter, in the order of ``COUNTERS``; all but ``metric_sum`` are whole."""

ZERO: Final[CounterRow] = (0,) * len(COUNTERS)


def http_name(method: str, name: str) -> str:
    """The name under which calls of this method and name are counted: ``POST /login``."""
    return f"{method} {name}"


def http_parts(name: str) -> tuple[str, str]:
    """The method and name that ``http_name`` was made of."""
    method, _, of = name.partition(" ")
    return method, of


def plus(left: CounterRow, right: CounterRow) -> CounterRow:
    """Both rows' counters added up."""
    return tuple(map(add, left, right))


def value(row: CounterRow, counter: str) -> float:
    """One counter of a row, by its name."""
    return row[_INDEX[counter]]


_INDEX: Final = {counter: index for index, counter in enumerate(COUNTERS)}
