"""Addresses: which address of a name the next socket goes to. Pure but for the luck of ``random``.

--dns ttl=300,select=roundrobin      how long a look-up holds, and which address is tried first
--resolve HOST:PORT:ADDRESS          what a name means instead of what a look-up says (as curl's)
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from math import isfinite
from socket import AF_INET, AF_INET6
from types import MappingProxyType
from typing import Any, Final, Literal

from wsoak.ledger.units import NS_PER_S, s_to_ns

Select = Literal["first", "roundrobin", "random"]
Address = tuple[int, Any]
"""Address family and what ``connect`` takes."""
Place = tuple[str, int]
"""Host and port."""
Pinned = Mapping[Place, Sequence[str]]
"""IP addresses by host and port; the host ``*`` stands for every other one."""
NO_PINS: Final[Pinned] = MappingProxyType({})

SELECTS: Final[tuple[Select, ...]] = ("first", "roundrobin", "random")
DEFAULT_TTL_S: Final = 300.0
DEFAULT_DNS: Final = f"ttl={DEFAULT_TTL_S:.0f},select=roundrobin"

AGAIN_NS: Final = NS_PER_S
"""After a failed connection a name is looked up again, but no sooner than this after the last time."""
AVOIDED_NS: Final = 30 * NS_PER_S
"""How long an address that takes no connections is tried last; then one socket tries it first again."""
MISSES: Final = 3
"""An address that has taken connections is avoided after so many failures in a row; another at the first."""

_UNITS_S: Final = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Policy:
    """How names are looked up.

    Attributes:
        ttl_ns: how long a look-up holds; 0: for the sockets that wait for it; ``None``: for the whole run.
        select: which address a socket tries first: the first of the look-up, each in turn, or any.
    """

    ttl_ns: int | None = s_to_ns(DEFAULT_TTL_S)
    select: Select = "roundrobin"


def parse_policy(text: str) -> Policy:
    """The policy in ``ttl=300,select=first``; what is left out has its default.

    Raises:
        ValueError: in half a sentence, when it is none.
    """
    values: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or name not in ("ttl", "select") or name in values:
            raise ValueError(f"{part!r} is not one ttl=SECONDS or one select={'|'.join(SELECTS)}")
        values[name] = value
    select = values.get("select", "roundrobin")
    if select not in SELECTS:
        raise ValueError(f"select={select} is none of {', '.join(SELECTS)}")
    return Policy(_ttl_ns(values.get("ttl", f"{DEFAULT_TTL_S}")), select)


def _ttl_ns(text: str) -> int | None:
    if text == "inf":
        return None
    digits = text.rstrip("hms")
    try:
        seconds = float(digits) * _UNITS_S[text[len(digits) :] or "s"]
    except (ValueError, KeyError):
        seconds = -1.0
    if not (isfinite(seconds) and 0 <= seconds <= 1e9):
        raise ValueError(f"ttl={text} is not a time such as 300, 5m, 0 or inf")
    return s_to_ns(seconds)


def parse_pin(text: str) -> tuple[Place, tuple[str, ...]]:
    """Host, port and addresses of ``HOST:PORT:ADDRESS[,ADDRESS]``; IPv6 addresses in brackets or bare.

    Raises:
        ValueError: in half a sentence, when it is none.
    """
    wrong = ValueError(f"{text!r} is not HOST:PORT:ADDRESS, with IPv6 addresses in brackets")
    bracket = text.find("]:") if text.startswith("[") else -1
    host, rest = (text[1:bracket], text[bracket + 2 :]) if bracket > 0 else _cut(text)
    port, rest = _cut(rest)
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise wrong
    addresses = tuple(part.strip().removeprefix("[").removesuffix("]") for part in rest.split(","))
    for address in addresses:
        try:
            ip_address(address)
        except ValueError:
            raise wrong from None
    return (host.lower(), int(port)), addresses


def _cut(text: str) -> tuple[str, str]:
    head, _, rest = text.partition(":")
    return head, rest


def pinned(texts: Iterable[str]) -> dict[Place, tuple[str, ...]]:
    """What several ``--resolve`` say together; of two for one place, the last (as curl has it).

    Raises:
        ValueError: see ``parse_pin``.
    """
    return dict(map(parse_pin, texts))


def pin_of(pins: Pinned, host: str, port: int) -> Sequence[str] | None:
    """The addresses that ``--resolve`` gives a place."""
    return pins.get((host, port)) or pins.get(("*", port)) if pins else None


def is_literal(host: str) -> bool:
    """Whether a host is an IP address, with or without a zone."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def family_of(address: str) -> int:
    """``AF_INET`` or ``AF_INET6`` of an IP address.

    Raises:
        ValueError: when it is none.
    """
    return int(AF_INET6 if ip_address(address).version == 6 else AF_INET)


def text_of(address: Address) -> str:
    """The IP address alone."""
    return str(address[1][0])


@dataclass(slots=True)
class Known:
    """The addresses of one name as of its last look-up, and what came of connections to them.

    Attributes:
        addresses: in the order of the look-up.
        asked_ns: when it was looked up.
        turn: whose turn it is, for ``roundrobin``.
    """

    addresses: list[Address]
    asked_ns: int
    policy: Policy
    turn: int = 0
    _misses: dict[Address, int] = field(default_factory=dict)
    _avoided_until_ns: dict[Address, int] = field(default_factory=dict)
    _worked: set[Address] = field(default_factory=set)
    _failed: bool = False

    def holds(self, now_ns: int) -> bool:
        """Whether it need not be looked up again."""
        ttl_ns = self.policy.ttl_ns
        if ttl_ns is None:
            return True
        return now_ns < self.asked_ns + (min(ttl_ns, AGAIN_NS) if self._failed else ttl_ns)

    def renewed(self, addresses: list[Address], now_ns: int) -> Known:
        """The same name after another look-up; what is known of an address that stays is kept."""
        known = Known(addresses, now_ns, self.policy, self.turn)
        known._misses = {each: misses for each, misses in self._misses.items() if each in addresses}
        known._avoided_until_ns = {
            each: until_ns for each, until_ns in self._avoided_until_ns.items() if each in addresses
        }
        known._worked = self._worked.intersection(addresses)
        return known

    def order(self, now_ns: int) -> list[Address]:
        """In which order a socket tries the addresses."""
        addresses = self.addresses
        if len(addresses) == 1:
            return addresses
        if not self._avoided_until_ns:
            return _alternating(self._from_its_turn(addresses))
        avoided = [address for address in addresses if address in self._avoided_until_ns]
        others = self._from_its_turn([address for address in addresses if address not in avoided])
        due = next((each for each in avoided if self._avoided_until_ns[each] <= now_ns), None)
        if due is not None:
            # one socket at a time asks whether it is back
            self._avoided_until_ns[due] = now_ns + AVOIDED_NS
            return [due, *others, *(each for each in avoided if each != due)]
        return _alternating(others) + avoided

    def worked(self, address: Address) -> bool:
        """A connection was made; whether it is news that this address takes them."""
        if address in self._worked and not self._misses:
            return False
        self._worked.add(address)
        self._misses.pop(address, None)
        return self._avoided_until_ns.pop(address, None) is not None

    def missed(self, address: Address, now_ns: int) -> bool:
        """A connection was not made; whether it is news that this address takes none."""
        self._failed = True
        misses = self._misses[address] = self._misses.get(address, 0) + 1
        if misses < MISSES and address in self._worked:
            return False
        news = address not in self._avoided_until_ns
        self._avoided_until_ns[address] = now_ns + AVOIDED_NS
        return news

    def _from_its_turn(self, addresses: list[Address]) -> list[Address]:
        select = self.policy.select
        if select == "first" or len(addresses) < 2:
            return addresses
        first = self.turn if select == "roundrobin" else random.randrange(len(addresses))
        self.turn += 1
        first %= len(addresses)
        return addresses[first:] + addresses[:first]


def _alternating(addresses: list[Address]) -> list[Address]:
    """The same in turns of the families, from the first one's on (RFC 8305 section 4)."""
    family = addresses[0][0] if addresses else 0
    same = [address for address in addresses if address[0] == family]
    if len(same) == len(addresses):
        return addresses
    others = [address for address in addresses if address[0] != family]
    both = [address for pair in zip(same, others, strict=False) for address in pair]
    shorter = len(both) // 2
    return both + same[shorter:] + others[shorter:]
