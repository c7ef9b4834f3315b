"""API: what a server's HTTP side answered, and what it means for a run when nobody can log in."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import brotli  # type: ignore[import-untyped]
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS

from wsoak.ledger.recorder import Recorder
from wsoak.wire.headers import Headers

LOG_IN: Final = "log-in"
"""The name under which findings speak of the log-in."""

HOPELESS: Final = 5
"""After so many failed log-ins, or that of every user, and none that succeeded, the run is stopped."""

UNREADABLE: Final = (*FAILURE_EXCEPTIONS, ValueError, brotli.error)
"""What Locust's client raises on an answer that it cannot read, such as one with broken compression."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer over HTTP: ``status`` 0 when none came; ``json`` is ``None`` where there was no JSON.

    ``error`` is empty for a good answer, else a few stable words of our own. ``headers`` are by name, in any
    case; the cookies that they set are in the user's jar already.
    """

    status: int
    json: Any
    error: str
    headers: Headers = field(default_factory=Headers, compare=False)

    @property
    def ok(self) -> bool:
        """Whether the server did what it was asked."""
        return not self.error


def answer_of(response: Any, needs: Sequence[str] = (), accepts: Container[int] = ()) -> Answer:
    """The answer in a response of Locust's fast HTTP client (with ``catch_response``).

    Args:
        needs: members that the JSON object of a 2xx has.
        accepts: statuses that are as good as a 2xx.
    """
    status = response.status_code or 0
    if not status:
        cause = getattr(response, "error", None)
        return Answer(0, None, f"no answer: {type(cause).__name__}" if cause is not None else "no answer")
    headers = Headers(response.headers.items())
    if not 200 <= status < 300:
        error = "" if status in accepts else f"HTTP {status}"
        return Answer(status, _json_of(response), error, headers)
    cause = response.request_meta["exception"]
    if cause is not None:
        return Answer(status, None, unreadable(cause), headers)
    value = _json_of(response)
    missing = [name for name in needs if not isinstance(value, dict) or name not in value]
    return Answer(status, value, f"the answer lacks {missing[0]}" if missing else "", headers)


def unreadable(cause: BaseException) -> str:
    """The error for an answer that came, and could not be read; without the cause's text, which may quote."""
    return f"unreadable answer: {type(cause).__name__}"


def _json_of(response: Any) -> Any:
    try:
        # the bytes: a server's charset may be none, and JSON has its own (RFC 8259 section 8.1)
        return json.loads(response.content or b"null")
    except (*UNREADABLE, RecursionError):
        return None


# finding id, and what to do, by the status of a failed log-in
_MEANINGS: Final = {
    0: ("server-unreachable", "nothing answers at {host}: check --host, and that the server runs"),
    401: ("log-in-refused", "check the accounts: --accounts FILE, or the password in WSOAK_PASSWORD"),
    403: ("log-in-refused", "check the accounts: --accounts FILE, or the password in WSOAK_PASSWORD"),
    404: ("log-in-failed", "{host} has no such route: check --host, and which scenarios it serves"),
}
_OTHERWISE: Final = ("log-in-failed", "look at the server's log")


class LogIns:
    """How the users' log-ins went, and the end of a run in which nobody can.

    Args:
        stop: ends the run, and says why in one sentence.
        users: how many users the run is to have.
    """

    def __init__(
        self, recorder: Recorder, stop: Callable[[str], None], users: Callable[[], int] = lambda: HOPELESS
    ) -> None:
        self._recorder = recorder
        self._stop = stop
        self._users = users
        self._failures = 0
        self._successes = 0

    def succeeded(self) -> None:
        """A user is logged in."""
        self._successes += 1

    def failed(self, answer: Answer, host: str) -> None:
        """A user could not log in."""
        self._failures += 1
        finding, advice = _MEANINGS.get(answer.status, _OTHERWISE)
        self._recorder.observe(finding, LOG_IN, 1, 1, f"{LOG_IN}: {answer.error or 'not as expected'}")
        if self._failures >= min(HOPELESS, self._users()) and not self._successes:
            why = answer.error or "an answer not as expected"
            self._stop(f"Nobody can log in ({why}): {advice.format(host=host)}.")
