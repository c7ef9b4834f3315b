"""Own packages: a project with an ``analysis`` or ``target`` of its own breaks nothing of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.e2e.processes import LOCUST, PATIENCE_S, ROOT, UNHURRIED, environment

USER = """
import analysis, scenarios, target
from locust import task
from wsoak.load import WebSocketUser

class ChatUser(WebSocketUser):
    @task
    def chat(self):
        with self.connect("/echo", name="chat") as ws:
            assert ws.request({"reply_to": 1}, reply_to=1)
"""
GATES = """
gates = ["handshake.success >= 50%", "drift.memory < 90%/h"]
"""


def test_a_run_in_a_project_with_packages_of_the_same_names(tmp_path: Path) -> None:
    for name in ("analysis", "scenarios", "target"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("THEIRS = True\n")
        (tmp_path / name / "__main__.py").write_text("raise SystemExit('theirs')\n")
    (tmp_path / "locustfile.py").write_text(USER)
    (tmp_path / "gates.toml").write_text(GATES)
    load = ("ChatUser", "--headless", "-u", "2", "-r", "2", "-t", "3s", *UNHURRIED)
    done = subprocess.run(
        [LOCUST, *load, "--gates", "gates.toml", "--run-dir", "run"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    said = done.stdout + done.stderr
    # the embedded target was ours, and so was the analysis that measured the drift of too short a run
    assert "handshakes (100 %) succeeded" in said
    assert "The analysis could not measure" not in said
    verdict = json.loads((tmp_path / "run" / "verdict.json").read_text())
    assert [gate["verdict"] for gate in verdict["gates"]] == ["pass", "inconclusive"]
    assert done.returncode in (3, 4), said
    # what is said to be typed works in this folder
    (command,) = [line.partition("draw it with: ")[2] for line in said.splitlines() if "draw it" in line]
    assert command == "python -P -m analysis report run"
    drawn = subprocess.run(
        [sys.executable, *command.split()[1:]],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "run" / "report.html").is_file()
    assert not (ROOT / "run").exists()
