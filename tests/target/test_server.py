"""The process: how it starts, what it refuses, the faults of its handshakes, and how it ends."""

import errno
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidMessage, InvalidStatus

from target.server import Sparse
from tests.target.client import (
    PATIENCE_S,
    ROOT,
    Account,
    Target,
    closing,
    command,
    connect,
    eventually,
    running,
)


def refused(port: int) -> bool:
    """Whether nobody listens on a port any more."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


# Starting.


def test_the_only_line_says_where_it_listens_and_a_healthy_run_logs_nothing() -> None:
    with running("--accounts", "1", stderr=subprocess.PIPE) as target:
        assert target.pid == target.process.pid
        assert target.http("GET", "/health")[0] == 200
        with connect(target.ws + "/echo") as ws:
            ws.send("x")
            ws.recv()
        assert target.stop() == 0
        assert target.process.stdout is not None and target.process.stderr is not None
        assert target.process.stdout.read() == ""
        assert target.process.stderr.read() == ""


def test_a_record_that_repeats_is_let_through_once_a_second_with_the_number_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 100.0
    monkeypatch.setattr("target.server.time.monotonic", lambda: now_s)
    sparse = Sparse()

    def passes(text: str) -> str | None:
        record = logging.LogRecord("x", logging.ERROR, "", 0, text, ("it",), None)
        return record.getMessage() if sparse.filter(record) else None

    assert [passes("%s failed") for _ in range(3)] == ["it failed", None, None]
    assert passes("%s burns") == "it burns"
    now_s = 101.0
    assert passes("%s failed") == "it failed (2 more like this left out)"
    now_s = 102.5
    assert passes("%s failed") == "it failed"


def test_a_fixed_port_can_be_bound_again_right_after() -> None:
    with running("--accounts", "1") as target:
        port = str(target.port)
        with connect(target.ws + "/echo") as ws:
            target.process.terminate()
            assert closing(ws)[1] == 1012
    with running("--accounts", "1", "--port", port) as again:
        assert again.port == int(port)


def failed(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_a_port_in_use_is_one_sentence_and_exit_code_2(target: Target) -> None:
    code, out, err = failed("--port", str(target.port))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert f"cannot listen on 127.0.0.1 port {target.port}" in err


MISTAKES = {
    "an unknown fault": (["--fault", "dialogue:lost"], "dialogue:lost-history"),
    "an unknown system": (["--fault", "chat:lost"], "the systems with faults are dialogue, "),
    "an unknown parameter": (["--fault", "dialogue:lost-history:portion=1"], "its parameters are share"),
    "a bad value": (["--fault", "dialogue:lost-history:share=2"], "from 0.0001 to 1"),
    "an unknown option": (["--faults", "x"], "--faults"),
    "a port that is none": (["--port", "65536"], "from 0 to 65535"),
    "no accounts": (["--accounts", "0"], "from 1 to"),
    "a life of nothing": (["--ws-token-ttl", "0"], "from 1 to"),
    "a host that is none": (["--host", "256.0.0.1"], "cannot listen on 256.0.0.1"),
    "a host that is not ours": (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
    "a database nowhere": (["--db", "/nonexistent/x.sqlite3"], "cannot open the database"),
}


@pytest.mark.parametrize(("arguments", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_sentence_and_exit_code_2(arguments: list[str], says: str) -> None:
    code, out, err = failed(*arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_the_help_lists_every_fault() -> None:
    code, out, _ = failed("--help")
    assert code == 0
    for name in ("dialogue:datetime-crash", "dialogue:lost-history", "server:slow-upgrade", ":share=0.05"):
        assert name in out


def test_descriptors_are_raised_to_the_hard_limit(target: Target) -> None:
    limits = Path(f"/proc/{target.pid}/limits").read_text()
    (line,) = (line for line in limits.splitlines() if line.startswith("Max open files"))
    soft, hard = line.split()[3:5]
    assert soft == hard


def test_ipv6_is_served() -> None:
    with running("--host", "::1", "--accounts", "1") as target:
        assert target.url.startswith("http://[::1]:")
        with connect(target.ws + "/echo") as ws:
            ws.send("x")
            assert ws.recv() == "x"


def test_compression_is_served_where_asked_for() -> None:
    with (
        running("--compression", "--accounts", "1") as target,
        connect(target.ws + "/echo", compression="deflate") as ws,
    ):
        assert [extension.name for extension in ws.protocol.extensions] == ["permessage-deflate"]
        for message in ("x" * 10_000, b"y" * 10_000, "你好"):
            ws.send(message)
            assert ws.recv() == message
        ws.send("z" * ((1 << 20) + 1))
        assert closing(ws)[1] == 1009


# The faults of the handshake.


def opens(url: str) -> bool:
    """Whether a socket opens; raises what the client raises where it does not."""
    with connect(url):
        return True


def status_of(url: str) -> tuple[int, bytes]:
    with pytest.raises(InvalidStatus) as caught:
        opens(url)
    return caught.value.response.status_code, bytes(caught.value.response.body or b"")


UPGRADE = (
    b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def raw_upgrade(target: Target) -> bytes:
    """The bytes that an upgrade is answered with; raises ConnectionResetError."""
    with socket.create_connection(("127.0.0.1", target.port), PATIENCE_S) as plain:
        plain.sendall(UPGRADE)
        return plain.recv(4096)


def test_a_path_that_is_none_is_404(target: Target) -> None:
    assert status_of(target.ws + "/nowhere") == (404, b"Not Found")


@pytest.mark.parametrize(("status", "body"), [(401, "who are you"), (403, ""), (500, "crash"), (503, "忙")])
def test_reject_answers_with_its_status_and_body(target: Target, status: int, body: str) -> None:
    with target.fault("server", "reject", status=status, body=body):
        assert status_of(target.ws + "/echo") == (status, body.encode())
        assert status_of(target.ws + "/v1/dialogues/ws/x") == (status, body.encode())
    assert opens(target.ws + "/echo")


def test_missing_route_answers_404_everywhere(target: Target) -> None:
    with target.fault("server", "missing-route"):
        assert status_of(target.ws + "/echo")[0] == 404
        assert status_of(target.ws + "/v1/dialogues/ws/x")[0] == 404
        assert target.http("GET", "/health")[0] == 200
    assert opens(target.ws + "/echo")


def test_reset_in_upgrade_is_a_tcp_reset(target: Target) -> None:
    before = target.metric("wsoak_target_handshakes_total", result="reset")
    with target.fault("server", "reset-in-upgrade"), pytest.raises(ConnectionResetError):
        raw_upgrade(target)
    assert target.metric("wsoak_target_handshakes_total", result="reset") == before + 1
    assert raw_upgrade(target).startswith(b"HTTP/1.1 101 ")


def test_eof_in_upgrade_ends_without_an_answer_and_without_a_reset(target: Target) -> None:
    with target.fault("server", "eof-in-upgrade"):
        assert raw_upgrade(target) == b""
        with pytest.raises(InvalidMessage):
            opens(target.ws + "/echo")
    assert raw_upgrade(target).startswith(b"HTTP/1.1 101 ")


def test_slow_upgrade_answers_after_its_delay_and_not_before(target: Target) -> None:
    with target.fault("server", "slow-upgrade", delay_s=0.3):
        asked = time.monotonic()
        assert opens(target.ws + "/echo")
        assert time.monotonic() - asked >= 0.3
    before = target.metric("wsoak_target_handshakes_total", result="abandoned")
    with (
        target.fault("server", "slow-upgrade", delay_s=600),
        socket.create_connection(("127.0.0.1", target.port)) as plain,
    ):
        plain.sendall(UPGRADE)
        plain.settimeout(0.3)
        with pytest.raises(TimeoutError):
            plain.recv(4096)
    eventually(lambda: target.metric("wsoak_target_handshakes_total", result="abandoned") == before + 1)


def test_a_fault_can_be_narrowed_to_a_system_and_to_a_share(target: Target) -> None:
    with target.fault("server", "reject", status=503, only="dialogue"):
        assert opens(target.ws + "/echo")
        assert status_of(target.ws + "/v1/dialogues/ws/x")[0] == 503
    with target.fault("server", "reject", share=0.5):
        assert opens(target.ws + "/echo")
        assert status_of(target.ws + "/echo")[0] == 403
        assert opens(target.ws + "/echo")


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("server:reject:status=503", b"HTTP/1.1 503 "),
        ("server:missing-route", b"HTTP/1.1 404 "),
        ("server:eof-in-upgrade", b""),
        ("server:slow-upgrade:delay_s=0.01", b"HTTP/1.1 101 "),
    ],
)
def test_a_target_can_start_with_a_fault_of_the_handshake(fault: str, seen: bytes) -> None:
    with running("--fault", fault, "--accounts", "1") as target:
        answer = raw_upgrade(target)
        assert answer.startswith(seen) and bool(answer) == bool(seen)


def test_an_upgrade_in_pieces_is_served_too(target: Target) -> None:
    with socket.create_connection(("127.0.0.1", target.port), PATIENCE_S) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (
            "GET /echo HTTP/1.1\r\nHost: x\r\nUpg",
            "rade: WebSocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
            "\r\n",
        ):
            plain.sendall(piece.encode())
        assert plain.recv(4096).startswith(b"HTTP/1.1 101 ")


# The routes of its own.


def test_health_has_version_and_time(target: Target) -> None:
    status, health = target.http("GET", "/health")
    assert status == 200
    assert (health["status"], health["version"]) == ("healthy", "1.0.0")
    assert health["time"].endswith("Z") and len(health["time"]) == len("2030-01-02T03:04:05.000006Z")


def test_metrics_have_the_process(target: Target) -> None:
    for name in ("process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"):
        assert target.metric(name) > 0


def test_metrics_have_the_hits_of_the_faults(target: Target) -> None:
    hit = {"system": "server", "fault": "missing-route"}
    before = target.metric("wsoak_target_fault_hits_total", **hit)
    with target.fault("server", "missing-route"):
        status_of(target.ws + "/echo")
        assert target.metric("wsoak_target_fault_hits_total", **hit) == before + 1
    assert target.metric("wsoak_target_fault_hits_total", **hit) == before + 1


def test_faults_are_listed_and_the_active_ones_with_their_parameters(target: Target) -> None:
    with target.fault("dialogue", "lost-history", share=0.25):
        _, listed = target.http("GET", "/faults")
        assert {
            "system": "dialogue",
            "fault": "lost-history",
            "params": {"share": 0.25},
            "hits": 0,
        } in listed["active"]
    known = {(row["system"], row["fault"]): row for row in listed["known"]}
    assert known["dialogue", "lost-history"]["params"]["share"]["default"] == 0.05
    assert target.http("GET", "/faults")[1]["active"] == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"system": "chat", "fault": "x"}, "the systems with faults are dialogue, "),
        ({"system": "dialogue", "fault": "x"}, "dialogue:lost-history"),
        ({"system": "dialogue", "fault": "x", "on": False}, "dialogue:lost-history"),
        ({"system": "dialogue", "fault": "lost-history", "params": {"share": 7}}, "from 0.0001 to 1"),
        ({"system": "dialogue", "fault": "lost-history", "params": []}, '"params" an object'),
        ({"system": "dialogue", "fault": "lost-history", "on": 1}, '"on" must be true or false'),
        ({"system": "dialogue", "fault": "lost-history", "share": 1}, "unknown fields: share"),
        ({"fault": "lost-history"}, '"system" and "fault"'),
        (b"{", "not JSON"),
    ],
)
def test_a_wrong_switch_is_400_with_a_sentence(target: Target, body: Any, says: str) -> None:
    status, answer = target.http("POST", "/faults", body)
    assert status == 400
    assert says in answer["detail"]
    assert target.http("GET", "/faults")[1]["active"] == []


def test_an_unknown_route_and_a_wrong_method_are_answered_in_json(target: Target) -> None:
    assert target.http("GET", "/nowhere") == (404, {"detail": "Not Found"})
    assert target.http("DELETE", "/health") == (405, {"detail": "Method Not Allowed"})


# Ending.


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_closes_every_socket_with_1012_and_ends_with_0(by: signal.Signals) -> None:
    with running("--accounts", "1") as target, ExitStack() as stack:
        account = Account(target)
        sockets = [stack.enter_context(connect(target.ws + "/echo")) for _ in range(20)]
        sockets.append(stack.enter_context(account.dialogue(account.start())))
        target.process.send_signal(by)
        assert [closing(ws) for ws in sockets] == [([], 1012, "service restart")] * len(sockets)
        for ws in sockets:
            assert ws.protocol.close_sent is not None and ws.protocol.close_rcvd_then_sent
        assert target.process.wait(PATIENCE_S) == 0


def test_an_idle_http_connection_does_not_hold_up_the_end() -> None:
    with (
        running("--accounts", "1") as target,
        socket.create_connection(("127.0.0.1", target.port)) as plain,
    ):
        plain.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert plain.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert target.stop() == 0


def test_a_client_that_never_answers_the_close_does_not_hold_up_the_end() -> None:
    with (
        running("--accounts", "1") as target,
        socket.create_connection(("127.0.0.1", target.port), PATIENCE_S) as deaf,
    ):
        deaf.sendall(UPGRADE)
        assert deaf.recv(4096).startswith(b"HTTP/1.1 101 ")
        assert target.stop() == 0
        assert deaf.recv(4096)[2:4] == (1012).to_bytes(2)


def test_signals_that_come_again_and_again_cut_nothing_short(tmp_path: Path) -> None:
    with running("--accounts", "1", env=os.environ | {"TMPDIR": str(tmp_path)}) as target:
        with connect(target.ws + "/echo") as ws:
            target.process.send_signal(signal.SIGINT)
            while target.process.poll() is None:
                target.process.terminate()
            assert closing(ws)[1] == 1012
        assert target.process.returncode == 0
    assert not list(tmp_path.iterdir())


def test_a_signal_before_it_is_ready_leaves_nothing_behind(tmp_path: Path) -> None:
    with subprocess.Popen(
        command("--accounts", "1000000"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    ) as process:
        eventually(lambda: bool(list(tmp_path.glob("*/*"))))
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    assert not list(tmp_path.iterdir())


def test_a_temporary_database_is_removed_at_the_end(tmp_path: Path) -> None:
    with running("--accounts", "1", env=os.environ | {"TMPDIR": str(tmp_path)}) as target:
        assert list(tmp_path.iterdir())
        assert target.stop() == 0
    assert not list(tmp_path.iterdir())


def test_the_end_of_stdin_ends_it_like_a_signal() -> None:
    with (
        running("--accounts", "1", "--stop-with-stdin", stdin=subprocess.PIPE) as target,
        connect(target.ws + "/echo") as ws,
    ):
        assert target.process.stdin is not None
        target.process.stdin.write("words are ignored\n")
        target.process.stdin.flush()
        ws.send("x")
        assert ws.recv() == "x"
        target.process.stdin.close()
        assert closing(ws) == ([], 1012, "service restart")
        assert target.process.wait(PATIENCE_S) == 0


def test_without_the_option_the_end_of_stdin_means_nothing() -> None:
    with running("--accounts", "1", stdin=subprocess.DEVNULL) as target, connect(target.ws + "/echo") as ws:
        ws.send("x")
        assert ws.recv() == "x"


PARENT = """
import subprocess, sys, time
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
child.wait()
"""


def test_it_does_not_outlive_a_parent_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, *command("--accounts", "1", "--stop-with-stdin")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        announced = json.loads(parent.stdout.readline())
        with connect(announced["url"].replace("http://", "ws://") + "/echo") as ws:
            parent.kill()
            assert closing(ws) == ([], 1012, "service restart")
        eventually(lambda: refused(int(announced["url"].rsplit(":", 1)[1])))
