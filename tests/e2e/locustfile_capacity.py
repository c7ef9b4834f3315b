"""A locustfile whose users do hardly more than open sockets: what a slow handshake can carry."""

from __future__ import annotations

from locust import task

from scenarios.tasks import feed_path, pong_id, test_account
from tests.distributed import liveness
from wsoak.load import WebSocketUser

__all__ = ["ComingUser", "liveness"]


class ComingUser(WebSocketUser):
    """Opens a feed, says one thing, closes it, and begins anew."""

    path = ""

    def on_start(self) -> None:
        """Log in, once."""
        account = dict(self.account(test_account))
        answer = self.api("POST", "/api/v1/auth/login", json=account, needs=("token", "user_id"))
        if answer.ok:
            self.path = feed_path(str(answer.json["user_id"]), str(answer.json["token"]))

    @task
    def come_and_go(self) -> None:
        """One visit."""
        with self.connect(self.path, name="tasks", reply_id=pong_id, usable_when=pong_id, fresh=True) as ws:
            ws.request({"type": "ping", "id": "p"}, reply_to="p")
