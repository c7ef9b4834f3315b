"""Foreign servers, and runs that several tests look at."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.processes import PATIENCE_S, PATIENT, Outcome, Server, load_until, serving
from tests.target.client import Target, running
from wsoak.ledger.books import Books

SERVERS: Final = Path(__file__).parent / "servers"

HEALTHY_SOCKETS: Final = 300

Healthy = tuple[Target, Outcome]
Serve = Callable[[], AbstractContextManager[Server]]


def serve_websockets(delay_s: float = 0.0) -> AbstractContextManager[Server]:
    """The echo server on the ``websockets`` library, which answers after ``delay_s`` seconds."""
    return serving(sys.executable, str(SERVERS / "websockets_echo.py"), str(delay_s))


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with npm's ``ws`` in it; skips where there is no node, no npm or no registry."""
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"npm's ws was not tested: no {' and no '.join(missing)} here")
    folder = tmp_path_factory.mktemp("npm")
    options = ("--no-audit", "--no-fund", "--no-save", "--no-package-lock", "--ignore-scripts")
    try:
        subprocess.run(
            ["npm", "install", *options, "ws@8"],
            cwd=folder,
            capture_output=True,
            timeout=PATIENCE_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"npm's ws was not tested: `npm install ws` failed ({type(error).__name__})")
    return folder / "node_modules"


@pytest.fixture(params=["websockets", pytest.param("ws", id="npm-ws")])
def serve_echo(request: pytest.FixtureRequest) -> Serve:
    """Starts an echo server that this project has no part in."""
    if request.param == "websockets":
        return serve_websockets
    modules = request.getfixturevalue("node_modules")
    return lambda: serving("node", str(SERVERS / "ws_echo.js"), NODE_PATH=str(modules))


@pytest.fixture(scope="session")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Healthy]:
    """A healthy run of both systems, and the target that it went to."""
    path = tmp_path_factory.mktemp("healthy") / "run"

    def used(books: Books) -> bool:
        return books.open_now == HEALTHY_SOCKETS and books.count("replies") > 2 * HEALTHY_SOCKETS

    with running("--accounts", "400") as target:
        # a dialogue has twenty messages: none ends before the run, so that none is being opened at its end
        users = ("-u", str(HEALTHY_SOCKETS), "-r", "100", "--message-rate", "0.5", *PATIENT)
        arguments = ("-f", "tests/e2e/locustfile_target.py", "--host", target.url, *users)
        yield target, load_until(used, "all sockets were in use", path, *arguments)
