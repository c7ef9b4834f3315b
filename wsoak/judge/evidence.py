"""Evidence: the sentences with figures that a finding carries.

Each detail is a function of a case and the books that gives a sentence, or ``None`` where it has nothing to
say. What a server sent is quoted and made safe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType
from typing import Final

from wsoak.judge.equal_evidence import equal_sentence
from wsoak.judge.rule import Basis, Rule
from wsoak.judge.rules import DO_NOT_RETRY, SILENCES, TELLS_OF_STORM
from wsoak.judge.storms import RETRIES_PER_USER_S, WINDOW_S, Storm, storms, users_of
from wsoak.judge.terminal import quoted, safe
from wsoak.judge.words import age, counted, duration, figure, listed, of_all, percentile, span, were
from wsoak.ledger.books import (
    ACTIVE_WITHIN_S,
    Books,
    Crowd,
    EndGroup,
    EndKind,
    GaugeSummary,
    ObservationSummary,
)
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.outcomes import CANCELLED, OPEN, close_name, meaning
from wsoak.ledger.timeline import value
from wsoak.ledger.units import NS_PER_MS, NS_PER_S, NS_PER_US

FEW_SHARE: Final = 0.01
"""Below this share a fault is a stray one: it is said, and is a warning."""

BURST_S: Final = 10.0
"""Closes within this time come from one stop of the server."""

SCENARIO: Final = "scenario"
"""The source under which ``WebSocketUser.metric`` records a scenario's own gauges."""

_TCP_FAST_NS: Final = 100_000_000
_MEAN_FROM_S: Final = 0.05
_RETRY_AFTER: Final = "Retry-After: "


@dataclass(slots=True)
class Case:
    """All that speaks for one rule's finding on one system: the ends, and the observations.

    ``total`` is how many handshakes or opened sockets there were.
    """

    rule: Rule
    system: str
    total: int
    groups: list[tuple[EndKind, EndGroup]] = field(default_factory=list)
    observed: ObservationSummary | None = None

    @property
    def id(self) -> str:
        """The finding's id."""
        return self.rule.id

    @property
    def count(self) -> int:
        """How many connections ended in this way."""
        return sum(group.count for _, group in self.groups)

    @property
    def first_s(self) -> float:
        """Unix time of the first end, silence or observation."""
        times = [first_s for first_s, _ in self._spells()]
        return min([*times, self.observed.first_s] if self.observed else times)

    @property
    def last_s(self) -> float:
        """Unix time of the last end, silence or observation."""
        times = [last_s for _, last_s in self._spells()]
        return max([*times, self.observed.last_s] if self.observed else times)

    def _spells(self) -> list[tuple[float, float]]:
        """Unix times of the first and last of each way to end."""
        silent = self.id in SILENCES
        return [
            (group.heard_first_s, group.heard_last_s)
            if silent and group.heard_first_s <= group.heard_last_s
            else (group.first_s, group.last_s)
            for _, group in self.groups
        ]


Detail = Callable[[Case, Books], str | None]


def sentences(case: Case, books: Books) -> tuple[str, ...]:
    """The evidence for a case: what was seen, then each detail that has something to say."""
    return tuple(
        sentence for detail in _DETAILS[case.rule.basis] if (sentence := detail(case, books)) is not None
    ) + _observed(case)


def observed_sentences(summary: ObservationSummary, seen: str) -> tuple[str, ...]:
    """The evidence of observations alone."""
    looked_at = (
        f"{summary.count:,} of {summary.of:,}" if summary.of >= summary.count else f"{summary.count:,}"
    )
    return (f"{looked_at} looked at: {seen}.", *_texts("The check says", summary.texts.texts))


def gauge_sentences(prefix: str, books: Books) -> tuple[str, ...]:
    """How the gauges of scenarios with such names went, beside the users that there were."""
    by_name: dict[str, GaugeSummary] = {}
    for (_, source, name), summary in books.gauges.items():
        if prefix and source == SCENARIO and name.startswith(prefix):
            # each worker reads the same server: their readings are no parts of a sum
            by_name.setdefault(name, GaugeSummary()).add(summary)
    users = users_of(books)
    beside = f", with {counted(users, 'user')} at the most" if users else ""
    return tuple(
        f"Gauge {safe(name)}: {figure(seen.least)} at the least, {figure(seen.greatest)} at the most, "
        f"{figure(seen.last)} at the last of {counted(seen.count, 'reading')}{beside}."
        for name, seen in sorted(by_name.items())
        if seen.count > 1
    )


def storm_sentences(storm: Storm, books: Books, name: str) -> tuple[str, ...]:
    """The evidence of a storm: its worst moment, how long it went on, and what became of all reconnects."""
    worst = (
        f"{counted(storm.worst, 'reconnect')} by {counted(storm.users, 'user')} began within {WINDOW_S} s: "
        f"{_rate(storm.worst / WINDOW_S)} attempts a second, {_rate(storm.per_user_s)} a user."
    )
    seconds = storm.last_s - storm.first_s + 1
    went_on = (
        f"In {span(seconds)} there were {storm.attempts:,}, {storm.repeated:,} of them after a failed one."
    )
    ways: Counter[str] = Counter()
    in_vain: Counter[int] = Counter()
    for kind, group in books.ends.items():
        if kind.name == name and kind.reconnect and kind.outcome != CANCELLED:
            ways[safe(kind.outcome)] += group.count
            if kind.code in DO_NOT_RETRY and kind.initiator == "server":
                in_vain[kind.code] += group.count
    outcomes = listed(f"{count:,} × {way}" for way, count in ways.most_common(5))
    became = f"What became of all reconnects of the run: {outcomes}." if outcomes else ""
    told = [
        f"{counted(count, 'reconnect')} {were(count)} closed with {code}: trying again is in vain then."
        for code, count in sorted(in_vain.items())
    ]
    return tuple(sentence for sentence in (worst, went_on, became, *told) if sentence)


# ------------------------------------------------------------------------------------------------ details


def _seen(case: Case, _books: Books) -> str | None:
    noun = "handshake" if case.rule.basis == "opening" else "opened socket"
    seen = case.rule.seen
    if case.count == 1 and seen.startswith("were "):
        seen = "was " + seen.removeprefix("were ")
    text = f"{of_all(case.count, case.total, noun)} {seen}"
    return f"{text}: {_ways(case)}."


def _ways(case: Case) -> str:
    ways: Counter[str] = Counter()
    for kind, group in case.groups:
        ways[_way(kind)] += group.count
    if len(ways) == 1:
        return next(iter(ways))
    return listed(f"{count:,} × {way}" for way, count in ways.most_common())


def _way(kind: EndKind) -> str:
    if kind.outcome != OPEN:
        return f"{kind.outcome} ({meaning(kind.outcome).text})"
    if kind.code is None:
        return "an unknown close"
    way = f"close {kind.code} ({close_name(kind.code)})"
    if kind.detail:
        way += f", {safe(kind.detail)}"
    return f"{way}, by {kind.initiator}" if kind.initiator else way


def _stray(case: Case, _books: Books) -> str | None:
    if case.total and case.count / case.total < FEW_SHARE:
        return "A stray fault: it was seen on less than one in a hundred."
    return None


def _always(case: Case, books: Books) -> str | None:
    if books.count("opened", case.system):
        return None
    return f"No handshake of {safe(case.system)} succeeded in the whole run, from the first attempt on."


def _replied(case: Case, _books: Books) -> str | None:
    if case.id == "closed-policy-denied":
        return None  # the error message is one
    replied = sum(group.count for kind, group in case.groups if kind.replied)
    if replied == 0:
        return "None of them had received a message." if case.count > 1 else "It had received no message."
    if replied < case.count:
        return f"{replied:,} of them had received messages before."
    return f"{'All of them' if replied > 1 else 'It'} had received messages before."


def _paths(case: Case, _books: Books) -> str | None:
    paths = _gathered(group.paths.texts for _, group in case.groups)
    if case.rule.basis == "close" or not paths:
        return None
    if len(paths) == 1:
        return f"Path asked for: {safe(paths[0])}"
    return f"Paths asked for, such as {listed(safe(path) for path in paths)}"


def _errors(case: Case, _books: Books) -> str | None:
    told = _ways(case)
    errors = [error for error in _gathered(g.errors.texts for _, g in case.groups) if error not in told]
    return f"What failed: {'; '.join(safe(error) for error in errors)}." if errors else None


def _bodies(case: Case, _books: Books) -> str | None:
    return _quote("The answer's body", _gathered(group.bodies.texts for _, group in case.groups))


def _gateway(case: Case, _books: Books) -> str | None:
    says = sorted({kind.gateway for kind, _ in case.groups if kind.gateway})
    return f"A gateway says that {'; or that '.join(says)}." if says else None


def _headers(case: Case, _books: Books) -> str | None:
    texts = _gathered(group.headers.texts for _, group in case.groups)
    return _quote("The answer's headers", sorted({line for text in texts for line in text.splitlines()}))


def _retry_after(case: Case, books: Books) -> str | None:
    """What the server asked for, and when clients came back."""
    lines = {line for _, group in case.groups for text in group.headers.texts for line in text.splitlines()}
    asked = sorted(safe(line) for line in lines if line.startswith(_RETRY_AFTER))[:3]
    if not asked:
        return None
    waits = [
        group for kind, group in books.ends.items() if kind.name == case.system and group.waited_min_s < inf
    ]
    if not waits:
        return f"The server asked clients to wait ({listed(asked)})."
    least, most = min(group.waited_min_s for group in waits), max(group.waited_max_s for group in waits)
    after = age(least) if age(least) == age(most) else f"{age(least)} to {age(most)}"
    return f"The server asked clients to wait ({listed(asked)}), and they came back after {after}."


def _reasons(case: Case, _books: Books) -> str | None:
    return _quote("The close frame's reason", _gathered(group.reasons.texts for _, group in case.groups))


def _server_errors(case: Case, _books: Books) -> str | None:
    texts = _gathered(group.server_errors.texts for _, group in case.groups)
    return _quote("The server's error message before the close", texts)


def _tcp(case: Case, _books: Books) -> str | None:
    """How fast TCP was for these very attempts: tells the network from what is behind it."""
    if case.id not in ("upgrade-crash", "upgrade-slow", "upgrade-reset"):
        return None
    connected = sum(group.tcp_count for _, group in case.groups)
    if not connected:
        return None
    mean_ns = sum(group.tcp_sum_us for _, group in case.groups) / connected * NS_PER_US
    greatest_ns = max(group.tcp_max_ms for _, group in case.groups) * NS_PER_MS
    verdict = (
        "the fault is behind it, in the server's handler or a proxy"
        if mean_ns < _TCP_FAST_NS
        else "the network or the accept queue is slow as well"
    )
    return (
        f"TCP connected in {duration(mean_ns)} on average ({duration(greatest_ns)} at most, n {connected:,})"
        f": {verdict}."
    )


def _concurrency(case: Case, books: Books) -> str | None:
    if case.id != "upgrade-slow" or books.first_s is None:
        return None
    if books.horizon_s is not None and min(books.seconds) > books.first_s:
        return None
    open_then = sum(
        value(row, "opened") - value(row, "closed")
        for second, rows in books.seconds.items()
        if second <= case.first_s
        for name, row in rows.items()
        if name == case.system
    )
    return (
        f"The first one began while {counted(max(0, int(open_then)), 'socket')} {were(int(open_then))} open."
    )


def _onset(case: Case, books: Books) -> str | None:
    """From how many handshakes under way at once the first time-outs came: the size of a queue.

    Over several workers it is the sum of what each had under way when its own first one began; of a worker
    without one, the most that any of its handshakes met.
    """
    if case.id != "upgrade-slow":
        return None
    onsets: dict[str, tuple[int, int]] = {}
    for _, group in case.groups:
        for worker, onset in group.onsets.items():
            onsets[worker] = min(onset, onsets.get(worker, onset))
    if not onsets:
        return None
    at_most: dict[str, int] = {}
    for worker, crowd in _crowds(case, books):
        at_most[worker] = max(crowd.most, at_most.get(worker, 0))
    shares = {worker: least for worker, (_, least) in onsets.items()}
    parts = [count for _, count in sorted((at_most | shares).items())]
    under_way = f"Time-outs began with {counted(sum(parts), 'handshake')} under way at once"
    if len(parts) == 1:
        return f"{under_way}."
    each = "each worker's at its own first one"
    if len(shares) < len(parts):
        each += ", and the most that a worker without one ever had"
    return f"{under_way}: {' + '.join(f'{part:,}' for part in parts)}, {each}."


def _growth(case: Case, books: Books) -> str | None:
    """How the upgrades that succeeded became slower with the number of handshakes under way."""
    if case.id != "upgrade-slow":
        return None
    by_digits: dict[int, Crowd] = {}
    for _, crowd in _crowds(case, books):
        by_digits.setdefault(crowd.most.bit_length(), Crowd()).add(crowd)
    if len(by_digits) < 2:
        return None
    few, many = (
        f"{duration(crowd.upgrade_sum_us / crowd.count * NS_PER_US)} with {_range(crowd)} under way"
        f" (n {crowd.count:,})"
        for crowd in (by_digits[min(by_digits)], by_digits[max(by_digits)])
    )
    return f"Upgrades that succeeded took, on average, {few} and {many} in the same process."


def _crowds(case: Case, books: Books) -> Iterator[tuple[str, Crowd]]:
    """The crowds of all opened sockets of the case's system, each with its worker."""
    for kind, group in books.ends.items():
        if kind.name == case.system:
            for (worker, _), crowd in group.crowds.items():
                yield worker, crowd


def _range(crowd: Crowd) -> str:
    return f"{crowd.least:,}" if crowd.least == crowd.most else f"{crowd.least:,} to {crowd.most:,}"


def _attempt_rate(case: Case, books: Books) -> str | None:
    """Attempts a second and a user: the figure of a reconnect storm."""
    if case.id not in TELLS_OF_STORM and case.id != "server-unreachable":
        return None
    again = sum(group.count for kind, group in case.groups if kind.reconnect)
    seconds = case.last_s - case.first_s
    if not again or seconds < 1:
        return None
    rate = case.count / seconds
    users = users_of(books)
    a_user = f", {_rate(rate / users, 2)} a user" if users else ""
    told = f"{counted(again, 'attempt')} {were(again)} retries: {_rate(rate)} attempts a second{a_user}."
    if case.id not in TELLS_OF_STORM:
        return told  # a storm is a finding of its own then
    storm = case.system in storms(books) or (users and rate / users > RETRIES_PER_USER_S)
    return f"{told} That is a storm: the client does not wait." if storm else told


def _ages(case: Case, _books: Books) -> str | None:
    least = min(group.age_min_s for _, group in case.groups) if case.groups else float("inf")
    greatest = max(group.age_max_s for _, group in case.groups) if case.groups else float("-inf")
    if least > greatest:
        return None
    mean = sum(group.age_sum_ms for _, group in case.groups) / 1000 / case.count
    if case.count == 1:
        return f"Its age was {age(least)}."
    if age(least) == age(greatest):
        return f"Each ended at an age of {age(least)}."
    # ages add up in whole milliseconds
    mean_too = f", mean {age(mean)}" if greatest > _MEAN_FROM_S else ""
    return f"Ages at the end: {age(least)} to {age(greatest)}{mean_too}."


def _silences(case: Case, _books: Books) -> str | None:
    if case.id not in ("idle-timeout", "peer-silent"):
        return None
    least = min(group.idle_min_s for _, group in case.groups)
    greatest = max(group.idle_max_s for _, group in case.groups)
    if least > greatest:
        return None
    between = age(least) if age(least) == age(greatest) else f"{age(least)} to {age(greatest)}"
    return f"The last bytes had come {between} before."


def _equal(case: Case, _books: Books) -> str | None:
    return equal_sentence(case.id, [group for _, group in case.groups])


def _burst(case: Case, _books: Books) -> str | None:
    if case.id != "server-restart" or case.count == 1:
        return None
    took_s = case.last_s - case.first_s
    if took_s <= BURST_S:
        return f"All within {age(took_s)}: one stop of the server."
    return f"Over {age(took_s)}, not in one burst: several stops, or a server that ends sockets one by one."


def _activity(case: Case, _books: Books) -> str | None:
    if case.id not in ("server-crash", "connection-reset"):
        return None
    active = sum(group.active for _, group in case.groups)
    within = duration(ACTIVE_WITHIN_S * NS_PER_S)
    return f"The server had sent a message within {within} before the end on {active:,} of {case.count:,}."


def _states(case: Case, _books: Books) -> str | None:
    states: Counter[str] = Counter()
    for kind, group in case.groups:
        if kind.state:
            states[kind.state] += group.count
    if not states:
        return None
    return f"What they were doing: {listed(f'{safe(s)} ({n:,})' for s, n in states.most_common(5))}."


def _sends_on_closed(case: Case, books: Books) -> str | None:
    sends = books.count("send_on_closed", case.system)
    if not sends or case.id not in ("closed-no-status", "connection-reset", "server-crash"):
        return None
    return f"{counted(sends, 'send')} {were(sends)} tried on a socket that had closed."


_DETAILS: Final[Mapping[Basis, Sequence[Detail]]] = MappingProxyType(
    {
        "opening": (
            _seen,
            _stray,
            _always,
            _paths,
            _errors,
            _gateway,
            _bodies,
            _headers,
            _retry_after,
            _tcp,
            _onset,
            _growth,
            _concurrency,
            _attempt_rate,
        ),
        "close": (
            _seen,
            _stray,
            _server_errors,
            _reasons,
            _replied,
            _ages,
            _silences,
            _equal,
            _burst,
            _activity,
            _states,
            _sends_on_closed,
        ),
    }
)


def _observed(case: Case) -> tuple[str, ...]:
    return tuple(_texts("A probe says", case.observed.texts.texts)) if case.observed else ()


# ------------------------------------------------------------------------------------------------ helpers


def percentile_pair(histogram: Histogram) -> str:
    """``p50 2.1 ms, p99 8 ms``."""
    return f"p50 {percentile(histogram, 50)}, p99 {percentile(histogram, 99)}"


def _rate(per_s: float, digits: int = 3) -> str:
    return f"{per_s:,.0f}" if per_s >= 10**digits else f"{per_s:.{digits}g}"


def _gathered(samples: Iterable[Sequence[str]], most: int = 3) -> list[str]:
    return sorted({text for texts in samples for text in texts})[:most]


def _quote(what: str, texts: Sequence[str]) -> str | None:
    return f"{what}: {', '.join(quoted(text) for text in texts)}." if texts else None


def _texts(what: str, texts: Sequence[str]) -> list[str]:
    return [f"{what}: {safe(text)}" for text in texts]
