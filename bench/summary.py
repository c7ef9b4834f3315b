"""What the bench prints: each kind of work with its contenders, their ratios, the machine, and its doubts."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from bench.contenders import KINDS, Kind
from bench.measure import UNITS, Measurement

PACKAGES = ("locust", "gevent", "websocket-client", "wsaccel", "picows")
_NOISY_SPREAD = 0.10
_NOISY_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Spread:
    """Smallest, median and largest of some rounds."""

    least: float
    median: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of one value or more."""
        return cls(min(values), statistics.median(values), max(values))

    def text(self) -> str:
        """The median, and the two ends in brackets, to three significant digits or whole numbers."""
        return f"{_number(self.median)} ({_number(self.least)}–{_number(self.most)})"


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of work: each contender's spread, and the later ones' ratios to the first, paired by round."""

    kind: Kind
    values: Mapping[str, Spread]
    ratios: Mapping[str, Spread]


def rows(measurements: Iterable[Measurement]) -> list[Row]:
    """One row a kind, in the order of KINDS; contenders in the order of their first measurement."""
    measured = list(measurements)
    names = list(dict.fromkeys(each.contender for each in measured))
    return [_row(kind, names, measured) for kind in KINDS if any(each.kind == kind for each in measured)]


def _row(kind: Kind, names: list[str], measured: list[Measurement]) -> Row:
    by_name = {
        name: {each.round: each.value for each in measured if (each.contender, each.kind) == (name, kind)}
        for name in names
    }
    first, *others = names
    ratios = {
        name: Spread.of([by_name[name][number] / value for number, value in by_name[first].items()])
        for name in others
    }
    return Row(kind, {name: Spread.of(list(values.values())) for name, values in by_name.items()}, ratios)


def table(summary: Sequence[Row], connections: Mapping[Kind, int], rounds: int) -> str:
    """The rows as a Markdown table, aligned so that it reads well as plain text too."""
    names, others = list(summary[0].values), list(summary[0].ratios)
    header = [f"median (least–most) of {rounds}", *names, *(f"{name} ÷ {names[0]}" for name in others)]
    lines = [header, *(_cells(row, connections[row.kind]) for row in summary)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def _cells(row: Row, connections: int) -> list[str]:
    label = f"{row.kind}: {UNITS[row.kind]}, {connections:,} connections"
    return [
        label,
        *(each.text() for each in row.values.values()),
        *(each.text() for each in row.ratios.values()),
    ]


def machine() -> dict[str, str]:
    """The facts that the figures depend on."""
    versions = {name: version for name in PACKAGES if (version := _version(name))}
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        **versions,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def doubts(measurements: Sequence[Measurement], summary: Sequence[Row]) -> list[str]:
    """A line for each remark of a run, a noisy machine, and each contender whose rounds lie far apart."""
    lines = [
        f"{each.kind}, {each.contender}, round {each.round}: {remark}"
        for each in measurements
        for remark in each.remarks
    ]
    lines += _noise(measurements)
    for row in summary:
        for name, spread in row.values.items():
            if (apart := (spread.most - spread.least) / spread.median) > _NOISY_SPREAD:
                lines.append(f"{row.kind}, {name}: the rounds lie {apart:.0%} apart")
    return lines


def _noise(measurements: Sequence[Measurement]) -> list[str]:
    # Memory does not depend on who else is running.
    rates = [each.foreign_share for each in measurements if each.kind != "memory"]
    noisy = [share for share in rates if share > _NOISY_SHARE]
    if not noisy:
        return []
    return [
        f"noisy machine: in {len(noisy)} of {len(rates)} runs other processes took up to "
        f"{max(noisy):.0%} of a core; stop them and run this again"
    ]
