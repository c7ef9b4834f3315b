"""Mistakes of the user's: one clear sentence each, the right exit code, and nothing half-written."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import Healthy
from tests.e2e.processes import Outcome, analysis, load

USAGE, INVALID = 2, 4
RATES = ("-u", "4", "-r", "4", "-t", "10m")
SECRET = "geheim-4711"

LOG_LINE = re.compile(r"^\[[^]]+\] \S+/(INFO|WARNING|ERROR)/[\w.]+: (.*)$")


def complaints(done: Outcome) -> list[str]:
    """What it said on stderr, without Locust's own notes on its progress."""
    found = []
    for line in done.err.splitlines():
        logged = LOG_LINE.match(line)
        if logged is None or logged[1] != "INFO":
            found.append(logged[2] if logged else line)
    return found


def refused(done: Outcome) -> list[str]:
    """The complaints of a locust that refused to begin: exit code 2, no traceback, no run directory."""
    assert done.code == USAGE, done.said
    assert "Traceback" not in done.said, done.said
    assert not done.path.exists(), sorted(done.path.iterdir())
    return complaints(done)


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("nonsense", "'nonsense' is not a host to load"),
        ("ftp://127.0.0.1", "'ftp://127.0.0.1' is not a host to load"),
        ("ws://127.0.0.1:99999", "Port out of range"),
        ("ws://127.0.0.1:0", "Port 0 cannot be loaded"),
        ("ws://[::1", "is not a URL"),
        (f"ws://user:{SECRET}@127.0.0.1/#x", "has no fragment"),
        (f"ws://127.0.0.1/?token={SECRET}#x", "has no fragment"),
        (f"ftp://user:{SECRET}@127.0.0.1", "is not a host to load"),
    ],
    ids=["no-url", "scheme", "port", "port-0", "brackets", "credentials", "query", "scheme-and-credentials"],
)
def test_a_wrong_host_is_refused_in_one_sentence_without_its_secrets(
    tmp_path: Path, host: str, words: str
) -> None:
    done = load(tmp_path / "run", "EchoUser", "--host", host, *RATES)
    (sentence,) = refused(done)
    assert words in sentence
    assert SECRET not in done.said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--client", "quick"), ["--client", "quick", "fast", "reference"]),
        (("--reconnect", "never"), ["--reconnect", "never", "backoff"]),
        (("--message-rate", "abc"), ["--message-rate", "abc", "number"]),
        (("--message-rate", "-1"), ["--message-rate", "-1", "number"]),
        (("--heartbeat", "nan"), ["--heartbeat", "nan", "number"]),
        (("--sockets-per-user", "0"), ["--sockets-per-user", "0", "whole number"]),
        (("--accounts", "/no/such/file.csv"), ["--accounts", "/no/such/file.csv", "cannot be read"]),
        (("--source-ips", "192.0.2.1"), ["--source-ips", "192.0.2.1", "address of this machine"]),
        (
            ("--source-ips", "127.0.0.2", "--host", "ws://[::1]:9"),
            ["--source-ips: the host ::1 is an IPv6 address, and none of the source addresses is."],
        ),
        (("--dns", "ttl=never"), ["--dns", "ttl=never", "300, 5m, 0 or inf"]),
        (("--resolve", "h:80"), ["--resolve", "'h:80' is not HOST:PORT:ADDRESS"]),
        (("--watch", "nothere"), ["--watch", "nothere", "process id"]),
        (("--tls-ca", "/no/such.pem"), ["--tls-ca", "/no/such.pem", "cannot be read"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_option_that_cannot_be_used_is_refused_in_one_sentence(
    tmp_path: Path, arguments: tuple[str, str], words: list[str]
) -> None:
    (sentence,) = refused(load(tmp_path / "run", "EchoUser", *RATES, *arguments))
    assert all(word in sentence for word in words), sentence


def test_every_mistake_is_said_at_once(tmp_path: Path) -> None:
    mistakes = {
        "--client": "quick",
        "--message-rate": "abc",
        "--handshake-timeout": "-7.5",
        "--heartbeat": "nan",
        "--accounts": "/no/such/file.csv",
        "--host": "nonsense",
    }
    pairs = [word for mistake in mistakes.items() for word in mistake]
    sentences = refused(load(tmp_path / "run", "EchoUser", *RATES, *pairs))
    assert len(sentences) == len(mistakes), sentences
    for option, given in mistakes.items():
        (sentence,) = (sentence for sentence in sentences if given in sentence)
        assert option in sentence or option == "--host"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.csv", b"", "holds no accounts"),
        ("header.csv", b"phone,password\n", "holds no accounts"),
        ("row.csv", b"phone,password\n13900000002,x,%s\n", "has 3 fields"),
        ("text.csv", b"\xff\xfe%s", "UTF-8"),
        ("lines.jsonl", b'{"phone": "%s"\n', "is not a JSON object"),
    ],
    ids=["empty", "header-only", "row-too-long", "not-text", "not-json"],
)
def test_a_broken_accounts_file_is_refused_and_not_quoted(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    accounts = tmp_path / name
    accounts.write_bytes(content.replace(b"%s", SECRET.encode()))
    done = load(tmp_path / "run", "DialogueUser", *RATES, "--accounts", str(accounts))
    (sentence,) = refused(done)
    assert words in sentence
    assert SECRET not in done.said


def gave_up(done: Outcome) -> list[str]:
    """The complaints of a run in which nobody could log in: exit code 4, before its time, no traceback."""
    assert done.code == INVALID, done.said
    assert "Traceback" not in done.said, done.said
    assert done.run.header["ended_by"] == "given-up"
    return [line for line in complaints(done) if "The run is stopped." in line]


@pytest.mark.parametrize("checks", ["none", "preflight"])
def test_accounts_without_the_columns_that_the_scenario_needs_are_refused(
    tmp_path: Path, checks: str
) -> None:
    accounts = tmp_path / "accounts.csv"
    accounts.write_text(f"user,pw\nanna,{SECRET}\n")
    arguments = ("DialogueUser", *RATES, "--checks", checks, "--accounts", str(accounts))
    (sentence,) = refused(load(tmp_path / "run", *arguments))
    columns = "the columns user and pw; DialogueUser needs phone and password"
    assert sentence == f"The accounts file {accounts} has {columns}."


@pytest.mark.parametrize("users", ["1", "20"])
def test_a_wrong_password_stops_the_run_and_says_where_to_look(tmp_path: Path, users: str) -> None:
    rates = ("-u", users, "-r", users, "-t", "10m")
    done = load(tmp_path / "run", "DialogueUser", *rates, WSOAK_PASSWORD=SECRET)
    (sentence,) = gave_up(done)
    assert "HTTP 401" in sentence
    assert "WSOAK_PASSWORD" in sentence
    assert "--accounts" in sentence
    assert SECRET not in done.said


@pytest.mark.parametrize(
    ("url", "cause"),
    [("http://127.0.0.1:1", "ConnectionRefusedError"), ("http://no-such-host.invalid", "gaierror")],
    ids=["refused", "no-such-name"],
)
def test_a_host_that_cannot_be_reached_stops_a_run_that_must_log_in(
    tmp_path: Path, url: str, cause: str
) -> None:
    done = load(tmp_path / "run", "DialogueUser", "--host", url, *RATES)
    (sentence,) = gave_up(done)
    assert f"nothing answers at {url}" in sentence
    assert cause in sentence


# ------------------------------------------------------------------------------------------ run directories


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_directory_that_holds_a_run_is_refused_and_left_as_it_was(healthy: Healthy, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(healthy[1].path, path)
    before = contents(path)
    done = load(path, "EchoUser", *RATES)
    assert done.code == USAGE, done.said
    (sentence,) = complaints(done)
    assert "already holds a run" in sentence
    assert contents(path) == before
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.is_dir()) == ["run"]


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    (sentence,) = complaints(done := load(tmp_path / "file" / "run", "EchoUser", *RATES))
    assert done.code == USAGE
    assert "cannot be written: Not a directory." in sentence


def damaged_json(path: Path) -> None:
    (path / "run.json").write_text('{"schema')


def newer_schema(path: Path) -> None:
    header = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**header, "schema_version": 999}))


def no_schema(path: Path) -> None:
    (path / "run.json").write_text("[]")


def no_header(path: Path) -> None:
    (path / "run.json").unlink()


def nothing(path: Path) -> None:
    shutil.rmtree(path)


def a_file(path: Path) -> None:
    nothing(path)
    path.write_text("no directory")


@pytest.mark.parametrize("command", ["report", "diagnose", "compare"])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (damaged_json, "is damaged"),
        (newer_schema, "schema version 999"),
        (no_schema, "names no schema_version"),
        (no_header, "has no run.json"),
        (nothing, "does not exist"),
        (a_file, "is not a directory"),
    ],
)
def test_a_run_that_cannot_be_read_is_refused_in_one_sentence(
    healthy: Healthy, tmp_path: Path, command: str, spoil: object, words: str
) -> None:
    assert callable(spoil)
    path = tmp_path / "run"
    shutil.copytree(healthy[1].path, path)
    spoil(path)
    before = contents(tmp_path)
    both = (path, healthy[1].path) if command == "compare" else (path,)
    answer = analysis(command, *both)
    assert answer.returncode == USAGE, answer.stderr
    (sentence,) = answer.stderr.splitlines()
    assert words in sentence
    assert str(path) in sentence
    assert answer.stdout == ""
    assert contents(tmp_path) == before
