"""Names: what sockets and calls are called in the books where the scenario gives no name.

A name stands for all sockets of one kind: figures, findings and the back-off go by it. A path that holds an
id would be a kind of its own each time, so ids become ``{id}``: ``/rooms/42/ws`` is ``/rooms/{id}/ws``.
"""

from __future__ import annotations

import re
from typing import Final

ID: Final = "{id}"

_UUID: Final = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)

_WHOLE: Final = (
    # tokens and random ids of any alphabet: JSON Web Tokens, nanoids, Firebase keys
    re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*\d)[\w.~%=+-]{20,}"),
)
"""A segment of one of these forms is an id as a whole."""

_PIECE: Final = (
    re.compile(r"\d+"),
    # hashes, object ids
    re.compile(r"(?=.*\d)[0-9a-f]{8,}", re.IGNORECASE),
    # ULIDs, KSUIDs
    re.compile(r"(?=(?:.*\d){2})(?=.*[A-Za-z])[0-9A-Za-z]{16,}"),
)
"""A part of a segment, between the separators, of one of these forms is an id."""

_SEPARATORS: Final = re.compile(r"([-_.:,;=@~])")

_NUMBERED: Final = re.compile(r"([^\W\d]+)\d{3,}")
"""A word with a number of three digits or more, such as ``user1042``; ``v2`` and ``oauth2`` are words."""


def name_of(path: str) -> str:
    """The name of what is asked for at this path: without query, ids as ``{id}``; ``/`` where it is empty."""
    bare = path.partition("?")[0]
    return "/".join(map(_segment, bare.split("/"))) or "/"


def _segment(segment: str) -> str:
    segment = _UUID.sub(ID, segment)
    if any(form.fullmatch(segment) for form in _WHOLE):
        return ID
    return "".join(map(_piece, _SEPARATORS.split(segment)))


def _piece(piece: str) -> str:
    if any(form.fullmatch(piece) for form in _PIECE):
        return ID
    numbered = _NUMBERED.fullmatch(piece)
    return piece if numbered is None else numbered[1] + ID
