"""Locustfile: the user classes that a command line names, and the options, as ``locust`` would read them."""

from __future__ import annotations

import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from wsoak.commands.exits import OneSentenceParser, Refused

if TYPE_CHECKING:
    from wsoak.load.user import WebSocketUser

DEFAULT: Final = "locustfile.py"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A command line, read: its options, with wsoak's and the locustfile's own, and the user classes."""

    parsed: Namespace
    user_classes: list[type[WebSocketUser]]


def load(command: str, about: str | None, arguments: Sequence[str], declare: Callable[[Any], Any]) -> Loaded:
    """Import the locustfile, and read the command line.

    Args:
        about: the command's description.
        declare: adds the command's own options to a parser.

    Raises:
        Refused: when the locustfile cannot be imported, or a user class is not in it.
        SystemExit: with 2 for an option that is not known, with 0 for a help.
    """
    first = OneSentenceParser(add_help=False, allow_abbrev=False, prog=f"python -m wsoak {command}")
    first.add_argument("-f", "--locustfile", default=os.environ.get("LOCUST_LOCUSTFILE") or DEFAULT)
    file = first.parse_known_args(arguments)[0].locustfile
    classes = _classes_of(file)
    parser = _parser(command, about)
    parser.add_argument(
        "-f",
        "--locustfile",
        metavar="FILE",
        default=file,
        env_var="LOCUST_LOCUSTFILE",
        help="default: locustfile.py",
    )
    parser.add_argument(
        "-H",
        "--host",
        metavar="URL",
        default=None,
        env_var="LOCUST_HOST",
        help="the server: http(s) or ws(s)://HOST[:PORT]",
    )
    parser.add_argument("user_classes", nargs="*", metavar="UserClass", help="default: all of the locustfile")
    declare(parser)
    parsed = parser.parse_args(list(arguments))
    names = parsed.user_classes or sorted(classes)
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise Refused(f"{file} has no user class {unknown[0]!r}: it has {', '.join(sorted(classes))}.")
    _interrupt_in_order()
    return Loaded(parsed, [classes[name] for name in names])


def _interrupt_in_order() -> None:
    """Have a signal interrupt whoever waits for the users, where it would interrupt one of them."""
    from wsoak.load.stopping import interrupt_between_turns

    # as ``__main__`` has it: in a process that is another's, signals are its own
    if signal.getsignal(signal.SIGTERM) is signal.default_int_handler:
        interrupt_between_turns(lambda: None)


def _parser(command: str, about: str | None) -> Any:
    import locust
    from locust.argument_parser import LocustArgumentParser

    # without Locust's config files: they hold options that are none of this command's
    parser = LocustArgumentParser(
        prog=f"python -m wsoak {command}", description=about, add_env_var_help=False, allow_abbrev=False
    )
    # wsoak's options, and those that the locustfile declares
    locust.events.init_command_line_parser.fire(parser=parser)  # type: ignore[no-untyped-call]
    return parser


def _classes_of(file: str) -> dict[str, type[WebSocketUser]]:
    # its patches come before all sockets
    import locust  # noqa: F401
    from locust.util.load_locustfile import load_locustfile

    from wsoak.load.user import WebSocketUser

    if not os.path.isfile(file):  # noqa: PTH113 - Locust takes a text
        raise Refused(f"{file} is not a locustfile: name one with -f.")
    try:
        found, _ = load_locustfile(os.path.abspath(file))  # noqa: PTH100
    except Exception as error:  # noqa: BLE001 - a locustfile may raise anything
        sys.excepthook(type(error), error, error.__traceback__)
        raise Refused(f"{file} cannot be imported: {type(error).__name__}.") from None
    ours = {name: each for name, each in found.items() if issubclass(each, WebSocketUser)}
    if not ours:
        # to check nothing is no check that passed
        raise Refused(f"{file} has no user class that is a WebSocketUser: there is nothing to do.")
    return ours
