"""Accounts: who the users log in as, from a file or counted up, each worker with its own share."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

log = logging.getLogger(__name__)

Account = dict[str, str]


class BadAccounts(ValueError):
    """An accounts file that cannot be used; the message is one sentence and shows no account."""


def read_accounts(path: Path) -> list[Account]:
    """The accounts of a file: JSONL (an object a line) where its name ends so, else CSV with a header line.

    Raises:
        BadAccounts: when it cannot be read, is empty, or has a line that is no account.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadAccounts(f"The accounts file {path} cannot be read: {error}.") from error
    reader = _read_jsonl if path.suffix in (".jsonl", ".ndjson") else _read_csv
    accounts = reader(path, text)
    if not accounts:
        raise BadAccounts(f"The accounts file {path} holds no accounts.")
    return accounts


def _read_jsonl(path: Path, text: str) -> list[Account]:
    accounts = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise BadAccounts(f"Line {number} of the accounts file {path} is not a JSON object.")
        accounts.append({str(key): str(member) for key, member in value.items()})
    return accounts


def _read_csv(path: Path, text: str) -> list[Account]:
    rows = [row for row in csv.reader(text.splitlines()) if row]
    header, body = rows[:1], rows[1:]
    for number, row in enumerate(body, 2):
        if len(row) != len(header[0]):
            raise BadAccounts(
                f"Row {number} of the accounts file {path} has {len(row)} fields, "
                f"and its header {len(header[0])}."
            )
    return [dict(zip(header[0], row, strict=True)) for row in body]


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

    def next(self, kind: str, made: Callable[[int], Account]) -> Account:
        """The next account for users of this kind; ``made`` makes the n-th where no file was given.

        A file with fewer accounts than users is begun again, with a warning.

        Raises:
            BadAccounts: when the file left none for this worker.
        """
        number = self._given.get(kind, 0)
        self._given[kind] = number + 1
        if not self._from_file:
            return made(number * self._workers + self._worker_index)
        if not self._own:
            raise BadAccounts("The accounts file holds fewer accounts than there are workers.")
        if number == len(self._own):
            log.warning(
                "There are more users than the %d accounts: accounts are shared from here on.", number
            )
        return self._own[number % len(self._own)]
