"""Locust first: it monkey-patches, and the wire must work in the process that it makes."""

from __future__ import annotations

# ruff: noqa: I001 - locust before everything else
import locust  # noqa: F401
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire.harness import OPENERS, Certificates, OpenerOf, RealServer, SteadyClock


@pytest.fixture(autouse=True)
def steady_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine takes from this process does not count: see ``SteadyClock``."""
    monkeypatch.setattr(time, "perf_counter_ns", SteadyClock())


@pytest.fixture(params=OPENERS, ids=str)
def opener(request: pytest.FixtureRequest) -> OpenerOf:
    """Each of the two clients."""
    found: OpenerOf = OPENERS[request.param]
    return found


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Certificates]:
    """A certificate authority of the test's own, and a certificate of it for localhost and 127.0.0.1."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    signed_by_ca = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
    for arguments in (
        ["req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test", "-days", "2"],
        ["req", *new_key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost"],
        ["x509", "-req", "-in", "server.csr", "-out", "server.pem", "-extfile", "names", *signed_by_ca],
    ):
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)
    yield Certificates(*(Path(folder / name) for name in ("ca.pem", "server.pem", "server.key")))


@pytest.fixture(scope="module")
def real_server() -> Iterator[RealServer]:
    """The ``websockets`` library's server."""
    server = RealServer()
    yield server
    server.close()


@pytest.fixture
def mortal_server() -> Iterator[RealServer]:
    """One more of these, for a test that stops it."""
    server = RealServer()
    yield server
    server.close()
