"""Early: messages that left before the time for which they were meant.

For each message sent >= due and response >= service hold, where response counts from the due time and service
from the send. The recorder counts those that break it (``sent_early``). Runs of an older wsoak have no such
count, but their histograms can show it: values that are each at least as large as another series' values stay
so when both are sorted.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from wsoak.judge.doubt import Doubt, Header
from wsoak.judge.words import counted, were
from wsoak.ledger.books import Books


def sent_early(books: Books, _header: Header) -> Iterator[Doubt]:
    """The doubt ``response-below-service``."""
    early = early_messages(books)
    if early:
        yield Doubt(
            "response-below-service",
            f"{counted(early, 'message')} {were(early)} sent before the time for which they were meant: "
            "response times, which count from that time, are below service times, and too short.",
            "Do not send before the moment that `paced` yields, nor with an `intended_ns` that is still to "
            "come; where the scenario does neither, it is a defect of wsoak's: report it.",
            invalid=True,
        )


def early_messages(books: Books) -> int:
    """How many messages are known to have been sent early; at least so many, in a run of an older wsoak."""
    return sum(max(books.count("sent_early", name), _shown(books, name)) for name in sorted(books.totals))


def _shown(books: Books, name: str) -> int:
    """How many more responses than services of a name lie at or below some duration, at most."""
    response, service = (books.latency.get((kind, name)) for kind in ("response", "service"))
    if response is None or service is None or response.total != service.total:
        return 0
    surplus: dict[int, int] = {}
    for histogram, sign in ((response, 1), (service, -1)):
        for bucket, count in zip(*map(list, histogram.filled()), strict=True):
            surplus[bucket] = surplus.get(bucket, 0) + sign * int(count)
    return max([0, *accumulate(surplus[bucket] for bucket in sorted(surplus))])
