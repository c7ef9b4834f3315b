"""What the charts' frames share: where they come from, and their time axis."""

from __future__ import annotations

import pandas as pd

from analysis.frames import Run
from analysis.marks import marks_of


def signed(frame: pd.DataFrame, run: Run, n: str) -> pd.DataFrame:
    """The frame with what every chart states: n in words, the run's id, its time axis and its marks."""
    bin_text = f"bins of {run.bin_s} s"
    frame.attrs.update(
        n=n,
        run_id=run.run_id,
        span_s=run.bins * run.bin_s,
        bin_s=run.bin_s,
        bin_text=bin_text,
        marks=[
            (mark.number, run.started_at - run.start_s + mark.at_s, mark.text)
            for mark in marks_of(run.header)
        ],
    )
    return frame


def nothing() -> pd.DataFrame:
    """The frame of a chart that has nothing to show."""
    return pd.DataFrame()


def at_seconds(frame: pd.DataFrame, run: Run, middle: bool = True) -> pd.DataFrame:
    """The frame, indexed by bin, indexed by seconds from the start: the middle of each bin or its begin."""
    offset = run.bin_s / 2 if middle else 0.0
    return frame.set_axis(frame.index * run.bin_s + offset, axis=0)


def counts_by(run: Run, bins: pd.Series, labels: pd.Series, most: int = 8) -> pd.DataFrame:
    """How many of each label a bin, a column a label, the most frequent first; the rare ones as ``other``."""
    ranked = list(labels.value_counts().index)
    if len(ranked) > most:
        kept = set(ranked[: most - 1])
        labels = labels.where(labels.isin(kept), "other")
        ranked = [*ranked[: most - 1], "other"]
    table = pd.crosstab(bins, labels).reindex(index=range(run.bins), columns=ranked, fill_value=0)
    return table.rename_axis(None, axis=1)
