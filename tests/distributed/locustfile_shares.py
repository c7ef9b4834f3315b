"""Both systems of a target that is not embedded, whose users write down who they are."""

from typing import Any

from scenarios import dialogue
from tests.e2e import locustfile_target
from wsoak.load import WebSocketUser
from wsoak.load.accounts_file import Account

__all__ = ["DialogueUser", "EchoUser"]


class Known(WebSocketUser):
    """Says, as checks, which run it is in, what it drew, and which account it has."""

    abstract = True

    def on_start(self) -> None:
        """Before the first task."""
        self.check(f"run {self.run_id}", True)
        self.check(f"draw {self.random.random()}", True)

    def account(self, made: Any) -> Account:
        account = super().account(made)
        self.check(f"account {account['phone']}", True)
        return account


class EchoUser(Known, locustfile_target.EchoUser):
    """Echo, twice as often: as Locust deals in turn, two equal classes would each have one worker alone."""

    weight = 2


class DialogueUser(Known, dialogue.DialogueUser):
    """Dialogue."""
