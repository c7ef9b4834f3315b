"""Routes: tells a route that is not there from a refusal or a crash, by what other paths answer.

Servers answer 404 where there is no route, most of them; Starlette answers 403, Channels 500. The first such
answer of a run and socket name is looked into, once, beside the load: our path with the host's own origin, a
path that cannot exist, and the prefix variants of ours are asked for.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import gevent
from gevent.pool import Group

from wsoak.judge.words import listed
from wsoak.ledger.recorder import Recorder
from wsoak.load.checks.answers import Answer, Prober
from wsoak.load.checks.origins import REFUSED, refused_origin, unless_refused
from wsoak.load.checks.variants import Variant, impossible, variants
from wsoak.wire.connection import Connection
from wsoak.wire.dial import Request
from wsoak.wire.endpoint import Endpoint, mask_query

SUSPECT: Final = frozenset({403, 404, 500})
MOST_NAMES: Final = 8
"""So many socket names of a process are looked into: a name may hold an id, and be new each time."""
PATIENCE_S: Final = 15.0
GRACE_S: Final = 2.0
"""How long the end of a run waits for a look that is under way."""
NAMED: Final = 3

NOT_FOUND: Final = "route-not-found"
DOUBLED: Final = "route-doubled"

Tried = tuple[Variant, Answer]
Opened = dict[str, tuple[Endpoint, Request]]
"""By socket name: where it goes, and what it asks for."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a path's neighbourhood answers: a path that cannot exist, and the path's variants."""

    nowhere: Answer
    nowhere_path: str
    tried: Sequence[Tried]


@dataclass(frozen=True, slots=True)
class Verdict:
    """An observation: the finding that it speaks for, and the evidence."""

    finding: str
    text: str


def same(path: str, answer: Answer, nowhere_path: str, nowhere: Answer) -> bool:
    """Whether two paths got the same answer, but for the path in it."""
    return answer.status == nowhere.status and (
        answer.body.replace(path.partition("?")[0], "")
        == nowhere.body.replace(nowhere_path.partition("?")[0], "")
    )


def answering(look: Look) -> list[Tried]:
    """The variants at which a socket is served, or refused by name; where some stay open, those alone."""
    there = [
        (variant, answer)
        for variant, answer in look.tried
        if answer.status != look.nowhere.status and answer.status in (101, 401, 403)
    ]
    return [each for each in there if each[1].stays] or [each for each in there if each[1].is_open] or there


def is_missing(path: str, ours: Answer, look: Look) -> bool:
    """Whether the server answers our path as it answers one that cannot exist."""
    return ours.status in SUSPECT and same(path, ours, look.nowhere_path, look.nowhere)


def verdict(path: str, ours: Answer, look: Look, besides: str = "") -> Verdict | None:
    """What the answers say of ``path``; ``None`` where it is there, and refuses or crashes.

    ``besides``: what the answer 404 may mean else, in words.
    """
    found = answering(look)
    missing = is_missing(path, ours, look)
    if not missing and not (ours.status == 404 and found):
        return None
    shown = mask_query(path)
    nowhere = (
        f"as a path that cannot exist does ({look.nowhere.words})" if missing else "though others answer"
    )
    elsewhere = [f"{mask_query(variant.path)} ({answer.words})" for variant, answer in found[:NAMED]]
    if not elsewhere:
        also = besides if ours.status == 404 else "unless it refuses everybody alike"
        also = f", {also}" if also else ""
        return Verdict(NOT_FOUND, f"{shown} answers {ours.words}, {nowhere}: it is no route{also}.")
    text = f"{shown} answers {ours.words}, {nowhere}, and a socket is at {listed(elsewhere)}."
    doubled = any(variant.kind != "moved" for variant, _ in found)
    return Verdict(DOUBLED if doubled else NOT_FOUND, text)


def besides(path: str, look: Look) -> Verdict | None:
    """Whether a route that answers at ``path`` does so at a doubled or bare variant as well."""
    twice = [each for each in answering(look) if each[0].kind != "moved"]
    if not twice:
        return None
    elsewhere = [f"{mask_query(variant.path)} ({answer.words})" for variant, answer in twice[:NAMED]]
    return Verdict(DOUBLED, f"{mask_query(path)} is served at {listed(elsewhere)} as well.")


def look(prober: Prober, endpoint: Endpoint, request: Request) -> Look:
    """Ask for a path that cannot exist, and for the variants of the request's."""
    nowhere = endpoint.resource(impossible(secrets.token_hex(8)))
    near = variants(endpoint.resource(request.path))
    first, *others = prober.answers(endpoint, request, [nowhere, *(variant.path for variant in near)])
    return Look(first, nowhere, list(zip(near, others, strict=True)))


class RouteProbe:
    """Looks into the first suspect answer of each socket name, on greenlets of its own.

    Args:
        recorder: takes the observations.
        prober: makes one for each look.

    Attributes:
        opened: the endpoint and request of the first socket of a name that opened; of the first few names.
    """

    def __init__(self, recorder: Recorder, prober: Callable[[], Prober]) -> None:
        self._recorder = recorder
        self._prober = prober
        self._looked_into: set[str] = set()
        self._greenlets = Group()
        self.opened: Opened = {}

    def saw(self, connection: Connection, endpoint: Endpoint, request: Request) -> None:
        """A user has tried to open a socket; comes back at once."""
        name, opening = connection.name, connection.opening
        if opening.status == 101:
            if name not in self.opened and len(self.opened) < MOST_NAMES:
                self.opened[name] = (endpoint, request)
        elif opening.status in SUSPECT and name not in self._looked_into:
            # what was there before is refused now, or crashes; 404 may be one instance of several
            known = name in self.opened and opening.status != 404
            if not known and len(self._looked_into) < MOST_NAMES:
                self._looked_into.add(name)
                ours = Answer(opening.outcome, opening.body)
                self._greenlets.spawn(self._look_into, name, endpoint, request, ours)

    def wait(self, timeout_s: float = PATIENCE_S) -> None:
        """Wait for the looks that are under way."""
        self._greenlets.join(timeout_s)

    def stop(self) -> None:
        """End, and wait a little for what is under way: what it finds is of use to the run's judgement."""
        self.wait(GRACE_S)
        self._greenlets.kill()

    def _look_into(self, name: str, endpoint: Endpoint, request: Request, ours: Answer) -> None:
        path = endpoint.resource(request.path)
        with gevent.Timeout(PATIENCE_S, False), self._prober() as prober:
            by_origin = refused_origin(prober, endpoint, request, ours)
            if by_origin is not None:
                self._recorder.observe(REFUSED, name, 1, 1, by_origin)
                return
            seen = look(prober, endpoint, request)
            said, status = verdict(path, ours, seen, unless_refused(request)), ours.status
            if said is not None and status in (403, 500) and not answering(seen):
                # a gateway that refuses all answers as a framework does where it has no route
                said = None if prober.refuses_everybody(endpoint, path, status) else said
            if said is not None:
                self._recorder.observe(said.finding, name, 1, 1, said.text)
