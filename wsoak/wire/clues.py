"""Clues: where in a message the id of a request is, when ``reply_id`` did not find it there.

A scenario whose ``reply_id`` looks in the wrong place gets no answers, though the server gives them all.
What came is compared with the ids of the requests that wait, and the place is told in words: names of fields
and our own, and never a value or a text that the server sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from wsoak.wire.message import Message

LONGEST: Final = 10_000
"""A longer message is not looked at: it would hold up the event loop."""
DEPTH: Final = 4
"""Fields deeper than this are not looked at."""
VALUES: Final = 200
"""At most so many values of a message are looked at."""
ELEMENTS: Final = 5
"""At most so many elements of an array are looked at."""
SEARCHED_FOR: Final = 16
"""At most so many ids are searched for inside texts."""
FIELDS: Final = 6
"""At most so many fields of a message are named."""
NAME_LIMIT: Final = 40
TELLING_LENGTH: Final = 4
"""A shorter id can stand in a text, or be some number's value, by chance."""

_ID_LIKE: Final = re.compile(r"id|key|ref|reply|req|corr|nonce|tag|token|ack|nr|num", re.IGNORECASE)


def clue(keys: Iterable[Any], message: Message) -> str | None:
    """Where ``message`` holds one of these ids of requests, in words; ``None`` where it holds none.

    The words complete "the id of a request is …".
    """
    if len(message.data) > LONGEST:
        return None
    wanted = {str(key): key for key in keys if isinstance(key, str | int) and not isinstance(key, bool)}
    places = list(islice(_leaves(message.json, "", 0), VALUES))
    for path, found in places:
        if (place := _at(wanted, path, found)) is not None:
            return place
    long_keys = (key for key in wanted.values() if isinstance(key, str) and len(key) >= TELLING_LENGTH)
    for key in islice(long_keys, SEARCHED_FOR):
        if (place := _inside(key, message, places)) is not None:
            return place
    return None


def describe(message: Message) -> str:
    """What sort of message this is, in words; of what the server sent, names of fields alone."""
    if len(message.data) > LONGEST:
        return f"a message longer than {LONGEST:,}"
    value = message.json
    if isinstance(value, dict):
        names = [_name(name) for name in islice(value, FIELDS)]
        more = ", …" if len(value) > FIELDS else ""
        return f"a JSON object with the fields {', '.join(names)}{more}" if names else "an empty JSON object"
    if isinstance(value, list):
        return "a JSON array"
    return "a text that is no JSON" if isinstance(message.data, str) else "a binary message"


def _leaves(value: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and depth < DEPTH:
        for name, member in islice(value.items(), VALUES):
            yield from _leaves(member, f"{path}.{_name(name)}" if path else _name(name), depth + 1)
    elif isinstance(value, list) and depth < DEPTH:
        for element in value[:ELEMENTS]:
            yield from _leaves(element, f"{path}[]", depth + 1)
    elif path and not isinstance(value, dict | list):
        yield path, value


def _at(wanted: Mapping[str, str | int], path: str, value: Any) -> str | None:
    """The place, where a field's value is one of the ids."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value)
    key = wanted.get(text)
    if key is None or (len(text) < TELLING_LENGTH and not _ID_LIKE.search(path)):
        return None
    if isinstance(value, str) == isinstance(key, str):
        return f"in the field `{path}`"
    as_text = "as text, and not as a number" if isinstance(value, str) else "as a number, and not as text"
    return f"in the field `{path}`, {as_text}"


def _inside(key: str, message: Message, places: Iterable[tuple[str, Any]]) -> str | None:
    """The place, where the id stands among other text."""
    for path, value in places:
        if isinstance(value, str) and key in value:
            return f"in the field `{path}`, among other text"
    data = message.data
    if isinstance(data, bytes):
        return "in a binary message" if key.encode(errors="replace") in data else None
    at = data.find(key)
    if at < 0:
        return None
    if at == 0:
        return "at the beginning of the text"
    before = f"{at:,} other characters stand" if at > 1 else "1 other character stands"
    return f"in the text, which does not begin with it: {before} before it"


def _name(name: str) -> str:
    return name if len(name) <= NAME_LIMIT else name[:NAME_LIMIT] + "…"
