"""``python -m wsoak clean``: remove what a run left on the server, such as one that was killed.

The host is the one in the run's own record where that is there (a run directory, or ``results/ID``). Exit
code 0 where the server did as it was asked, 4 where it did not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wsoak.commands.exits import EXIT_FAILED, EXIT_OK, Refused
from wsoak.commands.locustfile import load

if TYPE_CHECKING:
    from wsoak.load.checks.rehearsal import Where
    from wsoak.load.user import WebSocketUser

RESULTS: Final = Path("results")


def main(arguments: Sequence[str]) -> int:
    """Run the command; its exit code.

    Raises:
        Refused: when an argument cannot be used.
    """
    loaded = load("clean", __doc__, arguments, _declare)
    from wsoak.load.accounts_file import BadAccounts
    from wsoak.load.checks.rehearsal import Where
    from wsoak.load.host import mistakes_in
    from wsoak.load.options import BadOptions, Options
    from wsoak.load.user import WebSocketUser

    parsed = loaded.parsed
    run_id, its_host, scenarios = _run(parsed.run)
    host = parsed.host or its_host
    classes = loaded.user_classes
    if not parsed.user_classes and scenarios:
        classes = [each for each in classes if each.__name__ in scenarios]
    classes = [each for each in classes if each.clear is not WebSocketUser.clear]
    found = mistakes_in(parsed, host)
    if host is None and not all(each.host for each in classes):
        found.append("Give a --host: no record of this run is here that would name its server.")
    if found:
        raise Refused(*found)
    if not classes:
        print("None of the scenarios leaves anything on the server.")
        return EXIT_OK
    where = Where(Options.of(parsed), host, run_id, parsed=parsed)
    try:
        # all of them, also after one that failed
        well = [_clear(each, where) for each in classes]
    except (BadAccounts, BadOptions) as error:
        raise Refused(str(error)) from None
    return EXIT_OK if all(well) else EXIT_FAILED


def _declare(parser: Any) -> None:
    parser.add_argument("--run", required=True, metavar="ID|RUN_DIR", help="the run that left it")


def _run(text: str) -> tuple[str, str | None, list[str]]:
    """The id, host and scenarios of a run; what nothing is known of is ``None`` or empty."""
    from wsoak.ledger.rundir import RUN_FILE, RunReader, UnreadableRun

    if not text.strip():
        raise Refused("--run is empty: give a run's id, or its directory, such as results/ID.")
    for path in (Path(text), RESULTS / text):
        # not is_file: it raises where a name is too long for the file system, which an id may be
        if os.path.isfile(path / RUN_FILE):  # noqa: PTH113
            try:
                reader = RunReader(path)
            except UnreadableRun as error:
                raise Refused(str(error)) from None
            host, scenarios = reader.header.get("host"), reader.header.get("scenarios")
            names = [str(name) for name in scenarios] if isinstance(scenarios, list) else []
            return reader.run_id, host if isinstance(host, str) and host else None, names
    if os.path.exists(text) or "/" in text:  # noqa: PTH110
        raise Refused(f"{text} holds no run: give a run's id, or its directory, such as results/ID.")
    return text, None, []


def _cleared(user: WebSocketUser, run_id: str) -> int:
    """How many things a user removed.

    Raises:
        Misreturned: when its ``clear`` returns anything else.
    """
    from wsoak.load.checks.rehearsal import Misreturned, sort_of

    count: object = user.clear(run_id)
    if isinstance(count, int):
        return count
    raise Misreturned(user, "clear", "how many things it removed, as a whole number", sort_of(count))


def _clear(user_class: type[WebSocketUser], where: Where) -> bool:
    """Have one scenario remove what is its own; whether the server did as it was asked."""
    from wsoak.judge.terminal import safe
    from wsoak.judge.words import counted
    from wsoak.load.checks.rehearsal import Rehearsal, Unmade

    removed: list[int] = []
    name = user_class.__name__
    try:
        with Rehearsal(user_class, where) as rehearsal:
            rehearsal.do(lambda user: removed.append(_cleared(user, where.run_id)))
            failed = list(rehearsal.requests.failed)
        wrong = rehearsal.mistake or ("it took too long" if rehearsal.late else "; ".join(failed))
    except Unmade as error:
        wrong = str(error)
    if wrong or not removed:
        print(f"{name}: not cleaned up: {safe(wrong, 400) or 'the scenario gave up'}")
        return False
    print(f"{name}: {counted(removed[0], 'thing')} of run {safe(where.run_id)} removed")
    return True
