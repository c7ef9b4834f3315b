"""The tasks contract, step by step, over real sockets; then its faults."""

import asyncio
import contextlib
import json
import re
import socket as plain_socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from target.faults import Active, Faults
from target.metrics import Metrics
from target.options import Options
from target.sockets import Channel
from target.store import Store
from target.system import Services
from target.tasks import PATHS, Tasks
from tests.target.client import PASSWORD, PATIENCE_S, Target, closing, connect, eventually
from tests.target.conftest import SECRET

SYSTEM = "tasks"
FAR = 2**33
"""A time that the tests do not live to see: some tokens are made long before they are shown."""
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def token(sub: Any = "ann", secret: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    """A token as a harness mints it; a claim of None is left out."""
    claims = {"sub": sub, "iat": time.time(), "exp": FAR} | changes
    kept = {name: value for name, value in claims.items() if value is not None}
    made: str = jwt.encode(kept, secret, algorithm)
    return made


class Somebody:
    """A user with a token of the harness's own making."""

    def __init__(self, target: Target, user_id: str, **claims: Any) -> None:
        self.target = target
        self.user_id = user_id
        self.token = token(user_id, **claims)

    def http(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        return self.target.http(method, path, body, Authorization=f"Bearer {self.token}", **headers)

    def create(self, kind: str = "summary", **headers: str) -> str:
        status, body = self.http("POST", "/api/v1/tasks", {"kind": kind}, **headers)
        assert status == 202, body
        return str(body["task_id"])

    def url(self, form: str = "right") -> str:
        return f"{self.target.ws}{PATHS[form].replace('{user_id}', self.user_id)}?token={self.token}"

    def feed(self) -> ClientConnection:
        return connect(self.url())

    def tasks(self, query: str = "") -> list[dict[str, Any]]:
        status, body = self.http("GET", f"/api/v1/tasks{query}")
        assert status == 200, body
        return list(body["tasks"])


@pytest.fixture
def ann(target: Target, request: pytest.FixtureRequest) -> Iterator[Somebody]:
    made = Somebody(target, f"ann-{request.node.name}"[:40].replace("[", "-").rstrip("]").replace(" ", ""))
    yield made
    for each in made.tasks():
        made.http("DELETE", f"/api/v1/tasks/{each['task_id']}")


def pushed(feed: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(feed.recv(PATIENCE_S))
    return message


def until_end(feed: ClientConnection) -> list[dict[str, Any]]:
    """The pushes up to a task's last."""
    pushes = [pushed(feed)]
    while pushes[-1]["status"] not in ("done", "failed"):
        pushes.append(pushed(feed))
    return pushes


def answers_pings(feed: ClientConnection) -> bool:
    feed.send('{"type": "ping", "id": 7}')
    return pushed(feed) == {"type": "pong", "id": 7}


def error(text: str) -> list[str]:
    return [json.dumps({"type": "error", "message": text}, separators=(",", ":"))]


# Tokens.


@pytest.mark.parametrize("number", [0, 7, 999])
def test_a_log_in_gives_a_token_for_the_feed(target: Target, number: int) -> None:
    body = {"username": f"user-{number}", "password": PASSWORD}
    status, answer = target.http("POST", "/api/v1/auth/login", body)
    assert (status, sorted(answer)) == (200, ["token", "user_id"])
    claims = jwt.decode(answer["token"], SECRET, ["HS256"])
    assert sorted(claims) == ["exp", "iat", "sub"]
    assert claims["sub"] == answer["user_id"] == f"user-{number}"
    with connect(f"{target.ws}/api/v1/ws/tasks/user-{number}?token={answer['token']}") as feed:
        assert answers_pings(feed)


@pytest.mark.parametrize(
    ("username", "password", "status"),
    [
        ("user-0", "wrong", 401),
        ("user-1000", PASSWORD, 401),
        ("user-00", PASSWORD, 401),
        ("user-", PASSWORD, 401),
        ("user--1", PASSWORD, 401),
        ("user-" + "9" * 5000, PASSWORD, 401),
        ("user-٣", PASSWORD, 401),
        ("7", PASSWORD, 401),
        ("", "", 401),
        (7, PASSWORD, 400),
        ("user-0", None, 400),
        ("\ud800", PASSWORD, 400),
    ],
)
def test_a_wrong_log_in_is_refused_in_json(target: Target, username: Any, password: Any, status: int) -> None:
    body = {"username": username, "password": password}
    answered, answer = target.http("POST", "/api/v1/auth/login", body)
    assert (answered, list(answer)) == (status, ["detail"])


BAD_TOKENS = {
    "none": ("", "token missing"),
    "nonsense": ("nonsense", "token invalid"),
    "an expired one": (token(exp=1), "token expired"),
    "of another secret": (token(secret="another secret of 32 bytes or more"), "token invalid"),
    "an unsigned one": (token(secret="", algorithm="none"), "token invalid"),
    "one of another algorithm": (token(secret=SECRET * 2, algorithm="HS512"), "token invalid"),
    "a refresh token": (token(kind="refresh"), "token of the wrong kind"),
    "a kind that is no text": (token(kind={"access": 1}), "token of the wrong kind"),
    "without exp": (token(exp=None), "token invalid"),
    "without iat": (token(iat=None), "token invalid"),
    "without sub": (token(sub=None), "token invalid"),
    "a number for sub": (token(sub=7), "token invalid"),
    "a text for iat": (token(iat="yesterday"), "token invalid"),
}


@pytest.mark.parametrize(("bad", "reason"), BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_a_bad_token_is_accepted_first_and_then_refused_with_a_reason(
    target: Target, bad: str, reason: str
) -> None:
    says = f"Authentication failed: {reason}"
    with connect(f"{target.ws}/api/v1/ws/tasks/ann?token={bad}") as feed:
        assert closing(feed) == (error(says), 1008, says)
    assert target.http("GET", f"/api/v1/ws/status?token={bad}") == (401, {"detail": says})
    assert target.http("GET", "/api/v1/tasks", Authorization=f"Bearer {bad}") == (401, {"detail": says})


@pytest.mark.parametrize("claims", [{}, {"kind": "access"}, {"kind": "ws"}, {"iat": FAR - 1}], ids=str)
def test_a_good_token_opens_its_users_feed_whoever_signed_it(target: Target, claims: dict[str, Any]) -> None:
    with Somebody(target, "ann", **claims).feed() as feed:
        assert answers_pings(feed)


def test_a_feed_is_for_its_user_alone(target: Target) -> None:
    says = "Access denied: the feed of another user"
    with connect(f"{target.ws}/api/v1/ws/tasks/bob?token={token('ann')}") as feed:
        assert closing(feed) == (error(says), 1008, says)


def test_dialogues_refresh_token_opens_no_feed(target: Target) -> None:
    credentials = {"phone": "13900000002", "password": PASSWORD}
    tokens = target.http("POST", "/v1/auth/login", credentials)[1]
    with connect(f"{target.ws}/api/v1/ws/tasks/13900000002?token={tokens['refresh_token']}") as feed:
        assert closing(feed)[1] == 1008


# The feed.


@pytest.mark.parametrize(("kind", "end"), [("summary", "done"), ("broken-import", "failed")])
def test_a_task_goes_from_queued_to_its_end_and_each_step_is_pushed(
    ann: Somebody, kind: str, end: str
) -> None:
    with ann.feed() as feed:
        before = datetime.now(UTC)
        task_id = ann.create(kind)
        pushes = until_end(feed)
        after = datetime.now(UTC)
    assert re.fullmatch(UUID, task_id)
    for push in pushes:
        assert sorted(push) == ["progress", "sent_at", "seq", "status", "task_id", "type"]
        assert (push["type"], push["task_id"]) == ("task_status", task_id)
        assert before <= datetime.fromisoformat(push["sent_at"]) <= after
    assert list(dict.fromkeys(push["status"] for push in pushes)) == ["queued", "running", end]
    assert [push["seq"] for push in pushes] == list(range(1, len(pushes) + 1))
    progress = [push["progress"] for push in pushes]
    assert progress == sorted(progress) and (progress[-1] == 100) is (end == "done")
    (listed,) = ann.tasks()
    assert {**listed, "created_at": ""} == {
        "task_id": task_id,
        "kind": kind,
        "status": end,
        "progress": progress[-1],
        "run_id": None,
        "created_at": "",
    }


def test_every_socket_of_a_user_has_the_feed_and_nobody_elses_has(ann: Somebody) -> None:
    bob = Somebody(ann.target, "bob")
    with ann.feed() as one, ann.feed() as two, bob.feed() as other:
        assert answers_pings(one) and answers_pings(two) and answers_pings(other)
        ann.create()
        assert until_end(one) == until_end(two)
        assert answers_pings(other)


def test_the_status_counts_sockets_that_were_let_in(ann: Somebody) -> None:
    path = f"/api/v1/ws/status?token={ann.token}"

    def counts() -> tuple[int, int]:
        status, body = ann.target.http("GET", path)
        assert status == 200
        return body["connections"], body["user_connections"]

    # no other test's socket is open any more
    eventually(lambda: counts() == (0, 0))
    with ann.feed() as one, ann.feed() as two, connect(f"{ann.url().split('?')[0]}") as refused:
        assert answers_pings(one) and answers_pings(two) and closing(refused)[1] == 1008
        assert counts() == (2, 2)
    eventually(lambda: counts() == (0, 0))


BROKEN: dict[str, tuple[str | bytes, str, int]] = {
    "not JSON": ("{", "Message is not JSON", 1007),
    "endless nesting": ("[" * 60_000, "Message is not JSON", 1007),
    "a list": ("[]", "Message is not a JSON object", 1007),
    "an unknown type": ('{"type": "shout"}', "Unknown message type", 1008),
    "no id": ('{"type": "ping"}', 'Field "id" must be a short string or an integer', 1008),
    "an id of true": (
        '{"type": "ping", "id": true}',
        'Field "id" must be a short string or an integer',
        1008,
    ),
    "half a surrogate": (
        '{"type": "ping", "id": "\\ud800"}',
        'Field "id" must be a short string or an integer',
        1008,
    ),
    "too large a message": ('"' + "x" * (1 << 20) + '"', "Message too large", 1009),
    "a binary message": (b"{}", "Binary messages are not understood", 1003),
}


@pytest.mark.parametrize(("broken", "says", "code"), BROKEN.values(), ids=BROKEN)
def test_a_broken_message_gets_an_error_and_then_a_close(
    target: Target, broken: str | bytes, says: str, code: int
) -> None:
    with Somebody(target, "ann").feed() as feed:
        feed.send(broken)
        messages, closed, _ = closing(feed)
    assert (messages, closed) == (error(says), code)


@pytest.mark.parametrize("key", ["a", "你好", 0, -(2**63), 2**63 - 1, "x" * 128])
def test_a_ping_is_answered_with_its_id(target: Target, key: str | int) -> None:
    with Somebody(target, "ann").feed() as feed:
        feed.send(json.dumps({"type": "ping", "id": key}))
        assert pushed(feed) == {"type": "pong", "id": key}


# Creating, listing, deleting.


@pytest.mark.parametrize("body", [{"kind": "unknown"}, {"kind": 1}, {}, [], b"{"], ids=str)
def test_a_task_needs_a_kind_that_exists(ann: Somebody, body: Any) -> None:
    assert ann.http("POST", "/api/v1/tasks", body)[0] == 400
    assert ann.tasks() == []


def test_a_task_is_deleted_by_its_user_alone(ann: Somebody) -> None:
    task_id = ann.create("export")
    path = f"/api/v1/tasks/{task_id}"
    assert Somebody(ann.target, "bob").http("DELETE", path)[0] == 403
    assert ann.http("DELETE", path) == (204, None)
    assert ann.http("DELETE", path)[0] == 404
    assert ann.tasks() == []


def test_a_run_is_listed_and_cleaned_up_whoever_made_its_tasks(ann: Somebody) -> None:
    target, bob = ann.target, Somebody(ann.target, "bob")
    before = target.metric("wsoak_target_sessions_open", system=SYSTEM)
    kept = ann.create(X_Run_Id="another run")
    made = [each.create(X_Run_Id="a run") for each in (ann, bob, ann)]
    query = "?run_id=a%20run"
    assert [task["task_id"] for task in bob.tasks(query)] == made
    assert {task["run_id"] for task in bob.tasks(query)} == {"a run"}
    assert target.metric("wsoak_target_sessions_open", system=SYSTEM) == before + 4
    assert bob.http("DELETE", f"/api/v1/tasks{query}") == (200, {"deleted": 3})
    assert bob.http("DELETE", f"/api/v1/tasks{query}") == (200, {"deleted": 0})
    assert bob.tasks() == []
    assert [task["task_id"] for task in ann.tasks()] == [kept]
    assert target.metric("wsoak_target_sessions_open", system=SYSTEM) == before + 1
    for empty in ("", "?run_id="):
        assert ann.http("DELETE", f"/api/v1/tasks{empty}")[0] == 400


# Faults.


def refusal(url: str) -> tuple[int, bytes]:
    """Status and body of an answer other than 101."""
    with pytest.raises(InvalidStatus) as caught:
        connect(url)
    response = caught.value.response
    return response.status_code, bytes(response.body or b"")


def test_rejected_before_accept_there_is_a_status_and_no_reason(ann: Somebody) -> None:
    with ann.target.fault(SYSTEM, "reject-before-accept"):
        assert refusal(ann.url()) == (403, b"")
    with ann.feed() as feed:
        assert answers_pings(feed)


def request_head(user: Somebody) -> bytes:
    """A handshake, for a socket without a library that would hide how it ends."""
    return (
        f"GET {user.url().removeprefix(user.target.ws)} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def test_a_proxy_resets_the_connection_in_the_upgrade(ann: Somebody) -> None:
    address = ("127.0.0.1", ann.target.port)
    with ann.target.fault(SYSTEM, "proxy-reset"), plain_socket.create_connection(address) as asking:
        asking.sendall(request_head(ann))
        with pytest.raises(ConnectionResetError):
            asking.recv(1)
    with ann.feed() as feed:
        assert answers_pings(feed)


@pytest.mark.parametrize("also", ["no", "yes"])
@pytest.mark.parametrize(
    ("form", "answering"),
    [("api", {"api"}), ("ws", {"ws"}), ("bare", {"bare"}), ("all", {"api", "ws", "bare"})],
)
def test_doubled_prefixes_answer_instead_of_the_right_one_or_as_well(
    ann: Somebody, form: str, answering: set[str], also: str
) -> None:
    expected = answering | ({"right"} if also == "yes" else set())
    with ann.target.fault(SYSTEM, "doubled-prefix", form=form, also=also):
        for path in PATHS:
            if path in expected:
                with connect(ann.url(path)) as feed:
                    assert answers_pings(feed)
            else:
                assert refusal(ann.url(path)) == (404, b"Not Found")
    assert [refusal(ann.url(path))[0] for path in PATHS if path != "right"] == [404] * 3


def test_slow_look_ups_hold_handshakes_back_and_let_all_in_at_last(ann: Somebody) -> None:
    hits = ann.target.metric("wsoak_target_fault_hits_total", system=SYSTEM)
    with ann.target.fault(SYSTEM, "slow-auth", pool=2, delay_s=0.01), contextlib.ExitStack() as stack:
        for feed in [stack.enter_context(ann.feed()) for _ in range(5)]:
            assert answers_pings(feed)
    assert ann.target.metric("wsoak_target_fault_hits_total", system=SYSTEM) == hits + 5


def test_a_client_that_goes_away_gives_its_place_up(ann: Somebody) -> None:
    labels = {"system": SYSTEM, "result": "abandoned"}
    before = ann.target.metric("wsoak_target_handshakes_total", **labels)
    with ann.target.fault(SYSTEM, "slow-auth", pool=1, delay_s=3600):
        for _ in range(3):
            with plain_socket.create_connection(("127.0.0.1", ann.target.port)) as leaving:
                leaving.sendall(request_head(ann))
        eventually(lambda: ann.target.metric("wsoak_target_handshakes_total", **labels) == before + 3)


def issued_at(user: Somebody) -> float:
    """When a user's token was made, Unix s."""
    return float(jwt.decode(user.token, SECRET, ["HS256"])["iat"])


def tasks_of(faults: Faults, store: Store) -> Tasks:
    return Tasks(Services(Options(), SECRET, store, faults, Metrics(faults, [SYSTEM])))


def test_look_ups_are_served_in_order_and_those_who_left_are_passed_over() -> None:
    slow = Active({"pool": 2, "delay_s": 0.0})
    store = Store()
    served: list[int] = []

    async def go() -> None:
        tasks = tasks_of(Faults(), store)

        async def handshake(number: int) -> None:
            await tasks._look_up(slow, Channel())
            served.append(number)

        pool = tasks._connections_of(slow)
        await pool.acquire()
        await pool.acquire()
        waiting = [asyncio.create_task(handshake(number)) for number in range(6)]
        await asyncio.sleep(0)
        for gone in (0, 3):
            waiting[gone].cancel()
        await asyncio.sleep(0)
        assert served == []
        pool.release()
        pool.release()
        await asyncio.wait(waiting)

    asyncio.run(go())
    store.close()
    assert served == [1, 2, 4, 5]
    assert slow.hits == 6


def test_a_fault_that_is_switched_on_anew_has_a_pool_of_its_own() -> None:
    store = Store()
    tasks = tasks_of(Faults(), store)
    store.close()
    small, large = (Active({"pool": pool, "delay_s": 0.0}) for pool in (1, 7))
    assert tasks._connections_of(small) is tasks._connections_of(small)
    assert tasks._connections_of(small) is not tasks._connections_of(large)


def test_tokens_that_the_server_ends_close_their_sockets_and_open_nothing_any_more(ann: Somebody) -> None:
    says = "Authentication failed: token expired"
    old = Somebody(ann.target, ann.user_id, iat=time.time() - 1000)
    with old.feed() as ending, ann.feed() as staying:
        assert answers_pings(ending) and answers_pings(staying)
        with ann.target.fault(SYSTEM, "token-expiry", after_s=500):
            assert closing(ending) == ([], 1000, "")
            with old.feed() as again:
                assert closing(again) == (error(says), 1008, says)
            assert old.http("GET", "/api/v1/tasks") == (401, {"detail": says})
            assert answers_pings(staying)
            with ann.feed() as fresh:
                assert answers_pings(fresh)
    with old.feed() as restored:
        assert answers_pings(restored)


def test_a_token_ends_while_its_socket_is_open(ann: Somebody) -> None:
    with ann.feed() as feed:
        assert answers_pings(feed)
        # a moment from now, or no moment at all where the machine is slow: the socket is open already
        after_s = time.time() - issued_at(ann) + 0.5
        with ann.target.fault(SYSTEM, "token-expiry", after_s=after_s):
            assert closing(feed) == ([], 1000, "")
            assert time.time() >= issued_at(ann) + after_s
