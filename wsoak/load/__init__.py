"""The Locust side: importing it makes any locustfile a wsoak one.

- ``user``            ``WebSocketUser``, what scenarios are made of
- ``door``            a way in that a server must keep shut
- ``names``           what is called how, where a scenario gives no name
- ``api``             what a server's HTTP side answered
- ``options``         our options on the command line
- ``option_names``    a locustfile's own options must not have our names
- ``web_form``        the same in the web form, refused in our own words
- ``web_tabs``        what a run says in the web UI's Logs and Failures
- ``accounts``        who the users log in as
- ``accounts_file``   the accounts of a file, as spreadsheets save it
- ``cookies``         one jar a user, for HTTP and sockets
- ``ids``             what tells a message from every other of the run
- ``tokens``          JSON Web Tokens, minted and renewed
- ``forgeries``       tokens that a server must refuse
- ``backoff``         how long to wait before a reconnect
- ``sequence``        numbered pushes: what is missing, repeated or too late
- ``one_way``         messages from one end to another, both ours, by one clock
- ``clock``           how far a server's clock is off
- ``open_model``      sessions that arrive at their own rate
- ``shapes``          load shapes as pure curves
- ``shape_option``    ``--shape``, parsed and checked
- ``search``          the next number of users, to close in on a capacity
- ``arrivals``        a curve of users from a CSV file
- ``course``          a shape's way through a run, tick by tick
- ``search_course``   the same for a search, fed with what is recorded
- ``shape_follower``  a shape as Locust's own
- ``generator``       what makes the load in one process
- ``standalone``      a user without a run, as in a debugger
- ``presence``        the users that are there, and how the others ended
- ``closed_loops``    scenarios that go on calling a closed socket
- ``user_errors``     what the scenario's own code raised
- ``gauges``          the generator looks at itself, and at the server
- ``garbage``         Python's collector, told what is here to stay
- ``http_books``      Locust's HTTP calls, in the books
- ``request_events``  Locust's event for each event of a socket
- ``checks``          what looks before and beside the load
- ``producer``        a generator, and its reports
- ``relay``           reports, each taken exactly once
- ``ticket``          what every process must know of a run
- ``shares``          which part of the whole each worker takes
- ``roster``          the workers by the names under which they report
- ``keeper``          keeps one run's books, and judges it
- ``collector``       books, run directory and judgement
- ``apart``           gates that only the analysis can measure, measured by it
- ``header``          what ``run.json`` says of a run
- ``stats_feed``      the ledger in Locust's own tables
- ``live``            the live line
- ``console``         what is printed beside Locust's tables
- ``background``      our own loops, which end the run where they raise
- ``stopping``        one stop at a time
- ``own_modules``     processes of ours, beside a project's packages of the same names
- ``target_process``  the embedded target as a child
- ``host``            where the load goes, and the mistakes in what says so
- ``beginning``       what a run is made of when it begins
- ``hooks``           the one place that listens to Locust's events
"""

import locust

from wsoak.load import hooks
from wsoak.load.user import WebSocketUser

hooks.register(locust.events)

__all__ = ["WebSocketUser"]
