"""The commands' common ways: help, mistakes, exit codes; and ``token``, which needs no server."""

from __future__ import annotations

import jwt
import pytest

from wsoak.__main__ import COMMANDS, main

SECRET = "a secret of thirty-two characters"


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSOAK_JWT_SECRET", SECRET)


def test_a_token_is_printed_that_the_server_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "user-7", "--ttl", "60", "--claims", '{"role": "审稿人"}']) == 0
    claims = jwt.decode(capsys.readouterr().out.strip(), SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["role"]) == ("user-7", "审稿人")
    assert round(claims["exp"] - claims["iat"]) == 60


@pytest.mark.parametrize("ttl", ["nan", "inf", "-inf", "1e999", "0", "-1", "1e11"])
def test_a_life_that_is_none_is_refused_in_one_sentence(ttl: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "u", f"--ttl={ttl}"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("--ttl: ")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["token", "u", "--claims", "[]"], "--claims is not a JSON object."),
        (["token", "u", "--claims", "{"], "--claims is not a JSON object."),
        (["token", "u", "--ttl", "soon"], "invalid float value"),
        (["token"], "required"),
        (["token", "u", "--bogus"], "unrecognized"),
        (["bogus"], "invalid choice"),
        ([], "required"),
        (["routes", "/x"], "required: --host"),
        (["routes", "--host", "x", "/x"], "is not a host to load"),
        (
            ["routes", "--host", "http://127.0.0.1:1", "/x", "--header", "s3cret"],
            "--header is not NAME:VALUE",
        ),
        (["routes", "--host", "http://127.0.0.1:1", "/\n"], "cannot be sent"),
        (["check", "-f", "no/such.py"], "no/such.py is not a locustfile"),
        (["check", "NobodyUser"], "has no user class 'NobodyUser': it has "),
        (["check", "EchoUser", "--users", "0"], "--users: 0 is not"),
        (["check", "EchoUser", "--host", "ftp://x", "--client", "slow"], "--client: 'slow'"),
        (["clean", "EchoUser", "DialogueUser", "--run", "nobody-knows-it"], "Give a --host"),
        (["clean", "--run", "no/such/run"], "no/such/run holds no run."),
    ],
    ids=lambda value: " ".join(value).strip() if isinstance(value, list) else "",
)
def test_a_mistake_is_a_sentence_and_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else -1
    assert code == 2
    said = capsys.readouterr()
    assert words in said.err
    assert "Traceback" not in said.err
    assert "s3cret" not in said.err


def test_without_a_secret_nothing_is_minted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WSOAK_JWT_SECRET")
    assert main(["token", "u"]) == 2
    assert "WSOAK_JWT_SECRET" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_a_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"python -m wsoak {command}" in capsys.readouterr().out
