"""``python -m wsoak COMMAND``: what is done before, after and beside a load.

Exit codes: 0; 2 for a mistake in the use; 4 where something is wrong with the server, or nothing was found;
130 where it was interrupted, which ends its users in order; 141 where nobody reads what it says.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from wsoak import __version__
from wsoak.commands.exits import EXIT_INTERRUPTED, EXIT_UNHEARD, Refused, say
from wsoak.judge import streams

COMMANDS: Final = {
    "check": "check the server and the scenarios, as a run does before its load",
    "routes": "find out at which prefixes a WebSocket path answers",
    "token": "mint an HS256 token, and print it",
    "clean": "remove what a run left on the server",
}
"""Each is a module of ``wsoak.commands`` with a ``main``, imported when it is called for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    streams.never_fail_to_encode()
    listed = "\n".join(f"  {name:8} {help_}" for name, help_ in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m wsoak",
        description=__doc__.partition(":")[2].strip().split("\n")[0].capitalize() if __doc__ else None,
        epilog=f"commands:\n{listed}\n\nEach has a --help of its own.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"wsoak {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=", ".join(COMMANDS))
    # else a missing command would be called a missing "arguments", too
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS).required = False
    options = parser.parse_args(arguments)
    command = import_module(f"wsoak.commands.{options.command}")
    code: int = EXIT_UNHEARD
    try:
        code = command.main(options.arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except Refused as refused:
        return say(refused)
    except KeyboardInterrupt:
        print("Interrupted: nothing is concluded.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # the reader of our output has gone (`| head`): nothing is left to say, not even at exit
        streams.silence(sys.stdout)
    return code


if __name__ == "__main__":
    # what its users began on the server must be ended, whoever stops it
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
