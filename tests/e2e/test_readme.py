"""What README.md tells a first user to type exists, and its Python runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.e2e.processes import LOCUST, PATIENCE_S, ROOT, environment

README = (ROOT / "README.md").read_text("utf-8") if (ROOT / "README.md").exists() else ""
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    """The code blocks in this language."""
    return [text for marked, text in BLOCK.findall(README) if marked == language]


def commands() -> list[list[str]]:
    """Every command of the ``sh`` blocks, as words, without ``&`` and comments."""
    lines = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    return [words for line in lines if (words := shlex.split(line.rstrip("&"), comments=True))]


def of(*start: str) -> list[list[str]]:
    """The commands that begin so; each has its test below."""
    return [command for command in commands() if command[: len(start)] == list(start)]


@cache
def help_of(*command: str) -> str:
    """What a command's ``--help`` says."""
    answer = subprocess.run(
        [*command, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    return answer.stdout


@cache
def our_options() -> set[str]:
    """The options that wsoak adds to Locust's; asked of another process, as Locust patches its own."""
    program = "from wsoak.load.options import OPTIONS; print(*(option.flag for option in OPTIONS))"
    answer = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    return set(answer.stdout.split())


def flags(words: list[str]) -> list[str]:
    """The options among these words, without their values."""
    return [word.partition("=")[0] for word in words if word.startswith("-")]


def knows(help_text: str, flag: str) -> bool:
    """Whether a help text lists an option."""
    return re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", help_text) is not None


def test_the_readme_has_commands_and_every_one_of_them_is_looked_at() -> None:
    looked_at = [*of("make"), *of("locust"), *of("python", "-m")]
    assert looked_at
    assert [command for command in commands() if command not in looked_at] == []


@pytest.mark.parametrize("command", of("make"), ids=" ".join)
def test_make_has_the_target(command: list[str]) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(command[1:]) <= set(targets)


@pytest.mark.parametrize("command", of("locust"), ids=" ".join)
def test_locust_knows_the_users_and_the_options(command: list[str], tmp_path: Path) -> None:
    listed = subprocess.run(
        [LOCUST, "--list"],
        cwd=ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    users = {word for word in command[1:] if re.fullmatch(r"[A-Z]\w+User", word)}
    assert users <= set(listed.stdout.split())
    # Locust gives its help before it has read a locustfile, and so without our options
    unknown = [flag for flag in flags(command[1:]) if not knows(help_of(LOCUST), flag)]
    assert set(unknown) <= our_options()


@pytest.mark.parametrize("command", of("python", "-m"), ids=" ".join)
def test_the_module_knows_its_subcommand_and_its_options(command: list[str]) -> None:
    module, *words = command[2:]
    start = [sys.executable, "-m", module]
    subcommands = words[:1] if module in ("analysis", "wsoak") and not words[0].startswith("-") else []
    said = help_of(*start, *subcommands)
    assert [flag for flag in flags(words) if not knows(said, flag)] == []


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.split("\n", 1)[0])
def test_the_python_runs(block: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", block],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
