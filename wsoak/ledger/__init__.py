"""The ledger: the vocabulary, the records and the books of a run. No gevent, no Locust, no pandas.

- ``units``      nanoseconds to milliseconds and seconds, in one place
- ``outcomes``   the words for how an opening and a close ended, and whose doing it was
- ``gateways``   answers that a CDN, balancer or ingress gives itself
- ``records``    frozen rows: a connection attempt, a gauge reading, an observation
- ``histogram``  durations by bucket, mergeable
- ``hdr_encoding`` HdrHistogram's encoding of few buckets
- ``timeline``   the counters of one second and name
- ``raised``      an exception of the scenario's own code, as the books may keep it
- ``recorder``   what the hot path writes to; hands out deltas
- ``sample``     a hundred ends of sockets, kept whole
- ``delta``      what was recorded since the last hand-out: plain values, mergeable in any order
- ``books``      all deltas added up: the state that rules and reports read
- ``rundir``     the run directory: the only reader and writer of its files
"""
