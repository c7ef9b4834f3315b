"""The commands' common ways: inputs that cannot be used are one sentence, and a reader may go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from analysis.__main__ import COMMANDS, main

SAMPLE = str(Path(__file__).parents[2] / "results" / "sample")
GATES = str(Path(__file__).parents[2] / "gates.toml")
SLO = ("--slo", "response p(99) < 250ms")
SERVERS = ("--before", "http://127.0.0.1:1", "--after", "http://127.0.0.1:1")
LOCUST = ("--", "EchoUser", "--run-time", "1s")
IS_EMPTY = "is empty: it should name a file or a directory"


def said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The last line of what a command says to a wrong use: argparse has its usage before it."""
    try:
        code: object = main(arguments)
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", ""], f"argument RUN: {IS_EMPTY}"),
        (["diagnose", " "], f"argument RUN: {IS_EMPTY}"),
        (["drift", ""], f"argument RUN: {IS_EMPTY}"),
        (["capacity", "", *SLO], f"argument RUN: {IS_EMPTY}"),
        (["capacity", "--table", ""], f"argument --table: {IS_EMPTY}"),
        (["capacity", SAMPLE, *SLO, "--html", ""], f"argument --html: {IS_EMPTY}"),
        (["compare", SAMPLE, ""], "The name of a run directory is empty."),
        (["compare", SAMPLE, SAMPLE, "--html", ""], f"argument --html: {IS_EMPTY}"),
        (["gate", "", "--gates", GATES], "The name of a run directory is empty."),
        (["gate", SAMPLE, "--gates", ""], f"argument --gates: {IS_EMPTY}"),
        (["gate", SAMPLE, "--gates", GATES, "--junit", ""], f"argument --junit: {IS_EMPTY}"),
        (["gate", SAMPLE, "--gates", GATES, "--baseline", ""], "The name of a run directory is empty."),
        (["baseline", "judge", "--before", "", "--after", SAMPLE], "The name of a run directory is empty."),
        (["baseline", "record", "", *SERVERS, *LOCUST], f"argument DIR: {IS_EMPTY}"),
        (
            ["baseline", "record", "no/such", "--before", "", "--after", "x", *LOCUST],
            "--before and --after should each name a server.",
        ),
        (
            ["baseline", "record", GATES, *SERVERS, *LOCUST],
            f"{GATES} is not a directory: name one for the runs.",
        ),
        (["report", "x" * 300], "x: File name too long."),
    ],
    ids=lambda value: " ".join(value).replace(SAMPLE, "RUN")[:60] if isinstance(value, list) else "",
)
def test_an_input_that_cannot_be_used_is_one_sentence(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(arguments, capsys).endswith(words)


def test_a_file_that_cannot_be_written_is_named_as_it_was_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.xml").mkdir()
    arguments = ["gate", sample(tmp_path), "--gates", GATES, "--junit", str(tmp_path / "results.xml")]
    assert said(arguments, capsys) == f"{tmp_path / 'results.xml'}: Is a directory."


def sample(folder: Path) -> str:
    """A copy of the sample run: a gate writes its verdict there."""
    (folder / "run").mkdir()
    for file in Path(SAMPLE).iterdir():
        if file.is_file():
            (folder / "run" / file.name).write_bytes(file.read_bytes())
    return str(folder / "run")


@pytest.mark.parametrize(("buffering", "code"), [(1, 2), (-1, 0)], ids=["by-line", "at-the-end"])
def test_a_verdict_that_was_not_said_to_the_end_is_no_pass(
    buffering: int,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    reading, writing = os.pipe()
    # not os.close, which gevent puts off where another test has let it
    os.fdopen(reading, "rb", buffering=0).close()
    run = sample(tmp_path)
    with os.fdopen(writing, "w", buffering=buffering) as gone:
        monkeypatch.setattr("sys.stdout", gone)
        # what the command has come to stands, where it came to its end
        assert main(["gate", run, "--gates", GATES]) == code
        # as Python does when it ends
        gone.flush()
    assert capsys.readouterr().err == ""


def test_of_the_commands_those_with_a_verdict_as_their_exit_code_judge() -> None:
    assert [each.name for each in COMMANDS if each.judges] == ["gate", "capacity", "drift", "baseline"]
