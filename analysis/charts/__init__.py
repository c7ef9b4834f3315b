"""Charts: one table of them. Each is a frame prepared from a run, and a function that draws it.

An empty frame means that the run has nothing to show there: the chart is left out, and the report says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from analysis.charts import arrivals, closes, drift, generator, latency, openings, reconnects, traffic
from analysis.frames import Run
from analysis.style import DPI, settings


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: where it goes, what it is made of, how it is drawn, and what it needs.

    ``prepare`` gives the frame, with ``n``, ``run_id`` and ``span_s`` in ``attrs``; ``reading`` says how to
    read the picture, ``without`` why it may be missing.
    """

    file: str
    title: str
    prepare: Callable[[Run], pd.DataFrame]
    draw: Callable[[pd.DataFrame], Figure]
    reading: str
    without: str


DRIFT_FILE: Final = "drift.png"
"""The report has it beside what it says of drift."""

CHARTS: Final[tuple[Chart, ...]] = (
    Chart(
        "success.png",
        openings.SUCCESS_TITLE,
        openings.success_frame,
        openings.draw_success,
        "Below: how many attempts each point stands for. A gap means that nothing was tried.",
        "no handshake ended",
    ),
    Chart(
        "outcomes.png",
        openings.OUTCOMES_TITLE,
        openings.outcomes_frame,
        openings.draw_outcomes,
        "Every attempt that ended, by how its opening ended.",
        "no attempt ended",
    ),
    Chart(
        "phases.png",
        openings.PHASES_TITLE,
        openings.phases_frame,
        openings.draw_phases,
        "Successful handshakes only; a phase that failed has no duration. All phases together are thin and "
        "grey, below the others: where they are not to be seen, one phase is nearly all of it.",
        "no handshake succeeded",
    ),
    Chart(
        "latency.png",
        latency.TIME_TITLE,
        latency.time_frame,
        latency.draw_time,
        "Response time counts from the intended send, service time from the actual one: where they part, "
        "sends were late. Percentiles are of all durations in a bin, never averages.",
        "no reply came",
    ),
    Chart(
        "delivery.png",
        latency.DELIVERY_TITLE,
        latency.delivery_frame,
        latency.draw_delivery,
        "From the server's time-stamp on a push to its receipt. By how much the two clocks differ, and how "
        "far that is known, stands above, in what happened.",
        "no push with a time-stamp came",
    ),
    Chart(
        "spectrum.png",
        latency.SPECTRUM_TITLE,
        latency.spectrum_frame,
        latency.draw_spectrum,
        "Each step to the right is a rarer and slower reply; the curve ends where the samples end.",
        "no reply came",
    ),
    Chart(
        "closes.png",
        closes.CLOSES_TITLE,
        closes.closes_frame,
        closes.draw_closes,
        "Sockets by close code, by who closed first, and how.",
        "no opened socket ended before the run did",
    ),
    Chart(
        "ages.png",
        closes.AGES_TITLE,
        closes.ages_frame,
        closes.draw_ages,
        "A cluster at one age is a time-out or a fault at one point of the exchange.",
        "no opened socket ended before the run did",
    ),
    Chart(
        "reconnects.png",
        reconnects.TITLE,
        reconnects.frame,
        reconnects.draw,
        "Every attempt after a user's first, by when it began. A client that backs off stays below one or "
        "two even after a mass drop.",
        "nobody reconnected, or the run holds no readings of its users",
    ),
    Chart(
        "arrivals.png",
        arrivals.TITLE,
        arrivals.frame,
        arrivals.draw,
        "The open model: sessions arrive at their own rate, and wait for a free user. Where fewer are served "
        "than offered, the users were too few; the wait is that of the served ones.",
        "the run has no --arrival-rate",
    ),
    Chart(
        "sockets.png",
        traffic.SOCKETS_TITLE,
        traffic.sockets_frame,
        traffic.draw_sockets,
        "Above: what was held at the end of each bin. Below: all attempts and openings up to then; the gap "
        "between them is what failed.",
        "no socket was tried",
    ),
    Chart(
        "messages.png",
        traffic.MESSAGES_TITLE,
        traffic.messages_frame,
        traffic.draw_messages,
        "Application messages, without pings and pongs.",
        "no message was sent or received",
    ),
    Chart(
        "generator.png",
        generator.TITLE,
        generator.frame,
        generator.draw,
        "The load generator's own health: where it is late or busy, the latencies above are partly its own.",
        "the run holds no readings of the generator",
    ),
    Chart(
        DRIFT_FILE,
        drift.TITLE,
        drift.frame,
        drift.draw,
        "Readings under load are alike from one to the next, so that the line is fitted to blocks of them. "
        "Allowed growth is counted from the line's begin.",
        "nothing drifted, or the load was up for less than two minutes",
    ),
)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart of a run: drawn into ``path``, or left out (``path`` is ``None``)."""

    chart: Chart
    path: Path | None
    n: str = ""


def draw_all(run: Run, directory: Path) -> list[Drawn]:
    """Draw the run's charts into the directory, which is made."""
    directory.mkdir(parents=True, exist_ok=True)
    return [_draw(chart, run, directory) for chart in CHARTS]


def _draw(chart: Chart, run: Run, directory: Path) -> Drawn:
    path = directory / chart.file
    frame = chart.prepare(run)
    if frame.empty:
        # a picture of an earlier state of the run must not stay behind
        path.unlink(missing_ok=True)
        return Drawn(chart, None)
    with settings():
        chart.draw(frame).savefig(path, dpi=DPI)
    return Drawn(chart, path, str(frame.attrs.get("n", "")))
