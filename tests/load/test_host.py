"""Host: what is wrong with it beside the options, and the proxies that the environment names for it."""

from __future__ import annotations

from argparse import Namespace
from types import SimpleNamespace
from typing import Any

import pytest

from wsoak.load.host import mistakes_in, proxies_passed_by
from wsoak.load.options import Options


def options(**values: Any) -> Options:
    return Options.of(Namespace(**values))


@pytest.mark.parametrize(
    ("sources", "host", "wrong"),
    [
        ("127.0.0.2", "ws://[::1]:9", True),
        ("127.0.0.2", "ws://127.0.0.1:9", False),
        # of a name only the look-up knows
        ("127.0.0.2", "ws://six.example", False),
        ("", "ws://[::1]:9", False),
    ],
)
def test_source_addresses_of_another_family_than_the_hosts_are_a_mistake(
    sources: str, host: str, wrong: bool
) -> None:
    sentence = "--source-ips: the host ::1 is an IPv6 address, and none of the source addresses is."
    assert mistakes_in(Namespace(source_ips=sources), host) == ([sentence] if wrong else [])


def test_every_mistake_is_told_at_once() -> None:
    found = mistakes_in(Namespace(client="quick"), "ftp://h", "ws://h:0", None)
    assert [sentence.partition(" ")[0] for sentence in found] == ["--client:", "'ftp://h'", "Port"]


@pytest.mark.parametrize(("client", "wrong"), [("reference", True), ("fast", False)])
def test_a_proxy_that_cannot_be_used_is_a_mistake_for_who_would_use_it(
    monkeypatch: pytest.MonkeyPatch, client: str, wrong: bool
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    found = mistakes_in(Namespace(client=client), "ws://h")
    assert [sentence.partition(",")[0].partition(":")[0] for sentence in found] == (
        ["ALL_PROXY names no HTTP proxy"] if wrong else []
    )


def test_a_proxy_that_sockets_do_not_go_through_is_said_once_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    users = [SimpleNamespace(host="ws://a"), SimpleNamespace(host="ws://a"), SimpleNamespace(host="wss://b")]
    own: Any = SimpleNamespace(host=None, user_classes=users)
    (sentence,) = proxies_passed_by(own, options())
    assert sentence.startswith("HTTP_PROXY names a proxy for a,")
    assert proxies_passed_by(own, options(client="reference")) == []
    given: Any = SimpleNamespace(host="wss://b", user_classes=users)
    assert proxies_passed_by(given, options()) == []
