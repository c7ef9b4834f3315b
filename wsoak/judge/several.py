"""Several addresses: whether the sockets of a host went to each of its addresses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from wsoak.judge.words import counted, listed
from wsoak.ledger.books import Books
from wsoak.ledger.names import DNS, GONE, TAKES_NONE

NAMED: Final = 4
"""At most so many addresses are named in one sentence."""


def left_out(books: Books) -> Iterator[tuple[str, str]]:
    """A sentence and an advice for each host that has addresses to which no socket went.

    Addresses of a family (IPv4, IPv6) of which none was used are left aside: they are the same machines
    under other addresses, or the generator has no such network.
    """
    for host, states in _hosts(books).items():
        used = {address: books.addresses[address] for address in states if address in books.addresses}
        families = {":" in address for address in used}
        unused = [address for address in states if address not in used and (":" in address) in families]
        sockets = sum(used.values())
        if unused and sockets > len(used):
            dead = [address for address in unused if states[address] == TAKES_NONE]
            yield _sentence(host, list(used), sockets, unused, dead), _advice(dead)


def _hosts(books: Books) -> dict[str, dict[str, float]]:
    """What became of each address that a host has, by host; several workers may know different ones."""
    found: dict[str, dict[str, float]] = {}
    for (_, source, name), summary in books.gauges.items():
        host, _, address = name.rpartition(" ")
        if source == DNS and summary.last != GONE:
            states = found.setdefault(host, {})
            states[address] = max(summary.last, states.get(address, summary.last))
    return {host: dict(sorted(states.items())) for host, states in found.items()}


def _sentence(host: str, used: list[str], sockets: int, unused: list[str], dead: list[str]) -> str:
    every = len(used) + len(unused)
    if len(used) == 1:
        text = f"All {counted(sockets, 'socket')} to {host} went to {used[0]}, one of its {every} addresses"
    else:
        text = f"No socket to {host} went to {len(unused)} of its {every} addresses: {_named(unused)}"
    if not dead:
        return f"{text}."
    they = "these" if len(used) > 1 and dead == unused else _named(dead)
    return f"{text}; {they} took no connection."


def _named(addresses: list[str]) -> str:
    more = len(addresses) - NAMED
    return listed([*addresses[:NAMED], *([f"{more} more"] if more > 0 else [])])


def _advice(dead: list[str]) -> str:
    if dead:
        return "Look at whether something listens there, or leave these addresses out of the name."
    return (
        "Do not take this for a test of all that stand behind the name; `--dns select=roundrobin` takes its "
        "addresses in turn, and more sockets reach more of them."
    )
