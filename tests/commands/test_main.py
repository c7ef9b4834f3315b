"""The commands' common ways: help, mistakes, exit codes; and ``token``, which needs no server."""

from __future__ import annotations

import os
from pathlib import Path

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
        (["clean", "--run", "no/such/run"], "no/such/run holds no run: give a run's id"),
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


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("None", "None"),
        ("'3'", "a value of type str"),
        ("1.5", "a value of type float"),
        ("[1, 2]", "a value of type list"),
    ],
)
def test_a_clear_that_counts_nothing_is_one_sentence_that_names_it(
    returned: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "locustfile_wrong.py").write_text(
        "from wsoak.load import WebSocketUser\n"
        "class WrongUser(WebSocketUser):\n"
        f"    def clear(self, run_id):\n        return {returned}\n"
    )
    file = str(tmp_path / "locustfile_wrong.py")
    assert main(["clean", "-f", file, "--run", "a-run", "--host", "http://127.0.0.1:1"]) == 4
    assert capsys.readouterr().out == (
        "WrongUser: not cleaned up: WrongUser.clear() must return how many things it removed, as a whole "
        f"number, and returned {words}\n"
    )


PEM = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQ==\n-----END PUBLIC KEY-----"


@pytest.mark.parametrize(
    ("secret", "code", "sentence"),
    [
        (
            "s3cret",
            0,
            "WSOAK_JWT_SECRET is 6 bytes long, and HS256 should have 32 or more (RFC 7518 section 3.2): "
            "whoever has a token can guess a short one.",
        ),
        ("x" * 32, 0, ""),
        (
            PEM,
            2,
            "WSOAK_JWT_SECRET: it is a public key or a certificate, where HS256 takes a shared secret.",
        ),
        ("s3cret \udcff", 2, "WSOAK_JWT_SECRET: it is not UTF-8."),
    ],
    ids=["short", "long-enough", "public-key", "not-utf-8"],
)
def test_a_secret_that_will_not_do_is_one_sentence_without_it(
    secret: str,
    code: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    # set like this, as a text that is not UTF-8 comes from the environment so
    monkeypatch.setattr("os.environ", {**os.environ, "WSOAK_JWT_SECRET": secret})
    assert main(["token", "u"]) == code
    said = capsys.readouterr()
    assert said.err == (f"{sentence}\n" if sentence else "")
    assert said.out.count(".") == (0 if code else 2)
    assert [str(each.message) for each in recwarn] == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["clean", "--run", ""], "--run is empty: give a run's id, or its directory, such as results/ID."),
        (["clean", "--run", "  "], "--run is empty: give a run's id, or its directory, such as results/ID."),
        (
            ["clean", "--run", "README.md"],
            "README.md holds no run: give a run's id, or its directory, such as results/ID.",
        ),
        (
            ["clean", "EchoUser", "DialogueUser", "--run", "x" * 300],
            "Give a --host: no record of this run is here that would name its server.",
        ),
        (
            ["check", "-f", "wsoak/__init__.py"],
            "wsoak/__init__.py has no user class that is a WebSocketUser: there is nothing to do.",
        ),
        (
            ["clean", "-f", "wsoak/__init__.py", "--run", "x"],
            "wsoak/__init__.py has no user class that is a WebSocketUser: there is nothing to do.",
        ),
        (
            ["routes", "/x", "--host", "http://127.0.0.1:1", "--header", "Sec-WebSocket-Key: s3cret"],
            "The path or a header cannot be sent: it holds a control character or a #, or is a "
            "header of the handshake's own.",
        ),
        (["token", "u", "--claims", '{"iss": 5}'], "--claims: iss is not a text (RFC 7519 section 4.1.1)."),
        (["token", "u", "--claims", '{"x": NaN}'], "--claims is not a JSON object."),
        (["token", "u", "--claims", '{"x": 1e999}'], "--claims is not a JSON object."),
        (["token", "u", "--claims", "[" * 100_000], "--claims is not a JSON object."),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_a_bad_input_is_one_sentence_that_says_what_to_give(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr() == ("", f"{sentence}\n")


def test_without_a_command_the_command_is_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert capsys.readouterr().err.endswith("the following arguments are required: COMMAND\n")


@pytest.mark.parametrize(("buffering", "code"), [(1, 141), (-1, 0)], ids=["by-line", "at-the-end"])
def test_a_reader_who_has_gone_is_no_traceback(
    buffering: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reading, writing = os.pipe()
    # not os.close, which gevent puts off
    os.fdopen(reading, "rb", buffering=0).close()
    with os.fdopen(writing, "w", buffering=buffering) as gone:
        monkeypatch.setattr("sys.stdout", gone)
        # what the command has come to stands, where it came to its end
        assert main(["token", "u"]) == code
        # as Python does when it ends
        gone.flush()
    assert capsys.readouterr().err == ""
