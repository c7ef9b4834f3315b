r"""Fonts: which ones there are, and text that they can draw.

matplotlib draws an empty box for a character that no font has. Names and messages may be in any language, so
a Chinese family is added where one is installed, and what still cannot be drawn is written as ``\u4e2d``.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

LATIN: Final = "DejaVu Sans"
"""Comes with matplotlib."""

CJK: Final = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans CJK TC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "PingFang HK",
    "Hiragino Sans GB",
    "Heiti TC",
    "Arial Unicode MS",
    "Droid Sans Fallback",
    "AR PL UMing CN",
    "Noto Serif CJK SC",
    "Noto Serif CJK JP",
)
"""Families with Chinese characters, the best to read first."""

ADVICE: Final = (
    "No font with Chinese characters is installed, so charts write them as \\uXXXX. "
    "Install one and draw the report again: `apt install fonts-noto-cjk`, "
    "`dnf install google-noto-sans-cjk-fonts` or `apk add font-noto-cjk`."
)


@cache
def cjk_family() -> str | None:
    """The Chinese family that charts use; ``None`` where none is installed."""
    installed = set(font_manager.get_font_names())
    return next((family for family in CJK if family in installed), None)


def families() -> list[str]:
    """The families that charts use, in the order in which a character is looked for."""
    cjk = cjk_family()
    return [LATIN] if cjk is None else [LATIN, cjk]


def drawable(text: str, limit: int = 48) -> str:
    r"""The text as charts can draw it: one line, at most ``limit`` characters, the rest as ``\uXXXX``."""
    known = _characters(tuple(families()))
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    drawn = "".join(c if ord(c) in known and c.isprintable() else _escaped(c) for c in cut)
    # matplotlib keeps labels that begin with an underscore out of legends
    return " " + drawn if drawn.startswith("_") else drawn


def lacks_font_for(texts: list[str]) -> bool:
    """Whether any of the texts holds Chinese, and no font for it is installed."""
    return cjk_family() is None and any("\u2e80" <= c <= "\uffef" for text in texts for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


@cache
def _characters(names: tuple[str, ...]) -> frozenset[int]:
    found: set[int] = set()
    for name in names:
        path = font_manager.findfont(font_manager.FontProperties(family=name))
        found.update(FT2Font(path).get_charmap())
    return frozenset(found)
