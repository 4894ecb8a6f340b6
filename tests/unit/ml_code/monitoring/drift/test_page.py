"""The page of a window: nothing from outside runs in it, and it stays small."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import numpy as np

from ml_code.monitoring.drift.page import render_page
from ml_code.monitoring.drift.windows import Window
from tests.drift_rows import draw_cells, judge_rows

DAY = Window(datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC) + timedelta(days=1))
SCRIPT = "<script>alert(1)</script>"


def test_names_and_categories_from_outside_are_escaped() -> None:
    texts = np.array([SCRIPT, "'\"><img src=x>", "plain"], dtype=object)
    random = np.random.default_rng(1)
    known, window = ({SCRIPT: texts[random.integers(0, 3, 300)]} for _ in range(2))
    page = render_page(SCRIPT, "3", DAY, judge_rows(known, window)).decode()
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page


def test_the_page_loads_nothing() -> None:
    random = np.random.default_rng(1)
    page = render_page("iris", "3", DAY, judge_rows(draw_cells(random, 300, 4), draw_cells(random, 300, 4))).decode()
    assert "default-src 'none'" in page
    assert not re.search(r"https?://|\bsrc=|\bhref=|url\(", page)


def test_three_hundred_features_stay_below_a_megabyte() -> None:
    random = np.random.default_rng(1)
    page = render_page("wide", "3", DAY, judge_rows(draw_cells(random, 200, 300), draw_cells(random, 200, 300)))
    assert 20_000 < len(page) < 1_000_000


def test_a_drifted_feature_stands_first() -> None:
    random = np.random.default_rng(1)
    known, window = draw_cells(random, 500, 6), draw_cells(random, 500, 6)
    window["f3"] = window["f3"] + 1
    page = render_page("iris", "3", DAY, judge_rows(known, window)).decode()
    assert page.index("<figcaption>f3") < page.index("<figcaption>f1")
    assert '<h1 class="drift">' in page
