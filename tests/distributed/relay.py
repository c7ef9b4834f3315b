"""Relay: TCP between a worker and its master, which a test can cut off and join again."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class TcpRelay:
    """Passes bytes on, between whoever connects and one port of the loopback interface.

    Attributes:
        port: where it listens.
    """

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._cut = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Break what is connected, with what is on its way, and refuse what comes."""
        self._cut.set()

    def join(self) -> None:
        """Let everything through again."""
        self._cut.clear()

    def stop(self) -> None:
        """End it."""
        self._over.set()
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while not self._over.is_set():
            readable, _, _ = select.select([self._listener, *self._pairs], [], [], 0.02)
            for each in readable:
                if each is self._listener:
                    self._accept()
                elif each in self._pairs:
                    self._pass_on(each)
            if self._cut.is_set():
                self._break_all()
        self._break_all()

    def _accept(self) -> None:
        ours, _ = self._listener.accept()
        if self._cut.is_set():
            ours.close()
            return
        with suppress(OSError):
            theirs = socket.create_connection(("127.0.0.1", self._to_port))
            self._pairs |= {ours: theirs, theirs: ours}
            return
        ours.close()

    def _pass_on(self, source: socket.socket) -> None:
        sink = self._pairs[source]
        with suppress(OSError):
            data = source.recv(65536)
            sink.sendall(data)
            if data:
                return
        self._break(source)

    def _break(self, one: socket.socket) -> None:
        other = self._pairs.pop(one)
        del self._pairs[other]
        one.close()
        other.close()

    def _break_all(self) -> None:
        while self._pairs:
            self._break(next(iter(self._pairs)))


@contextmanager
def relaying(to_port: int) -> Iterator[TcpRelay]:
    """A relay for the length of a block."""
    relay = TcpRelay(to_port)
    try:
        yield relay
    finally:
        relay.stop()
