"""The end of the load: what comes after the run was told to stop is no figure of the run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gevent
import pytest
from locust.exception import StopUser

from tests.load.session import Session, rest, script, session
from tests.wire.harness import Peer, listening, until
from wsoak.ledger.units import NS_PER_S
from wsoak.wire.schedule import every

USERS = 20
BURNT_S = 0.1
"""What each user's end takes of the process's time: two seconds for all of them."""


def echo(peer: Peer) -> None:
    peer.accept()
    peer.echo()


def url_of(listener: Any) -> str:
    return f"ws://127.0.0.1:{listener.port}"


def burn(_: Any) -> None:
    """Hold up the event loop, as the end of thousands of users does."""
    until_s = time.perf_counter() + BURNT_S
    while time.perf_counter() < until_s:
        pass


def stopped(made: Session) -> bool:
    return bool(made.generator.client.load_ended)


def test_users_that_are_ended_one_by_one_do_not_decide_the_figures(tmp_path: Path) -> None:
    def body(user: Any) -> None:
        with user.connect("/x", name="x", reply_id=lambda said: said.get("id")) as ws:
            for due_ns in ws.paced(every(0.02)):
                key = user.new_id()
                ws.submit({"id": key}, reply_to=key, intended_ns=due_ns)

    with listening(echo) as listener:
        ours = script(body, on_stop=burn)
        with session(ours, host=url_of(listener), run_dir=tmp_path / "r") as made:
            made.start(USERS)
            until(lambda: made.books().count("replies") > 20 * USERS)
            before = made.books()
            was = {name: before.histogram(name).max_ns or 0 for name in ("response", "hub")}
            began_s = time.perf_counter()
            after = made.stop().books()
            took_s = time.perf_counter() - began_s
    assert took_s > USERS * BURNT_S
    for name, most_ns in was.items():
        assert (after.histogram(name).max_ns or 0) < most_ns + USERS * BURNT_S * NS_PER_S / 4, name
    # what was sent is counted to the last message all the same
    assert after.count("sent") == after.count("requests")


@pytest.mark.parametrize("stop_timeout", ["0", "30"])
def test_after_the_end_of_the_load_nobody_sends_on_a_schedule_or_opens(
    stop_timeout: str, tmp_path: Path
) -> None:
    yielded: list[bool] = []
    opened: list[str] = []

    def paces(user: Any) -> None:
        with user.connect("/x", name="x") as ws:
            for _ in ws.paced(every(0.01)):
                yielded.append(stopped(made))
                ws.send("x")
            # who may finish goes on at once
            if stop_timeout != "0":
                opened.append("finished")

    def opens(user: Any) -> None:
        while True:
            ws = user.connect("/y", name="y")
            opened.append("late" if stopped(made) else "in time")
            ws.close()
            gevent.sleep(0.01)

    with listening(echo) as listener:
        users = (script(paces, "Paces", on_stop=burn), script(opens, "Opens", on_stop=burn))
        arguments = ("--stop-timeout", stop_timeout)
        with session(*users, host=url_of(listener), run_dir=tmp_path / "r", arguments=arguments) as made:
            made.environment.stop_timeout = float(stop_timeout)
            made.start(10)
            until(lambda: len(yielded) > 50 and len(opened) > 50)
            books = made.stop().books()
    assert not any(yielded)
    assert "late" not in opened
    assert opened.count("finished") == (5 if stop_timeout != "0" else 0)
    assert books.count("sent", "x") == len(yielded)


def test_who_waits_long_for_his_moment_does_not_hold_up_a_graceful_end(tmp_path: Path) -> None:
    finished: list[bool] = []

    def body(user: Any) -> None:
        with user.connect("/x", name="x") as ws:
            for _ in ws.paced(every(3600.0)):
                ws.send("x")
        finished.append(True)

    with listening(echo) as listener:
        arguments = ("--stop-timeout", "60")
        with session(
            script(body), host=url_of(listener), run_dir=tmp_path / "r", arguments=arguments
        ) as made:
            made.environment.stop_timeout = 60.0
            made.start(3)
            until(lambda: made.books().count("sent") == 3)
            made.stop()
    assert len(finished) == 3  # else they were killed


def test_a_user_that_says_good_bye_may_send_and_is_counted(tmp_path: Path) -> None:
    def body(user: Any) -> None:
        user.ws = user.connect("/x", name="x")
        rest()

    def on_stop(user: Any) -> None:
        user.ws.send("good-bye")
        with pytest.raises(StopUser):
            # what opens after the end would be no part of the run
            user.connect("/y", name="y")

    with listening(echo) as listener:
        arguments = ("--stop-timeout", "5")
        with session(
            script(body, on_stop=on_stop), host=url_of(listener), run_dir=tmp_path / "r", arguments=arguments
        ) as made:
            made.start(2)
            until(lambda: made.books().count("opened") == 2)
            books = made.stop().books()
    assert books.count("sent", "x") == 2
    assert books.count("opened", "y") == 0
