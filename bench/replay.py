"""The five incidents, `python -m bench.replay`: each of them, and the same load after the mend, side by side.

Exit codes: 0 each incident broke its function and the mend made it work, 1 one did not, 2 wrong usage or a
run that could not be made.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from bench.contenders import ROOT
from bench.incident_runs import PATIENCE_S, facts, loaded
from bench.incidents import BY_ID, Case, Incident
from bench.matrix import listed
from bench.processes import BenchError
from wsoak.judge.streams import never_fail_to_encode

EXIT_OK, EXIT_WRONG, EXIT_ERROR = 0, 1, 2

PAGE: Final = ROOT / "docs" / "incidents.md"


@dataclass(frozen=True, slots=True)
class Replay:
    """One incident as its report told it, and the load that shows it."""

    title: str
    told: str
    incident: Incident

    def case(self, *, mended: bool) -> Case:
        """The run before or after the mend; the load is the same."""
        when = "after" if mended else "before"
        return Case(f"{self.incident.system} {when}", (self.incident.system,), (self.incident,), mended)


REPLAYS: Final = (
    Replay(
        "dialogue: an empty error event",
        "The back end accepted the socket and closed it at once with 1008: a `datetime` in its reply could "
        "not be serialised.",
        BY_ID["dialogue:datetime-crash"],
    ),
    Replay(
        "call: no handshake ever completed",
        "The socket's route had no authentication middleware, and its handler panicked over a nil user id.",
        BY_ID["call:nil-user"],
    ),
    Replay(
        "roadmap: ten errors a second",
        "The client's URL lacked a prefix: each handshake was answered 404, and the client tried again a "
        "tenth of a second later, without end.",
        replace(
            BY_ID["roadmap:wrong-prefix"],
            users=1,
            options=("--reconnect", "immediate", "--retry-pause", "0.1"),
        ),
    ),
    Replay(
        "tasks: ECONNRESET through the proxy",
        "A proxy in front reset the connection while the upgrade was under way.",
        BY_ID["tasks:proxy-reset"],
    ),
    Replay(
        "voice: closed without a status",
        "The hello was answered, then the socket closed with 1005, and the client sent on it all the same.",
        BY_ID["voice:close-after-hello"],
    ),
)
WHEN: Final = (("before", False), ("after", True))


def compared(before: Path, after: Path) -> dict[str, Any]:
    """What ``analysis compare`` says of two runs.

    Raises BenchError where it says nothing.
    """
    answer = subprocess.run(
        [sys.executable, "-m", "analysis", "compare", str(before), str(after), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    if answer.returncode != 0:
        raise BenchError(f"no comparison of {before.name} and {after.name}: {answer.stderr.strip()}")
    sides: dict[str, Any] = json.loads(answer.stdout)
    return sides


def replayed(replay: Replay, folder: Path) -> tuple[str, bool]:
    """The replay's section of the page, and whether the function broke before and works after.

    Raises BenchError where a run cannot be made.
    """
    before, after = (loaded(replay.case(mended=mended), folder / when)[0] for when, mended in WHEN)
    sides = compared(before, after)
    right = [sides[when][0]["works"] for when, _ in WHEN] == [False, True]
    incident = replay.incident
    users = f"{incident.users} user{'s' if incident.users > 1 else ''}"
    load = ", ".join(
        [f"`{incident.fault}`", users, *([f"`{' '.join(incident.options)}`"] * bool(incident.options))]
    )
    return "\n".join([f"## {replay.title}", "", replay.told, "", f"{load}:", "", *_table(sides)]), right


def _table(sides: dict[str, Any]) -> list[str]:
    rows = [(row["figure"], row["before"], row["after"]) for row in sides["incident_report"]]
    found = [
        ", ".join(f"`{each['id']}`" for each in sides[when][0]["findings"]) or "none" for when, _ in WHEN
    ]
    return [
        "|  | before | after |",
        "| --- | --: | --: |",
        *(f"| {figure} | {before} | {after} |" for figure, before, after in [*rows, ("findings", *found)]),
    ]


def page(sections: Sequence[str], made_by: Mapping[str, str]) -> str:
    """The page: how it was made, and each replay's section."""
    head = [
        "# The five incidents, before and after",
        "",
        "Each is loaded for real: the embedded target with the fault, and the same load without it. The",
        "figures are those of `python -m analysis compare BEFORE AFTER`.",
        "",
        *listed(made_by),
    ]
    return "\n\n".join(["\n".join(head), *sections]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    never_fail_to_encode()
    parser = argparse.ArgumentParser(prog="python -m bench.replay", description=__doc__)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the runs' directories here")
    parser.add_argument("--write", type=Path, metavar="FILE", default=PAGE, help="default: docs/incidents.md")
    options = parser.parse_args(arguments)
    sections, all_right, begun = [], True, time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as temporary:
            for replay in REPLAYS:
                folder = (options.keep or Path(temporary)) / replay.incident.system
                section, right = replayed(replay, folder)
                sections.append(section)
                all_right &= right
                print(f"{'right' if right else 'WRONG'}  {replay.title}", file=sys.stderr, flush=True)
    except BenchError as error:
        print(f"bench.replay: {error}", file=sys.stderr)
        return EXIT_ERROR
    made_by = facts("bench.replay", (), time.monotonic() - begun)
    options.write.write_text(page(sections, made_by), encoding="utf-8")
    print(f"See {options.write}.")
    return EXIT_OK if all_right else EXIT_WRONG


if __name__ == "__main__":
    sys.exit(main())
