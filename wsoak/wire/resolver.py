"""Resolver: look-ups of names, one for many sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

from gevent import socket as cooperative_socket
from gevent.event import AsyncResult

from wsoak.ledger.names import GONE, TAKES, TAKES_NONE
from wsoak.wire.addresses import (
    Address,
    Known,
    Pinned,
    Place,
    Policy,
    family_of,
    is_literal,
    pin_of,
    text_of,
)

Note = Callable[[str, str, float], None]
"""Takes host, address, and ``TAKES``, ``TAKES_NONE`` or ``GONE``."""

DEFAULT: Final = Policy()
_FOR_EVER: Final = Policy(ttl_ns=None)


class Resolver:
    """Name look-ups, each of which serves the openings of its time to live (``Policy.ttl_ns``).

    Openings that begin while a look-up is under way wait for that one. An IP address, and a name that is
    pinned, is never looked up again.

    Args:
        pins: addresses that are taken without a look-up.
        turn: whose turn it is first, so that workers do not all begin with the same address.
        note: is told of what becomes of each address.
    """

    def __init__(
        self,
        policy: Policy = DEFAULT,
        pins: Pinned | None = None,
        turn: int = 0,
        note: Note = lambda *_: None,
    ) -> None:
        self._policy = policy
        self._pins = pins or {}
        self._turn = turn
        self._note = note
        self._known: dict[Place, Known] = {}
        self._under_way: dict[Place, AsyncResult] = {}

    def known(self, host: str, port: int) -> Known | None:
        """What is known of the name, where it need not be looked up."""
        known = self._known.get((host, port))
        if known is not None:
            return known if known.holds(time.perf_counter_ns()) else None
        pin = pin_of(self._pins, host, port)
        return None if pin is None else self._keep((host, port), pinned_addresses(pin, port), _FOR_EVER)

    def resolve(self, host: str, port: int) -> Known:
        """Look the name up, cooperatively.

        Raises:
            OSError, UnicodeError: when there is no such name.
        """
        while (under_way := self._under_way.get((host, port))) is not None:
            under_way.wait()
            if isinstance(under_way.exception, (OSError, UnicodeError)):
                raise under_way.exception
            if under_way.successful():
                found: Known = under_way.value
                return found
            # whoever asked was killed, and the next one asks
        return self._ask(host, port)

    def _ask(self, host: str, port: int) -> Known:
        answer = self._under_way[host, port] = AsyncResult()
        try:
            found = cooperative_socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = [(int(family), address) for family, _, _, _, address in found]
            policy = _FOR_EVER if is_literal(host) else self._policy
            known = self._keep((host, port), list(dict.fromkeys(addresses)), policy)
        except BaseException as error:
            answer.set_exception(error)
            raise
        else:
            answer.set(known)
        finally:
            del self._under_way[host, port]
        return known

    def _keep(self, place: Place, addresses: list[Address], policy: Policy) -> Known:
        now_ns = time.perf_counter_ns()
        before = self._known.get(place)
        if before is None:
            known = Known(addresses, now_ns, self._selecting(policy), self._turn)
        else:
            known = before.renewed(addresses, now_ns)
        self._known[place] = known
        was = before.addresses if before is not None else []
        for address in addresses:
            if address not in was:
                self._note(place[0], text_of(address), TAKES)
        for address in was:
            if address not in addresses:
                self._note(place[0], text_of(address), GONE)
        return known

    def _selecting(self, policy: Policy) -> Policy:
        return Policy(policy.ttl_ns, self._policy.select)

    def worked(self, host: str, known: Known, address: Address) -> None:
        """A connection to this address was made."""
        if known.worked(address):
            self._note(host, text_of(address), TAKES)

    def missed(self, host: str, known: Known, address: Address) -> None:
        """None was made: it is tried last for a while, and the name is looked up again soon."""
        if known.missed(address, time.perf_counter_ns()):
            self._note(host, text_of(address), TAKES_NONE)


def pinned_addresses(pin: Sequence[str], port: int) -> list[Address]:
    """IP addresses as ``connect`` takes them."""
    return [_pinned_address(address, port) for address in pin]


def _pinned_address(address: str, port: int) -> Address:
    family = family_of(address)
    if family == socket.AF_INET:
        return family, (address, port)
    host, _, zone = address.partition("%")
    return family, (host, port, 0, socket.if_nametoindex(zone) if zone else 0)
