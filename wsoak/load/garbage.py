"""Garbage: Python's cyclic collector, told what is here to stay."""

from __future__ import annotations

import gc
from typing import Final

THRESHOLDS: Final = (20_000, 20, 50)
"""For ``gc.set_threshold``: a run makes and drops hundreds of thousands of objects a second, and reference
counts free nearly all of them. With Python's own 700 the collector looks, again and again, at what is in
flight."""


def settle() -> None:
    """Keep the collector from what was there before the first run of this process: modules, classes, options.

    A full collection looks at each of these half a million objects, while the hub stands still. Once only:
    what an earlier run of a web UI's session has left must still be collected.
    """
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
