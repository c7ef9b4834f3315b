"""Answers: what a path answers to one handshake, by a client of its own, so that no book of a run has it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from gevent.pool import Pool

from wsoak.ledger import outcomes
from wsoak.ledger.outcomes import rejected_status
from wsoak.ledger.recorder import Recorder
from wsoak.ledger.units import s_to_ns
from wsoak.wire.client import Client, Opener, Settings
from wsoak.wire.dial import Alarm, Opening, Request, read_answer
from wsoak.wire.endpoint import Endpoint
from wsoak.wire.handshake import HeadParser, build_request, new_key

HANDSHAKE_S: Final = 3.0
SETTLE_S: Final = 0.3
"""A server that accepts first, and then refuses, has closed the socket by then."""
CLOSE_S: Final = 1.0
AT_ONCE: Final = 4

UNASKABLE: Final = "cannot be asked for"
"""In an outcome's place: the request cannot be sent."""

_VERSION: Final = b"Sec-WebSocket-Version: 13\r\n"
_NO_VERSION: Final = b"Sec-WebSocket-Version: 0\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a handshake.

    Attributes:
        outcome: a word of ``ledger.outcomes``.
        body: the start of the body of an answer other than 101: the server's text.
        stays: whether a socket that opened is still open after ``SETTLE_S``.
        code: with which close code it was closed, otherwise.
    """

    outcome: str
    body: str = ""
    stays: bool = False
    code: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether the server answered 101."""
        return self.outcome == outcomes.OPEN

    @property
    def status(self) -> int | None:
        """The HTTP status; ``None`` where there was no whole answer."""
        return 101 if self.is_open else rejected_status(self.outcome)

    @property
    def words(self) -> str:
        """``101``, ``101, then closed with 1008``, ``404``, or the outcome."""
        if self.is_open:
            return "101" if self.stays else f"101, then closed with {self.code}"
        return str(self.status or self.outcome)


class Prober:
    """Makes handshakes for a look at their answers; ends with its ``with`` block.

    Args:
        settings: of the run's own client, so that it goes the same way, such as through its source addresses.
        opener: the half of the client that the run uses.
        patience_s: how long an opening may take, where the run's own time-out is not shorter.
    """

    def __init__(
        self,
        settings: Settings,
        tls: ssl.SSLContext | None,
        opener: Callable[[Client, ssl.SSLContext | None], Opener],
        patience_s: float = HANDSHAKE_S,
    ) -> None:
        patience_s = min(settings.handshake_timeout_s, patience_s)
        settings = replace(settings, handshake_timeout_s=patience_s, heartbeat_s=0.0)
        self.client = Client(Recorder("probe"), settings, tls, opener=opener)
        self._timeout_ns = s_to_ns(patience_s)

    def answer(self, endpoint: Endpoint, request: Request) -> Answer:
        """What one handshake gets; a socket that opens is closed in order."""
        try:
            connection = self.client.open(endpoint, request, "probe")
        except ValueError:
            # such as a path with a semicolon, which websocket-client does not ask for
            return Answer(UNASKABLE)
        if connection.outcome != outcomes.OPEN:
            return Answer(connection.outcome, connection.opening.body)
        # no message is the one that it waits for: it comes back at the close, or when the time is over
        connection.expect(lambda _: False, SETTLE_S)
        stays = connection.is_open
        connection.close(1000, timeout=CLOSE_S)
        return Answer(connection.outcome, stays=stays, code=None if stays else connection.code)

    def answers(self, endpoint: Endpoint, request: Request, paths: Sequence[str]) -> list[Answer]:
        """What each of these paths, from the server's root on, gets with the request's headers; in order."""
        root = replace(endpoint, prefix="", query="")
        pool = Pool(AT_ONCE)
        try:
            return list(pool.map(lambda path: self.answer(root, replace(request, path=path)), paths))
        finally:
            pool.kill()

    def refuses_everybody(self, endpoint: Endpoint, path: str, status: int) -> bool:
        """Whether even a handshake of no version of the protocol gets this status.

        A server that takes handshakes looks at the version first, and answers 426 or 400 (RFC 6455 section
        4.2.2). What refuses even this one, such as a gateway, has not looked for a route.
        """
        key = new_key()
        head = build_request(endpoint.authority, path, key, endpoint.headers(())).replace(
            _VERSION, _NO_VERSION
        )
        parser = HeadParser(key, ())

        def upgrade(opening: Opening, alarm: Alarm) -> None:
            assert opening.stream is not None
            opening.stream.send(head)
            result = read_answer(opening.stream, parser, alarm)
            opening.failed(outcomes.EOF if result is None else result.outcome)

        opening = self.client.dialer.connect(endpoint, self._timeout_ns, upgrade)
        return rejected_status(opening.outcome) == status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop(CLOSE_S)
