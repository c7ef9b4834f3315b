"""The Locust side: importing it makes any locustfile a wsoak one.

- ``user``            ``WebSocketUser``, what scenarios are made of
- ``options``         our options on the command line and in the web form
- ``accounts``        who the users log in as
- ``tokens``          JSON Web Tokens, minted and renewed
- ``backoff``         how long to wait before a reconnect
- ``generator``       what makes the load in one process
- ``gauges``          the generator looks at itself, and at the server
- ``collector``       books, run directory and judgement
- ``run``             generator and collector joined, from start to stop
- ``header``          what ``run.json`` says of a run
- ``stats_feed``      the ledger in Locust's own tables
- ``live``            the live line
- ``target_process``  the embedded target as a child
- ``hooks``           the one place that listens to Locust's events
"""

import locust

from wsoak.load import hooks
from wsoak.load.user import WebSocketUser

hooks.register(locust.events)

__all__ = ["WebSocketUser"]
