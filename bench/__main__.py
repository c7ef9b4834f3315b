"""The benchmark, `python -m bench`: contenders take turns (A B A B …) at the same work on the same server.

Exit codes: 0 measured, 2 wrong usage or a measurement that could not be made.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from bench.contenders import CONTENDERS, KINDS, Contender, Kind, WorkError
from bench.measure import UNITS, Limits, Measurement, measure
from bench.processes import BenchError, Cores
from bench.summary import doubts, machine, rows, table
from wsoak.judge.streams import never_fail_to_encode

EXIT_OK, EXIT_ERROR = 0, 2


def parser() -> argparse.ArgumentParser:
    """The command line's options."""
    made = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    made.add_argument("--seconds", type=float, default=8.0, help="length of a steady window (default 8)")
    made.add_argument("--rounds", type=int, default=3, help="turns of each contender (default 3)")
    made.add_argument("--only", choices=KINDS, action="append", help="one kind of work; may be repeated")
    made.add_argument(
        "--contenders",
        default="plain,wsoak",
        help=f"out of {', '.join(CONTENDERS)}; the first is the measure",
    )
    made.add_argument(
        "--echo-connections", type=int, default=100, help="closed echo loops at once (default 100)"
    )
    made.add_argument(
        "--handshake-connections", type=int, default=50, help="handshake loops at once (default 50)"
    )
    made.add_argument(
        "--idle-connections", type=int, default=2000, help="held open for memory (default 2000)"
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="also write every measurement to FILE")
    return made


def chosen(names: str, connections: Mapping[Kind, int]) -> list[Contender]:
    """The contenders of a comma-separated list, checked before anything runs.

    Raises WorkError for an unknown, repeated or missing one, and for one that cannot hold these connections.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in CONTENDERS]
    if unknown or not wanted:
        raise WorkError(
            f"unknown contender {', '.join(unknown) or '(none)'}: choose from {', '.join(CONTENDERS)}"
        )
    if len(set(wanted)) < len(wanted):
        raise WorkError(f"a contender is named twice in {names}")
    contenders = [CONTENDERS[name] for name in wanted]
    for contender in contenders:
        if not contender.locustfile.exists():
            raise WorkError(f"{contender.name} has no locustfile at {contender.locustfile}")
        for kind, count in connections.items():
            contender.user_count(kind, count)
    return contenders


def run(
    contenders: Sequence[Contender],
    connections: Mapping[Kind, int],
    rounds: int,
    limits: Limits,
    cores: Cores,
) -> Iterator[Measurement]:
    """Every measurement, as it is made: kinds one after the other, in each round the contenders in turn."""
    for kind, count in connections.items():
        for number in range(1, rounds + 1):
            for contender in contenders:
                yield measure(contender, kind, count, number, limits, cores)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    never_fail_to_encode()
    options = parser().parse_args(arguments)
    if options.seconds <= 0 or options.rounds < 1:
        parser().error("--seconds must be above 0, --rounds at least 1")
    sizes = {
        "echo": options.echo_connections,
        "handshakes": options.handshake_connections,
        "memory": options.idle_connections,
    }
    connections: dict[Kind, int] = {kind: sizes[kind] for kind in KINDS if kind in (options.only or KINDS)}
    cores = Cores.available()
    measurements: list[Measurement] = []
    try:
        contenders = chosen(options.contenders, connections)
        for measured in run(contenders, connections, options.rounds, Limits(options.seconds), cores):
            measurements.append(measured)
            _progress(measured)
    except (BenchError, WorkError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return EXIT_ERROR
    _print_summary(measurements, connections, options.rounds, options.seconds, cores)
    if options.json is not None:
        options.json.write_text(json.dumps(_record(measurements, connections, cores), indent=1) + "\n")
    return EXIT_OK


def _progress(measured: Measurement) -> None:
    print(
        f"{measured.kind:<10} round {measured.round} {measured.contender:<13} {measured.value:>9,.1f} "
        f"{UNITS[measured.kind]}  (client {measured.client_share:.0%}, server {measured.server_share:.0%}, "
        f"others {measured.foreign_share:.0%} of a core)",
        file=sys.stderr,
        flush=True,
    )


def _print_summary(
    measurements: Sequence[Measurement],
    connections: Mapping[Kind, int],
    rounds: int,
    seconds: float,
    cores: Cores,
) -> None:
    summary = rows(measurements)
    print(table(summary, connections, rounds))
    pinned = (
        "server and client on a core each" if cores.client is not None else "server and client not pinned"
    )
    print(
        f"\n{pinned}, windows of {seconds:g} s; "
        + ", ".join(f"{name} {value}" for name, value in machine().items())
    )
    for doubt in doubts(measurements, summary):
        print(f"note: {doubt}")


def _record(
    measurements: Sequence[Measurement], connections: Mapping[Kind, int], cores: Cores
) -> dict[str, object]:
    summary = rows(measurements)
    return {
        "machine": machine(),
        "cores": asdict(cores),
        "connections": dict(connections),
        "units": dict(UNITS),
        "measurements": [asdict(each) for each in measurements],
        "summary": [asdict(row) for row in summary],
        "notes": doubts(measurements, summary),
    }


if __name__ == "__main__":
    sys.exit(main())
