"""Addresses: policies, pins, and the order in which the addresses of a name are tried."""

from __future__ import annotations

import socket

import pytest

from wsoak.ledger.units import NS_PER_S
from wsoak.wire.addresses import (
    AGAIN_NS,
    AVOIDED_NS,
    MISSES,
    Address,
    Known,
    Policy,
    is_literal,
    parse_pin,
    parse_policy,
    pin_of,
    pinned,
    text_of,
)

FIRST = Policy(select="first")
TURNS = Policy(select="roundrobin")


def v4(number: int) -> Address:
    return int(socket.AF_INET), (f"127.0.0.{number}", 80)


def v6(number: int) -> Address:
    return int(socket.AF_INET6), (f"fd00::{number}", 80, 0, 0)


def order(known: Known, now_ns: int = 0) -> list[str]:
    return [text_of(address) for address in known.order(now_ns)]


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", Policy(300 * NS_PER_S, "roundrobin")),
        ("ttl=5m", Policy(300 * NS_PER_S, "roundrobin")),
        ("select=first", Policy(300 * NS_PER_S, "first")),
        ("ttl=0,select=random", Policy(0, "random")),
        (" select = roundrobin , ttl = 1.5 ", Policy(1_500_000_000, "roundrobin")),
        ("ttl=250ms", Policy(250_000_000, "roundrobin")),
        ("ttl=inf", Policy(None, "roundrobin")),
    ],
)
def test_a_policy_is_read(text: str, policy: Policy) -> None:
    assert parse_policy(text) == policy


@pytest.mark.parametrize(
    "text", ["300", "ttl", "ttl=", "ttl=x", "ttl=-1", "ttl=nan", "ttl=1e999", "ttl=1,ttl=2", "select=", "a=b"]
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(ttl|select)=|^'"):
        parse_policy(text)


@pytest.mark.parametrize(
    ("text", "place", "addresses"),
    [
        ("Example.org:443:127.0.0.2", ("example.org", 443), ("127.0.0.2",)),
        ("h:80:[::1]", ("h", 80), ("::1",)),
        ("h:80:::1", ("h", 80), ("::1",)),
        ("[fd00::1]:80:127.0.0.1", ("fd00::1", 80), ("127.0.0.1",)),
        ("*:80:127.0.0.1,[::1]", ("*", 80), ("127.0.0.1", "::1")),
    ],
)
def test_a_pin_is_read(text: str, place: tuple[str, int], addresses: tuple[str, ...]) -> None:
    assert parse_pin(text) == (place, addresses)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h",
        "h:80",
        "h:80:",
        "h:x:127.0.0.1",
        "h:0:127.0.0.1",
        "h:65536:127.0.0.1",
        "h:80:node",
        "h:80:127.0.0.1,",
    ],
)
def test_what_is_no_pin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT:ADDRESS"):
        parse_pin(text)


def test_a_pin_is_for_its_host_and_port_and_the_last_one_counts() -> None:
    pins = pinned(["h:80:127.0.0.1", "h:80:127.0.0.2", "*:81:127.0.0.3"])
    assert pin_of(pins, "h", 80) == ("127.0.0.2",)
    assert pin_of(pins, "other", 80) is None
    assert pin_of(pins, "other", 81) == ("127.0.0.3",)
    assert pin_of({}, "h", 80) is None


@pytest.mark.parametrize(
    ("host", "literal"), [("127.0.0.1", True), ("::1", True), ("fe80::1%lo", True), ("a.b", False)]
)
def test_an_address_is_told_from_a_name(host: str, literal: bool) -> None:
    assert is_literal(host) is literal


def test_every_address_has_its_turn() -> None:
    known = Known([v4(1), v4(2), v4(3)], 0, TURNS, turn=1)
    assert [order(known)[0] for _ in range(4)] == ["127.0.0.2", "127.0.0.3", "127.0.0.1", "127.0.0.2"]
    assert order(known) == ["127.0.0.3", "127.0.0.1", "127.0.0.2"]


def test_the_first_is_always_the_first_and_random_is_any() -> None:
    known = Known([v4(1), v4(2)], 0, FIRST)
    assert {order(known)[0] for _ in range(9)} == {"127.0.0.1"}
    known = Known([v4(1), v4(2)], 0, Policy(select="random"))
    assert {order(known)[0] for _ in range(200)} == {"127.0.0.1", "127.0.0.2"}


def test_families_alternate() -> None:
    """RFC 8305 section 4: an address of the other family comes second."""
    known = Known([v6(1), v6(2), v4(1), v4(2), v4(3)], 0, FIRST)
    assert order(known) == ["fd00::1", "127.0.0.1", "fd00::2", "127.0.0.2", "127.0.0.3"]


def test_an_address_that_takes_no_connection_is_tried_last_and_after_a_while_by_one_socket() -> None:
    known = Known([v4(1), v4(2)], 0, FIRST)
    assert known.missed(v4(1), 0)
    assert not known.missed(v4(1), 0)
    assert order(known) == order(known, AVOIDED_NS - 1) == ["127.0.0.2", "127.0.0.1"]
    assert order(known, AVOIDED_NS) == ["127.0.0.1", "127.0.0.2"]
    assert order(known, AVOIDED_NS) == ["127.0.0.2", "127.0.0.1"]
    assert known.worked(v4(1))
    assert order(known) == ["127.0.0.1", "127.0.0.2"]


def test_an_address_that_has_taken_connections_is_avoided_after_several_failures_in_a_row() -> None:
    known = Known([v4(1), v4(2)], 0, FIRST)
    known.worked(v4(1))
    for _ in range(MISSES - 1):
        assert not known.missed(v4(1), 0)
    assert order(known)[0] == "127.0.0.1"
    known.worked(v4(1))
    assert [known.missed(v4(1), 0) for _ in range(MISSES)] == [False] * (MISSES - 1) + [True]
    assert order(known)[0] == "127.0.0.2"


def test_where_no_address_takes_connections_all_are_tried() -> None:
    known = Known([v4(1), v4(2)], 0, TURNS)
    for address in (v4(1), v4(2)):
        known.missed(address, 0)
    assert sorted(order(known)) == ["127.0.0.1", "127.0.0.2"]


@pytest.mark.parametrize(
    ("ttl_ns", "failed", "holds_ns"),
    [
        (300 * NS_PER_S, False, 300 * NS_PER_S),
        (300 * NS_PER_S, True, AGAIN_NS),
        (AGAIN_NS // 2, True, AGAIN_NS // 2),
        (0, False, 0),
    ],
)
def test_a_look_up_holds_for_its_time_and_after_a_failure_for_a_second(
    ttl_ns: int, failed: bool, holds_ns: int
) -> None:
    known = Known([v4(1)], 5, Policy(ttl_ns))
    if failed:
        known.missed(v4(1), 5)
    assert not known.holds(5 + holds_ns)
    assert known.holds(5 + holds_ns - 1) or not holds_ns


def test_a_look_up_for_the_whole_run_holds_whatever_happens() -> None:
    known = Known([v4(1)], 0, Policy(None))
    known.missed(v4(1), 0)
    assert known.holds(10**18)


def test_what_is_known_of_an_address_outlasts_a_look_up() -> None:
    known = Known([v4(1), v4(2)], 0, FIRST)
    known.missed(v4(1), 0)
    known.missed(v4(2), 0)
    renewed = known.renewed([v4(1), v4(3)], AGAIN_NS)
    assert renewed.holds(2 * AGAIN_NS)
    assert order(renewed, AGAIN_NS) == ["127.0.0.3", "127.0.0.1"]
