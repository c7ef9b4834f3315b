"""Accounts file: reads the accounts of a file as people and spreadsheets write it.

    .csv, .tsv, …      a header line, and one account a line; commas, semicolons, tabs or bars
    .jsonl, .ndjson    a JSON object a line
    .json              a JSON array of objects

UTF-8, or UTF-16 where the file begins with a byte order mark, as spreadsheets save "Unicode text". No fault
quotes an account.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

Account = dict[str, str]

DELIMITERS: Final = ",;\t|"
"""By precedence, where a header line holds as many of one as of another."""

_SEPARATOR: Final = "sep="
"""Spreadsheets begin a file with this and its delimiter, where that is not the one of the country."""

_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class BadAccounts(ValueError):
    """An accounts file that cannot be used; the message is one sentence and shows no account."""


def read_accounts(path: Path) -> list[Account]:
    """The accounts of a file.

    Raises:
        BadAccounts: when it cannot be read, is empty, or has a line that is no account.
    """
    accounts = _READERS.get(path.suffix.lower(), _read_csv)(path, _text_of(path))
    if not accounts:
        raise BadAccounts(f"The accounts file {path} holds no accounts.")
    return accounts


def has_names(path: Path) -> bool:
    """Whether each account of the file names its members itself, so that they cannot be values."""
    return path.suffix.lower() in _READERS


def _text_of(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadAccounts(f"The accounts file {path} cannot be read: {error.strerror}.") from error
    try:
        text = data.decode("utf-16" if data.startswith(_MARKS) else "utf-8-sig")
    except UnicodeDecodeError:
        # not its cause: that holds the whole file
        raise BadAccounts(
            f"The accounts file {path} is neither UTF-8 nor UTF-16 text: save it as “CSV UTF-8”."
        ) from None
    if "\0" in text:
        raise BadAccounts(f"The accounts file {path} holds null bytes: save it as “CSV UTF-8”.")
    return text


# --------------------------------------------------------------------------------------------------- JSON


def _read_json(path: Path, text: str) -> list[Account]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise BadAccounts(
            f"The accounts file {path} is not a JSON array of objects: for an object a line call it .jsonl."
        )
    return [_account_of(each) for each in value]


def _read_jsonl(path: Path, text: str) -> list[Account]:
    accounts = []
    # not splitlines: JSON may hold line separators of Unicode's
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise BadAccounts(f"Line {number} of the accounts file {path} is not a JSON object.")
        accounts.append(_account_of(value))
    return accounts


def _account_of(value: dict[str, Any]) -> Account:
    return {key: each if isinstance(each, str) else json.dumps(each) for key, each in value.items()}


_READERS: Final[Mapping[str, Callable[[Path, str], list[Account]]]] = MappingProxyType(
    {".json": _read_json, ".jsonl": _read_jsonl, ".ndjson": _read_jsonl}
)


# ---------------------------------------------------------------------------------------------------- CSV


def _read_csv(path: Path, text: str) -> list[Account]:
    delimiter, lines_before, text = _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    header: list[str] = []
    accounts = []

    def line() -> str:
        return f"Line {reader.line_num + lines_before} of the accounts file {path}"

    try:
        for row in reader:
            if not any(field.strip() for field in row):
                # nothing but delimiters: a row that was emptied
                continue
            if not header:
                header = _header(path, row)
                continue
            fields = _without_tail(row, len(header))
            if len(fields) != len(header):
                raise BadAccounts(f"{line()} has {len(row)} fields, and its header {len(header)}.")
            accounts.append(dict(zip(header, fields, strict=True)))
    except csv.Error as error:
        # csv's own words: they quote nothing
        raise BadAccounts(f"{line()} is not CSV: {error}.") from None
    return accounts


def _delimiter(text: str) -> tuple[str, int, str]:
    """What parts the fields, how many lines come before the header, and the text without those."""
    blank = len(text) - len(text.lstrip("\r\n"))
    first, _, rest = text[blank:].partition("\n")
    named = first.rstrip("\r").strip('"')
    if named.lower().startswith(_SEPARATOR) and len(named) == len(_SEPARATOR) + 1:
        return named[-1], text[: len(text) - len(rest)].count("\n"), rest
    return max(DELIMITERS, key=first.count), 0, text


def _header(path: Path, row: list[str]) -> list[str]:
    names = [name.strip() for name in row]
    while names and not names[-1]:
        # a delimiter at each line's end
        names.pop()
    if "" in names:
        raise BadAccounts(f"Column {names.index('') + 1} of the accounts file {path} has no name.")
    twice = next((number for number, name in enumerate(names, 1) if names.index(name) + 1 < number), None)
    if twice is not None:
        raise BadAccounts(f"Column {twice} of the accounts file {path} has the name of another column.")
    return names


def _without_tail(row: list[str], columns: int) -> list[str]:
    """The row without empty fields that the header has no names for."""
    end = len(row)
    while end > columns and not row[end - 1].strip():
        end -= 1
    return row[:end]
