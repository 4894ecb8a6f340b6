"""The page of staleness: the metric of each version over its age; it loads nothing and runs nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from ml_code.monitoring.drift.page import BEFORE, HEAD, NOW
from ml_code.monitoring.staleness.history import StaleVersion

WIDTH, HEIGHT, MARGIN = 560, 240, 50
"""Of the plot in pixels; the margin holds the axes' figures."""


def render_page(versions: Sequence[StaleVersion]) -> bytes:
    """Draws the versions of one measurement; every name from outside is escaped."""
    first = versions[0]
    title = escape(f"{first.model}: what staleness costs")
    parts = [
        HEAD.format(title=title),
        f"<h1>{title}</h1>",
        f"<p>The last versions that served, each asked the same {first.rows:,} labelled answers of "
        f"{first.rows_since:%Y-%m-%d %H:%M} to {first.window_end:%Y-%m-%d %H:%M} UTC again. No version has learnt "
        "these rows. Lines show the interval that covers the true value 95 times of 100.</p>",
        _draw(versions),
        _list(versions),
        "</body></html>\n",
    ]
    return "\n".join(filter(None, parts)).encode()


def _list(versions: Sequence[StaleVersion]) -> str:
    rows = "".join(
        f"<tr><td>{escape(found.version)}{' (champion)' if found.is_champion else ''}</td><td>{_show_age(found)}</td>"
        f"<td>{escape(_show_score(found))}</td></tr>"
        for found in versions
    )
    head = f"<tr><th>version</th><th>age in days</th><th>{escape(versions[0].metric)}</th></tr>"
    return f"<table>{head}{rows}</table>"


def _show_age(found: StaleVersion) -> str:
    return "unknown" if found.age_days is None else f"{found.age_days:.1f}"


def _show_score(found: StaleVersion) -> str:
    if found.score is None:
        return f"not comparable: {found.problem}"
    return f"{found.score:.4g}" + (f" ({found.low:.4g} to {found.high:.4g})" if _has_interval(found) else "")


def _draw(versions: Sequence[StaleVersion]) -> str:
    """The scored versions whose age is known; none of them, no plot."""
    drawn = [found for found in versions if found.score is not None and found.age_days is not None]
    if not drawn:
        return ""
    ends = [end for found in drawn for end in (found.score, found.low, found.high) if end is not None]
    lowest, highest = min(filter(math.isfinite, ends)), max(filter(math.isfinite, ends))
    oldest, spread = max(found.age_days or 0 for found in drawn) or 1.0, (highest - lowest) or 1.0

    def place(found: StaleVersion, value: float) -> tuple[float, float]:
        x = MARGIN + (WIDTH - 2 * MARGIN) * (found.age_days or 0) / oldest
        return x, HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * (value - lowest) / spread

    marks = "".join(_mark(found, *(place(found, value or 0) for value in _list_values(found))) for found in drawn)
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" font-size="12"><path d="M{MARGIN} 20V{HEIGHT - 30}H{WIDTH - 20}" '
        f'fill="none" stroke="{BEFORE}"/><text x="4" y="{HEIGHT - MARGIN}">{lowest:.3g}</text>'
        f'<text x="4" y="{MARGIN}">{highest:.3g}</text><text x="{MARGIN}" y="{HEIGHT - 10}">0</text>'
        f'<text x="{WIDTH - 110}" y="{HEIGHT - 10}">{oldest:.1f} days old</text>{marks}</svg>'
    )


def _list_values(found: StaleVersion) -> list[float | None]:
    return [found.score, found.low, found.high] if _has_interval(found) else [found.score] * 3


def _has_interval(found: StaleVersion) -> bool:
    return found.low is not None and found.high is not None


def _mark(found: StaleVersion, score: tuple[float, float], low: tuple[float, float], high: tuple[float, float]) -> str:
    colour = NOW if found.is_champion else BEFORE
    return (
        f"<g><title>{escape(f'version {found.version}: {_show_score(found)}')}</title>"
        f'<path d="M{low[0]:.1f} {low[1]:.1f}V{high[1]:.1f}" stroke="{colour}" stroke-width="2"/>'
        f'<circle cx="{score[0]:.1f}" cy="{score[1]:.1f}" r="5" fill="{colour}"/>'
        f'<text x="{score[0] + 8:.1f}" y="{score[1] + 4:.1f}">{escape(found.version[:10])}</text></g>'
    )
