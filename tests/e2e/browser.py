"""Browser: a page in a real Chromium, asked through its DevTools protocol."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import websocket

from tests.e2e.processes import PATIENCE_S, eventually

PROGRAM: Final = shutil.which("chromium") or shutil.which("chromium-browser")


class Page:
    """One page, and its text as a reader sees it."""

    def __init__(self, socket: websocket.WebSocket) -> None:
        self._socket = socket
        self._sent = 0

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        self._sent += 1
        asked = {"expression": expression, "returnByValue": True}
        self._socket.send(json.dumps({"id": self._sent, "method": "Runtime.evaluate", "params": asked}))
        while (answer := json.loads(self._socket.recv())).get("id") != self._sent:
            pass
        return answer["result"]["result"].get("value")

    @property
    def text(self) -> str:
        """All that can be read."""
        return str(self.evaluate("document.body.innerText"))

    def click(self, text: str, then: str = "") -> None:
        """Click the button or tab with this text, once it is there; again until the page shows ``then``.

        A page that has just come does not listen yet.
        """
        found = _button(text)
        self.offers(text)
        self.evaluate(f"{found}.click()")
        if then:
            again = f"{found}?.click()"
            eventually(lambda: self.has(then) or self.evaluate(again), f"{text} leads to {then}", 1.0)

    def offers(self, text: str) -> None:
        """Wait until there is a button or tab with this text."""
        eventually(lambda: self.evaluate(f"!!{_button(text)}"), f"there is a button {text}", 0.2)

    def has(self, text: str) -> bool:
        """Whether the page has this text, in whatever case its style shows it."""
        return text.lower() in self.text.lower()

    def shows(self, text: str) -> None:
        """Wait until the page has this text."""
        eventually(lambda: self.has(text), f"the page shows {text!r}", 0.2)


def _button(text: str) -> str:
    return (
        "[...document.querySelectorAll('button, [role=tab], a')]"
        f".find(each => each.innerText.trim().toLowerCase() === {json.dumps(text.lower())})"
    )


@contextlib.contextmanager
def browsing(url: str, folder: Path) -> Iterator[Page]:
    """A page at this address; skips where there is no Chromium."""
    if PROGRAM is None:
        pytest.skip("Chromium is not installed")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0")
    process = subprocess.Popen(
        [PROGRAM, *options, "--remote-allow-origins=*", f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        port_file = folder / "DevToolsActivePort"
        eventually(lambda: port_file.exists() and port_file.read_text().count("\n"), "Chromium listens")
        port = port_file.read_text().split("\n")[0]
        request = urllib.request.Request(f"http://127.0.0.1:{port}/json/new?{url}", method="PUT")
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            target = json.load(answer)
        socket = websocket.create_connection(target["webSocketDebuggerUrl"], timeout=PATIENCE_S)
        with contextlib.closing(socket):
            yield Page(socket)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
