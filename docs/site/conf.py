"""Sphinx's settings of the site. Nothing in a page comes from another host, so the site opens from a folder, too."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

project = "mlops-loop"
release = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text())["project"]["version"]
extensions = ["myst_parser"]
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_inline"]
# `--option` and "text" stay as they are typed.
smartquotes = False
# A shell prompt or an ellipsis within a code block is not an error of the page.
suppress_warnings = ["misc.highlighting_failure"]

html_theme = "furo"
html_title = f"mlops-loop {release}"
html_static_path = [str(HERE / "static")]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_theme_options = {"top_of_page_buttons": []}


def setup(app: Any) -> None:
    """Marks the Korean page as Korean, for browsers and screen readers."""
    app.connect("html-page-context", _set_language)


def _set_language(_app: Any, page: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    if page.endswith("-ko"):
        context["language"] = "ko"
