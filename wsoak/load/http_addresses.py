"""HTTP addresses: Locust's HTTP client goes to the addresses that ``--resolve`` gives, as sockets do.

Any other name geventhttpclient looks up itself, for each connection that it makes, and takes the first
address that answers.
"""

from __future__ import annotations

import socket
from typing import Any

from geventhttpclient.client import HTTPClientPool
from locust.contrib.fasthttp import FastHttpSession

from wsoak.wire.addresses import Pinned, pin_of
from wsoak.wire.resolver import pinned_addresses


class PinnedPool(HTTPClientPool):
    """geventhttpclient's clients by host, with the addresses of some hosts given."""

    def __init__(self, pins: Pinned, **client_args: Any) -> None:
        super().__init__(**client_args)
        self._pins = pins

    def get_client(self, url: Any) -> Any:
        """See ``HTTPClientPool``."""
        client = super().get_client(url)
        connections = client._connection_pool
        host, port = connections._connection_host, connections._connection_port
        pin = pin_of(self._pins, host.lower(), port)
        if pin:
            found = [
                (family, socket.SOCK_STREAM, socket.SOL_TCP, "", address)
                for family, address in pinned_addresses(pin, port)
            ]
            setattr(connections, "_resolve", lambda: found)  # noqa: B010 - geventhttpclient declares a method
        return client


def pin(session: FastHttpSession, pins: Pinned) -> None:
    """Have a session take these addresses without a look-up; before its first request."""
    if pins:
        agent = session.client
        agent.clientpool = PinnedPool(pins, **agent.clientpool.client_args)
