"""A real Redis of the tests' own, on a loopback port; ended with them, by its process id."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

PATIENCE_S = 30.0
PROGRAM = "redis-server"


def free_port() -> int:
    """A port on which nobody listens at the moment."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class RedisServer:
    """A Redis that can be stopped, and started again in the same place."""

    def __init__(self, folder: str, password: str = "") -> None:
        self.port = free_port()
        self.url = f"redis://{f':{password}@' if password else ''}127.0.0.1:{self.port}/0"
        self._command = [PROGRAM, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", folder]
        self._command += ["--save", "", "--appendonly", "no", "--loglevel", "warning"]
        self._command += ["--requirepass", password] if password else []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        give_up = time.monotonic() + PATIENCE_S
        while True:
            try:
                with redis.Redis.from_url(self.url) as asked:
                    asked.ping()
                return
            except redis.exceptions.ConnectionError:
                assert self._process.poll() is None, "the Redis has ended"
                assert time.monotonic() < give_up, "the Redis never answered"
                time.sleep(0.02)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def redis_server(password: str = "") -> Iterator[RedisServer]:
    """A Redis for the length of a block; skips where the program is not installed."""
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"{PROGRAM} is not installed")
    with tempfile.TemporaryDirectory(prefix="wsoak-redis-") as folder:
        server = RedisServer(folder, password)
        try:
            server.start()
            yield server
        finally:
            server.kill()
