"""The judge: pure rules over the books. No gevent, no Locust, no pandas, no I/O.

- ``terminal``  hostile text made safe to print
- ``words``     counts, shares and durations in words, in one place
- ``rules``     which end of a connection speaks for which finding, and where to look
- ``storms``    clients that reconnect without waiting
- ``evidence``  the sentences with figures that a finding carries
- ``findings``  what went wrong: the rules applied to a run's books
- ``validity``  whether the run is to be believed
- ``summary``   what happened, in plain sentences
"""
