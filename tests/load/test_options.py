"""Options: each declared once, each mistake one sentence, all of them at once."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any, Final

import locust
import pytest
from hypothesis import given
from hypothesis import strategies as st
from locust.argument_parser import (
    default_args_dict,
    get_empty_argument_parser,
    get_parser,
    setup_parser_arguments,
    ui_extra_args_dict,
)
from locust.event import Events

from wsoak.load import hooks
from wsoak.load.options import OPTIONS, BadOptions, Option, Options

BY_FLAG: Final = {option.flag: option for option in OPTIONS}
FLAGS: Final = sorted(BY_FLAG)


@pytest.fixture(autouse=True)
def no_variables_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith(("WSOAK_", "LOCUST_"))]:
        monkeypatch.delenv(variable)


def parsed(*arguments: str, config: Path | None = None) -> Namespace:
    """What Locust's own parser makes of a command line, with our options declared as Locust does it."""
    parser = get_parser(default_config_files=[str(config)] if config else [])
    found: Namespace = parser.parse_args(list(arguments))
    return found


def mistakes(**values: Any) -> list[str]:
    with pytest.raises(BadOptions) as caught:
        Options.of(Namespace(**values))
    return caught.value.mistakes


def test_the_defaults_are_valid_with_and_without_a_parser() -> None:
    assert Options.of(None) == Options.of(Namespace()) == Options.of(parsed())


@pytest.mark.parametrize("flag", FLAGS)
def test_every_option_is_declared_with_a_help_that_is_a_sentence(flag: str) -> None:
    option = BY_FLAG[flag]
    parser = get_parser(default_config_files=[])
    action = parser._option_string_actions[flag]
    assert action.dest == option.dest
    assert action.default == (None if option.repeatable else option.default)
    assert (action.include_in_web_ui, action.is_secret) == (option.in_web_form, False)
    assert option.help.endswith(".")
    assert option.env_var == "WSOAK_" + flag[2:].upper().replace("-", "_")
    assert hasattr(Options.of(None), option.dest)


def test_no_option_of_ours_is_one_of_locusts() -> None:
    parser = get_empty_argument_parser()
    setup_parser_arguments(parser)  # type: ignore[no-untyped-call]
    theirs = {flag for action in parser._actions for flag in action.option_strings}
    assert not theirs & BY_FLAG.keys()
    assert not default_args_dict().keys() & {option.dest for option in OPTIONS}


def test_no_flag_of_ours_takes_the_place_of_an_abbreviation_of_another_of_ours() -> None:
    for flag in FLAGS:
        assert [other for other in FLAGS if other != flag and other.startswith(flag)] == []


def test_each_page_of_the_web_ui_declares_them_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["locust", "--client", "reference"])
    first, second = ui_extra_args_dict(), ui_extra_args_dict()
    assert first == second
    shown = {option.dest for option in OPTIONS if option.in_web_form}
    assert shown <= first.keys()
    assert not first.keys() & {option.dest for option in OPTIONS if not option.in_web_form}
    assert first["client"]["default_value"] == "reference"
    # as the page's source has it
    assert json.loads(json.dumps(first["client"]["choices"])) == ["fast", "reference"]


def test_a_second_set_of_hooks_has_events_of_its_own() -> None:
    events: Any = Events()  # type: ignore[no-untyped-call]
    hooks.register(events)
    parser = get_empty_argument_parser(default_config_files=[])
    events.init_command_line_parser.fire(parser=parser)
    assert "message_rate" in vars(parser.parse_args([]))
    assert locust.events is not events


GATES: Final = str(Path(__file__).parents[2] / "gates.toml")

VALUES: Final[list[tuple[str, str, Any]]] = [
    ("--run-dir", "results/x", Path("results/x")),
    ("--arrival-rate", "2.5", 2.5),
    ("--arrival-patience", "30", 30.0),
    ("--shape", "ramp:from=1,to=5,over=14s", "ramp:from=1,to=5,over=14s"),
    ("--client", "reference", "reference"),
    ("--checks", "security", "security"),
    ("--accounts", __file__, Path(__file__)),
    ("--sockets-per-user", "3", 3),
    ("--message-rate", "0.25", 0.25),
    ("--message-size", "0", 0),
    ("--handshake-timeout", "1e-3", 0.001),
    ("--reply-timeout", "5", 5.0),
    ("--close-timeout", "0.5", 0.5),
    ("--heartbeat", "20", 20.0),
    ("--reconnect", "none", "none"),
    ("--retry-pause", "0.1", 0.1),
    ("--no-retry-codes", "1008, 4001", (1008, 4001)),
    ("--latency-limit", "250", 250.0),
    ("--gates", GATES, Path(GATES)),
    ("--dns", "ttl=5m, select=first", "ttl=5m, select=first"),
    ("--origin", "https://app.example.com:8443", "https://app.example.com:8443"),
    ("--resolve", "h:80:127.0.0.1", ("h:80:127.0.0.1",)),
    ("--source-ips", "127.0.0.1, 127.0.0.2", ("127.0.0.1", "127.0.0.2")),
    ("--watch", "http://127.0.0.1:9/metrics", "http://127.0.0.1:9/metrics"),
    ("--tls-ca", __file__, __file__),
    ("--tls-client-cert", __file__, __file__),
    ("--tls-insecure", "", True),
    ("--request-events", "", True),
]
TABLED: Final = pytest.mark.parametrize(
    ("flag", "text", "expected"), VALUES, ids=[flag for flag, _, _ in VALUES]
)


def test_the_table_of_values_knows_every_option() -> None:
    assert sorted(flag for flag, _, _ in VALUES) == FLAGS


@TABLED
def test_a_value_comes_from_the_command_line(flag: str, text: str, expected: Any) -> None:
    options = Options.of(parsed(flag, text) if text else parsed(flag))
    assert getattr(options, BY_FLAG[flag].dest) == expected


@TABLED
def test_a_value_comes_from_the_environment(
    flag: str, text: str, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BY_FLAG[flag].env_var, text or "true")
    assert getattr(Options.of(parsed()), BY_FLAG[flag].dest) == expected


@TABLED
def test_a_value_comes_from_locust_conf(flag: str, text: str, expected: Any, tmp_path: Path) -> None:
    config = tmp_path / "locust.conf"
    config.write_text(f"{flag[2:]} = {text or 'true'}\n")
    assert getattr(Options.of(parsed(config=config)), BY_FLAG[flag].dest) == expected


@TABLED
def test_a_value_comes_as_text_from_the_web_form(flag: str, text: str, expected: Any) -> None:
    options = Options.of(Namespace(**{BY_FLAG[flag].dest: text or "true"}))
    assert getattr(options, BY_FLAG[flag].dest) == expected


def test_the_command_line_wins_over_the_environment_and_that_over_locust_conf(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "locust.conf"
    config.write_text("message-rate = 1\nheartbeat = 2\n")
    monkeypatch.setenv("WSOAK_MESSAGE_RATE", "3")
    assert Options.of(parsed(config=config)).message_rate == 3.0
    assert Options.of(parsed("--message-rate", "4", config=config)).message_rate == 4.0
    assert Options.of(parsed(config=config)).heartbeat == 2.0


def test_an_option_may_be_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    both = ("h:80:127.0.0.1", "g:80:[::1]")
    assert Options.of(parsed("--resolve", both[0], "--resolve", both[1])).resolve == both
    monkeypatch.setenv("WSOAK_RESOLVE", " ".join(both))
    assert Options.of(parsed()).resolve == both
    assert Options.of(None).resolve == ()


NOT_NUMBERS: Final = (
    "",
    "x",
    "nan",
    "NaN",
    "inf",
    "-inf",
    "1e999",
    "-1",
    "0x10",
    None,
    "1;2",
    "2e9",
    "\ud800",
)
NUMBERS: Final = sorted(option.flag for option in OPTIONS if type(option.default) in (int, float))


@pytest.mark.parametrize("text", NOT_NUMBERS)
@pytest.mark.parametrize("flag", NUMBERS)
def test_what_is_no_number_in_range_is_refused(flag: str, text: Any) -> None:
    (sentence,) = mistakes(**{BY_FLAG[flag].dest: text})
    assert sentence.startswith(f"{flag}: ")
    assert sentence.endswith(".")
    assert repr(text) in sentence


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        *[(flag, "0") for flag in ("--handshake-timeout", "--reply-timeout", "--close-timeout")],
        ("--sockets-per-user", "0"),
        ("--sockets-per-user", "1.5"),
        ("--message-size", "0.5"),
        # an interval of more seconds than a float holds
        ("--message-rate", "1e-320"),
        ("--client", "fastest"),
        ("--client", ""),
        ("--checks", "all"),
        ("--reconnect", "None"),
        ("--accounts", "/does/not/exist.csv"),
        ("--accounts", "/"),
        ("--accounts", "nul\0byte"),
        ("--tls-ca", "/does/not/exist.pem"),
        ("--tls-client-cert", "/"),
        ("--gates", "/does/not/exist.toml"),
        ("--gates", "/"),
        ("--gates", "/dev/null"),
        ("--source-ips", "127.0.0.1,localhost"),
        ("--source-ips", "192.0.2.1"),
        ("--source-ips", "256.1.1.1"),
        ("--dns", "ttl=-1"),
        ("--origin", "app.example.com"),
        ("--origin", "https://app.example.com/page"),
        ("--dns", "select=last"),
        ("--resolve", "h:80"),
        ("--resolve", "h:80:127.0.0.1 g:80:nowhere"),
        ("--watch", "999999999"),
        ("--watch", "0"),
        ("--watch", "2147483648"),
        ("--watch", "9" * 5000),
        ("--watch", "²"),
        ("--watch", "-1"),
        ("--watch", "127.0.0.1:9090/metrics"),
        ("--watch", "http://"),
        ("--watch", "http://["),
        ("--watch", "file:///etc/hosts"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_its_option(flag: str, text: str) -> None:
    (sentence,) = mistakes(**{BY_FLAG[flag].dest: text})
    assert sentence.startswith(f"{flag}: ")
    assert sentence.endswith(".")
    assert sentence.count(". ") == 0


def test_every_mistake_is_named_at_once_also_from_the_command_line() -> None:
    given_ = parsed(
        "--client", "x", "--sockets-per-user", "many", "--reply-timeout", "nan", "--reconnect", "y"
    )
    with pytest.raises(BadOptions) as caught:
        Options.of(given_)
    assert [sentence.partition(":")[0] for sentence in caught.value.mistakes] == [
        "--client",
        "--sockets-per-user",
        "--reply-timeout",
        "--reconnect",
    ]


def test_every_mistake_in_the_gates_is_one_of_the_options(tmp_path: Path) -> None:
    path = tmp_path / "gates.toml"
    path.write_text("gates = ['usable >= 99', 'usabel >= 99%']")
    assert mistakes(gates=str(path), client="x") == [
        "--client: 'x' is none of fast, reference.",
        f'--gates: {path}, line 1, gate 1 "usable >= 99": the limit of usable must be a share, '
        "such as 99.9%, not 99.",
        f'--gates: {path}, line 1, gate 2 "usabel >= 99%": unknown figure "usabel"; did you mean "usable"?',
    ]


def test_the_help_shows_the_choices() -> None:
    assert "--client {fast,reference}" in get_parser(default_config_files=[]).format_help()


def test_our_own_process_can_be_watched() -> None:
    assert Options.of(Namespace(watch=str(os.getpid()))).watch == str(os.getpid())


def test_neither_a_mistake_nor_the_record_shows_credentials() -> None:
    secret = "s3cr/et@p:w"
    for url in (f"ftp://user:{secret}@127.0.0.1/", f"http://:{secret}@/"):
        assert all("s3cr" not in sentence and "p:w" not in sentence for sentence in mistakes(watch=url))
    options = Options.of(Namespace(watch="http://me:s3cret@127.0.0.1:1/metrics?key=s3cret"))
    assert "s3cret" in options.watch
    assert "s3cret" not in json.dumps(options.plain())


@given(
    st.dictionaries(
        st.sampled_from([option.dest for option in OPTIONS]), st.text() | st.integers() | st.floats()
    )
)
def test_any_values_give_options_or_as_many_sentences_as_there_are_mistakes(values: dict[str, Any]) -> None:
    try:
        options = Options.of(Namespace(**values))
    except BadOptions as error:
        assert 0 < len(error.mistakes) <= len(values)
        assert all(sentence.startswith("--") for sentence in error.mistakes)
    else:
        json.dumps(options.plain())


def test_an_options_row_is_its_own_documentation() -> None:
    option = Option("--some-thing", 1.5, "Help.")
    assert (option.dest, option.env_var) == ("some_thing", "WSOAK_SOME_THING")
