"""Prefix variants, as they were registered wrongly in incidents."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsoak.load.checks.variants import MOST, Kind, impossible, variants

TASKS = "/api/v1/ws/tasks/7"


def kinds(path: str) -> dict[str, Kind]:
    return {variant.path: variant.kind for variant in variants(path)}


@pytest.mark.parametrize(
    ("path", "variant", "kind"),
    [
        # the tasks incident: routes registered twice, some under a doubled prefix
        (TASKS, "/api/v1/api/v1/ws/tasks/7", "doubled"),
        (TASKS, "/api/v1/ws/api/v1/ws/tasks/7", "doubled"),
        (TASKS, "/tasks/7", "bare"),
        (TASKS, "/api/v1/ws/ws/tasks/7", "doubled"),
        (TASKS, "/api/v1/ws/tasks/tasks/7", "doubled"),
        (TASKS, "/ws/tasks/7", "moved"),
        (TASKS, "/v1/ws/tasks/7", "moved"),
        (TASKS, "/api/v1/tasks/7", "moved"),
        (TASKS, "/7", "bare"),
        (TASKS, "/api/v1/ws/tasks/7/", "moved"),
        # the roadmap incident: the client's URL lacked /api/v1
        ("/ws/0b1e", "/api/v1/ws/0b1e", "moved"),
        ("/ws/0b1e", "/api/ws/0b1e", "moved"),
        ("/ws/0b1e", "/v1/ws/0b1e", "moved"),
        ("/ws/0b1e", "/0b1e", "moved"),
        ("/ws/0b1e", "/api/v1/api/v1/ws/0b1e", "doubled"),
        ("/ws/0b1e", "/api/v1/ws/api/v1/ws/0b1e", "doubled"),
        # the other way round
        ("/api/v1/ws/0b1e", "/ws/0b1e", "moved"),
        ("/api/v1/ws/0b1e", "/v1/ws/0b1e", "moved"),
        ("/api/v1/ws/0b1e", "/0b1e", "bare"),
        ("/v1/dialogues/ws/s1", "/dialogues/ws/s1", "moved"),
        ("/v1/dialogues/ws/s1", "/api/v1/dialogues/ws/s1", "moved"),
        ("/v1/dialogues/ws/s1", "/v1/v1/dialogues/ws/s1", "doubled"),
        ("/v1/dialogues/ws/s1", "/ws/s1", "bare"),
        ("/ws/call/u1", "/call/u1", "moved"),
        ("/v1/voice/ws", "/voice/ws", "moved"),
        ("/v1/voice/ws", "/v1/ws/voice/ws", "moved"),
        ("/echo", "/ws/echo", "moved"),
        ("/echo", "/api/v1/ws/echo", "moved"),
        ("/echo/", "/echo", "moved"),
        ("/", "/ws", "moved"),
        ("/API/V2/ws/x", "/ws/x", "moved"),
    ],
)
def test_a_route_registered_wrongly_is_among_the_variants(path: str, variant: str, kind: Kind) -> None:
    assert kinds(path).get(variant) == kind


def test_the_query_goes_with_every_variant() -> None:
    with_query = [variant.path for variant in variants(TASKS + "?token=a/b?c&x")]
    assert with_query == [variant.path + "?token=a/b?c&x" for variant in variants(TASKS)]


WORDS = st.sampled_from(["api", "v1", "v2", "ws", "websocket", "tasks", "7", "call"])


@given(st.lists(WORDS, max_size=6), st.booleans())
def test_variants_are_bounded_absolute_different_and_never_the_path_itself(
    words: list[str], slash: bool
) -> None:
    path = "/" + "/".join(words) + ("/" if slash and words else "")
    found = [variant.path for variant in variants(path)]
    assert 0 < len(found) <= MOST
    assert len(set(found)) == len(found)
    assert path not in found
    assert all(each.startswith("/") and "//" not in each for each in found)


def test_a_path_that_cannot_exist_is_a_variant_of_nothing() -> None:
    assert impossible("a1b2") != impossible("a1b3")
    assert impossible("a1b2") not in kinds(TASKS)
