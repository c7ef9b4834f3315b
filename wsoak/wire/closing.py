"""Closing: who closed a connection, how, and with what; RFC 6455 section 7 as decisions without I/O.

                       begin
        open ───────────────────────────► closing ──── received, lost, timed_out ────► closed
          │                                                                              ▲
          └───────── received (answered), violated, heartbeat_lost, lost ────────────────┘

Methods that give bytes give the body of the close frame to send; ``None`` where none is to be sent.
"""

from __future__ import annotations

import errno
from typing import Final, Literal

from wsoak.ledger import outcomes
from wsoak.ledger.outcomes import Initiator, observed_code
from wsoak.wire.frames import CloseFrame, Violation, close_payload, may_be_sent

Stage = Literal["open", "closing", "closed"]

_RESETS: Final = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED})

HEARTBEAT_LOST_CODE: Final = 1011


class Closing:
    """The state of one connection's close.

    Attributes:
        initiator: who sent the first close frame; ``network`` when the connection went without one.
        reason: that of the first close frame.
        sent_code, received_code: the codes in the close frames that went each way, where they had one.
        detail: a word of ``outcomes``: how a close without a close frame came about, or what was odd.
        errno: of the error that ended the byte stream.
    """

    __slots__ = (
        "detail",
        "errno",
        "frame_received",
        "frame_sent",
        "initiator",
        "reason",
        "received_code",
        "sent_code",
        "stage",
    )

    def __init__(self, over: bool = False) -> None:
        self.stage: Stage = "closed" if over else "open"
        self.initiator: Initiator | None = None
        self.reason = ""
        self.sent_code: int | None = None
        self.received_code: int | None = None
        self.frame_sent = False
        self.frame_received = False
        self.detail = ""
        self.errno: int | None = None

    def begin(self, code: int, reason: str) -> bytes | None:
        """We close.

        Raises:
            ValueError: for a code that may not be sent (section 7.4).
        """
        payload = close_payload(code, reason)
        if self.stage != "open":
            return None
        self.stage = "closing"
        self._first("client", code, reason)
        self.frame_sent = True
        return payload

    def heartbeat_lost(self) -> bytes | None:
        """The peer has been silent for too long: we say 1011, wait for no answer, and it is over."""
        payload = self.begin(HEARTBEAT_LOST_CODE, "heartbeat lost")
        if payload is not None:
            self.stage = "closed"
            self.detail = outcomes.DETAIL_HEARTBEAT_LOST
        return payload

    def received(self, frame: CloseFrame) -> bytes | None:
        """A close frame came: the first is answered with its own code (section 5.5.1), and it is over."""
        answer = None
        if self.stage == "open":
            echo = frame.code if frame.code is not None and may_be_sent(frame.code) else None
            self._first("server", echo, frame.reason)
            self.frame_sent = True
            answer = close_payload(echo)
        self.stage = "closed"
        self.frame_received = True
        self.received_code = frame.code
        if not self.detail and frame.invalid_on_wire:
            self.detail = outcomes.DETAIL_INVALID_ON_WIRE
        elif not self.detail and frame.reason_damaged:
            self.detail = outcomes.DETAIL_BAD_REASON
        return answer

    def violated(self, violation: Violation) -> bytes | None:
        """The peer broke the protocol: the connection fails (section 7.1.7), and nothing more is read."""
        payload = None
        if self.stage == "open":
            self._first("client", violation.code, violation.text)
            self.frame_sent = True
            payload = close_payload(violation.code, violation.text)
        self.stage = "closed"
        self.detail = outcomes.DETAIL_PROTOCOL
        return payload

    def lost(self, error: OSError | None) -> None:
        """The byte stream ended (``None``) or broke without a close frame."""
        self.stage = "closed"
        if self.initiator is None:
            self.initiator = "network"
        self.errno = None if error is None else error.errno
        self.detail = self.detail or _loss(error)

    def timed_out(self) -> None:
        """Our close frame was not answered in time."""
        self.stage = "closed"
        self.detail = self.detail or outcomes.DETAIL_CLOSE_TIMEOUT

    @property
    def code(self) -> int:
        """The connection's close code by section 7.1.5; 1006 while no close frame has come."""
        return observed_code(self.frame_received, self.received_code)

    @property
    def by_run(self) -> bool:
        """Whether we closed because the run, or the user, ended."""
        return self.initiator == "client" and self.reason in outcomes.OF_AN_END

    @property
    def clean(self) -> bool:
        """Whether a close frame went each way (section 7.1.4)."""
        return self.frame_sent and self.frame_received

    def _first(self, initiator: Initiator, code: int | None, reason: str) -> None:
        self.initiator = initiator
        self.sent_code = code
        self.reason = reason


def _loss(error: OSError | None) -> str:
    if error is None:
        return outcomes.DETAIL_EOF
    number = error.errno
    if number is None or number in _RESETS:
        return outcomes.DETAIL_RESET
    return errno.errorcode.get(number, str(number)).lower()
