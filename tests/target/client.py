"""A target in a process of its own, and a small client of its HTTP routes, for the tests."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as library_connect

ROOT = Path(__file__).parents[2]
PHONE, PASSWORD = "13900000002", "Test@123456"
PATIENCE_S = 60.0
PATIENT: dict[str, Any] = {"open_timeout": PATIENCE_S, "close_timeout": PATIENCE_S, "ping_interval": None}
"""Options of a ``websockets`` client that takes no pause of a busy machine for the end of its peer."""


def connect(url: str, **options: Any) -> ClientConnection:
    """An open socket of a patient client; options go before its own."""
    made: ClientConnection = library_connect(url, **PATIENT | options)
    return made


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds; fails after ``PATIENCE_S`` seconds, which no healthy machine needs."""
    give_up = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up, "it never came true"
        time.sleep(0.01)


class Account:
    """Somebody who has logged in."""

    def __init__(self, target: "Target", phone: str = PHONE) -> None:
        self.target = target
        self.phone = phone
        status, tokens = target.http("POST", "/v1/auth/login", {"phone": phone, "password": PASSWORD})
        assert status == 200, tokens
        self.access: str = tokens["access_token"]
        self.refresh: str = tokens["refresh_token"]
        self.ws: str = tokens["ws_token"]

    def http(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON body of a request with the access token."""
        return self.target.http(method, path, body, Authorization=f"Bearer {self.access}", **headers)

    def start(self, book_id: str = "santi", **headers: str) -> str:
        """A new session's id."""
        status, body = self.http("POST", "/v1/dialogues/book/start", {"book_id": book_id}, **headers)
        assert status == 200, body
        session_id: str = body["session_id"]
        return session_id

    def dialogue_url(self, session_id: str, token: str | None = None) -> str:
        """The URL of a session's socket."""
        return f"{self.target.ws}/v1/dialogues/ws/{session_id}?token={self.ws if token is None else token}"

    def dialogue(self, session_id: str, token: str | None = None) -> ClientConnection:
        """An open socket of a session."""
        return connect(self.dialogue_url(session_id, token))

    def history(self, session_id: str) -> list[dict[str, Any]]:
        """The session's exchanges."""
        status, body = self.http("GET", f"/v1/dialogues/{session_id}/history")
        assert status == 200, body
        messages: list[dict[str, Any]] = body["messages"]
        return messages


def total(samples: list[Sample], name: str, **labels: str) -> float:
    """The samples of this name that have these labels, summed up."""
    return sum(
        sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items()
    )


class Target:
    """A running target."""

    def __init__(self, process: subprocess.Popen[str], announced: dict[str, Any]) -> None:
        self.process = process
        self.pid: int = announced["pid"]
        self.url: str = announced["url"]
        self.ws = self.url.replace("http://", "ws://")
        self.port = int(self.url.rsplit(":", 1)[1])

    def http(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON body of a request; ``body`` is sent as JSON, or as it is where it is bytes."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, data, named, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        return status, json.loads(text) if text else None

    def switch(self, system: str, fault: str, on: bool = True, **params: Any) -> None:
        """Switch a fault on or off."""
        body = {"system": system, "fault": fault, "on": on, "params": params}
        status, answer = self.http("POST", "/faults", body)
        assert status == 200, answer

    @contextmanager
    def fault(self, system: str, fault: str, **params: Any) -> Iterator[None]:
        """A fault that is on for the length of a block."""
        self.switch(system, fault, **params)
        try:
            yield
        finally:
            self.switch(system, fault, on=False)

    def samples(self) -> list[Sample]:
        """All samples of ``/metrics``, of one moment."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=PATIENCE_S) as answer:
            text = answer.read().decode()
        return [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def metric(self, name: str, **labels: str) -> float:
        """A sample of ``/metrics``; 0 where there is none."""
        return total(self.samples(), name, **labels)

    def stop(self) -> int:
        """End it by SIGTERM, if it lives; returns its exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE_S)


def command(*arguments: str) -> list[str]:
    """The command line of a target on any free port."""
    return [sys.executable, "-m", "target", "--port", "0", *arguments]


@contextmanager
def running(*arguments: str, **popen: Any) -> Iterator[Target]:
    """A target that runs for the length of a block."""
    with subprocess.Popen(
        command(*arguments), cwd=ROOT, stdout=subprocess.PIPE, text=True, **popen
    ) as process:
        try:
            assert process.stdout is not None
            yield Target(process, json.loads(process.stdout.readline()))
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def closing(socket: ClientConnection) -> tuple[list[str], int, str]:
    """What still comes from a socket that the server closes: the messages, the code and the reason."""
    messages: list[str] = []
    try:
        while True:
            messages.append(str(socket.recv(PATIENCE_S)))
    except ConnectionClosed as closed:
        if closed.rcvd is None:
            return messages, 1006, ""
        return messages, closed.rcvd.code, closed.rcvd.reason
