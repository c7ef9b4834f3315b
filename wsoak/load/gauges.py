"""Gauges: the generator looks at itself, and at the watched server, once a second.

A run is only believed while its generator was not the limit; these readings are what says so. ``cpu_share``
is the share of one core that this process used; ``cpu_wait_share`` the share of the time that its event loop
was ready to run and had no CPU; the hub lag, how much later than planned a greenlet ran, is a histogram, as a
mean would hide what matters.
"""

from __future__ import annotations

import logging
import math
import time
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Final

import gevent
import psutil
from gevent.pool import Group
from prometheus_client.parser import text_string_to_metric_families

from wsoak.ledger.recorder import Recorder
from wsoak.ledger.units import NS_PER_S, s_to_ns
from wsoak.load.background import Guarded, unguarded

log = logging.getLogger(__name__)

GENERATOR: Final = "generator"
TARGET: Final = "target"

CPU_LIMIT_SHARE: Final = 0.9
LAG_INTERVAL_S: Final = 0.05
READ_INTERVAL_S: Final = 1.0
FETCH_TIMEOUT_S: Final = 2.0
MAX_PAGE_BYTES: Final = 1 << 20
MAX_GAUGES: Final = 200
"""What lies beyond in a page is left out: a label for each of the server's users must not fill the disk."""

PROCESS_METRICS: Final = {
    "process_resident_memory_bytes": "rss_bytes",
    "process_open_fds": "fds",
}
"""Names in a Prometheus page of the client libraries, and ours; all other gauges keep their names."""

Readings = dict[str, float]


class ProcessReader:
    """CPU, memory and descriptors of a process; CPU since the last reading."""

    def __init__(self, pid: int | None = None) -> None:
        self._process = psutil.Process(pid)
        self._cpu_s, self._at_ns = self._cpu(), time.perf_counter_ns()

    def read(self) -> Readings:
        """``cpu_share`` (of one core), ``rss_bytes`` and ``fds``.

        Raises:
            psutil.Error: when the process is gone or not ours to look at.
        """
        cpu_s, at_ns = self._cpu(), time.perf_counter_ns()
        elapsed_s = max((at_ns - self._at_ns) / NS_PER_S, 1e-9)
        share = (cpu_s - self._cpu_s) / elapsed_s
        self._cpu_s, self._at_ns = cpu_s, at_ns
        return {
            "cpu_share": share,
            "rss_bytes": float(self._process.memory_info().rss),
            "fds": float(self._process.num_fds()),
        }

    def _cpu(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


SCHEDSTAT: Final = Path("/proc/thread-self/schedstat")
"""Of the thread that reads it: ns on a CPU, ns ready to run without one, turns; zeros from a kernel that does
not count (proc(5); Documentation/scheduler/sched-stats.rst)."""


class WaitReader:
    """The time for which the thread that reads, the event loop's, wanted a CPU and had none.

    Others had it: processes of the same machine, or nobody, where a container had used up its quota.
    """

    def __init__(self) -> None:
        self._at_ns, self._wait_ns = time.perf_counter_ns(), _cpu_wait_ns()

    def read(self) -> Readings:
        """``cpu_wait_share``, of the time since the last reading; nothing where the system does not say."""
        before_ns, since_ns = self._wait_ns, self._at_ns
        wait_ns, at_ns = self._wait_ns, self._at_ns = _cpu_wait_ns(), time.perf_counter_ns()
        if wait_ns is None or before_ns is None:
            return {}
        return {"cpu_wait_share": (wait_ns - before_ns) / max(at_ns - since_ns, 1)}


def _cpu_wait_ns() -> int | None:
    try:
        ran_ns, waited_ns = SCHEDSTAT.read_text("ascii").split()[:2]
        return int(waited_ns) if int(ran_ns) else None
    except (OSError, ValueError):
        return None


class MetricsReader:
    """The gauges of a Prometheus page (text format), without labels or with them as part of the name."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._cpu: tuple[float, int] | None = None

    def read(self) -> Readings:
        """Gauges by name, those without a finite value left out; ``cpu_share`` from their CPU seconds.

        Raises:
            OSError, ValueError: when the page cannot be fetched or read.
        """
        try:
            # for all of it: urlopen's own time-out holds for each read
            with gevent.Timeout(FETCH_TIMEOUT_S, TimeoutError):
                page = self._fetch()
            return self._readings(page)
        except (HTTPException, LookupError) as error:
            raise ValueError(f"not a metrics page: {type(error).__name__}") from error

    def _fetch(self) -> str:
        with urllib.request.urlopen(self._url, timeout=FETCH_TIMEOUT_S) as answer:
            raw: bytes = answer.read(MAX_PAGE_BYTES)
        # every line of the format has an end: one without was cut, and would give a wrong number
        return raw[: raw.rfind(b"\n") + 1].decode("utf-8", errors="replace")

    def _readings(self, page: str) -> Readings:
        readings: Readings = {}
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if not math.isfinite(sample.value):
                    continue
                if sample.name == "process_cpu_seconds_total":
                    self._take_cpu(readings, sample.value)
                elif family.type == "gauge" and len(readings) < MAX_GAUGES:
                    labels = ",".join(f"{key}={label}" for key, label in sorted(sample.labels.items()))
                    name = PROCESS_METRICS.get(sample.name, sample.name)
                    readings[f"{name}{{{labels}}}" if labels else name] = float(sample.value)
        return readings

    def _take_cpu(self, readings: Readings, cpu_s: float) -> None:
        now_ns = time.perf_counter_ns()
        if self._cpu is not None and cpu_s >= self._cpu[0]:
            # less than before: another process has taken its place
            before_s, before_ns = self._cpu
            readings["cpu_share"] = (cpu_s - before_s) * NS_PER_S / max(now_ns - before_ns, 1)
        self._cpu = (cpu_s, now_ns)


def lags(late_ns: int, interval_ns: int) -> list[int]:
    """A reading that came so late, and those that it kept from being made, an interval apart.

    A loop that stands still is not read meanwhile: one late reading for all that time would hide it from
    every percentile (HdrHistogram's correction for coordinated omission).
    """
    return [max(0, late_ns), *range(late_ns - interval_ns, 0, -interval_ns)]


def watcher(watched: str) -> Callable[[], Readings]:
    """Reads the process id or metrics URL that ``--watch`` named.

    Raises:
        psutil.Error: when there is no such process.
    """
    return ProcessReader(int(watched)).read if watched.isdigit() else MetricsReader(watched).read


class Gauges:
    """Readings once a second, on greenlets of their own, until ``stop``.

    Args:
        own: what else the generator says of itself: open sockets, requests in flight, users.
        watched: process ids and metrics URLs of the server's.
        guard: wraps a loop; see ``background.guarded``.
    """

    def __init__(
        self,
        recorder: Recorder,
        own: Callable[[], Readings],
        watched: list[str],
        guard: Guarded = unguarded,
    ) -> None:
        self._recorder = recorder
        self._own = own
        self._process = ProcessReader()
        self._wait = WaitReader()
        self._watchers = [watcher(each) for each in watched]
        self._lost: set[int] = set()
        self._greenlets = Group()
        for loop in (self._read_own, self._read_watched, self._measure_lag):
            self._greenlets.spawn(guard("the gauges", loop))

    def stop(self) -> None:
        """Read no more."""
        self._greenlets.kill()

    def look(self) -> None:
        """Read what the generator says of itself once more, now: what just became true cannot wait."""
        self._keep(GENERATOR, self._own())

    def _read_own(self) -> None:
        while True:
            gevent.sleep(READ_INTERVAL_S)
            readings = self._process.read()
            readings["cpu_saturated"] = float(readings["cpu_share"] >= CPU_LIMIT_SHARE)
            self._keep(GENERATOR, readings | self._wait.read() | self._own())

    def _read_watched(self) -> None:
        while self._watchers:
            gevent.sleep(READ_INTERVAL_S)
            for index, read in enumerate(self._watchers):
                try:
                    self._keep(TARGET, read())
                except (psutil.Error, OSError, ValueError) as error:
                    if index not in self._lost:
                        log.warning("The watched server cannot be read: %s.", type(error).__name__)
                    self._lost.add(index)

    def _measure_lag(self) -> None:
        series = self._recorder.series(self._recorder.worker)
        interval_ns = s_to_ns(LAG_INTERVAL_S)
        while True:
            planned_ns = time.perf_counter_ns() + interval_ns
            gevent.sleep(LAG_INTERVAL_S)
            now_ns = time.perf_counter_ns()
            self._recorder.tick(now_ns)
            series.hub_ns.extend(lags(now_ns - planned_ns, interval_ns))

    def _keep(self, source: str, readings: Readings) -> None:
        for name, reading in readings.items():
            self._recorder.gauge(source, name, reading)
