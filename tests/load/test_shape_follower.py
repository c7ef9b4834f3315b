"""Shapes in Locust itself: with its local runner, its web form and its class picker.

Locust ticks once a second and that cannot be sped up, so all runs that these tests look at go on at the same
time, each in an environment of its own, and keep a journal.
"""

from __future__ import annotations

import logging
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import dropwhile, pairwise
from typing import Any, Final

import gevent
import pytest
from gevent.event import Event
from locust import LoadTestShape, User, task
from locust.env import Environment
from locust.event import Events
from locust.exception import StopTest
from werkzeug.datastructures import ImmutableMultiDict

from wsoak.load.search import Search
from wsoak.load.shape_follower import (
    PICKED,
    ShapeFollower,
    begin_shape,
    offer_shape,
    shape_ended,
    with_shape,
)
from wsoak.load.shape_option import BadShape, parse_shape
from wsoak.load.shapes import Shape

PATIENCE_S: Final = 60
"""A run that is not over by then hangs."""


class Idle(User):
    """Is there, and does nothing."""

    @task
    def be(self) -> None:
        gevent.sleep(3600)


class OwnShape(LoadTestShape):
    """A shape of a locustfile's."""

    def tick(self) -> tuple[int, float]:
        return 1, 1.0


def listen(environment: Environment, event: str, listener: Callable[..., object]) -> None:
    getattr(environment.events, event).add_listener(listener)


def an_environment(run_time: int | None = None) -> Environment:
    return Environment(
        user_classes=[Idle],
        events=Events(),  # type: ignore[no-untyped-call]
        parsed_options=Namespace(
            run_time=run_time,
            headless=False,
            shape="",
            num_users=None,
            spawn_rate=None,
            stats_history_enabled=False,
        ),
        # Locust's annotation says instances
        available_user_classes={"Idle": Idle},  # type: ignore[dict-item]
        available_shape_classes={},
        catch_exceptions=False,
    )


# ------------------------------------------------------------------------------------------------ journal


@dataclass
class Tick:
    """One question of Locust's, and the answer."""

    before_s: float
    after_s: float
    users_before: int
    answer: tuple[int, float] | None
    marks: list[str]
    """What the record was told with it."""


@dataclass
class Journal:
    """What was seen of a run; times are seconds since the run began, by the follower's clock."""

    ticks: list[Tick] = field(default_factory=list)
    """Those since the run began."""
    counts: list[tuple[float, int]] = field(default_factory=list)
    """How many users there were at any moment."""
    marks: list[str] = field(default_factory=list)
    drops: list[int] = field(default_factory=list)
    """How many users there were at each drop."""
    began: int = 0
    ended: str | None = None

    @property
    def asked(self) -> list[int]:
        """The counts that Locust was asked for."""
        return [tick.answer[0] for tick in self.ticks if tick.answer is not None]

    @property
    def seen(self) -> set[int]:
        """Each count that was seen, at any moment or when Locust asked."""
        return {count for _, count in self.counts} | {tick.users_before for tick in self.ticks}

    @property
    def longest_gap_s(self) -> float:
        """The longest time between two ticks."""
        times = [0.0, *(tick.after_s for tick in self.ticks)]
        return max(later - earlier for earlier, later in pairwise(times))


class Watched(ShapeFollower):
    """A follower that keeps a journal."""

    abstract = True

    def __init__(self, follower: ShapeFollower, journal: Journal) -> None:
        super().__init__(follower.shape)
        self.runner = follower.runner
        self.journal = journal

    def tick(self) -> tuple[int, float] | None:
        assert self.runner is not None
        begun_at, before = self._begun_at, time.perf_counter()
        users, first = self.runner.user_count, self.runner.shape_last_tick is None
        told = len(self.journal.marks)
        answer = super().tick()
        if begun_at is not None and not first:
            after = time.perf_counter()
            marks = self.journal.marks[told:]
            self.journal.ticks.append(Tick(before - begun_at, after - begun_at, users, answer, marks))
        return answer

    def sample(self) -> None:
        """Count users until killed."""
        assert self.runner is not None
        while True:
            gevent.sleep(0.05)
            if self._begun_at is not None:
                at_s = time.perf_counter() - self._begun_at
                self.journal.counts.append((at_s, self.runner.user_count))


class Followed:
    """A run that follows a shape in an environment of its own, and its journal."""

    def __init__(self, text: str, run_time: int | None = None) -> None:
        shape = parse_shape(text)
        assert not isinstance(shape, Search)
        self.shape = shape
        self.journal = Journal()
        self.environment = an_environment(run_time)
        self.runner = self.environment.create_local_runner()
        offer_shape(self.environment, text)
        assert isinstance(self.environment.shape_class, ShapeFollower)
        self.follower = Watched(self.environment.shape_class, self.journal)
        self.environment.shape_class = self.follower
        listen(self.environment, "test_start", self._begin)
        listen(self.environment, "test_stopping", lambda **_: self._sampler.kill())
        listen(self.environment, "test_stop", self._end)

    def start(self) -> None:
        self.runner.start_shape()

    def wait(self) -> None:
        greenlet = self.runner.shape_greenlet
        if greenlet is not None:
            greenlet.join(PATIENCE_S)
            assert greenlet.ready()

    def quit(self) -> None:
        self.runner.quit()

    def _begin(self, **_: Any) -> None:
        self.journal.began += 1
        begin_shape(
            self.environment,
            self.journal.marks.append,
            lambda: self.journal.drops.append(self.runner.user_count),
        )
        self._sampler = gevent.spawn(self.follower.sample)

    def _end(self, **_: Any) -> None:
        self.journal.ended = shape_ended(self.environment)


RUNS: Final[dict[str, tuple[str, int | None]]] = {
    "ramp": ("ramp:from=2,to=20,over=4s", None),
    "steep": ("ramp:to=300,over=2s,hold=1s", None),
    "step": ("step:start=3,step=4,every=1s,steps=3", None),
    "soak": ("soak:users=9,ramp=2s,hold=1s,down=2s", None),
    "spike": ("spike:base=2,peak=50,at=1s,for=1s,end=3s", None),
    "storm": ("storm:users=7,ramp=0,hold=4s,every=1s,drops=3", None),
    "limited": ("step:start=1,step=1,every=1s,steps=60", 3),
}


@pytest.fixture(scope="module")
def followed() -> Iterator[dict[str, Followed]]:
    runs = {name: Followed(text, run_time) for name, (text, run_time) in RUNS.items()}
    for run in runs.values():
        run.start()
    for run in runs.values():
        run.wait()
    yield runs
    for run in runs.values():
        run.quit()


def span(shape: Shape, begin_s: float, end_s: float) -> tuple[int, int]:
    """The fewest and the most users that the curve has in that time."""
    end_s = min(end_s, shape.duration_s)
    begin_s = min(begin_s, end_s)
    curve = [shape.users_at(begin_s), shape.users_at(end_s)]
    curve += [round(point.users) for point in shape.points if begin_s <= point.at_s <= end_s]
    known = [users for users in curve if users is not None]
    return min(known), max(known)


TO_THE_END: Final = sorted(RUNS.keys() - {"limited"})


@pytest.mark.parametrize("name", TO_THE_END)
def test_locust_is_asked_for_what_the_curve_says_at_that_moment(
    followed: dict[str, Followed], name: str
) -> None:
    run = followed[name]
    assert run.journal.ticks
    for tick in run.journal.ticks:
        # or, where the tick was late, at the mark that it would have missed
        allowed = {run.shape.users_at(mark.at_s) for mark in run.shape.marks if mark.text in tick.marks}
        least, most = span(run.shape, tick.before_s, tick.after_s)
        assert tick.answer is None or tick.answer[0] in allowed or least <= tick.answer[0] <= most


def changes(run: Followed) -> list[tuple[int, int, int]]:
    """For each tick: the users whom Locust had asked for two ticks and one tick before, and those seen.

    Before the first there is the start of the shape.
    """
    before = run.shape.users_at(0)
    assert before is not None
    asked = [before, before, *run.journal.asked]
    return [(asked[at], asked[at + 1], tick.users_before) for at, tick in enumerate(run.journal.ticks)]


@pytest.mark.parametrize("name", TO_THE_END)
def test_the_users_of_a_tick_come_until_the_next(followed: dict[str, Followed], name: str) -> None:
    for before, asked, seen in changes(followed[name]):
        # a busy machine may have to begin the next when not all have come or gone
        assert min(before, asked) <= seen <= max(before, asked)


def test_the_users_of_a_tick_are_there_before_the_next_where_there_is_time(
    followed: dict[str, Followed],
) -> None:
    changed = [change for name in TO_THE_END for change in changes(followed[name]) if change[0] != change[1]]
    assert any(asked == seen for _, asked, seen in changed)


@pytest.mark.parametrize("name", sorted(RUNS))
def test_at_any_moment_the_users_are_those_of_the_curve_since_the_tick_before(
    followed: dict[str, Followed], name: str
) -> None:
    """The distance from the curve is what the curve itself did between two ticks, however far apart."""
    run = followed[name]
    # spawning is not over at the very moment of the tick that asks for it
    slack_s = 2 * run.journal.longest_gap_s
    seen = list(dropwhile(lambda sample: not sample[1], run.journal.counts))
    assert seen
    for at_s, count in seen:
        least, most = span(run.shape, max(at_s - slack_s, 0.0), at_s)
        assert least <= count <= most


def test_the_end_of_a_ramp_is_reached(followed: dict[str, Followed]) -> None:
    run = followed["ramp"]
    assert run.journal.asked[-1] == 20
    assert max(run.journal.seen) == 20
    assert run.journal.ended == "shape"


def test_a_steep_ramp_is_followed_without_falling_behind(followed: dict[str, Followed]) -> None:
    run = followed["steep"]
    assert max(run.journal.seen) == 300


@pytest.mark.parametrize(
    ("name", "marks"),
    [
        ("ramp", []),
        ("step", ["step 1 of 3: 3 users", "step 2 of 3: 7 users", "step 3 of 3: 11 users"]),
        ("soak", ["hold: 9 users", "down: 0 users"]),
        ("spike", ["peak: 50 users", "base: 2 users"]),
        ("storm", ["hold: 7 users", "drop 1 of 3", "drop 2 of 3", "drop 3 of 3"]),
    ],
)
def test_every_mark_reaches_the_record_once_and_in_order(
    followed: dict[str, Followed], name: str, marks: list[str]
) -> None:
    assert followed[name].journal.marks == marks


def test_every_step_has_its_users(followed: dict[str, Followed]) -> None:
    assert {3, 7, 11} <= followed["step"].journal.seen


def test_a_storm_drops_sockets_and_keeps_the_users(followed: dict[str, Followed]) -> None:
    journal = followed["storm"].journal
    assert journal.drops == [7, 7, 7]
    assert set(journal.asked) == {7}


def test_the_run_time_ends_a_shape_that_would_go_on(followed: dict[str, Followed]) -> None:
    journal = followed["limited"].journal
    assert journal.ended == "run-time"
    assert 0 < len(journal.marks) < 60
    assert [tick.after_s >= 3 for tick in journal.ticks if tick.answer is None] == [True]


@pytest.mark.parametrize("name", sorted(RUNS))
def test_each_run_begins_once_and_ends_without_users(followed: dict[str, Followed], name: str) -> None:
    run = followed[name]
    assert run.journal.began == 1
    assert run.runner.user_count == 0
    assert run.runner.state == "stopped"
    assert run.runner.exceptions == {}


# ------------------------------------------------------------------------------------- begins and restarts


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition; ``gevent.Timeout`` where it does not come."""
    with gevent.Timeout(PATIENCE_S):
        while not condition():
            gevent.sleep(0.01)


def test_a_run_that_takes_long_to_begin_is_neither_cut_short_nor_marked_before() -> None:
    run = Followed("step:start=2,step=2,every=1s,steps=2")
    go_on = Event()
    # before the listener that begins the shape
    run.environment.events.test_start._handlers.insert(0, lambda **_: go_on.wait())
    asked: list[object] = []
    tick = run.follower.tick

    def counted() -> tuple[int, float] | None:
        asked.append(None)
        return tick()

    run.follower.tick = counted  # type: ignore[method-assign]
    run.start()
    until(lambda: len(asked) >= 3)
    assert run.journal.marks == []
    assert run.runner.user_count == 0
    go_on.set()
    run.wait()
    run.quit()
    assert run.journal.began == 1
    assert run.journal.marks == ["step 1 of 2: 2 users", "step 2 of 2: 4 users"]


def test_a_run_that_was_stopped_begins_anew_when_started_again() -> None:
    run = Followed("step:start=2,step=2,every=1s,steps=50")
    for _ in range(2):
        run.journal.marks.clear()
        run.start()
        until(lambda: len(run.journal.marks) >= 2)
        run.runner.stop()
        assert run.journal.ended is None
        assert run.journal.marks[:2] == ["step 1 of 50: 2 users", "step 2 of 50: 4 users"]
    run.quit()
    assert run.journal.began == 2


def test_a_run_that_is_refused_at_its_start_ends_and_the_next_begins_anew() -> None:
    run = Followed("step:start=2,step=2,every=1h,steps=2")
    handlers = run.environment.events.test_start._handlers

    def refuse(**_: Any) -> None:
        raise StopTest("The run cannot begin.")

    handlers.insert(0, refuse)
    run.start()
    until(lambda: run.runner.state == "stopped")
    assert not run.runner.shape_greenlet
    assert run.journal.marks == []

    handlers.remove(refuse)
    run.start()
    until(lambda: run.runner.user_count == 2)
    assert run.journal.marks == ["step 1 of 2: 2 users"]
    run.quit()


def test_a_run_that_never_begins_ends_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    environment = an_environment()
    runner = environment.create_local_runner()
    offer_shape(environment, "ramp:from=1,to=2,over=1h")
    with caplog.at_level(logging.ERROR):
        runner.start_shape()
        greenlet = runner.shape_greenlet
        assert greenlet is not None
        greenlet.join(PATIENCE_S)
    assert runner.state == "stopped"
    assert "The run did not begin, so its shape cannot be followed." in caplog.messages
    runner.quit()


def test_users_started_by_hand_begin_no_shape() -> None:
    environment = an_environment()
    runner = environment.create_local_runner()
    offer_shape(environment, "step:start=1,step=1,every=1h,steps=2")
    marks: list[str] = []
    begun = Event()
    listen(environment, "test_start", lambda **_: begin_shape(environment, marks.append, lambda: None))
    listen(environment, "spawning_complete", lambda **_: begun.set())
    runner.start(1, 1)
    assert begun.wait(PATIENCE_S)
    assert marks == []
    runner.quit()


# -------------------------------------------------------------------------------------------------- offers


def test_without_a_shape_nothing_changes() -> None:
    environment = an_environment()
    own = environment.shape_class = OwnShape()  # type: ignore[no-untyped-call]
    offer_shape(environment, "  ")
    begin_shape(environment, lambda _: None, lambda: None)
    assert environment.shape_class is own
    assert environment.available_shape_classes == {}
    assert shape_ended(environment) is None


def test_an_offered_shape_knows_its_runner_and_takes_the_place_of_the_locustfiles_own() -> None:
    environment = an_environment(run_time=7)
    own = environment.shape_class = OwnShape()  # type: ignore[no-untyped-call]
    environment.available_shape_classes = {"OwnShape": own}
    runner = environment.create_local_runner()
    offer_shape(environment, "ramp:to=9,over=1h")
    offer_shape(environment, "ramp:to=5,over=1h")
    follower = environment.shape_class
    assert isinstance(follower, ShapeFollower)
    assert follower.runner is runner
    assert follower.shape.peak_users == 5
    assert environment.available_shape_classes == {"OwnShape": own, PICKED: follower}

    offer_shape(environment, "")
    assert environment.shape_class is own
    assert environment.available_shape_classes == {"OwnShape": own}
    runner.quit()


def test_a_mistaken_shape_is_refused_and_changes_nothing() -> None:
    environment = an_environment()
    with pytest.raises(BadShape):
        offer_shape(environment, "ramp:to=9")
    assert environment.shape_class is None


def test_a_shape_under_way_is_not_replaced() -> None:
    run = Followed("step:start=2,step=2,every=1h,steps=2")
    run.start()
    until(lambda: run.runner.user_count == 2)
    form = ImmutableMultiDict({"shape_class": "Default"})
    assert with_shape(run.environment, form) is form
    offer_shape(run.environment, "ramp:to=5,over=1h")
    assert run.environment.shape_class is run.follower
    offer_shape(run.environment, "")
    assert run.environment.shape_class is run.follower
    run.quit()


@pytest.mark.parametrize(
    ("offered", "picked", "results"),
    [
        ("ramp:to=5,over=1h", "Default", PICKED),
        ("ramp:to=5,over=1h", None, PICKED),
        ("ramp:to=5,over=1h", PICKED, PICKED),
        ("ramp:to=5,over=1h", "OwnShape", "OwnShape"),
        ("", "Default", "Default"),
        ("", None, None),
    ],
)
def test_the_pickers_default_is_our_shape_where_one_is_offered(
    offered: str, picked: str | None, results: str | None
) -> None:
    environment = an_environment()
    offer_shape(environment, offered)
    names = [("user_classes", "A"), ("user_classes", "B")]
    form = ImmutableMultiDict([*names, *([("shape_class", picked)] if picked else [])])
    settled = with_shape(environment, form)
    assert settled.get("shape_class") == results
    assert settled.getlist("user_classes") == ["A", "B"]


# ------------------------------------------------------------------------------------------------ web form


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Followed, Any]]:
    """A run with Locust's web form and class picker, asked as ``hooks`` asks; and a client for it."""
    from flask import request

    # Locust reads its command line again for each page
    monkeypatch.setattr("sys.argv", ["locust"])
    run = Followed("ramp:from=3,to=9,over=1h")
    web_ui = run.environment.create_web_ui(
        "127.0.0.1", 0, delayed_start=True, userclass_picker_is_active=True
    )
    assert web_ui.app is not None

    def before() -> None:
        if request.endpoint == "locust.swarm":
            offer_shape(run.environment, request.form.get("shape", ""))
            request.form = with_shape(run.environment, request.form)

    web_ui.app.before_request(before)
    yield run, web_ui.app.test_client()
    run.quit()


FORM: Final = {"user_count": "1", "spawn_rate": "1", "host": "ws://127.0.0.1", "user_classes": "Idle"}


@pytest.mark.parametrize("text", ["ramp:from=4,to=9,over=1h", "search:from=4,to=9,slo=response p(99) < 1s"])
def test_the_class_picker_does_not_lose_the_shape(web: tuple[Followed, Any], text: str) -> None:
    run, client = web
    answer = client.post("/swarm", data={**FORM, "shape": text, "shape_class": "Default"}).get_json()
    assert answer["success"] is True
    assert "ShapeFollower" in answer["message"]
    until(lambda: run.runner.user_count == 4)
    assert client.post("/stop").get_json()["success"] is True
    assert run.runner.user_count == 0


def test_the_shape_is_in_the_page_with_the_picker(web: tuple[Followed, Any]) -> None:
    _, client = web
    assert f'"{PICKED}"' in client.get("/").get_data(as_text=True).replace("&#34;", '"')


def test_a_form_without_a_shape_starts_users_as_ever(web: tuple[Followed, Any]) -> None:
    run, client = web
    answer = client.post("/swarm", data={**FORM, "user_count": "2", "spawn_rate": "2"}).get_json()
    assert answer["success"] is True
    assert "shape" not in answer["message"]
    until(lambda: run.runner.user_count == 2)
    assert run.environment.shape_class is None
