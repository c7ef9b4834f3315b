"""Option names: a locustfile's own option with the name of one of ours is a mistake, in one sentence.

argparse raises where a name is taken, Locust shows that as a crash of a listener, and goes on without the
option: theirs, or ours from that one on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any, Final

from wsoak.load.console import refuse

HANDLER: Final = "wsoak"
"""argparse finds a parser's way to handle conflicts by its name, and its groups take that from it."""


def keep(parser: argparse.ArgumentParser, ours: Iterable[str]) -> None:
    """Have the locustfile's options refused that have these names, whether they come before ours or after.

    Raises:
        SystemExit: with 2, where one of them is there already.
    """
    names = frozenset(ours)
    before = sorted(names & parser._option_string_actions.keys())
    if before:
        refuse([_sentence(name) for name in before])

    def handle(container: Any, action: argparse.Action, found: Sequence[tuple[str, argparse.Action]]) -> None:
        taken = [name for name, _ in found if name in names]
        if taken:
            refuse([_sentence(name) for name in taken])
        container._handle_conflict_error(action, found)

    setattr(argparse._ActionsContainer, f"_handle_conflict_{HANDLER}", handle)
    # the parser hands its own options on to a group that it made before
    parser.conflict_handler = parser._optionals.conflict_handler = HANDLER


def _sentence(name: str) -> str:
    return f"The locustfile declares the option {name}, which is one of wsoak's own: give yours another name."
