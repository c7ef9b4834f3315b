"""Target process: the embedded target as a child, started when no host is given, and gone with its parent.

The child ends when its standard input does. The kernel closes that pipe however the parent dies, ``kill -9``
included, so no target is ever left behind.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import subprocess
from typing import Final

import gevent
from gevent import subprocess as cooperative
from gevent.lock import RLock

from wsoak.load.own_modules import command, surroundings

log = logging.getLogger(__name__)

READY_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 15.0

SECRET_VARIABLE: Final = "WSOAK_JWT_SECRET"
SPARE_SECRET: Final = secrets.token_hex(32)
"""For the embedded target where the environment has none; made at import, so that Locust's forks know it."""


def shared_secret(embedded: bool) -> str | None:
    """What tokens are signed with: the environment's secret, else that of our own embedded target, if any.

    Args:
        embedded: whether the server under load is the embedded target.
    """
    return os.environ.get(SECRET_VARIABLE) or (SPARE_SECRET if embedded else None)


class TargetFailed(Exception):
    """The embedded target did not start; the message is one sentence for the user."""


class TargetProcess:
    """``python -m target`` on a free port of the loopback interface.

    Args:
        accounts: how many accounts it seeds.

    Raises:
        TargetFailed: when it ends, or says nothing, before it is ready.
    """

    def __init__(self, accounts: int) -> None:
        asked = command("target", "--port", "0", "--accounts", str(accounts), "--stop-with-stdin")
        # a session of its own: a terminal's Ctrl-C is for us, and the target must outlive our sockets
        self._process = cooperative.Popen(
            asked,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env={**surroundings(), SECRET_VARIABLE: shared_secret(embedded=True)},
        )
        self._stopping = RLock()
        line = b""
        with gevent.Timeout(READY_TIMEOUT_S, False):
            line = self._process.stdout.readline()
        try:
            ready = json.loads(line)
        except ValueError:
            self._process.kill()
            raise TargetFailed(
                f"The embedded target did not start within {READY_TIMEOUT_S:.0f} s; run `python -m target "
                "--port 0` to see why, or name a host with --host."
            ) from None
        self.url: str = ready["url"]
        self.pid: int = ready["pid"]

    def stop(self) -> None:
        """Have it end in order, as SIGTERM would; by force when it takes too long.

        A call while another one is at it waits for that; later ones do nothing.
        """
        with self._stopping:
            if self._process.poll() is not None:
                return
            self._process.stdin.close()
            try:
                self._process.wait(timeout=STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                log.warning("The embedded target did not end within %.0f s, and was killed.", STOP_TIMEOUT_S)
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()
