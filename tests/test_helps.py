"""``--help`` of every command and subcommand: a stray ``%`` in a help text is an exception in argparse."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import locust  # noqa: F401 - its patches come before all else
import pytest

from wsoak.__main__ import COMMANDS

REPOSITORY: Final = Path(__file__).parents[1]
MAINS: Final = sorted(
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    for room in ("analysis", "bench", "target", "wsoak")
    for path in (REPOSITORY / room).rglob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)
"""Every module that can be run with ``python -m``."""


def help_of(module: str, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        import_module(module).main([*arguments, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_the_commands_are_found() -> None:
    assert {"analysis.__main__", "bench.__main__", "target.__main__", "wsoak.__main__"} <= set(MAINS)


@pytest.mark.parametrize("module", MAINS)
def test_a_command_and_each_of_its_subcommands_have_a_help(
    module: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[argparse.ArgumentParser] = []
    add_parser = argparse._SubParsersAction.add_parser

    def add(action: Any, *args: Any, **kwargs: Any) -> argparse.ArgumentParser:
        made.append(add_parser(action, *args, **kwargs))
        return made[-1]

    monkeypatch.setattr(argparse._SubParsersAction, "add_parser", add)
    assert "--help" in help_of(module, [], capsys)
    if module == "analysis.__main__":
        assert {"python -m analysis gate", "python -m analysis baseline record"} <= {p.prog for p in made}
    for parser in made:
        assert "--help" in parser.format_help()


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_command_of_wsoaks_has_a_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"python -m wsoak {verb}" in help_of("wsoak.__main__", [verb], capsys)


def test_locust_has_a_help_with_our_options() -> None:
    from locust.argument_parser import get_parser

    import wsoak.load  # noqa: F401 - it declares its options

    assert "--latency-limit" in get_parser(default_config_files=[]).format_help()
