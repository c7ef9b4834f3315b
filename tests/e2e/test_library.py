"""Locust without its command line: a single user in a debugger, and Locust as a library."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.processes import LOCUST, PATIENCE_S, ROOT, environment
from tests.target.client import Target, running

USER: Final = """
import sys

import gevent
from locust import events, run_single_user, task
from locust.env import Environment

from wsoak.load import WebSocketUser
from wsoak.load.hooks import register


class ChatUser(WebSocketUser):
    @task
    def chat(self):
        with self.connect("/echo", name="chat") as ws:
            answer = ws.request({"reply_to": 1}, reply_to=1)
            print("ANSWER", answer.data, flush=True)
        self.environment.answered = True
        gevent.sleep(60)


def answered(env):
    while not getattr(env, "answered", False):
        gevent.sleep(0.05)


ChatUser.host = url = sys.argv.pop()
"""

SINGLE: Final = """
from locust import debug

def end():
    while debug._env is None:
        gevent.sleep(0.05)
    answered(debug._env)
    gevent.sleep(0)
    print(len(debug._env.stats.entries), flush=True)
    import os
    os._exit(0)

gevent.spawn(end)
run_single_user(ChatUser)
"""

LIBRARY: Final = """
env = Environment(user_classes=[ChatUser], host=url{events})
{register}
runner = env.create_local_runner()
env.events.init.fire(environment=env, runner=runner, web_ui=None)
runner.start(2, spawn_rate=2)
answered(env)
gevent.sleep(1.5)
runner.quit()
print("REQUESTS", env.stats.get("chat", "WSREQ").num_requests > 0)
"""

WAYS: Final = {
    "locust's own events": LIBRARY.format(events=", events=events", register=""),
    "registered": LIBRARY.format(events="", register="register(env.events)"),
    "not registered": LIBRARY.format(events="", register=""),
}


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with running() as started:
        yield started


def run(folder: Path, script: str, url: str) -> subprocess.CompletedProcess[str]:
    """A script of a user's, from start to end, in a folder of its own."""
    program = folder / "script.py"
    program.write_text(USER + script)
    return subprocess.run(
        [sys.executable, str(program), url],
        cwd=folder,
        env={**environment(folder), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_a_single_user_runs_alone_and_shows_its_requests(target: Target, tmp_path: Path) -> None:
    done = run(tmp_path, SINGLE, target.url)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert 'ANSWER {"reply_to":1}' in done.stdout
    assert "WSOPEN" in done.stdout
    assert "WSREQ" in done.stdout
    assert "Traceback" not in said
    # no run, and no embedded target either
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("way", WAYS)
def test_locust_as_a_library_works_and_says_where_no_run_is_recorded(
    way: str, target: Target, tmp_path: Path
) -> None:
    done = run(tmp_path, WAYS[way], target.url)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert 'ANSWER {"reply_to":1}' in done.stdout
    assert "REQUESTS True" in done.stdout
    assert "Traceback" not in said
    runs = list((tmp_path / "results").glob("*/run.json"))
    assert len(runs) == (0 if way == "not registered" else 1)
    assert ("No run is recorded" in said) is (way == "not registered")
    if runs:
        assert json.loads(runs[0].read_text())["ended_at"]


LISTENERS: Final = """
from locust import events, task

@events.test_stop.add_listener
def early(environment, **_):
    print("EARLY", environment.stats.total.num_requests, flush=True)

from wsoak.load import WebSocketUser

@events.test_stop.add_listener
def late(environment, **_):
    print("LATE", environment.stats.total.num_requests, flush=True)

@events.quitting.add_listener
def quitting(environment, **_):
    print("QUIT", environment.stats.total.num_requests, flush=True)

class ChatUser(WebSocketUser):
    @task
    def chat(self):
        with self.connect("/echo", name="chat") as ws:
            for _ in range(20):
                ws.request({"reply_to": 1}, reply_to=1)
"""


@pytest.mark.parametrize("processes", [(), ("--processes", "2")], ids=["one process", "workers"])
def test_listeners_of_the_end_see_all_of_the_statistics(
    processes: tuple[str, ...], target: Target, tmp_path: Path
) -> None:
    (tmp_path / "locustfile.py").write_text(LISTENERS)
    load = ("ChatUser", "--headless", "-u", "4", "-r", "4", "-t", "3s", "--checks", "none", *processes)
    done = subprocess.run(
        [LOCUST, *load, "--host", target.url, "--run-dir", "run", "--only-summary"],
        cwd=tmp_path,
        env={**environment(tmp_path), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    said = done.stdout + done.stderr
    seen = {
        word: int(number) for word, number in re.findall(r"^(EARLY|LATE|QUIT) (\d+)$", said, re.MULTILINE)
    }
    assert set(seen) == {"EARLY", "LATE", "QUIT"}, said
    assert len(set(seen.values())) == 1, seen
    assert seen["EARLY"] > 20
