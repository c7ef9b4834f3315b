"""Rehearsal: a user of the checks' own does something, and its books say what came of it.

It has an environment, events, a generator and a recorder of its own: nothing that it does is in Locust's
tables or in the run's books.
"""

from __future__ import annotations

import sys
import traceback
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

import gevent
from locust.env import Environment
from locust.event import EventHook, Events
from locust.exception import CatchResponseError, InterruptTaskSet, RescheduleTask, StopTest, StopUser

from wsoak.judge.answers import OF_A_LOAD, came_words, clue_words
from wsoak.judge.findings import Finding, find
from wsoak.judge.terminal import safe
from wsoak.ledger.books import Books
from wsoak.ledger.delta import Delta
from wsoak.ledger.records import ConnectionRecord
from wsoak.load.generator import Generator
from wsoak.load.options import Options
from wsoak.load.user import WebSocketUser

NAME: Final = "checks"
"""The checks' worker name in the books."""
LEAST_S: Final = 30.0
STOP_S: Final = 10.0
"""How long ``on_stop`` may take after what was cut short."""

_WISHES: Final = (StopUser, StopTest, RescheduleTask, InterruptTaskSet)


class Unmade(Exception):
    """A class of which no user can be made; one sentence."""


class Misreturned(Exception):
    """A method of a scenario's returned what it may not; one sentence.

    Args:
        wanted: what it must return, in words; ``returned``: what it did return.
    """

    def __init__(self, user: WebSocketUser, method: str, wanted: str, returned: str) -> None:
        super().__init__(f"{type(user).__name__}.{method}() must return {wanted}, and returned {returned}")


def sort_of(value: object) -> str:
    """What sort of thing a scenario returned, in words; not the thing, which may hold a token."""
    return "None" if value is None else f"a value of type {type(value).__name__}"


@dataclass(frozen=True, slots=True)
class Where:
    """What users of the checks' own need to know of the run that they come before.

    Attributes:
        host: as Locust was given it; ``None``: the user classes name theirs.
        embedded: whether the server is our own embedded target.
    """

    options: Options
    host: str | None
    run_id: str
    embedded: bool = False
    parsed: Namespace | None = None

    @property
    def patience_s(self) -> float:
        """How long one thing that a user does may take."""
        return max(LEAST_S, self.options.handshake_timeout + 2 * self.options.reply_timeout)


class _Requests(EventHook):
    """In the place of Locust's ``request`` event: counts, and keeps what failed in a few stable words."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0
        self.failed: dict[str, None] = {}

    def fire(self, *, reverse: bool = False, **kwargs: Any) -> None:
        """See ``EventHook``."""
        del reverse
        self.count += 1
        error = kwargs.get("exception")
        if error is not None:
            # only our own words: another error's can quote what a server sent
            words = str(error) if isinstance(error, CatchResponseError) else type(error).__name__
            self.failed[f"{kwargs.get('request_type')} {kwargs.get('name')}: {words}"] = None


class Rehearsal:
    """A user of a class, and everything that it needs; ends with its ``with`` block.

    Attributes:
        mistake: what the scenario raised and where, or why it gave up, in one sentence; empty where neither.
        late: whether it was cut short.

    Raises:
        Unmade: when the class's own ``__init__`` raises.
        accounts.BadAccounts, options.BadOptions: when a file that an option names cannot be used.
    """

    def __init__(self, user_class: type[WebSocketUser], where: Where) -> None:
        self.where = where
        self.mistake = ""
        self.late = False
        self.requests = _Requests()
        events: Any = Events()  # type: ignore[no-untyped-call]
        events.request = self.requests
        host = where.host or user_class.host
        # a class of its own: Locust would write the host into the one of the load
        own_class = type(user_class.__name__, (user_class,), {"host": host})
        self._environment = Environment(
            events=events,
            user_classes=[own_class],
            host=host,
            parsed_options=where.parsed,
            catch_exceptions=False,
        )
        # it waits for no arrival, and tries nothing twice
        options = replace(where.options, arrival_rate=0.0, reconnect="none", request_events=False)
        self.generator = Generator(
            self._environment,
            options,
            where.run_id,
            embedded=where.embedded,
            worker=NAME,
            give_up=self._given_up,
        )
        self.started_at = self.generator.recorder.unix_s(self.generator.recorder.clock_ns())
        self._environment.wsoak_generator = self.generator  # type: ignore[attr-defined]
        try:
            self.user: WebSocketUser = own_class(self._environment)
        except Exception as error:
            self.generator.stop()
            raise Unmade(f"no user can be made: {_raised(error)}") from error

    def do(self, body: Callable[[WebSocketUser], Any], more_s: float = 0.0) -> None:
        """Have the user start, do something, and stop, as Locust has its users; bounded in time.

        Args:
            more_s: how much longer than ``Where.patience_s`` it may take.

        Raises:
            accounts.BadAccounts: when the user could not use ``--accounts``.
        """
        greenlet = gevent.spawn(self._live, body)
        try:
            greenlet.join(self.where.patience_s + more_s)
            self.late = not greenlet.ready()
        finally:
            greenlet.kill(timeout=STOP_S)
        if self.generator.bad_accounts is not None:
            raise self.generator.bad_accounts

    def _live(self, body: Callable[[WebSocketUser], Any]) -> None:
        try:
            self.user.on_start()
            try:
                body(self.user)
            except _WISHES:
                pass
            except Exception as error:  # noqa: BLE001 - a scenario may raise anything
                self._raised(error)
            finally:
                self.user.on_stop()  # type: ignore[no-untyped-call]
        except _WISHES:
            pass
        except Exception as error:  # noqa: BLE001 - a scenario may raise anything
            self._raised(error)

    def _raised(self, error: Exception) -> None:
        self.mistake = self.mistake or _raised(error)

    def _given_up(self, sentence: str) -> None:
        self.mistake = self.mistake or sentence

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.user._release(gevent.getcurrent())
        self.generator.stop()

    def end(self) -> Evidence:
        """Close what is open, wait for the looks at routes, and say what is in the books."""
        self.generator.routes.wait()
        self.user._release(gevent.getcurrent())
        self.generator.stop()
        return Evidence(_of_the_load(self.generator.take()), self.started_at)


@dataclass(slots=True)
class Evidence:
    """What the books of a rehearsal say."""

    delta: Delta
    started_at: float
    books: Books = field(default_factory=Books)
    findings: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.books.add(self.delta)
        self.findings = [
            finding for finding in find(self.books, self.started_at) if finding.id not in OF_A_LOAD
        ]

    @property
    def clue(self) -> str:
        """Where messages hold the ids of requests that were not answered; empty where they do not."""
        return next(filter(None, (clue_words(self.books, name) for name in self.books.totals)), "")

    @property
    def came_instead(self) -> str:
        """What came in the place of answers; empty where nothing did."""
        return next(filter(None, (came_words(self.books, name) for name in self.books.totals)), "")

    @property
    def connections(self) -> list[ConnectionRecord]:
        """The sockets that were tried, in the order of their start."""
        return sorted(self.delta.connections, key=lambda record: record.started_at)


def _of_the_load(delta: Delta) -> Delta:
    """The delta without what the generator says of itself."""
    delta.gauges = [gauge for gauge in delta.gauges if gauge.source not in ("generator", "target")]
    delta.latency = {key: found for key, found in delta.latency.items() if key[2] != NAME}
    return delta


def _raised(error: Exception) -> str:
    if isinstance(error, Misreturned):
        return str(error)
    # not its text: that can quote what a server sent, or a token
    return f"the scenario raised {type(error).__name__} at {_place(error)}"


def _place(error: Exception) -> str:
    """Where it was raised, in the scenario's own file if that can be told: ``dialogue.py:41``."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if not _is_library(frame.filename)] or list(frames)
    return safe(f"{Path(ours[-1].filename).name}:{ours[-1].lineno}") if ours else "an unknown place"


def _is_library(file: str) -> bool:
    return file.startswith((sys.prefix, str(Path(__file__).parents[2])))
