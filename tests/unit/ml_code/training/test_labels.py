from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from ml_code.training import labels
from ml_code.training.labels import LONGEST_LABEL, find_families, show_labels
from ml_code.training.plots import draw_importances
from tests.unit.ml_code.training.test_plots import is_picture


@pytest.fixture
def _no_korean_font(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "FAMILIES", ("DejaVu Sans",))


@pytest.fixture
def _korean_font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A font with two Korean letters; the real one has 4.7 MB."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    pen.lineTo((0, 800))
    pen.lineTo((800, 0))
    pen.closePath()
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", "letter"])
    builder.setupCharacterMap({ord(letter): "letter" for letter in "찬성"})
    builder.setupGlyf({name: pen.glyph() for name in (".notdef", "letter")})
    builder.setupHorizontalMetrics({".notdef": (900, 0), "letter": (900, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "NanumGothic", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "NanumGothic.ttf")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [*font_manager.fontManager.ttflist])
    font_manager.fontManager.addfont(tmp_path / "NanumGothic.ttf")
    labels._list_characters.cache_clear()
    yield
    labels._list_characters.cache_clear()


def test_names_that_a_plot_can_show_need_no_key() -> None:
    assert show_labels(["dead", 3]) == labels.Labels(["dead", "3"], "")


@pytest.mark.usefixtures("_no_korean_font")
def test_a_name_without_a_font_is_a_number_and_stands_in_the_key() -> None:
    found = show_labels(["찬성", "no", "반대"])
    assert found.shown == ["#0", "no", "#2"]
    assert found.key.splitlines() == ["number\tin the plot\tname", "0\t#0\t찬성", "1\tno\tno", "2\t#2\t반대"]


@pytest.mark.usefixtures("_korean_font")
def test_a_korean_name_is_drawn_by_a_font_that_has_it() -> None:
    assert "NanumGothic" in find_families()
    found = show_labels(["찬성", "abc 찬"])
    assert found.shown == ["찬성", "abc 찬"]
    assert is_picture(draw_importances([0.5, 0.5], found.shown))


def test_a_long_name_loses_its_middle() -> None:
    [first, second], key = (found := show_labels(["x" * 100 + "1", "x" * 100 + "2"])).shown, found.key
    assert len(first) == LONGEST_LABEL
    assert (first[-1], second[-1]) == ("1", "2")
    assert "x" * 100 + "1\n" in key


def test_all_names_of_a_plot_without_room_stand_in_the_key() -> None:
    assert show_labels(map(str, range(30))).key == ""
    assert show_labels(map(str, range(31))).key.endswith("30\t30\t30\n")
