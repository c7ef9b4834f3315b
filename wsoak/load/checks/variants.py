"""Variants: where else a route may be, by the ways in which routes are registered wrongly. Pure.

    /api/v1/ws/tasks/7
    └─ lead ──┘└ rest ┘

``moved``: the lead lacks a part, or has one more, such as ``/ws/tasks/7`` or ``/tasks/7/``. ``doubled``: a
part is there twice, such as ``/api/v1/api/v1/ws/tasks/7``. ``bare``: the lead is gone, such as ``/tasks/7``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["moved", "doubled", "bare"]

VERSION: Final = re.compile(r"api|v\d+", re.IGNORECASE)
SOCKET: Final = re.compile(r"wss?|websockets?|sockets?", re.IGNORECASE)

ADDED: Final = (
    ("api",),
    ("v1",),
    ("api", "v1"),
    ("ws",),
    ("api", "ws"),
    ("v1", "ws"),
    ("api", "v1", "ws"),
)
DOUBLED: Final = (("api", "v1", "api", "v1"), ("api", "v1", "ws", "api", "v1", "ws"), ("api", "api"))

MOST: Final = 40
"""Never more variants than this of one path."""

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Variant:
    """A path, with the query of the one that it is a variant of, and how it differs from that."""

    path: str
    kind: Kind


def variants(path: str) -> list[Variant]:
    """The variants of an absolute path, with or without a query, without itself; at most ``MOST``.

    One that can be had in two ways is of the first kind in the order ``moved``, ``doubled``, ``bare``.
    """
    plain, mark, query = path.partition("?")
    words = tuple(word for word in plain.split("/") if word)
    found: dict[str, Kind] = {}
    for kind, candidate in _candidates(words, slash=plain.endswith("/") and bool(words)):
        if candidate != plain and candidate not in found:
            found[candidate] = kind
    return [Variant(candidate + mark + query, kind) for candidate, kind in found.items()][:MOST]


def impossible(unique: str) -> str:
    """A path that no server has. ``unique``: text of letters and digits that nobody foresaw."""
    return f"/wsoak-no-such-route-{unique}"


def _candidates(words: Words, slash: bool) -> Iterator[tuple[Kind, str]]:
    lead, rest = _split(words)
    end = "/" if slash else ""
    for kind, found in _by_words(lead, rest):
        if found:
            yield kind, f"/{'/'.join(found)}{end}"
    if words:
        # some routers have a route with its last slash, and no other
        yield "moved", f"/{'/'.join(words)}{'' if slash else '/'}"


def _split(words: Words) -> tuple[Words, Words]:
    """The words that routes are mounted under, and those that name something; the last one always does."""
    count = 0
    while count < len(words) - 1 and (VERSION.fullmatch(words[count]) or SOCKET.fullmatch(words[count])):
        count += 1
    return words[:count], words[count:]


def _by_words(lead: Words, rest: Words) -> Iterator[tuple[Kind, Words]]:
    version = tuple(word for word in lead if VERSION.fullmatch(word))
    socket = lead[len(version) :]
    for start in range(1, len(lead)):
        yield "moved", lead[start:] + rest
    if version and socket:
        yield "moved", version + rest
    elif lead:
        yield "moved", rest
    for added in ADDED:
        # what begins with it already would have it twice
        if (lead + rest)[: len(added)] != added:
            twice = bool(set(added) & set(lead))
            yield "doubled" if twice else "moved", added + lead + rest
            if lead and not twice:
                yield "moved", lead + added + rest
    yield from (("doubled", twice) for twice in _doubled(version, socket, rest))
    for kept in (2, 1):
        if len(lead + rest) > kept:
            yield "bare", (lead + rest)[-kept:]
    if lead:
        yield "bare", rest


def _doubled(version: Words, socket: Words, rest: Words) -> Iterator[Words]:
    lead = version + socket
    if version:
        yield version + lead + rest
    if version and socket:
        yield lead + lead + rest
    if socket:
        yield lead + socket + rest
    if version:
        yield version[:1] + lead + rest
        yield version + version[-1:] + socket + rest
    if rest:
        yield lead + rest[:1] + rest
    # where the client lacks the very prefix that the server has twice
    for doubled in DOUBLED:
        if not version:
            yield doubled + (rest if doubled[-1] == "ws" else lead + rest)
