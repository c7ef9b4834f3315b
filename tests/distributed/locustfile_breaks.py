"""A locustfile in whose workers our own reporter breaks, once their users are there."""

from __future__ import annotations

from typing import Any

from scenarios.echo import EchoUser
from wsoak.load.producer import Producer

__all__ = ["EchoUser"]


def _breaks(producer: Any) -> None:
    if producer.generator.client.open_connections:
        raise RuntimeError("a mistake of ours")


# the master has no producer
setattr(Producer, "_resend", _breaks)  # noqa: B010
