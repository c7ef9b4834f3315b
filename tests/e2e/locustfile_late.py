"""A locustfile whose process stands still at the end of its start-up, as on a machine that is busy."""

from gevent.monkey import get_original
from locust import events

from scenarios.echo import EchoUser

__all__ = ["EchoUser"]

STILL_S = 3.0


def stand_still(**_: object) -> None:
    """Let nobody run, and let the event loop's idea of the time grow old."""
    get_original("time", "sleep")(STILL_S)


events.init.add_listener(stand_still)  # type: ignore[no-untyped-call]
