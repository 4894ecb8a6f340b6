"""The page of a judged window: one file of HTML that loads nothing and runs nothing."""

from __future__ import annotations

from html import escape

from ml_code.monitoring.drift.comparison import Comparison
from ml_code.monitoring.drift.judging import Judgement
from ml_code.monitoring.drift.windows import Window

DRAWN = 40
"""Columns with a plot, the largest differences first; a plot takes about five kilobytes."""

BARS = 24
"""Bins of a plot, the first ones."""

LONGEST_NAME = 60
STEP = 26
HEIGHT = 90
BEFORE, NOW = "#9aa5b1", "#c2410c"

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1f2933 }}
table {{ border-collapse: collapse }} td, th {{ padding: .2rem .8rem .2rem 0; text-align: left }}
figure {{ display: inline-block; margin: 0 1rem 1rem 0; vertical-align: top }} svg {{ display: block }}
.drift {{ color: #c2410c; font-weight: 600 }} .quality {{ color: #b45309; font-weight: 600 }}
</style></head><body>
"""


def render_page(model: str, version: str, window: Window, judgement: Judgement) -> bytes:
    """Draws the verdict, its reasons, and each column beside the reference; every name from outside is escaped."""
    title = escape(f"{model} version {version}: {judgement.verdict}")
    counts = f"{judgement.judged_rows:,} of {judgement.rows:,} rows count"
    users = "" if judgement.units is None else f", from {judgement.units:,} users"
    largest = sorted(judgement.comparisons, key=lambda found: (not found.is_drifted, -found.psi))
    parts = [
        HEAD.format(title=title),
        f'<h1 class="{escape(judgement.verdict)}">{title}</h1>',
        f"<p>{window}. {counts}{users}; the reference has {judgement.reference_rows:,} rows.</p>",
        _list("Faults of the data, which no model should learn", judgement.faults),
        _list("What differs", judgement.drifted),
        _list("Notes", judgement.notes),
        _describe_separation(judgement),
        _draw_table(largest),
        f'<p><span style="color:{BEFORE}">&#9632;</span> reference, <span style="color:{NOW}">&#9632;</span> window; '
        "each bar is a tenth of the reference, or a category.</p>",
        *(_draw(found) for found in largest[:DRAWN]),
        "</body></html>\n",
    ]
    return "\n".join(filter(None, parts)).encode()


def _list(title: str, lines: list[str]) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines[:DRAWN])
    return f"<h2>{title}</h2><ul>{items}</ul>" if lines else ""


def _describe_separation(judgement: Judgement) -> str:
    if judgement.separation is None:
        return ""
    return (
        f"<p>A classifier tells the window from the reference with an area under its curve of "
        f"{judgement.separation.area:.3f}; 0.5 is a guess, and 0.6 is drift.</p>"
    )


def _draw_table(largest: list[Comparison]) -> str:
    rows = "".join(
        f'<tr class="{"drift" if found.is_drifted else ""}"><td>{escape(_name(found))}</td><td>{found.psi:.3f}</td>'
        f"<td>{found.adjusted:.2g}</td></tr>"
        for found in largest[: 10 * DRAWN]
    )
    head = "<tr><th>column</th><th>stability index (0.1 counts)</th><th>corrected p (0.01 counts)</th></tr>"
    return f"<table>{head}{rows}</table>" if rows else ""


def _draw(found: Comparison) -> str:
    bins = list(zip(found.labels, found.reference_shares, found.window_shares, strict=True))[:BARS]
    tallest = max(max(before, now) for _, before, now in bins) or 1.0
    bars = []
    for place, (label, before, now) in enumerate(bins):
        sides = [(before, BEFORE, STEP * place), (now, NOW, STEP * place + 11)]
        bars.append(f"<g><title>{escape(label[:LONGEST_NAME])}: {before:.1%}, {now:.1%}</title>")
        bars += [
            f'<rect x="{x}" y="{HEIGHT * (1 - share / tallest):.1f}" width="10" '
            f'height="{HEIGHT * share / tallest:.1f}" fill="{colour}"/>'
            for share, colour, x in sides
        ]
        bars.append("</g>")
    size = f'width="{STEP * len(bins)}" height="{HEIGHT}"'
    return f"<figure><figcaption>{escape(_name(found))}</figcaption><svg {size}>{''.join(bars)}</svg></figure>"


def _name(found: Comparison) -> str:
    return found.name[:LONGEST_NAME] if found.role == "feature" else f"({found.role})"
