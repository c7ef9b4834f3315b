"""The harness on the plain contender: short, and without a word on how fast it must be."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import EXIT_ERROR, EXIT_OK, main
from bench.contenders import CONTENDERS, KINDS, ROOT, Work, WorkError
from bench.measure import Limits, measure
from bench.processes import BenchError, Cores

WINDOW_S = 1.0
SIZES = ["--echo-connections", "7", "--handshake-connections", "3", "--idle-connections", "240"]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one short run of every kind of work wrote."""
    path = tmp_path_factory.mktemp("bench") / "bench.json"
    arguments = [
        "--seconds",
        str(WINDOW_S),
        "--rounds",
        "1",
        "--contenders",
        "plain",
        "--json",
        str(path),
        *SIZES,
    ]
    assert main(arguments) == EXIT_OK
    written: dict[str, Any] = json.loads(path.read_text())
    return written


def of_kind(record: dict[str, Any], kind: str) -> dict[str, Any]:
    (found,) = [each for each in record["measurements"] if each["kind"] == kind]
    return dict(found)


@pytest.mark.parametrize("kind", ["echo", "handshakes"])
def test_a_rate_is_what_the_server_counted_in_a_window_of_the_asked_length(
    record: dict[str, Any], kind: str
) -> None:
    measured = of_kind(record, kind)
    assert measured["window_s"] >= WINDOW_S
    assert measured["value"] == pytest.approx(measured["count"] / measured["window_s"])
    counter = {"echo": "messages", "handshakes": "handshakes"}[kind]
    assert 0 < measured["count"] < measured["totals"][counter]


def test_an_echo_run_opens_its_connections_once_and_no_more(record: dict[str, Any]) -> None:
    assert of_kind(record, "echo")["totals"]["handshakes"] == 7


def test_a_handshake_run_closes_what_it_opens(record: dict[str, Any]) -> None:
    totals = of_kind(record, "handshakes")["totals"]
    assert totals["messages"] == 0
    assert totals["handshakes"] - 3 <= totals["closes"] <= totals["handshakes"]


def test_a_memory_run_compares_two_numbers_of_open_connections(record: dict[str, Any]) -> None:
    measured = of_kind(record, "memory")
    assert measured["totals"]["handshakes"] == 240
    assert 0 < measured["count"] < 240
    assert measured["totals"]["messages"] == 0


def test_the_client_itself_counts_the_same_messages(tmp_path: Path) -> None:
    books = tmp_path / "locust"
    plain = replace(CONTENDERS["plain"], arguments=("--json-file", str(books)))
    # what is killed writes no books
    limits = Limits(WINDOW_S, stop_grace_s=60)
    measured = measure(plain, "echo", 7, 1, limits, Cores.available())
    entries = json.loads(books.with_suffix(".json").read_text())
    (client_count,) = [entry["num_requests"] for entry in entries if entry["name"] == "echo"]
    # At the end each user may have one message on its way, which the server alone has counted.
    assert measured.totals.messages - 7 <= client_count <= measured.totals.messages


@pytest.mark.parametrize("value", ["0", "1"])
def test_the_plain_contender_masks_with_wsaccel_only_when_told_to(value: str) -> None:
    pytest.importorskip("wsaccel")
    code = "import bench.plain_locustfile, sys; print(bool(sys.modules.get('wsaccel.xormask')))"
    environment = os.environ | {"BENCH_WSACCEL": value}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(value == "1")


def test_a_client_that_ends_early_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    broken = tmp_path / "locustfile.py"
    broken.write_text("raise SystemExit('this locustfile is broken')\n")
    contender = replace(CONTENDERS["plain"], locustfile=broken)
    with pytest.raises(BenchError, match="this locustfile is broken"):
        measure(contender, "echo", 7, 1, Limits(WINDOW_S), Cores(None, None))


@pytest.mark.parametrize(
    ("name", "arguments", "complaint"),
    [
        ("unknown", ["--contenders", "plain,k6"], "unknown contender k6"),
        ("none", ["--contenders", ","], "unknown contender (none)"),
        ("twice", ["--contenders", "plain,plain"], "named twice"),
        ("uneven", ["--contenders", "plain", "--echo-connections", "0"], "needs a multiple of 1"),
    ],
)
def test_wrong_usage_ends_with_a_sentence_before_anything_runs(
    name: str, arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == EXIT_ERROR, name
    captured = capsys.readouterr()
    assert complaint in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("kind", KINDS)
def test_every_contender_holds_the_same_default_connections(kind: Any) -> None:
    defaults = {"echo": 100, "handshakes": 50, "memory": 2000}
    for contender in CONTENDERS.values():
        users = contender.user_count(kind, defaults[kind])
        assert users * contender.sockets_per_user[kind] == defaults[kind]


def test_connections_that_cannot_be_dealt_out_are_refused() -> None:
    work = Work("echo", "ws://127.0.0.1:1/", 15, 1)
    with pytest.raises(WorkError, match="15 connections for echo: wsoak needs a multiple of 10"):
        CONTENDERS["wsoak"].command(work)


def test_the_clients_environment_has_none_of_locusts_own_settings() -> None:
    inherited = {
        "LOCUST_USERS": "9",
        "BENCH_WSACCEL": "1",
        "HOME": "/home/someone",
        "PYTHONPATH": "/elsewhere",
    }
    made = CONTENDERS["wsoak"].client_environment("memory", inherited)
    assert made == {
        "HOME": "/home/someone",
        "PYTHONPATH": os.pathsep.join((str(ROOT), "/elsewhere")),
        "BENCH_SOCKETS_PER_USER": "100",
    }
