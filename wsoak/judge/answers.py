"""Answers: requests without an answer, sockets of which none came, and pushes that a handler had no room for.

No end of a connection shows them: a server that takes messages and answers nothing keeps its sockets open.

    requests whose time-out passed ──┬─ answers came after all ───────────────► replies-late
                                     ├─ messages came, none with a known id ──► replies-unmatched
                                     └─ otherwise ────────────────────────────► requests-unanswered
    sockets whose first expected message never came ──────────────────────────► never-usable
    pushes dropped, as a ``subscribe`` handler took too long ─────────────────► handler-slow

A generator that stood still makes none of these: what it reads when it goes on has its time of receipt from
then, and counts as ``late_replies`` without ``unanswered``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from wsoak.judge.observed_rules import OBSERVED, ObservedRule
from wsoak.judge.rule import Severity
from wsoak.judge.terminal import safe
from wsoak.judge.user_code import callback_errors
from wsoak.judge.words import counted, listed, of_all, span, were
from wsoak.ledger.books import Books, EndKind
from wsoak.ledger.names import CAME_INSTEAD, REPLY_CLUE
from wsoak.ledger.outcomes import OPEN
from wsoak.ledger.timeline import value

LEAST_SHARE: Final = 0.01
"""A smaller share of requests without an answer is no finding, but for a silence of ``SILENT`` of them."""
SILENT: Final = 20
"""So many time-outs in a row of seconds without any answer are a silence, however long the run was."""
CLUE_SHARE: Final = 0.25
"""An id in this share of the messages that were looked at was put there on purpose."""
AS_MANY: Final = (0.5, 2.0)
"""So many messages for each unanswered request are most likely the answers to them."""

OF_A_LOAD: Final = frozenset({"requests-unanswered", "replies-unmatched", "replies-late", "never-usable"})
"""Of one user before the load, the checks say ``no-answer`` or ``replies-unmatched`` themselves."""

OF_THE_CHECKS: Final = frozenset({"no-answer", "replies-unmatched", "rehearsal-failed"})
"""What the checks observe of one user, before a load that is not made then."""

INTERNAL: Final = frozenset({REPLY_CLUE, CAME_INSTEAD})
"""Observations that are evidence for others' findings, and none of their own."""

RULES: Final[Mapping[str, ObservedRule]] = MappingProxyType(
    {
        "requests-unanswered": ObservedRule(
            "critical",
            "got no answer",
            "The server took the messages and did not answer: look at its handler's log for what it waits "
            "for, for messages of a type that it does not know, and for a worker that hangs. A heartbeat "
            "(--heartbeat) tells whether the peer itself is still there.",
        ),
        "replies-unmatched": OBSERVED["replies-unmatched"],
        "replies-late": ObservedRule(
            "error",
            "got an answer after the time-out",
            "The server answers, and too slowly: look at what its handler waits for and at how many requests "
            "it takes at once; a longer --reply-timeout shows how long the answers take.",
        ),
        "never-usable": ObservedRule(
            "error",
            "never became usable: they opened, and the first message that was expected did not come",
            "Look at what the server does when a socket opens, and at whether the scenario knows that "
            "message when it sees it (`usable_when`, `reply_id`, the predicate of `expect`).",
        ),
        "handler-slow": ObservedRule(
            "error",
            "were dropped by wsoak, as the scenario's own `subscribe` handler was slower than they came",
            "Make the handler quicker, or have it hand its work to other greenlets; what it missed are gaps "
            "of the generator's, not of the server's. `subscribe(handler, most=…)` keeps more of them.",
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that went wrong with the messages of one name.

    ``count`` of ``of`` requests, sockets or pushes; ``first_s`` and ``last_s`` are Unix seconds.
    """

    id: str
    name: str
    severity: Severity
    count: int
    of: int
    first_s: float
    last_s: float
    evidence: tuple[str, ...]

    @property
    def hint(self) -> str:
        """Where to look."""
        return RULES[self.id].hint


def faults(books: Books, started_at: float, explained: Collection[EndKind]) -> Iterator[Fault]:
    """The faults of all names.

    Args:
        explained: ways to end for which there are findings already.
    """
    if _told_otherwise(books):
        return
    unusable = sorted({kind.name for kind in books.ends if kind.usable is False})
    found = (
        *(_of_requests(books, name, started_at) for name in books.names_with("unanswered")),
        *(_of_usability(books, name, explained) for name in unusable),
        *(_of_handler(books, name) for name in books.names_with("overrun")),
    )
    yield from (fault for fault in found if fault is not None)


def _told_otherwise(books: Books) -> bool:
    """Whether the checks before the load say it, or the scenario's own callbacks raised about as often."""
    if any(seen.count and id_ in OF_THE_CHECKS for (id_, _), seen in books.observations.items()):
        return True
    failed = sum(summary.count for _, summary in callback_errors(books))
    # then a doubt says so, and the server may have answered each of them
    return failed > 0 and 2 * failed >= books.count("unanswered")


# --------------------------------------------------------------------------------------------- requests


def _of_requests(books: Books, name: str, started_at: float) -> Fault | None:
    unanswered, answered = books.count("unanswered", name), books.count("replies_received", name)
    late = min(unanswered, books.count("late_replies", name))
    silences = _silences(books, name)
    longest = max(silences, key=lambda silence: silence.count, default=None)
    total = unanswered + answered
    slow = 2 * late >= unanswered
    count = late if slow else unanswered - late
    few = count < LEAST_SHARE * total
    if not count or (few and (slow or longest is None or longest.count < SILENT)):
        return None
    came = _came(books, name, count, answered)
    id_ = "replies-late" if slow else "replies-unmatched" if came.mismatch else "requests-unanswered"
    severity: Severity = "warning" if few else "error" if answered or slow else "critical"
    besides = f"; {late:,} more {were(late)} answered after their time-out" if late and not slow else ""
    evidence = [f"{of_all(count, total, 'request')} {RULES[id_].seen}{besides}."]
    if not slow:
        evidence += [_when(longest, count, answered, started_at), *came.sentences]
    # a running master's books forget the seconds that are long past
    first_s = silences[0].since_s if silences else float(books.first_s or started_at)
    last_s = silences[-1].until_s if silences else float(books.last_s or started_at)
    return Fault(id_, name, severity, count, total, first_s, last_s, tuple(filter(None, evidence)))


@dataclass(slots=True)
class _Silence:
    """Time-outs without an answer between them.

    ``since_s``: the Unix second of the first request since the last answer; ``until_s``: the end of the
    second of the last time-out. ``over``: an answer came afterwards.
    """

    since_s: float
    until_s: float
    count: int = 0
    over: bool = False


def _silences(books: Books, name: str) -> list[_Silence]:
    """The silences of a name, in order."""
    found: list[_Silence] = []
    current: _Silence | None = None
    asked_s: int | None = None
    for second in sorted(books.seconds):
        row = books.seconds[second].get(name)
        if row is None:
            continue
        if value(row, "replies_received"):
            if current is not None:
                current.over = True
            current, asked_s = None, None
        elif asked_s is None and value(row, "requests_sent"):
            asked_s = second
        timed_out = int(value(row, "unanswered"))
        if not timed_out:
            continue
        if current is None:
            current = _Silence(second if asked_s is None else asked_s, second)
            found.append(current)
        current.count += timed_out
        current.until_s = second + 1
    return found


def _when(longest: _Silence | None, count: int, answered: int, started_at: float) -> str:
    """Since when, and until when, there were no answers."""
    if not answered:
        return "Not one request was answered in the whole run."
    if longest is None:
        return ""
    if 2 * longest.count < count and longest.count < SILENT:
        return "Answers came all the while: some requests were lost, and others not."
    since, until = (span(max(0.0, at_s - started_at)) for at_s in (longest.since_s, longest.until_s))
    after = "answers came again afterwards" if longest.over else "none came any more"
    return (
        f"From {since} to {until} after the start there was no answer at all, while "
        f"{counted(longest.count, 'request')} timed out; {after}."
    )


@dataclass(frozen=True, slots=True)
class _Came:
    """What came in the place of answers; ``mismatch``: it was the answers, and nobody knew them."""

    mismatch: bool
    sentences: tuple[str, ...]


def _came(books: Books, name: str, count: int, answered: int) -> _Came:
    if clue := clue_words(books, name):
        return _Came(True, (_sentence(clue),))
    instead = came_words(books, name)
    told = (_sentence(instead),) if instead else ()
    least, most = AS_MANY
    messages = books.count("received", name) - books.count("replies_received", name)
    as_many = least * count <= messages <= most * count
    known = books.count("unmatched", name) >= least * count
    return _Came(not answered and bool(told) and (as_many or known), told)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def clue_words(books: Books, name: str) -> str:
    """Where messages hold the ids of requests that were not answered; empty where they do not."""
    clue = books.observations.get((REPLY_CLUE, name))
    if clue is None or not clue.count or clue.count < CLUE_SHARE * clue.of:
        return ""
    return f"messages came, and the id of a request is {listed(safe(place) for place in clue.texts.texts)}"


def came_words(books: Books, name: str) -> str:
    """What came in the place of answers, and holds no id of a request; empty where nothing did."""
    other = books.observations.get((CAME_INSTEAD, name))
    if other is None or not other.count:
        return ""
    return f"what came instead holds the id of no request: {listed(safe(sort) for sort in other.texts.texts)}"


# ---------------------------------------------------------------------------------- usability and pushes


def _of_usability(books: Books, name: str, explained: Collection[EndKind]) -> Fault | None:
    groups = [
        group
        for kind, group in books.ends.items()
        if kind.name == name and kind.outcome == OPEN and kind.usable is False and kind not in explained
    ]
    count, usable = sum(group.count for group in groups), books.count("usable", name)
    if not count or count < LEAST_SHARE * (count + usable):
        return None
    seen = RULES["never-usable"].seen
    if count == 1:
        seen = seen.replace("they opened", "it opened")
    return Fault(
        "never-usable",
        name,
        "error" if usable else "critical",
        count,
        count + usable,
        # the first to end is as old as the youngest, at the least
        min(group.first_s - max(0.0, group.age_min_s) for group in groups),
        max(group.last_s for group in groups),
        (f"{of_all(count, count + usable, 'socket')} {seen}.",),
    )


def _of_handler(books: Books, name: str) -> Fault:
    count, received = books.count("overrun", name), books.count("received", name)
    seconds = [
        second for second, rows in books.seconds.items() if name in rows and value(rows[name], "overrun")
    ]
    first_s, last_s = (min(seconds), max(seconds) + 1) if seconds else (books.first_s or 0, books.last_s or 0)
    seen = RULES["handler-slow"].seen
    return Fault(
        "handler-slow",
        name,
        "error",
        count,
        max(count, received),
        first_s,
        last_s,
        (f"{of_all(count, max(count, received), 'message')} {seen}.",),
    )
