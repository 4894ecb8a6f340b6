"""Texts of people inside Markdown: shown as they are, never read as markup or HTML."""

from __future__ import annotations

import re

_MARKS = re.compile(r"[\\`*_\[\]|~$]|[<&](?=\S)")
_BLOCK = re.compile(r"^([#>+=-]|\d+(?=[.)](?:\s|$)))")


def quote_code(text: object) -> str:
    """A name as code: its fence is longer than any row of backticks in it.

    >>> quote_code("distance (km)")
    '`distance (km)`'
    >>> quote_code("a`b")
    '``a`b``'
    """
    line = " ".join(str(text).split())
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    is_padded = line.startswith("`") or line.endswith("`") or not line
    return f"{fence} {line} {fence}" if is_padded else f"{fence}{line}{fence}"


def escape(text: object) -> str:
    r"""A text on one line whose marks are characters, also at the beginning of the line.

    >>> escape("<b>2 * 3</b> < 7")
    '\\<b>2 \\* 3\\</b> < 7'
    """
    line = _MARKS.sub(lambda mark: f"\\{mark[0]}", " ".join(str(text).split()))
    return _BLOCK.sub(lambda mark: f"\\{mark[0]}" if not mark[0].isdigit() else f"{mark[0]}\\", line)
