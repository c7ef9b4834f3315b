"""Accounts: who the users log in as, from a file or counted up, each worker with its own share."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

from wsoak.judge.terminal import safe
from wsoak.judge.words import counted, listed, plural
from wsoak.load.accounts_file import Account, BadAccounts, has_names

log = logging.getLogger(__name__)

SHOWN_CHARACTERS: Final = 200
"""A file's columns are shown up to here."""

COMMON_COLUMNS: Final = frozenset(
    (
        *("account", "login", "name", "user", "user id", "user name", "username", "id", "uid"),
        *("email", "e-mail", "mail", "mobile", "phone", "phone number", "telephone", "device", "device id"),
        *("pass", "passwd", "password", "pin", "pw", "pwd", "secret", "token"),
    )
)
"""Columns that may be named. A CSV file whose header line was forgotten begins with an account: what nobody
calls a column may be its password."""


def check_columns(path: Path, accounts: Sequence[Account], needs: Mapping[str, Collection[str]]) -> None:
    """Refuse accounts without the columns that user classes need.

    Args:
        needs: the columns by the name of the class.

    Raises:
        BadAccounts: for the first account without some of them; it names both those and the file's.
    """
    known = {column for columns in needs.values() for column in columns}
    for number, account in enumerate(accounts, 1):
        if account.keys() >= known:
            continue
        lacking = {name: columns for name, columns in needs.items() if not account.keys() >= set(columns)}
        which = f"Account {number} of the" if number > 1 else "The"
        has = _columns(account, known, sure=has_names(path))
        wants = listed(f"{name} needs {listed(columns)}" for name, columns in lacking.items())
        raise BadAccounts(f"{which} accounts file {path} has {has}; {wants}.")


def _columns(account: Account, known: Collection[str], sure: bool) -> str:
    """The names of an account's columns, in words; ``sure``: they are names, whatever they look like."""
    if not account:
        return "no columns"
    shown = [
        name
        for name in account
        if sure or name in known or name.casefold().replace("_", " ") in COMMON_COLUMNS
    ]
    more = len(account) - len(shown)
    if not shown:
        return f"{counted(more, 'column')} of other names"
    others = [counted(more, "other")] if more else []
    return f"the {plural('column', len(account))} {safe(listed([*shown, *others]), SHOWN_CHARACTERS)}"


class Accounts:
    """The accounts of one worker: every ``workers``-th of all, beginning with its own index.

    Args:
        known: those of the file; where empty, accounts are made by ``made`` from 0, 1, 2, ….
    """

    def __init__(
        self,
        known: Sequence[Account] = (),
        worker_index: int = 0,
        workers: int = 1,
    ) -> None:
        self._own = list(known)[worker_index::workers]
        self._from_file = bool(known)
        self._worker_index = worker_index
        self._workers = workers
        self._given: dict[str, int] = {}
        self._returned: dict[str, list[int]] = {}
        self._warned = False

    def next(self, kind: str, made: Callable[[int], Account]) -> Account:
        """The account of ``take``."""
        return self.take(kind, made)[1]

    def take(self, kind: str, made: Callable[[int], Account]) -> tuple[int, Account]:
        """The first account that no user of this kind has, and a number to give it back by.

        ``made`` makes the n-th where no file was given. A file with fewer accounts than users is begun
        again, with a warning.

        Raises:
            BadAccounts: when the file left none for this worker, or one without what ``made`` would give it.
        """
        number = self._next_number(kind)
        if not self._from_file:
            return number, made(number * self._workers + self._worker_index)
        if not self._own:
            raise BadAccounts("The accounts file holds fewer accounts than there are workers.")
        if number >= len(self._own) and not self._warned:
            self._warned = True
            log.warning(
                "There are more users than accounts (%d): accounts are shared from here on.", len(self._own)
            )
        account = self._own[number % len(self._own)]
        missing = sorted(made(0).keys() - account.keys())
        if missing:
            raise BadAccounts(f"An account in the accounts file has no {' and no '.join(missing)}.")
        return number, account

    def give_back(self, kind: str, number: int) -> None:
        """The user that took this one has ended: a load that falls and rises needs those of its peak."""
        heapq.heappush(self._returned.setdefault(kind, []), number)

    def _next_number(self, kind: str) -> int:
        returned = self._returned.get(kind)
        if returned:
            return heapq.heappop(returned)
        number = self._given.get(kind, 0)
        self._given[kind] = number + 1
        return number
