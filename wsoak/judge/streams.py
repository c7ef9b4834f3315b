"""Streams: standard output and error made so that printing never ends what prints.

A console need not be UTF-8 (``PYTHONIOENCODING=ascii``, ``LC_ALL=C``, latin-1), and whoever reads a pipe may
go. Neither may cost a run its verdict.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
from typing import Any, Final, TextIO

REPLACE: Final = "wsoak-replace"
"""The name of our error handler for encodings."""

RAISING: Final = frozenset(("strict", "surrogateescape", "surrogatepass", "backslashreplace"))
"""Error handlers that raise on some text, or make a sentence hard to read; others are somebody's choice."""

PLAIN: Final = {
    "–": "-",
    "—": "-",
    "−": "-",
    "…": "...",
    "×": "x",
    "·": "*",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "→": "->",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
    "µ": "u",
    "μ": "u",
    "²": "2",
    "±": "+/-",
    "∞": "inf",
    "√": "sqrt",
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "\xa0": " ",
    "\u202f": " ",
}
"""What our own sentences hold beyond ASCII, in ASCII; everything else becomes a question mark."""


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(each, "?") for each in error.object[error.start : error.end]), error.end


codecs.register_error(REPLACE, _replace)


def never_fail_to_encode() -> None:
    """Have stdout and stderr replace what they cannot encode; may be called again."""
    for stream in (sys.stdout, sys.stderr):
        # None where the descriptor was closed before Python began; a stand-in may have no encoding
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None and getattr(stream, "errors", None) in RAISING:
            reconfigure(errors=REPLACE)


def say(text: str, stream: TextIO | None) -> bool:
    """Print lines at once; ``False`` where nobody can read them: the stream is silent from then on."""
    if stream is None:
        return False
    try:
        print(text, file=stream, flush=True)
    except ValueError:
        # closed
        return False
    except OSError:
        silence(stream)
        return False
    return True


def silence(stream: Any) -> None:
    """Send what a stream still holds, and will be given, to nowhere: else Python fails at its exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
        stream.flush()


def flush() -> None:
    """Write out what stdout and stderr hold, or silence them."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except ValueError:
            continue
        except OSError:
            silence(stream)
