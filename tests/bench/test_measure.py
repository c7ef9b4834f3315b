"""Two samples become a measurement; the samples here are made up, so that the sums can be checked by hand."""

from dataclasses import replace
from typing import Any

import pytest

from bench.contenders import Kind
from bench.measure import Limits, Measurement, Sample, foreign_share, judge
from bench.processes import BenchError, Cores, ServerSample

START = Sample(ServerSample(100, 1_000, 0, 0, 100, 5_000_000_000, 1.0), 2.0, 50_000 * 1024, (10.0, 20.0))
PINNED = Cores(0, 1)


def later(**changes: Any) -> Sample:
    """START two seconds on, the client fully busy, the server half; `changes` add to the counters."""
    server = replace(START.server, at_ns=START.server.at_ns + 2_000_000_000, cpu_s=2.0)
    server = replace(server, **{name: getattr(START.server, name) + by for name, by in changes.items()})
    return replace(START, server=server, client_cpu_s=4.0, busy_s=(11.0, 22.0))


def judged(kind: Kind, after: Sample, connections: int = 100) -> Measurement:
    return judge("plain", kind, 1, connections, (START, after), after.server, Limits(2.0), PINNED)


@pytest.mark.parametrize(
    ("kind", "changes", "count", "value"),
    [
        ("echo", {"messages": 3_000}, 3_000, 1_500.0),
        ("handshakes", {"handshakes": 500, "closes": 500}, 500, 250.0),
    ],
)
def test_a_rate_is_the_servers_count_over_the_servers_time(
    kind: Kind, changes: dict[str, int], count: int, value: float
) -> None:
    measured = judged(kind, later(**changes))
    assert (measured.count, measured.value, measured.window_s) == (count, value, 2.0)
    assert (measured.client_share, measured.server_share) == (1.0, 0.5)
    assert measured.remarks == ()


def test_memory_is_the_growth_for_each_connection_between_the_samples() -> None:
    after = replace(later(open=400), client_rss_bytes=(50_000 + 8_000) * 1024)
    measured = judged("memory", after, connections=500)
    assert (measured.count, measured.value) == (400, 20.0)


@pytest.mark.parametrize(
    ("name", "kind", "after", "remark"),
    [
        (
            "server full",
            "echo",
            replace(later(messages=9), server=replace(later(messages=9).server, cpu_s=3.0)),
            "server was busy",
        ),
        ("client idle", "echo", replace(later(messages=9), client_cpu_s=3.0), "client was busy 50%"),
        ("connections lost", "echo", later(messages=9, open=-1), "99 connections were open"),
        ("no closes", "handshakes", later(handshakes=50, drops=50), "without a close frame"),
    ],
)
def test_what_casts_doubt_on_a_value_is_remarked(name: str, kind: Kind, after: Sample, remark: str) -> None:
    assert any(remark in line for line in judged(kind, after).remarks), name


def test_nothing_counted_is_an_error_and_not_a_zero() -> None:
    with pytest.raises(BenchError, match="did no echo"):
        judged("echo", later())


@pytest.mark.parametrize(
    ("name", "busy_s", "cores", "share"),
    [
        ("only ours", (11.0, 22.0), PINNED, 0.0),
        ("on the client's core", (11.0, 22.5), PINNED, 0.25),
        ("on both: the larger", (11.2, 22.5), PINNED, 0.25),
        ("cores not told apart", (11.2, 22.5), Cores(None, None), 0.35),
        ("accounts that differ by ticks", (10.99, 21.99), PINNED, 0.0),
    ],
)
def test_foreign_work_is_what_the_cores_did_besides(
    name: str, busy_s: tuple[float, ...], cores: Cores, share: float
) -> None:
    assert foreign_share(START, replace(later(), busy_s=busy_s), 2.0, cores) == pytest.approx(share), name
