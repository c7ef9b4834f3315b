"""The call contract, step by step, over real sockets; then its faults."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
import pytest
from websockets.datastructures import Headers as NoHeaders
from websockets.exceptions import ConnectionClosedOK, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection

from target.call import ABANDONED_AFTER_S, HANGUP_GRACE_S, HELD_BYTES, HELD_SIGNALS, NAME, Calls
from target.call_store import Call
from target.faults import Faults, parse_fault
from target.metrics import Metrics
from target.options import Options
from target.sockets import Handshake
from target.store import Store
from target.system import Services
from tests.target.client import PASSWORD, PATIENCE_S, Target, closing, connect, eventually, running
from tests.target.conftest import SECRET

Headers = list[tuple[str, str]]


class Person:
    """Somebody who has logged in."""

    def __init__(self, target: Target, username: str) -> None:
        self.target = target
        self.username = username
        credentials = {"username": username, "password": PASSWORD}
        status, answer = target.http("POST", "/api/auth/login", credentials)
        assert status == 200, answer
        self.token: str = answer["token"]
        self.uuid: str = answer["user"]["uuid"]
        assert answer["user"] == {"uuid": self.uuid, "username": username}

    def http(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON body of a request with the token."""
        return self.target.http(method, path, body, Authorization=f"Bearer {self.token}", **headers)

    def ring(self, callee: Person | str, **headers: str) -> str:
        """A new call's UUID."""
        name = callee if isinstance(callee, str) else callee.username
        status, answer = self.http("POST", "/api/calls", {"callee": name}, **headers)
        assert status == 201, answer
        assert isinstance(answer["call_id"], int)
        uuid: str = answer["call_uuid"]
        return uuid

    def calls(self) -> list[str]:
        """The UUIDs of the own open calls."""
        status, answer = self.http("GET", "/api/calls")
        assert status == 200, answer
        return [call["call_uuid"] for call in answer["calls"]]

    def busy(self) -> bool:
        """Whether the target says so."""
        (user,) = self.http("GET", f"/api/users?username={quote(self.username)}")[1]["users"]
        assert (user["uuid"], user["username"]) == (self.uuid, self.username)
        busy: bool = user["busy"]
        return busy

    def socket(self, uuid: str) -> ClientConnection:
        """An open socket of a call."""
        return opened(self.target, uuid, headers=[("Authorization", f"Bearer {self.token}")])


def opened(target: Target, uuid: str, query: str = "", headers: Headers | None = None) -> ClientConnection:
    """A socket that has its 101."""
    return connect(f"{target.ws}/ws/call/{uuid}{query}", additional_headers=headers or [])


def refused(target: Target, uuid: str, query: str = "", headers: Headers | None = None) -> int:
    """The status with which a handshake is refused; 101 where it is not, 0 where there is no answer."""
    try:
        with opened(target, uuid, query, headers):
            return 101
    except InvalidStatus as error:
        return error.response.status_code
    except (InvalidHandshake, EOFError):
        return 0


def said(socket: ClientConnection) -> dict[str, Any]:
    """The next message."""
    message: dict[str, Any] = json.loads(socket.recv(PATIENCE_S))
    return message


def say(socket: ClientConnection, kind: str, **fields: Any) -> None:
    socket.send(json.dumps({"type": kind, **fields}))


def error(text: str) -> list[str]:
    return [json.dumps({"type": "error", "message": text}, separators=(",", ":"))]


@pytest.fixture
def people(target: Target) -> Iterator[tuple[Person, Person]]:
    """Alice and bob, who have no call afterwards."""
    alice, bob = Person(target, "alice"), Person(target, "bob")
    yield alice, bob
    for person in (alice, bob):
        for uuid in person.calls():
            assert person.http("DELETE", f"/api/calls/{uuid}")[0] == 204


def open_calls(target: Target) -> float:
    return target.metric("wsoak_target_sessions_open", system=NAME)


# Log-in, look-up, ring.


@pytest.mark.parametrize("username", ["alice", "bob", "alice1", "bob1", "alice999", "bob999"])
def test_a_pair_is_seeded_for_each_account(target: Target, username: str) -> None:
    claims = jwt.decode(Person(target, username).token, SECRET, ["HS256"])
    assert claims["kind"] == "call"
    assert claims["exp"] > time.time()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"username": "alice", "password": "wrong"}, 401),
        ({"username": "alice1000", "password": PASSWORD}, 401),
        ({"username": "alice0", "password": PASSWORD}, 401),
        ({"username": "", "password": PASSWORD}, 401),
        ({"username": "alice"}, 400),
        ({"username": "alice", "password": "\ud800"}, 400),
        ([], 400),
    ],
)
def test_a_wrong_log_in_is_refused(target: Target, body: Any, status: int) -> None:
    answered, answer = target.http("POST", "/api/auth/login", body)
    assert (answered, list(answer)) == (status, ["detail"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/users?username=alice"),
        ("POST", "/api/calls"),
        ("GET", "/api/calls"),
        ("DELETE", "/api/calls?run_id=x"),
        ("DELETE", "/api/calls/x"),
    ],
)
def test_everything_but_the_log_in_takes_a_token_of_the_call_system(
    target: Target, method: str, path: str
) -> None:
    nobody = {"sub": "nobody", "kind": "call", "exp": 2**33}
    tokens = [jwt.encode(claims, SECRET, "HS256") for claims in (nobody, nobody | {"kind": "access"})]
    for token in (None, "nonsense", *tokens):
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        status, answer = target.http(method, path, {}, **headers)
        assert status == 401
        assert answer["detail"].startswith("Authentication failed: ")


@pytest.mark.parametrize(("query", "status"), [("", 400), ("?username=", 400), ("?username=carol", 200)])
def test_a_look_up_is_by_a_name(people: tuple[Person, Person], query: str, status: int) -> None:
    answered, answer = people[0].http("GET", f"/api/users{query}")
    assert answered == status
    assert status == 400 or answer == {"users": []}


@pytest.mark.parametrize(
    ("body", "status"),
    [({"callee": "carol"}, 404), ({"callee": "alice"}, 400), ({"callee": 7}, 400), ({}, 400)],
)
def test_a_ring_needs_somebody_else(people: tuple[Person, Person], body: Any, status: int) -> None:
    assert people[0].http("POST", "/api/calls", body)[0] == status
    assert not people[0].busy()


def test_nobody_has_two_calls(target: Target, people: tuple[Person, Person]) -> None:
    alice, bob = people
    other = Person(target, "alice1")
    uuid = alice.ring(bob)
    assert (alice.busy(), bob.busy(), other.busy()) == (True, True, False)
    for caller, callee, busy in (
        (alice, "bob", "alice"),
        (bob, "alice", "bob"),
        (alice, "bob1", "alice"),
        (other, "bob", "bob"),
    ):
        refusal = caller.http("POST", "/api/calls", {"callee": callee})
        assert refusal == (409, {"detail": f"{busy} is in a call"})
    assert alice.calls() == bob.calls() == [uuid]
    assert other.calls() == []


# Who may connect.


def forged(person: Person, secret: str | None = SECRET, **changes: Any) -> str:
    claims = {"sub": person.uuid, "kind": "call", "exp": 2**33} | changes
    return jwt.encode(claims, secret or "", "HS256" if secret else "none")


def bearer(token: str) -> Headers:
    return [("Authorization", f"Bearer {token}")]


def test_only_a_party_with_its_own_token_gets_in(target: Target, people: tuple[Person, Person]) -> None:
    alice, bob = people
    stranger = Person(target, "alice1")
    uuid = alice.ring(bob)
    good = bearer(alice.token)
    cases: dict[str, tuple[int, str, Headers]] = {
        "nothing": (401, "", []),
        "an empty token": (401, "?token=", []),
        "the header": (101, "", good),
        "the query": (101, f"?token={bob.token}", []),
        "the header goes first": (101, "?token=nonsense", good),
        "a bad header is not mended by the query": (401, f"?token={alice.token}", bearer("nonsense")),
        "two headers": (401, "", good * 2),
        "another scheme": (401, f"?token={alice.token}", [("Authorization", "Basic eA==")]),
        "no token in the header": (401, f"?token={alice.token}", [("Authorization", "Bearer ")]),
        "expired": (401, "", bearer(forged(alice, exp=1))),
        "unsigned": (401, "", bearer(forged(alice, None))),
        "another's signature": (401, "", bearer(forged(alice, "another secret of 32 bytes or more"))),
        "another kind": (401, "", bearer(forged(alice, kind="access"))),
        "of nobody": (401, "", bearer(forged(alice, sub="nobody"))),
        "a stranger": (403, "", bearer(stranger.token)),
        "an id alone": (401, f"?user_id={alice.uuid}", []),
        "an id in a header alone": (401, "", [("X-User-ID", alice.uuid)]),
        "the id": (101, f"?user_id={alice.uuid}", [*good, ("X-User-ID", alice.uuid)]),
        "the other's id": (403, f"?user_id={bob.uuid}", good),
        "the other's id in a header": (403, "", [*good, ("X-User-ID", bob.uuid)]),
        "an empty id": (403, "?user_id=", good),
        "an id, then another": (403, f"?user_id={alice.uuid}&user_id={bob.uuid}", good),
        "an id here, another there": (403, f"?user_id={alice.uuid}", [*good, ("X-User-ID", bob.uuid)]),
        "an id, then another in headers": (
            403,
            "",
            [*good, ("X-User-ID", alice.uuid), ("X-User-ID", bob.uuid)],
        ),
    }
    got = {what: refused(target, uuid, query, headers) for what, (_, query, headers) in cases.items()}
    assert got == {what: status for what, (status, _, _) in cases.items()}
    assert refused(target, "no-such-call", headers=good) == 404
    # who may not know is not told
    assert refused(target, "no-such-call") == 401


# Signals.


def test_signals_reach_the_other_party_as_they_were_with_their_sender(people: tuple[Person, Person]) -> None:
    alice, bob = people
    uuid = alice.ring(bob)
    with alice.socket(uuid) as caller, bob.socket(uuid) as callee:
        sent = {"sdp": "v=0\r\n红楼梦", "n": 2**70, "deep": [{"x": None}], "from": "somebody else"}
        say(caller, "offer", **sent)
        assert said(callee) == {"type": "offer", **sent, "from": alice.uuid}
        say(callee, "answer")
        assert said(caller) == {"type": "answer", "from": bob.uuid}
        for n in range(50):
            say(caller, "ice", n=n)
            say(callee, "ice", n=-n)
        assert [said(callee)["n"] for _ in range(50)] == list(range(50))
        assert [said(caller)["n"] for _ in range(50)] == [-n for n in range(50)]


def test_signals_wait_for_a_party_that_is_not_there_yet_or_not_any_more(
    people: tuple[Person, Person],
) -> None:
    alice, bob = people
    uuid = alice.ring(bob)
    with alice.socket(uuid) as caller:
        say(caller, "offer")
        say(caller, "ice", n=1)
        with bob.socket(uuid) as callee:
            assert [said(callee)["type"], said(callee)["n"]] == ["offer", 1]
        eventually(lambda: bob.target.metric("wsoak_target_open_sockets", system=NAME) == 1)
        say(caller, "ice", n=2)
        with bob.socket(uuid) as callee:
            assert said(callee)["n"] == 2
            say(callee, "answer")
        assert said(caller)["type"] == "answer"


@pytest.mark.parametrize(
    ("size", "fit"), [(0, HELD_SIGNALS), (60_000, HELD_BYTES // 60_100)], ids=["number", "bytes"]
)
def test_no_more_signals_wait_than_there_is_room_for(
    people: tuple[Person, Person], size: int, fit: int
) -> None:
    alice, bob = people
    uuid = alice.ring(bob)
    with alice.socket(uuid) as caller:
        for n in range(fit + 1):
            say(caller, "ice", n=n, pad="x" * size)
        assert closing(caller)[:2] == (error("Too many messages wait for the other party"), 1013)
    with bob.socket(uuid) as callee:
        assert [said(callee)["n"] for _ in range(fit)] == list(range(fit))


def test_a_party_that_connects_again_takes_its_own_place(people: tuple[Person, Person]) -> None:
    alice, bob = people
    uuid = alice.ring(bob)
    with alice.socket(uuid) as caller, bob.socket(uuid) as older, bob.socket(uuid) as newer:
        assert closing(older) == ([], 4000, "connected again")
        say(caller, "offer")
        assert said(newer)["type"] == "offer"
        say(newer, "answer")
        assert said(caller)["from"] == bob.uuid


BROKEN: dict[str, tuple[str | bytes, str, int]] = {
    "not JSON": ("{", "Message is not JSON", 1007),
    "a number that is none": ('{"type": "ice", "n": NaN}', "Message is not JSON", 1007),
    "endless nesting": ("[" * 60_000, "Message is not JSON", 1007),
    "a list": ("[]", "Message is not a JSON object", 1007),
    "half a surrogate pair": ('{"type": "ice", "x": "\\ud800"}', "Message is not text", 1007),
    "no type": ("{}", "Unknown message type", 1008),
    "an unknown type": ('{"type": "shout"}', "Unknown message type", 1008),
    "a type of another type": ('{"type": ["ice"]}', "Unknown message type", 1008),
    "too large a signal": (json.dumps({"type": "ice", "x": "x" * 65_520}), "Message too large", 1009),
    "too large in bytes": ('{"type": "ice", "x": "' + "书" * 30_000 + '"}', "Message too large", 1009),
    "too large a message": ('{"type": "ice", "x": "' + "x" * (1 << 20) + '"}', "Message too large", 1009),
    "a binary message": (b"{}", "Binary messages are not understood", 1003),
}


@pytest.mark.parametrize(("broken", "says", "code"), BROKEN.values(), ids=BROKEN)
def test_a_broken_message_gets_an_error_and_a_close_and_the_call_goes_on(
    people: tuple[Person, Person], broken: str | bytes, says: str, code: int
) -> None:
    alice, bob = people
    uuid = alice.ring(bob)
    with alice.socket(uuid) as caller:
        caller.send(broken)
        assert closing(caller)[:2] == (error(says), code)
    with alice.socket(uuid) as caller, bob.socket(uuid) as callee:
        say(caller, "offer")
        assert said(callee) == {"type": "offer", "from": alice.uuid}


# The end of a call.


def test_a_hang_up_frees_both_parties_before_the_other_one_hears_of_it(
    target: Target, people: tuple[Person, Person]
) -> None:
    alice, bob = people
    before = open_calls(target)
    uuid = alice.ring(bob)
    assert open_calls(target) == before + 1
    with alice.socket(uuid) as caller, bob.socket(uuid) as callee:
        say(callee, "hangup", why="late")
        assert said(caller) == {"type": "hangup", "why": "late", "from": bob.uuid}
        assert (alice.busy(), bob.busy(), alice.calls()) == (False, False, [])
        assert open_calls(target) == before
        again = alice.ring(bob)
        # who was away for longer than the grace time finds the socket closed
        with suppress(ConnectionClosedOK):
            say(caller, "hangup")
            say(callee, "ice")
        assert closing(callee) == ([], 1000, "call ended")
        assert closing(caller) == ([], 1000, "call ended")
    assert alice.calls() == [again]
    assert refused(target, uuid, headers=bearer(alice.token)) == 404
    assert alice.http("DELETE", f"/api/calls/{uuid}")[0] == 404


def test_a_hang_up_needs_nobody_at_the_other_end(people: tuple[Person, Person]) -> None:
    alice, bob = people
    uuid = alice.ring(bob)
    with alice.socket(uuid) as caller:
        say(caller, "hangup")
        eventually(lambda: not bob.busy())
        assert alice.calls() == []


def test_a_deleted_call_tells_its_parties_and_closes_their_sockets(people: tuple[Person, Person]) -> None:
    alice, bob = people
    uuid = alice.ring(bob)
    with alice.socket(uuid) as caller, bob.socket(uuid) as callee:
        assert bob.http("DELETE", f"/api/calls/{uuid}") == (204, None)
        for socket in (caller, callee):
            assert closing(socket) == (['{"type":"hangup"}'], 1000, "call ended")
    assert (alice.busy(), bob.busy()) == (False, False)


def test_a_call_is_its_parties_business(target: Target, people: tuple[Person, Person]) -> None:
    alice, bob = people
    stranger = Person(target, "bob1")
    uuid = alice.ring(bob)
    assert stranger.http("DELETE", f"/api/calls/{uuid}") == (403, {"detail": "Call access denied"})
    assert stranger.http("DELETE", "/api/calls/no-such-call")[0] == 404
    assert alice.calls() == [uuid]


def test_a_run_is_listed_and_cleaned_up_whoever_rang(target: Target, people: tuple[Person, Person]) -> None:
    alice, bob = people
    pairs = [(Person(target, f"alice{k}"), Person(target, f"bob{k}")) for k in (1, 2, 3)]
    kept = alice.ring(bob, X_Run_Id="another run")
    before = open_calls(target)
    made = [caller.ring(callee, X_Run_Id="a run") for caller, callee in pairs]
    with pairs[0][0].socket(made[0]) as caller:
        status, listed = alice.http("GET", "/api/calls?run_id=a%20run")
        assert status == 200
        assert [call["call_uuid"] for call in listed["calls"]] == made
        assert [(call["caller"], call["callee"], call["run_id"]) for call in listed["calls"]] == [
            (f"alice{k}", f"bob{k}", "a run") for k in (1, 2, 3)
        ]
        assert alice.http("DELETE", "/api/calls?run_id=a%20run") == (200, {"deleted": 3})
        assert closing(caller)[1:] == (1000, "call ended")
    assert alice.http("GET", "/api/calls?run_id=a%20run") == (200, {"calls": []})
    assert alice.http("DELETE", "/api/calls?run_id=a%20run") == (200, {"deleted": 0})
    assert open_calls(target) == before
    assert alice.calls() == [kept]


@pytest.mark.parametrize("query", ["", "?run_id="])
def test_a_clean_up_names_its_run(people: tuple[Person, Person], query: str) -> None:
    assert people[0].http("DELETE", "/api/calls" + query)[0] == 400


def test_a_kept_database_has_the_users_and_none_of_the_calls_of_the_process_before(tmp_path: Path) -> None:
    arguments = ("--db", str(tmp_path / "kept.sqlite3"), "--accounts", "1")
    with running(*arguments) as target:
        alice = Person(target, "alice")
        alice.ring("bob")
        target.process.kill()
    with running(*arguments) as target:
        again = Person(target, "alice")
        assert again.uuid == alice.uuid
        assert (again.calls(), again.busy(), open_calls(target)) == ([], False, 0)
        assert again.ring("bob")


# Time, where waiting for it is not wanted.


class FakeSocket:
    """In the place of the protocol: remembers how it was closed."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.closed: tuple[int | None, str] | None = None

    def send_text(self, text: str) -> bool:
        """See ``SocketProtocol``."""
        self.sent.append(text)
        return self.closed is None

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        """See ``SocketProtocol``."""
        self.closed = self.closed or (code, reason)


class House:
    """A call system without a server, whose times are short."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self.metrics = Metrics(faults, [NAME])
        services = Services(Options(accounts=1), SECRET, store, faults, self.metrics)
        self.calls = Calls(services, hangup_grace_s=0.01, abandoned_after_s=0.05)

    def ring(self) -> Call:
        """A call from alice to bob, as the route makes it."""
        users = [self.calls.store.user_named(name) for name in ("alice", "bob")]
        caller, callee = users
        assert caller is not None
        assert callee is not None
        call = self.calls.store.ring(caller, callee, None)
        self.calls._watch(self.calls._line(call))
        return call

    def connect(self, call: Call, who: str) -> Any:
        """An open channel of a party."""
        token = self.calls.tokens.issue("call", who)
        handshake = Handshake("/", f"token={token}", NoHeaders(), {"call_uuid": call.call_uuid})
        channel: Any = self.calls.open_socket(handshake)
        channel.socket = FakeSocket()
        channel.opened()
        return channel

    def has(self, call: Call) -> bool:
        """Whether the call is still there."""
        return self.calls.store.call(call.call_uuid) is not None


@pytest.fixture
def house() -> Iterator[House]:
    store = Store()
    yield House(store, Faults())
    store.close()


async def until(holds: Any) -> None:
    """Wait until it does."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.005)


def test_a_call_that_nobody_comes_to_is_released(house: House) -> None:
    async def scenario() -> None:
        call = house.ring()
        assert house.has(call)
        await until(lambda: not house.has(call))

    asyncio.run(scenario())


def test_a_call_is_released_when_both_have_been_gone_for_a_while_and_not_before(house: House) -> None:
    async def scenario() -> None:
        call = house.ring()
        alice, bob = (house.connect(call, who) for who in (call.caller, call.callee))
        alice.closed()
        # three times as long as nobody may be gone: one party is there
        await asyncio.sleep(0.15)
        assert house.has(call)
        bob.closed()
        again = house.connect(call, call.caller)
        await asyncio.sleep(0.15)
        assert house.has(call)
        again.closed()
        await until(lambda: not house.has(call))

    asyncio.run(scenario())


def test_sockets_that_stay_after_a_hang_up_are_closed(house: House) -> None:
    async def scenario() -> None:
        call = house.ring()
        channels = [house.connect(call, who) for who in (call.caller, call.callee)]
        channels[0].text('{"type": "hangup"}')
        assert not house.has(call)
        assert [channel.socket.closed for channel in channels] == [None, None]
        await until(lambda: all(channel.socket.closed == (1000, "call ended") for channel in channels))

    asyncio.run(scenario())


def test_what_is_said_after_a_hang_up_goes_nowhere_and_harms_nothing(house: House) -> None:
    async def scenario() -> None:
        call = house.ring()
        caller, callee = (house.connect(call, who) for who in (call.caller, call.callee))
        callee.text('{"type": "hangup"}')
        again = house.ring()
        told = list(caller.socket.sent)
        caller.text('{"type": "hangup"}')
        callee.text('{"type": "ice"}')
        assert (caller.socket.sent, callee.socket.sent) == (told, [])
        assert house.has(again)
        assert [channel.socket.closed for channel in (caller, callee)] == [None, None]

    asyncio.run(scenario())


def test_waiting_times_leave_a_client_time() -> None:
    assert 0 < HANGUP_GRACE_S < ABANDONED_AFTER_S
    # the longest back-off between two attempts to connect
    assert ABANDONED_AFTER_S > 30


# Faults, from the start and while it runs.


def is_healthy(target: Target) -> bool:
    alice, bob = Person(target, "alice"), Person(target, "bob")
    uuid = alice.ring(bob)
    if refused(target, uuid) != 401:
        return False
    with alice.socket(uuid) as caller, bob.socket(uuid) as callee:
        say(caller, "offer")
        said(callee)
        say(caller, "hangup")
        said(callee)
    return not alice.busy()


def crashes(target: Target, status: int) -> bool:
    alice = Person(target, "alice")
    uuid = alice.ring("bob")
    got = refused(target, uuid, headers=bearer(alice.token)), refused(target, uuid)
    alice.http("DELETE", f"/api/calls/{uuid}")
    return got == (status, status)


def lets_anybody_in(target: Target) -> bool:
    alice, bob = Person(target, "alice"), Person(target, "bob")
    uuid = alice.ring(bob)
    statuses = [
        refused(target, uuid, query, headers)
        for query, headers in (
            ("", []),
            (f"?user_id={alice.uuid}", []),
            ("", [("X-User-ID", bob.uuid)]),
            ("", bearer("nonsense")),
            (f"?user_id={bob.uuid}", bearer(alice.token)),
            ("", bearer(Person(target, "alice1").token)),
        )
    ]
    with ExitStack() as stack:
        caller, callee = (stack.enter_context(person.socket(uuid)) for person in (alice, bob))
        stranger = stack.enter_context(opened(target, uuid))
        say(stranger, "offer", n=1)
        names = {said(socket)["from"] for socket in (caller, callee)}
        say(caller, "ice")
        says = said(callee)
    alice.http("DELETE", f"/api/calls/{uuid}")
    (name,) = names
    doors = [101, 101, 101, 401, 403, 403]
    return statuses == doors and name.startswith("test-user-") and says["from"] == alice.uuid


def keeps(target: Target, kept: int) -> bool:
    """Whether so many of four calls are still there when both have hung up."""
    alice, bob = Person(target, "alice"), Person(target, "bob")
    stale = 0
    for _ in range(4):
        uuid = alice.ring(bob)
        with alice.socket(uuid) as caller, bob.socket(uuid) as callee:
            say(caller, "hangup")
            assert said(callee)["type"] == "hangup"
        if alice.calls() == [uuid]:
            stale += 1
            assert alice.http("POST", "/api/calls", {"callee": "bob"})[0] == 409
            assert alice.http("DELETE", f"/api/calls/{uuid}")[0] == 204
    return stale == kept


FAULTS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "nil-user": ("nil-user", {}, lambda target: crashes(target, 500)),
    "nil-user without an answer": ("nil-user", {"answer": "none"}, lambda target: crashes(target, 0)),
    "anonymous-accepted": ("anonymous-accepted", {}, lets_anybody_in),
    "stale-sessions": ("stale-sessions", {}, lambda target: keeps(target, 4)),
    "stale-sessions of half": ("stale-sessions", {"share": 0.5}, lambda target: keeps(target, 2)),
}


@pytest.mark.parametrize(("fault", "params", "shows"), FAULTS.values(), ids=FAULTS)
def test_a_fault_switches_on_and_off_while_the_target_runs(
    target: Target, people: tuple[Person, Person], fault: str, params: dict[str, Any], shows: Any
) -> None:
    del people
    with target.fault("call", fault, **params):
        assert shows(target)
    assert is_healthy(target)


def test_a_target_can_start_with_all_its_faults() -> None:
    faults = ("call:nil-user:answer=none", "call:stale-sessions:share=0.5", "call:anonymous-accepted")
    with running(*(word for fault in faults for word in ("--fault", fault))) as target:
        assert crashes(target, 0)
        target.switch("call", "nil-user", on=False)
        assert keeps(target, 2)
        target.switch("call", "stale-sessions", on=False)
        assert lets_anybody_in(target)
        target.switch("call", "anonymous-accepted", on=False)
        assert is_healthy(target)


def test_a_call_that_was_abandoned_stays_too_under_stale_sessions(house: House) -> None:
    async def scenario() -> None:
        house.calls.faults.switch_on(parse_fault("call:stale-sessions"))
        call = house.ring()
        await until(lambda: house.calls.faults.hits() == {(NAME, "stale-sessions"): 1})
        assert house.has(call)

    asyncio.run(scenario())
