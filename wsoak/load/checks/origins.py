"""Origins: a refusal for want of an ``Origin`` that the server allows, told from other refusals.

A browser always sends the origin of its page (RFC 6455 section 4.1), and servers compare it with those
that they allow (section 10.2). Other clients send none: some servers refuse them, with 403 or in the very
words of a missing route, as ActionCable does. The host's own origin is allowed nearly everywhere.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from wsoak.load.checks.answers import Answer, Prober
from wsoak.wire.dial import Request
from wsoak.wire.endpoint import Endpoint, mask_query

REFUSED: Final = "origin-refused"
SUSPECT: Final = frozenset({400, 401, 403, 404})

_SCHEMES: Final = {"ws": "http", "wss": "https"}


def own_origin(endpoint: Endpoint) -> str:
    """The origin of a page that the host itself serves (RFC 6454 section 6.2)."""
    return f"{_SCHEMES[endpoint.scheme]}://{endpoint.authority}"


def origin_of(request: Request) -> str | None:
    """The ``Origin`` that a request sends; ``None`` where it sends none."""
    given = [value for name, value in request.headers if name.lower() == "origin"]
    return given[0] if given else request.origin


def refused_origin(prober: Prober, endpoint: Endpoint, request: Request, ours: Answer) -> str | None:
    """What shows that the server refused the request's origin: the host's own opens a socket.

    ``None`` where nothing shows it.
    """
    own, sent = own_origin(endpoint), origin_of(request)
    if ours.status not in SUSPECT or sent == own:
        return None
    headers = [(name, value) for name, value in request.headers if name.lower() != "origin"]
    answer = prober.answer(endpoint, replace(request, headers=headers, origin=own))
    # a server that refuses now and then, whatever the origin, is another matter
    if not answer.is_open or prober.answer(endpoint, request).status != ours.status:
        return None
    without = "without an Origin" if sent is None else "with our Origin"
    path = mask_query(endpoint.resource(request.path))
    return f"{path} answers {ours.words} {without}, and {answer.words} with the host's own, {own}."


def unless_refused(request: Request) -> str:
    """What a 404 may mean besides, in words: the origins that a server allows are its own affair."""
    want = "for want of an Origin" if origin_of(request) is None else "this Origin"
    return f"unless the server refuses {want} in these words (--origin)"
