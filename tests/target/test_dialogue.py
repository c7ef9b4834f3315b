"""The dialogue contract, step by step, over real sockets; then its faults."""

import asyncio
import json
import re
import time
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
import websockets
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.target.client import (
    PASSWORD,
    PATIENCE_S,
    PATIENT,
    PHONE,
    Account,
    Target,
    closing,
    connect,
    eventually,
    running,
)
from tests.target.conftest import SECRET


def message(message_id: str | int, content: str = "你好", **more: Any) -> str:
    return json.dumps({"type": "message", "id": message_id, "content": content, **more})


def ask(socket: ClientConnection, message_id: str | int, content: str = "你好") -> dict[str, Any]:
    socket.send(message(message_id, content))
    answer: dict[str, Any] = json.loads(socket.recv())
    return answer


def error(text: str) -> list[str]:
    return [json.dumps({"type": "error", "message": text}, separators=(",", ":"))]


# Log-in, refresh, books, sessions.


def test_a_log_in_gives_three_tokens_that_name_their_kind(account: Account) -> None:
    tokens = {"access": account.access, "refresh": account.refresh, "ws": account.ws}
    for kind, token in tokens.items():
        claims = jwt.decode(token, SECRET, ["HS256"])
        assert (claims["kind"], claims["sub"]) == (kind, PHONE)
        assert claims["exp"] > time.time()


@pytest.mark.parametrize("k", [0, 1, 999])
def test_a_thousand_accounts_are_seeded(target: Target, k: int) -> None:
    assert Account(target, str(int(PHONE) + k)).access


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"phone": PHONE, "password": "wrong"}, 401),
        ({"phone": str(int(PHONE) + 1000), "password": PASSWORD}, 401),
        ({"phone": str(int(PHONE) - 1), "password": PASSWORD}, 401),
        ({"phone": PHONE}, 400),
        ({"phone": int(PHONE), "password": PASSWORD}, 400),
        ({"phone": PHONE, "password": "\ud800"}, 400),
        ([], 400),
        (b"{", 400),
        (b"[" * 100_000, 413),
        (b"[" * 60_000, 400),
        (b"", 400),
    ],
)
def test_a_wrong_log_in_is_refused_in_json(target: Target, body: Any, status: int) -> None:
    answered, answer = target.http("POST", "/v1/auth/login", body)
    assert (answered, list(answer)) == (status, ["detail"])


def test_a_refresh_gives_new_access_and_socket_tokens(target: Target, account: Account) -> None:
    status, tokens = target.http("POST", "/v1/auth/refresh", {"refresh_token": account.refresh})
    assert (status, sorted(tokens)) == (200, ["access_token", "ws_token"])
    session = account.start()
    account.access, account.ws = tokens["access_token"], tokens["ws_token"]
    with account.dialogue(session) as socket:
        assert ask(socket, "1")["reply_to"] == "1"
    assert len(account.history(session)) == 1


@pytest.mark.parametrize("kind", ["access", "ws", "nonsense"])
def test_only_a_refresh_token_refreshes(target: Target, account: Account, kind: str) -> None:
    token = getattr(account, kind, kind)
    assert target.http("POST", "/v1/auth/refresh", {"refresh_token": token})[0] == 401


PROTECTED = [
    ("GET", "/v1/books"),
    ("POST", "/v1/dialogues/book/start"),
    ("GET", "/v1/dialogues"),
    ("DELETE", "/v1/dialogues?run_id=x"),
    ("GET", "/v1/dialogues/x/history"),
    ("DELETE", "/v1/dialogues/x"),
]


@pytest.mark.parametrize(("method", "path"), PROTECTED)
@pytest.mark.parametrize("header", [None, "Bearer", "Bearer nonsense", "Basic eA==", "ws", "refresh"])
def test_everything_else_takes_an_access_token(
    target: Target, account: Account, method: str, path: str, header: str | None
) -> None:
    value = f"Bearer {getattr(account, header)}" if header in ("ws", "refresh") else header
    headers = {} if value is None else {"Authorization": value}
    status, answer = target.http(method, path, {}, **headers)
    assert status == 401
    assert answer["detail"].startswith("Authentication failed: ")


def test_books_have_titles_in_chinese_as_well_as_latin(account: Account) -> None:
    status, books = account.http("GET", "/v1/books")
    assert status == 200
    assert all(sorted(book) == ["book_id", "title"] for book in books)
    titles = "".join(book["title"] for book in books)
    assert re.search("[\u4e00-\u9fff]", titles) and re.search("[A-Za-z]", titles)


@pytest.mark.parametrize(("body", "status"), [({"book_id": "none"}, 404), ({}, 400), ({"book_id": 1}, 400)])
def test_a_session_needs_a_book_that_exists(account: Account, body: Any, status: int) -> None:
    assert account.http("POST", "/v1/dialogues/book/start", body)[0] == status


# Talking.


def test_a_message_is_answered_with_some_of_it_and_a_time(account: Account) -> None:
    with account.dialogue(account.start("hongloumeng")) as socket:
        before = datetime.now(UTC)
        answer = ask(socket, "m-1", "Who is 林黛玉?")
        after = datetime.now(UTC)
    assert sorted(answer) == ["content", "reply_to", "timestamp", "type"]
    assert (answer["type"], answer["reply_to"]) == ("response", "m-1")
    assert "林黛玉" in answer["content"] and "红楼梦" in answer["content"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", answer["timestamp"])
    assert before <= datetime.fromisoformat(answer["timestamp"]) <= after


def test_a_streamed_answer_comes_in_chunks_that_make_up_the_response(account: Account) -> None:
    with account.dialogue(account.start()) as socket:
        socket.send(message(7, "Why? " * 20, stream=True))
        chunks = []
        while (answer := json.loads(socket.recv()))["type"] == "response_chunk":
            chunks.append(answer)
    assert len(chunks) > 1
    assert [(chunk["reply_to"], chunk["index"]) for chunk in chunks] == [(7, n) for n in range(len(chunks))]
    assert "".join(chunk["content"] for chunk in chunks) == answer["content"]


def test_the_history_has_every_acknowledged_message_once_and_in_order(account: Account) -> None:
    session = account.start()
    contents: dict[str | int, str] = {"a": "first", 1: "你好\u0000", "1": "a string's id", -(2**63): ""}
    with account.dialogue(session) as socket:
        answers = {key: ask(socket, key, content) for key, content in contents.items()}
        assert ask(socket, "a", "the same again, another text") == answers["a"]
    assert account.history(session) == [
        {
            "id": key,
            "content": content,
            "answer": answers[key]["content"],
            "timestamp": answers[key]["timestamp"],
        }
        for key, content in contents.items()
    ]


def test_messages_of_one_group_that_repeat_an_id_are_stored_once(account: Account) -> None:
    session = account.start()
    frames = [message("x", "one"), message("x", "two"), message("y", "three")]
    with account.dialogue(session) as socket:
        for frame in frames:
            socket.send(frame)
        answers = [json.loads(socket.recv()) for _ in frames]
    assert answers[0] == answers[1]
    assert [(entry["id"], entry["content"]) for entry in account.history(session)] == [
        ("x", "one"),
        ("y", "three"),
    ]


def test_histories_are_complete_and_apart_under_concurrency(target: Target) -> None:
    accounts = [Account(target, str(int(PHONE) + k)) for k in range(5)]
    sessions = [(account, account.start()) for account in accounts for _ in range(8)]

    async def talk(number: int, account: Account, session: str) -> list[str]:
        ids = [f"{number}-{n}" for n in range(40)]
        async with websockets.connect(account.dialogue_url(session), **PATIENT) as socket:
            for at in range(0, len(ids), 10):
                for key in ids[at : at + 10]:
                    await socket.send(message(key, key))
                replies = [json.loads(await socket.recv())["reply_to"] for _ in range(10)]
                assert replies == ids[at : at + 10]
        return ids

    async def all_of_them() -> list[list[str]]:
        return await asyncio.gather(*(talk(n, *session) for n, session in enumerate(sessions)))

    for (account, session), ids in zip(sessions, asyncio.run(all_of_them()), strict=True):
        history = account.history(session)
        assert [entry["id"] for entry in history] == ids
        assert all(entry["content"] == entry["id"] and entry["id"] in entry["answer"] for entry in history)


def test_what_is_acknowledged_is_in_the_history_at_once(account: Account) -> None:
    session = account.start()
    with account.dialogue(session) as socket:
        for n in range(20):
            ask(socket, n)
            assert [entry["id"] for entry in account.history(session)] == list(range(n + 1))


# What is refused on the socket.

BROKEN: dict[str, tuple[str | bytes, str, int]] = {
    "not JSON": ("{", "Message is not JSON", 1007),
    "endless nesting": ("[" * 60_000, "Message is not JSON", 1007),
    "a number of many digits": ("1" * 10_000, "Message is not JSON", 1007),
    "a list": ("[]", "Message is not a JSON object", 1007),
    "an unknown type": ('{"type": "shout"}', "Unknown message type", 1008),
    "no type": ("{}", "Unknown message type", 1008),
    "no id": ('{"type": "message", "content": ""}', 'Field "id" must be a short string or an integer', 1008),
    "an id of true": (
        message(True),
        'Field "id" must be a short string or an integer',
        1008,
    ),
    "an id of 65 bits": (message(2**64), 'Field "id" must be a short string or an integer', 1008),
    "a long id": (message("x" * 129), 'Field "id" must be a short string or an integer', 1008),
    "no content": ('{"type": "message", "id": 1}', 'Field "content" must be text', 1008),
    "half a surrogate pair": (message(1, "\ud800"), 'Field "content" must be text', 1008),
    "a stream of yes": (message(1, stream="yes"), 'Field "stream" must be true or false', 1008),
    "too large a content": (message(1, "x" * 65_537), "Message too large", 1009),
    "too large a message": (message(1, "x" * (1 << 20)), "Message too large", 1009),
    "a binary message": (b"{}", "Binary messages are not understood", 1003),
}


@pytest.mark.parametrize(("broken", "says", "code"), BROKEN.values(), ids=BROKEN)
def test_a_broken_message_gets_an_error_and_then_a_close(
    account: Account, broken: str | bytes, says: str, code: int
) -> None:
    with account.dialogue(account.start()) as socket:
        socket.send(broken)
        messages, closed, _ = closing(socket)
    assert (messages, closed) == (error(says), code)


def test_text_that_is_not_utf8_gets_an_error_and_then_1007(account: Account) -> None:
    with account.dialogue(account.start()) as socket:
        socket.send(b"\xff\xfe", text=True)
        messages, code, _ = closing(socket)
    assert (messages, code) == (error("Message is not UTF-8"), 1007)


def ws_token(**changes: Any) -> str:
    return jwt.encode({"sub": PHONE, "kind": "ws", "exp": 2**33} | changes, SECRET, "HS256")


TOKENS = {
    "none": ("", "token missing"),
    "nonsense": ("nonsense", "token invalid"),
    "an expired one": (ws_token(exp=1), "token expired"),
    "an access token": (ws_token(kind="access"), "token of the wrong kind"),
    "a refresh token": (ws_token(kind="refresh"), "token of the wrong kind"),
    "a foreign one": (
        jwt.encode({"sub": PHONE, "kind": "ws", "exp": 2**33}, "another secret of 32 bytes or more", "HS256"),
        "token invalid",
    ),
    "an unsigned one": (
        jwt.encode({"sub": PHONE, "kind": "ws", "exp": 2**33}, "", "none"),
        "token invalid",
    ),
}


@pytest.mark.parametrize(("token", "reason"), TOKENS.values(), ids=TOKENS)
def test_a_bad_token_is_accepted_first_and_then_refused_with_a_reason(
    account: Account, token: str, reason: str
) -> None:
    says = f"Authentication failed: {reason}"
    with account.dialogue(account.start(), token) as socket:
        assert closing(socket) == (error(says), 1008, says)


def test_a_socket_without_a_token_parameter_is_refused(account: Account) -> None:
    with connect(account.dialogue_url(account.start()).split("?")[0]) as socket:
        assert closing(socket)[:2] == (error("Authentication failed: token missing"), 1008)


def is_let_in(socket: ClientConnection, message_id: str | int) -> bool:
    """Whether a message is answered, and its socket not closed for its token."""
    try:
        return bool(ask(socket, message_id)["type"] == "response")
    except ConnectionClosed as closed:
        assert closed.rcvd is not None and closed.rcvd.code == 1008
        return False


def outlives_its_token(life_s: int) -> bool:
    """Whether a socket was opened in time, and then went on when its token was good for no other any more."""
    with running("--ws-token-ttl", str(life_s), "--accounts", "1") as target:
        began_s = time.monotonic()
        account = Account(target)
        session = account.start()
        with account.dialogue(session) as socket:
            if not is_let_in(socket, 1):
                assert time.monotonic() - began_s >= life_s
                return False

            def is_over() -> bool:
                with account.dialogue(session) as late:
                    return not is_let_in(late, "late")

            eventually(is_over)
            return is_let_in(socket, 2)


def test_a_token_is_not_looked_at_again_and_a_new_socket_needs_a_fresh_one() -> None:
    # a machine may take longer to open a socket than the first of these tokens lives
    assert any(outlives_its_token(life_s) for life_s in (2, 8, 32))


def test_an_unknown_session_is_refused(account: Account) -> None:
    with account.dialogue("no-such-session") as socket:
        assert closing(socket) == (error("Session not found"), 1008, "Session not found")
    assert account.http("GET", "/v1/dialogues/no-such-session/history")[0] == 404
    assert account.http("DELETE", "/v1/dialogues/no-such-session")[0] == 404


def test_somebody_elses_session_is_refused(target: Target, account: Account) -> None:
    session = account.start()
    other = Account(target, str(int(PHONE) + 1))
    with other.dialogue(session) as socket:
        assert closing(socket) == (error("Session access denied"), 1008, "Session access denied")
    assert other.http("GET", f"/v1/dialogues/{session}/history")[0] == 403
    assert other.http("DELETE", f"/v1/dialogues/{session}")[0] == 403


# Deleting.


def test_a_deleted_session_is_gone_and_its_socket_closed(account: Account) -> None:
    session = account.start()
    with account.dialogue(session) as socket:
        ask(socket, 1)
        assert account.http("DELETE", f"/v1/dialogues/{session}") == (204, None)
        assert closing(socket) == ([], 1000, "session deleted")
    assert account.http("GET", f"/v1/dialogues/{session}/history")[0] == 404
    with account.dialogue(session) as socket:
        assert closing(socket)[0] == error("Session not found")


def test_a_run_is_listed_and_cleaned_up_whoever_made_its_sessions(target: Target, account: Account) -> None:
    others = [Account(target, str(int(PHONE) + k)) for k in (1, 2, 3)]
    kept = others[0].start(X_Run_Id="another run")
    made = [other.start("lunyu", X_Run_Id="a run") for other in others for _ in range(2)]
    before = target.metric("wsoak_target_sessions_open", system="dialogue")
    status, listed = account.http("GET", "/v1/dialogues?run_id=a%20run")
    assert status == 200
    assert [session["session_id"] for session in listed["sessions"]] == made
    assert {(session["run_id"], session["book_id"]) for session in listed["sessions"]} == {("a run", "lunyu")}
    assert account.http("DELETE", "/v1/dialogues?run_id=a%20run") == (200, {"deleted": len(made)})
    assert account.http("GET", "/v1/dialogues?run_id=a%20run") == (200, {"sessions": []})
    assert account.http("DELETE", "/v1/dialogues?run_id=a%20run") == (200, {"deleted": 0})
    assert target.metric("wsoak_target_sessions_open", system="dialogue") == before - len(made)
    assert others[0].history(kept) == []


def test_a_listing_without_a_run_is_of_the_callers_own_sessions(target: Target) -> None:
    one, two = (Account(target, str(int(PHONE) + k)) for k in (500, 501))
    made = [one.start(), one.start(X_Run_Id="r")]
    two.start()
    sessions = one.http("GET", "/v1/dialogues")[1]["sessions"]
    assert [(session["session_id"], session["run_id"]) for session in sessions] == [
        (made[0], None),
        (made[1], "r"),
    ]


@pytest.mark.parametrize("query", ["", "?run_id="])
def test_a_clean_up_names_its_run(account: Account, query: str) -> None:
    assert account.http("DELETE", "/v1/dialogues" + query)[0] == 400


def test_a_session_with_more_messages_than_one_step_deletes_goes_whole(account: Account) -> None:
    session = account.start()

    async def talk(count: int) -> None:
        async with websockets.connect(account.dialogue_url(session), **PATIENT) as socket:
            for at in range(0, count, 500):
                for n in range(at, at + 500):
                    await socket.send(message(n, ""))
                for _ in range(500):
                    await socket.recv()

    asyncio.run(talk(4500))
    assert len(account.history(session)) == 4500
    assert account.http("DELETE", f"/v1/dialogues/{session}")[0] == 204
    assert account.http("GET", f"/v1/dialogues/{session}/history")[0] == 404


def test_a_kept_database_has_the_sessions_of_the_process_before(tmp_path: Any) -> None:
    arguments = ("--db", str(tmp_path / "kept.sqlite3"), "--accounts", "3")
    with running(*arguments) as target:
        account = Account(target)
        session = account.start()
        with account.dialogue(session) as socket:
            ask(socket, "before")
        target.process.kill()
    with running(*arguments) as target:
        account = Account(target)
        assert target.metric("wsoak_target_sessions_open", system="dialogue") == 1
        with account.dialogue(session) as socket:
            ask(socket, "after")
        assert [entry["id"] for entry in account.history(session)] == ["before", "after"]


# Faults, from the start and while it runs.


def is_healthy(account: Account) -> bool:
    session = account.start()
    with account.dialogue(session) as socket:
        for n in range(20):
            if ask(socket, n)["type"] != "response":
                return False
    return len(account.history(session)) == 20


def crashes_at_accept(account: Account) -> bool:
    with account.dialogue(account.start()) as socket:
        return closing(socket) == ([], 1008, "")


def crashes_at_message(account: Account) -> bool:
    with account.dialogue(account.start()) as socket:
        assert socket.ping().wait(PATIENCE_S)
        socket.send(message(1))
        return closing(socket) == ([], 1008, "")


def denies(account: Account) -> bool:
    with account.dialogue(account.start()) as socket:
        return closing(socket)[:2] == (error("Session access denied"), 1008)


def loses(account: Account, kept: int) -> bool:
    session = account.start()
    with account.dialogue(session) as socket:
        acknowledged = [ask(socket, n)["reply_to"] for n in range(100)]
    history = [entry["id"] for entry in account.history(session)]
    return len(acknowledged) == 100 and len(history) == kept and set(history) <= set(acknowledged)


FAULTS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "datetime-crash": ("datetime-crash", {}, crashes_at_accept),
    "datetime-crash on accept": ("datetime-crash", {"when": "accept"}, crashes_at_accept),
    "datetime-crash on a message": ("datetime-crash", {"when": "message"}, crashes_at_message),
    "session-denied": ("session-denied", {}, denies),
    "lost-history": ("lost-history", {}, lambda account: loses(account, 95)),
    "lost-history of half": ("lost-history", {"share": 0.5}, lambda account: loses(account, 50)),
    "lost-history of all": ("lost-history", {"share": 1}, lambda account: loses(account, 0)),
}


@pytest.mark.parametrize(("fault", "params", "shows"), FAULTS.values(), ids=FAULTS)
def test_a_fault_switches_on_and_off_while_the_target_runs(
    target: Target, account: Account, fault: str, params: dict[str, Any], shows: Any
) -> None:
    with target.fault("dialogue", fault, **params):
        assert shows(account)
    assert is_healthy(account)


@pytest.mark.parametrize(("fault", "params", "shows"), FAULTS.values(), ids=FAULTS)
def test_a_target_can_start_with_a_fault(fault: str, params: dict[str, Any], shows: Any) -> None:
    text = ":".join(["dialogue", fault, *(f"{key}={value}" for key, value in params.items())])
    with running("--fault", text, "--accounts", "1") as target:
        assert shows(Account(target))
        target.switch("dialogue", fault, on=False)
        assert is_healthy(Account(target))


def test_the_datetime_crash_reaches_a_socket_that_was_open_before(target: Target, account: Account) -> None:
    with account.dialogue(account.start()) as socket:
        assert ask(socket, 1)["type"] == "response"
        with target.fault("dialogue", "datetime-crash", when="message"):
            socket.send(message(2))
            assert closing(socket) == ([], 1008, "")
