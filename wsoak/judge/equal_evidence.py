"""Equal evidence: the sentence that says why an age, a silence or neither ended sockets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Final

from wsoak.judge import equal_ends
from wsoak.judge.words import age, counted
from wsoak.ledger.books import EndGroup
from wsoak.ledger.sample import End

SILENT_FROM_S: Final = 0.05
"""A socket that heard nothing after this age was silent from the start."""


def equal_sentence(finding: str, groups: Sequence[EndGroup]) -> str | None:
    """What tells an age or a silence from a moment, or that nothing does.

    ``None`` where that is no question.
    """
    told = _SENTENCES.get(finding)
    return told(equal_ends.of_groups(groups)) if told is not None else None


def _of_silence(ends: list[End]) -> str | None:
    silence = equal_ends.silences(ends)
    found = equal_ends.cluster(ends, silence, equal_ends.IDLE_AT_LEAST_S)
    if found is None or not found.told:
        return None
    told = (
        f"Silences of {age(found.value_s)} that began at moments up to {age(found.began_s)} apart: no one "
        "moment ended them."
    )
    if all(end.age_s - silence(end) < SILENT_FROM_S for end in found.ends):
        told += " They were silent from the start: a cap on a socket's age would look the same."
    return told


def _of_age(ends: list[End]) -> str | None:
    found = equal_ends.cluster(ends, equal_ends.age, equal_ends.AGE_AT_LEAST_S)
    if found is None:
        return None
    idle_s = [end.idle_s for end in found.ends]
    told = (
        f"They had opened at moments up to {age(found.began_s)} apart and ended at ages that differ by "
        f"{age(found.spread_s)}, with the last bytes {age(min(idle_s))} to {age(max(idle_s))} before."
    )
    if found.messages:
        told += (
            f" Each had received {counted(found.messages, 'message')}: a limit on those would look the same."
        )
    return told


def _of_neither(ends: list[End]) -> str | None:
    found = equal_ends.cluster(ends, equal_ends.age, equal_ends.AGE_AT_LEAST_S)
    if found is None or not found.untold or len(found.ends) < equal_ends.SHARE * len(ends):
        return None
    return (
        f"All of them opened within {age(found.began_s)} and ended at one same age, {age(found.value_s)}: "
        "a cap on a socket's age would look the same. Sockets that open at different times (a low "
        "--spawn-rate) tell the two apart."
    )


_SENTENCES: Final = MappingProxyType[str, Callable[[list[End]], str | None]](
    {
        "idle-timeout": _of_silence,
        "lifetime-cap": _of_age,
        **dict.fromkeys(
            ("server-crash", "connection-reset", "closed-no-status", "server-restart"), _of_neither
        ),
    }
)
