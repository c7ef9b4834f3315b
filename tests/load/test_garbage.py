"""Garbage: what is there before a run is out of the collector's sight, and what comes later is not."""

from __future__ import annotations

import subprocess
import sys

# in a process of its own: this one has had runs, and will have more
SCRIPT = """
import gc, weakref
from wsoak.load.garbage import THRESHOLDS, settle

class Ring:
    def __init__(self):
        self.me = self

before = len(gc.get_objects())
lost = weakref.ref(Ring())
settle()
assert lost() is None, "garbage was kept"
frozen = gc.get_freeze_count()
assert frozen > 0.9 * before, (frozen, before)
assert gc.get_threshold() == THRESHOLDS
ring = weakref.ref(Ring())
settle()
gc.collect()
assert ring() is None, "the garbage of a run was kept"
assert gc.get_freeze_count() <= frozen
print("settled")
"""


def test_what_is_there_before_the_first_run_is_frozen_once() -> None:
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert ran.stdout == "settled\n", ran.stderr
