"""Endpoints: which URLs can be loaded, what they mean, and that no secret leaves through an error."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsoak.wire.endpoint import BadUrl, Endpoint, mask_query, path_of

URLS = {
    "http://h": (Endpoint("ws", "h", 80), "h", "ws://h", "http://h"),
    "https://h": (Endpoint("wss", "h", 443), "h", "wss://h", "https://h"),
    "ws://h:80/": (Endpoint("ws", "h", 80), "h", "ws://h", "http://h"),
    "WSS://H.example:8443": (
        Endpoint("wss", "h.example", 8443),
        "h.example:8443",
        "wss://h.example:8443",
        "https://h.example:8443",
    ),
    "http://h:443": (Endpoint("ws", "h", 443), "h:443", "ws://h:443", "http://h:443"),
    "http://[::1]:9/base/": (
        Endpoint("ws", "::1", 9, "/base/"),
        "[::1]:9",
        "ws://[::1]:9/base/",
        "http://[::1]:9/base",
    ),
    "  https://h/a/b  ": (Endpoint("wss", "h", 443, "/a/b"), "h", "wss://h/a/b", "https://h/a/b"),
    "ws://bücher.Example/": (
        Endpoint("ws", "xn--bcher-kva.example", 80),
        "xn--bcher-kva.example",
        "ws://xn--bcher-kva.example",
        "http://xn--bcher-kva.example",
    ),
    "ws://straße。example": (
        Endpoint("ws", "xn--strae-oqa.example", 80),
        "xn--strae-oqa.example",
        "ws://xn--strae-oqa.example",
        "http://xn--strae-oqa.example",
    ),
    "ws://i❤.example": (
        Endpoint("ws", "xn--i-7iq.example", 80),
        "xn--i-7iq.example",
        "ws://xn--i-7iq.example",
        "http://xn--i-7iq.example",
    ),
    "ws://node_1.:8080": (
        Endpoint("ws", "node_1.", 8080),
        "node_1.:8080",
        "ws://node_1.:8080",
        "http://node_1.:8080",
    ),
    "ws://h//ws": (Endpoint("ws", "h", 80, "//ws"), "h", "ws://h//ws", "http://h//ws"),
    "ws://h/zimmer/über uns/a%20b": (
        Endpoint("ws", "h", 80, "/zimmer/%C3%BCber%20uns/a%20b"),
        "h",
        "ws://h/zimmer/%C3%BCber%20uns/a%20b",
        "http://h/zimmer/%C3%BCber%20uns/a%20b",
    ),
    "ws://h/ws?token=abc&naïve": (
        Endpoint("ws", "h", 80, "/ws", "token=abc&na%C3%AFve"),
        "h",
        "ws://h/ws",
        "http://h/ws",
    ),
    "ws://h?token=abc": (Endpoint("ws", "h", 80, "", "token=abc"), "h", "ws://h", "http://h"),
    "ws://us%3Aer:p%40ss@h/ws": (
        Endpoint("ws", "h", 80, "/ws", "", "Basic dXM6ZXI6cEBzcw=="),
        "h",
        "ws://h/ws",
        "http://h/ws",
    ),
}


@pytest.mark.parametrize("url", URLS)
def test_a_url_means_scheme_host_port_and_prefix(url: str) -> None:
    endpoint, authority, ws_url, http_url = URLS[url]
    assert Endpoint.of(url) == endpoint
    assert endpoint.secure is (endpoint.scheme == "wss")
    assert (endpoint.authority, endpoint.ws_url, endpoint.http_url) == (authority, ws_url, http_url)
    plain = replace(endpoint, query="", authorization=None)
    assert Endpoint.of(ws_url) == plain
    assert Endpoint.of(http_url) == replace(plain, prefix=plain.prefix.rstrip("/"))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h",
        "h:80",
        "ftp://h",
        "ws://",
        "ws://:80",
        "http://h:99999",
        "http://h:x",
        "http://h:0",
        "http://h/#fragment",
        "ws://h/a\nb",
        "ws://h\t/",
        "ws://ho st/",
        "ws://h{1}/",
        f"ws://{'ü' * 80}.example/",
        "ws://h/\udcff",
        "http://[::1",
    ],
)
def test_what_cannot_be_loaded_is_said_in_a_sentence(url: str) -> None:
    with pytest.raises(BadUrl) as raised:
        Endpoint.of(url)
    assert str(raised.value).endswith(".")


@pytest.mark.parametrize(
    "url",
    [
        "http://user:s3cret@h/#x",
        "ws://user:s3cret@h/?token=s3cret#x",
        "ws://user:s3cret@ho st/?token=s3cret",
        "ws://user:s3cret@h/\udcff?token=s3cret",
        "http://s3cret@h:99999",
        "ftp://user:s3cret@h/",
        "http://h:x/?token=s3cret",
        "ftp://u:p@ss-s3cret@h",
        "http://u:p@ss-s3cret@h:99999",
    ],
)
def test_no_secret_of_a_url_is_in_its_error(url: str) -> None:
    with pytest.raises(BadUrl) as raised:
        Endpoint.of(url)
    assert "s3cret" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    ("prefix", "path", "resource"),
    [
        ("", "/ws", "/ws"),
        ("", "ws", "/ws"),
        ("/api", "/ws?a=b", "/api/ws?a=b"),
        ("/api", "ws", "/api/ws"),
        ("", "", "/"),
        ("/ws/echo/", "", "/ws/echo/"),
        ("/ws/echo/", "?a=b", "/ws/echo/?a=b"),
        ("/ws/echo/", "/room/", "/ws/echo/room/"),
        ("", "/a b/ü?q=ö c", "/a%20b/%C3%BC?q=%C3%B6%20c"),
        ("", "/a%20b?c=%C3%B6", "/a%20b?c=%C3%B6"),
    ],
)
def test_a_path_is_asked_for_below_the_prefix(prefix: str, path: str, resource: str) -> None:
    assert Endpoint("ws", "h", 80, prefix).resource(path) == resource


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("", "/ws?token=abc&room=1"),
        ("/chat", "/ws/chat?token=abc&room=1"),
        ("/chat?room=2", "/ws/chat?token=abc&room=2"),
        ("?room=2&room=3", "/ws?token=abc&room=2&room=3"),
        ("?", "/ws?token=abc&room=1"),
    ],
)
def test_the_hosts_query_goes_with_every_path_and_gives_way_to_the_paths_own(
    path: str, resource: str
) -> None:
    assert Endpoint.of("ws://h/ws?token=abc&room=1").resource(path) == resource


def test_http_requests_do_not_carry_the_query_of_the_sockets() -> None:
    endpoint = Endpoint.of("ws://h/api/?token=abc")
    assert endpoint.http_path("/health") == "/api/health"
    assert endpoint.http_url == "http://h/api"


def test_no_secret_of_an_endpoint_is_in_its_repr() -> None:
    assert "s3cret" not in repr(Endpoint.of("ws://u:s3cret@h/ws?token=s3cret"))
    assert "Basic" not in repr(Endpoint.of("ws://u:s3cret@h/ws"))


@pytest.mark.parametrize(
    ("url", "server_name"),
    [
        ("wss://Example.org.", "example.org"),
        ("wss://example.org", "example.org"),
        ("wss://bücher.example.", "xn--bcher-kva.example"),
        ("wss://[fe80::1%25eth0]:1", "fe80::1"),
    ],
)
def test_sni_and_certificate_check_know_no_last_dot_and_no_zone(url: str, server_name: str) -> None:
    assert Endpoint.of(url).server_name == server_name


def test_credentials_of_a_url_give_way_to_a_header_of_the_scenarios() -> None:
    endpoint = Endpoint.of("ws://u:p@h")
    assert endpoint.headers([("A", "b")]) == [("A", "b"), ("Authorization", "Basic dTpw")]
    assert endpoint.headers([("authorization", "Bearer x")]) == [("authorization", "Bearer x")]
    assert Endpoint.of("ws://h").headers([("A", "b")]) == [("A", "b")]


def test_an_absolute_url_leads_to_its_own_host() -> None:
    endpoint = Endpoint.of("http://h/api?token=abc")
    assert endpoint.aim("/ws?a=b") == (endpoint, "/ws?a=b")
    assert endpoint.aim("//ws") == (endpoint, "//ws")
    aimed, path = endpoint.aim("wss://other:8443/client/?hub=chat")
    assert aimed == Endpoint("wss", "other", 8443, "/client/", "hub=chat")
    assert aimed.resource(path) == "/client/?hub=chat"
    with pytest.raises(BadUrl, match=r"^'ftp://other/' is not a host to load"):
        endpoint.aim("ftp://other/?token=abc")


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("/ws?token=abc", "/ws"),
        ("", ""),
        ("wss://u:s3cret@other:1/client/?hub=chat", "/client/"),
        ("wss://u:s3cret@other", "/"),
        ("wss://u:s3cret@other?a=b", "/"),
    ],
)
def test_the_path_of_an_absolute_url_holds_no_host_and_no_secret(path: str, plain: str) -> None:
    assert path_of(path) == plain


@pytest.mark.parametrize(
    ("path", "masked"),
    [
        ("/ws", "/ws"),
        ("/ws?", "/ws?"),
        ("/ws?token=abc", "/ws?token=***"),
        ("/ws?a=1&token=x=y&b", "/ws?a=***&token=***&***"),
        ("/ws?eyJhbGciOi.bare.token", "/ws?***"),
        ("/ws?a=1?b=2", "/ws?a=***"),
    ],
)
def test_values_of_a_query_are_masked(path: str, masked: str) -> None:
    assert mask_query(path) == masked


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "token"]), st.text("s3cret/?=%", min_size=1)), min_size=1)
)
def test_no_value_of_a_query_is_left(pairs: list[tuple[str, str]]) -> None:
    masked = mask_query("/ws?" + "&".join(f"{name}={value}" for name, value in pairs))
    assert masked == "/ws?" + "&".join(f"{name}=***" for name, _ in pairs)
