"""The open model: arrivals keep their rate, whoever is free; who waits too long is unserved."""

from __future__ import annotations

import time

import gevent
import pytest

from wsoak.ledger.books import Books
from wsoak.ledger.recorder import Recorder
from wsoak.load.open_model import NAME, Arrivals


def counted(recorder: Recorder) -> dict[str, int]:
    books = Books()
    books.add(recorder.take())
    return {counter: books.count(counter, NAME) for counter in ("arrived", "served", "unserved")}


def served_by(hands: int, each_s: float, rate: float, patience_s: float, for_s: float) -> dict[str, int]:
    """What becomes of arrivals when so many users take so long for each."""
    recorder = Recorder("w")
    arrivals = Arrivals(recorder, rate, patience_s, "seed")

    def user() -> None:
        while True:
            arrivals.take()
            gevent.sleep(each_s)

    users = [gevent.spawn(user) for _ in range(hands)]
    began = time.perf_counter()
    gevent.sleep(for_s)
    arrivals.stop()
    elapsed_s = time.perf_counter() - began
    waiting = arrivals.waiting
    gevent.killall(users)
    found = counted(recorder)
    assert found["arrived"] == found["served"] + found["unserved"] + waiting
    # whoever serves them, and however busy the machine: five deviations of a Poisson count over what it took
    expected = rate * elapsed_s
    assert found["arrived"] == pytest.approx(expected, abs=5 * expected**0.5 + 5)
    return found


def test_free_users_serve_every_arrival() -> None:
    found = served_by(hands=50, each_s=0.01, rate=200, patience_s=5, for_s=1.0)
    assert found["unserved"] == 0
    assert found["served"] > 0


def test_slow_users_do_not_slow_the_arrivals_down() -> None:
    fast = served_by(hands=50, each_s=0.001, rate=300, patience_s=5, for_s=1.0)
    slow = served_by(hands=2, each_s=0.2, rate=300, patience_s=5, for_s=1.0)
    # that the rate was kept in both is asserted where they are counted
    assert slow["served"] < fast["served"] / 5


def test_who_waits_longer_than_the_patience_is_unserved() -> None:
    found = served_by(hands=1, each_s=0.5, rate=200, patience_s=0.1, for_s=1.0)
    assert found["unserved"] > found["served"] > 0


def test_the_rate_is_kept_over_a_long_run_of_arrivals() -> None:
    recorder = Recorder("w")
    arrivals = Arrivals(recorder, 2_000.0, 60.0, "seed")
    began = time.perf_counter()
    gevent.sleep(2.0)
    arrivals.stop()
    expected = 2_000.0 * (time.perf_counter() - began)
    assert counted(recorder)["arrived"] == pytest.approx(expected, abs=5 * expected**0.5 + 5)


def test_after_the_stop_nobody_arrives() -> None:
    recorder = Recorder("w")
    arrivals = Arrivals(recorder, 1_000.0, 60.0, "seed")
    gevent.sleep(0.1)
    arrivals.stop()
    recorder.take()
    gevent.sleep(0.05)
    assert counted(recorder)["arrived"] == 0


def test_users_that_wait_are_let_go_when_the_run_is_being_stopped() -> None:
    going = [True]
    arrivals = Arrivals(Recorder("w"), 0.01, 60.0, "seed", lambda: going[0])
    user = gevent.spawn(arrivals.take)
    gevent.sleep(0)
    going[0] = False
    assert user.get(timeout=30) is False
    arrivals.stop()
