"""``--run-time``: a run lasts as long as it was asked to, however long its process took to start."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.processes import is_valid, load

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
