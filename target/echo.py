"""Echo: ``WS /echo`` sends each message back as it came, text as text and binary as binary.

No log-in, no state: the yardstick for the harness's own speed.
"""

from target.sockets import Channel, Handshake, SocketRoute
from target.system import Routes, Services, System


class EchoChannel(Channel):
    """One echoing socket."""

    __slots__ = ()

    def text(self, text: str) -> None:
        self.socket.send_text(text)

    def binary(self, payload: bytes) -> None:
        self.socket.send_binary(payload)


def open_echo(_handshake: Handshake) -> Channel:
    """A channel for any handshake."""
    return EchoChannel()


def routes(_services: Services) -> Routes:
    """The routes of echo."""
    return Routes(sockets=[SocketRoute("echo", "/echo", open_echo)])


SYSTEM = System("echo", routes)
