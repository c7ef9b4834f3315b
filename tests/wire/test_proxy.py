"""Proxy: which proxy the environment names for a host, and the way through it."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import gevent
import pytest
from gevent import socket as cooperative

from tests.wire.harness import Certificates, Facts, OpenerOf, Peer, Run, holds, listening
from wsoak.wire.client import FastOpener, Settings
from wsoak.wire.dial import tls_context
from wsoak.wire.endpoint import Endpoint
from wsoak.wire.proxy import BadProxy, Proxy, passed_by, proxy_for, variable_for
from wsoak.wire.reference import ReferenceOpener

WS, WSS = Endpoint.of("ws://node.example.org"), Endpoint.of("wss://node.example.org")


@pytest.mark.parametrize(
    ("endpoint", "environment", "variable"),
    [
        (WS, {"HTTP_PROXY": "http://p:1"}, "HTTP_PROXY"),
        (WS, {"HTTP_PROXY": "http://p:1", "http_proxy": "http://q:1"}, "http_proxy"),
        (WS, {"HTTPS_PROXY": "http://p:1"}, None),
        (WSS, {"HTTPS_PROXY": "http://p:1", "HTTP_PROXY": "http://q:1"}, "HTTPS_PROXY"),
        (WSS, {"HTTP_PROXY": "http://p:1"}, None),
        (WS, {"ALL_PROXY": "http://p:1"}, "ALL_PROXY"),
        (WSS, {"all_proxy": "http://p:1", "https_proxy": " "}, "all_proxy"),
        (WS, {}, None),
    ],
)
def test_the_environment_names_a_proxy_by_scheme(
    endpoint: Endpoint, environment: dict[str, str], variable: str | None
) -> None:
    assert variable_for(endpoint, environment) == variable
    assert bool(passed_by(endpoint, environment)) is (variable is not None)


@pytest.mark.parametrize(
    ("url", "listed", "exempt"),
    [
        ("ws://node.example.org", "*", True),
        ("ws://node.example.org", "example.org", True),
        ("ws://node.example.org.", "a, .example.org", True),
        ("ws://node.example.org", "*.example.org", True),
        ("ws://node.example.org", "node.example.org:80", True),
        ("ws://node.example.org", "node.example.org:81", False),
        ("ws://other-example.org", ".example.org", False),
        ("ws://node.example.org", "", False),
        ("ws://127.0.0.1", "127.0.0.0/8", True),
        ("ws://127.0.0.1", "127.0.0.1", True),
        ("ws://127.0.0.1", "10.0.0.0/8,::1", False),
        ("ws://[::1]:80", "[::1]:80", True),
        ("ws://[::1]", "::1", True),
    ],
)
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_some_hosts_need_no_proxy(url: str, listed: str, exempt: bool, name: str) -> None:
    environment = {"HTTP_PROXY": "http://p:1", name: listed}
    assert (variable_for(Endpoint.of(url), environment) is None) is exempt


@pytest.mark.parametrize(
    ("value", "proxy"),
    [
        ("http://p:3128", Proxy("p", 3128, "HTTP_PROXY")),
        ("p:3128", Proxy("p", 3128, "HTTP_PROXY")),
        ("http://p/", Proxy("p", 80, "HTTP_PROXY")),
        ("http://me:p%40ss@p:1", Proxy("p", 1, "HTTP_PROXY", "me", "p@ss")),
    ],
)
def test_a_proxy_is_read(value: str, proxy: Proxy) -> None:
    assert proxy_for(WS, {"HTTP_PROXY": value}) == proxy
    assert "p@ss" not in repr(proxy)


@pytest.mark.parametrize(
    "value", ["socks5://u:s3cret@p:1", "https://p:1", "http://:1", "http://u:s3cret@p:x"]
)
def test_what_is_no_http_proxy_is_refused_without_its_password(value: str) -> None:
    with pytest.raises(BadProxy, match=r"^HTTP_PROXY .*\.$") as raised:
        proxy_for(WS, {"HTTP_PROXY": value})
    assert "s3cret" not in str(raised.value)


# ------------------------------------------------------------------------------------------------ the way


class Tunnels:
    """A script that is an HTTP proxy: CONNECT, and bytes both ways (RFC 9110 section 9.3.6)."""

    def __init__(self) -> None:
        self.heads: list[str] = []

    def __call__(self, peer: Peer) -> None:
        self.heads.append(peer.read_head().decode())
        host, _, port = self.heads[-1].split()[1].rpartition(":")
        with contextlib.closing(cooperative.create_connection((host.strip("[]"), int(port)))) as server:
            peer.sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = gevent.spawn(relay, server, peer.sock)
            relay(peer.sock, server)
            back.join()


def relay(source: Any, sink: Any) -> None:
    """Hand on what comes, and its end."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def echo(peer: Peer) -> None:
    peer.accept().echo()


def talk(run: Run) -> Facts:
    """Open a socket, ask once, and end."""
    connection = run.open()
    if connection.is_open:
        assert connection.request({"reply_to": 1}, reply_to=1) is not None
    return run.stop()


def test_the_reference_client_goes_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    tunnels = Tunnels()
    with listening(echo) as server, listening(tunnels) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:s3cret@127.0.0.1:{proxy.port}")
        facts = talk(Run(ReferenceOpener, server.url, Settings()))
        address = f"127.0.0.1:{server.port}"
    holds(facts.record, outcome="open", address="127.0.0.1", tcp_ms=True, usable=True)
    (head,) = tunnels.heads
    assert head.startswith(f"CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n")
    assert "\r\nProxy-Authorization: Basic bWU6czNjcmV0\r\n" in head
    assert "s3cret" not in repr(facts)


def test_tls_is_spoken_through_the_tunnel(
    monkeypatch: pytest.MonkeyPatch, certificates: Certificates
) -> None:
    tunnels = Tunnels()
    with listening(echo, certificates.of_server()) as server, listening(tunnels) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace("ws:", "http:"))
        tls = tls_context(str(certificates.authority))
        facts = talk(Run(ReferenceOpener, server.url, Settings(), tls))
    holds(facts.record, outcome="open", tls_ms=True, usable=True)
    assert len(tunnels.heads) == 1


@pytest.mark.parametrize("exempt", [True, False])
def test_who_goes_directly(monkeypatch: pytest.MonkeyPatch, exempt: bool) -> None:
    """The fast client always does, and the reference client where NO_PROXY lists the host."""
    tunnels = Tunnels()
    with listening(echo) as server, listening(tunnels) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("ws:", "http:"))
        if exempt:
            monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
        facts = talk(Run(ReferenceOpener if exempt else FastOpener, server.url, Settings()))
    holds(facts.record, outcome="open")
    assert tunnels.heads == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "it answered 407 to CONNECT"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nno!", "it answered 502 to CONNECT"),
        (b"", "it closed the connection"),
        (b"220 ready\r\n\r\n", "it answered no HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000, "its answer is too long"),
    ],
)
def test_a_proxy_that_opens_no_tunnel_is_named(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, why: str
) -> None:
    def script(peer: Peer) -> None:
        peer.read_head()
        with contextlib.suppress(OSError):
            peer.send(answer)

    with listening(script, may_fail=True) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("ws:", "http:"))
        record = talk(Run(ReferenceOpener, "ws://127.0.0.1:9", Settings())).record
    holds(record, outcome="proxy-failed", phase="tcp", tcp_ms=False, status=None)
    assert record["error"] == f"proxy-failed: {why} (by way of the proxy that HTTP_PROXY names)"


def test_a_proxy_that_is_not_there_is_not_taken_for_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{unused.getsockname()[1]}")
        record = talk(Run(ReferenceOpener, "ws://127.0.0.1:9", Settings())).record
    holds(record, outcome="refused", phase="tcp")
    assert record["error"] == "refused: Connection refused (by way of the proxy that HTTP_PROXY names)"


def test_a_proxy_that_does_not_answer_ends_at_the_handshakes_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with listening(Peer.wait_for_end) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("ws:", "http:"))
        run = Run(ReferenceOpener, "ws://127.0.0.1:9", Settings(handshake_timeout_s=0.2))
        record = talk(run).record
    holds(record, outcome="timeout-tcp", phase="tcp")


def test_what_the_environment_names_wrongly_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "socks5://127.0.0.1:1")
    run = Run(ReferenceOpener, "ws://127.0.0.1:9", Settings())
    with pytest.raises(ValueError, match="HTTP_PROXY names no HTTP proxy"):
        run.open()
    run.stop()


def test_an_opener_has_a_dialer_of_its_clients(opener: OpenerOf) -> None:
    run = Run(opener, "ws://127.0.0.1:9", Settings())
    assert run.client.dialer.resolver is run.client.resolver
    run.stop()
