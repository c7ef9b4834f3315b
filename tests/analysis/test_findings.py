"""Findings of runs that were written to disk and read back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.frames import load
from tests.analysis.runs import (
    DENIED,
    HEALTHY,
    NO_HISTORY,
    SCENES,
    SILENT,
    STORM,
    broken,
    closed,
    made,
    rejection,
    restarts,
    tokens_end,
)
from wsoak.judge.findings import find
from wsoak.judge.validity import is_valid

EXPECTED = {
    "healthy": set[str](),
    "datetime-crash": {"closed-policy-silent"},
    "session-denied": {"closed-policy-denied"},
    "lost-history": {"history-lost"},
    "route-not-found": {"route-not-found"},
    "refused": {"server-unreachable"},
    "mixed": {"server-unreachable", "overload", "server-crash", "connection-reset"},
    "cut": set[str](),
    "distributed": set[str](),
}

SLOW = replace(rejection(500), outcome="timeout-upgrade", status=None)

INCIDENTS: list[tuple[str, dict[str, Any]]] = [
    ("closed-policy-silent", {"choose": SILENT}),
    ("closed-policy-denied", {"choose": DENIED}),
    ("history-lost", {"observed": NO_HISTORY}),
    ("upgrade-crash", {"choose": rejection(500)}),
    ("upgrade-crash", {"choose": replace(rejection(500), outcome="eof", status=None)}),
    ("route-not-found", {"choose": STORM}),
    ("server-crash", {"choose": closed(1011, reconnect=True)}),
    ("server-crash", {"choose": broken("eof", reconnect=True)}),
    ("sequence-gap", {"observed": [(9.0, "sequence-gap", 1, 90, "seq 4 after 2")]}),
    ("upgrade-refused", {"choose": rejection(403, reconnect=True)}),
    ("upgrade-slow", {"choose": lambda user, _attempt, _second: SLOW if user > 8 else HEALTHY}),
    (
        "route-doubled",
        {"choose": rejection(404), "observed": [(1.0, "route-doubled", 1, 3, "/api/v1/api/v1")]},
    ),
    ("upgrade-reset", {"choose": replace(rejection(500), outcome="reset", status=None)}),
    ("credentials-expired", {"choose": tokens_end}),
    ("closed-no-status", {"choose": closed(None, age_s=0.2, state="listening", reconnect=True)}),
    ("connection-reset", {"choose": broken("reset", state="listening", idle_s=0.6, reconnect=True)}),
    ("peer-silent", {"choose": broken("heartbeat-lost", sent_code=1011, age_s=9, idle_s=6)}),
    ("server-restart", {"choose": restarts}),
]


@pytest.mark.parametrize("name", SCENES)
def test_each_scene_has_its_findings_and_no_others(scene: Callable[[str], Path], name: str) -> None:
    run = load(scene(name))

    assert {finding.id for finding in run.findings} == EXPECTED[name]
    assert is_valid(run.doubts) == (name != "cut")


@pytest.mark.parametrize(
    ("expected", "what"), INCIDENTS, ids=[f"{id_}-{n}" for n, (id_, _) in enumerate(INCIDENTS)]
)
def test_each_incident_is_found_named_and_told_apart(
    tmp_path: Path, expected: str, what: dict[str, Any]
) -> None:
    run = load(made(tmp_path / "run", **what))

    assert [finding.id for finding in run.findings] == [expected]
    (finding,) = run.findings
    assert 0 <= finding.first_seen_s <= finding.last_seen_s <= 21


def test_a_running_master_finds_what_the_analysis_finds(scene: Callable[[str], Path]) -> None:
    run = load(scene("mixed"))

    assert find(run.reader.books(), run.header["started_at"]) == run.findings
