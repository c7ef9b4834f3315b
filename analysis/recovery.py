"""Recovery: mass drops of sockets in a run, and how their users came back.

    open sockets
    before ┤──────┐                    ┌──────  95 % of before: recovered
           │      │              ┌─────┘
           │      │      ┌───────┘
         0 ┤      └──────┘
                  at     reconnects …  at + recovered_s

What a mass drop is, how it is found and measured, and the words for it are in ``wsoak.judge.drops``, as the
terminal tells of them too. Times are those of the sockets' own rows, to the microsecond; the seconds of the
timeline are used only for sockets that have no row yet, in a run that was cut or goes on.
"""

from __future__ import annotations

import json
from typing import Final

import numpy as np
import pandas as pd

from wsoak.judge import drops
from wsoak.judge.drops import NO_WAY, Attempts, MassDrop, by_others, fate, sentences
from wsoak.ledger.books import Books
from wsoak.ledger.outcomes import CANCELLED, DROPPED, OPEN

__all__ = ["MassDrop", "mass_drops", "sentences"]

_DROPPED: Final = json.dumps(DROPPED)
"""As a row has it: what may be a server's text is a JSON string."""


def mass_drops(connections: pd.DataFrame, books: Books) -> list[MassDrop]:
    """The mass drops of a run, in the order of their times; see ``drops.mass_drops``.

    Args:
        connections: the run's rows, as ``frames.read_connections`` gives them.
        books: the run's books.
    """
    return drops.mass_drops(_attempts(connections), books)


def _attempts(connections: pd.DataFrame) -> Attempts:
    names, all_names = pd.factorize(connections["name"].astype("object"))
    ways, all_ways = _ways(connections)
    outcomes, all_outcomes = pd.factorize(connections["outcome"].astype("object"))
    fates = np.array([fate(str(outcome)) for outcome in all_outcomes], dtype=np.int64)[outcomes]
    times = {
        column: connections[column].to_numpy(dtype=np.float64)
        for column in ("started_at", "opened_at", "ended_at")
    }
    return Attempts(
        tuple(map(str, all_names)),
        all_ways,
        names=names.astype(np.int64),
        ways=ways,
        fates=np.where(connections["attempt"] > 0, fates, fate(CANCELLED)),
        opened=_opened(connections).to_numpy(dtype=bool),
        **times,
    )


def _opened(connections: pd.DataFrame) -> pd.Series:
    return (connections["outcome"] == OPEN) & connections["age_s"].notna()


def _ways(connections: pd.DataFrame) -> tuple[drops.Ints, tuple[str, ...]]:
    """How each that others ended did so, and all the ways there are."""
    by_shape = connections["reason"] == _DROPPED
    bad = _opened(connections) & by_others(connections["initiator"], connections["code"], by_shape)
    ended = connections[bad]
    by = "by " + ended["initiator"].astype("object").astype("str")
    by = by.mask(ended["initiator"] == "client", DROPPED)
    code = ended["code"].astype("Int64").astype("string").fillna("").astype("object")
    kinds, known = pd.factorize(pd.MultiIndex.from_arrays([code, ended["detail"].astype("object"), by]))
    found = np.full(len(connections), NO_WAY, dtype=np.int64)
    found[np.flatnonzero(bad.to_numpy(dtype=bool))] = kinds
    return found, tuple(drops.way(*each) for each in known)
