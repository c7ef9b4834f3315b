"""Standalone: a user without a run, as in ``run_single_user`` or with Locust as a library.

Its sockets work as ever. Nothing is written down or judged: Locust's own tables, and listeners of its
``request`` event, are all there is.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, Final

import gevent
from locust.env import Environment

from wsoak.load.generator import Generator, begun
from wsoak.load.options import Options
from wsoak.load.stats_feed import feed

log = logging.getLogger(__name__)

RUN_ID: Final = "standalone"
FEED_INTERVAL_S: Final = 1.0
_GENERATOR: Final = "wsoak_standalone"


def generator_of(environment: Environment) -> Generator:
    """The generator of the run that is under way, or one that is no run's.

    Raises:
        options.BadOptions: when it cannot be made, as the options cannot be used.
        gevent.GreenletExit: when this worker cannot take part in the run, and has told the master so.
    """
    found = begun(environment) or getattr(environment, _GENERATOR, None)
    return found if isinstance(found, Generator) else _made(environment)


def _made(environment: Any) -> Generator:
    options = Options.of(environment.parsed_options)
    if environment.runner is None:
        # who runs a single user wants to see what it does
        options = replace(options, request_events=True)
    else:
        log.warning(
            "No run is recorded, and nothing is judged: call wsoak.load.hooks.register(environment.events) "
            "before Locust's init event is fired, and start the test through a runner."
        )
    generator = Generator(environment, options, RUN_ID)
    setattr(environment, _GENERATOR, generator)
    gevent.spawn(_feed_for_ever, environment, generator)
    return generator


def _feed_for_ever(environment: Environment, generator: Generator) -> None:
    while True:
        gevent.sleep(FEED_INTERVAL_S)
        delta = generator.take()
        if not generator.options.request_events:
            feed(environment.stats, delta)
