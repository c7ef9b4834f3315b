"""Terminal: hostile text made safe to print.

A server's text can carry escape sequences that rewrite the screen, and characters that reverse the order of
what is read. They are shown as escapes, so that the reader sees that they were there.
"""

from __future__ import annotations

import unicodedata
from typing import Final

LIMIT: Final = 200
"""How many characters of a server's text are quoted."""


def safe(text: str, limit: int = LIMIT) -> str:
    r"""One line of printable text: what cannot be seen becomes ``\n``, ``\x1b`` or ``\u202e``.

    At most ``limit`` characters of the text are shown, and then how many more there were.
    """
    shown = "".join(_visible(character) for character in text[:limit])
    left = len(text) - limit
    return f"{shown}… ({left:,} more)" if left > 0 else shown


def quoted(text: str, limit: int = LIMIT) -> str:
    """``safe`` text between quotation marks."""
    return f"“{safe(text, limit)}”"


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    # spaces of other widths, such as the one between Chinese words, hide nothing
    if unicodedata.category(character) == "Zs":
        return " "
    return character.encode("unicode_escape").decode("ascii")
