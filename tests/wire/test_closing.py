"""Closing is a pure state machine: each row of the table is one story, event by event."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import Any

import pytest

from wsoak.wire.closing import Closing
from wsoak.wire.frames import CloseFrame, Violation

RESET = OSError(errno.ECONNRESET, "reset")


@dataclass
class Story:
    """Events as method, arguments and the payload that is to be sent; then what the record says."""

    events: list[tuple[str, tuple[Any, ...], bytes | None]]
    code: int
    initiator: str
    clean: bool
    rest: dict[str, Any] = field(default_factory=dict)


def begin(code: int = 1000, reason: str = "", sent: bytes | None = b"\x03\xe8") -> Any:
    """We close."""
    return "begin", (code, reason), sent


def received(code: int | None, sent: bytes | None, reason: str = "", **flags: bool) -> Any:
    """The server's close frame comes."""
    return "received", (CloseFrame(code, reason, **flags),), sent


BROKEN = ("violated", (Violation(1002, "bad"),))
SILENT = ("timed_out", (), None)


STORIES = {
    "the server closes": Story(
        [received(1001, b"\x03\xe9", "bye")],
        1001,
        "server",
        True,
        {"reason": "bye", "sent_code": 1001, "received_code": 1001, "detail": ""},
    ),
    "the server closes without a code": Story(
        [received(None, b"")], 1005, "server", True, {"sent_code": None, "received_code": None}
    ),
    "the server sends a code that may not be sent": Story(
        [received(1006, b"", invalid_on_wire=True)],
        1006,
        "server",
        True,
        {"received_code": 1006, "sent_code": None, "detail": "invalid-on-wire"},
    ),
    "the server's reason is damaged": Story(
        [received(1011, b"\x03\xf3", "a�", reason_damaged=True)],
        1011,
        "server",
        True,
        {"detail": "bad-reason"},
    ),
    "we close, the server answers": Story(
        [begin(4000, "done", b"\x0f\xa0done"), received(4000, None)],
        4000,
        "client",
        True,
        {"reason": "done", "sent_code": 4000},
    ),
    "we close, and its own close crosses ours": Story(
        [begin(), received(1001, None, "restart")],
        1001,
        "client",
        True,
        {"reason": "", "sent_code": 1000, "received_code": 1001},
    ),
    "we close twice, once is sent": Story(
        [begin(), begin(4000, "x", None), received(1000, None)], 1000, "client", True
    ),
    "we close, nobody answers": Story([begin(), SILENT], 1006, "client", False, {"detail": "close-timeout"}),
    "we close, the stream ends": Story(
        [begin(), ("lost", (None,), None)], 1006, "client", False, {"detail": "eof", "errno": None}
    ),
    "we close, the stream breaks": Story(
        [begin(), ("lost", (RESET,), None)],
        1006,
        "client",
        False,
        {"detail": "reset", "errno": errno.ECONNRESET},
    ),
    "the stream ends": Story([("lost", (None,), None)], 1006, "network", False, {"detail": "eof"}),
    "the stream breaks": Story([("lost", (RESET,), None)], 1006, "network", False, {"detail": "reset"}),
    "a send fails": Story(
        [("lost", (BrokenPipeError(errno.EPIPE, "pipe"),), None)], 1006, "network", False, {"detail": "reset"}
    ),
    "TLS breaks": Story(
        [("lost", (ConnectionAbortedError(None, "TLS"),), None)], 1006, "network", False, {"detail": "reset"}
    ),
    "the kernel gives up": Story(
        [("lost", (OSError(errno.ETIMEDOUT, "time"),), None)], 1006, "network", False, {"detail": "etimedout"}
    ),
    "the heartbeat is lost": Story(
        [("heartbeat_lost", (), b"\x03\xf3heartbeat lost")],
        1006,
        "client",
        False,
        {"sent_code": 1011, "detail": "heartbeat-lost"},
    ),
    "the heartbeat is lost while we close": Story(
        [begin(), ("heartbeat_lost", (), None), SILENT], 1006, "client", False, {"detail": "close-timeout"}
    ),
    "the server breaks the protocol": Story(
        [(*BROKEN, b"\x03\xeabad")],
        1006,
        "client",
        False,
        {"sent_code": 1002, "reason": "bad", "detail": "protocol-violation"},
    ),
    "the server breaks the protocol while we close": Story(
        [begin(), (*BROKEN, None)],
        1006,
        "client",
        False,
        {"sent_code": 1000, "reason": "", "detail": "protocol-violation"},
    ),
}


@pytest.mark.parametrize("name", STORIES)
def test_a_close_is_told_as_it_went(name: str) -> None:
    story = STORIES[name]
    closing = Closing()
    for method, arguments, sent in story.events:
        assert closing.stage != "closed"
        assert getattr(closing, method)(*arguments) == sent
    assert closing.stage == "closed"
    assert (closing.code, closing.initiator, closing.clean) == (story.code, story.initiator, story.clean)
    assert {name: getattr(closing, name) for name in story.rest} == story.rest


def test_a_close_of_ours_is_under_way_until_its_answer() -> None:
    closing = Closing()
    stages = [closing.stage]
    closing.begin(1000, "")
    stages.append(closing.stage)
    assert stages == ["open", "closing"]
    assert not closing.clean


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000])
def test_a_code_that_may_not_be_sent_changes_nothing(code: int) -> None:
    closing = Closing()
    with pytest.raises(ValueError, match=str(code)):
        closing.begin(code, "")
    assert closing.stage == "open"
    assert closing.initiator is None


def test_an_opening_that_failed_is_over_and_closes_without_a_word() -> None:
    closing = Closing(over=True)
    assert closing.stage == "closed"
    assert closing.begin(1000, "") is None
    assert closing.initiator is None
