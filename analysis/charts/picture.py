"""Picture: a chart as it stands in a page, in the page's own text."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.figure import Figure

from analysis import style


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart in a page: its title, ``n`` in words, the picture itself, and how to read it."""

    title: str
    n: str
    source: Markup
    reading: str


def picture(title: str, n: str, drawn: Figure, reading: str) -> Picture:
    """The picture of a figure."""
    raw = io.BytesIO()
    with style.settings():
        drawn.savefig(raw, dpi=style.DPI, format="png")
    return Picture(title, n, embedded(raw.getvalue()), reading)


def embedded(png: bytes) -> Markup:
    """A picture as an address that holds all of it."""
    return Markup("data:image/png;base64,") + base64.b64encode(png).decode("ascii")
