"""User: sockets, reconnects, HTTP and figures, as a run of Locust's has them."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import gevent
import pytest
from locust.env import Environment
from locust.exception import StopUser

from tests.load.session import Session, records, rest, script, session
from tests.wire.harness import Certificates, Listener, Peer, close_frame, frame, listening, until
from wsoak.ledger.rundir import RunReader
from wsoak.ledger.timeline import value
from wsoak.load import user as user_module
from wsoak.load.api import Answer
from wsoak.wire.frames import TEXT


def echo(peer: Peer) -> None:
    # a client that is stopped while it opens resets its connection
    with contextlib.suppress(ConnectionError):
        peer.accept().echo()


def sentences(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Our own errors; Locust is upset by users that end while it stops them."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.ERROR and record.name.startswith("wsoak")
    ]


def url_of(listener: Listener, scheme: str = "http", path: str = "") -> str:
    return f"{scheme}://127.0.0.1:{listener.port}{path}"


# ------------------------------------------------------------------------------------------------ sockets


@pytest.mark.parametrize("scheme", ["http", "ws", "https", "wss"])
@pytest.mark.parametrize("prefix", ["", "/", "/api/v1"])
def test_a_socket_goes_to_the_host_whatever_its_scheme(
    scheme: str, prefix: str, certificates: Certificates, tmp_path: Path
) -> None:
    asked: list[str] = []
    talked: list[bool] = []

    def server(peer: Peer) -> None:
        asked.append(peer.path)
        echo(peer)

    def body(user: Any) -> None:
        with user.connect("/chat?token=t") as ws:
            assert ws.request({"reply_to": 1}, reply_to=1) is not None
        talked.append(True)
        rest()

    tls = certificates.of_server() if scheme in ("https", "wss") else None
    with listening(server, tls) as listener:
        (record,) = records(
            script(body),
            host=url_of(listener, scheme, prefix),
            run_dir=tmp_path / "r",
            arguments=("--tls-ca", str(certificates.authority)),
            done=lambda _: talked,
        )
    whole = prefix.rstrip("/") + "/chat"
    assert asked == [f"{whole}?token=t"]
    assert (record.outcome, record.name, record.path) == ("open", "/chat", f"{whole}?token=***")
    assert (record.code, record.initiator, record.clean, record.usable) == (1000, "client", True, True)
    assert (record.tls_ms is not None) is (tls is not None)


def test_a_certificate_that_nobody_trusts_is_refused_unless_that_is_wanted(
    certificates: Certificates, tmp_path: Path
) -> None:
    def server(peer: Peer) -> None:
        echo(peer)

    def body(user: Any) -> None:
        user.connect("/x")
        rest()

    outcomes = []
    for index, arguments in enumerate([(), ("--tls-insecure",)]):
        # the server's view of a client that goes away in the middle of TLS
        with contextlib.suppress(OSError), listening(server, certificates.of_server()) as listener:
            records(
                script(body),
                host=url_of(listener, "https"),
                run_dir=tmp_path / str(index),
                arguments=arguments,
                done=lambda made: not made.generator.client.opening and listener.accepted,
            )
        (record,) = RunReader(tmp_path / str(index)).connections()
        outcomes.append(record.outcome)
    assert outcomes == ["tls-failed", "open"]


@pytest.mark.parametrize(
    ("path", "name", "expected"),
    [
        ("/chat?token=t&id=5", None, "/chat"),
        ("chat", None, "chat"),
        ("", None, "/"),
        ("?token=t", None, "/"),
        ("/chat/5?x=1", "chat", "chat"),
        ("/chat/5?x=1", None, "/chat/{id}"),
        ("ws://127.0.0.1:PORT/chat/?x=t", None, "/chat/"),
        ("http://u:t@127.0.0.1:PORT?x=t", None, "/"),
    ],
)
def test_a_socket_is_named_by_its_path_without_the_query(
    path: str, name: str | None, expected: str, tmp_path: Path
) -> None:
    def body(user: Any) -> None:
        user.connect(path.replace("PORT", str(listener.port)), name=name)
        rest()

    with listening(echo) as listener:
        (record,) = records(
            script(body),
            host=url_of(listener),
            run_dir=tmp_path / "r",
            done=lambda made: made.generator.client.open_connections,
        )
    assert record.name == expected
    assert "=t" not in record.path


def test_log_in_and_socket_may_live_on_different_hosts(tmp_path: Path) -> None:
    asked: list[str] = []

    def server(peer: Peer) -> None:
        asked.append(peer.path)
        echo(peer)

    def body(user: Any) -> None:
        with user.connect(f"ws://127.0.0.1:{other.port}/client/?hub=chat", name="chat") as ws:
            assert ws.request({"reply_to": 1}, reply_to=1) is not None
        with pytest.raises(ValueError, match=r"^'ftp://x/' is not a host to load: .*\.$"):
            user.connect("ftp://x/?token=t")
        with pytest.raises(ValueError, match=r"a # must be written %23"):
            user.connect("/chat#5")
        asked.append("done")
        rest()

    with listening(echo) as front, listening(server) as other:
        (record,) = records(
            script(body),
            host=url_of(front, path="/api?token=t"),
            run_dir=tmp_path / "r",
            done=lambda _: asked[-1:] == ["done"],
        )
        assert front.accepted == 0
    assert asked == ["/client/?hub=chat", "done"]
    assert (record.outcome, record.name, record.path) == ("open", "chat", "/client/?hub=***")


def test_log_in_and_sockets_go_to_the_address_that_is_given_for_the_hosts_name(tmp_path: Path) -> None:
    asked: list[str] = []

    def server(peer: Peer) -> None:
        head = peer.read_head().decode()
        asked.append(f"{head.split()[1]} {head.lower().partition('host: ')[2].split()[0]}")
        if asked[-1].startswith("/log-in"):
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        else:
            echo(peer)

    def body(user: Any) -> None:
        assert user.api("POST", "/log-in").ok
        user.drop_http()
        with user.connect("/chat") as ws:
            assert ws.request({"reply_to": 1}, reply_to=1) is not None
        asked.append("done")
        rest()

    with listening(server) as listener:
        host = f"cluster.invalid:{listener.port}"
        (record,) = records(
            script(body),
            host=f"http://{host}",
            run_dir=tmp_path / "r",
            arguments=("--resolve", f"{host}:127.0.0.1"),
            done=lambda _: asked[-1:] == ["done"],
        )
    assert asked == [f"/log-in {host}", f"/chat {host}", "done"]
    assert (record.outcome, record.address, record.resolve_ms) == ("open", "127.0.0.1", None)


def test_many_sockets_are_opened_at_a_time_in_order(tmp_path: Path) -> None:
    seen: list[list[str]] = []
    answered: list[bool] = []

    def server(peer: Peer) -> None:
        if peer.path == "/3":
            peer.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        else:
            echo(peer)

    def body(user: Any) -> None:
        sockets = user.connect_many(6, lambda slot: user.connect(f"/{slot}", name="many", slot=slot))
        seen.append([ws.outcome for ws in sockets])
        assert [ws.request({"reply_to": "k"}, reply_to="k") is not None for ws in sockets if ws.is_open] == [
            True
        ] * 5
        answered.append(True)
        rest()

    with listening(server) as listener:
        found = records(
            script(body),
            host=url_of(listener),
            run_dir=tmp_path / "r",
            done=lambda _: answered,
        )
    assert seen == [["open"] * 3 + ["rejected-503"] + ["open"] * 2]
    assert sorted(record.path for record in found) == [f"/{slot}" for slot in range(6)]


def test_a_socket_outlives_its_task_and_is_closed_with_the_user(tmp_path: Path) -> None:
    closes = []

    def server(peer: Peer) -> None:
        closes.append(peer.accept().answer_close())

    tasks = []

    def body(user: Any) -> None:
        tasks.append(user)
        if len(tasks) == 1:
            user.connect("/kept")
        else:
            rest()

    with listening(server) as listener:
        (record,) = records(
            script(body), host=url_of(listener), run_dir=tmp_path / "r", done=lambda _: len(tasks) == 2
        )
    assert [(close.code, close.reason) for close in closes] == [(1000, "run ended")]
    assert (record.reason, record.initiator, record.code, record.clean) == ("run ended", "client", 1000, True)
    assert record.ended_by_run


@pytest.mark.parametrize("arguments", [(), ("--stop-timeout", "5")])
def test_a_ramp_down_closes_the_sockets_of_those_who_go(arguments: tuple[str, ...], tmp_path: Path) -> None:
    def body(user: Any) -> None:
        with user.connect("/x", name="x") as ws:
            ws.expect(lambda _: False, timeout=3600) if not arguments else user.wait_for_the_end()

    def wait_for_the_end(user: Any) -> None:
        # with a stop time-out a task is given the time to come to its own end
        until(lambda: user._state == "stopping")

    with (
        listening(echo) as listener,
        session(
            script(body, wait_for_the_end=wait_for_the_end),
            host=url_of(listener),
            run_dir=tmp_path / "r",
            arguments=arguments,
        ) as made,
    ):
        made.start(6)
        client = made.generator.client
        until(lambda: len(client.open_connections) == 6)
        made.runner.start(2, 100)
        until(lambda: made.runner.user_count == 2 and len(client.open_connections) == 2)
        assert made.books().open_now == 2
        reader = made.stop()
    found = list(reader.connections())
    assert len(found) == 6
    assert {record.initiator for record in found} == {"client"}
    assert {record.clean for record in found} == {True}
    if not arguments:
        assert Counter(record.reason for record in found) == {"user ended": 4, "run ended": 2}


def test_a_user_that_is_stopped_while_it_opens_leaves_cancelled_attempts(tmp_path: Path) -> None:
    def never_answers(peer: Peer) -> None:
        peer.read_head()
        peer.wait_for_end()

    def body(user: Any) -> None:
        user.connect_many(5, lambda slot: user.connect("/x", slot=slot))

    with listening(never_answers) as listener:
        found = records(
            script(body), host=url_of(listener), run_dir=tmp_path / "r", done=lambda _: listener.accepted == 5
        )
    assert [record.outcome for record in found] == ["cancelled"] * 5


def test_a_user_forgets_the_sockets_that_have_ended(tmp_path: Path) -> None:
    held: list[int] = []

    def body(user: Any) -> None:
        kept = user.connect("/kept")
        for _ in range(100):
            user.connect("/x").close()
            held.append(len(user._sockets))
        assert kept in user._sockets
        held.append(0)
        rest()

    with listening(echo) as listener:
        found = records(
            script(body), host=url_of(listener), run_dir=tmp_path / "r", done=lambda _: held and not held[-1]
        )
    # each with what came on it: those of many users would be a leak to whoever watches for minutes
    assert max(held) <= 5
    assert [record.reason for record in found if record.name == "/kept"] == ["run ended"]


# ------------------------------------------------------------------------------------------------ gather


def test_what_is_gathered_ends_with_the_user(tmp_path: Path) -> None:
    ended: list[int] = []
    begun: list[int] = []

    def one(number: int) -> Callable[[], None]:
        def run() -> None:
            begun.append(number)
            try:
                rest()
            finally:
                ended.append(number)

        return run

    with (
        listening(echo) as listener,
        session(
            script(lambda user: user.gather([one(number) for number in range(3)])),
            host=url_of(listener),
            run_dir=tmp_path / "r",
        ) as made,
    ):
        made.start()
        until(lambda: len(begun) == 3)
        assert ended == []
        made.stop()
        assert sorted(ended) == [0, 1, 2]


def gathering(functions: list[Callable[[], Any]]) -> BaseException | None:
    """What ``gather`` raises; it asks nothing of its user."""
    try:
        user_module.WebSocketUser.gather(object.__new__(user_module.WebSocketUser), functions)
    except Exception as error:  # noqa: BLE001 - it is the result
        return error
    return None


def stop() -> None:
    raise StopUser


def test_who_wants_the_user_stopped_waits_for_the_others(capfd: pytest.CaptureFixture[str]) -> None:
    order: list[str] = []

    def later() -> None:
        gevent.idle()
        order.append("later")

    assert isinstance(gathering([stop, later, stop]), StopUser)
    assert order == ["later"]
    # gevent would print the traceback of a greenlet that failed
    assert capfd.readouterr().err == ""


def test_an_error_ends_the_others_and_is_raised(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise KeyError("x")

    assert isinstance(gathering([rest, fail]), KeyError)
    assert "KeyError" in capfd.readouterr().err


def test_gathering_nothing_is_done() -> None:
    assert gathering([]) is None


# -------------------------------------------------------------------------------------------- reconnects

Server = Callable[[Peer], Any]

RESERVED_OPCODE: Final = b"\x83\x00"
"""A frame of opcode 3 (RFC 6455 section 5.2)."""


def rejected(peer: Peer) -> None:
    peer.read_head()
    peer.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")


def closed_at_once(peer: Peer) -> None:
    peer.accept(close_frame(1011, "oops")).hear_close()


def gone_at_once(peer: Peer) -> None:
    peer.accept()


def answered_then_closed(peer: Peer) -> None:
    peer.accept()
    peer.say(peer.hear_text())
    peer.send(close_frame(1001))
    peer.hear_close()


def broke_the_protocol(peer: Peer) -> None:
    peer.accept()
    peer.send(RESERVED_OPCODE)
    peer.hear_close()


def answered_then_broke_the_protocol(peer: Peer) -> None:
    peer.accept()
    peer.say(peer.hear_text())
    peer.send(RESERVED_OPCODE)
    peer.hear_close()


def closed_by_us(peer: Peer) -> None:
    peer.accept().echo()


def talk(user: Any) -> None:
    """One message, then whatever the server does; we close where it does nothing."""
    with user.connect("/x", name="x") as ws:
        ws.request({"reply_to": 1}, reply_to=1)
        if not closing_ourselves(user):
            until(lambda: ws.ended)


def closing_ourselves(user: Any) -> bool:
    return bool(user.closes)


def reconnecting(
    server: Server, policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attempts: int = 4
) -> tuple[list[int], list[int]]:
    """Attempt numbers in the records, and the failures for which back-off was asked."""
    asked: list[int] = []

    def delay_s(failures: int, source: Any) -> float:
        assert source.random() < 1
        asked.append(failures)
        return 0.0

    def until_the_run_ends(peer: Peer) -> None:
        with contextlib.suppress(EOFError, ConnectionError):
            server(peer)

    monkeypatch.setattr(user_module, "delay_s", delay_s)
    with listening(until_the_run_ends) as listener:
        found = records(
            script(talk, closes=server is closed_by_us),
            host=url_of(listener),
            run_dir=tmp_path / policy,
            arguments=("--reconnect", policy),
            done=lambda made: listener.accepted >= attempts or made.runner.user_count == 0,
        )
    return [record.attempt for record in found][:attempts], asked[: attempts - 1]


@pytest.mark.parametrize(
    ("server", "numbers"),
    [
        (rejected, [0, 1, 2, 3]),
        (closed_at_once, [0, 1, 2, 3]),
        (gone_at_once, [0, 1, 2, 3]),
        (broke_the_protocol, [0, 1, 2, 3]),
        # one answer is no success yet: a server that answers once and closes would be stormed
        (answered_then_closed, [0, 1, 2, 3]),
        (answered_then_broke_the_protocol, [0, 1, 2, 3]),
        (closed_by_us, [0, 0, 0, 0]),
    ],
)
def test_attempts_are_numbered_and_waited_for_as_the_policy_says(
    server: Server, numbers: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # however slow the machine is, none of these sockets held
    monkeypatch.setattr(user_module, "HELD_S", 3600.0)
    failures = [number for number in numbers if number]
    assert reconnecting(server, "backoff", tmp_path, monkeypatch) == (numbers, failures)
    assert reconnecting(server, "immediate", tmp_path, monkeypatch) == (numbers, [])
    once = numbers if server is closed_by_us else [0]
    assert reconnecting(server, "none", tmp_path, monkeypatch) == (once, [])


def test_after_a_socket_that_held_the_back_off_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_module, "HELD_S", 0.0)
    numbers = [0, 1, 1, 1]
    assert reconnecting(answered_then_closed, "backoff", tmp_path, monkeypatch) == (numbers, [1, 1, 1])


@pytest.mark.parametrize(("code", "fresh", "wanted"), [(1000, None, 3), (1000, False, 1), (1011, None, 1)])
def test_the_next_conversation_does_not_wait_after_one_that_the_server_ended_with_1000(
    code: int, fresh: bool | None, wanted: int, tmp_path: Path
) -> None:
    def server(peer: Peer) -> None:
        peer.accept()
        peer.hear_text()
        peer.send(frame(TEXT, '{"reply_to": 1}') + close_frame(code))
        peer.wait_for_end()

    def body(user: Any) -> None:
        # under this policy a reconnect ends the user
        for _ in range(3):
            with user.connect("/ask", fresh=fresh) as ws:
                assert ws.request({"id": 1}, reply_to=1) is not None
        rest()

    with listening(server) as listener:
        found = records(
            script(body),
            host=url_of(listener),
            run_dir=tmp_path,
            done=lambda made: made.books().count("closed") == wanted,
            arguments=("--reconnect", "none"),
        )
    assert [(record.initiator, record.code, record.attempt) for record in found] == [
        ("server", code, 0)
    ] * wanted


def test_a_peer_that_was_lost_is_reconnected_to_as_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(peer: Peer) -> None:
        peer.accept().wait_for_end()

    def body(user: Any) -> None:
        ws = user.connect("/x", name="x", heartbeat_s=0.02)
        until(lambda: ws.ended)

    monkeypatch.setattr(user_module, "delay_s", lambda _failures, _source: 0.0)
    with listening(silent) as listener:
        found = records(
            script(body),
            host=url_of(listener),
            run_dir=tmp_path / "r",
            arguments=("--close-timeout", "0.05"),
            done=lambda _: listener.accepted >= 3,
        )
    assert [record.attempt for record in found][:3] == [0, 1, 2]
    assert found[0].detail == "heartbeat-lost"


def test_each_slot_and_each_name_has_a_count_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_module, "delay_s", lambda _failures, _source: 0.0)
    opened: list[tuple[str, int]] = []

    def body(user: Any) -> None:
        for name, slot in (("a", 0), ("a", 1), ("b", 0)):
            user.connect("/x", name=name, slot=slot)
            opened.append((name, slot))
        if len(opened) >= 6:
            rest()

    with listening(rejected) as listener:
        found = records(
            script(body), host=url_of(listener), run_dir=tmp_path / "r", done=lambda _: len(opened) == 6
        )
    assert [(record.name, record.attempt) for record in found] == [
        *[("a", 0), ("a", 0), ("b", 0)],
        *[("a", 1), ("a", 1), ("b", 1)],
    ]


def test_who_may_not_reconnect_stops_without_a_traceback(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def body(user: Any) -> None:
        user.connect_many(3, lambda slot: user.connect("/x", slot=slot))

    with listening(rejected) as listener:
        found = records(
            script(body),
            host=url_of(listener),
            run_dir=tmp_path / "r",
            arguments=("--reconnect", "none"),
            users=2,
            done=lambda made: made.runner.user_count == 0,
        )
    assert [record.attempt for record in found] == [0] * 6
    assert "Traceback" not in capfd.readouterr().err


# ------------------------------------------------------------------------------------------------ figures


def test_the_scenarios_own_figures_reach_the_books(tmp_path: Path) -> None:
    said = []

    def body(user: Any) -> None:
        said.append(user.check("fine", [1]))
        said.append(user.check("fine", None))
        user.metric("rows")
        user.metric("rows", 2.5)
        user.metric("depth", 7, kind="gauge")
        user.metric("work", 0.25, kind="trend")
        user.observe("history-lost", "dialogue", 2, 5, "two of five")
        user.observe("history-lost", "dialogue", 0, 3)
        said.append(None)
        rest()

    with (
        listening(echo) as listener,
        session(script(body), host=url_of(listener), run_dir=tmp_path / "r") as made,
    ):
        made.start()
        until(lambda: None in said)
        books = made.stop().books()
    assert said == [True, False, None]
    assert (books.count("check_passed", "fine"), books.count("check_failed", "fine")) == (1, 1)
    assert (books.count("metric_count", "rows"), books.total("metric_sum", "rows")) == (2, 3.5)
    assert books.gauges["local", "scenario", "depth"].last == 7
    assert books.histogram("metric", "work").max_ns == pytest.approx(0.25e9, rel=0.001)
    seen = books.observations["history-lost", "dialogue"]
    assert (seen.count, seen.of, seen.texts.texts) == (2, 8, ["two of five"])


def test_users_are_numbered_and_draw_their_own_luck_again_in_each_run(tmp_path: Path) -> None:
    drawn: list[tuple[int, float]] = []

    def body(user: Any) -> None:
        drawn.append((user.number, user.random.random()))
        rest()

    with (
        listening(echo) as listener,
        session(script(body), host=url_of(listener), run_dir=tmp_path / "r", web=True) as made,
    ):
        for count in (3, 6):
            made.start(3)
            until(lambda count=count: len(drawn) == count)  # type: ignore[misc]
            made.stop()
    assert sorted(number for number, _ in drawn) == [0, 0, 1, 1, 2, 2]
    assert len({luck for _, luck in drawn}) == 6


def test_an_account_is_the_files_or_made(tmp_path: Path) -> None:
    accounts = tmp_path / "accounts.csv"
    accounts.write_text("phone,password\n1,a\n2,b\n")
    given: list[dict[str, str]] = []

    def body(user: Any) -> None:
        given.append(user.account(lambda index: {"phone": f"made {index}", "password": "p"}))
        rest()

    with listening(echo) as listener:
        for count, name, arguments in ((2, "file", ("--accounts", str(accounts))), (4, "made", ())):
            with session(
                script(body), host=url_of(listener), run_dir=tmp_path / name, arguments=arguments
            ) as made:
                made.start(2)
                until(lambda count=count: len(given) == count)  # type: ignore[misc]
    assert sorted(account["phone"] for account in given) == ["1", "2", "made 0", "made 1"]


def test_the_account_of_a_user_that_has_ended_goes_to_the_next(tmp_path: Path) -> None:
    given: list[str] = []

    def body(user: Any) -> None:
        given.append(user.account(lambda index: {"phone": str(index)})["phone"])
        rest()

    with (
        listening(echo) as listener,
        session(script(body), host=url_of(listener), run_dir=tmp_path / "r") as made,
    ):
        for users, ever in ((3, 3), (0, 3), (3, 6), (1, 6), (3, 8)):
            made.runner.start(users, 100)
            until(
                lambda users=users, ever=ever: made.runner.user_count == users and len(given) == ever  # type: ignore[misc]
            )
    assert given[:6] == ["0", "1", "2", "0", "1", "2"]
    assert set(given[6:]) < {"0", "1", "2"}


def test_accounts_that_lack_what_the_scenario_needs_stop_the_run_with_one_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    accounts = tmp_path / "accounts.csv"
    accounts.write_text("user,password\nS3CRET,S3CRET\n")

    def body(user: Any) -> None:
        user.account(lambda index: {"phone": str(index), "password": "p"})

    with (
        listening(echo) as listener,
        session(
            script(body),
            host=url_of(listener),
            run_dir=tmp_path / "r",
            arguments=("--accounts", str(accounts)),
        ) as made,
    ):
        made.runner.start(5, 100)
        until(lambda: made.runner.state == "stopped")
        until(lambda: not made.under_way)
    errors = sentences(caplog)
    assert errors == ["An account in the accounts file has no phone. The run is stopped."]
    assert RunReader(tmp_path / "r").header["ended_by"] == "given-up"
    assert "S3CRET" not in caplog.text


# --------------------------------------------------------------------------------------------------- HTTP

TOKEN: Final = "t0ken-of-nobody-else"
PASSWORD: Final = "passw0rd-of-nobody-else"


class HttpServer:
    """Answers by path, over and over on one connection; remembers the requests."""

    def __init__(self, **answers: bytes) -> None:
        self.answers = {f"/{path}": answer for path, answer in answers.items()}
        self.heads: list[str] = []
        self.open = 0

    def __call__(self, peer: Peer) -> None:
        self.open += 1
        try:
            while True:
                data = peer.sock.recv(65536)
                if not data:
                    return
                head = data.decode()
                self.heads.append(head)
                path = head.split(" ")[1].partition("?")[0]
                answer = self.answers.get(path, json_answer(b"{}"))
                if not answer:
                    return
                peer.send(answer)
        except ConnectionError:
            return
        finally:
            self.open -= 1


def json_answer(body: bytes, status: bytes = b"200 OK", *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


def with_http(
    server: HttpServer, body: Callable[[Any], Any], tmp_path: Path, name: str = "r"
) -> tuple[Session, list[Any]]:
    """One user's task over HTTP, and what it returned."""
    answers: list[Any] = []

    def once(user: Any) -> None:
        answers.append(body(user))
        rest()

    with listening(server) as listener:
        with session(script(once), host=url_of(listener), run_dir=tmp_path / name) as made:
            made.start()
            until(lambda: answers)
            made.stop()
            until(lambda: server.open == 0)
        return made, answers


def test_an_http_client_is_made_when_it_is_needed_and_given_back(tmp_path: Path) -> None:
    server = HttpServer()

    def body(user: Any) -> Any:
        steps = [user._http is None]
        user.api("GET", "/a")
        user.api("GET", "/b")
        steps.append(server.open == 1)
        user.drop_http()
        user.drop_http()
        until(lambda: server.open == 0)
        steps.append(user._http is None)
        user.api("GET", "/c")
        steps.append(server.open == 1)
        return steps

    _, (steps,) = with_http(server, body, tmp_path)
    assert steps == [True] * 4
    # and the last one was given back with the user: ``with_http`` has waited for that


def test_an_api_call_says_who_asks_and_for_which_run(tmp_path: Path) -> None:
    server = HttpServer()
    with_http(
        server,
        lambda user: user.api("POST", "/a", json={"x": "三"}, token=TOKEN),
        tmp_path,
        name="名",
    )
    (head,) = server.heads
    assert f"Authorization: Bearer {TOKEN}\r\n" in head
    assert "X-Run-Id: %E5%90%8D\r\n" in head
    assert head.startswith("POST /a HTTP/1.1\r\n")
    assert head.endswith('{"x": "\\u4e09"}')


def test_api_calls_are_in_locusts_tables_under_stable_names_and_errors(tmp_path: Path) -> None:
    server = HttpServer(
        no=json_answer(b'{"detail": "S3CRET"}', b"401 S3CRET"),
        gone=b"",
        zip=json_answer(b"S3CRET", b"200 OK", b"Content-Encoding: gzip"),
        brotli=json_answer(b"S3CRET", b"200 OK", b"Content-Encoding: br"),
        # where it leads there is a good answer, and nobody asks for it
        away=json_answer(b"", b"307 Temporary Redirect", b"Location: /good"),
    )

    def body(user: Any) -> Any:
        return [
            user.api("GET", f"/good?token={TOKEN}"),
            user.api("DELETE", "/v1/things/123?x=1", name="/v1/things/{id}"),
            *[user.api("GET", f"/{path}?t={TOKEN}") for path in ("no", "gone", "zip", "brotli", "away")],
            user.api("GET", "/no", name="/may be", needs=("x",), accepts=(401,)),
            user.api("GET", "/no", name="/must be", accepts=(404,)),
        ]

    made, (answers,) = with_http(server, body, tmp_path)
    assert answers == [
        Answer(200, {}, ""),
        Answer(200, {}, ""),
        Answer(401, {"detail": "S3CRET"}, "HTTP 401"),
        Answer(0, None, "no answer: HTTPConnectionClosed"),
        Answer(200, None, "unreadable answer: error"),
        Answer(0, None, "unreadable answer: error"),
        Answer(307, None, "HTTP 307"),
        Answer(401, {"detail": "S3CRET"}, ""),
        Answer(401, {"detail": "S3CRET"}, "HTTP 401"),
    ]
    stats = made.environment.stats
    rows = {key: (entry.num_requests, entry.num_failures) for key, entry in stats.entries.items()}
    assert rows == {
        ("/good", "GET"): (1, 0),
        ("/v1/things/{id}", "DELETE"): (1, 0),
        **{(f"/{path}", "GET"): (1, 1) for path in ("no", "gone", "zip", "brotli", "away", "must be")},
        ("/may be", "GET"): (1, 0),
    }
    assert sorted(error.to_name() for error in stats.errors.values()) == [
        "GET /away: HTTP 307",
        "GET /brotli: unreadable answer: error",
        "GET /gone: no answer: HTTPConnectionClosed",
        "GET /must be: HTTP 401",
        "GET /no: HTTP 401",
        "GET /zip: unreadable answer: error",
    ]


def test_api_calls_are_in_the_books_as_in_locusts_tables(tmp_path: Path) -> None:
    server = HttpServer(
        no=json_answer(b"{}", b"500 No"), brotli=json_answer(b"S3CRET", b"200 OK", b"Content-Encoding: br")
    )

    def body(user: Any) -> Any:
        for number in range(3):
            user.api("GET", f"/rooms/{number}?t={TOKEN}")
        user.api("POST", "/no", json={})
        # read by no client: Locust's table has it without a duration
        user.api("GET", "/brotli")
        # a type of the scenario's own is no HTTP, and neither are a socket's events
        event = {
            "name": "/rooms",
            "response_time": 1.0,
            "response_length": 0,
            "exception": None,
            "context": {},
        }
        user.environment.events.request.fire(request_type="WSOPEN", **event)

    with_http(server, body, tmp_path)
    (path,) = tmp_path.iterdir()
    books = RunReader(path).books()
    counted = {name: (value(row, "http_ok"), value(row, "http_failed")) for name, row in books.totals.items()}
    assert {name: both for name, both in counted.items() if any(both)} == {
        "GET /rooms/{id}": (3, 0),
        "POST /no": (0, 1),
        "GET /brotli": (0, 1),
    }
    timed = {name: durations.total for (kind, name), durations in books.latency.items() if kind == "http"}
    assert timed == {"GET /rooms/{id}": 3, "POST /no": 1}


HOSTILE_TOKENS: Final = [TOKEN, f"{TOKEN}\r\nX-Evil: 1", f"{TOKEN} 三", f"\ud800{TOKEN}"]


@pytest.mark.parametrize("token", HOSTILE_TOKENS, ids=range(4))
def test_no_secret_reaches_a_name_an_error_a_log_or_the_record(
    token: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A server can hand out a token that no header can hold; also that must not show it."""

    def server(peer: Peer) -> None:
        if peer.path.startswith("/ws?"):
            # it tells everybody what it was asked for
            head = peer.read_head()
            peer.accept(frame(TEXT, "hello") + close_frame(1008)).hear_close()
            assert b"secret" in head
        else:
            peer.send(json_answer(b"{}", b"403 No"))

    done: list[bool] = []

    def body(user: Any) -> None:
        user.api("POST", f"/log-in?token={TOKEN}", json={"password": PASSWORD}, token=token)
        ws = user.connect(f"/ws?secret={TOKEN}&password={PASSWORD}", headers={"Cookie": f"t={TOKEN}"})
        until(lambda: ws.ended)
        user.connect(f"/nothing?token={TOKEN}")
        done.append(True)
        rest()

    caplog.set_level(logging.DEBUG)
    with (
        listening(server) as listener,
        session(
            script(body),
            host=url_of(listener),
            run_dir=tmp_path / "r",
            arguments=("--reconnect", "immediate"),
        ) as made,
    ):
        made.start()
        until(lambda: done)
        made.stop()
    stats = made.environment.stats
    shown = [
        *(f"{key}" for key in stats.entries),
        *(f"{error.to_name()} {error.error!r}" for error in stats.errors.values()),
        f"{made.runner.exceptions}",
        caplog.text,
        *capfd.readouterr(),
        *(path.read_text() for path in (tmp_path / "r").iterdir()),
    ]
    assert stats.entries
    assert (tmp_path / "r" / "connections.csv").read_text().count("secret=***") == 1
    for text in shown:
        assert TOKEN not in text
        assert PASSWORD not in text


@pytest.mark.parametrize("users", [1, 3, 20])
def test_a_log_in_that_is_hopeless_stops_the_run_with_one_sentence(
    users: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = HttpServer(login=json_answer(b"{}", b"401 No"))

    def body(user: Any) -> None:
        user.log_in_failed(user.api("POST", "/login"))

    with listening(server) as listener:
        with session(script(body), host=url_of(listener), run_dir=tmp_path / "r") as made:
            made.runner.start(users, 100)
            until(lambda: made.runner.state == "stopped" and not made.under_way)
            assert made.quit() == 4
        until(lambda: server.open == 0)
    errors = sentences(caplog)
    assert errors == [
        "Nobody can log in (HTTP 401): check the accounts: --accounts FILE, or the password in "
        "WSOAK_PASSWORD. The run is stopped."
    ]
    reader = RunReader(tmp_path / "r")
    assert reader.header["ended_by"] == "given-up"
    assert ("log-in-refused", "log-in") in reader.books().observations


def test_a_user_without_a_run_works_and_leaves_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answers: list[Any] = []

    def body(user: Any) -> None:
        with user.connect("/x", name="x") as ws:
            answers.append(ws.request({"reply_to": 1}, reply_to=1))
        raise StopUser

    with listening(lambda peer: peer.accept().echo()) as listener:
        script(body, host=url_of(listener))(Environment()).run()  # type: ignore[no-untyped-call]
    assert answers[0] is not None
    assert list(tmp_path.iterdir()) == []
