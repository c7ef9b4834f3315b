"""wsoak: WebSocket load and soak testing on Locust.

- ``wsoak.ledger``  the vocabulary and the books of a run
- ``wsoak.judge``   rules over the books: validity, findings
- ``wsoak.wire``    the socket: handshake, frames, connection
- ``wsoak.load``    the Locust side: users, options, runs

A locustfile needs one line of it: ``from wsoak import WebSocketUser``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsoak.load import WebSocketUser

__all__ = ["WebSocketUser"]


def __getattr__(name: str) -> Any:
    # late: Locust monkey-patches when it is imported, and the analysis has no use for that
    if name == "WebSocketUser":
        from wsoak.load import WebSocketUser

        return WebSocketUser
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
