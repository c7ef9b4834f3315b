"""A soak of ten minutes: leaks of known rates are found and measured, and a healthy server has none.

python -m pytest -m long tests/e2e/test_soak.py
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.processes import ROOT, Outcome, analysis, is_valid, loading
from tests.target.client import running

HOLD_S: Final = 600
KIB_PER_S: Final = 40
SOCKETS_PER_S: Final = 0.05
"""Of the conversations that 40 readers end, about two a second."""
LEAKS: Final = (
    f"server:leak-memory:kib_per_s={KIB_PER_S}",
    f"server:leak-sessions:per_s={SOCKETS_PER_S}",
)

HOURLY: Final = {"memory": 3600 * 1024 * KIB_PER_S, "connections": 3600 * SOCKETS_PER_S}
"""What leaks in an hour, by what drift calls it."""

Told = dict[str, Any]


def soaked(path: Path, *faults: str) -> Outcome:
    """A soak by echo and dialogue of a target with these faults."""
    options = [argument for fault in faults for argument in ("--fault", fault)]
    with running(*options) as target:
        arguments = [
            *("-f", str(ROOT / "tests" / "e2e" / "locustfile_target.py"), "EchoUser", "DialogueUser"),
            *("--host", target.url, "--watch", f"{target.url}/metrics", "--message-rate", "1"),
            *("--shape", f"soak:users=80,ramp=20s,hold={HOLD_S}s,down=20s"),
        ]
        with loading(path, *arguments) as load:
            return load.wait(HOLD_S + 300)


def drifts(outcome: Outcome) -> tuple[int, dict[str, Told]]:
    """The exit code of ``python -m analysis drift``, and what it tells by name."""
    answer = analysis("drift", outcome.path, "--json")
    assert answer.stdout, answer.stderr
    return answer.returncode, {drift["name"]: drift for drift in json.loads(answer.stdout)["drifts"]}


@pytest.mark.long
@pytest.mark.timeout(HOLD_S + 600)
def test_leaks_are_found_at_their_rates_and_a_healthy_server_has_none(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        leaky_run = pool.submit(soaked, tmp_path / "leaky", *LEAKS)
        healthy_run = pool.submit(soaked, tmp_path / "healthy")
    leaky, healthy = leaky_run.result(), healthy_run.result()
    is_valid(leaky)
    is_valid(healthy)

    code, found = drifts(leaky)
    assert code == 1, found
    assert {name for name, drift in found.items() if drift["verdict"] == "fail"} == {*HOURLY, "drain"}, found
    for name, hourly in HOURLY.items():
        assert found[name]["trend"]["an_hour"]["value"] == pytest.approx(hourly, rel=0.25), found[name]
        assert found[name]["changes"] == [], found[name]

    code, found = drifts(healthy)
    assert code == 0, found
    assert {drift["verdict"] for drift in found.values()} == {"pass"}, found
