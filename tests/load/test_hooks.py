"""Hooks and run: from test_start to test_stop, again and again, and what the process says at its end."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import psutil
import pytest
from gevent.event import Event
from locust import task
from locust.env import Environment
from locust.event import Events

from scenarios.echo import EchoUser
from tests.load.session import Session, often, rest, script, session
from tests.target.client import Target
from tests.wire.harness import Listener, Peer, RealServer, close_frame, listening, until
from wsoak.judge.validity import Doubt
from wsoak.ledger.books import Books
from wsoak.ledger.rundir import RunReader, UnwritableRun
from wsoak.load import WebSocketUser
from wsoak.load import collector as collector_module
from wsoak.load.console import EXIT_USAGE
from wsoak.load.hooks import EXIT_INVALID, register
from wsoak.load.live import line


def echo(peer: Peer) -> None:
    # a client that is stopped while it opens resets its connection
    with contextlib.suppress(ConnectionError):
        peer.accept().echo()


def url_of(listener: Listener) -> str:
    return f"http://127.0.0.1:{listener.port}"


@pytest.fixture(scope="module")
def real_server() -> Iterator[RealServer]:
    """The ``websockets`` library's server."""
    server = RealServer()
    yield server
    server.close()


def connected(user: Any) -> None:
    """A user's task: a socket that is left open."""
    user.connect("/x")
    rest()


def replies(made: Session) -> int:
    """Answers so far in Locust's own tables."""
    made.books()
    return int(made.environment.stats.get("echo", "WSREQ").num_requests)


def opened(made: Session) -> int:
    """Sockets that have opened so far."""
    return int(made.books().count("opened"))


# --------------------------------------------------------------------------------------------------- runs


@pytest.mark.real
def test_a_run_against_a_real_server_has_books_that_agree(real_server: RealServer, tmp_path: Path) -> None:
    arguments = ("--message-rate", "0", "--sockets-per-user", "2")
    with session(EchoUser, host=real_server.url, run_dir=tmp_path / "r", arguments=arguments) as made:
        made.start(3)
        until(lambda: replies(made) > 100 and opened(made) == 6)
        books = made.books()
        reader = made.stop()
        stats = made.environment.stats
    on_disk = reader.books()
    assert isinstance(books, Books)
    assert on_disk == books
    assert reader.damaged == {}
    assert (books.count("opened"), books.count("closed"), books.open_now) == (6, 6, 0)
    answered = books.count("replies")
    # what the end of the run cut short is in flight for good, and nobody's failure
    assert books.count("requests") >= answered
    assert books.count("reply_lost") == 0
    assert books.count("received") == answered
    for method, count in (("WSOPEN", 6), ("WSCLOSE", 6), ("WSREQ", answered)):
        assert stats.get("echo", method).num_requests == count
    assert stats.get("echo", "WSREQ").num_failures == 0
    # answers that came after the run was told to stop are counted, and their times are no figures of the run
    timed = stats.get("echo", "WSREQ").num_requests - stats.get("echo", "WSREQ").num_none_requests
    assert sum(stats.get("echo", "WSREQ").response_times.values()) == timed
    assert timed == books.histogram("response", "echo").total >= 100
    assert {record.reason for record in reader.connections()} == {"run ended"}


class CountedUser(WebSocketUser):
    """Sends fifty messages, and rests."""

    done = 0

    @task
    def talk(self) -> None:
        """Fifty messages, each answered."""
        ws = self.connect("/echo", name="echo")
        for number in range(50):
            assert ws.request({"reply_to": number}, reply_to=number) is not None
        type(self).done += 1
        rest()


def test_a_run_against_the_target_agrees_with_what_the_target_counted(target: Target, tmp_path: Path) -> None:
    names = ("messages_received", "messages_sent", "bytes_received", "bytes_sent", "handshakes", "closes")

    def counted() -> list[float]:
        return [target.metric(f"wsoak_target_{name}_total", system="echo") for name in names]

    before = counted()
    with session(CountedUser, host=target.url, run_dir=tmp_path / "r") as made:
        made.start(4)
        until(lambda: getattr(made.environment.user_classes[0], "done", 0) == 4)
        books = made.stop().books()
    ours = ("sent", "received", "bytes_sent", "bytes_received", "opened", "closed")
    assert [books.count(name, "echo") for name in ours[:2]] == [200, 200]
    expected = [float(books.count(name, "echo")) for name in ours]
    until(lambda: [now - then for now, then in zip(counted(), before, strict=True)] == expected)
    assert books.count("usable", "echo") == 4


def test_a_ui_session_gives_each_run_a_directory_and_fresh_figures(tmp_path: Path) -> None:
    with (
        listening(echo) as listener,
        session(
            EchoUser,
            host=url_of(listener),
            run_dir=tmp_path / "r",
            web=True,
            arguments=("--message-rate", "0"),
        ) as made,
    ):
        readers = []
        for users in (2, 3):
            made.start(users)
            assert made.environment.stats.get("echo", "WSCLOSE").num_requests == 0
            until(lambda users=users: replies(made) > 20 and opened(made) == users)  # type: ignore[misc]
            readers.append(made.stop())
            assert made.environment.stats.get("echo", "WSOPEN").num_requests == users
            assert made.generator is None
        assert made.quit() is None
    assert [reader.path.name for reader in readers] == ["r", "r-2"]
    assert [reader.header["run_id"] for reader in readers] == ["r", "r-2"]
    assert [reader.books().count("opened") for reader in readers] == [2, 3]
    assert [reader.header["ended_by"] for reader in readers] == ["stopped", "stopped"]
    assert all(reader.ended for reader in readers)


def test_the_header_says_what_was_run(tmp_path: Path) -> None:
    with (
        listening(echo) as listener,
        session(EchoUser, host=url_of(listener), run_dir=tmp_path / "r") as made,
    ):
        made.start()
        until(lambda: made.generator.client.open_connections)
        header = made.stop().header
    assert header["scenarios"] == ["EchoUser"]
    assert header["host"] == url_of(listener)
    assert header["options"]["message_rate"] == 1.0
    assert header["options"]["run_dir"] == str(tmp_path / "r")


@pytest.mark.parametrize(("arguments", "ended_by"), [((), "stopped"), (("--run-time", "1h"), "run-time")])
def test_a_run_says_how_it_ended(arguments: tuple[str, ...], ended_by: str, tmp_path: Path) -> None:
    with (
        listening(echo) as listener,
        session(EchoUser, host=url_of(listener), run_dir=tmp_path / "r", arguments=arguments) as made,
    ):
        made.start()
        until(lambda: made.generator.client.open_connections)
        assert made.stop().header["ended_by"] == ended_by


def test_figures_survive_a_reset_of_locusts_tables(tmp_path: Path) -> None:
    with (
        listening(echo) as listener,
        session(
            EchoUser, host=url_of(listener), run_dir=tmp_path / "r", arguments=("--message-rate", "0")
        ) as made,
    ):
        made.start()
        until(lambda: replies(made) > 50)
        made.environment.stats.reset_all()
        until(lambda: replies(made) > 10)
        in_tables = made.environment.stats
        reader = made.stop()
    assert reader.books().count("replies") > 50
    assert in_tables.get("echo", "WSREQ").num_requests < reader.books().count("requests")


def test_nothing_of_a_run_is_left_behind(tmp_path: Path) -> None:
    descriptors = psutil.Process().num_fds
    with (
        listening(echo) as listener,
        session(EchoUser, host=url_of(listener), run_dir=tmp_path / "r", web=True) as made,
    ):
        left = []
        for _ in range(4):
            made.start(5)
            until(lambda: len(made.generator.client.open_connections) == 5)
            made.stop()
            until(lambda: all(peer.dead for peer in listener._peers))
            left.append(descriptors())
        assert left[-1] <= left[0]


# --------------------------------------------------------------------------------------------- exit codes


def test_a_valid_run_leaves_the_exit_code_to_locust(tmp_path: Path) -> None:
    with (
        listening(echo) as listener,
        session(EchoUser, host=url_of(listener), run_dir=tmp_path / "r") as made,
    ):
        made.start()
        until(lambda: made.generator.client.open_connections)
        made.stop()
        assert made.quit() is None


def test_a_run_that_is_stopped_between_two_readings_has_had_its_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsoak.load.gauges.READ_INTERVAL_S", 3600.0)
    with (
        listening(echo) as listener,
        session(script(connected), host=url_of(listener), run_dir=tmp_path / "r") as made,
    ):
        made.start(3)
        until(lambda: len(made.generator.client.open_connections) == 3)
        users = made.stop().books().gauges["local", "generator", "users"]
        assert (users.greatest, users.last) == (3.0, 3.0)
        assert made.quit() is None


def test_an_invalid_run_has_an_exit_code_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with session(script(lambda _: rest()), host="http://127.0.0.1:1", run_dir=tmp_path / "r") as made:
        made.start()
        made.stop()
        assert made.quit() == EXIT_INVALID
    assert "No connection was tried" in capsys.readouterr().out


def test_the_last_run_of_a_session_decides(tmp_path: Path) -> None:
    opens: list[bool] = []

    def body(user: Any) -> None:
        if opens:
            user.connect("/x")
        rest()

    with (
        listening(echo) as listener,
        session(script(body), host=url_of(listener), run_dir=tmp_path / "r", web=True) as made,
    ):
        made.start()
        made.stop()
        opens.append(True)
        made.start()
        until(lambda: made.generator.client.open_connections)
        made.stop()
        assert made.quit() is None


def test_a_signal_stops_the_run_before_the_exit_code_is_read(tmp_path: Path) -> None:
    with session(script(lambda _: rest()), host="http://127.0.0.1:1", run_dir=tmp_path / "r") as made:
        made.start()
        assert made.quit() == EXIT_INVALID
    reader = RunReader(tmp_path / "r")
    assert (reader.ended, reader.header["ended_by"]) == (True, "signal")


def test_a_signal_ends_the_process_whatever_locust_cannot_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        listening(echo) as listener,
        session(script(connected), host=url_of(listener), run_dir=tmp_path / "r") as made,
    ):
        made.start()
        until(lambda: made.generator.client.open_connections)
        stop = made.runner.stop
        failed: list[bool] = []

        def stop_but_once() -> None:
            if not failed:
                failed.append(True)
                raise KeyError("EchoUser")
            stop()

        monkeypatch.setattr(made.runner, "stop", stop_but_once)
        assert made.quit() == EXIT_USAGE
    reader = RunReader(tmp_path / "r")
    assert (reader.ended, reader.header["ended_by"]) == (True, "signal")
    assert reader.books().count("closed") == 1
    assert "Locust could not stop the users." in caplog.text


def test_a_signal_while_the_run_is_being_finished_waits_for_its_verdict(tmp_path: Path) -> None:
    go = Event()

    def takes_its_time_for_a_close(peer: Peer) -> None:
        peer.accept().hear_close()
        go.wait()
        peer.send(close_frame(1000))

    def body(user: Any) -> None:
        user.connect("/x")
        rest()

    with (
        listening(takes_its_time_for_a_close) as listener,
        session(script(body), host=url_of(listener), run_dir=tmp_path / "r") as made,
    ):
        made.start()
        until(lambda: made.generator.client.open_connections)
        collector = made.collector
        finish = collector.finish
        seen: list[str] = []

        def finish_seen(*arguments: Any, **more: Any) -> Any:
            seen.append("finished")
            return finish(*arguments, **more)

        collector.finish = finish_seen
        stopping = gevent.spawn(made.runner.stop)
        until(lambda: made.ending)
        assert seen == []
        # not before whoever quits has begun to wait
        gevent.spawn(go.set)
        made.quit()
        assert seen == ["finished"]
        stopping.get()
    assert RunReader(tmp_path / "r").ended


# ----------------------------------------------------------------------------------------------- refusals


def init(**attributes: Any) -> None:
    """What ``locust`` does before anything starts."""
    events: Any = Events()  # type: ignore[no-untyped-call]
    register(events)
    environment = Environment(events=events, **attributes)
    events.init.fire(environment=environment, runner=None, web_ui=None)


def test_mistakes_end_the_process_before_it_starts_all_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--client", "slow", "--reply-timeout", "nan")
    with pytest.raises(SystemExit) as caught:
        Session(EchoUser, host="ftp://127.0.0.1", run_dir=tmp_path / "r", arguments=arguments)
    assert caught.value.code == EXIT_USAGE
    sentences = capsys.readouterr().err.splitlines()
    assert [sentence.split(":")[0] for sentence in sentences] == ["--client", "--reply-timeout", "'ftp"]
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("host", ["http://me:s3cret@127.0.0.1#f", "http://127.0.0.1?k=s3cret#f", "s3cret@x"])
def test_a_host_that_is_refused_is_refused_without_showing_its_secrets(
    host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        init(host=host)
    assert caught.value.code == EXIT_USAGE
    written = capsys.readouterr()
    assert written.err.count("\n") == 1
    if host.startswith("http"):
        assert "s3cret" not in written.err + written.out


def unwritable(tmp_path: Path, how: str) -> tuple[Path, tuple[str, ...]]:
    """A run directory that cannot be, and the arguments for another reason why a run cannot begin."""
    if how == "a file":
        (tmp_path / "r").write_text("precious")
    elif how == "below a file":
        (tmp_path / "file").touch()
        return tmp_path / "file" / "r", ()
    elif how == "a run":
        collector_module.Collector(tmp_path / "r", {"started_at": 1.0}).finish("stopped", workers=[])
    elif how == "bad tls":
        return tmp_path / "r", ("--tls-ca", __file__)
    else:
        (tmp_path / "accounts.csv").write_text("phone\n")
        return tmp_path / "r", ("--accounts", str(tmp_path / "accounts.csv"))
    return tmp_path / "r", ()


@pytest.mark.parametrize("how", ["a file", "below a file", "a run", "bad accounts", "bad tls"])
def test_a_run_that_cannot_begin_ends_the_process_with_one_sentence(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, arguments = unwritable(tmp_path, how)
    made = Session(EchoUser, host="http://127.0.0.1:1", run_dir=path, arguments=arguments)
    descriptors = psutil.Process().num_fds()
    with pytest.raises(SystemExit) as caught:
        made.fire("test_start")
    assert caught.value.code == EXIT_USAGE
    (error,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert re.fullmatch(r"[A-Z/-][^\n]*\.", error.getMessage())
    assert error.exc_info is None
    if not how.startswith("bad"):
        # a bad file is found when the run's own are open already
        assert psutil.Process().num_fds() == descriptors
    assert made.quit() == EXIT_USAGE


@pytest.mark.parametrize("how", ["below a file", "bad accounts"])
def test_in_the_web_ui_a_run_that_cannot_begin_leaves_the_next_one_a_chance(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, arguments = unwritable(tmp_path, how)
    with (
        listening(echo) as listener,
        session(EchoUser, host=url_of(listener), run_dir=path, arguments=arguments, web=True) as made,
    ):
        made.runner.start(2, 100)
        until(lambda: made.runner.state == "stopped")
        assert made.runner.user_count == 0
        ours = [record for record in caplog.records if record.name.startswith("wsoak")]
        assert len(ours) == 1
        assert "Traceback" not in caplog.text
        made.options.run_dir = str(tmp_path / "better")
        made.options.accounts = ""
        made.start(2)
        until(lambda: len(made.generator.client.open_connections) == 2)
        made.stop()
        assert made.quit() is None


def test_a_watched_process_that_is_gone_is_one_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = Session(EchoUser, host="http://127.0.0.1:1", run_dir=tmp_path / "r", arguments=("--watch", "1"))
    made.options.watch = "999999999"
    with pytest.raises(SystemExit):
        made.fire("test_start")
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == [
        "--watch: there is no process 999999999."
    ]
    made.quit()


def test_a_disk_that_fails_stops_the_run_with_one_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        listening(echo) as listener,
        session(EchoUser, host=url_of(listener), run_dir=tmp_path / "r") as made,
    ):
        made.start()
        until(lambda: made.generator.client.open_connections)
        writer = made.collector._writer

        def full(_: Any) -> None:
            raise UnwritableRun("Writing to r failed: No space left on device.")

        writer.append = full
        until(lambda: made.runner.state == "stopped" and not made.under_way)
        assert made.quit() == EXIT_USAGE
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert errors == [
        "Writing to r failed: No space left on device. The run is stopped: what is not written cannot be "
        "judged."
    ]
    # it never says that it ended
    assert RunReader(tmp_path / "r").header.get("ended_at") is None


def test_a_disk_that_fails_at_the_very_end_is_one_sentence_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        listening(echo) as listener,
        session(EchoUser, host=url_of(listener), run_dir=tmp_path / "r") as made,
    ):
        made.start()
        until(lambda: made.generator.client.open_connections)
        monkeypatch.setattr(collector_module, "write_json", full)
        made.stop()
        assert made.quit() == EXIT_USAGE
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert errors == [
        f"Writing to {tmp_path / 'r'} failed: No space left on device. The run cannot be judged."
    ]


# ---------------------------------------------------------------------------------------------- live lines


def test_the_live_line_is_shown_while_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    often(monkeypatch)
    shown: list[str] = []

    def live() -> bool:
        shown.extend(text for text in capsys.readouterr().out.splitlines() if text.startswith("wsoak "))
        return any("2 users, 2 open" in text for text in shown)

    with (
        listening(echo) as listener,
        session(EchoUser, host=url_of(listener), run_dir=tmp_path / "r") as made,
    ):
        made.start(2)
        until(live)
    assert re.match(r"wsoak \d+:\d\d \| ", shown[0])
    assert line.__module__ == "wsoak.load.live"


def test_a_reader_of_the_live_line_who_goes_does_not_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    often(monkeypatch)
    with (
        listening(echo) as listener,
        session(EchoUser, host=url_of(listener), run_dir=tmp_path / "r") as made,
    ):
        made.start(2)
        run = made.keeper

        reading, writing = os.pipe()
        # not os.close, which gevent puts off
        os.fdopen(reading, "rb", buffering=0).close()
        monkeypatch.setattr("sys.stdout", os.fdopen(writing, "w"))
        until(lambda: run._show is None)
        written = (tmp_path / "r" / "timeline.csv").stat
        size = written().st_size
        until(lambda: written().st_size > size)
        assert "Live lines can no longer be shown: nobody reads them." in caplog.text


# ------------------------------------------------------------------------------------------------- web UI


def swarm(made: Session, **form: Any) -> dict[str, Any]:
    """The answer to a start in the web form."""
    client = made.web.app.test_client()  # type: ignore[union-attr]
    answer = client.post("/swarm", data={"user_count": "1", "spawn_rate": "10"} | form)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.get_json()
    return found


@pytest.mark.parametrize(
    ("form", "sentences"),
    [
        ({"message_rate": "fast"}, ["--message-rate: 'fast' is not "]),
        ({"sockets_per_user": "1.5"}, ["--sockets-per-user: '1.5' is not a whole number"]),
        ({"client": "slow"}, ["--client: 'slow' is none of fast, reference."]),
        ({"reply_timeout": "nan", "reconnect": "x"}, ["--reply-timeout: 'nan'", "--reconnect: 'x'"]),
        ({"host": "ftp://127.0.0.1"}, ["'ftp://127.0.0.1' is not a host to load"]),
        ({"host": "nothing", "heartbeat": "-1"}, ["--heartbeat: '-1'", "'nothing' is not a host"]),
    ],
)
def test_the_web_form_refuses_mistakes_in_our_words(
    form: dict[str, str], sentences: list[str], tmp_path: Path
) -> None:
    with session(EchoUser, host="http://127.0.0.1:1", run_dir=tmp_path / "r", web=True) as made:
        answer = swarm(made, **form)
        assert answer["success"] is False
        for sentence in sentences:
            assert sentence in answer["message"]
        assert made.runner.state == "ready"
        assert not made.under_way
        # nothing of a refused form stays
        assert made.environment.host == "http://127.0.0.1:1"
    assert not (tmp_path / "r").exists()


def test_the_web_form_starts_a_run_with_what_it_says(tmp_path: Path) -> None:
    with (
        listening(echo) as listener,
        session(EchoUser, host="http://127.0.0.1:1", run_dir=tmp_path / "r", web=True) as made,
    ):
        form = {"message_rate": "0", "sockets_per_user": "3", "client": "reference", "heartbeat": "0.5"}
        answer = swarm(made, host=url_of(listener), **form)
        assert answer["success"] is True
        until(lambda: made.under_way)
        until(lambda: replies(made) > 10)
        header = made.stop().header
    options = header["options"]
    assert (options["message_rate"], options["sockets_per_user"], options["client"]) == (0.0, 3, "reference")
    assert options["heartbeat"] == 0.5
    assert header["host"] == url_of(listener)


def test_the_host_of_a_user_class_will_do_for_the_web_form(tmp_path: Path) -> None:
    with (
        listening(echo) as listener,
        session(
            script(connected, host=url_of(listener)),
            host=None,
            run_dir=tmp_path / "r",
            web=True,
        ) as made,
    ):
        assert swarm(made)["success"] is True
        until(lambda: made.under_way)
        until(lambda: made.generator.client.open_connections)
        assert made.stop().header["host"] == url_of(listener)


def test_pages_and_figures_are_served_before_during_and_after_a_run(tmp_path: Path) -> None:
    with (
        listening(echo) as listener,
        session(
            EchoUser,
            host=url_of(listener),
            run_dir=tmp_path / "r",
            web=True,
            arguments=("--message-rate", "0"),
        ) as made,
    ):
        client = made.web.app.test_client()  # type: ignore[union-attr]

        def look() -> str:
            for _ in range(2):
                page = client.get("/")
                assert page.status_code == 200
                assert "message_rate" in page.text
                assert "tls_client_cert" not in page.text
            # the figures that the page polls are the same, but kept for two seconds
            assert client.get("/stats/requests").status_code == 200
            return str(client.get("/stats/requests/csv").text)

        assert "WSREQ" not in look()
        made.start()
        until(lambda: replies(made) > 10)
        assert "WSREQ,echo," in look()
        made.stop()
        assert "WSCLOSE" in look()
        assert client.get("/stats/report").status_code == 200


def test_a_run_on_another_host_than_the_embedded_target_does_not_watch_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Embedded:
        """In the place of a child process."""

        def __init__(self, _: int) -> None:
            self.url, self.pid = "http://127.0.0.1:1", psutil.Process().pid

        def stop(self) -> None:
            """Nothing to stop."""

    monkeypatch.setattr("wsoak.load.hooks.TargetProcess", Embedded)
    with listening(echo) as listener, session(EchoUser, host=None, run_dir=tmp_path / "r", web=True) as made:
        assert made.environment.host == "http://127.0.0.1:1"
        for host, embedded in (("http://127.0.0.1:1", True), (url_of(listener), False)):
            made.environment.host = host
            made.start()
            assert made.generator.embedded is embedded
            assert len(made.generator._gauges._watchers) == embedded
            made.stop()


def test_a_doubt_is_what_makes_a_run_invalid() -> None:
    doubt = Doubt("x", "Reason.", "Advice.", invalid=True)
    judgement = collector_module.Judgement(Path("r"), [], [doubt], [])
    assert not judgement.valid
