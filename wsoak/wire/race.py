"""Race: TCP connections to the addresses of one name; the first that is there wins (RFC 8305 section 5).

    begin ─► 250 ms without an answer, or a failure ─► the next begins beside it ─► … ─► one is connected

Few names have more than one address, and then most first attempts win: the common way costs one ``connect``.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gevent import get_hub
from gevent.event import Event

from wsoak.ledger.units import NS_PER_MS, NS_PER_S
from wsoak.wire.addresses import Address
from wsoak.wire.stream import WRITE

HEAD_START_NS: Final = 250 * NS_PER_MS
"""Connection Attempt Delay: how long an address is waited for alone."""

OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS})
"""With these no other address can be connected to either."""

NOT_THEIRS: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAGAIN, errno.EINVAL})
"""These say nothing of the address that was to be connected to: no local port, or no such source address."""

_UNDER_WAY: Final = frozenset({errno.EINPROGRESS, errno.EALREADY})

Begin = Callable[[Address], "tuple[socket.SocketType, bool]"]
"""Begins to connect: the socket, and whether it is connected already. Raises OSError."""


@dataclass(slots=True, eq=False)
class _Attempt:
    address: Address
    sock: socket.SocketType
    watcher: Any


class Race:
    """One opening's attempts to connect.

    Args:
        begin: begins to connect to an address; see ``begin_connecting``.
        missed: is told of each address that took no connection, or took longer than a later one.
        head_start_ns: see ``HEAD_START_NS``.
    """

    def __init__(
        self, begin: Begin, missed: Callable[[Address], None], head_start_ns: int = HEAD_START_NS
    ) -> None:
        self._begin = begin
        self._missed = missed
        self._head_start_ns = head_start_ns
        self._under_way: list[_Attempt] = []
        self._answered: list[_Attempt] = []
        self._news: Event | None = None
        self._error: OSError | None = None

    @property
    def unanswered(self) -> list[Address]:
        """The addresses that were being connected to when the race was ended from outside."""
        return [attempt.address for attempt in self._under_way]

    def run(self, addresses: Sequence[Address]) -> tuple[socket.SocketType, Address]:
        """Connect to one of these, tried in this order; all other sockets are closed afterwards.

        Raises:
            OSError: what the last one failed with, when none can be connected to.
            BaseException: what is thrown into the calling greenlet.
        """
        winner: socket.SocketType | None = None
        try:
            winner, address = self._run(deque(addresses))
            return winner, address
        finally:
            for attempt in self._under_way:
                attempt.watcher.stop()
                attempt.watcher.close()
                if attempt.sock is not winner:
                    attempt.sock.close()

    def _run(self, left: deque[Address]) -> tuple[socket.SocketType, Address]:
        next_ns = 0
        while left or self._under_way:
            now_ns = time.perf_counter_ns()
            if left and (not self._under_way or now_ns >= next_ns):
                connected = self._start(left.popleft())
                if connected is not None:
                    return connected
                next_ns = time.perf_counter_ns() + self._head_start_ns
                continue
            self._wait((next_ns - now_ns) / NS_PER_S if left else None)
            while self._answered:
                attempt = self._answered.pop(0)
                number = attempt.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                number = number or itself(attempt.sock, attempt.address)
                if not number:
                    return self._won(attempt)
                self._failed(attempt, OSError(number, os.strerror(number)))
                # whoever waits need not wait for the rest of the head start
                next_ns = 0
        assert self._error is not None
        raise self._error

    def _start(self, address: Address) -> tuple[socket.SocketType, Address] | None:
        try:
            sock, connected = self._begin(address)
        except OSError as error:
            if error.errno in OURS:
                raise
            self._error = error
            if error.errno not in NOT_THEIRS:
                self._missed(address)
            return None
        if connected:
            self._beaten(self._under_way)
            return sock, address
        attempt = _Attempt(address, sock, get_hub().loop.io(sock.fileno(), WRITE))
        self._under_way.append(attempt)
        attempt.watcher.start(self._answer, attempt)
        return None

    def _wait(self, timeout_s: float | None) -> None:
        """Until an attempt has its answer, or it is time for another."""
        if self._news is None:
            self._news = Event()
        if not self._answered:
            self._news.clear()
            self._news.wait(timeout_s)

    def _answer(self, attempt: _Attempt) -> None:
        attempt.watcher.stop()
        self._answered.append(attempt)
        if self._news is not None:
            self._news.set()

    def _won(self, winner: _Attempt) -> tuple[socket.SocketType, Address]:
        self._beaten(self._under_way[: self._under_way.index(winner)])
        return winner.sock, winner.address

    def _beaten(self, attempts: list[_Attempt]) -> None:
        for attempt in attempts:
            self._missed(attempt.address)

    def _failed(self, attempt: _Attempt, error: OSError) -> None:
        self._error = error
        self._under_way.remove(attempt)
        attempt.watcher.close()
        attempt.sock.close()
        self._missed(attempt.address)


def begin_connecting(sock: socket.SocketType, address: Address) -> bool:
    """Have a non-blocking socket begin to connect; whether it is connected already.

    Raises:
        OSError: when it cannot be.
    """
    number = sock.connect_ex(address[1])
    if number == errno.EINPROGRESS:
        # asked again, the kernel says how far it is: on the loopback it is done by now, and a turn of the
        # hub would be most of the phase
        number = sock.connect_ex(address[1])
        if number in _UNDER_WAY:
            return False
    if number == errno.EISCONN:
        number = 0
    number = number or itself(sock, address)
    if number:
        raise OSError(number, os.strerror(number))
    return True


def itself(sock: socket.SocketType, address: Address) -> int:
    """``ECONNREFUSED`` for a socket that TCP has connected with itself, else 0.

    Where nothing listens, and the kernel chose the very port that we asked for, TCP connects a socket with
    itself, and the server could not even start while we hold its port.
    """
    return errno.ECONNREFUSED if sock.getsockname() == address[1] else 0
