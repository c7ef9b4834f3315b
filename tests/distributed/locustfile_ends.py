"""Users that end in their own way: slowly, or with the whole run."""

import os
import time
from pathlib import Path

from locust import events, task

from tests.e2e import locustfile_target
from wsoak.load import producer

__all__ = ["EndlessUser", "HopelessUser", "SlowUser"]

if turns := os.environ.get("TEST_UNHEARD_TURNS"):
    producer.UNHEARD_TURNS = int(turns)  # type: ignore[misc]


leave = os.environ.get("TEST_LEAVE")


class SlowUser(locustfile_target.EchoUser):
    """Takes two seconds to stop, and writes down whether it could: failed while it does, and then passed.

    It begins to leave when there is a file that ``TEST_LEAVE`` names, if it does.
    """

    def on_stop(self) -> None:
        """Say good-bye slowly."""
        series = self.generator.recorder.series("good-bye")
        series.check_failed += 1
        while leave and not Path(leave).exists():
            time.sleep(0.05)
        began = time.monotonic()
        time.sleep(2.0)
        assert time.monotonic() - began >= 2.0
        series.check_failed -= 1
        series.check_passed += 1


class EndlessUser(locustfile_target.EchoUser):
    """Echo, in a process that soon takes its master for dead, as ``TEST_UNHEARD_TURNS`` says."""


class HopelessUser(locustfile_target.EchoUser):
    """On one worker, the first user sees no point in going on."""

    @task
    def despair(self) -> None:
        """Give the whole run up, on one worker."""
        if self.generator.worker_index == 1:
            self.generator.give_up("There is no point in it.")
        self.echo()


def count_stops(**_: object) -> None:
    """Each process says how often its run was stopped; more than once would be a stop within a stop."""
    print("test_stop", os.getpid(), flush=True)


events.test_stop.add_listener(count_stops)  # type: ignore[no-untyped-call]
