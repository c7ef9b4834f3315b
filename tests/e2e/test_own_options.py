"""Own options: a locustfile's option with the name of one of ours is refused in one sentence."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.processes import LOCUST, PATIENCE_S, ROOT, environment

ADDS: Final = """
from locust import events, task

@events.init_command_line_parser.add_listener
def add(parser):
    parser{group}.add_argument("{flag}", type=str, default="")
"""
IMPORTS: Final = "from wsoak.load import WebSocketUser\n"
USER: Final = """
class ChatUser(WebSocketUser):
    @task
    def chat(self):
        self.connect("/x").close()
"""
WAYS: Final = {
    "before ours": (ADDS, IMPORTS, USER),
    "after ours": (IMPORTS, ADDS, USER),
}


@pytest.mark.parametrize("group", ["", ".add_argument_group('mine')"], ids=["alone", "in a group"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("flag", "taken"), [("--message-rate", True), ("--gates", True), ("--mine", False)])
def test_an_option_with_a_name_of_ours_is_one_sentence(
    way: str, group: str, flag: str, taken: bool, tmp_path: Path
) -> None:
    file = tmp_path / "locustfile.py"
    file.write_text("".join(WAYS[way]).replace("{group}", group).replace("{flag}", flag))
    done = subprocess.run(
        [LOCUST, "-f", str(file), "--list"],
        cwd=tmp_path,
        env={**environment(tmp_path), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    said = (done.stdout + done.stderr).strip()
    if taken:
        sentence = f"The locustfile declares the option {flag}, which is one of wsoak's own"
        sentence += ": give yours another name."
        assert (done.returncode, said) == (2, sentence)
    else:
        assert (done.returncode, "ChatUser" in said) == (0, True), said
