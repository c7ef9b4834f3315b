"""User code: what the scenario itself raised, and what it means for the figures of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from wsoak.judge.doubt import Doubt
from wsoak.judge.terminal import safe
from wsoak.judge.words import counted, listed
from wsoak.ledger.books import Books, ErrorKind, ErrorSummary
from wsoak.ledger.names import CALLBACKS

CALLBACKS_FAILED: Final = "callbacks-failed"
"""The doubt of a run in which a callback of the scenario raised; under gates it is an error in use."""

ERRORS_SHOWN: Final = 5
FEW_SHARE: Final = 0.01
"""Callbacks that fail on at most this share of the messages received leave the other figures as they are."""

UserErrors = list[tuple[ErrorKind, ErrorSummary]]


def user_errors(books: Books, wanted: Callable[[ErrorKind], bool] = lambda _: True) -> UserErrors:
    """The exceptions of user code, the most frequent first; each with its count and Unix times."""
    found = [(kind, summary) for kind, summary in books.user_errors.items() if wanted(kind)]
    return sorted(found, key=lambda each: (-each[1].count, each[0]))


def callback_errors(books: Books) -> UserErrors:
    """Those that callbacks raised, such as ``reply_id``."""
    return user_errors(books, lambda kind: kind.where in CALLBACKS)


def called(kind: ErrorKind) -> str:
    """What raised: ``on_start of ChatUser``."""
    where = safe(kind.where, 30)
    what = f"a {where}" if kind.where == "task" else where
    return f"{what} of {safe(kind.user, 60)}" if kind.user else what


def described(kind: ErrorKind) -> str:
    """The exception and its place: ``KeyError 'token' in on_start of ChatUser (locustfile.py:9 in …)``."""
    place = f" ({safe(kind.place, 200)})" if kind.place else ""
    return f"{safe(kind.error, 120)} in {called(kind)}{place}"


def said(errors: UserErrors) -> str:
    """The exceptions with their counts, in words."""
    shown = [f"{summary.count:,} × {described(kind)}" for kind, summary in errors[:ERRORS_SHOWN]]
    if (rest := len(errors) - ERRORS_SHOWN) > 0:
        shown.append(f"{rest:,} more kinds of them")
    return listed(shown)


def raised_sentences(books: Books) -> Iterator[str]:
    """What the scenario's own code raised, for the summary."""
    errors = user_errors(books)
    count = sum(summary.count for _, summary in errors)
    if count:
        yield f"The scenario's own code raised {counted(count, 'exception')}: {said(errors)}."


def callbacks_failed(books: Books, _header: Mapping[str, Any]) -> Iterator[Doubt]:
    """Callbacks that raised: what they were to find in the messages looks like the server's silence."""
    errors = callback_errors(books)
    count = sum(summary.count for _, summary in errors)
    if not count:
        return
    names = listed(sorted({safe(kind.where, 30) for kind, _ in errors}))
    yield Doubt(
        CALLBACKS_FAILED,
        f"Callbacks of the scenario ({names}) raised {counted(count, 'exception')}: "
        f"{said(errors)}. What they were to find in a message counts as not there: requests that read as "
        "unanswered, and sockets as not usable, may be this mistake and not the server's.",
        "Mend the scenario at the place named; the log has the first traceback.",
        invalid=count > FEW_SHARE * books.count("received"),
    )
