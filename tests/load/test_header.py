"""Header: what a run says of itself, without secrets."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from wsoak.judge.latency_limit import LatencyLimit
from wsoak.load.header import command_line, git_revision, machine, run_header, versions, without_credentials

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["/opt/x/bin/locust", "EchoUser", "-u", "20"], ["locust", "EchoUser", "-u", "20"]),
        (["locust", "--password", "s3cret"], ["locust", "--password", "***"]),
        (["locust", "--password=s3cret", "-u", "2"], ["locust", "--password=***", "-u", "2"]),
        (["locust", "--api-key", "-s3cret"], ["locust", "--api-key", "***"]),
        (["locust", "--JWT-Secret=s3cret"], ["locust", "--JWT-Secret=***"]),
        # a flag that only sounds like a secret must not use up the mask of the next
        (["locust", "--with-auth", "--token", "s3cret"], ["locust", "--with-auth", "--token", "***"]),
        (["locust", "--with-auth", "--headless", "x"], ["locust", "--with-auth", "--headless", "x"]),
        (
            ["locust", "--with-auth", "--host=http://h", "x"],
            ["locust", "--with-auth", "--host=http://h", "x"],
        ),
        (["locust", "--token"], ["locust", "--token"]),
        (["locust", "-H", "https://me:s3cret@h:1/x"], ["locust", "-H", "https://***@h:1/x"]),
        (["locust", "-Hhttps://me:s3cret@h"], ["locust", "-Hhttps://***@h"]),
        (["locust", "--host=wss://me:s3cret@h"], ["locust", "--host=wss://***@h"]),
        (
            ["locust", "--watch", "http://h/m?key=s3cret&a=s3cret"],
            ["locust", "--watch", "http://h/m?key=***&a=***"],
        ),
        ([], []),
    ],
)
def test_a_command_line_is_shown_without_secrets(arguments: list[str], shown: list[str]) -> None:
    assert command_line(arguments) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://127.0.0.1:80/a", "http://127.0.0.1:80/a"),
        ("ws://u:s3cret@h/p", "ws://***@h/p"),
        ("ws://s3cret@h", "ws://***@h"),
        ("http://u:a@s3cret@h", "http://***@h"),
        ("http://u:a/s3cret@h/x", "http://***@h/x"),
        ("http://u:a?s3cret#@h/x", "http://***@h/x"),
        ("http://h/#access_token=s3cret", "http://h/#access_token=***"),
        ("http://h/?a=s3cret#b=s3cret", "http://h/?a=***#b=***"),
        ("ws://h/ws?s3cret", "ws://h/ws?***"),
        ("ws://h/ws?a=1&s3cret&b=", "ws://h/ws?a=***&***&b=***"),
        ("a=b@c", "a=b@c"),
        ("who?me=1", "who?me=1"),
    ],
)
def test_a_url_is_shown_without_credentials(text: str, shown: str) -> None:
    assert without_credentials(text) == shown
    assert SECRET not in shown


def test_versions_are_those_that_are_installed() -> None:
    found = versions()
    import locust

    assert found["python"] == platform.python_version()
    assert found["locust"] == locust.__version__
    assert all(found.values())


def test_the_machine_is_described_in_positive_numbers() -> None:
    found = machine()
    assert found.pop("system")
    assert all(isinstance(value, int) and value > 0 for value in found.values()), found


def test_outside_a_repository_there_is_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_revision() is None


def test_without_git_there_is_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_revision() is None


def test_a_changed_repository_has_a_plus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@t.invalid", "-c", "commit.gpgsign=false"]
        command = ["git", *identity, *arguments]
        return subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    (tmp_path / "scenario.py").write_text("one")
    git("add", ".")
    git("commit", "-q", "-m", "x", "--no-verify")
    monkeypatch.chdir(tmp_path)
    head = git("rev-parse", "HEAD")
    revision = git_revision()
    assert revision is not None
    assert len(revision) == 12
    assert head.startswith(revision)
    (tmp_path / "scenario.py").write_text("two")
    assert git_revision() == revision + "+"


def test_the_header_of_a_run_is_json_and_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/locust", "--token", SECRET, "--host", f"http://a:{SECRET}@h"])
    limit = LatencyLimit(250.0, "default")
    header = run_header("id", 5.0, ["EchoUser"], f"http://a:{SECRET}@h", {"latency_limit": 0.0}, limit)
    text = json.dumps(header)
    assert SECRET not in text
    assert "/x/" not in text
    assert (header["run_id"], header["started_at"]) == ("id", 5.0)
    assert (header["latency_limit_ms"], header["latency_limit_of"]) == (250.0, "default")
    assert header["command"][0] == "locust"
