"""Summary: what happened in a run, in plain sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from wsoak.judge.drops import MassDrop, sentences, way
from wsoak.judge.evidence import percentile_pair
from wsoak.judge.findings import Finding
from wsoak.judge.terminal import safe
from wsoak.judge.user_code import raised_sentences
from wsoak.judge.validity import Doubt, is_valid
from wsoak.judge.words import counted, duration, figure, listed, of_all, percent, span, were
from wsoak.ledger.books import Books, EndGroup, EndKind, GaugeSummary
from wsoak.ledger.names import CLOCK, CLOCK_OFFSET, CLOCK_UNCERTAINTY, CLOCK_UNKNOWN
from wsoak.ledger.outcomes import DROPPED, OPEN
from wsoak.ledger.timeline import ARRIVALS
from wsoak.ledger.units import NS_PER_MS

NAMES_SHOWN: Final = 8
"""Up to this many sockets have a sentence of their own."""
WAYS_SHOWN: Final = 8
DROPS_SHOWN: Final = 5


def summarise(
    books: Books,
    header: Mapping[str, Any],
    findings: Sequence[Finding],
    doubts: Sequence[Doubt],
    drops: Sequence[MassDrop] = (),
) -> list[str]:
    """What happened, whether it is to be believed, and what went wrong; a sentence or two an entry."""
    return [*happened(books, header, drops), *believed(doubts), *went_wrong(findings)]


def happened(books: Books, header: Mapping[str, Any], drops: Sequence[MassDrop] = ()) -> list[str]:
    """What happened, without a judgement.

    Args:
        drops: the mass drops, as ``drops.mass_drops`` finds them; the first ``DROPS_SHOWN`` are told.
    """
    parts: tuple[Callable[[Books], Iterator[str]], ...] = (
        _openings,
        _closes,
        lambda books: _drops(books, header, drops),
        _messages,
        _requests,
        _calls,
        _odd_messages,
        _deliveries,
        _checks,
        raised_sentences,
    )
    whole = (*_took(books, header), *_arrivals(books, header))
    return [*whole, *(sentence for part in parts for sentence in part(books))]


def believed(doubts: Sequence[Doubt]) -> list[str]:
    """Whether the run is to be believed, with reasons and advice."""
    if is_valid(doubts):
        head = ["The run is valid."]
    else:
        head = ["The run is NOT valid: do not conclude from its numbers."]
    return head + [f"{doubt.reason} {doubt.advice}" for doubt in doubts]


def went_wrong(findings: Sequence[Finding]) -> list[str]:
    """The findings, with their evidence and hints."""
    if not findings:
        return ["No findings."]
    return [counted(len(findings), "finding") + ":", *map(described, findings)]


def described(finding: Finding) -> str:
    """A finding in one line: what, where and when, the evidence, and where to look."""
    return (
        f"{finding.severity.upper()} {finding.id} on {finding.system}, {when(finding)}. "
        f"{' '.join(finding.evidence)} Where to look: {finding.hint}"
    )


def when(finding: Finding) -> str:
    """``from 0.2 s to 19.8 s``, or ``at 0.2 s``, after the start."""
    first, last = span(finding.first_seen_s), span(finding.last_seen_s)
    return f"at {first}" if first == last else f"from {first} to {last}"


# ---------------------------------------------------------------------------------------------- sentences


def _took(books: Books, header: Mapping[str, Any]) -> Iterator[str]:
    took_s, recorded_s = _told_s(header), _recorded_s(books)
    if took_s is not None:
        yield f"The run took {span(took_s)}."
    elif recorded_s is not None:
        yield f"{span(recorded_s)} of the run are on record."


def _told_s(header: Mapping[str, Any]) -> float | None:
    started_at, ended_at = header.get("started_at"), header.get("ended_at")
    if not isinstance(started_at, int | float) or not isinstance(ended_at, int | float):
        return None
    return ended_at - started_at if ended_at >= started_at else None


def _recorded_s(books: Books) -> float | None:
    return None if books.first_s is None or books.last_s is None else float(books.last_s - books.first_s + 1)


def _arrivals(books: Books, header: Mapping[str, Any]) -> Iterator[str]:
    """The sessions of the open model: how many were offered, and what became of them."""
    arrived, served = books.count("arrived", ARRIVALS), books.count("served", ARRIVALS)
    if not arrived:
        return
    unserved = books.count("unserved", ARRIVALS)
    waiting = arrived - served - unserved
    seconds = _told_s(header) or _recorded_s(books)
    rate = f" ({figure(arrived / seconds)} a second)" if seconds else ""
    wait = books.histogram("metric", ARRIVALS)
    waited = f" after waiting {percentile_pair(wait)}" if wait.total else ""
    patience_s = (header.get("options") or {}).get("arrival_patience")
    within = f" of {span(patience_s)}" if isinstance(patience_s, int | float) else ""
    missed = f"{unserved:,} ({percent(unserved, arrived)}) {were(unserved)} not served within"
    fates = [
        f"{served:,} {were(served)} served{waited}",
        f"{missed if unserved else 'none waited beyond'} the patience{within}",
        *([f"{waiting:,} still waited at the last record"] if waiting > 0 else []),
    ]
    yield f"{counted(arrived, 'session')} arrived{rate}: {listed(fates)}."


def _openings(books: Books) -> Iterator[str]:
    names = sorted(set(books.names_with("opened")) | set(books.names_with("failed")))
    if not names:
        yield "No handshake ended."
    if len(names) > 1:
        yield _opening(books, None)
    if len(names) == 1 or len(names) <= NAMES_SHOWN:
        for name in names:
            yield _opening(books, name)
    else:
        yield f"They went to {counted(len(names), 'socket name')}."
    for counter, text in (
        ("generator_failed", "failed on the generator itself"),
        ("cancelled", "ended with the run while under way"),
    ):
        if count := books.count(counter):
            verb = "counts" if count == 1 else "count"
            yield f"{counted(count, 'handshake')} {text} and {verb} in no rate."


def _opening(books: Books, name: str | None) -> str:
    opened, failed = books.count("opened", name), books.count("failed", name)
    usable = books.count("usable", name)
    whom = f"{safe(name, 60)}: " if name is not None else "All sockets: "
    handshakes = books.histogram("handshake", name)
    times = f", {percentile_pair(handshakes)}" if handshakes.total else ""
    reasons = "" if not failed else f" Not opened: {_failures(books, name)}."
    expected = opened - _expected_nothing(books, name)
    first = f"{whom}{of_all(opened, opened + failed, 'handshake')} succeeded{times}.{reasons}"
    if not opened or (not usable and not expected):
        return first
    known = usable + _known_unusable(books, name)
    if not known:
        return first
    return f"{first} {of_all(usable, known, 'socket')} became usable."


def _expected_nothing(books: Books, name: str | None) -> int:
    return sum(
        group.count
        for kind, group in books.ends.items()
        if kind.outcome == OPEN and kind.usable is None and name in (None, kind.name)
    )


def _known_unusable(books: Books, name: str | None) -> int:
    return sum(
        group.count
        for kind, group in books.ends.items()
        if kind.outcome == OPEN and kind.usable is False and name in (None, kind.name)
    )


def _failures(books: Books, name: str | None) -> str:
    outcomes: Counter[str] = Counter()
    for kind, group in books.ends.items():
        if kind.outcome not in (OPEN, "cancelled") and name in (None, kind.name):
            outcomes[kind.outcome] += group.count
    return _most(outcomes) or "reasons not on record"


def _closes(books: Books) -> Iterator[str]:
    ways: Counter[str] = Counter()
    for kind, group in books.ends.items():
        if kind.outcome == OPEN:
            ways[way(kind.code, safe(kind.detail), _ender(kind, group))] += group.count
    closed = sum(ways.values())
    if closed:
        yield f"{counted(closed, 'socket')} closed: {_most(ways)}."
    if books.open_now > 0:
        yield f"{counted(books.open_now, 'socket')} {were(books.open_now)} open at the last record."


def _ender(kind: EndKind, group: EndGroup) -> str:
    """Who ended these sockets; some of a group, where its reasons are not all the shape's."""
    if kind.ended_by_run:
        return "by end of the user" if kind.ended_by_user else "by end of the run"
    if kind.initiator != "client" or DROPPED not in group.reasons.texts:
        return f"by {kind.initiator or 'nobody'}"
    return DROPPED if group.reasons.texts == [DROPPED] else f"by client, some of them {DROPPED}"


def _drops(books: Books, header: Mapping[str, Any], drops: Sequence[MassDrop]) -> Iterator[str]:
    """How the users came back from the first few mass drops."""
    started_at = header.get("started_at")
    start_s = started_at if isinstance(started_at, int | float) else books.first_s or 0
    yield from sentences(list(drops[:DROPS_SHOWN]), start_s)
    if (more := len(drops) - DROPS_SHOWN) > 0:
        yield f"{counted(more, 'mass drop')} more: the report tells of them too."


def _most(ways: Counter[str]) -> str:
    shown = [
        f"{count:,} × {way}" for way, count in sorted(ways.items(), key=lambda item: (-item[1], item[0]))
    ]
    rest = len(shown) - WAYS_SHOWN
    if rest > 0:
        return ", ".join(shown[:WAYS_SHOWN]) + f" and {rest:,} more ways"
    return listed(shown)


def _messages(books: Books) -> Iterator[str]:
    sent, received = books.count("sent"), books.count("received")
    if sent or received:
        yield f"{counted(sent, 'message')} sent, {received:,} received."
    if tried := books.count("send_on_closed"):
        yield f"{counted(tried, 'send')} {were(tried)} tried on a socket that had closed."


def _requests(books: Books) -> Iterator[str]:
    requests = books.count("requests")
    if not requests:
        return
    replies = books.count("replies")
    response = books.histogram("response")
    times = f"; response {percentile_pair(response)} (n {response.total:,})" if response.total else ""
    timeouts, lost = books.count("reply_timeouts"), books.count("reply_lost")
    flying = requests - replies - timeouts - lost
    fates = [
        f"{timeouts:,} timed out" if timeouts else "none timed out",
        *([f"{lost:,} lost their socket first"] if lost else []),
        *([f"{flying:,} still in flight at the last record"] if flying > 0 else []),
    ]
    answered = f"{replies:,} answered ({percent(replies, requests)})"
    yield f"{counted(requests, 'request')}, {answered}{times}; {listed(fates)}."


def _odd_messages(books: Books) -> Iterator[str]:
    odd = [
        f"{count:,} {text}"
        for counter, text in (
            ("late_replies", "came after their time-out"),
            ("unmatched", "had the id of no request in flight (`expect` and `subscribe` see them)"),
            ("dropped", "did not fit an inbox"),
            ("overrun", "were dropped, as the scenario's `subscribe` handler was slower than they came"),
        )
        if (count := books.count(counter))
    ]
    if odd:
        yield f"Of the messages received, {listed(odd)}."


def _calls(books: Books) -> Iterator[str]:
    ok, failed = books.count("http_ok"), books.count("http_failed")
    if not ok + failed:
        return
    times = f", {percentile_pair(books.histogram('http'))}" if books.histogram("http").total else ""
    worst = books.names_with("http_failed")
    ways = Counter({safe(name, 60): books.count("http_failed", name) for name in worst})
    reasons = f" Failed: {_most(ways)}." if failed else ""
    yield f"{of_all(ok, ok + failed, 'HTTP call')} succeeded{times}.{reasons}"


def _deliveries(books: Books) -> Iterator[str]:
    delivery = books.histogram("delivery")
    if delivery.total:
        yield f"Pushes were delivered in {percentile_pair(delivery)} (n {delivery.total:,})."
        yield from _clocks(books)
        if delivery.under:
            early = of_all(delivery.under, delivery.total, "push")
            yield f"{early} came before being sent, by these clocks, and count as 0."


def _clocks(books: Books) -> Iterator[str]:
    """What is known of the servers' clocks, by which pushes were timed; nothing where it was our own."""
    offsets_ms = sorted(summary.last for summary in _of_clock(books, CLOCK_OFFSET))
    uncertainty_ms = max((summary.greatest for summary in _of_clock(books, CLOCK_UNCERTAINTY)), default=0.0)
    if offsets_ms:
        ahead = _ahead(offsets_ms[0], offsets_ms[-1])
        known = f"known to ± {duration(uncertainty_ms * NS_PER_MS)}"
        yield f"Their time-stamps are the server's: its clock is {ahead} ours, {known}."
    if _of_clock(books, CLOCK_UNKNOWN):
        yield "A server did not say what time it has: its time-stamps were taken for our clock's."


def _of_clock(books: Books, gauge: str) -> list[GaugeSummary]:
    return [
        summary for (_, source, name), summary in books.gauges.items() if (source, name) == (CLOCK, gauge)
    ]


def _ahead(least_ms: float, most_ms: float) -> str:
    """How far ahead, by workers that found from the least to the most."""
    (near, way), (far, other_way) = (
        (duration(abs(ms) * NS_PER_MS), "behind" if ms < 0 else "ahead of") for ms in (least_ms, most_ms)
    )
    if way != other_way:
        return f"{near} {way} to {far} {other_way}"
    return f"{near} {way}" if near == far else f"{near} to {far} {way}"


def _checks(books: Books) -> Iterator[str]:
    passed, failed = books.count("check_passed"), books.count("check_failed")
    if not passed + failed:
        return
    names = books.names_with("check_failed")
    which = f": {listed(safe(name, 60) for name in names[:WAYS_SHOWN])}" if names else ""
    yield f"{of_all(passed, passed + failed, 'check')} passed{'; failed' + which if failed else ''}."
