"""Names on the wire: what host name, query and credentials become in Host, SNI and request."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Any

import gevent
import pytest

from tests.wire.harness import Certificates, Facts, OpenerOf, Peer, Run, holds, listening
from wsoak.wire.client import Settings
from wsoak.wire.dial import Request, tls_context


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every name but an address is 127.0.0.1; the names that were looked up."""
    names: list[str] = []

    def answer(host: str, port: int, *_: Any, **__: Any) -> Any:
        names.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(gevent.socket, "getaddrinfo", answer)
    return names


def head_of(opener: OpenerOf, url: str, request: Request) -> tuple[str, Facts]:
    """The head of the request that a client sends for ``url``, in which ``PORT`` stands for the server's."""
    heads: list[bytes] = []

    def script(peer: Peer) -> None:
        heads.append(peer.read_head())
        peer.accept()
        peer.answer_close()

    with listening(script) as listener:
        run = Run(opener, url.replace("PORT", str(listener.port)), Settings())
        run.open(request=request)
        facts = run.stop()
    return heads[0].decode().replace(str(listener.port), "PORT"), facts


@pytest.mark.parametrize(
    ("url", "name", "host"),
    [
        ("ws://bücher.test:PORT", "xn--bcher-kva.test", "xn--bcher-kva.test:PORT"),
        ("ws://echo.test.:PORT", "echo.test.", "echo.test.:PORT"),
    ],
)
def test_a_name_is_looked_up_as_it_is_given_and_international_ones_as_a_labels(
    opener: OpenerOf, asked: list[str], url: str, name: str, host: str
) -> None:
    head, facts = head_of(opener, url, Request("/"))
    assert asked == [name]
    assert f"\r\nHost: {host}\r\n" in head
    holds(facts.record, outcome="open")


def test_the_scenarios_host_header_takes_the_place_of_the_urls(opener: OpenerOf, asked: list[str]) -> None:
    head, _ = head_of(opener, "ws://node.test:PORT", Request("/", [("Host", "cluster.test")]))
    assert asked == ["node.test"]
    assert [line for line in head.split("\r\n") if line.lower().startswith("host:")] == ["Host: cluster.test"]


def test_query_and_credentials_of_the_host_go_with_the_upgrade_and_stay_out_of_the_books(
    opener: OpenerOf,
) -> None:
    head, facts = head_of(
        opener, "ws://me:s3cret@127.0.0.1:PORT/ws/?token=s3cret", Request("/über uns?a=b c")
    )
    assert head.startswith("GET /ws/%C3%BCber%20uns?token=s3cret&a=b%20c HTTP/1.1\r\n")
    assert "\r\nAuthorization: Basic bWU6czNjcmV0\r\n" in head
    holds(facts.record, outcome="open", path="/ws/%C3%BCber%20uns?token=***&a=***")
    assert "s3cret" not in repr(facts)


@pytest.mark.parametrize("host", ["localhost", "localhost."])
def test_a_last_dot_stays_out_of_sni_and_certificate_check(
    opener: OpenerOf, certificates: Certificates, asked: list[str], host: str
) -> None:
    names: list[str | None] = []
    server = certificates.of_server()
    server.sni_callback = lambda _, name, __: names.append(name)

    def script(peer: Peer) -> None:
        with contextlib.suppress(ssl.SSLError, OSError):
            peer.accept()
            peer.answer_close()

    with listening(script, server, may_fail=True) as listener:
        url = f"wss://{host}:{listener.port}"
        run = Run(opener, url, Settings(), tls_context(str(certificates.authority)))
        run.open()
        holds(run.stop().record, outcome="open", error="")
    assert (asked, names) == ([host], ["localhost"])
