"""API: whatever an HTTP server answers is an answer with stable words, and a hopeless log-in ends the run."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from locust.contrib.fasthttp import FastHttpSession
from locust.event import EventHook

from tests.ledger.clock import Clock
from tests.wire.harness import PATIENCE_S, Peer, listening
from wsoak.ledger.records import Observation
from wsoak.load.api import HOPELESS, Answer, LogIns, answer_of


def response(
    body: bytes = b"", *headers: bytes, status: bytes = b"200 OK", length: int | None = None
) -> bytes:
    announced = len(body) if length is None else length
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % announced, *headers]
    return b"\r\n".join([*lines, b"", body])


@contextmanager
def server(answer: bytes) -> Iterator[str]:
    """A server that gives this one answer to every request, and ends the connection."""

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(answer)

    with listening(script) as listener:
        yield f"http://127.0.0.1:{listener.port}"


REQUEST: Final[Any] = EventHook()  # type: ignore[no-untyped-call]

JSON: Final = b"Content-Type: application/json"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (response(b'{"a": 1}', JSON), Answer(200, {"a": 1}, "")),
        (response(b'{"a": 1}', b"Content-Type: application/json; charset=bogus"), Answer(200, {"a": 1}, "")),
        (response('{"书": "三体"}'.encode(), JSON), Answer(200, {"书": "三体"}, "")),
        (response(b"[]", status=b"201 Created"), Answer(201, [], "")),
        (response(), Answer(200, None, "")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Answer(204, None, "")),
        (response(b"<html>", b"Content-Type: text/html"), Answer(200, None, "")),
        (response(bytes(range(128, 256)) * 3), Answer(200, None, "")),
        (response(b"[" * 100_000, JSON), Answer(200, None, "")),
        (response(b"9" * 5000, JSON), Answer(200, None, "")),
        (response(b'{"detail": "no"}', JSON, status=b"401 No"), Answer(401, {"detail": "no"}, "HTTP 401")),
        (response(b"oops", status=b"500 SECRET"), Answer(500, None, "HTTP 500")),
        (response(status=b"999 Odd"), Answer(999, None, "HTTP 999")),
        (response(status=b"302 Found"), Answer(302, None, "HTTP 302")),
        (response(b"x", b"Content-Encoding: gzip", status=b"503 Busy"), Answer(0, None, "no answer: error")),
        (response(b"x", b"Content-Encoding: gzip"), Answer(200, None, "unreadable answer: error")),
        (
            response(gzip.compress(b"[1]" * 99)[:-12], b"Content-Encoding: gzip"),
            Answer(200, None, "unreadable answer: error"),
        ),
        (response(b'{"a":', JSON, length=50), Answer(200, None, "unreadable answer: HTTPParseError")),
        (b"", Answer(0, None, "no answer: HTTPConnectionClosed")),
        (b"\x00\x01 SECRET\r\n\r\n", Answer(0, None, "no answer: HTTPParseError")),
    ],
    ids=range(20),
)
def test_an_answer_is_what_came_or_a_few_stable_words(answer: bytes, expected: Answer) -> None:
    with server(answer) as url:
        session = FastHttpSession(
            url, REQUEST, None, network_timeout=PATIENCE_S, connection_timeout=PATIENCE_S
        )
        with session.request("GET", "/x", catch_response=True) as got:
            found = answer_of(got)
            got.success()
    assert found == expected
    assert found.ok is (expected.error == "")


def test_nothing_listening_is_no_answer() -> None:
    with server(b"") as url:
        pass
    session = FastHttpSession(url, REQUEST, None, connection_timeout=PATIENCE_S)
    with session.request("GET", "/x", catch_response=True) as got:
        assert answer_of(got) == Answer(0, None, "no answer: ConnectionRefusedError")
        got.success()


HOST: Final = "http://127.0.0.1:1"
ADVICE: Final[list[tuple[Answer, str, str]]] = [
    (
        Answer(0, None, "no answer: ConnectionRefusedError"),
        "server-unreachable",
        f"nothing answers at {HOST}",
    ),
    (Answer(401, None, "HTTP 401"), "log-in-refused", "WSOAK_PASSWORD"),
    (Answer(403, None, "HTTP 403"), "log-in-refused", "--accounts"),
    (Answer(404, None, "HTTP 404"), "log-in-failed", f"{HOST} has no such route"),
    (Answer(500, None, "HTTP 500"), "log-in-failed", "the server's log"),
    (Answer(200, None, ""), "log-in-failed", "an answer not as expected"),
]


class Stops(list[str]):
    """The sentences with which the run was stopped."""


def log_ins(users: int) -> tuple[LogIns, Stops, Any]:
    recorder, stops = Clock().recorder(), Stops()
    return LogIns(recorder, stops.append, lambda: users), stops, recorder


@pytest.mark.parametrize(("answer", "finding", "advice"), ADVICE)
@pytest.mark.parametrize("users", [1, 3, HOPELESS, 1000])
def test_a_log_in_that_fails_for_all_stops_the_run_with_one_sentence(
    answer: Answer, finding: str, advice: str, users: int
) -> None:
    told, stops, recorder = log_ins(users)
    needed = min(users, HOPELESS)
    for failures in range(1, needed + 1):
        assert stops == []
        told.failed(answer, HOST)
        assert (failures == needed) is bool(stops)
    (sentence,) = stops
    assert sentence.startswith("Nobody can log in (")
    assert advice in sentence
    observations: list[Observation] = recorder.take().observations
    assert [(each.id, each.count, each.of) for each in observations] == [(finding, 1, 1)] * needed


def test_failures_beside_a_success_are_no_reason_to_stop() -> None:
    told, stops, _ = log_ins(1000)
    told.succeeded()
    for _ in range(10 * HOPELESS):
        told.failed(ADVICE[1][0], HOST)
    assert stops == []
