"""Cookies: a user's HTTP calls and sockets share one jar, as a browser's do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.load.session import rest, script, session
from tests.wire.harness import Listener, Peer, listening, until
from wsoak.load.cookies import Cookies
from wsoak.wire.endpoint import Endpoint
from wsoak.wire.headers import Headers

SECRET = "s3ss10n"


class Shop:
    """Sets a cookie at the log-in and one at each upgrade, and notes which came with what."""

    def __init__(self) -> None:
        self.came: list[tuple[str, str]] = []

    def __call__(self, peer: Peer) -> None:
        head = peer.read_head()
        found = re.search(rb"(?im)^cookie: (.*?)\r$", head)
        self.came.append((peer.path, found.group(1).decode() if found else ""))
        if b"Upgrade" in head:
            answer = peer.upgrade().replace(b"\r\n\r\n", b"\r\nSet-Cookie: LB=node-7; Path=/\r\n\r\n")
            peer.send(answer)
            peer.echo()
        else:
            cookies = f"Set-Cookie: sessionid={SECRET}; HttpOnly; Path=/\r\nSet-Cookie: tls=1; Secure\r\n"
            peer.send(f"HTTP/1.1 200 OK\r\n{cookies}Content-Length: 2\r\n\r\n{{}}".encode())

    def at(self, path: str) -> list[set[str]]:
        """The cookies that came with each request for this path."""
        return [set(filter(None, cookie.split("; "))) for asked, cookie in self.came if asked == path]


def run(body: Any, listener: Listener, folder: Path, client: str) -> None:
    host, arguments = f"http://127.0.0.1:{listener.port}", ("--client", client)
    with session(script(body), host=host, run_dir=folder, arguments=arguments) as made:
        made.start()
        until(lambda: getattr(made.environment, "done", False))
        made.stop()


@pytest.mark.parametrize("client", ["fast", "reference"])
def test_what_the_log_in_and_an_upgrade_set_goes_with_the_next_upgrade(client: str, tmp_path: Path) -> None:
    shop = Shop()

    def body(user: Any) -> None:
        answer = user.api("POST", "/login")
        assert answer.headers["Set-Cookie"].startswith("sessionid=")
        for _ in range(2):
            with user.connect("/ws") as ws:
                assert ws.headers["set-cookie"].startswith("LB=")
        user.api("GET", "/after")
        user.connect("/by-hand", headers={"Cookie": "mine=1"}).close()
        user.environment.done = True
        rest()

    with listening(shop, may_fail=True) as listener:
        run(body, listener, tmp_path / "r", client)
    session_cookie = f"sessionid={SECRET}"
    assert shop.at("/login") == [set()]
    assert shop.at("/ws") == [{session_cookie}, {session_cookie, "LB=node-7"}]
    assert shop.at("/after") == [{session_cookie, "LB=node-7"}]
    assert shop.at("/by-hand") == [{"mine=1"}]
    written = "".join(file.read_text() for file in (tmp_path / "r").iterdir())
    assert SECRET not in written
    assert "node-7" not in written


def test_a_cookie_stays_with_its_host_and_its_user(tmp_path: Path) -> None:
    shop = Shop()

    def body(user: Any) -> None:
        if user.number == 0:
            user.api("POST", "/login")
            user.connect(f"ws://localhost:{listener.port}/elsewhere").close()
        else:
            user.connect("/ws").close()
        rest()

    with listening(shop, may_fail=True) as listener:
        host = f"http://127.0.0.1:{listener.port}"
        with session(script(body), host=host, run_dir=tmp_path / "r") as made:
            made.start(2)
            until(lambda: shop.at("/ws") and shop.at("/elsewhere"))
            made.stop()
    assert shop.at("/ws") == shop.at("/elsewhere") == [set()]


def test_a_drop_of_the_http_client_loses_no_cookie(tmp_path: Path) -> None:
    shop = Shop()

    def body(user: Any) -> None:
        user.api("POST", "/login")
        user.drop_http()
        user.api("GET", "/after")
        user.environment.done = True
        rest()

    with listening(shop, may_fail=True) as listener:
        run(body, listener, tmp_path / "r", "fast")
    assert shop.at("/after") == [{f"sessionid={SECRET}"}]


@pytest.mark.parametrize(
    ("line", "url", "path", "goes"),
    [
        ("a=1", "ws://host.test/", "/chat/2", True),
        ("a=1", "ws://host.test/", "/ws", False),
        ("a=1; Path=/", "ws://host.test/", "/ws", True),
        ("a=1; Path=/; Secure", "ws://host.test/", "/ws", False),
        ("a=1; Path=/; Secure", "wss://host.test/", "/ws", True),
        ("a=1; Path=/chat", "ws://host.test/", "/chat/7", True),
        ("a=1; Path=/chat", "ws://host.test/", "/other", False),
        ("a=1; Max-Age=0", "ws://host.test/", "/ws", False),
        ("a=1; Path=/; Domain=elsewhere.test", "ws://host.test/", "/ws", False),
        ("a=1; Path=/; Domain=host.test", "ws://host.test/", "/ws", True),
        ("garbage", "ws://host.test/", "/ws", False),
    ],
)
def test_which_cookie_goes_where_is_as_rfc_6265_says(line: str, url: str, path: str, goes: bool) -> None:
    cookies, endpoint = Cookies(), Endpoint.of(url)
    cookies.keep(endpoint, "/chat/1", Headers([("Set-Cookie", line)]))
    assert cookies.of_upgrade(endpoint, path, []) == ([("Cookie", "a=1")] if goes else [])
