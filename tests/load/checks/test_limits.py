"""Limits: descriptors and ports for the users to come."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsoak.load.checks.limits import RESERVE, Means, Plan, limit_steps, port_count

MEANS = Means(descriptors=1_024, descriptors_hard=20_000, ports=28_232)


def results(plan: Plan, means: Means = MEANS) -> dict[str, tuple[str, str]]:
    return {step.name: (step.result, step.finding) for step in limit_steps(plan, means)}


OK, FEW_DESCRIPTORS, FEW_PORTS = (
    ("ok", ""),
    ("failed", "descriptors-exhausted"),
    ("failed", "ports-exhausted"),
)


@pytest.mark.parametrize(
    ("plan", "means", "descriptors", "ports"),
    [
        (Plan(100), MEANS, OK, OK),
        (Plan(480), MEANS, OK, OK),
        # an HTTP connection each, while they log in
        (Plan(481), MEANS, ("warning", ""), OK),
        # of users that call no HTTP there are none
        (Plan(481, calls_http=False), MEANS, OK, OK),
        (Plan(960, calls_http=False), MEANS, OK, OK),
        (Plan(28_232, processes=100, calls_http=False), MEANS, OK, OK),
        (Plan(960), MEANS, ("warning", ""), OK),
        (Plan(961), MEANS, FEW_DESCRIPTORS, OK),
        (Plan(100, sockets_per_user=10), MEANS, FEW_DESCRIPTORS, OK),
        # workers share the users, and the machine's ports
        (Plan(1_900, processes=4), MEANS, OK, OK),
        (Plan(30_000, processes=100), MEANS, OK, FEW_PORTS),
        (Plan(30_000, processes=100, sources=3), MEANS, OK, OK),
        (Plan(30_000, processes=100, destinations=3), MEANS, OK, OK),
        (Plan(28_232, processes=100), MEANS, OK, ("warning", "")),
        # of machines elsewhere, this one's limits say little
        (Plan(30_000, processes=2, here=False), MEANS, ("warning", ""), ("warning", "")),
    ],
)
def test_there_is_enough_or_it_is_said(
    plan: Plan, means: Means, descriptors: tuple[str, str], ports: tuple[str, str]
) -> None:
    assert results(plan, means) == {"descriptors": descriptors, "ports": ports}


def test_the_limit_that_would_do_is_named_where_the_hard_one_allows_it() -> None:
    (step, _) = limit_steps(Plan(5_000), MEANS)
    assert f"ulimit -n {5_000 + RESERVE}" in step.text
    (step, *_) = limit_steps(Plan(50_000), MEANS)
    assert "ulimit -n" not in step.text


def test_a_load_of_unknown_size_is_not_judged() -> None:
    assert results(Plan(None)) == {"limits": ("warning", "")}


@pytest.mark.parametrize(
    ("text", "count"), [("32768\t60999\n", 28_232), ("1 1", 1), ("2 1", 0), ("", None), ("x y", None)]
)
def test_a_range_of_ports_is_counted(text: str, count: int | None, tmp_path: Path) -> None:
    (tmp_path / "range").write_text(text)
    assert port_count(tmp_path / "range") == count
    assert port_count(tmp_path / "nothing") is None


def test_this_machine_has_limits() -> None:
    means = Means.of_this_machine()
    assert 0 < means.descriptors <= means.descriptors_hard
    assert "ports" in results(Plan(1), means) or means.ports is None
