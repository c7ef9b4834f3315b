"""Names of sockets and calls that a scenario does not name."""

from __future__ import annotations

import base64
import json
import secrets
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsoak.load.names import name_of


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("", "/"),
        ("/", "/"),
        ("?token=abc", "/"),
        ("/chat", "/chat"),
        ("/chat/?room=7", "/chat/"),
        ("/api/v1/ws", "/api/v1/ws"),
        ("/socket.io/", "/socket.io/"),
        ("/oauth2/ws", "/oauth2/ws"),
        ("/real-time-notifications/subscribe", "/real-time-notifications/subscribe"),
        ("/ws/room/42", "/ws/room/{id}"),
        ("/ws/room-42/events", "/ws/room-{id}/events"),
        ("/users/user1042", "/users/user{id}"),
        ("/ws/5f3759df", "/ws/{id}"),
        ("/ws/507f1f77bcf86cd799439011", "/ws/{id}"),
        ("/ws/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/ws/{id}"),
        ("/ws/V1StGXR8_Z5jdHi6B-myT", "/ws/{id}"),
        ("/ws/F47AC10B-58CC-4372-A567-0E02B2C3D479", "/ws/{id}"),
        ("/files/upload_f47ac10b-58cc-4372-a567-0e02b2c3d479.png", "/files/upload_{id}.png"),
    ],
)
def test_a_path_without_a_name_is_named_with_its_ids_folded(path: str, name: str) -> None:
    assert name_of(path) == name


def test_a_token_in_a_path_is_no_part_of_its_name() -> None:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    token = f"{part({'alg': 'HS256'})}.{part({'sub': 'u-7'})}.{secrets.token_urlsafe(32)}A1a"
    assert name_of(f"/ws/{token}/feed") == "/ws/{id}/feed"


@given(st.uuids(), st.uuids())
def test_all_uuids_have_one_name(one: uuid.UUID, other: uuid.UUID) -> None:
    assert name_of(f"/ws/{one}") == name_of(f"/ws/{other}") == name_of(f"/ws/{one.hex}") == "/ws/{id}"


@given(st.text())
def test_any_path_has_a_name_without_a_query(path: str) -> None:
    name = name_of(path)
    assert name
    assert "?" not in name
    assert name_of(name) == name
