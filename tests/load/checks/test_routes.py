"""Routes told from refusals: by the answers alone, and against servers that behave as frameworks do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.load.checks.servers import Play, echo, of_origin, routed, status
from tests.load.session import script, session
from tests.wire.harness import until
from wsoak.judge.findings import find
from wsoak.load.checks.answers import Answer
from wsoak.load.checks.origins import unless_refused
from wsoak.load.checks.routes import DOUBLED, NOT_FOUND, Look, besides, verdict
from wsoak.load.checks.variants import Kind, Variant
from wsoak.wire.dial import Request

OURS = "/api/v1/ws/tasks/7"
MOVED, TWICE, BARE = "/ws/tasks/7", "/api/v1/api/v1/ws/tasks/7", "/tasks/7"
OPEN, SHUT_AFTERWARDS = Answer("open", stays=True), Answer("open", code=1008)


def rejected(code: int, body: str = "") -> Answer:
    return Answer(f"rejected-{code}", body)


def looked(nowhere: Answer, **answers: Answer) -> Look:
    """What the neighbourhood answers; what is not named answers as a path that cannot exist."""
    kinds: dict[str, tuple[str, Kind]] = {
        "moved": (MOVED, "moved"),
        "twice": (TWICE, "doubled"),
        "bare": (BARE, "bare"),
    }
    tried = [(Variant(path, kind), answers.get(name, nowhere)) for name, (path, kind) in kinds.items()]
    return Look(nowhere, "/nowhere", tried)


CASES: list[tuple[str, Answer, Look, str | None, str]] = [
    ("404 everywhere", rejected(404), looked(rejected(404)), NOT_FOUND, "no route"),
    ("404, and it moved", rejected(404), looked(rejected(404), moved=OPEN), NOT_FOUND, f"{MOVED} (101)"),
    ("404, and it is doubled", rejected(404), looked(rejected(404), twice=OPEN), DOUBLED, f"{TWICE} (101)"),
    ("404, and it is bare", rejected(404), looked(rejected(404), bare=OPEN), DOUBLED, f"{BARE} (101)"),
    (
        "a door that stays open is believed before one that is shut at once",
        rejected(404),
        looked(rejected(404), moved=OPEN, bare=SHUT_AFTERWARDS),
        NOT_FOUND,
        MOVED,
    ),
    (
        "it is there, and refuses us by name",
        rejected(404),
        looked(rejected(404), twice=rejected(403)),
        DOUBLED,
        "(403)",
    ),
    (
        "another route of HTTP's is no socket",
        rejected(404),
        looked(rejected(404), bare=rejected(405)),
        NOT_FOUND,
        "no route",
    ),
    ("Starlette has no route", rejected(403), looked(rejected(403)), NOT_FOUND, "refuses everybody alike"),
    ("Starlette has it elsewhere", rejected(403), looked(rejected(403), moved=OPEN), NOT_FOUND, MOVED),
    ("Channels has no route", rejected(500), looked(rejected(500)), NOT_FOUND, "answers 500"),
    ("a refusal", rejected(403), looked(rejected(404)), None, ""),
    ("a refusal that speaks", rejected(403, "no token"), looked(rejected(403)), None, ""),
    ("a crash", rejected(500), looked(rejected(404)), None, ""),
    ("a handler's own 404", rejected(404, "no such session"), looked(rejected(404, "Not Found")), None, ""),
    (
        "an answer that quotes the path",
        rejected(404, f"no {OURS}"),
        looked(rejected(404, "no /nowhere")),
        NOT_FOUND,
        "no route",
    ),
    ("a server that opens everywhere", rejected(404), looked(OPEN), None, ""),
]


@pytest.mark.parametrize(
    ("ours", "look", "finding", "words"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_a_missing_route_is_told_from_a_refusal_and_a_crash(
    ours: Answer, look: Look, finding: str | None, words: str
) -> None:
    said = verdict(f"{OURS}?token=s3cret", ours, look)
    assert (said and said.finding) == finding
    if said is not None:
        assert words in said.text
        assert "s3cret" not in said.text


@pytest.mark.parametrize(
    ("look", "doubled"),
    [
        (looked(rejected(404)), False),
        (looked(rejected(404), moved=OPEN), False),
        (looked(rejected(404), twice=OPEN), True),
        (looked(rejected(404), bare=SHUT_AFTERWARDS), True),
        (looked(rejected(403), twice=OPEN), True),
        (looked(OPEN, twice=OPEN, bare=OPEN), False),
    ],
)
def test_a_route_that_is_there_twice_is_seen(look: Look, doubled: bool) -> None:
    said = besides(OURS, look)
    assert (said is not None) is doubled
    assert said is None or said.finding == DOUBLED


# ---------------------------------------------------------------------------------------- against servers

SERVERS: dict[str, tuple[dict[str, Play], Play, list[str]]] = {
    # routes, what else is answered, and the findings
    "missing": ({}, status("404 Not Found", "no route PATH"), ["route-not-found"]),
    "doubled": ({TWICE: echo}, status("404 Not Found"), ["route-doubled"]),
    "moved": ({MOVED: echo}, status("404 Not Found"), ["route-not-found"]),
    "starlette-missing": ({}, status("403 Forbidden"), ["route-not-found"]),
    "channels-missing": ({}, status("500 Oops"), ["route-not-found"]),
    "refused": ({OURS: status("403 Forbidden")}, status("404 Not Found"), ["upgrade-refused"]),
    "crash": ({OURS: status("500 Oops")}, status("404 Not Found"), ["upgrade-crash"]),
    "gateway": ({}, status("403 Forbidden", whatever_version=True), ["upgrade-refused"]),
    "own-origin": (
        {OURS: of_origin("http://127.0.0.1", "403 Forbidden")},
        status("404 Not Found"),
        ["origin-refused"],
    ),
    "own-origin-or-404": (
        {OURS: of_origin("http://127.0.0.1", "404 Not Found")},
        status("404 Not Found"),
        ["origin-refused"],
    ),
    "foreign-origin": (
        {OURS: of_origin("http://app.test", "404 Not Found")},
        status("404 Not Found"),
        ["route-not-found"],
    ),
    "broken-gateway": ({}, status("500 Oops", whatever_version=True), ["upgrade-crash"]),
}


@pytest.mark.parametrize("client", ["fast", "reference"])
@pytest.mark.parametrize("name", SERVERS)
def test_the_first_suspect_answer_of_a_run_is_looked_into_once_and_is_in_no_book(
    name: str, client: str, tmp_path: Path
) -> None:
    routes, otherwise, expected = SERVERS[name]
    tries = 3

    def body(user: Any) -> None:
        for _ in range(tries):
            user.connect(f"{OURS}?token=s3cret", name="tasks")
        user.environment.tried = True
        user.generator.routes.wait()
        user.environment.looked = True

    with (
        routed(routes, otherwise) as listener,
        session(
            script(body, wait_time=lambda _: 60.0),
            host=f"http://127.0.0.1:{listener.port}",
            run_dir=tmp_path / "r",
            arguments=("--reconnect", "immediate", "--client", client),
        ) as made,
    ):
        made.start()
        until(lambda: getattr(made.environment, "looked", False))
        reader = made.stop()
        assert listener.accepted > tries + 1
    books = reader.books()
    assert [finding.id for finding in find(books, float(reader.header["started_at"]))] == expected
    assert {record.path for record in reader.connections()} == {f"{OURS}?token=***"}
    assert books.count("failed") == tries
    assert sum(seen.of for seen in books.observations.values()) <= 1
    assert "s3cret" not in "".join(file.read_text() for file in (tmp_path / "r").iterdir())


@pytest.mark.parametrize(
    ("given", "words"), [(None, "for want of an Origin"), ("http://a.test", "this Origin")]
)
def test_a_404_may_be_a_refusal_of_the_origin_and_says_so(given: str | None, words: str) -> None:
    said = verdict(OURS, rejected(404), looked(rejected(404)), unless_refused(Request(OURS, origin=given)))
    assert said is not None
    assert f"it is no route, unless the server refuses {words} in these words (--origin)." in said.text


def test_what_opened_before_and_is_refused_now_is_no_missing_route(tmp_path: Path) -> None:
    seen: list[str] = []

    def once(peer: Any) -> None:
        seen.append(peer.path)
        (echo if seen.count(OURS) == 1 and peer.path == OURS else status("403 Forbidden"))(peer)

    def body(user: Any) -> None:
        with user.connect(OURS, name="tasks"):
            pass
        user.connect(OURS, name="tasks")
        user.generator.routes.wait()
        user.environment.looked = True

    with (
        routed({}, once) as listener,
        session(
            script(body, wait_time=lambda _: 60.0),
            host=f"http://127.0.0.1:{listener.port}",
            run_dir=tmp_path / "r",
        ) as made,
    ):
        made.start()
        until(lambda: getattr(made.environment, "looked", False))
        reader = made.stop()
    # nobody looked
    assert seen == [OURS, OURS]
    assert [finding.id for finding in find(reader.books(), 0.0)] == ["upgrade-refused"]
