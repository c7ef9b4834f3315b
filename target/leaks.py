"""Leaks: what a server never gives back, at known rates, for a soak to find.

    leak-memory    memory  ╱   kib_per_s × seconds + kib_per_message × messages, page by page
    leak-sessions  sockets ╱   of those whose clients have gone: the share, at most ``per_s`` a second

No client notices either of them. A kept socket has ended its stream, so that its client sees the end that it
expects; the server keeps its descriptor and goes on to count it as open, while the application was told that
it is gone. Both are given back when their fault is switched off. Times in seconds of the leaks' clock.
"""

import asyncio
import contextlib
import logging
import mmap
import socket
import time
from collections.abc import Callable
from typing import Protocol

from target.faults import Active, Faults

logger = logging.getLogger(__name__)

TICK_S = 0.1
"""How often leaked memory grows."""

BLOCK_BYTES = 1 << 20
"""Memory is asked for in blocks of so many bytes, and leaks in pages of them."""

PAGE_BYTES = mmap.PAGESIZE
HUGE_PAGES = getattr(mmap, "MADV_NOHUGEPAGE", None)


class LeakedMemory:
    """Memory that is allocated, written to and never used: the resident set grows by as much.

    It comes from the system in mappings of its own, and goes back there at once: what a real leak frees may
    well stay with the allocator.
    """

    def __init__(self) -> None:
        self._blocks: list[mmap.mmap] = []
        self._touched = 0

    @property
    def size(self) -> int:
        """How many bytes are held: whole pages."""
        return self._touched

    def grow_to(self, size: int) -> None:
        """Hold so many bytes, rounded down to whole pages; never less than before."""
        while self._touched + PAGE_BYTES <= size:
            block, at = divmod(self._touched, BLOCK_BYTES)
            if block == len(self._blocks):
                self._blocks.append(_mapping())
            # an untouched page takes no memory
            self._blocks[block][at] = 0xAA
            self._touched += PAGE_BYTES

    def free(self) -> None:
        """Give all of it back to the system."""
        for block in self._blocks:
            block.close()
        self._blocks.clear()
        self._touched = 0


def _mapping() -> mmap.mmap:
    made = mmap.mmap(-1, BLOCK_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if HUGE_PAGES is not None:
        # a huge page would take 2 MiB at its first byte; a kernel without them knows no such advice
        with contextlib.suppress(OSError):
            made.madvise(HUGE_PAGES)
    return made


class Duplicable(Protocol):
    """What a leak needs of a transport's socket."""

    def dup(self) -> socket.socket:
        """A socket with a descriptor of its own for the same connection."""


class LeakedSockets:
    """Descriptors of connections that are over, and what is to be said of each when it is released."""

    def __init__(self) -> None:
        self._kept: list[tuple[socket.socket, Callable[[], None]]] = []

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, of: Duplicable, released: Callable[[], None]) -> bool:
        """Keep the descriptor, the stream ended; False where the process has no more of them.

        Args:
            released: called when it is given back.
        """
        try:
            kept = of.dup()
        except OSError as exc:
            logger.warning("no socket is leaked any more: %s", exc.strerror)
            return False
        # the client's wait for our end must end; one that reset the connection waits for nothing
        with contextlib.suppress(OSError):
            kept.shutdown(socket.SHUT_WR)
        self._kept.append((kept, released))
        return True

    def release(self) -> None:
        """Close all of them."""
        for kept, released in self._kept:
            kept.close()
            released()
        self._kept.clear()


class Leaks:
    """Both leaks of one server: ``switched`` says what is on, ``strikes`` which sockets are to be kept."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.memory = LeakedMemory()
        self.sockets = LeakedSockets()
        self._clock = clock
        self._received: Callable[[], int] = lambda: 0
        self._growing: Active | None = None
        self._grows_since = 0.0
        self._received_before = 0
        self._timer: asyncio.TimerHandle | None = None
        self._keeping: Active | None = None
        self._keeps_since = 0.0

    def switched(self, faults: Faults, received: Callable[[], int]) -> None:
        """Faults were switched: begin what is new, and give back what is off.

        Args:
            received: how many messages the server has received.
        """
        growing, keeping = faults.active("server", "leak-memory"), faults.active("server", "leak-sessions")
        if growing is not self._growing:
            self._end_growth()
            self._growing, self._received = growing, received
            self._grows_since, self._received_before = self._clock(), received()
            if growing is not None:
                self._grow()
        if keeping is not self._keeping:
            self.sockets.release()
            self._keeping, self._keeps_since = keeping, self._clock()

    def strikes(self, system: str) -> bool:
        """A client has ended a socket of this system: whether to keep it.

        At most ``per_s`` × seconds are kept, so that a busy second makes up for idle ones.
        """
        fault = self._keeping
        if fault is None or fault.params["only"] not in ("all", system):
            return False
        due = fault.params["per_s"] * (self._clock() - self._keeps_since)
        return fault.hits + 1 <= due and fault.strikes()

    def _grow(self) -> None:
        fault = self._growing
        assert fault is not None
        params = fault.params
        kib = params["kib_per_s"] * (self._clock() - self._grows_since)
        kib += params["kib_per_message"] * (self._received() - self._received_before)
        try:
            self.memory.grow_to(int(1024 * min(kib, 1024 * params["most_mib"])))
        except OSError as exc:
            logger.warning("no memory is leaked any more: %s", exc.strerror)
            return
        # a hit is a KiB
        fault.hits = self.memory.size // 1024
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._grow)

    def _end_growth(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.memory.free()
