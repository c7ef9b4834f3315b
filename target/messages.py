"""Messages: what the JSON messages of all systems have in common.

A text frame holds one JSON object. What breaks the contract is answered with an error message and a close.
"""

import json
from typing import Any, TypeGuard

from target.httpd import is_text

MAX_ID_CHARACTERS = 128

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class MessageError(Exception):
    """A message that breaks the contract, with the close code for it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def read_object(text: str) -> dict[str, Any]:
    """A text message as a JSON object; raises MessageError."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise MessageError(1007, "Message is not JSON") from None
    if not isinstance(message, dict):
        raise MessageError(1007, "Message is not a JSON object")
    return message


def is_message_id(value: object) -> TypeGuard[str | int]:
    """Whether a value can be the id of a message: a string that is not too long, or an integer of 64 bits."""
    if isinstance(value, str):
        return 0 < len(value) <= MAX_ID_CHARACTERS and is_text(value)
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def error_text(message: str) -> str:
    """An error as it goes over the socket."""
    return encode({"type": "error", "message": message})
