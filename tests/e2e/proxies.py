"""Proxies: HAProxy and nginx as they come, in front of servers of ours, each for the length of a block.

Both are given listening sockets that this process has bound: no port is guessed, and none is raced for. They
run in the foreground, need no privileges, write into one folder, and are ended by their process ids.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.e2e.processes import PATIENCE_S, eventually

IDLE_S: Final = 6
"""After so many seconds of silence, an ``idle`` door of either proxy gives a socket up."""

BUSY_S: Final = 60
"""The same for every other door: whoever talks is never silent for as long."""


@dataclass(frozen=True, slots=True)
class Door:
    """A port of a proxy, and what it does with what comes in.

    Attributes:
        backend: the URL of the server behind it.
        idle_s: its time-out for silent sockets, in seconds.
        rejects: ends each connection by itself, and asks no server.
    """

    backend: str
    idle_s: int = BUSY_S
    rejects: bool = False

    @property
    def address(self) -> str:
        """Host and port of the server behind it."""
        return urlsplit(self.backend).netloc


Doors = Mapping[str, Door]

HAPROXY_HEAD: Final = f"""\
global
  maxconn 1000
defaults
  mode http
  timeout connect 2s
  timeout client {BUSY_S}s
  timeout server {BUSY_S}s
  timeout http-request 10s
"""


def haproxy_config(doors: Doors, ports: Sequence[socket.socket]) -> str:
    """HAProxy's configuration: a ``listen`` section a door, on the descriptors that it inherits."""
    sections = [
        # checked, so that a server that is gone is known to be, as in production
        f"listen {name}\n  bind fd@{port.fileno()}\n  timeout tunnel {door.idle_s}s\n"
        + ("  tcp-request content reject\n" if door.rejects else "")
        + f"  server target {door.address} check inter 200ms fall 2 rise 1\n"
        for (name, door), port in zip(doors.items(), ports, strict=True)
    ]
    return HAPROXY_HEAD + "".join(sections)


def nginx_config(doors: Doors, ports: Sequence[socket.socket]) -> str:
    """nginx's configuration: a ``server`` block a door, on the descriptors that it inherits."""
    servers = [
        f"server {{ listen {host_and_port(port)}; reset_timedout_connection on;\n    location / {{"
        + (
            " return 444;"
            if door.rejects
            else f"""
      proxy_pass http://{door.address};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header Host $host;
      proxy_connect_timeout 2s;
      proxy_read_timeout {door.idle_s}s;
      proxy_send_timeout {door.idle_s}s;"""
        )
        + " } }\n"
        for door, port in zip(doors.values(), ports, strict=True)
    ]
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return (
        "daemon off; pid nginx.pid; error_log error.log info;\n"
        "events { worker_connections 1000; }\n"
        "http {\n  access_log off;\n"
        + "".join(f"  {kind}_temp_path temp_{kind};\n" for kind in kinds)
        + "  map $http_upgrade $connection_upgrade { default upgrade; '' close; }\n  "
        + "  ".join(servers)
        + "}\n"
    )


def host_and_port(port: socket.socket) -> str:
    """A bound socket's address as both proxies write it."""
    host, number = port.getsockname()
    return f"{host}:{number}"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A kind of proxy: its program, and its configuration and command for a folder."""

    name: str
    config: Callable[[Doors, Sequence[socket.socket]], str]
    arguments: Callable[[Path], Sequence[str]]

    @property
    def program(self) -> str | None:
        """Where it is installed; administrators' programs are often not in a user's path."""
        return shutil.which(self.name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")

    def needed(self) -> str:
        """Where it is installed; skips the test where it is not."""
        program = self.program
        if program is None:
            pytest.skip(f"{self.name} was not tested: it is not installed here")
        return program


HAPROXY: Final = Proxy("haproxy", haproxy_config, lambda config: ("-db", "-f", str(config)))
NGINX: Final = Proxy(
    "nginx",
    nginx_config,
    lambda config: ("-p", f"{config.parent}/", "-c", str(config), "-e", str(config.parent / "error.log")),
)
PROXIES: Final = {proxy.name: proxy for proxy in (HAPROXY, NGINX)}


@contextmanager
def proxying(proxy: Proxy, folder: Path, doors: Doors) -> Iterator[dict[str, str]]:
    """A proxy for the length of a block: the URL of each of its doors.

    Args:
        folder: for its configuration and what it writes.
    """
    program = proxy.needed()
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        ports = [stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=512)) for _ in doors]
        config = folder / f"{proxy.name}.cfg"
        config.write_text(proxy.config(doors, ports))
        said = folder / f"{proxy.name}.log"
        descriptors = [port.fileno() for port in ports]
        process = subprocess.Popen(
            [program, *proxy.arguments(config)],
            cwd=folder,
            env={**os.environ, "NGINX": "".join(f"{descriptor};" for descriptor in descriptors)},
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stdout=stack.enter_context(said.open("wb")),
            stderr=subprocess.STDOUT,
        )
        urls = {name: f"http://{host_and_port(port)}" for name, port in zip(doors, ports, strict=True)}
        try:
            for port in ports:
                # from here on the proxy alone holds the port: a connection is its own, or refused
                port.close()
            eventually(lambda: _answers(process, said, urls), f"{proxy.name} answered")
            yield urls
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(process: subprocess.Popen[bytes], said: Path, urls: Mapping[str, str]) -> bool:
    """Whether it has taken a connection and ended or answered it: the kernel alone does neither."""
    assert process.poll() is None, said.read_text(errors="replace")
    door = urlsplit(next(iter(urls.values())))
    with socket.create_connection((door.hostname, door.port), 1.0) as asked:
        asked.settimeout(1.0)
        asked.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        try:
            asked.recv(1)
        except TimeoutError:
            return False
        except ConnectionResetError:
            return True
    return True
