"""Call: one user rings another by name, and both signal until one of them hangs up.

    health ─► log in both ─► look up ─► ring ─► connect both ─► signal ─► hang up ─► no call left

    caller ─── offer ──►          ── ice ──►  × 4    ── hangup ──►
           ◄── answer ── callee   ◄── ice ──  × 4                   callee

One Locust user holds both ends, so that one clock measures a signal's way from the one to the other: its
``delivery`` time. A call takes two accounts, from ``--accounts`` (columns ``username``, ``password``), else
alice, bob, alice1, bob1, … with the password in ``WSOAK_PASSWORD``. Each socket sends ``--message-rate``
signals a second; at rate 0 each signal waits until the one before has arrived.
"""

import os
import time
from collections.abc import Callable, Sequence
from itertools import chain, repeat
from typing import Any, ClassVar
from urllib.parse import quote

import gevent
from locust import between, task
from locust.exception import StopUser

from wsoak.load import WebSocketUser
from wsoak.load.accounts_file import Account
from wsoak.load.api import Answer
from wsoak.load.door import Door
from wsoak.load.forgeries import forge
from wsoak.load.one_way import OneWay
from wsoak.load.target_process import shared_secret
from wsoak.load.tokens import FreshToken
from wsoak.wire.connection import Connection
from wsoak.wire.message import Message
from wsoak.wire.schedule import every

NAME = "call"
ROUNDS = 5
OFFER, ANSWER = {"type": "offer", "sdp": "v=0\r\n"}, {"type": "answer", "sdp": "v=0\r\n"}
ICE = {"type": "ice", "candidate": "candidate:1 1 udp 2122260223 192.0.2.1 54400 typ host"}
HANGUP = {"type": "hangup"}
SIGNALS = ("offer", "answer", "ice", "hangup")
RELEASE_S = 1.0
"""A server may take so long to let go of a call that was hung up."""
COUNT_EVERY_S = 2.0


def test_account(index: int) -> Account:
    """The n-th account that the target seeds."""
    pair, second = divmod(index, 2)
    name = ("alice", "bob")[second] + (str(pair) if pair else "")
    return {"username": name, "password": os.environ.get("WSOAK_PASSWORD", "Test@123456")}


def is_signal(message: Message) -> bool:
    """Whether a message is one that the server relays."""
    return message.get("type") in SIGNALS


def number_from(sender: str) -> Callable[[Message], Any]:
    """Gives the number of a signal that is relayed from this user; ``None`` for anything else."""
    return lambda message: message.get("n") if is_signal(message) and message.get("from") == sender else None


def bearer(token: str) -> list[tuple[str, str]]:
    """The header that shows a token."""
    return [("Authorization", f"Bearer {token}")]


def objects(answer: Answer, member: str) -> list[dict[str, Any]]:
    """The objects in a list of the answer; none where it is no such answer."""
    values = answer.json[member] if answer.ok else None
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


class CallUser(WebSocketUser):
    """Two people who ring one another again and again, on ``--sockets-per-user`` lines at a time."""

    wait_time = between(0.5, 1.5)
    health_path = "/health"
    account_columns = tuple(test_account(0))
    lines: Sequence["Line"] = ()

    @task
    def call(self) -> None:
        """Hold a call on each line."""
        self.lines = self.lines or [Line(self, slot) for slot in range(self.options.sockets_per_user)]
        self.gather([line.hold for line in self.lines])

    def on_stop(self) -> None:
        """End what the run's end interrupted, and what no hang-up ended: no call is left behind."""
        for line in self.lines:
            line.clear()

    def rehearse(self) -> None:
        """One call, with one round of signals."""
        self.lines = [Line(self, 0)]
        self.lines[0].hold(rounds=1)

    def doors(self) -> Sequence[Door]:
        """Into a call of ours: without a token, with a bad one or a stranger's, as somebody else."""
        self.lines = ours, strangers = Line(self, 0), Line(self, 1)
        for line in self.lines:
            line.log_in()
        if not ours.ring():
            return ()
        token, path, callee = ours.caller.token, ours.path, ours.callee.uuid
        query, header = f"{path}?user_id={quote(callee, safe='')}", ("X-User-ID", callee)

        def door(finding: str, shown: str) -> Door:
            return Door(finding, NAME, path, bearer(shown))

        return [
            Door("unauthenticated-accepted", NAME, path),
            Door("unauthenticated-accepted", NAME, query),
            Door("unauthenticated-accepted", NAME, path, [header]),
            *forge(token, shared_secret(self.generator.embedded), door),
            door("foreign-session-accepted", strangers.caller.token),
            Door("identity-mismatch-accepted", NAME, query, bearer(token)),
            Door("identity-mismatch-accepted", NAME, path, [*bearer(token), header]),
        ]

    def clear(self, run_id: str) -> int:
        """End all calls of a run, whoever rang."""
        line = Line(self, 0)
        line.log_in()
        answer = line.api("DELETE", f"/api/calls?run_id={quote(run_id, safe='')}", needs=("deleted",))
        return int(answer.json["deleted"]) if answer.ok else 0


class Party:
    """Somebody with an account, who logs in again before the token ends."""

    def __init__(self, user: CallUser) -> None:
        self.user = user
        account = user.account(test_account)
        self.name, self.password = account["username"], account["password"]

    def log_in(self) -> Answer:
        """Ask for a token, and who we are."""
        credentials = {"username": self.name, "password": self.password}
        answer = self.user.api("POST", "/api/auth/login", json=credentials, needs=("token", "user"))
        if answer.ok:
            user = answer.json["user"]
            self.uuid = str(user.get("uuid")) if isinstance(user, dict) else ""
            self.fresh = FreshToken(
                answer.json["token"], lambda: self.fresh.value if self.log_in().ok else None
            )
        return answer

    @property
    def token(self) -> str:
        """One that is still good for a while."""
        return self.fresh.value


class Line:
    """Two parties and one call after the other; two other parties where a call that ended blocks these."""

    caller: Party
    callee: Party
    count_due_s: ClassVar[float] = 0.0

    def __init__(self, user: CallUser, slot: int) -> None:
        self.user, self.slot = user, slot
        self.callers: dict[str, Party] = {}
        self.uuid = ""
        self.blocked = False
        self.refusals = 0

    def hold(self, rounds: int = ROUNDS) -> None:
        """One call, from the look-up to the hang-up."""
        if not self.callers:
            # not in on_start: what goes wrong there kills the user with a traceback
            self.log_in()
        self.count()
        if not (self.find() and self.ring()):
            return
        caller, callee = self.user.connect_many(2, self.connect)
        with caller, callee:
            connected = self.user.check("both connected", caller.is_open and callee.is_open)
            hung_up = connected and self.talk(caller, callee, rounds)
        if hung_up:
            self.see_released()
        else:
            self.clear()

    def log_in(self) -> None:
        """Log two parties in; where that fails, those of before go on, if there are any."""
        self.user.check("health", self.user.api("GET", self.user.health_path).ok)
        caller, callee = Party(self.user), Party(self.user)
        if caller.name == callee.name:
            self.user.generator.give_up("A call takes two accounts, and --accounts leaves a worker only one.")
            raise StopUser
        answers = [caller.log_in(), callee.log_in()]
        if self.user.check("log-in of both", all(answer.ok for answer in answers)):
            self.caller, self.callee, self.blocked = caller, callee, False
            self.callers[caller.name] = caller
            self.user.logged_in()
        elif not self.callers:
            self.user.log_in_failed(min(answers, key=lambda answer: answer.ok))

    def find(self) -> bool:
        """Look the callee up by name."""
        path = f"/api/users?username={quote(self.callee.name, safe='')}"
        found = objects(self.api("GET", path, needs=("users",)), "users")
        return self.user.check("look-up by name", [user.get("uuid") for user in found] == [self.callee.uuid])

    def ring(self) -> bool:
        """Ring the callee."""
        answer = self.api("POST", "/api/calls", json={"callee": self.callee.name}, needs=("call_uuid",))
        rung = self.user.check("ring", answer.ok)
        if rung:
            self.uuid, self.refusals = str(answer.json["call_uuid"]), 0
        elif answer.status == 409 and self.is_blocked():
            self.log_in()
        return rung

    @property
    def path(self) -> str:
        """The call's socket."""
        return f"/ws/call/{quote(self.uuid, safe='')}"

    def connect(self, index: int) -> Connection:
        """One party's socket: the caller shows the token in a header, the callee, in a browser, cannot."""
        path, headers = self.path, bearer(self.caller.token)
        if index:
            path, headers = f"{path}?token={quote(self.callee.token, safe='')}", []
        slot = 2 * self.slot + index
        return self.user.connect(
            path, name=NAME, headers=headers, usable_when=is_signal, slot=slot, fresh=True
        )

    def talk(self, caller: Connection, callee: Connection, rounds: int) -> bool:
        """Signal both ways, and hang up; whether that arrived."""
        there = OneWay(self.user, caller, callee, number_from(self.caller.uuid))
        back = OneWay(self.user, callee, caller, number_from(self.callee.uuid))
        rate = self.user.options.message_rate
        moments = caller.paced(every(1 / rate), rounds) if rate else repeat(None, rounds)
        signals = chain([(OFFER, ANSWER)], repeat((ICE, ICE)))
        for (ours, theirs), moment in zip(signals, moments, strict=False):
            # an answer follows its offer, and at rate 0 each signal the one before
            in_turn = not rate or ours is OFFER
            there.send(ours, moment)
            if in_turn and not there.settled():
                break
            back.send(theirs, None if in_turn else moment)
            if not back.is_open or not (rate or back.settled()):
                break
        self.user.check("signalling both ways", there.settled() and back.settled() and there.is_open)
        for way in (there, back):
            way.verify()
        hung_up = there.is_open and there.send(HANGUP) and there.settled()
        self.user.check("hang-up", hung_up)
        there.verify()
        return hung_up

    def see_released(self) -> None:
        """The server has let go of the call, or does so in a moment."""
        for pause_s in (0.0, RELEASE_S):
            gevent.sleep(pause_s)
            answer = self.api("GET", "/api/calls", needs=("calls",))
            self.blocked = self.uuid in [call.get("call_uuid") for call in objects(answer, "calls")]
            if not self.blocked:
                break
        self.user.check("no call left", answer.ok and not self.blocked)
        if answer.ok:
            self.observe_blocked("a call was still listed after its hang-up")

    def is_blocked(self) -> bool:
        """Whether a ring was refused for no other reason than a call that had ended."""
        if not self.blocked:
            both = (self.caller, self.callee)
            answers = [self.api("GET", "/api/calls", who=party, needs=("calls",)) for party in both]
            explained = any(not answer.ok or objects(answer, "calls") for answer in answers)
            self.observe_busy([call for answer in answers for call in objects(answer, "calls")])
            # once may be chance: somebody else's call, that ended between the ring and the look
            self.refusals = 0 if explained else self.refusals + 1
            self.blocked = self.refusals > 1
            if self.blocked:
                self.observe_blocked("rings were answered 409 again and again, and no call was listed")
        return self.blocked

    def observe_busy(self, calls: Sequence[dict[str, Any]]) -> None:
        """Say that a ring was refused for the call of another run, such as one that was killed."""
        runs = {str(call["run_id"])[:80] for call in calls if call.get("run_id")} - {self.user.run_id}
        if runs:
            self.user.observe("users-busy", NAME, 1, 1, f"a party is in a call of run {min(runs)}")

    def observe_blocked(self, text: str) -> None:
        """Say whether a call was still there after its end."""
        text = text if self.blocked else ""
        self.user.observe("sessions-not-released", NAME, int(self.blocked), 1, text)

    def count(self) -> None:
        """Read now and then, once a process, how many calls the server holds open for this run."""
        if time.monotonic() >= Line.count_due_s:
            Line.count_due_s = time.monotonic() + COUNT_EVERY_S
            path = f"/api/calls?run_id={quote(self.user.run_id, safe='')}"
            answer = self.api("GET", path, needs=("calls",))
            if answer.ok:
                self.user.metric("open_calls", len(objects(answer, "calls")), kind="gauge")

    def clear(self) -> None:
        """Delete what the server still has of this run's calls."""
        for caller in self.callers.values():
            for call in objects(self.api("GET", "/api/calls", who=caller, needs=("calls",)), "calls"):
                if call.get("run_id") == self.user.run_id:
                    path = f"/api/calls/{quote(str(call.get('call_uuid')), safe='')}"
                    self.api("DELETE", path, name="/api/calls/{call_uuid}", who=caller)

    def api(self, method: str, path: str, *, who: Party | None = None, **more: Any) -> Answer:
        """The server's HTTP API, as the caller unless somebody else asks."""
        return self.user.api(method, path, token=(who or self.caller).token, **more)
