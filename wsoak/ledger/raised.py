"""Raised: an exception of the scenario's own code, as the books may keep it: its type and place.

The text of an exception may hold what a server or an account said, such as a token, so it is not kept. What
it names is kept where that stands in the source itself: a literal or a name of the code that raised it
(``KeyError 'token'`` of ``answer["token"]``).
"""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Final

WORD_LIMIT: Final = 60
"""A literal longer than this is not repeated."""

_LIBRARIES: Final = tuple(
    {sysconfig.get_paths()[name] + "/" for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_OURS: Final = str(Path(__file__).resolve().parents[1]) + "/"
_MACHINERY: Final = ("/locust/", "/gevent/", "/greenlet/")
"""Folders of packages that call a scenario's code, and are not it."""


@dataclass(frozen=True, slots=True)
class Raised:
    """What may be said of an exception.

    Attributes:
        error: its type, with the literal or name that it is about where the source has that.
        place: ``file:line`` in the scenario's own code, and the function; of the last call where none of it
            is the scenario's own; empty where there is no traceback.
        entry: the function of the scenario's that was called; empty as ``place`` is.
    """

    error: str
    place: str
    entry: str


def raised(error: BaseException) -> Raised:
    """What may be said of an exception that has been raised."""
    frames = list(_frames(error.__traceback__))
    own = [frame for frame in frames if _is_own(frame[0].co_filename)]
    if not own:
        # a scenario that is an installed package
        own = [frame for frame in frames if _is_not_machinery(frame[0].co_filename)] or frames[-1:]
    word = _word(error, [code for code, _ in frames])
    name = type(error).__qualname__ + (f" {word!r}" if word else "")
    if not own:
        return Raised(name, "", "")
    code, line = own[-1]
    return Raised(name, f"{_file_of(code.co_filename)}:{line} in {_function(code)}", _function(own[0][0]))


def place_of(frame: FrameType) -> str:
    """``file:line in function`` of the scenario's own code that led to this frame, else of the frame."""
    own: FrameType | None = frame
    while own is not None and not _is_own(own.f_code.co_filename):
        own = own.f_back
    found = own or frame
    return f"{_file_of(found.f_code.co_filename)}:{found.f_lineno} in {_function(found.f_code)}"


def traceback_text(error: BaseException) -> str:
    """The traceback for a log: places and source lines, and ``raised(error).error`` instead of the text."""
    return "".join(traceback.format_tb(error.__traceback__)) + raised(error).error


def _frames(start: TracebackType | None) -> Iterator[tuple[CodeType, int]]:
    while start is not None:
        yield start.tb_frame.f_code, start.tb_lineno
        start = start.tb_next


def _is_own(path: str) -> bool:
    return not path.startswith((*_LIBRARIES, _OURS, "<frozen"))


def _is_not_machinery(path: str) -> bool:
    return not path.startswith((_OURS, "<frozen")) and not any(each in path for each in _MACHINERY)


def _file_of(path: str) -> str:
    """The path from the working directory on; the file's name alone where it lies elsewhere."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return Path(path).name


def _function(code: CodeType) -> str:
    return code.co_qualname.replace("<locals>.", "")


def _word(error: BaseException, codes: list[CodeType]) -> str:
    """The literal or name that an exception is about, where the source of its code holds it."""
    word = getattr(error, "name", None)
    if isinstance(word, str) and any(word in (*code.co_names, *code.co_varnames) for code in codes):
        return word[:WORD_LIMIT]
    word = error.args[0] if len(error.args) == 1 else None
    if isinstance(word, str) and len(word) <= WORD_LIMIT and any(word in _strings(code) for code in codes):
        return word
    return ""


def _strings(code: CodeType) -> Iterator[str]:
    return (constant for constant in code.co_consts if isinstance(constant, str))
