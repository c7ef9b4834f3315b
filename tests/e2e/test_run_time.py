"""``--run-time``: a run lasts as long as it was asked to, however long its process took to start."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.distributed.cluster import free_port
from tests.e2e.processes import (
    LOCUST,
    NO_CHECKS,
    PATIENCE_S,
    ROOT,
    UNHURRIED,
    environment,
    is_valid,
    load,
)
from wsoak.ledger.rundir import RunReader

RUN_S = 2


def test_a_start_up_longer_than_the_run_takes_nothing_of_it(tmp_path: Path) -> None:
    file = "tests/e2e/locustfile_late.py"
    done = load(tmp_path / "run", "-f", file, "EchoUser", "-u", "4", "-r", "4", "-t", f"{RUN_S}s")
    header = done.run.header
    assert header["ended_by"] == "run-time", done.said
    # rounded to the millisecond, and by another clock
    assert header["ended_at"] - header["started_at"] >= RUN_S - 0.1
    assert done.run.books().count("opened") > 0
    is_valid(done)


HEADLESS: Final = ("--headless",)
AUTOSTART: Final = ("--autostart", "--autoquit", "0", "--web-host", "127.0.0.1", "--web-port")
NOBODY: Final = ("--checks", "preflight", "--host", "ws://127.0.0.1:1/x")
REACHED: Final = re.compile(r"^\[(\S+ [\d:]+),\d+\] .*--run-time limit reached", re.MULTILINE)


@pytest.mark.parametrize("way", ["headless", "autostart"])
@pytest.mark.parametrize(
    ("gate", "more", "code"),
    [("", (), 0), ("handshake.count > 1", (), 0), ("handshake.count > 1000000", (), 1), ("", NOBODY, 4)],
    ids=["no gates", "kept", "missed", "nobody there"],
)
def test_who_starts_by_itself_ends_as_without_a_web_ui(
    way: str, gate: str, more: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    path, gates = tmp_path / "run", tmp_path / "gates.toml"
    gates.write_text(f'gates = ["{gate}"]')
    with free_port() as port:
        command = [
            *(LOCUST, "-f", "locustfile.py", *NO_CHECKS, *UNHURRIED, "EchoUser", "-u", "2", "-r", "2"),
            *("-t", f"{RUN_S}s", "--run-dir", str(path), *more, *(("--gates", str(gates)) if gate else ())),
            *(HEADLESS if way == "headless" else (*AUTOSTART, str(port))),
        ]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment(tmp_path),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    header = RunReader(path).header
    if code == 4:
        assert header["ended_by"] == "preflight"
        return
    assert header["ended_by"] == "run-time", said
    assert header["ended_at"] - header["started_at"] >= RUN_S - 0.1
    assert len(REACHED.findall(said)) == 1
