"""Consequences: a generator's own trouble is told once, as its cause with what came of it.

A process that has no CPU runs late, sends late and counts late. Three doubts with three pieces of advice
would look like three troubles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from wsoak.judge.doubt import Doubt

CAUSES: Final = ("generator-starved", "generator-saturated", "hub-lag", "send-lag")
"""By precedence; each may come of those before it."""
LITTLES: Final = frozenset({"littles-law-sockets", "littles-law-requests"})


def told_once(found: Sequence[Doubt]) -> list[Doubt]:
    """The doubts, with those that come of another one within it."""
    by_id = {doubt.id: doubt for doubt in found}
    causes = [by_id[id_] for id_ in CAUSES if id_ in by_id]
    came = [*causes[1:], *(doubt for doubt in found if doubt.id in LITTLES)]
    if not causes or not came:
        return list(found)
    reason = " ".join((causes[0].reason, "What came of it:", *(doubt.reason for doubt in came)))
    whole = replace(causes[0], reason=reason, invalid=any(doubt.invalid for doubt in (causes[0], *came)))
    return [whole if doubt is causes[0] else doubt for doubt in found if doubt not in came]
