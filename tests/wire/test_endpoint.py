"""Endpoints: which URLs can be loaded, what they mean, and that no secret leaves through an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsoak.wire.endpoint import BadUrl, Endpoint, mask_query

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
        Endpoint("ws", "::1", 9, "/base"),
        "[::1]:9",
        "ws://[::1]:9/base",
        "http://[::1]:9/base",
    ),
    "  https://h/a/b/  ": (Endpoint("wss", "h", 443, "/a/b"), "h", "wss://h/a/b", "https://h/a/b"),
}


@pytest.mark.parametrize("url", URLS)
def test_a_url_means_scheme_host_port_and_prefix(url: str) -> None:
    endpoint, authority, ws_url, http_url = URLS[url]
    assert Endpoint.of(url) == endpoint
    assert endpoint.secure is (endpoint.scheme == "wss")
    assert (endpoint.authority, endpoint.ws_url, endpoint.http_url) == (authority, ws_url, http_url)
    assert Endpoint.of(ws_url) == Endpoint.of(http_url) == endpoint


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
        "http://h/?a=b",
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
        "http://user:s3cret@h",
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
    ],
)
def test_a_path_is_asked_for_below_the_prefix(prefix: str, path: str, resource: str) -> None:
    assert Endpoint("ws", "h", 80, prefix).resource(path) == resource


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
