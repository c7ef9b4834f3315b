"""Scenarios: what a user does, one file a system. Each can be read on its own, in one sitting.

- ``echo``      any server that sends back what it is sent
- ``dialogue``  chat with an AI about a book
"""
