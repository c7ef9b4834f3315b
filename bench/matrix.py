"""Matrix: which findings each incident's run raised, judged, and written down in Markdown. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.incidents import INCIDENTS, Case, Found

RIGHT: Final = "✓"
MISSED: Final = "missed"
WRONG: Final = "✗"
"""What a cell says: found as it must be, not found, and found where it must not be."""

EVIDENCE_CHARACTERS: Final = 160

ONSET: Final = re.compile(r"Time-outs began with ([\d,]+) handshakes? under way at once")
"""How the evidence names the concurrency from which on handshakes time out."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a case's run raised.

    Attributes:
        findings: as ``python -m analysis diagnose RUN --json`` lists them.
        valid: whether the run is to be believed.
        took_s: from the target's start to the diagnosis, in seconds; of the last attempt.
    """

    case: Case
    findings: Sequence[Mapping[str, Any]]
    valid: bool
    took_s: float

    @property
    def raised(self) -> list[Found]:
        """Each finding's id and system."""
        return [(str(finding["id"]), str(finding["system"])) for finding in self.findings]

    @property
    def missed(self) -> list[Found]:
        """What must have been found, and was not."""
        return sorted(self.case.expected - set(self.raised))

    @property
    def wrong(self) -> list[Found]:
        """What was found and must not have been; a finding that came twice is wrong the second time."""
        left = list(self.case.expected)
        return sorted(found for found in self.raised if not _taken(left, found))

    @property
    def right(self) -> bool:
        """Whether all that must be found was found, and nothing else."""
        return not self.missed and not self.wrong


def _taken(left: list[Found], found: Found) -> bool:
    if found in left:
        left.remove(found)
        return True
    return False


def cells(result: Result) -> dict[str, str]:
    """What a row says, by finding id; a wrong system is named."""
    marks: dict[str, list[str]] = {}
    for marked, founds in (
        (RIGHT, sorted(set(result.raised) & result.case.expected)),
        (MISSED, result.missed),
        (WRONG, result.wrong),
    ):
        for id_, system in founds:
            named = f" ({system})" if marked == WRONG and system not in result.case.systems else ""
            marks.setdefault(id_, []).append(marked + named)
    return {id_: ", ".join(said) for id_, said in marks.items()}


def columns(results: Sequence[Result]) -> list[str]:
    """The finding ids of the matrix: those that were expected, in the incidents' order, then all others."""
    expected = [incident.finding for incident in INCIDENTS]
    named = {id_ for result in results for id_ in cells(result)}
    order = dict.fromkeys([*expected, *sorted(named)])
    return [id_ for id_ in order if id_ in named]


def verdict(results: Sequence[Result]) -> str:
    """One sentence: how many incidents were told, and what was not right."""
    told = []
    for at_once, as_they_must in (
        (1, "incidents found by their own finding and no other"),
        (0, "healthy runs without a finding"),
        (2, "runs of two incidents at once with just their findings"),
    ):
        right = [result.right for result in results if len(result.case.incidents) == at_once]
        if right:
            told.append(f"{sum(right)} of {len(right)} {as_they_must}")
    return "; ".join(told) + "."


def onset_told(findings: Sequence[Mapping[str, Any]]) -> int | None:
    """From how many handshakes under way at once they timed out, as the evidence says; ``None`` if not."""
    told = (ONSET.search(str(text)) for finding in findings for text in finding["evidence"])
    return next((int(found[1].replace(",", "")) for found in told if found), None)


def onsets(results: Sequence[Result]) -> Iterator[str]:
    """A sentence for each incident with a pool: the concurrency that was told, and the one it implies."""
    for result in results:
        for incident in result.case.incidents:
            implied = incident.implied_onset
            if implied is None or result.case.mended:
                continue
            told = onset_told(result.findings)
            began = "nothing is told of where" if told is None else f"from {told:,} handshakes at once on"
            beside = "" if told is None else f" ({told / implied - 1:+.0%})"
            implies = f"the pool and its delay imply {implied:,.3g}{beside}"
            yield f"{result.case.id}: {began} they time out; {implies}."


def markdown(results: Sequence[Result], facts: Mapping[str, str]) -> str:
    """The page: what was run, the verdict, the matrix, and what each run said."""
    ids = columns(results)
    lines = [
        "# Which incident is which",
        "",
        "Each row is a run of its own against the embedded target with one fault (or none, or two), and",
        f"each column a finding. {RIGHT}: found, as it must be. `{MISSED}`: not found. {WRONG}: found where",
        "it must not be. An empty cell was not found, and must not be.",
        "",
        *listed(facts),
        "",
        f"**{verdict(results)}**",
        "",
        _row("run", *(f"`{id_}`" for id_ in ids)),
        _row("---", *(":-:" for _ in ids)),
        *(_row(result.case.id, *(cells(result).get(id_, "") for id_ in ids)) for result in results),
        "",
        *(line for sentence in onsets(results) for line in (sentence, "")),
        "## What was seen",
        "",
        _row("run", "finding", "severity", "count", "share", "evidence"),
        _row("---", "---", "---", "--:", "--:", "---"),
        *(line for result in results for line in _seen(result)),
    ]
    return "\n".join(lines) + "\n"


def listed(made_by: Mapping[str, str]) -> list[str]:
    """What a page says of how it was made, as the lines of a list."""
    return [f"- {name}: {value}" for name, value in made_by.items()]


def _seen(result: Result) -> Iterator[str]:
    doubtful = "" if result.valid else " (run not valid)"
    if not result.findings:
        yield _row(result.case.id + doubtful, "none", "", "", "", "")
    for finding in result.findings:
        evidence = str(finding["evidence"][0]) if finding["evidence"] else ""
        if len(evidence) > EVIDENCE_CHARACTERS:
            evidence = evidence[: EVIDENCE_CHARACTERS - 1] + "…"
        yield _row(
            result.case.id + doubtful,
            f"`{finding['id']}` on {finding['system']}",
            str(finding["severity"]),
            f"{finding['count']:,}",
            f"{100 * finding['share']:.3g} %",
            evidence,
        )


def _row(*words: str) -> str:
    return "| " + " | ".join(word.replace("|", "\\|") for word in words) + " |"
