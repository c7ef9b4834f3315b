"""Tokens and passwords are in no file that a run leaves, and in nothing that is printed."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.e2e.processes import ENDLESS, PATIENT, Outcome, analysis, loading
from tests.target.client import PASSWORD, running

USERS = 5
JWT_SECRET = "a-secret-of-the-tests-0815-thirty-two-bytes"
JWT_HEAD = "eyJhbGciOi"
"""The start of every JSON Web Token that is signed: ``{"alg":`` in base64."""


@pytest.fixture(scope="module", params=["fast", "reference"])
def printed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """A dialogue run, and its report, with logs at their loudest."""
    path = tmp_path_factory.mktemp("secrets") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSOAK_JWT_SECRET", JWT_SECRET)
        with (
            running("--ws-token-ttl", "2") as target,
            loading(
                path,
                *("DialogueUser", "--host", target.url, "--client", request.param, "--loglevel", "DEBUG"),
                *("--checks", "security", *PATIENT, *ENDLESS),
                *("-u", str(USERS), "-r", str(USERS), "--message-rate", "10"),
                WSOAK_JWT_SECRET=JWT_SECRET,
                WSOAK_PASSWORD=PASSWORD,
            ) as started,
        ):
            # a conversation takes longer than a token lasts
            started.wait_for(lambda books: books.count("opened") > 2 * USERS, "sockets were opened again")
            yield started.end()


def leaks(done: Outcome, secrets: tuple[str, ...]) -> list[str]:
    """Where a secret, plain or as a URL has it, is found: files of the run, what was printed."""
    forms = {form.encode() for secret in secrets for form in (secret, quote(secret, safe=""))}
    texts = {str(file): file.read_bytes() for file in done.path.rglob("*") if file.is_file()}
    texts |= {"stdout": done.out.encode(), "stderr": done.err.encode()}
    for command in ("report", "diagnose"):
        answer = analysis(command, done.path)
        assert answer.returncode == 0, answer.stderr
        texts[command] = (answer.stdout + answer.stderr).encode()
    texts["report.html"] = (done.path / "report.html").read_bytes()
    return [name for name, text in texts.items() if any(form in text for form in forms)]


def test_neither_token_nor_password_nor_secret_is_left_anywhere(printed: Outcome) -> None:
    assert "/v1/auth/refresh" in printed.err, "tokens were renewed"
    assert printed.run.books().count("opened") > USERS, "and used again"
    assert leaks(printed, (PASSWORD, JWT_SECRET, JWT_HEAD)) == [], printed.said
    assert {record.path.partition("?")[2] for record in printed.run.connections()} == {"token=***"}
