"""The scenarios as Locust finds them: ``locust EchoUser``, ``locust DialogueUser``, or both together."""

from scenarios.dialogue import DialogueUser
from scenarios.echo import EchoUser

__all__ = ["DialogueUser", "EchoUser"]
