"""``python -m wsoak check``: the checks before a load, alone.

Without a host, the embedded target is checked. Exit code 0 where all is well, 4 where a load would be
stopped, or a door is open.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from wsoak.commands.exits import EXIT_FAILED, EXIT_OK, Refused
from wsoak.commands.locustfile import Loaded, load

if TYPE_CHECKING:
    from wsoak.load.checks.preflight import Checked
    from wsoak.load.options import Options
    from wsoak.load.target_process import TargetProcess

MOST_USERS: Final = 10_000_000


def main(arguments: Sequence[str]) -> int:
    """Run the command; its exit code.

    Raises:
        Refused: when an argument cannot be used.
    """
    loaded = load("check", __doc__, arguments, _declare)
    checked = _check(loaded)
    for line in checked.outcome.lines():
        print(line)
    sentence = checked.outcome.sentence()
    if sentence:
        print(sentence, file=sys.stderr)
    doors_open = any(door.accepted for door in checked.outcome.doors)
    return EXIT_FAILED if sentence or doors_open else EXIT_OK


def _declare(parser: Any) -> None:
    parser.add_argument("--security", action="store_true", help="try the doors that must be shut, too")
    parser.add_argument(
        "-u", "--users", type=int, default=1, metavar="N", dest="num_users", help="planned users; default: 1"
    )


def _check(loaded: Loaded) -> Checked:
    from wsoak.load.accounts_file import BadAccounts
    from wsoak.load.host import mistakes_in
    from wsoak.load.options import BadOptions, Options
    from wsoak.load.target_process import TargetFailed, TargetProcess

    parsed = loaded.parsed
    hosts = [parsed.host] if parsed.host else [each.host for each in loaded.user_classes if each.host]
    found = mistakes_in(parsed, *hosts)
    if not 0 < parsed.num_users <= MOST_USERS:
        found.append(f"--users: {parsed.num_users} is not a number of users.")
    if found:
        raise Refused(*found)
    target = None
    try:
        if not hosts:
            target = TargetProcess(max(2_000, parsed.num_users))
        return _checked(loaded, Options.of(parsed), target)
    except (BadAccounts, BadOptions, TargetFailed) as error:
        raise Refused(str(error)) from None
    finally:
        if target is not None:
            target.stop()


def _checked(loaded: Loaded, options: Options, target: TargetProcess | None) -> Checked:
    from wsoak.load.checks.limits import Plan
    from wsoak.load.checks.preflight import check
    from wsoak.load.checks.rehearsal import Where

    parsed: Namespace = loaded.parsed
    host = target.url if target is not None else parsed.host
    run_id = f"check-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    where = Where(options, host, run_id, embedded=target is not None, parsed=parsed)
    plan = Plan(parsed.num_users, options.sockets_per_user, sources=max(1, len(options.source_ips)))
    return check(loaded.user_classes, where, plan, security=parsed.security or options.checks == "security")
