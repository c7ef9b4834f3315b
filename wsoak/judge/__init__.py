"""The judge: pure rules over the books. No gevent, no Locust, no pandas, no I/O.

- ``terminal``      hostile text made safe to print
- ``words``         counts, shares and durations in words, in one place
- ``rule``          what a rule over ends of connections is, and the facts that it asks for
- ``opening_rules`` which failed handshakes speak for which finding, and where to look
- ``close_rules``   the same for the ends of opened sockets
- ``observed_rules``  findings that scenarios and probes establish
- ``rules``         all rules, and which finding explains which
- ``equal_ends``    sockets that ended after one same silence
- ``storms``        clients that reconnect without waiting
- ``evidence``      the sentences with figures that a finding carries
- ``findings``      what went wrong: the rules applied to a run's books
- ``validity``      whether the run is to be believed
- ``summary``       what happened, in plain sentences
- ``drops``         when many sockets were ended at once, and when as many were open again
- ``quantity``      numbers with their units, as gates write them
- ``expression``    a gate's condition as text, and as a tree
- ``figures``       what a gate can ask for
- ``sense``         whether an expression asks for something that there is
- ``gates``         ``gates.toml``: read whole, with every mistake at once
- ``meters``        what a figure needs of a run, taken in by the second
- ``intervals``     what a figure's value may be, given that load is correlated
- ``verdict``       pass, fail or inconclusive, and the exit code
- ``verdict_text``  the verdict as a table, as Markdown, as JUnit XML
- ``abort``         gates that stop the run
- ``slo``           an objective that a load can be found for
- ``steps``         which part of a standing load counts
- ``step_watch``    what the load that stands right now says of an objective
"""
