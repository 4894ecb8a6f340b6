"""The page of older versions: what is drawn, and that nothing from outside runs in it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ml_code.monitoring.staleness.history import StaleVersion
from ml_code.monitoring.staleness.page import render_page

END = datetime(2026, 11, 20, tzinfo=UTC)
SCRIPT = "<script>alert(1)</script>"


def make_version(version: str, age: float | None, score: float | None, problem: str | None = None) -> StaleVersion:
    ends = (None, None) if score is None else (score - 0.05, score + 0.05)
    place = (400, END - timedelta(days=2), problem, "s3://predictions/staleness/page.html")
    return StaleVersion("iris", END, version, version == "3", age, "accuracy", score, *ends, *place)


def read_circles(page: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', page)]


def test_an_older_and_worse_version_stands_to_the_right_and_lower() -> None:
    page = render_page([make_version("3", 1, 0.9), make_version("2", 30, 0.7)]).decode()
    (young_x, young_y), (old_x, old_y) = read_circles(page)
    assert old_x > young_x
    assert old_y > young_y
    assert "version 2: 0.7 (0.65 to 0.75)" in page
    assert "3 (champion)" in page


def test_a_version_without_a_score_has_its_reason_and_no_mark() -> None:
    page = render_page([make_version("3", 1, 0.9), make_version("2", 30, None, f"reads {SCRIPT}")]).decode()
    assert len(read_circles(page)) == 1
    assert "not comparable: reads &lt;script&gt;" in page
    assert "<script" not in page


def test_a_score_without_an_interval_and_an_unknown_age_are_shown() -> None:
    alone = replace(make_version("3", 0, 0.9), low=None, high=None)
    page = render_page([alone, make_version("2", None, 0.8)]).decode()
    assert len(read_circles(page)) == 1
    assert "<td>unknown</td>" in page
    assert "<td>0.9</td>" in page
    assert not re.search(r"nan|None", page)


def test_without_any_score_the_page_has_its_table_alone() -> None:
    page = render_page([make_version("3", None, None, "gone")]).decode()
    assert "<svg" not in page
    assert "not comparable: gone" in page


def test_the_page_loads_nothing() -> None:
    page = render_page([make_version("3", 1, 0.9)]).decode()
    assert "default-src 'none'" in page
    assert not re.search(r"https?://|\bsrc=|\bhref=|url\(", page)
