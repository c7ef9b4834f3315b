"""Gauges: what is read of a process, of a metrics page, and of our own hub."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import gevent
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.harness import Peer, listening, until
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.recorder import Recorder
from wsoak.ledger.units import NS_PER_S
from wsoak.load import gauges
from wsoak.load.gauges import (
    GENERATOR,
    MAX_GAUGES,
    MAX_PAGE_BYTES,
    TARGET,
    Gauges,
    MetricsReader,
    ProcessReader,
    WaitReader,
    watcher,
)

PAGE = """\
# HELP process_cpu_seconds_total CPU.
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total {cpu}
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 1.5e+06
# TYPE process_open_fds gauge
process_open_fds 12
# TYPE open_sockets gauge
open_sockets{{system="echo",node="a b"}} 3
open_sockets{{system="dialogue"}} 4
# TYPE unknown_yet gauge
unknown_yet NaN
# TYPE without_end gauge
without_end +Inf
# TYPE messages counter
messages_total 99
# TYPE age histogram
age_bucket{{le="1"}} 5
age_bucket{{le="+Inf"}} 6
age_sum 7
age_count 6
"""


@contextmanager
def serving(*pages: str | bytes) -> Iterator[str]:
    """The URL of pages, served one after the other, and the last one for ever; bytes go out as they are."""

    def script(peer: Peer) -> None:
        peer.read_head()
        page = pages[min(peer.number, len(pages) - 1)]
        if isinstance(page, bytes):
            peer.send(page)
        else:
            body = page.encode()
            peer.send(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    # a reader that is stopped goes in the middle
    with listening(script, may_fail=True) as listener:
        yield f"http://127.0.0.1:{listener.port}/metrics"


def test_a_process_is_read_by_its_share_of_a_core_memory_and_descriptors() -> None:
    reader = ProcessReader()
    until(lambda: time.process_time() > 0.1)
    # of the processor's time: a busy machine gives little of it
    burn_until = time.process_time() + 0.2
    while time.process_time() < burn_until:
        math.factorial(500)
    before = psutil.Process().num_fds()
    with open(os.devnull):  # noqa: PTH123
        readings = reader.read()
    assert 0.0 < readings["cpu_share"] < 4.0
    assert readings["rss_bytes"] > 1 << 20
    assert readings["fds"] == before + 1


def test_a_process_that_is_idle_uses_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        reader = ProcessReader(child.pid)
        # until it has started up, it is not idle
        until(lambda: reader.read()["cpu_share"] == 0.0)
        child.communicate(b"\n")
        with pytest.raises(psutil.Error):
            reader.read()


WAITS: Final = pytest.mark.skipif(
    WaitReader().read() == {}, reason="this system does not say how long a thread waited for a CPU"
)


@WAITS
def test_a_thread_that_wants_no_cpu_waits_for_none_and_one_that_does_no_longer_than_the_time() -> None:
    reader = WaitReader()
    burn_until = time.process_time() + 0.2
    while time.process_time() < burn_until:
        math.factorial(500)
    assert 0.0 <= reader.read()["cpu_wait_share"] < 1.0


def test_the_wait_is_that_between_two_readings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "schedstat"
    monkeypatch.setattr(gauges, "SCHEDSTAT", file)
    file.write_text("5000000 7000000000 3\n")
    began_ns = time.perf_counter_ns()
    reader = WaitReader()
    file.write_text("6000000 17000000000 4\n")
    share = reader.read()["cpu_wait_share"]
    # ten seconds of waiting, of the time that this took
    assert share > 10 * NS_PER_S / (time.perf_counter_ns() - began_ns)
    assert reader.read()["cpu_wait_share"] == 0.0


@pytest.mark.parametrize("text", [None, "", "0 0 0\n", "x y z\n", "12\n"])
def test_a_system_that_does_not_say_it_has_no_reading(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "schedstat"
    monkeypatch.setattr(gauges, "SCHEDSTAT", file)
    if text is not None:
        file.write_text(text)
    assert WaitReader().read() == {}


def test_a_metrics_page_is_read_by_its_gauges() -> None:
    with serving(PAGE.format(cpu=1.0), PAGE.format(cpu=1.25)) as url:
        reader = MetricsReader(url)
        first, second = reader.read(), reader.read()
    expected = {
        "rss_bytes": 1.5e6,
        "fds": 12.0,
        "open_sockets{node=a b,system=echo}": 3.0,
        "open_sockets{system=dialogue}": 4.0,
    }
    assert first == expected
    assert second.pop("cpu_share") > 0
    assert second == expected


def test_the_cpu_of_a_server_that_was_restarted_is_left_out_once() -> None:
    with serving(*(PAGE.format(cpu=cpu) for cpu in (50.0, 0.5, 0.75))) as url:
        reader = MetricsReader(url)
        assert ["cpu_share" in reader.read() for _ in range(3)] == [False, False, True]


GARBAGE: list[str | bytes] = [
    "<html><body>Not found</body></html>\n",
    '{"a": 1}\n',
    "\x00\x01\n",
    "a{\n",
    'a{b="c} 1\n',
    "a b c d\n",
    "a NaNN\n",
    b"",
    b"\x00\x01\x02\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\n\r\n",
    b"HTTP/1.0 500 Oops\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    b"HTTP/1.0 302 Found\r\nLocation: file:///etc/hosts\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
]


@pytest.mark.parametrize("page", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_no_reading_and_not_the_end(page: str | bytes) -> None:
    with serving(page, PAGE.format(cpu=1)) as url:
        reader = MetricsReader(url)
        with pytest.raises((OSError, ValueError)):
            reader.read()
        assert reader.read()["fds"] == 12.0


@given(st.text())
def test_no_page_raises_anything_else(text: str) -> None:
    reader = MetricsReader("http://127.0.0.1:1")
    reader._fetch = lambda: text  # type: ignore[method-assign]
    try:
        readings = reader.read()
    except ValueError:
        return
    assert all(math.isfinite(value) for value in readings.values())


@pytest.mark.parametrize("line", ['a"{c} 1', 'b_total{x="1",} 5', "# TYPE", 'a{x="1"y', "a{x=} 1", 'a{"'])
def test_a_line_that_is_odd_raises_nothing_else(line: str) -> None:
    reader = MetricsReader("http://127.0.0.1:1")
    for cut in range(len(line) + 1):
        reader._fetch = lambda cut=cut: line[:cut]  # type: ignore[method-assign, misc]
        try:
            reader.read()
        except ValueError:
            continue


def test_what_the_metrics_parser_lets_through_is_a_value_error() -> None:
    reader = MetricsReader("http://127.0.0.1:1")

    def broken() -> str:
        raise IndexError

    reader._fetch = broken  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="not a metrics page: IndexError"):
        reader.read()


def test_nothing_listening_is_an_error_that_is_expected() -> None:
    with serving("") as url:
        pass
    with pytest.raises(OSError):
        MetricsReader(url).read()


def test_a_page_that_dribbles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "FETCH_TIMEOUT_S", 0.2)

    def script(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.0 200 OK\r\n\r\n")
        try:
            while True:
                peer.send(b"# comment\n")
                gevent.sleep(0.02)
        except OSError:
            return

    with listening(script, may_fail=True) as listener, pytest.raises(OSError) as given_up:
        MetricsReader(f"http://127.0.0.1:{listener.port}").read()
    # urllib wraps one that comes while it connects
    assert isinstance(getattr(given_up.value, "reason", given_up.value), TimeoutError)


def test_a_number_that_was_cut_is_not_read_as_a_smaller_one() -> None:
    head = b"HTTP/1.0 200 OK\r\nContent-Length: 500\r\n\r\n"
    with serving(head + b"# TYPE a gauge\na 12\n# TYPE b gauge\nb 34") as url:
        assert MetricsReader(url).read() == {"a": 12.0}


def test_a_long_page_is_read_up_to_its_last_whole_line() -> None:
    line = 'big_total{{x="{0:06}"}} 1\n'
    lines = (MAX_PAGE_BYTES // len(line.format(0))) + 1000
    page = "# TYPE early gauge\nearly 5\n# TYPE big counter\n" + "".join(map(line.format, range(lines)))
    with serving(page) as url:
        assert MetricsReader(url).read() == {"early": 5.0}


def test_a_page_with_a_label_for_each_user_is_bounded() -> None:
    page = "# TYPE g gauge\n" + "".join(f'g{{user="{number}"}} 1\n' for number in range(5 * MAX_GAUGES))
    with serving(page) as url:
        assert len(MetricsReader(url).read()) == MAX_GAUGES


def test_a_watched_thing_is_a_process_or_a_page() -> None:
    assert watcher(str(os.getpid()))()["fds"] > 0
    with serving(PAGE.format(cpu=1)) as url:
        assert watcher(url)()["fds"] == 12.0
    with pytest.raises(psutil.NoSuchProcess):
        watcher("999999999")


@contextmanager
def reading(recorder: Recorder, *watched: str, own: Callable[[], dict[str, float]] = dict) -> Iterator[None]:
    made = Gauges(recorder, own, list(watched))
    try:
        yield
    finally:
        made.stop()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "READ_INTERVAL_S", 0.02)


@pytest.mark.usefixtures("often")
def test_the_generator_reads_itself_and_the_server() -> None:
    recorder = Recorder("w")
    found: dict[tuple[str, str], float] = {}

    def look() -> bool:
        found.update({(gauge.source, gauge.name): gauge.value for gauge in recorder.take().gauges})
        return {source for source, _ in found} == {GENERATOR, TARGET}

    with serving(PAGE.format(cpu=1)) as url, reading(recorder, url, own=lambda: {"users": 7.0}):
        until(look)
    assert found[GENERATOR, "users"] == 7.0
    assert found[GENERATOR, "cpu_saturated"] in (0.0, 1.0)
    assert ((GENERATOR, "cpu_wait_share") in found) is bool(WaitReader().read())
    assert found[TARGET, "fds"] == 12.0


@pytest.mark.usefixtures("often")
def test_a_server_that_cannot_be_read_is_said_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder("w")
    garbage = "SECRET{\n"
    with serving(garbage, garbage, garbage, b"\x00", PAGE.format(cpu=1)) as url, reading(recorder, url):
        until(lambda: any(gauge.source == TARGET for gauge in recorder.take().gauges))
    messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert messages == ["The watched server cannot be read: ValueError."]


@pytest.mark.usefixtures("often")
def test_one_server_that_is_gone_does_not_hide_the_other() -> None:
    recorder = Recorder("w")
    with (
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child,
        serving(PAGE.format(cpu=1)) as url,
        reading(recorder, str(child.pid), url),
    ):
        child.communicate(b"\n")
        recorder.take()
        until(lambda: any(gauge.name.startswith("open_sockets") for gauge in recorder.take().gauges))


def hub_lag_max_ns(recorder: Recorder, samples: int, block: Callable[[], None] = lambda: None) -> int:
    """The longest hub lag among so many."""
    lags = Histogram()

    def enough() -> bool:
        for (_, kind, _), histogram in recorder.take().latency.items():
            if kind == "hub":
                lags.add(histogram)
        return lags.total >= samples

    with reading(recorder):
        gevent.sleep(0)
        block()
        until(enough)
    return lags.max_ns or 0


def test_hub_lag_rises_when_the_hub_is_blocked() -> None:
    def block() -> None:
        # without a switch: nothing else may run meanwhile
        end = time.perf_counter() + 0.5
        while time.perf_counter() < end:
            pass

    recorder = Recorder("w")
    assert hub_lag_max_ns(recorder, 3, block) > 0.4e9


def test_what_is_stopped_reads_no_more() -> None:
    recorder = Recorder("w")
    made = Gauges(recorder, dict, [])
    made.stop()
    assert len(made._greenlets) == 0


@pytest.mark.parametrize(
    ("late_ns", "expected"),
    [
        (-3, [0]),
        (0, [0]),
        (7, [7]),
        (10, [10]),
        (11, [11, 1]),
        (40, [40, 30, 20, 10]),
        (41, [41, 31, 21, 11, 1]),
    ],
)
def test_a_loop_that_stood_still_is_late_for_each_reading_that_it_missed(
    late_ns: int, expected: list[int]
) -> None:
    assert gauges.lags(late_ns, 10) == expected
