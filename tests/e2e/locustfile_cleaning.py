"""A locustfile whose users are interrupted in a request, and ask again when they are stopped."""

import gevent
from gevent.event import Event
from locust import task

from wsoak.load import WebSocketUser


class CleaningUser(WebSocketUser):
    """Is most of the time in the middle of a request."""

    def on_start(self) -> None:
        """Begin."""
        self.metric("began")

    @task
    def ask(self) -> None:
        """Ask."""
        self.api("GET", "/question")

    def on_stop(self) -> None:
        """Clean up."""
        if self.api("GET", "/clean-up").ok:
            self.metric("cleaned up")


class InterruptedUser(CleaningUser):
    """Is interrupted while its client looks whether its idle connection still lives, and yields."""

    @task
    def ask(self) -> None:
        """Ask, and begin to ask again."""
        self.api("GET", "/question")
        begin = Event()

        def ask_again() -> None:
            begin.wait()
            self.api("GET", "/question")

        asking = gevent.spawn(ask_again)
        gevent.sleep(0)
        # in this order: it comes as far as its first yield, and finds that it has been killed meanwhile
        begin.set()
        asking.kill(block=False)
        self.metric("interrupted")
        gevent.sleep(600)
