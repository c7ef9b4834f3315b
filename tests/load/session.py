"""Session: Locust in this process, as ``locust --headless`` or the web UI would set it up.

Each has events of its own. ``script`` makes a user class of one function; ``rest`` is how a user stays until
it is stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from gevent.event import Event
from locust import task
from locust.argument_parser import get_parser
from locust.env import Environment
from locust.event import Events
from locust.user import User

from tests.wire.harness import until
from wsoak.ledger.books import Books
from wsoak.ledger.records import ConnectionRecord
from wsoak.ledger.rundir import RunReader
from wsoak.load import WebSocketUser
from wsoak.load.hooks import Hooks, register

PATIENT: Final = ("--handshake-timeout", "30", "--reply-timeout", "30", "--close-timeout", "30")
"""On a busy machine what comes may come late; a test of what does not come says how long it waits."""


def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a run down more often than once a second, for a test that cannot wait for seconds."""
    monkeypatch.setattr("wsoak.load.producer.FLUSH_INTERVAL_S", 0.02)
    monkeypatch.setattr("wsoak.load.keeper.TURN_S", 0.02)


def script(body: Callable[[Any], Any], name: str = "ScriptUser", **attributes: Any) -> type[WebSocketUser]:
    """A user class whose task is ``body``."""
    return type(name, (WebSocketUser,), {"body": task(lambda self: body(self)), **attributes})


def rest() -> None:
    """Do nothing until the greenlet is killed."""
    Event().wait()


class Session:
    """A Locust process without its command line's loop.

    Args:
        arguments: as on the command line; Locust's own parser reads them.

    Attributes:
        errors: exceptions that users let out.
    """

    def __init__(
        self,
        *user_classes: type[User],
        host: str | None,
        run_dir: Path,
        arguments: tuple[str, ...] = (),
        web: bool = False,
    ) -> None:
        self.run_dir = run_dir
        self.errors: list[BaseException] = []
        events: Any = Events()  # type: ignore[no-untyped-call]
        self.hooks: Hooks = register(events)
        parser = get_parser(default_config_files=[])
        headless = () if web else ("--headless",)
        self.environment = Environment(
            events=events,
            catch_exceptions=False,
            # of its own: Locust writes the host into the class
            user_classes=[type(each.__name__, (each,), {}) for each in user_classes],
            host=host,
            parsed_options=parser.parse_args(
                # what tests count is the load alone
                ["--run-dir", str(run_dir), "--checks", "none", *PATIENT, *headless, *arguments]
            ),
        )
        self.runner = self.environment.create_local_runner()
        self.web = self.environment.create_web_ui("127.0.0.1", 0, delayed_start=True) if web else None
        events.user_error.add_listener(lambda exception, **_: self.errors.append(exception))
        try:
            events.init.fire(environment=self.environment, runner=self.runner, web_ui=self.web)
        except BaseException:
            self.runner.quit()
            raise

    @property
    def generator(self) -> Any:
        """The generator of the run that is under way."""
        return self.environment.wsoak_generator  # type: ignore[attr-defined]

    # what tests must know of the insides of a run is here, and nowhere else

    @property
    def under_way(self) -> bool:
        """Whether there is a run that has not been judged."""
        return self.hooks._keeper is not None

    @property
    def ending(self) -> bool:
        """Whether a run is being finished."""
        return self.hooks._ending

    @property
    def keeper(self) -> Any:
        """Who keeps the books of the run that is under way, and shows its live line."""
        return self.hooks._keeper

    @property
    def collector(self) -> Any:
        """Who writes them."""
        return self.keeper._collector

    def books(self) -> Books:
        """The books up to now."""
        producer = self.hooks._producer
        assert producer is not None
        producer.flush()
        books: Books = self.collector.books
        return books

    @property
    def options(self) -> Any:
        """Locust's parsed options."""
        return self.environment.parsed_options

    def fire(self, event: str, **facts: Any) -> None:
        """Fire one of Locust's events."""
        getattr(self.environment.events, event).fire(environment=self.environment, **facts)

    def start(self, users: int = 1, rate: float = 100.0) -> None:
        """Start the test, and wait until all users were spawned."""
        self.runner.start(users, rate)
        until(lambda: self.runner.state == "running")

    def stop(self) -> RunReader:
        """Stop the test; what was written of it."""
        path = self.collector.path
        self.runner.stop()
        return RunReader(path)

    def quit(self) -> int | None:
        """End as ``locust`` does; the exit code that the hooks want."""
        self.fire("quitting", reverse=True)
        self.runner.quit()
        self.fire("quit", exit_code=self.environment.process_exit_code or 0)
        return self.environment.process_exit_code


@contextmanager
def session(
    *user_classes: type[User],
    host: str | None,
    run_dir: Path,
    arguments: tuple[str, ...] = (),
    web: bool = False,
) -> Iterator[Session]:
    """A session that is over at the end, whatever happens; what users let out fails the test."""
    made = Session(*user_classes, host=host, run_dir=run_dir, arguments=arguments, web=web)
    try:
        yield made
    finally:
        made.quit()
    assert made.errors == []


def records(
    *user_classes: type[User],
    host: str,
    run_dir: Path,
    done: Callable[[Session], Any],
    users: int = 1,
    arguments: tuple[str, ...] = (),
) -> list[ConnectionRecord]:
    """The connections of a run that is stopped once ``done`` holds, by id."""
    with session(*user_classes, host=host, run_dir=run_dir, arguments=arguments) as made:
        made.start(users)
        until(lambda: done(made))
        reader = made.stop()
    return sorted(reader.connections(), key=lambda record: int(record.id.partition(".")[2]))
