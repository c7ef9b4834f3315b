"""wsoak: WebSocket load and soak testing on Locust.

- ``wsoak.ledger``  the vocabulary and the books of a run
- ``wsoak.judge``   rules over the books: validity, findings
- ``wsoak.wire``    the socket: handshake, frames, connection
- ``wsoak.load``    the Locust side: users, options, runs

A locustfile needs one line of it: ``from wsoak.load import WebSocketUser``. This package imports nothing, as
Locust monkey-patches when it is imported, and the analysis has no use for that.
"""

__version__ = "0.1.0"
