"""Outcomes: the words that records, charts, gates, findings and the live page share.

An attempt to open a socket ends in one *outcome*; an opened socket ends in one *close*. The tables
below are the only place where the words, and whose fault each is, are written down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

Whose = Literal["success", "server", "network", "generator", "nobody"]
Initiator = Literal["server", "client", "network"]

PHASES: Final = ("resolve", "tcp", "tls", "upgrade", "hello")
"""The phases of an opening, in the order in which they happen. ``hello``: a first-message log-in."""

OPEN: Final = "open"
RESOLVE_FAILED: Final = "resolve-failed"
REFUSED: Final = "refused"
UNREACHABLE: Final = "unreachable"
PROXY_FAILED: Final = "proxy-failed"
TIMEOUT_TCP: Final = "timeout-tcp"
TIMEOUT_TLS: Final = "timeout-tls"
TIMEOUT_UPGRADE: Final = "timeout-upgrade"
TIMEOUT_HELLO: Final = "timeout-hello"
RESET: Final = "reset"
EOF: Final = "eof"
TLS_FAILED: Final = "tls-failed"
BAD_UPGRADE: Final = "bad-upgrade"
HEAD_TOO_LARGE: Final = "head-too-large"
CLOSED_HELLO: Final = "closed-hello"
PORTS_EXHAUSTED: Final = "ports-exhausted"
DESCRIPTORS_EXHAUSTED: Final = "descriptors-exhausted"
SOURCE_UNUSABLE: Final = "source-unusable"
CANCELLED: Final = "cancelled"

REJECTED_PREFIX: Final = "rejected-"
TIMEOUT_PREFIX: Final = "timeout-"


@dataclass(frozen=True, slots=True)
class OutcomeMeaning:
    """What an outcome says, and whose doing it is."""

    text: str
    whose: Whose


OUTCOMES: Final[Mapping[str, OutcomeMeaning]] = MappingProxyType(
    {
        OPEN: OutcomeMeaning("the server answered 101 and kept to RFC 6455", "success"),
        RESOLVE_FAILED: OutcomeMeaning("the name look-up failed", "network"),
        REFUSED: OutcomeMeaning("nothing listens there (ECONNREFUSED)", "server"),
        UNREACHABLE: OutcomeMeaning("no route to the host or network", "network"),
        PROXY_FAILED: OutcomeMeaning("the HTTP proxy did not open a tunnel to the server", "network"),
        TIMEOUT_TCP: OutcomeMeaning("no TCP connection within the handshake time-out", "network"),
        TIMEOUT_TLS: OutcomeMeaning("the TLS handshake did not end in time", "server"),
        TIMEOUT_UPGRADE: OutcomeMeaning("no complete answer to the upgrade in time", "server"),
        TIMEOUT_HELLO: OutcomeMeaning("the first-message log-in was not answered in time", "server"),
        RESET: OutcomeMeaning("the connection was reset before the answer was complete", "server"),
        EOF: OutcomeMeaning("the connection ended before the answer was complete", "server"),
        TLS_FAILED: OutcomeMeaning("the TLS handshake failed (certificate or protocol)", "server"),
        BAD_UPGRADE: OutcomeMeaning("the server answered 101, but broke RFC 6455 section 4.1", "server"),
        HEAD_TOO_LARGE: OutcomeMeaning("the head of the answer is beyond 64 KiB", "server"),
        CLOSED_HELLO: OutcomeMeaning("closed during a first-message log-in", "server"),
        PORTS_EXHAUSTED: OutcomeMeaning("no free local port (EADDRNOTAVAIL)", "generator"),
        DESCRIPTORS_EXHAUSTED: OutcomeMeaning("no free file descriptor (EMFILE, ENFILE)", "generator"),
        SOURCE_UNUSABLE: OutcomeMeaning("no address of --source-ips can be used for this host", "generator"),
        CANCELLED: OutcomeMeaning("the run ended while the handshake was under way", "nobody"),
    }
)


def rejected(status: int) -> str:
    """The outcome of an HTTP answer other than 101, such as ``rejected-503``."""
    return f"{REJECTED_PREFIX}{status}"


def rejected_status(outcome: str) -> int | None:
    """The HTTP status inside a ``rejected-<status>`` outcome; ``None`` for any other outcome."""
    text = outcome.removeprefix(REJECTED_PREFIX)
    return int(text) if text != outcome and text.isascii() and text.isdigit() else None


def meaning(outcome: str) -> OutcomeMeaning:
    """What ``outcome`` says and whose it is.

    Raises:
        KeyError: for a word that is not in the vocabulary.
    """
    status = rejected_status(outcome)
    if status is not None:
        return OutcomeMeaning(f"the server answered {status} instead of 101", "server")
    return OUTCOMES[outcome]


def whose(outcome: str) -> Whose:
    """Whose doing ``outcome`` is; see ``meaning``."""
    return meaning(outcome).whose


def is_failure(outcome: str) -> bool:
    """Whether the outcome counts against the server or network: not open, cancelled, or our own fault."""
    return whose(outcome) in ("server", "network")


# ---------------------------------------------------------------------------------------------- closes

NO_STATUS: Final = 1005
ABNORMAL: Final = 1006

DETAIL_EOF: Final = "eof"
DETAIL_RESET: Final = "reset"
DETAIL_HEARTBEAT_LOST: Final = "heartbeat-lost"
DETAIL_CLOSE_TIMEOUT: Final = "close-timeout"
DETAIL_PROTOCOL: Final = "protocol-violation"
DETAIL_INVALID_ON_WIRE: Final = "invalid-on-wire"
DETAIL_BAD_REASON: Final = "bad-reason"

RUN_ENDED: Final = "run ended"
"""The reason of a close that the harness makes at the end of a run; never an error."""

USER_ENDED: Final = "user ended"
"""The same at the end of a user, while the run goes on: it stopped itself, failed, or was one too many."""

OF_AN_END: Final = frozenset({RUN_ENDED, USER_ENDED})
"""Reasons of closes by which nobody's work was done or lost."""

REPLY_TIMEOUT: Final = "no reply in time"
REPLY_LOST: Final = "closed before the reply"
"""How a request failed, in the words of Locust's tables."""

DROPPED: Final = "dropped by the shape"
"""The reason of a close that the run's shape asks for, to see how the users come back."""

OF_THE_RUN: Final = frozenset({*OF_AN_END, DROPPED})
"""Reasons of closes that the run makes, whatever the socket was doing."""

CloseClass = Literal[
    "normal",
    "going-away",
    "no-status",
    "abnormal",
    "protocol",
    "policy",
    "too-big",
    "server-error",
    "try-later",
    "private",
    "unknown",
]

CLOSE_CLASSES: Final[Mapping[int, CloseClass]] = MappingProxyType(
    {
        1000: "normal",
        1001: "going-away",
        1012: "going-away",
        NO_STATUS: "no-status",
        ABNORMAL: "abnormal",
        1002: "protocol",
        1003: "protocol",
        1007: "protocol",
        1010: "protocol",
        1008: "policy",
        3000: "policy",
        3003: "policy",
        4400: "policy",
        4401: "policy",
        4403: "policy",
        4404: "policy",
        1009: "too-big",
        1011: "server-error",
        1014: "server-error",
        1013: "try-later",
    }
)

CLOSE_NAMES: Final[Mapping[int, str]] = MappingProxyType(
    {
        1000: "normal closure",
        1001: "going away",
        1002: "protocol error",
        1003: "unsupported data",
        1005: "no status received",
        1006: "abnormal closure",
        1007: "invalid payload data",
        1008: "policy violation",
        1009: "message too big",
        1010: "mandatory extension",
        1011: "internal error",
        1012: "service restart",
        1013: "try again later",
        1014: "bad gateway",
        1015: "TLS handshake",
        3000: "unauthorized",
        3003: "forbidden",
    }
)
"""Names in the IANA WebSocket Close Code Number Registry."""


def close_class(code: int, extra: Mapping[int, CloseClass] = MappingProxyType({})) -> CloseClass:
    """The class of a close code, for charts and rules; ``extra`` is the user's own table and goes first."""
    if code in extra:
        return extra[code]
    if code in CLOSE_CLASSES:
        return CLOSE_CLASSES[code]
    return "private" if 4000 <= code <= 4999 else "unknown"


def close_name(code: int) -> str:
    """The registered name of a close code, ``private use`` for 4xxx, else ``unassigned``."""
    return CLOSE_NAMES.get(code) or ("private use" if 4000 <= code <= 4999 else "unassigned")


def observed_code(close_frame_received: bool, received_code: int | None) -> int:
    """The code of a connection's close as RFC 6455 section 7.1.5 defines it.

    What the first close frame received carried; 1005 when it carried none; 1006 when no close frame came.
    """
    if not close_frame_received:
        return ABNORMAL
    return NO_STATUS if received_code is None else received_code


_OWN_FAILURES: Final = frozenset({DETAIL_HEARTBEAT_LOST, DETAIL_PROTOCOL, DETAIL_CLOSE_TIMEOUT})
"""Details that make a close of our own a failure: the peer gave us the reason."""


def close_error(code: int, initiator: Initiator, detail: str, ended_by_run: bool) -> str:
    """What was wrong with a close, in a few stable words; empty for a close that is no error.

    The server may end a socket with 1000, and the client with anything that the peer did not force on it;
    what the harness closes at the end of a run is never an error.
    """
    if ended_by_run or (initiator == "server" and code == 1000):
        return ""
    if initiator == "client":
        return f"{code} {detail}" if detail in _OWN_FAILURES else ""
    if initiator == "network":
        return f"{code} {detail or close_name(code)}"
    return f"{code} {close_name(code)}, by server"
