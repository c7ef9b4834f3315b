"""Sources: the local addresses that sockets are bound to, in turn."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Final

from wsoak.wire.addresses import Address, family_of

IP_BIND_ADDRESS_NO_PORT: Final = 24
"""Linux: choose the port at connect, by the whole four-tuple, so that ports are not used up by bind."""

FAMILY_NAMES: Final = {int(socket.AF_INET): "IPv4", int(socket.AF_INET6): "IPv6"}


class SourceUnusable(OSError):
    """A local address cannot be used for this socket; our own fault."""


class Sources:
    """The source addresses of a dialer, by family.

    Args:
        addresses: IP addresses of this machine.

    Attributes:
        families: those of which there is an address.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        by_family: dict[int, list[str]] = {}
        for address in addresses:
            by_family.setdefault(family_of(address), []).append(address)
        self.families = frozenset(by_family)
        self._next: dict[int, Iterator[str]] = {family: cycle(some) for family, some in by_family.items()}

    def bind(self, sock: socket.SocketType, family: int) -> None:
        """Bind a socket to the next address of its family.

        Raises:
            SourceUnusable: when it is not an address of this machine.
            OSError: for want of something else.
        """
        address = next(self._next[family])
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        try:
            sock.bind((address, 0))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise SourceUnusable(error.errno, f"{address} is not an address of this machine") from error
            raise

    def none_for(self, addresses: Sequence[Address]) -> str:
        """Why none of these addresses can be connected to, in half a sentence."""
        theirs = " and ".join(sorted({FAMILY_NAMES.get(family, "other") for family, _ in addresses}))
        ours = " and ".join(sorted(FAMILY_NAMES.get(family, "other") for family in self.families))
        return f"--source-ips has {ours} alone, and the host {theirs} addresses"
