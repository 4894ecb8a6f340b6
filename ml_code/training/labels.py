"""Texts of people in plots: drawn as text, never as markup, and only in characters that a font has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from matplotlib import font_manager

FAMILIES = ("DejaVu Sans", "NanumGothic", "Noto Sans CJK KR", "Noto Sans KR", "Malgun Gothic", "Apple SD Gothic Neo")
"""Fonts in the order of their use; matplotlib brings the first, the image the second, other systems the rest."""

WRITTEN_LABELS = 30
"""Most labels that a plot writes: more are not readable, and 200 take 45 s to write."""

LONGEST_LABEL = 40
"""Most characters of a label in a plot; a longer one loses its middle."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels as a plot shows them, and a text with all names if the plot cannot show them so."""

    shown: Sequence[str]
    key: str


def show_labels(names: Iterable[object]) -> Labels:
    """Shortens long names, and numbers those that no font can draw.

    >>> show_labels(["dead", "alive"])
    Labels(shown=['dead', 'alive'], key='')
    """
    texts = [str(name) for name in names]
    shown = [_show(number, text) for number, text in enumerate(texts)]
    if shown == texts and len(texts) <= WRITTEN_LABELS:
        return Labels(shown, "")
    lines = [f"{number}\t{label}\t{text}\n" for number, (label, text) in enumerate(zip(shown, texts, strict=True))]
    return Labels(shown, "".join(["number\tin the plot\tname\n", *lines]))


def is_drawable(text: str) -> bool:
    """Whether the found fonts have every character."""
    characters = _list_characters(tuple(find_families()))
    return all(ord(character) in characters for character in text)


def find_families() -> list[str]:
    """The families of `FAMILIES` that this machine has."""
    found = {entry.name for entry in font_manager.fontManager.ttflist}
    return [family for family in FAMILIES if family in found]


def style_text() -> dict[str, Any]:
    """Properties of a text of people: `$` and `_` are characters, not the markup of formulas."""
    return {"parse_math": False, "usetex": False, "fontfamily": find_families()}


@cache
def _list_characters(families: tuple[str, ...]) -> frozenset[int]:
    """The code points that one of the families has."""
    files = [font_manager.findfont(font_manager.FontProperties(family=family)) for family in families]
    return frozenset(code for file in files for code in font_manager.get_font(file).get_charmap())


def _show(number: int, name: str) -> str:
    text = _shorten(" ".join(name.split()))
    return text if text and is_drawable(text) else f"#{number}"


def _shorten(name: str) -> str:
    """Both ends of a name, which usually differ from those of other names."""
    if len(name) <= LONGEST_LABEL:
        return name
    head = LONGEST_LABEL * 2 // 3
    return f"{name[:head]}…{name[head + 1 - LONGEST_LABEL :]}"
