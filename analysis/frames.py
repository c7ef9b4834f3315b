"""Frames: a run directory as books and DataFrames, read once.

What is drawn over time is binned to at most ``BINS`` points. Percentiles are never averaged: the
histograms of a bin's seconds are added up, and the percentile is taken of their sum.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.recovery import MassDrop, mass_drops
from wsoak.judge.findings import Finding, find
from wsoak.judge.validity import Doubt, doubts
from wsoak.ledger.books import Books
from wsoak.ledger.histogram import Histogram
from wsoak.ledger.outcomes import OF_AN_END
from wsoak.ledger.rundir import (
    COLUMN_TYPES,
    CONNECTIONS_FILE,
    GAUGES_FILE,
    RunReader,
    TimelineRow,
)
from wsoak.ledger.timeline import COUNTERS

BINS: Final = 120
"""At most so many points along the time of a chart."""
FINE_KINDS: Final = ("response", "hub")
FINE_BINS: Final = 1800
"""At most so many points along the time of a series that is tested for drift."""
BIN_SECONDS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400)

PHASES_MS: Final = ("resolve_ms", "tcp_ms", "tls_ms", "upgrade_ms", "hello_ms")
CONNECTION_COLUMNS: Final = (
    "name",
    "started_at",
    "outcome",
    *PHASES_MS,
    "usable",
    "attempt",
    "age_s",
    "code",
    "initiator",
    "detail",
    "reason",
)

_Sparse = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


class BinnedLatency:
    """Histograms by kind, name and time bin, kept as their filled buckets alone."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, str], dict[int, list[_Sparse]]] = defaultdict(lambda: defaultdict(list))

    def add(self, kind: str, name: str, bin_index: int, histogram: Histogram) -> None:
        """Count a histogram's durations in a bin."""
        self._parts[kind, name][bin_index].append(histogram.filled())

    def names(self, kind: str) -> list[str]:
        """The names that have durations of this kind."""
        return [of_name for of_kind, of_name in self._parts if of_kind == kind]

    def percentiles(
        self, kind: str, percents: Sequence[float], names: Iterable[str] | None = None
    ) -> pd.DataFrame:
        """Percentiles in milliseconds by bin (the index), a column each, and ``n``; of all names added up."""
        wanted = self.names(kind) if names is None else [n for n in names if (kind, n) in self._parts]
        bins: dict[int, list[_Sparse]] = defaultdict(list)
        for name in wanted:
            for bin_index, parts in self._parts[kind, name].items():
                bins[bin_index] += parts
        rows = []
        for bin_index in sorted(bins):
            merged = Histogram()
            for buckets, counts in bins[bin_index]:
                merged.count(buckets, counts)
            values = merged.percentiles_ns(percents)
            rows.append([bin_index, merged.total, *(None if v is None else v / 1e6 for v in values)])
        columns = ["bin", "n", *(f"p{percent:g}" for percent in percents)]
        return pd.DataFrame(rows, columns=columns).set_index("bin")


@dataclass
class Run:
    """A run, read: header, books, judgement, and the frames that charts are made of.

    ``start_s`` is the whole Unix second in which bin 0 begins, ``bin_s`` the seconds a bin.
    ``timeline`` has a row a bin and name with the counters; ``binned`` the latencies, and ``fine`` the
    response times and the generator's lag in bins of ``fine_s`` seconds. ``under_way``: it still went on
    when it was read.
    """

    reader: RunReader
    books: Books
    findings: list[Finding]
    doubts: list[Doubt]
    start_s: int
    bin_s: int
    bins: int
    timeline: pd.DataFrame
    binned: BinnedLatency
    fine: BinnedLatency
    fine_s: int
    path: Path = field(default_factory=Path)
    under_way: bool = False

    @property
    def header(self) -> dict[str, Any]:
        """What ``run.json`` says."""
        return self.reader.header

    @property
    def run_id(self) -> str:
        """The run's name."""
        return self.reader.run_id

    @property
    def started_at(self) -> float:
        """Unix time in seconds of the start, by the header, else of the first record."""
        started_at = number(self.header.get("started_at"))
        return started_at if started_at is not None else float(self.start_s)

    @cached_property
    def seconds(self) -> float:
        """How long the run took, by its header, else by its records."""
        ended_at = number(self.header.get("ended_at"))
        started_at = number(self.header.get("started_at"))
        if ended_at is not None and started_at is not None and ended_at > started_at:
            return ended_at - started_at
        return float(self.books.last_s - self.start_s + 1) if self.books.last_s is not None else 0.0

    @cached_property
    def connections(self) -> pd.DataFrame:
        """A row an ended attempt: as ``read_connections`` gives it, and ``start_bin``, ``bin``."""
        frame = read_connections(self.reader)
        frame["start_bin"] = self.bin_of(frame["started_at"])
        frame["bin"] = self.bin_of(frame["ended_at"])
        return frame

    @cached_property
    def mass_drops(self) -> list[MassDrop]:
        """The mass drops of sockets, and how their users came back."""
        return mass_drops(self.connections, self.books)

    @cached_property
    def gauges(self) -> pd.DataFrame:
        """A row a reading: ``worker``, ``source``, ``name``, ``value``, ``bin``."""
        frame = read_columns(self.reader, GAUGES_FILE, ("at", "worker", "source", "name", "value"))
        frame["bin"] = self.bin_of(frame["at"])
        return frame[frame["at"].notna() & frame["value"].notna()]

    def gauge(self, name: str, source: str = "generator") -> pd.DataFrame:
        """One gauge's mean by bin (the index), a column a worker; empty without readings."""
        frame = self.gauges
        found = frame[(frame["name"] == name) & (frame["source"] == source)]
        return found.pivot_table(
            index="bin", columns="worker", values="value", aggfunc="mean", observed=True
        ).reindex(range(self.bins))

    def summed(self, name: str, source: str = "generator") -> pd.Series:
        """One gauge's means by bin, all workers' added up; NaN where there are none.

        Each reads about once a second, so that now and then a bin has none of one worker's: its last one
        stands then, as long as more follow.
        """
        readings = self.gauge(name, source)
        return readings.ffill(limit_area="inside").sum(axis=1, min_count=1)

    def totals(self) -> pd.DataFrame:
        """The counters by bin, all names added up; every bin has a row."""
        columns = list(COUNTERS)
        return self.timeline.groupby("bin")[columns].sum().reindex(range(self.bins), fill_value=0)

    def bin_of(self, unix_s: pd.Series) -> pd.Series:
        """The bin of each Unix time; what lies outside the run goes to the first or last bin."""
        index = ((unix_s - self.start_s) // self.bin_s).clip(0, max(0, self.bins - 1))
        return index.fillna(0).astype("int64")


def load(path: Path) -> Run:
    """Read a run directory.

    Raises:
        UnreadableRun: when it holds no run that this wsoak can read.
    """
    reader = RunReader(path)
    # before the reading: what ends during it has been read in part
    under_way = reader.under_way
    books = Books()
    rows: list[TimelineRow] = []
    for row in reader.timeline():
        books.add_row(row.second, row.name, row.counters)
        rows.append(row)
    for record in reader.connections():
        books.add_connection(record)
    for gauge in reader.gauges():
        books.add_gauge(gauge)
    for observation in reader.observations():
        books.add_observation(observation)

    started_at = number(reader.header.get("started_at"))
    start_s = int(started_at) if started_at is not None else (books.first_s or 0)
    last_s = books.last_s if books.last_s is not None else start_s
    span_s = max(1, last_s - start_s + 1)
    bin_s = next((seconds for seconds in BIN_SECONDS if span_s <= seconds * BINS), BIN_SECONDS[-1])
    bins = -(-span_s // bin_s)

    binned, fine = BinnedLatency(), BinnedLatency()
    fine_s = -(-span_s // FINE_BINS)
    for interval in reader.latency():
        books.add_histogram(interval.kind, interval.name, interval.histogram)
        bin_index = min(bins - 1, max(0, (interval.second - start_s) // bin_s))
        binned.add(interval.kind, interval.name, bin_index, interval.histogram)
        if interval.kind in FINE_KINDS:
            fine.add(interval.kind, interval.name, (interval.second - start_s) // fine_s, interval.histogram)
    timeline = pd.DataFrame([row.counters for row in rows], columns=list(COUNTERS), dtype="float64")
    seconds = pd.Series([row.second for row in rows], dtype="int64")
    timeline["bin"] = ((seconds - start_s) // bin_s).clip(0, bins - 1)
    timeline["name"] = [row.name for row in rows]

    return Run(
        reader=reader,
        books=books,
        findings=find(books, started_at if started_at is not None else start_s),
        doubts=doubts(books, reader.header, under_way=under_way, damaged=reader.damaged),
        start_s=start_s,
        bin_s=bin_s,
        bins=bins,
        timeline=timeline,
        binned=binned,
        fine=fine,
        fine_s=fine_s,
        path=path,
        under_way=under_way,
    )


def read_connections(reader: RunReader) -> pd.DataFrame:
    """A row an ended attempt: ``CONNECTION_COLUMNS``, and ``opened_at``, ``ended_at``, ``by_run``.

    ``opened_at`` is the end of the last phase, whether the socket opened or not.
    """
    frame = read_columns(reader, CONNECTIONS_FILE, CONNECTION_COLUMNS)
    frame["opened_at"] = frame["started_at"] + frame[list(PHASES_MS)].sum(axis=1) / 1000
    frame["ended_at"] = frame["opened_at"] + frame["age_s"].fillna(0)
    of_an_end = frame["reason"].isin([f'"{reason}"' for reason in OF_AN_END])
    frame["by_run"] = (frame["initiator"] == "client") & of_an_end
    return frame[frame["started_at"].notna() & frame["outcome"].notna()].copy()


def read_columns(reader: RunReader, file_name: str, columns: Sequence[str]) -> pd.DataFrame:
    """Columns of a table, whole: numbers as float (NaN where empty or unreadable), words as categories.

    A server's text stays the JSON string that it is on disk.
    """
    raw = reader.table(file_name)
    head = pd.read_csv(io.BytesIO(raw), nrows=0).columns if raw else []
    present = [column for column in columns if column in head]
    words = [column for column in present if COLUMN_TYPES.get(column, bool) is bool]
    numbers = [column for column in present if column not in words]
    if not present:
        frame = pd.DataFrame({column: pd.Series(dtype="object") for column in columns})
    else:
        options: dict[str, Any] = {
            "usecols": present,
            "keep_default_na": False,
            "na_values": {column: [""] for column in numbers},
            "on_bad_lines": "skip",
            "encoding_errors": "replace",
        }
        try:
            kinds = {**dict.fromkeys(words, "str"), **dict.fromkeys(numbers, "float64")}
            frame = pd.read_csv(io.BytesIO(raw), dtype=kinds, **options)
        except ValueError:  # a damaged line: a word where a number belongs
            frame = pd.read_csv(io.BytesIO(raw), dtype="object", **options)
    for column in columns:
        if column not in frame:
            frame[column] = None
        if COLUMN_TYPES.get(column, bool) is not bool:
            frame[column] = pd.to_numeric(frame[column], errors="coerce")
        elif frame[column].dtype != "category":
            frame[column] = frame[column].fillna("").astype("category")
    return frame[list(columns)]


def number(value: Any) -> float | None:
    """The value as a float if it is a number, else ``None``."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
