"""Scenarios: what a user does, one file a system. Each can be read on its own, in one sitting.

- ``echo``      any server that sends back what it is sent
- ``dialogue``  chat with an AI about a book: request and reply, a history that is verified
- ``call``      one user rings another: both ends in one user, one clock
- ``roadmap``   progress of a generation task, pushed: history, order, delivery time
- ``tasks``     a status feed behind a JWT, beside an HTTP API
- ``voice``     a spoken exchange with a device: paced binary frames, a state machine, heartbeats
"""
