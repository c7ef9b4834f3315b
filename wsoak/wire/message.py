"""Message: what a server sent, as a scenario sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

_UNREAD: Final = object()

JSON = dict[str, Any] | list[Any] | str | int | float | bool | None
Sendable = str | bytes | dict[str, Any] | list[Any]
"""What a scenario may send: text, bytes (a binary message), or a JSON object or array (sent as text)."""


class Message:
    """A whole message: ``data`` is ``str`` for text and ``bytes`` for binary.

    ``received_ns`` is when its last byte was read, on ``time.perf_counter_ns``. A JSON object can be read
    like a dict: ``message["type"]``, ``message.get("type")``; the text is parsed once, when first asked.
    """

    __slots__ = ("_json", "data", "received_ns")

    def __init__(self, data: str | bytes, received_ns: int) -> None:
        self.data = data
        self.received_ns = received_ns
        self._json: Any = _UNREAD

    @property
    def json(self) -> JSON:
        """The JSON value of the text; ``None`` when it is not JSON (or is ``null``)."""
        if self._json is _UNREAD:
            try:
                self._json = json.loads(self.data)
            except (ValueError, RecursionError):
                self._json = None
        value: JSON = self._json
        return value

    @property
    def size(self) -> int:
        """The payload's bytes."""
        data = self.data
        # of text that is ASCII, the length is that of its UTF-8
        return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())

    def get(self, key: str, default: Any = None) -> Any:
        """A member of the JSON object; ``default`` when it has none, or when this is no JSON object."""
        value = self.json
        return value.get(key, default) if isinstance(value, dict) else default

    def __getitem__(self, key: str) -> Any:
        value = self.json
        if not isinstance(value, dict):
            raise KeyError(key)
        return value[key]

    def __repr__(self) -> str:
        kind = "text" if isinstance(self.data, str) else "binary"
        return f"<Message: {kind}, {len(self.data)} long>"


Predicate = Callable[[Message], Any]
"""Says whether a message is the one that is waited for. Must not block."""


def encode(message: Sendable) -> tuple[bool, bytes]:
    """Whether ``message`` goes out as text, and its payload.

    Raises:
        TypeError: for a value that JSON cannot hold.
        UnicodeEncodeError: for text with half a surrogate pair, which RFC 6455 section 8.1 forbids.
    """
    if isinstance(message, str):
        return True, message.encode()
    if isinstance(message, (bytes, bytearray, memoryview)):
        return False, bytes(message)
    return True, json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def error_text(data: str | bytes | None, limit: int = 300) -> str:
    """The error message in a server's last message, as servers commonly write one; empty where it is none.

    ``{"type": "error", "message": …}``, ``{"error": …}`` or ``{"error": {"message": …}}``.
    """
    if not isinstance(data, str) or "error" not in data:
        return ""
    value = Message(data, 0).json
    if not isinstance(value, dict):
        return ""
    error = value.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    if error is None and value.get("type") == "error":
        error = value.get("message", value.get("detail", "error"))
    return str(error)[:limit] if error else ""
