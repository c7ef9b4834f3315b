"""Door: a way in that a server must keep shut, as the security probes try it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Door:
    """One opening with credentials that are no good; whoever gets in has found a hole.

    Attributes:
        finding: the id of the finding if it opens, such as ``forged-token-accepted``.
        name: the socket's name, as in ``connect``.
        path: with query, as in ``connect``.
        headers: as in ``connect``.
        knock: a JSON message to send after the 101, such as a hello, where the server waits for one.
        skipped: why it cannot be tried on this server, in half a sentence; empty: it is tried.
        control: what must open, or that this one is shut would show nothing; it is tried first.
    """

    finding: str
    name: str
    path: str
    headers: Sequence[tuple[str, str]] = ()
    knock: Mapping[str, Any] | None = None
    skipped: str = ""
    control: Control | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """A way in with good credentials that were made as another door's were.

    Attributes:
        otherwise: what it means if it is shut, in half a sentence.
    """

    door: Door
    otherwise: str
