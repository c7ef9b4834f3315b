"""The open and the closed model, at three times what a server can take: what each of them then says.

open      sessions come at their own rate ──► a queue before the users ──► the server, PER_S messages a second
closed    the users wait for answers      ──► fewer messages than asked for
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from scenarios.echo import SESSION_MESSAGES
from tests.e2e.processes import PATIENT, ROOT, Outcome, doubts_of, load_until
from tests.target.client import running
from wsoak.judge.validity import GENERATOR
from wsoak.ledger.books import Books
from wsoak.ledger.timeline import ARRIVALS, value
from wsoak.ledger.units import NS_PER_S

LOCUSTFILE: Final = str(ROOT / "tests" / "e2e" / "locustfile_models.py")
PER_S: Final = 400
TIMES: Final = 3
USERS: Final = 20

ARRIVAL_RATE: Final = TIMES * PER_S / SESSION_MESSAGES
ARRIVED: Final = 400
OPEN: Final = ("EchoUser", "--message-rate", "0", "--arrival-rate", f"{ARRIVAL_RATE:g}")

LATENCY_LIMIT_MS: Final = 20_000
LATE_NS: Final = 3 * NS_PER_S
"""Beyond a tenth of the limit."""
CLOSED: Final = (
    *("WaitingUser", "--message-rate", f"{TIMES * PER_S / USERS:g}"),
    *("--latency-limit", str(LATENCY_LIMIT_MS)),
)

SIGMAS: Final = 5
MACHINE: Final = frozenset({"generator-saturated", "generator-starved", "hub-lag", "send-lag"})
"""What is said where it was not, or not the server alone, that made the sends late."""


def many_came(books: Books) -> bool:
    return books.count("arrived", ARRIVALS) >= ARRIVED


def sends_are_late(books: Books) -> bool:
    p99_ns = books.histogram("lag").percentile_ns(99)
    return p99_ns is not None and p99_ns > LATE_NS


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Both side by side, each against a server of its own."""
    ways = {
        "open": (many_came, "sessions have come", OPEN),
        "closed": (sends_are_late, "sends are late", CLOSED),
    }

    def run(way: str) -> Outcome:
        holds, what, arguments = ways[way]
        path = tmp_path_factory.mktemp(way) / "run"
        with running("--fault", f"server:capacity:per_s={PER_S}") as target:
            users = ("-f", LOCUSTFILE, "-u", str(USERS), "-r", str(USERS), "--host", f"{target.ws}/echo")
            return load_until(holds, what, path, *users, *PATIENT, *arguments)

    with ThreadPoolExecutor() as at_once:
        begun = {way: at_once.submit(run, way) for way in ways}
        return {way: each.result() for way, each in begun.items()}


def test_the_open_model_keeps_its_rate_at_three_times_what_the_server_takes(runs: dict[str, Outcome]) -> None:
    books = runs["open"].run.books()
    rows = {second: named[ARRIVALS] for second, named in books.seconds.items() if ARRIVALS in named}
    arrived = {second: value(row, "arrived") for second, row in rows.items() if value(row, "arrived")}
    whole = range(min(arrived) + 1, max(arrived))
    expected = ARRIVAL_RATE * len(whole)
    # a Poisson process's; whoever comes while the generator stands still is counted when it goes on
    late = ARRIVAL_RATE * (books.histogram("hub").max_ns or 0) / NS_PER_S
    allowed = SIGMAS * math.sqrt(expected) + late
    assert sum(arrived.get(second, 0) for second in whole) == pytest.approx(expected, abs=allowed)


def test_the_open_models_report_shows_the_queue(runs: dict[str, Outcome]) -> None:
    done = runs["open"]
    books = done.run.books()
    arrived, served = books.count("arrived", ARRIVALS), books.count("served", ARRIVALS)
    # what the server took, and one session in the hands of each user
    assert TIMES * (served - USERS) < arrived + SIGMAS * math.sqrt(arrived), (arrived, served)
    waiting = books.gauges["local", GENERATOR, "arrivals_waiting"]
    assert waiting.greatest >= arrived - served - books.count("unserved", ARRIVALS) > 0
    (doubt,) = doubts_of(done.run)["arrivals-unserved"]
    assert f" of {arrived:,} sessions (" in doubt.reason
    assert "still waiting at the last reading" in doubt.reason
    assert "The offered rate was kept, the load on the server was not." in doubt.reason
    assert doubt.reason in done.out


def test_the_closed_models_report_says_that_the_server_throttled_it(runs: dict[str, Outcome]) -> None:
    done = runs["closed"]
    books, found = done.run.books(), doubts_of(done.run)
    # each user has one message on its way
    assert books.gauges["local", GENERATOR, "in_flight"].greatest <= USERS
    # so that the rate is the server's, and not the one that was asked for
    replies, lasted_s = books.count("replies"), (books.last_s or 0) - (books.first_s or 0) + 1
    assert replies <= PER_S * lasted_s
    (told,) = found.get("throttled") or [found[blamed][0] for blamed in sorted(MACHINE & found.keys())][:1]
    assert told.reason in done.out
    if told.id == "throttled":
        assert told.reason.startswith("The server throttled the load: sends were late (p99 ")
        assert "sent less than was asked for" in told.reason
