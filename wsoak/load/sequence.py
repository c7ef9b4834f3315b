"""Sequence: whether numbered pushes came whole, once and in order.

    fed          1 2 3 · 5 6 6 4 7 · 9
    gap                            8     a number that never came
    repeated               6             one that had come before
    reordered                4           one that came after a higher one, and is no gap then

Memory is bounded by ``reach``, however long the sequence: a number that is still missing when one that is
``reach`` higher has come is lost for good, and whatever comes from so far behind counts as repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

REACH: Final = 1000
MOST: Final = 2**53 - 1
"""The greatest number that every JSON reader keeps exactly (RFC 8259 section 6)."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What came of a sequence since it was last asked.

    ``expected``: how many numbers it went on by; ``received``: how many messages came. ``gaps`` of the
    expected never came, the first of them ``first_gap`` (``None`` without gaps); ``repeated`` and
    ``reordered`` are of those received. ``gap_since_ns`` and ``gap_until_ns`` are when the first and the last
    gap were met, by the messages after them, where their times are known.
    """

    expected: int = 0
    received: int = 0
    gaps: int = 0
    repeated: int = 0
    reordered: int = 0
    first_gap: int | None = None
    gap_since_ns: int | None = None
    gap_until_ns: int | None = None

    @property
    def whole(self) -> bool:
        """Whether everything came once and in order."""
        return not (self.gaps or self.repeated or self.reordered)


class Sequence:
    """The numbers of one sequence, each a step of one, as they come.

    Args:
        first: the number that the first message must have; ``None``: whichever it has.
        reach: how far behind the highest number a missing one may still come.
    """

    __slots__ = (
        "_first",
        "_first_gap",
        "_gap_since_ns",
        "_gap_until_ns",
        "_gaps",
        "_highest",
        "_missing",
        "_reach",
        "_received",
        "_reordered",
        "_repeated",
        "_told",
    )

    def __init__(self, first: int | None = None, reach: int = REACH) -> None:
        self._reach = reach
        self._first = first
        # not the number before: a sequence may begin at 0, and its first number at 0 is no repeat
        self._highest = -1 if first is None else first - 1
        self._told = self._highest
        self._missing: dict[int, int | None] = {}
        """When each was found missing. In ascending order, as they are found so, and never moved."""
        self._begin()

    @property
    def highest(self) -> int | None:
        """The highest number so far; ``None`` before the first message."""
        return self._highest if self._first is not None and self._highest >= self._first else None

    def feed(self, seq: object, at_ns: int | None = None) -> bool:
        """Take the number of the next message; ``False``, and nothing counted, where it is none.

        A number is a whole one from 0 to ``MOST``: what a server sends may be anything.

        Args:
            at_ns: when it came, on ``perf_counter_ns``.
        """
        if type(seq) is not int or not 0 <= seq <= MOST:
            return False
        self._received += 1
        if self._first is None:
            self._first, self._highest, self._told = seq, seq, seq - 1
        elif seq > self._highest:
            self._advance(seq, at_ns)
        elif seq in self._missing:
            del self._missing[seq]
            self._reordered += 1
        elif seq < self._first:
            self._reordered += 1
        else:
            self._repeated += 1
        return True

    def take(self, *, over: bool = True) -> Counts:
        """What came since the last ``take``.

        Args:
            over: nothing more will come: what is missing is lost. Otherwise what is within reach is still
                awaited, and told of later if it never comes.
        """
        if over:
            for seq, at_ns in self._missing.items():
                self._lose(seq, at_ns)
            self._missing.clear()
        counts = Counts(
            self._highest - self._told,
            self._received,
            self._gaps,
            self._repeated,
            self._reordered,
            self._first_gap,
            self._gap_since_ns,
            self._gap_until_ns,
        )
        self._told = self._highest
        self._begin()
        return counts

    def _begin(self) -> None:
        self._received = self._gaps = self._repeated = self._reordered = 0
        self._first_gap: int | None = None
        self._gap_since_ns: int | None = None
        self._gap_until_ns: int | None = None

    def _advance(self, seq: int, at_ns: int | None) -> None:
        within = seq - self._reach + 1
        while self._missing and (oldest := next(iter(self._missing))) < within:
            self._lose(oldest, self._missing.pop(oldest))
        skipped = self._highest + 1
        if skipped < within:
            # a leap can be greater than any memory
            self._lose(skipped, at_ns, min(within, seq) - skipped)
        self._missing.update(dict.fromkeys(range(max(skipped, within), seq), at_ns))
        self._highest = seq

    def _lose(self, seq: int, at_ns: int | None, count: int = 1) -> None:
        self._gaps += count
        if self._first_gap is None:
            self._first_gap, self._gap_since_ns = seq, at_ns
        self._gap_until_ns = at_ns
