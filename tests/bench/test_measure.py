"""Two samples become a measurement; the samples here are made up, so that the sums can be checked by hand."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import pytest

from bench import measure
from bench.contenders import Kind
from bench.measure import Limits, Measurement, Sample, foreign_share, judge
from bench.processes import BenchError, Client, Cores, Server, ServerSample

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


class Script:
    """In both processes' place: a server that says one thing after the other, a client that lives."""

    def __init__(self, said: Iterable[ServerSample]) -> None:
        self._said = iter(said)

    def sample(self) -> ServerSample:
        """See ``Server``."""
        return next(self._said)

    def check_alive(self) -> None:
        """See ``Client``."""

    def cpu_s(self) -> float:
        """See ``Client``."""
        return 1.0

    def rss_bytes(self) -> int:
        """See ``Client``."""
        return 1024


def sampled(kind: Kind, said: list[ServerSample], connections: int) -> tuple[ServerSample, ServerSample]:
    """What the server said at the two samples of a run."""
    script: Any = Script(said)
    sampler = measure._SAMPLERS[kind]
    before, after = sampler(cast(Server, script), cast(Client, script), connections, Limits(0.0))
    return before.server, after.server


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "SETTLE_S", 0.0)
    monkeypatch.setattr(measure, "_POLL_S", 0.0)


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("kind", ["echo", "handshakes"])
def test_a_window_in_which_the_machine_paused_goes_on_until_something_was_counted(kind: Kind) -> None:
    standing = replace(START.server, open=7, messages=50, handshakes=50)
    going_on = replace(standing, messages=51, handshakes=51)
    before, after = sampled(kind, [standing] * 6 + [going_on] * 2, 7)
    assert (before, after) == (standing, going_on)


@pytest.mark.usefixtures("hurry")
def test_the_start_for_memory_is_found_where_one_burst_runs_into_the_next() -> None:
    rising = [replace(START.server, open=count) for count in range(0, 240, 10)]
    before, after = sampled("memory", [*rising, *[replace(START.server, open=240)] * 3], 240)
    assert 0 < before.open <= 120
    assert after.open == 240
