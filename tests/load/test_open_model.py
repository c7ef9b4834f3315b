"""The open model: arrivals keep their rate, whoever is free; who waits too long is unserved."""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent

from tests.wire.harness import PATIENCE_S, until
from wsoak.ledger.books import Books
from wsoak.ledger.recorder import Recorder
from wsoak.load.open_model import NAME, Arrivals

Found = dict[str, int]
LEAST_S = 1.0
"""How long arrivals are counted at the least."""


class Counted:
    """What the books say of arrivals whose rate is known.

    Whoever serves them, and however busy the machine, the rate is kept to five deviations of a Poisson count
    over the time that it took: whenever those that are due have come.
    """

    def __init__(self, recorder: Recorder, rate: float) -> None:
        self._recorder = recorder
        self._books = Books()
        self._rate = rate
        self._began = time.perf_counter()

    def found(self) -> Found:
        """By counter."""
        self._books.add(self._recorder.take())
        return {counter: self._books.count(counter, NAME) for counter in ("arrived", "served", "unserved")}

    @property
    def elapsed_s(self) -> float:
        """Since the first could arrive."""
        return time.perf_counter() - self._began

    def until(self, enough: Callable[[Found], bool], least_s: float = LEAST_S) -> None:
        """Wait until the rate is kept and ``enough`` holds, after a while."""

        def kept_and_enough() -> bool:
            expected = self._rate * self.elapsed_s
            found = self.found()
            kept = abs(found["arrived"] - expected) <= 5 * expected**0.5 + 5
            return kept and self.elapsed_s >= least_s and enough(found)

        until(kept_and_enough)


def served_by(
    hands: int, each_s: float, rate: float, patience_s: float, enough: Callable[[Found], bool]
) -> tuple[Found, float]:
    """What becomes of arrivals when so many users take so long for each; and in how many seconds."""
    recorder = Recorder("w")
    counted = Counted(recorder, rate)
    arrivals = Arrivals(recorder, rate, patience_s, "seed")

    def user() -> None:
        while True:
            arrivals.take()
            gevent.sleep(each_s)

    users = [gevent.spawn(user) for _ in range(hands)]
    counted.until(enough)
    arrivals.stop()
    found, waiting, elapsed_s = counted.found(), arrivals.waiting, counted.elapsed_s
    gevent.killall(users)
    assert found["arrived"] == found["served"] + found["unserved"] + waiting
    return found, elapsed_s


def test_free_users_serve_every_arrival() -> None:
    found, _ = served_by(
        hands=50, each_s=0.01, rate=200, patience_s=PATIENCE_S, enough=lambda found: found["served"] > 100
    )
    assert found["unserved"] == 0


def test_slow_users_do_not_slow_the_arrivals_down() -> None:
    hands, each_s = 2, 0.2
    # that the rate is kept is waited for
    found, elapsed_s = served_by(
        hands, each_s, rate=300, patience_s=PATIENCE_S, enough=lambda found: found["served"] > 0
    )
    assert found["served"] <= hands * (elapsed_s / each_s + 1)
    assert found["arrived"] > 5 * found["served"]


def test_who_waits_longer_than_the_patience_is_unserved() -> None:
    found, _ = served_by(
        hands=1,
        each_s=0.5,
        rate=200,
        patience_s=0.1,
        enough=lambda found: found["unserved"] > found["served"] > 0,
    )
    assert found["arrived"] > found["unserved"]


def test_the_rate_is_kept_over_a_long_run_of_arrivals() -> None:
    recorder = Recorder("w")
    counted = Counted(recorder, 2_000.0)
    arrivals = Arrivals(recorder, 2_000.0, PATIENCE_S, "seed")
    counted.until(lambda found: found["served"] == 0, least_s=2.0)
    arrivals.stop()


def test_after_the_stop_nobody_arrives() -> None:
    recorder = Recorder("w")
    arrivals = Arrivals(recorder, 1_000.0, 60.0, "seed")
    counted = Counted(recorder, 1_000.0)
    until(lambda: counted.found()["arrived"] > 0)
    arrivals.stop()
    before = counted.found()["arrived"]
    gevent.sleep(0.05)
    assert counted.found()["arrived"] == before


def test_users_that_wait_are_let_go_when_the_run_is_being_stopped() -> None:
    going = [True]
    arrivals = Arrivals(Recorder("w"), 0.01, 60.0, "seed", lambda: going[0])
    user = gevent.spawn(arrivals.take)
    gevent.sleep(0)
    going[0] = False
    assert user.get(timeout=PATIENCE_S) is False
    arrivals.stop()
