"""Findings: what went wrong in a run, told apart from the client's side alone.

A finding joins all ends of one system's connections that one rule claims, with the observations of the same
id. Pure: the same books give the same findings, in a running master and afterwards.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from wsoak.judge.answers import INTERNAL, Fault, faults
from wsoak.judge.equal_ends import equal_ends
from wsoak.judge.evidence import (
    FEW_SHARE,
    Case,
    gauge_sentences,
    observed_sentences,
    sentences,
    storm_sentences,
)
from wsoak.judge.observed_rules import DOOR_OPEN, DOOR_OTHERWISE, OBSERVED, OBSERVED_OTHERWISE
from wsoak.judge.rule import (
    SEVERITIES,
    Basis,
    Facts,
    Rule,
    Severity,
    counts_against_server,
    is_refusal,
    is_reset,
    may_be_cut,
    says_idle,
)
from wsoak.judge.rules import (
    AFTERMATH,
    AFTERMATH_AFTER_S,
    AFTERMATH_BEFORE_S,
    AFTERMATH_S,
    OF_MESSAGES,
    ONE_A_SOCKET,
    RULES,
    STORM,
    TELLS_OF_STORM,
)
from wsoak.judge.storms import Storm, storms
from wsoak.judge.terminal import safe
from wsoak.judge.words import counted, listed, span
from wsoak.ledger.books import SAMPLES, Books, EndGroup, EndKind
from wsoak.ledger.outcomes import OPEN, rejected_status

NAMES_TOLD: Final = 10
"""The same finding on more names than this is told once, for all of them."""

OUTAGE_SHARE: Final = 0.95
"""A fault with this share of all handshakes or sockets, none of which worked, is an outage."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that went wrong with one system.

    ``system`` is the socket's name. ``share`` is ``count`` over all handshakes, opened sockets or things
    looked at, 0 to 1. ``first_seen_s`` and ``last_seen_s`` are seconds from the run's start. ``evidence``
    are sentences with figures, and ``hint`` says where to look; both are safe to print.
    """

    id: str
    system: str
    severity: Severity
    count: int
    share: float
    first_seen_s: float
    last_seen_s: float
    evidence: tuple[str, ...]
    hint: str

    def to_json(self) -> dict[str, Any]:
        """The finding as plain values for ``findings.json``."""
        return {
            "id": self.id,
            "system": self.system,
            "severity": self.severity,
            "count": self.count,
            "share": round(self.share, 6),
            "first_seen_s": self.first_seen_s,
            "last_seen_s": self.last_seen_s,
            "evidence": list(self.evidence),
            "hint": self.hint,
        }


def find(books: Books, started_at: float) -> list[Finding]:
    """The findings of a run whose Unix start time is ``started_at``, worst first, then by count and name."""
    observed = {
        key: summary
        for key, summary in books.observations.items()
        if summary.count > 0 and key[0] not in INTERNAL
    }
    findings = []
    claimed = _claimed(books)
    for key, cases in claimed.items():
        cases[0].observed = observed.pop(key, None)
        findings.append(_from_ends(cases, books, started_at))
    findings += [_from_observations(books, id_, name, started_at) for id_, name in observed]
    findings += [
        _from_storm(storm, name, books, started_at)
        for name, storm in storms(books).items()
        if not _told(storm, name, claimed)
    ]
    ends = {kind for cases in claimed.values() for case in cases for kind, _ in case.groups}
    findings += [_from_fault(fault, started_at) for fault in faults(books, started_at, ends)]
    return sorted(_joined(_without_aftermath(sorted(findings, key=_order))), key=_order)


# ----------------------------------------------------------------------------------------------- claiming


def _claimed(books: Books) -> dict[tuple[str, str], list[Case]]:
    """The cases by finding id and system: of openings, of closes, or of both, in this order."""
    by_name: dict[str, list[tuple[EndKind, EndGroup]]] = defaultdict(list)
    for kind, group in books.ends.items():
        by_name[kind.name].append((kind, group))
    cases: dict[tuple[str, str], dict[str, Case]] = defaultdict(dict)
    for name, ends in by_name.items():
        facts = _facts(books, name, ends)
        for kind, group in ends:
            rule = _rule_for(kind, group, facts)
            if rule is None:
                continue
            of_id = cases[rule.id, name]
            if rule.basis not in of_id:
                of_id[rule.basis] = Case(rule, name, _total(books, name, ends, rule.basis))
            of_id[rule.basis].groups.append((kind, group))
    for of_id in cases.values():
        for case in of_id.values():
            case.groups.sort(key=lambda end: (-end[1].count, repr(end[0])))
    return {
        key: [of_id[basis] for basis in ("opening", "close") if basis in of_id]
        for key, of_id in cases.items()
    }


def _rule_for(kind: EndKind, group: EndGroup, facts: Facts) -> Rule | None:
    if not counts_against_server(kind):
        return None
    basis = "close" if kind.outcome == OPEN else "opening"
    return next((rule for rule in RULES if rule.basis == basis and rule.claims(kind, group, facts)), None)


def _facts(books: Books, name: str, ends: list[tuple[EndKind, EndGroup]]) -> Facts:
    observed = frozenset(id_ for (id_, of), seen in books.observations.items() if of == name and seen.count)
    opened = bool(books.count("opened", name))
    missing = not opened and _route_is_missing(observed)
    refusals = [
        kind
        for kind, _ in ends
        if is_refusal(kind) and not (rejected_status(kind.outcome) == 403 and missing)
    ]
    cut = [(kind, group) for kind, group in ends if may_be_cut(kind)]
    after_silence, at_age = equal_ends(cut)
    said_idle = frozenset(kind for kind, group in ends if says_idle(kind, group))
    resets = [group for kind, group in ends if is_reset(kind) and not kind.ended_by_run]
    return Facts(
        observed=observed,
        opened=opened,
        refused_later_only=bool(refusals) and all(kind.reconnect for kind in refusals),
        resets_while_active=2 * sum(group.active for group in resets) > sum(group.count for group in resets),
        idle_ends=after_silence | said_idle,
        capped_ends=at_age,
    )


def _route_is_missing(observed: frozenset[str]) -> bool:
    return bool(observed & {"route-not-found", "route-doubled"})


def _total(books: Books, name: str, ends: list[tuple[EndKind, EndGroup]], basis: Basis) -> int:
    """All handshakes, or all opened sockets, of this name."""
    opened = max(
        books.count("opened", name), sum(group.count for kind, group in ends if kind.outcome == OPEN)
    )
    if basis == "close":
        return opened
    failed = sum(group.count for kind, group in ends if kind.outcome != OPEN and counts_against_server(kind))
    return opened + max(failed, books.count("failed", name))


# ----------------------------------------------------------------------------------------------- findings


def _from_ends(cases: list[Case], books: Books, started_at: float) -> Finding:
    count = sum(case.count for case in cases)
    # the total of openings holds the opened ones too, each of which can close but once
    total = cases[0].total
    severities = [_severity(case, books, case.count / case.total) for case in cases]
    return Finding(
        id=cases[0].id,
        system=safe(cases[0].system),
        severity=min(severities, key=SEVERITIES.index),
        count=count,
        share=count / total,
        first_seen_s=_since(min(case.first_s for case in cases), started_at),
        last_seen_s=_since(max(case.last_s for case in cases), started_at),
        evidence=tuple(sentence for case in cases for sentence in sentences(case, books)),
        hint=cases[0].rule.hint,
    )


def _severity(case: Case, books: Books, share: float) -> Severity:
    worked = books.count("opened" if case.rule.basis == "opening" else "usable", case.system)
    if share >= OUTAGE_SHARE and not worked:
        return "critical"
    return "warning" if share < FEW_SHARE else "error"


def _from_observations(books: Books, id_: str, name: str, started_at: float) -> Finding:
    summary = books.observations[id_, name]
    rule = OBSERVED.get(id_, DOOR_OTHERWISE if id_.endswith(DOOR_OPEN) else OBSERVED_OTHERWISE)
    return Finding(
        id=safe(id_),
        system=safe(name),
        severity=rule.severity,
        count=summary.count,
        share=min(1.0, summary.count / summary.of) if summary.of else 0.0,
        first_seen_s=_since(summary.first_s, started_at),
        last_seen_s=_since(summary.last_s, started_at),
        evidence=observed_sentences(summary, rule.seen) + gauge_sentences(rule.gauges, books),
        hint=rule.hint,
    )


def _told(storm: Storm, name: str, claimed: dict[tuple[str, str], list[Case]]) -> bool:
    """Whether a finding of its attempts tells of the storm already."""
    told = sum(
        group.count
        for (id_, system), cases in claimed.items()
        if system == name and id_ in TELLS_OF_STORM
        for case in cases
        for kind, group in case.groups
        if kind.reconnect
    )
    return 2 * told >= storm.attempts


def _from_storm(storm: Storm, name: str, books: Books, started_at: float) -> Finding:
    ends = [(kind, group) for kind, group in books.ends.items() if kind.name == name]
    tried = _total(books, name, ends, "opening")
    return Finding(
        id="reconnect-storm",
        system=safe(name),
        severity=STORM.severity,
        count=storm.attempts,
        share=min(1.0, storm.attempts / tried) if tried else 1.0,
        first_seen_s=_since(storm.first_s, started_at),
        last_seen_s=_since(storm.last_s + 1, started_at),
        evidence=storm_sentences(storm, books, name),
        hint=STORM.hint,
    )


def _from_fault(fault: Fault, started_at: float) -> Finding:
    return Finding(
        id=fault.id,
        system=safe(fault.name),
        severity=fault.severity,
        count=fault.count,
        share=fault.count / fault.of,
        first_seen_s=_since(fault.first_s, started_at),
        last_seen_s=_since(fault.last_s, started_at),
        evidence=fault.evidence,
        hint=fault.hint,
    )


def _without_aftermath(findings: list[Finding]) -> list[Finding]:
    """The findings less those that another explains, which become lines of its evidence."""
    kept = list(findings)
    for cause in findings:
        explained = [other for other in kept if _explains(cause, other)]
        if explained and cause in kept:
            kept = [other for other in kept if other not in explained and other is not cause]
            kept.append(_with_aftermath(cause, explained))
    return kept


def _explains(cause: Finding, other: Finding) -> bool:
    if other.id not in AFTERMATH.get(cause.id, ()) or other.system != cause.system:
        return False
    # a stray one explains nothing, and each socket that breaks must have been one that the cause met
    if cause.severity == "warning" or (other.id in ONE_A_SOCKET and other.count > cause.count):
        return False
    # of all requests, those on a few sockets that went wrong are few
    if other.id in OF_MESSAGES and 2 * cause.share < other.share:
        return False
    # a server that will end its sockets may take and not answer messages for a while before
    before_s = AFTERMATH_S if other.id in OF_MESSAGES else AFTERMATH_BEFORE_S
    return (
        other.first_seen_s >= cause.first_seen_s - before_s
        and other.last_seen_s <= cause.last_seen_s + AFTERMATH_AFTER_S.get(cause.id, AFTERMATH_S)
    )


def _with_aftermath(cause: Finding, explained: list[Finding]) -> Finding:
    lines = tuple(
        f"With it, {span(other.first_seen_s)} to {span(other.last_seen_s)} after the start: "
        f"{counted(other.count, OF_MESSAGES.get(other.id, 'connection'))} that would read as {other.id}."
        for other in explained
    )
    return replace(cause, evidence=cause.evidence + lines)


def _joined(findings: list[Finding]) -> Iterator[Finding]:
    """The same findings, those of one id on more than ``NAMES_TOLD`` names as one: the names hold ids."""
    by_id: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_id[finding.id].append(finding)
    for alike in by_id.values():
        if len(alike) > NAMES_TOLD:
            yield _on_many_names(sorted(alike, key=_order))
        else:
            yield from alike


def _on_many_names(alike: list[Finding]) -> Finding:
    worst = alike[0]
    count = sum(finding.count for finding in alike)
    tried = sum(finding.count / finding.share for finding in alike if finding.share)
    names = listed([finding.system for finding in alike[:SAMPLES]] + [f"{len(alike) - SAMPLES:,} more"])
    return replace(
        worst,
        system=counted(len(alike), "name"),
        count=count,
        share=min(1.0, count / tried) if tried else worst.share,
        first_seen_s=min(finding.first_seen_s for finding in alike),
        last_seen_s=max(finding.last_seen_s for finding in alike),
        evidence=(
            f"The same on {counted(len(alike), 'name')}, with {count:,} in all: {names}. If they stand for "
            "one kind of socket, give connect() one `name=`.",
            *(f"{worst.system}: {sentence}" for sentence in worst.evidence),
        ),
    )


def _order(finding: Finding) -> tuple[int, int, str, str]:
    return SEVERITIES.index(finding.severity), -finding.count, finding.id, finding.system


def _since(at_s: float, started_at: float) -> float:
    return round(max(0.0, at_s - started_at), 3)
