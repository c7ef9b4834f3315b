"""Checks: what looks before or beside the load. In ``load``, as a run begins with them.

- ``variants``   a path's prefix variants, as routes are registered wrongly
- ``answers``    what a path answers to one handshake that is in no book
- ``origins``    a refusal for want of an allowed Origin told from others
- ``routes``     a route that is not there told from a refusal, once a run and socket name
- ``steps``      what was checked, and what came of it
- ``network``    look-up, connection, TLS, health
- ``limits``     descriptors and local ports for the users to come
- ``rehearsal``  a user of the checks' own does once what the load will do
- ``doors``      the ways in that must be shut
- ``preflight``  all of them, before the first user
"""
