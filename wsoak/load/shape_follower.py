"""Shape follower: a shape as Locust's own ``LoadTestShape``.

    offer_shape ──► Locust's start_shape ──► tick  0 s: the first users      Locust fires test_start
                                              ▼                                  │
                        tick, tick, …  ◄──  held until the run has begun  ◄── begin_shape: 0 s, first mark
                             ▼
                     users, marks, drops … None: over

The clock runs from ``begin_shape``, when the run's record is there to take marks. A search is told all that
is recorded, too: whoever keeps the run's books calls ``tell_shape``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from locust import LoadTestShape
from locust.env import Environment
from locust.runners import STATE_INIT, STATE_RUNNING, STATE_SPAWNING
from werkzeug.datastructures import ImmutableMultiDict

from wsoak.ledger.delta import Delta
from wsoak.load.course import Course, Ended, Turn, spawn_rate
from wsoak.load.search import Search
from wsoak.load.search_course import SearchCourse
from wsoak.load.shape_option import parse_shape
from wsoak.load.shapes import Shape

log = logging.getLogger(__name__)

PICKED: Final = "--shape"
"""Our name in the class picker of Locust's web form."""
NOT_PICKED: Final = "Default"
"""Locust's own name there for "no shape class"."""
PICKER_FIELD: Final = "shape_class"

Tick = tuple[int, float]


def _no_mark(_: str) -> None: ...


def _no_drop() -> None: ...


def _no_note(_: dict[str, Any]) -> None: ...


class ShapeFollower(LoadTestShape):
    """Has Locust follow a shape, run after run.

    Args:
        instead_of: the shape of the locustfile's that this one takes the place of.

    Attributes:
        ended: what ended the last run; ``None`` while it goes on, and where something else ended it.
    """

    # Locust makes one of each shape class that a locustfile imports and that is not abstract
    abstract = True

    _course: Course | SearchCourse
    _begun_at: float | None
    """On ``perf_counter``; ``None`` until the run has begun."""
    _asked: Tick
    _mark: Callable[[str], None]
    _drop: Callable[[], None]
    _note: Callable[[dict[str, Any]], None]

    def __init__(self, shape: Shape | Search, instead_of: LoadTestShape | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shape = shape
        self.instead_of = instead_of
        self._arm()

    @property
    def ended(self) -> Ended | None:
        """See the class."""
        return self._course.ended

    def begin(
        self,
        mark: Callable[[str], None],
        drop: Callable[[], None],
        note: Callable[[dict[str, Any]], None] = _no_note,
    ) -> None:
        """The run has begun: its time is 0 now.

        Args:
            mark: takes the text of each mark, when the users that belong to it are asked for.
            drop: drops all sockets.
            note: takes what a search has found so far, after each step. None of them may block: Locust's
                shape waits for them.
        """
        self._mark, self._drop, self._note = mark, drop, note
        if isinstance(self._course, SearchCourse):
            self._course.begin(time.time())
        # Locust's own clock for shapes starts at other moments, by runner
        self._begun_at = time.perf_counter()
        self._report(self._course.at(0.0))

    def take(self, delta: Delta) -> None:
        """Take in what was recorded; only a search has use for it."""
        if isinstance(self._course, SearchCourse):
            self._course.take(delta)

    def tick(self) -> Tick | None:
        """See ``locust.LoadTestShape.tick``."""
        assert self.runner is not None
        # Locust forgets the last tick whenever a run ends, also where no tick of ours ended it
        if self.runner.shape_last_tick is None:
            self._arm()
            return self._asked
        if self._begun_at is not None:
            return self._ask(self._course.at(time.perf_counter() - self._begun_at))
        if self.runner.state == STATE_INIT:
            # the same again: another answer would have Locust kill the start that is under way
            return self._asked
        log.error("The run did not begin, so its shape cannot be followed.")
        return None

    def _arm(self) -> None:
        options = self.runner.environment.parsed_options if self.runner else None
        limit_s = getattr(options, "run_time", None) or None
        self._course = (
            SearchCourse(self.shape, limit_s)
            if isinstance(self.shape, Search)
            else Course(self.shape, limit_s)
        )
        self._begun_at = None
        self._mark, self._drop, self._note = _no_mark, _no_drop, _no_note
        first = self.shape.users_at(0.0) or 0
        self._asked = (first, spawn_rate(0, first))

    def _ask(self, turn: Turn) -> Tick | None:
        self._report(turn)
        if turn.users is None:
            return None
        # at the same count the same rate: any difference has Locust start anew
        if turn.users != self._asked[0]:
            self._asked = (turn.users, spawn_rate(self._asked[0], turn.users))
        return self._asked

    def _report(self, turn: Turn) -> None:
        if isinstance(self._course, SearchCourse) and self._course.news:
            for sentence in self._course.news:
                log.info("%s", sentence)
            self._course.news.clear()
            self._note(self._course.told())
        if turn.mark is not None:
            self._mark(turn.mark.text)
            if turn.mark.drop:
                self._drop()


def offer_shape(environment: Environment, text: str) -> None:
    """Make the shape that ``text`` describes the environment's; an empty text takes a former one back.

    While users run, nothing changes: Locust's web form comes this way again when a test is edited.

    Raises:
        shape_option.BadShape: with every mistake.
    """
    shape = parse_shape(text) if text.strip() else None
    if _under_way(environment):
        return
    available = dict(environment.available_shape_classes or {})
    former = available.pop(PICKED, None)
    instead_of = former.instead_of if isinstance(former, ShapeFollower) else environment.shape_class
    if shape is not None:
        follower = ShapeFollower(shape, instead_of)
        follower.runner = environment.runner
        environment.shape_class = follower
        environment.available_shape_classes = {**available, PICKED: follower}
    elif former is not None:
        environment.shape_class = instead_of
        environment.available_shape_classes = available


def begin_shape(
    environment: Environment,
    mark: Callable[[str], None],
    drop: Callable[[], None],
    note: Callable[[dict[str, Any]], None] = _no_note,
) -> None:
    """Say that a run has begun; nothing where it follows no shape of ours. See ``ShapeFollower.begin``."""
    follower, runner = environment.shape_class, environment.runner
    # users can also be started by hand, past any shape
    if isinstance(follower, ShapeFollower) and runner is not None and runner.shape_greenlet:
        follower.begin(mark, drop, note)


def tell_shape(environment: Environment, delta: Delta) -> None:
    """Let a shape of ours know what was recorded; see ``ShapeFollower.take``."""
    follower = environment.shape_class
    if isinstance(follower, ShapeFollower):
        follower.take(delta)


def shape_ended(environment: Environment) -> Ended | None:
    """What ended the run's shape; ``None`` where it did not end, or there is none of ours."""
    follower = environment.shape_class
    return follower.ended if isinstance(follower, ShapeFollower) else None


def with_shape(environment: Environment, form: ImmutableMultiDict[str, str]) -> ImmutableMultiDict[str, str]:
    """A start form of Locust's in which our shape, where one is offered, is the picked one.

    The picker begins at "Default", and Locust then drops the shape that the command line asked for. Another
    shape of the locustfile's stays picked.
    """
    offered = PICKED in (environment.available_shape_classes or {})
    picked = form.get(PICKER_FIELD, NOT_PICKED)
    if not offered or picked != NOT_PICKED or _under_way(environment):
        return form
    rest = [(name, value) for name, value in form.items(multi=True) if name != PICKER_FIELD]
    return ImmutableMultiDict([*rest, (PICKER_FIELD, PICKED)])


def _under_way(environment: Environment) -> bool:
    runner = environment.runner
    return runner is not None and (
        bool(runner.shape_greenlet) or runner.state in (STATE_SPAWNING, STATE_RUNNING)
    )
